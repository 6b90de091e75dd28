"""Writes the tar of a release: the same bytes from the same files, wherever it is done.

The plainest form of a tar (POSIX.1-1988, "ustar"), regular files only, owned by nobody, of no
time, in the order of the manifest. Python's own writer is not asked: what it writes differs a
little from version to version.
"""

from __future__ import annotations

from collections.abc import Iterable

from qlmdm_core.errors import UsageError

BLOCK = 512
RECORD = 20 * BLOCK
NAME_BYTES, PREFIX_BYTES = 100, 155
"""How long the two parts of a path may be, which is split at a slash."""


def write_tar(files: Iterable[tuple[str, bytes, int]]) -> bytes:
    """A tar of these files (path, content, mode), in this order.

    Raises `UsageError` for a path that does not fit.
    """
    parts: list[bytes] = []
    size = 0
    for path, content, mode in files:
        padding = bytes(-len(content) % BLOCK)
        parts += [header(path, len(content), mode), content, padding]
        size += BLOCK + len(content) + len(padding)
    size += 2 * BLOCK
    parts.append(bytes(2 * BLOCK + -size % RECORD))
    return b"".join(parts)


def header(path: str, size: int, mode: int) -> bytes:
    """The 512 bytes before a file's content (POSIX.1-2001, pax, "ustar Interchange Format")."""
    prefix, name = split(path)
    fields = (
        name.ljust(NAME_BYTES, b"\0")
        + _octal(mode, 8)
        + _octal(0, 8)  # uid
        + _octal(0, 8)  # gid
        + _octal(size, 12)
        + _octal(0, 12)  # mtime
        + b" " * 8  # the checksum, which is of the header with spaces here
        + b"0"  # a regular file
        + bytes(100)  # no link
        + b"ustar\x0000"
        + bytes(32)  # no owner's name
        + bytes(32)  # no group's name
        + _octal(0, 8)
        + _octal(0, 8)
        + prefix.ljust(PREFIX_BYTES, b"\0")
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def split(path: str) -> tuple[bytes, bytes]:
    """The prefix and the name that a path is written as. Raises `UsageError`."""
    whole = path.encode("utf-8")
    if len(whole) <= NAME_BYTES:
        return b"", whole
    at = whole.rfind(b"/", 0, PREFIX_BYTES + 1)
    if at > 0 and len(whole) - at - 1 <= NAME_BYTES:
        return whole[:at], whole[at + 1 :]
    raise UsageError(f"{path}: too long a path for a release; shorten it")


def _octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)
