"""Closes what no client will ever tell about: commands that ended and were never begun."""

from __future__ import annotations

from datetime import datetime, timedelta

from qlmdm_core.store import Store

GRACE = timedelta(days=7)
"""A client may have carried a command out in time and be able to tell only later. So what it
was given is called expired, which is final, only so long after the command's end."""


def sweep(store: Store, now: datetime) -> None:
    """Call it expired, wherever it was not begun. Done by each audit and each list."""
    while store.expire_targets(now - GRACE):
        pass
