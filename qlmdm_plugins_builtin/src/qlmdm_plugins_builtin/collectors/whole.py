"""Reads a configuration file whole or not at all: half of one may say the opposite of it."""

from __future__ import annotations

import errno

from qlmdm_core import Host

LARGEST = 1 << 20
"""Bytes; no configuration that a person or a program writes comes near it."""


def read_whole(host: Host, path: str, *, max_bytes: int = LARGEST) -> str:
    """The file's text. Raises `OSError`, also for a file that is larger than `max_bytes`."""
    text = host.read(path, max_bytes=max_bytes + 1)
    # A character takes four bytes at most.
    if len(text) * 4 > max_bytes and len(text.encode("utf-8", "replace")) > max_bytes:
        raise OSError(errno.EFBIG, "too large for a configuration file", path)
    return text
