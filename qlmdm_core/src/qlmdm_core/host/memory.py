"""What a collector keeps between its runs: one small file, which may be lost at any time."""

from __future__ import annotations

import contextlib
import json
import os

from qlmdm_core.api import JSON

MAX_BYTES = 64 << 10


class Memory:
    """The memory of one collector; without a path, it forgets at once."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def recall(self) -> JSON:
        """The value; None if there is none, or none that can be read."""
        if self._path is None:
            return None
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                data = file.read(MAX_BYTES + 1)
            return json.loads(data) if len(data) <= MAX_BYTES else None
        except (OSError, ValueError, RecursionError):
            return None

    def remember(self, value: JSON) -> None:
        """Replace the value, as a whole or not at all. Not made durable: it is no loss."""
        if self._path is None:
            return
        try:
            data = json.dumps(value, allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError):  # it is not JSON
            return
        if len(data) > MAX_BYTES:
            return
        # One name, so that a collector that is killed each time leaves one file.
        temporary = f"{self._path}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            fd = os.open(temporary, flags, 0o600)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                os.rename(temporary, self._path)
            except OSError:
                os.unlink(temporary)
