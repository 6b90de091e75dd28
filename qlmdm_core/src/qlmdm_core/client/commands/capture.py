"""What a script printed, bounded: its beginning and its end."""

from __future__ import annotations

GAP = "\n[...]\n"


class Capture:
    """One stream. At most `limit` bytes of it are kept, however much comes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._first = b""
        self._last = b""
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """More of it."""
        self.size += len(chunk)
        room = max(0, self._limit // 2 - len(self._first))
        self._first += chunk[:room]
        keep = self._limit - self._limit // 2
        if keep and chunk[room:]:
            self._last = (self._last + chunk[room:])[-keep:]

    def text(self, limit: int) -> str:
        """What is kept of it, cut to `limit` bytes: the middle is missing then."""
        if self.size <= min(limit, self._limit):
            return (self._first + self._last).decode("utf-8", "replace")
        half = limit // 2
        end = (self._first + self._last)[-(limit - half) :] if limit > half else b""
        beginning = self._first[:half].decode("utf-8", "replace")
        return beginning + GAP + end.decode("utf-8", "replace")


def share(stdout: Capture, stderr: Capture, limit: int) -> tuple[str, str, bool]:
    """Both streams, together `limit` bytes at most, and whether something is missing.

    A stream that needs less than half of it leaves the rest to the other.
    """
    half = limit // 2
    for_stdout = max(half, limit - stderr.size)
    for_stderr = limit - min(stdout.size, for_stdout)
    cut = stdout.size + stderr.size > limit
    return stdout.text(for_stdout), stderr.text(for_stderr), cut
