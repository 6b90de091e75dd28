"""Reads what is mounted and what is swapped to: where a look at encryption has to start.

A LUKS header somewhere on the machine says nothing; what counts is what the file systems
and the swap in use lie on.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from qlmdm_core.api import JSON, Host

_OCTAL = re.compile(r"\\([0-3][0-7]{2})")
_HEX = re.compile(r"\\x([0-9a-fA-F]{2})")
_LAYER_SPLIT = re.compile(r"(?<!\\):")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One mounted file system, as far as the source tells."""

    point: str
    """Where it is mounted."""
    source: str
    """What is mounted, as the kernel names it: a device, a dataset, "tmpfs", …"""
    fstype: str = ""
    number: str = ""
    """Device number, "MAJOR:MINOR"; the major is 0 for file systems without one device."""
    root: str = "/"
    """The directory inside the file system that is mounted: not "/" for a bind mount."""
    options: tuple[str, ...] = ()
    device: str = ""
    """The kernel name of the device, where the source itself tells it (lsblk)."""


@dataclass(frozen=True, kw_only=True)
class Swap:
    """One swap area in use."""

    name: str
    """The device's or the file's path."""
    is_file: bool = False
    device: str = ""
    """The kernel name of the device, where the source itself tells it (lsblk)."""
    number: str = ""
    """Device number, "MAJOR:MINOR", where nothing else is told."""
    hibernation: bool = False
    """It is where the kernel would resume from, and may not be swapped to now."""


def unescape(text: str) -> str:
    r"""Undo the kernel's `\040` for blanks and its like (proc_pid_mountinfo(5))."""
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)


def unescape_udev(name: str) -> str:
    r"""Undo udev's `\x20`, which stands in device names on top of the kernel's escapes."""
    return _HEX.sub(lambda match: chr(int(match.group(1), 16)), name)


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts in /proc/self/mountinfo, in order; lines that make no sense are skipped."""
    mounts = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 2:
            continue
        options = fields[5].split(",") + (rest[2].split(",") if len(rest) > 2 else [])
        mounts.append(
            Mount(
                point=unescape(fields[4]),
                source=unescape(rest[1]),
                fstype=rest[0],
                number=fields[2],
                root=unescape(fields[3]),
                options=tuple(map(unescape, options)),
            )
        )
    return mounts


def parse_mounts(text: str) -> list[Mount]:
    """The mounts in /proc/mounts, in order: less is known than from mountinfo."""
    mounts = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        options = tuple(map(unescape, fields[3].split(","))) if len(fields) > 3 else ()
        mounts.append(
            Mount(
                point=unescape(fields[1]),
                source=unescape(fields[0]),
                fstype=fields[2],
                options=options,
            )
        )
    return mounts


def parse_findmnt(text: str) -> list[Mount]:
    """The mounts that `findmnt --json` prints, as a tree or a list."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    mounts = []
    todo = deque(_objects(document.get("filesystems")) if isinstance(document, dict) else ())
    while todo:
        entry = todo.popleft()
        source, point = entry.get("source"), entry.get("target")
        if isinstance(source, str) and isinstance(point, str):
            # findmnt(8): a bind mount's directory is appended in brackets.
            device, bracket, root = source.partition("[")
            options = entry.get("options")
            mounts.append(
                Mount(
                    point=point,
                    source=device,
                    fstype=_string(entry.get("fstype")),
                    number=_string(entry.get("maj:min")),
                    root=root.rstrip("]") if bracket else "/",
                    options=tuple(options.split(",")) if isinstance(options, str) else (),
                )
            )
        todo.extend(_objects(entry.get("children")))
    return mounts


_FINDMNT_TREE = re.compile(r"(?:[^\x21-\x7e]|[|`+\\'-])*")


def parse_findmnt_text(text: str) -> list[Mount]:
    """The mounts that `findmnt` prints for people, as a tree of TARGET, SOURCE, FSTYPE, …"""
    lines = iter(text.splitlines())
    names = next((line.split() for line in lines if line.split()[:1] == ["TARGET"]), [])
    mounts = []
    for line in lines if names[:3] == ["TARGET", "SOURCE", "FSTYPE"] else ():
        tree = _FINDMNT_TREE.match(line)
        words = line[tree.end() if tree else 0 :].split()
        if len(words) < 3 or not words[0].startswith("/"):
            continue
        device, bracket, root = words[1].partition("[")
        mounts.append(
            Mount(
                point=words[0],
                source=device,
                fstype=words[2],
                root=root.rstrip("]") if bracket else "/",
                options=tuple(words[3].split(",")) if names[3:4] == ["OPTIONS"] else (),
            )
        )
    return mounts


