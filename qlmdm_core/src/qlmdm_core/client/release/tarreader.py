"""Reads the tar of a release, and nothing that is not exactly such a tar.

Python's own reader knows links, devices, sparse files, and four ways to give a file another
name than its header says. A release has none of that: it is the plainest form of POSIX.1-1988
("ustar"), regular files only, those that the manifest names, in its order, with its sizes and
modes. Whatever else is in there is refused before anything of it is written. Source of the
format: POSIX.1-2001, pax, "ustar Interchange Format".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from qlmdm_core.errors import TrustError
from qlmdm_core.manifest import File

BLOCK = 512
RECORD = 20 * BLOCK
"""Writers fill the last record of this size with zeros."""
CHUNK = 1 << 18
_ZEROS = bytes(BLOCK)


class Stream(Protocol):
    """Where the tar comes from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


def members(stream: Stream, files: Sequence[File]) -> Iterator[tuple[File, Iterator[bytes]]]:
    """Each file of the manifest with its content, which must be taken before the next is asked.

    Raises `TrustError` for anything but exactly these files. That the content has the hash
    which the manifest names is known when it was taken to its end, and not before.
    """
    for file in files:
        header = _exactly(stream, BLOCK)
        if header == _ZEROS:
            raise TrustError(f"the tar ends before {file.path}")
        check_header(header, file)
        content = _Content(stream, file)
        yield file, content.chunks()
        if not content.taken:
            raise TrustError(f"{file.path}: its content was not taken whole")
    _check_end(stream)


class _Content:
    """One file's bytes, with the zeros that fill its last block."""

    def __init__(self, stream: Stream, file: File) -> None:
        self._stream = stream
        self._file = file
        self.taken = False

    def chunks(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        left = self._file.size
        while left:
            chunk = _exactly(self._stream, min(left, CHUNK))
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
        padding = _exactly(self._stream, -self._file.size % BLOCK)
        if padding.strip(b"\0"):
            raise TrustError(f"{self._file.path}: something is hidden behind it in the tar")
        if digest.hexdigest() != self._file.sha256:
            raise TrustError(f"{self._file.path}: not the content that the manifest names")
        self.taken = True


def check_header(header: bytes, file: File) -> None:
    """Raise `TrustError` unless a header is that of this very file, as a regular one."""
    if header[257:265] != b"ustar\x0000":
        raise TrustError(f"the tar is not plain ustar, where {file.path} should be")
    if _number(header[148:156], "checksum") != _checksum(header):
        raise TrustError(f"a header of the tar is damaged, where {file.path} should be")
    kind = header[156:157]
    if kind != b"0":
        raise TrustError(
            f"the tar has something else than a regular file (type {kind!r}), "
            f"where {file.path} should be"
        )
    name, prefix = _text(header[0:100]), _text(header[345:500])
    path = f"{prefix}/{name}" if prefix else name
    if path != file.path:
        raise TrustError(f"the tar has {path!r}, where {file.path} should be")
    if header[157:257].strip(b"\0") or header[500:512].strip(b"\0"):
        raise TrustError(f"{path}: a regular file leads nowhere else")
    if _number(header[100:108], "mode") != file.mode:
        raise TrustError(f"{path}: its mode in the tar is not {file.mode:o}")
    if _number(header[124:136], "size") != file.size:
        raise TrustError(f"{path}: its size in the tar is not {file.size}")


def _check_end(stream: Stream) -> None:
    """Two blocks of zeros, and more of them up to a whole record; nothing else."""
    rest = _exactly(stream, 2 * BLOCK)
    more = b""
    while len(more) < RECORD and (chunk := stream.read(RECORD - len(more))):
        more += chunk
    if (rest + more).strip(b"\0") or len(more) % BLOCK or len(more) >= RECORD:
        raise TrustError("the tar goes on after the last file that the manifest names")


def _exactly(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = stream.read(size - len(data))
        if not chunk:
            raise TrustError("the tar is cut short")
        data += chunk
    return data


def _checksum(header: bytes) -> int:
    """The sum of all bytes, where the checksum's own are taken as spaces."""
    return sum(header[:148]) + 8 * 0x20 + sum(header[156:])


def _number(field: bytes, what: str) -> int:
    """Octal digits, then NUL or space. Base 256, a GNU extension for huge numbers, is refused."""
    digits = field.rstrip(b"\0 ")
    if not digits or digits.translate(None, b"01234567"):
        raise TrustError(f"a {what} in the tar is no octal number")
    return int(digits, 8)


def _text(field: bytes) -> str:
    """A name, up to the first NUL; nothing may hide behind it."""
    name, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise TrustError("a name in the tar has something hidden behind it")
    return name.decode("ascii", "backslashreplace")
