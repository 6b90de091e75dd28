"""Which process may write to the database next: a fair queue of two file locks.

It is fair because it has an anteroom: who wants to write first takes `FILE.queue`, then
`FILE.lock`, then leaves the anteroom. A process that has just written finds the next one
already waiting at the inner door. (flock(2) alone is not fair: who unlocks and locks again at
once mostly wins.)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_turn(path: str) -> Iterator[None]:
    """Hold the right to write to the database at `path`, after those who came before."""
    locks = WriteLocks(path)
    try:
        locks.acquire()
        yield
        locks.release()
    finally:
        locks.close()


class WriteLocks:
    """The anteroom and the inner door. One thread at a time may use them.

    The files stay open between uses: opening them each time took as long as locking them. A
    child of fork(2) that kept them open would keep them locked: see `forget`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._anteroom = self._inner = -1

    def acquire(self) -> None:
        """Wait for our turn. Raises `OSError`."""
        self._open()
        fcntl.flock(self._anteroom, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._inner, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._anteroom, fcntl.LOCK_UN)

    def try_acquire(self) -> bool:
        """Take our turn if nobody writes or waits. Raises `OSError`."""
        self._open()
        try:
            fcntl.flock(self._anteroom, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            fcntl.flock(self._inner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._anteroom, fcntl.LOCK_UN)
        return True

    def release(self) -> None:
        """Let the next one write."""
        if self._inner >= 0:
            fcntl.flock(self._inner, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files; what is locked is not any more."""
        for fd in (self._anteroom, self._inner):
            if fd >= 0:
                os.close(fd)
        self._anteroom = self._inner = -1

    forget = close
    """In a child of fork(2). flock(2): the parent's locks stay, as the parent has them open."""

    def _open(self) -> None:
        if self._anteroom < 0:
            self._anteroom = _open_lock(f"{self._path}.queue")
        if self._inner < 0:
            self._inner = _open_lock(f"{self._path}.lock")


def _open_lock(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
