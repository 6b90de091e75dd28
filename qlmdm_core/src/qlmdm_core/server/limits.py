"""How often a stranger may ask: token buckets, kept in this process.

Each server process counts for itself, so that a fleet's limit is that of one process times the
number of processes. That is meant: the limit protects the processors of a process, and needs
no database to be asked about strangers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from qlmdm_core.server.refusals import TooMany


class Buckets:
    """For each name (an address, a key), so many a minute, and as many at once."""

    def __init__(
        self, per_minute: float, *, clock: Callable[[], float], names: int = 10_000
    ) -> None:
        """`clock` counts seconds; `names` bounds the memory (the longest unused goes first)."""
        self._rate = per_minute / 60.0
        self._burst = float(per_minute)
        self._clock = clock
        self._names = names
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> None:
        """Take one, or raise `TooMany` with the seconds until there is one again."""
        self._look(name, 1.0)

    def check(self, name: str) -> None:
        """Raise `TooMany` if there is none to take; take nothing."""
        self._look(name, 0.0)

    def _look(self, name: str, wanted: float) -> None:
        now = self._clock()
        with self._lock:
            if not wanted and name not in self._buckets:
                return  # nobody's name is remembered for asking
            left, at = self._buckets.pop(name, (self._burst, now))
            left = min(self._burst, left + max(0.0, now - at) * self._rate)
            allowed = left >= 1
            self._buckets[name] = (left - wanted if allowed else left, now)
            while len(self._buckets) > self._names:
                self._buckets.popitem(last=False)
        if not allowed:
            raise TooMany(f"too many requests by {name}", retry_after=(1 - left) / self._rate)
