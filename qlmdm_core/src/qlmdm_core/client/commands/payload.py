"""Fetches what a command is to run or to put, and lets it be used only if it is what was signed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Protocol

from qlmdm_core.commanddoc import Command
from qlmdm_core.envelope import Answer
from qlmdm_core.errors import TrustError


class Source(Protocol):
    """Where payloads come from: `way.SideLink`."""

    def fetch(self, command_id: str, *, to: int, max_bytes: int) -> Answer | None:
        """Write the bytes to `to`; an answer says why there are none."""


class NotFetchedError(TrustError):
    """The payload is not here, and why; it may come at the next try."""


def fetch(source: Source, command: Command, path: str) -> None:
    """Have the command's payload at `path`, whole, and exactly what was signed.

    Raises `NotFetchedError`, what `Link.ask` raises, and `OSError` (the disk).
    """
    if _is_right(path, command):
        return  # from the time before the power failed
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            refusal = _asked(source, command, fd)
            os.fsync(fd)
        finally:
            os.close(fd)
        if refusal is not None:
            raise NotFetchedError(
                f"the server did not give its payload: {refusal.status} {refusal.reason}".rstrip()
            )
        if not _is_right(path, command):
            raise NotFetchedError("the payload that came is not the one that was signed")
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise


def _asked(source: Source, command: Command, fd: int) -> Answer | None:
    try:
        return source.fetch(command.id, to=fd, max_bytes=command.payload_size)
    except TrustError as error:  # of what answered, which says nothing about the command
        raise NotFetchedError(f"its payload did not come: {error}") from None


def _is_right(path: str, command: Command) -> bool:
    digest, size = hashlib.sha256(), 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with open(fd, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return size == command.payload_size and digest.hexdigest() == command.payload_sha256
