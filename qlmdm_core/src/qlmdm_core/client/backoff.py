"""How long to leave a server alone that could not answer: exponential, with full jitter.

Full jitter (a uniform pause up to the bound) spreads a fleet that lost its server at one
moment evenly over the time in which it comes back.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

FIRST = 60.0
"""Seconds; the bound after the first failure. It doubles with each further one."""
ASKED_MOST = 86400.0
"""Seconds; the longest pause that a server may ask for."""


@dataclass(frozen=True)
class Backoff:
    """Failures in a row, the last one's time, and when the next try may be made (Unix times)."""

    failures: int = 0
    failed_at: float = 0.0
    until: float = 0.0

    def failed(self, now: float, longest: float, *, at_least: float = 0.0) -> Backoff:
        """After one more failure; `at_least` seconds if the server asked for a pause itself."""
        bound = min(longest, FIRST * 2 ** min(self.failures, 30))
        jitter = random.uniform(0, bound)  # noqa: S311
        return Backoff(self.failures + 1, now, now + max(min(at_least, ASKED_MOST), jitter))

    def waits(self, now: float) -> bool:
        """Whether to wait still. A failure that lies in the future was dated by another clock."""
        return self.failed_at <= now < self.until
