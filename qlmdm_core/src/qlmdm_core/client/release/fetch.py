"""Fetches the bytes of a release, whose hash is known, from wherever they are to be had.

A mirror need not be trusted: what has the hash is right, and nothing else is looked at. What
was cut off goes on where it ended. What is complete and has another hash is thrown away.

It is asked for in pieces, each of which a server can hand to its system at once: a slow line
then keeps none of the server's threads waiting.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence

from qlmdm_core import envelope
from qlmdm_core.client.disk import Directory
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import TransportError

PART = ".part"
PIECE_BYTES = 128 << 10
"""Of one request; `server.blobs.PIECE_BYTES` is no smaller."""
_CHUNK = 1 << 20
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Source:
    """One place that may have it."""

    def __init__(self, transport: Transport, prefix: str) -> None:
        """`prefix` is the path that a hash is put behind."""
        self.transport = transport
        self.prefix = prefix


def sources(
    server: Transport, mirrors: Sequence[str], *, ca_file: str | None, timeout: float
) -> list[Source]:
    """The mirrors, in their order, then the server itself."""
    found = [
        Source(Transport(url, ca_file=ca_file, timeout=timeout), "/")
        for url in mirrors
        if url.startswith(("https://", "http://"))
    ]
    return [*found, Source(server, envelope.BLOB)]


def fetch(folder: str, places: Sequence[Source], *, sha256: str, size: int) -> str:
    """The path of a file with exactly these bytes, in `folder` (made if it is not there).

    Raises `TransportError` if no place gave them; what came is kept for the next try. Raises
    `OSError` if the disk is full.
    """
    with Directory(folder):  # ours, private, and no link
        path = os.path.join(folder, sha256)
        if _has(path, sha256, size):
            return path
        problems: list[str] = []
        for place in places:
            # A second time if it went on from what others gave: one who lies in its first part,
            # and then has no more, would else spoil what every honest one gives.
            for _ in range(2):
                begun = os.path.lexists(path + PART)
                try:
                    _fetch_from(place, path + PART, sha256, size)
                except TransportError as error:
                    problems.append(str(error))
                    break
                if _has(path + PART, sha256, size):
                    os.rename(path + PART, path)
                    return path
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path + PART)
                problems.append("what came was something else")
                if not begun:
                    break
        raise TransportError(f"a release can't be fetched: {'; '.join(problems)}")


def _fetch_from(place: Source, path: str, sha256: str, size: int) -> None:
    """Complete a file from one place, going on from what is there."""
    fd = os.open(path, _OPEN, 0o600)
    try:
        if os.fstat(fd).st_size >= size:
            os.ftruncate(fd, 0)  # complete, and not right, or it would not be fetched
        start = os.lseek(fd, 0, os.SEEK_END)
        until = time.monotonic() + place.transport.patience(size - start)
        while start < size and _piece(place, fd, sha256, start, size):
            before, start = start, os.lseek(fd, 0, os.SEEK_END)
            if start == before:
                raise TransportError("a part of a release is empty")
            if time.monotonic() > until:
                raise TransportError("a release comes too slowly")
        os.fsync(fd)
    finally:
        os.close(fd)


def _piece(place: Source, fd: int, sha256: str, start: int, size: int) -> bool:
    """Write the next bytes, or all of them if the place has no parts; whether more are to come."""
    path = place.prefix + sha256
    got = place.transport.download(
        path, to=fd, max_bytes=min(PIECE_BYTES, size - start), start=start
    )
    more = got.status == 206
    if got.status == 200 and not got.body:
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        got = place.transport.download(path, to=fd, max_bytes=size)
    if got.status not in (200, 206) or got.body:
        raise TransportError(f"HTTP {got.status}, and not the bytes of a release")
    return more


def _has(path: str, sha256: str, size: int) -> bool:
    """Whether a file has exactly these bytes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(fd, "rb") as file:
        if os.fstat(fd).st_size != size:
            return False
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == sha256


def forget(folder: str) -> None:
    """Take everything away that was fetched; no error if there is nothing."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
