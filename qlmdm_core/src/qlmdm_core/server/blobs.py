"""`GET /qlmdm/v1/blob/SHA256`: the bytes of releases, for everybody.

They are no secret, and whoever gets them checks their hash. They lie in a folder as plain files,
so that the system sends them (sendfile(2)) without this process reading them, and a web server or
mirror can take them over. The folder is filled from the database on first use, and can be
deleted at any time. Only what a stored release names is served: payloads of commands lie in the
same store, and are nobody else's business.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
import secrets
import socket
import struct
import termios
import threading
from collections.abc import Callable
from typing import BinaryIO

import falcon

from qlmdm_core.errors import StoreCorruptError, StoreUnavailableError
from qlmdm_core.server.releases.offers import Offers
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.store import Store

PIECE_BYTES = 128 << 10
"""A part that is no larger is handed to the system at once, and keeps no thread waiting."""
STALL_SECONDS = 30.0
"""So long may somebody who downloads take nothing."""
BUSY_RETRY_SECONDS = "15"
RECHECK_SECONDS = 1.0
"""So old may what is known of the releases be before an unknown hash is refused."""
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")


def folder_of(settings: ServerSettings) -> str:
    """Where the files lie."""
    return settings.blobs or os.path.join(os.path.dirname(os.path.abspath(settings.keys)), "blobs")


class Shelf:
    """The folder with the blobs of releases."""

    def __init__(self, folder: str, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._lock = threading.Lock()

    def open(self, sha256: str, size: int | None) -> BinaryIO | None:
        """The file, filled from the store if it is not there; None: nobody has these bytes.

        Raises `StoreError`. A file of another size was damaged, and is made anew.
        """
        path = os.path.join(self._folder, sha256)
        found = self._there(path, size)
        if found is not None:
            return found
        with self._lock:  # several threads that want the same need not all read it
            return self._there(path, size) or self._filled(path, sha256)

    def _there(self, path: str, size: int | None) -> BinaryIO | None:
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115 - handed on
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailableError(f"{path}: {error.strerror}") from None
        if size is not None and os.fstat(file.fileno()).st_size != size:
            file.close()
            return None
        return file

    def _filled(self, path: str, sha256: str) -> BinaryIO | None:
        data = self._store.blob(sha256)
        if data is None:
            return None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StoreCorruptError(f"blob {sha256}: the store gave other bytes")
        temporary = os.path.join(self._folder, f".new-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            os.makedirs(self._folder, mode=0o755, exist_ok=True)
            try:
                _write(temporary, data)
                os.rename(temporary, path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            _sync_folder(self._folder)
        except OSError as error:
            raise StoreUnavailableError(f"{self._folder}: {error.strerror or error}") from None
        return self._there(path, len(data))


def _write(path: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o644), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Blobs:
    """The resource."""

    def __init__(self, *, shelf: Shelf, offers: Offers, at_once: int) -> None:
        """`at_once`: so many downloads may keep a thread waiting; the others belong to clients."""
        self._shelf = shelf
        self._offers = offers
        self._places = threading.BoundedSemaphore(at_once)

    def on_head(self, req: falcon.Request, resp: falcon.Response, sha256: str) -> None:
        """What there would be to get."""
        file = self._find(sha256)
        with file:
            part = _part_of(req, sha256, os.fstat(file.fileno()).st_size)
        _describe(resp, sha256, part)
        resp.content_length = part.size

    def on_get(self, req: falcon.Request, resp: falcon.Response, sha256: str) -> None:
        """The bytes, or those of them that `Range` asks for."""
        connection = req.env.get("gunicorn.socket")
        file = self._find(sha256)
        part_stream = None
        try:
            part = _part_of(req, sha256, os.fstat(file.fileno()).st_size)
            part_stream = PartStream(file, part, self._place_for(connection, part.size))
        finally:
            if part_stream is None:
                file.close()
        _describe(resp, sha256, part)
        resp.set_stream(part_stream, part.size)
        if connection is not None:
            # Of a socket without one, Python waits for ever when sendfile(2) can't go on.
            connection.settimeout(STALL_SECONDS)

    def _place_for(self, connection: socket.socket | None, size: int) -> Callable[[], None]:
        """Take a place, if it takes one to send so much; what gives it back. Raises 503."""
        if connection is not None and _goes_at_once(connection, size):
            return _nothing
        if not self._places.acquire(blocking=False):
            raise falcon.HTTPServiceUnavailable(headers={"Retry-After": BUSY_RETRY_SECONDS})
        return self._places.release

    def _find(self, sha256: str) -> BinaryIO:
        if not _HASH.match(sha256):
            raise falcon.HTTPNotFound
        blobs = self._offers.view().blobs or {}
        if sha256 not in blobs:  # a release may just have been published
            blobs = self._offers.view(at_most=RECHECK_SECONDS).blobs or {}
        file = self._shelf.open(sha256, blobs[sha256]) if sha256 in blobs else None
        if file is None:
            raise falcon.HTTPNotFound
        return file


def _goes_at_once(connection: socket.socket, size: int) -> bool:
    """Whether the system has room for so many bytes, however slowly the other side takes them.

    The room is made larger for it: socket(7), SO_SNDBUF, which is doubled, and which any kernel
    allows up to 208 kB. What lies in it already (tcp(7), SIOCOUTQ) is that of somebody who asks
    on and takes nothing. Half of it must stay free: after the last byte, Python waits until the
    socket can be written to again, which it can't before a third is free.
    """
    if size > PIECE_BYTES:
        return False
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE_BYTES * 3 // 2)
        room = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        (waiting,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))
    except OSError:
        return False
    return bool((waiting + size) * 2 <= room)


def _nothing() -> None:
    """Gives back the place of one that took none."""


class Part:
    """Some bytes of a file, or all of them."""

    def __init__(self, start: int, size: int, whole: int, *, is_whole: bool) -> None:
        self.start, self.size, self.whole, self.is_whole = start, size, whole, is_whole


class PartStream(io.RawIOBase):
    """The bytes of one part; with the file's descriptor and place for those who use sendfile."""

    def __init__(self, file: BinaryIO, part: Part, done: Callable[[], None]) -> None:
        super().__init__()
        file.seek(part.start)
        self._file = file
        self._end = part.start + part.size
        self._left = part.size
        self._done = done

    def fileno(self) -> int:
        """Of the file, whose place is where the part begins."""
        return self._file.fileno()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """To a place in the file; `socket.sendfile` leaves it where the last byte was sent."""
        place = self._file.seek(offset, whence)
        self._left = max(0, self._end - place)
        return place

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, none beyond the part."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._file.read(wanted) if wanted else b""
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Let go of the file, and of the place among the downloads."""
        if self.closed:
            return
        super().close()
        self._file.close()
        self._done()


def _describe(resp: falcon.Response, sha256: str, part: Part) -> None:
    resp.content_type = "application/octet-stream"
    resp.set_header("Cache-Control", "public, max-age=31536000, immutable")
    resp.set_header("ETag", f'"{sha256}"')
    resp.set_header("Accept-Ranges", "bytes")
    resp.set_header("X-Content-Type-Options", "nosniff")
    if not part.is_whole:
        last = part.start + part.size - 1
        resp.status = falcon.HTTP_206
        resp.set_header("Content-Range", f"bytes {part.start}-{last}/{part.whole}")


def _part_of(req: falcon.Request, sha256: str, whole: int) -> Part:
    """What is asked for (RFC 9110, 13 and 14). Raises 304 and 416.

    More than one range, or one that is not understood, is the whole: that is always right.
    """
    tag = f'"{sha256}"'
    if tag in (req.get_header("If-None-Match") or ""):
        raise falcon.HTTPStatus(falcon.HTTP_304, headers={"ETag": tag})
    found = _RANGE.match((req.get_header("Range") or "").replace(" ", ""))
    condition = req.get_header("If-Range")
    everything = Part(0, whole, whole, is_whole=True)
    if found is None or not (found[1] or found[2]) or condition not in (None, tag):
        return everything
    first, last = found[1], found[2]
    if not first:  # the last so many bytes
        size = min(int(last), whole)
        start, end = whole - size, whole - 1
        if size == 0:
            raise _unsatisfiable(whole)
    else:
        start, end = int(first), min(int(last), whole - 1) if last else whole - 1
        if last and int(last) < start:
            return everything  # no range at all
    if start >= whole:
        raise _unsatisfiable(whole)
    return Part(start, end - start + 1, whole, is_whole=False)


def _unsatisfiable(whole: int) -> falcon.HTTPError:
    return falcon.HTTPRangeNotSatisfiable(whole)
