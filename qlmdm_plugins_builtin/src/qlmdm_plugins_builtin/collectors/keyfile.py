"""Reads key files: `[group]` headers above `key=value` lines, as GLib's GKeyFile does.

LightDM, GDM and dconf use this format. Python's configparser does not read it as GLib does:
it refuses a group or key that stands twice, and expands `%`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class KeyFileError(ValueError):
    """The text is no key file; GLib refuses the whole file then. The message says where."""


@dataclass(frozen=True)
class Entry:
    """One `key=value` line, with the group that it stands in."""

    group: str
    key: str
    value: str


def entries(text: str) -> Iterator[Entry]:
    """The entries from first to last; a later one wins over an earlier one of its name.

    A `#` or `;` begins a comment at the start of a line only. Blanks around the key and
    before the value are not part of them (gkeyfile.c: g_key_file_parse_key_value_pair).
    Raises `KeyFileError` at the first line that is none of this.
    """
    group: str | None = None
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            if not line.endswith("]") or len(line) == 2:
                raise KeyFileError(f"line {number}: not a group")
            group = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise KeyFileError(f"line {number}: neither a group, an entry nor a comment")
        if group is None:
            raise KeyFileError(f"line {number}: an entry before the first group")
        yield Entry(group, key.strip(), value.strip())


def groups(text: str) -> dict[str, dict[str, str]]:
    """All groups, those of one name merged. Raises `KeyFileError`."""
    found: dict[str, dict[str, str]] = {}
    for entry in entries(text):
        found.setdefault(entry.group, {})[entry.key] = entry.value
    return found
