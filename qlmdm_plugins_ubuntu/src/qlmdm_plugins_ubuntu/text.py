"""Reads a file of which nothing is the same as none."""

from __future__ import annotations

from qlmdm_core.api import Host


def text_of(host: Host, path: str) -> str:
    """The text of a file, empty if there is none that can be read."""
    try:
        return host.read(path)
    except OSError:
        return ""
