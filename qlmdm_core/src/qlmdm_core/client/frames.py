"""Messages between the processes of a collect: a length-prefixed JSON header, and raw bytes.

Whoever writes may be a process in which a plugin runs, so nothing that is read is believed:
lengths are bounded before anything is stored, and what is no message is a `FrameError`, which
costs the writer its life and nobody else anything.
"""

from __future__ import annotations

import json
import os
import struct
from typing import NamedTuple

from qlmdm_core import strictjson
from qlmdm_core.api import JSON

MAX_HEADER = 1 << 20
MAX_BODY = 64 << 20
_LENGTHS = struct.Struct("!II")
_CHUNK = 1 << 16


class FrameError(Exception):
    """The other side wrote something that is no message."""


class Frame(NamedTuple):
    """One message: what it is, and bytes that need no look on their way through."""

    header: dict[str, JSON]
    body: bytes


def encode(header: dict[str, JSON], body: bytes = b"") -> bytes:
    """A message as bytes."""
    head = json.dumps(header, allow_nan=False).encode("ascii")
    if b"\\ud" in head:  # perhaps half a character, which no reader takes
        head = json.dumps(_printable(header), allow_nan=False).encode("ascii")
    return _LENGTHS.pack(len(head), len(body)) + head + body


def _printable(value: JSON) -> JSON:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    return value


def send(fd: int, header: dict[str, JSON], body: bytes = b"") -> None:
    """Write a whole message; raises `OSError` if nobody reads it any more."""
    view = memoryview(encode(header, body))
    while view:
        view = view[os.write(fd, view) :]


class FrameReader:
    """Takes messages out of the bytes that arrive at a descriptor, however they are cut."""

    def __init__(self, fd: int, *, max_body: int = MAX_BODY) -> None:
        self.fd = fd
        self._max_body = max_body
        self._buffer = bytearray()
        self.ended = False
        """Nothing more will come."""

    def read(self) -> list[Frame]:
        """What has arrived, after one read. Raises `FrameError`; it can't be used afterwards."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return []
        except ConnectionError:
            chunk = b""
        if not chunk:
            self.ended = True
            return []
        self._buffer += chunk
        frames: list[Frame] = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if len(self._buffer) < _LENGTHS.size:
            return None
        head, body = _LENGTHS.unpack_from(self._buffer)
        if head > MAX_HEADER or body > self._max_body:
            raise FrameError(f"a message of {head} and {body} bytes")
        start, end = _LENGTHS.size + head, _LENGTHS.size + head + body
        if len(self._buffer) < end:
            return None
        text = bytes(self._buffer[_LENGTHS.size : start])
        content = bytes(self._buffer[start:end])
        del self._buffer[:end]
        try:
            header = strictjson.parse(text, max_bytes=MAX_HEADER)
        except strictjson.JsonError as error:
            raise FrameError(str(error)) from None
        if not isinstance(header, dict):
            raise FrameError("a message whose header is no object")
        return Frame(header, content)
