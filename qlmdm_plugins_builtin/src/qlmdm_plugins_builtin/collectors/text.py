"""Reads a file of which nothing is the same as none, such as one below /sys or /proc."""

from __future__ import annotations

from qlmdm_core import Host


def text_of(host: Host, path: str, *, max_bytes: int = 1 << 20) -> str:
    """The file's text, at most so much of it; empty if there is none that can be read.

    (A file below /sys may be there and answer EINVAL, as of a network link that is down.)
    """
    try:
        return host.read(path, max_bytes=max_bytes)
    except OSError:
        return ""
