"""Signs the server's answers with the key in a file, and takes up another one while it runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from qlmdm_core.errors import QlmdmError
from qlmdm_core.signing import Signer

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""So long may a running server go on with the key that it had."""


class FollowingSigner:
    """Signs with the key in a file, and looks now and then whether another one is there."""

    def __init__(
        self,
        path: str,
        load: Callable[[], Signer],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` makes a signer of what is in the file. Raises what `load` does."""
        self._path = path
        self._load = load
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen = self._mark()
        self._signer = load()
        self._looked_at = monotonic()

    @property
    def fingerprint(self) -> str:
        """Of the key that signs now."""
        return self._signer.fingerprint

    def sign(self, data: bytes) -> str:
        """A detached, ASCII-armoured signature."""
        if self._monotonic() - self._looked_at >= LOOK_SECONDS:
            self._look()
        return self._signer.sign(data)

    def _look(self) -> None:
        """Take up another key. One that can't be used is told once; the old one goes on."""
        if not self._lock.acquire(blocking=False):
            return  # another thread looks
        try:
            self._looked_at = self._monotonic()
            seen = self._mark()
            if seen == self._seen:
                return
            self._seen = seen
            before = self._signer.fingerprint
            self._signer = self._load()
            log.info("the online key is %s now; it was %s", self._signer.fingerprint, before)
        except QlmdmError as error:
            log.error("the online key stays as it was: %s", error)  # noqa: TRY400 - it has it all
        finally:
            self._lock.release()

    def _mark(self) -> tuple[int, ...]:
        """Changes with each file that takes the place of another."""
        try:
            found = os.stat(self._path)
        except OSError:
            return ()
        return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
