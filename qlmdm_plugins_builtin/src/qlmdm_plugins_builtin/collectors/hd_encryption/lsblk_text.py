"""Reads what lsblk prints for people and shells: trees, lists, `-P` pairs and `-r` raw lines.

lsblk has JSON only since util-linux 2.27. What it prints else says the same, once the
columns are told apart: each entry here has the form that one has in the JSON.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from qlmdm_core.api import JSON

DEFAULT = ("name", "maj:min", "rm", "size", "ro", "type")
"""The columns before the mount points, where no heading tells them."""

_PAIR = re.compile(r'([A-Z][A-Z0-9:%_-]*)="([^"]*)"')
_HEADING = re.compile(r"[A-Z][A-Z0-9:%_-]*")
_TREE = re.compile(r"(?:[^\x21-\x7e]|[|`+\\'-])*")
"""What a tree is drawn with: blanks, lines of ASCII, and whatever became of those of Unicode."""
_WORD = re.compile(r"\S+")
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_NUMBER = re.compile(r"\d+:\d+")
_OLD_NAME = re.compile(r"(?P<name>\S.*?) \((?P<kname>dm-\d+)\)")
"""Until 2.23 a mapping was shown with its kernel name: "vg-root (dm-0)"."""
_MOUNT = re.compile(r"mountpoints?")
_KEYS = ("NAME", "KNAME", "PATH")


def parse(text: str) -> list[dict[str, JSON]]:
    """The devices at the top, those that lie on them nested; empty if it is none of this."""
    lines = text.splitlines()
    if entries := _pairs(lines):
        return entries
    at = next((i for i, line in enumerate(lines) if _is_heading(line)), None)
    if at is None:
        return _by_place(lines)
    rows = []
    for line in lines[at + 1 :]:
        if not line.strip():
            break
        rows.append(line)
    names = [word.lower() for word in lines[at].split()]
    if tuple(names[:6]) == DEFAULT and names[6:] in (["mountpoint"], ["mountpoints"]):
        return _by_place(rows)
    if _is_raw(lines[at], rows):
        return [_entry(dict(zip(names, row.split(" "), strict=False))) for row in rows]
    return _tree(names, [match.span() for match in _WORD.finditer(lines[at])], rows)


# --- lists ----------------------------------------------------------------------------------


def _pairs(lines: Sequence[str]) -> list[dict[str, JSON]]:
    """The lines of `lsblk -P`: NAME="sda1" FSTYPE="ext4" …"""
    entries = []
    for line in lines:
        cells = {name.lower(): value for name, value in _PAIR.findall(line)}
        if any(key.lower() in cells for key in _KEYS):
            entries.append(_entry(cells))
    return entries


def _is_raw(heading: str, rows: Sequence[str]) -> bool:
    """Whether the columns are not aligned: one blank each, also around an empty cell."""
    count = len(heading.split(" "))
    return "  " not in heading.strip() and all(len(row.split(" ")) == count for row in rows)


def _by_place(lines: Sequence[str]) -> list[dict[str, JSON]]:
    """The lines with the columns that lsblk has unless told otherwise: no cell is empty."""
    rows = []
    for line in lines:
        depth, words = _depth(line), line[_depth(line) :].split()
        if len(words) > 1 and words[1].startswith("(dm-"):
            words[:2] = [f"{words[0]} {words[1]}"]
        if len(words) >= len(DEFAULT) and _NUMBER.fullmatch(words[1]):
            cells = dict(zip(DEFAULT, words, strict=False))
            rows.append((depth, _entry({**cells, "mountpoint": " ".join(words[6:])})))
        elif rows and len(words) == 1 and words[0].startswith("/"):
            rows[-1][1].setdefault("mountpoints", []).append(words[0])
    return _nested(rows)


# --- trees ----------------------------------------------------------------------------------


def _is_heading(line: str) -> bool:
    words = line.split()
    return any(key in words for key in _KEYS) and all(map(_HEADING.fullmatch, words))


def _depth(line: str) -> int:
    """How far the name is indented, by blanks and by what a tree is drawn with."""
    match = _TREE.match(line)
    return match.end() if match else 0


def _tree(
    names: Sequence[str], spans: Sequence[tuple[int, int]], rows: Sequence[str]
) -> list[dict[str, JSON]]:
    """The rows below a heading, whose cells stand where their column's name does."""
    entries: list[tuple[int, dict[str, JSON]]] = []
    for row in rows:
        depth = _depth(row) if names[0] in ("name", "kname", "path") else 0
        cells: dict[str, list[str]] = {}
        words = list(_WORD.finditer(" " * depth + row[depth:]))
        for match in words:
            column = _column(match.span(), spans, depth)
            if match is words[-1] and _MOUNT.fullmatch(names[-1]) and _is_point(match.group()):
                column = -1  # also where somebody's editor moved it
            cells.setdefault(names[column], []).append(match.group())
        joined = {name: " ".join(words) for name, words in cells.items()}
        if any(key.lower() in joined for key in _KEYS):
            entries.append((depth, _entry(joined)))
        elif entries:
            # A device's further mount points stand below the first, without its name; on a
            # narrow terminal all its cells do.
            more = _entry(joined)
            device = entries[-1][1]
            device.setdefault("mountpoints", []).extend(more.pop("mountpoints", []))
            device |= {name: cell for name, cell in more.items() if name not in device}
    return _nested(entries)


def _is_point(text: str) -> bool:
    return text == "[SWAP]" or (text.startswith("/") and not text.startswith("/dev/"))


def _column(word: tuple[int, int], spans: Sequence[tuple[int, int]], depth: int) -> int:
    """The column that a word belongs to: the one whose name it stands below."""
    start, end = word
    if start == depth and (len(spans) < 2 or start < spans[1][0]):
        return 0
    # The first name that ends behind the word's start may stand above it; else it is a
    # further word of the cell to the left.
    left = max(bisect_right(spans, (start, start)) - 1, 0)
    for index in range(left, len(spans)):
        first, last = spans[index]
        if first >= end:
            break
        if start < last:
            return index
    return left


def _nested(rows: Sequence[tuple[int, dict[str, JSON]]]) -> list[dict[str, JSON]]:
    """The entries with those that are indented below them as their children."""
    roots: list[dict[str, JSON]] = []
    stack: list[tuple[int, dict[str, JSON]]] = []
    for depth, entry in rows:
        while stack and stack[-1][0] >= depth:
            stack.pop()
        (stack[-1][1].setdefault("children", []) if stack else roots).append(entry)
        stack.append((depth, entry))
    return roots


def _entry(cells: dict[str, str]) -> dict[str, JSON]:
    """A device as the JSON has it: escapes undone, empty cells left out."""
    entry: dict[str, JSON] = {}
    for name, text in cells.items():
        if text:
            # `maj:min` is no name for a shell: `lsblk -P -y` prints `MAJ_MIN`.
            entry[name.replace("_", ":") if name == "maj_min" else name] = _ESCAPE.sub(
                lambda match: chr(int(match.group(1), 16)), text
            )
    if match := _OLD_NAME.fullmatch(str(entry.get("name", ""))):
        entry |= match.groupdict()
    points = [str(entry.pop(name, "")) for name in ("mountpoint", "mountpoints")]
    if listed := [point for cell in points for point in cell.split("\n") if point]:
        entry["mountpoints"] = list(dict.fromkeys(listed))
    return entry
