"""A clock that tests move by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

START = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
"""When recorded machines were recorded and audits of tests begin, unless a test says otherwise."""


@dataclass
class Clock:
    """Stands still until moved. It starts at the present, where signatures have real times."""

    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **duration: float) -> None:
        """Move it, as by `forward(minutes=5)`."""
        self.now += timedelta(**duration)
