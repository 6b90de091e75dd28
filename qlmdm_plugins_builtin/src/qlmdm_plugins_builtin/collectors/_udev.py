"""Reads udev's database, which anybody may: for several collectors."""

from __future__ import annotations


def parse(text: str) -> dict[str, str]:
    """The properties in a file of /run/udev/data, by name: `E:ID_FS_TYPE=ext4`."""
    properties = {}
    for line in text.splitlines():
        if line.startswith("E:") and "=" in line:
            name, _, value = line[2:].partition("=")
            properties[name] = value
    return properties