def parse_mount(text: str) -> list[Mount]:
    """The mounts that `mount` prints: "/dev/sda1 on /home type ext4 (rw,noatime)"."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" type ")
        source, on, point = left.partition(" on /")
        fstype, _, options = right.partition(" (")
        if on and fstype:
            mounts.append(
                Mount(
                    point=f"/{point}",
                    source=source,
                    fstype=fstype.strip(),
                    options=tuple(options.rpartition(")")[0].split(",")),
                )
            )
    return mounts


def parse_swaps(text: str) -> list[Swap]:
    """The swap areas in /proc/swaps, or in what `swapon --show` prints."""
    swaps = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 2 or not fields[0].startswith("/"):
            continue
        name = unescape_udev(unescape(fields[0])).removesuffix(" (deleted)")
        swaps.append(Swap(name=name, is_file=fields[1] == "file"))
    return swaps


def read_mounts(host: Host) -> list[Mount]:
    """The machine's mounts by the best source there is; empty if there is none."""
    for path, parse in (
        ("/proc/self/mountinfo", parse_mountinfo),
        ("/proc/self/mounts", parse_mounts),
        ("/proc/mounts", parse_mounts),
    ):
        try:
            mounts = parse(host.read(path, max_bytes=8 << 20))
        except OSError:
            continue
        if mounts:
            return mounts
    for argv in (["findmnt", "--json"], ["findmnt"], ["mount"]):
        result = host.run(argv)
        for parse in (parse_findmnt, parse_findmnt_text, parse_mount):
            if result.ok and (mounts := parse(result.stdout)):
                return mounts
    return []


def read_swaps(host: Host) -> list[Swap] | None:
    """The machine's swap areas; None when nothing tells (which is not the same as none)."""
    try:
        return parse_swaps(host.read("/proc/swaps"))
    except OSError:
        pass
    result = host.run(["swapon", "--show=NAME,TYPE", "--noheadings", "--raw", "--bytes"])
    return parse_swaps(result.stdout) if result.ok else None


_RESUME = re.compile(r"(?:^|\s)resume=(\S+)")


def read_resume(host: Host) -> Swap | None:
    """Where hibernation keeps all of the memory, as far as the kernel was told; else None.

    Documentation/admin-guide/kernel-parameters.txt, and sysfs-power for /sys/power/resume.
    """
    try:
        number = host.read("/sys/power/resume").strip()
    except OSError:
        number = ""
    if re.fullmatch(r"\d+:\d+", number) and not number.startswith("0:"):
        return Swap(name="", number=number, hibernation=True)
    try:
        match = _RESUME.search(host.read("/proc/cmdline"))
    except OSError:
        return None
    return Swap(name=match.group(1), hibernation=True) if match else None


def layers(mount: Mount) -> dict[str, list[str]]:
    """The directories that an overlay is made of, by option: lowerdir, upperdir, datadir.

    The kernel's documentation of overlayfs: lower layers are joined by colons, data-only
    ones by two; newer mounts have one `lowerdir+` or `datadir+` option for each.
    """
    found: dict[str, list[str]] = {"lowerdir": [], "upperdir": [], "datadir": []}
    for option in mount.options:
        name, equals, value = option.partition("=")
        name = name.rstrip("+")
        if not equals or name not in found:
            continue
        if name == "lowerdir" and "::" in value:
            value, _, data = value.partition("::")
            found["datadir"] += [part for part in data.split("::") if part]
        parts = _LAYER_SPLIT.split(value) if name == "lowerdir" else [value]
        found[name] += [part.replace("\\:", ":") for part in parts if part]
    return found


def _objects(value: JSON) -> list[dict[str, JSON]]:
    """The objects in a JSON array; nothing if it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _string(value: JSON) -> str:
    return value if isinstance(value, str) else ""


def from_lsblk(mounted: Iterable[tuple[str, str, str]]) -> tuple[list[Mount], list[Swap]]:
    """Mounts and swap areas by what lsblk says, for machines where nothing better is known.

    `mounted` has the device's kernel name, its file system's type and its mount point.
    """
    mounts: list[Mount] = []
    swaps: list[Swap] = []
    for name, fstype, point in mounted:
        if point == "[SWAP]":
            swaps.append(Swap(name=f"/dev/{name}", device=name))
        elif point.startswith("/"):
            mounts.append(Mount(point=point, source=f"/dev/{name}", fstype=fstype, device=name))
    return mounts, swaps
