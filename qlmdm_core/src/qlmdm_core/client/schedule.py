"""When a client polls and collects: at its own moment in each interval, derived from its id.

If a fleet did both on the minute, its server would be idle for 59 seconds and drown in the
60th. Each client's moments are fixed by its id, so they spread evenly and stay put.

This module is all that a minute without work needs, so it imports nothing.
"""

from __future__ import annotations

DUE_FILE = "due"
"""In the state directory: when it was written, and when something is next due (Unix times)."""


def splay(cid: str, interval: float) -> float:
    """Seconds from the start of each interval to this client's moment in it.

    >>> splay("00000000-0000-4000-8000-000000000000", 60.0)
    0.0
    """
    digits = "".join(char for char in cid if char in "0123456789abcdef")[:8]
    return int(digits or "0", 16) / 2**32 * interval


def next_due(cid: str, interval: float, now: float) -> float:
    """The first of this client's moments after `now` (Unix time)."""
    offset = splay(cid, interval)
    return ((now - offset) // interval + 1) * interval + offset


def read_due(path: str) -> tuple[float, float] | None:
    """When the state file was written and when something is next due; None: unknown, so now."""
    try:
        with open(path, encoding="ascii") as file:
            written_at, due_at = file.read(100).split()
            return float(written_at), float(due_at)
    except (OSError, ValueError):
        return None


def pause(path: str, now: float, longest: float) -> float | None:
    """Seconds until something is due, or None if that is more than `longest` away.

    A state file from the future means that the clock was set back: then it is due at once.
    """
    due = read_due(path)
    if due is None or now < due[0]:
        return 0.0
    wait = max(0.0, due[1] - now)
    return wait if wait <= longest else None
