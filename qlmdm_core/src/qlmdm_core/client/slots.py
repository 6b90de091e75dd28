"""How many collectors may start at once."""

from __future__ import annotations

PATIENCE_SECONDS = 0.1
MOST_AT_ONCE = 32


class Slots:
    """Lets in a few at a time, and more once those turn out to be waiting for something.

    To start costs processor time, so only `size` processes may do it at once. One that has
    run for a moment mostly waits (for a command, a disk, the network) and no longer counts,
    so that twenty slow collectors take as long as the slowest and not as long as all. Never
    are there more than `MOST_AT_ONCE`.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._since: dict[str, float] = {}

    def take(self, key: str, now: float) -> bool:
        """Take a slot, if there is one."""
        if self.wait(now) > 0:
            return False
        self._since[key] = now
        return True

    def give_back(self, key: str) -> None:
        """It is over, whether it had a slot or not."""
        self._since.pop(key, None)

    def wait(self, now: float) -> float:
        """Seconds until there may be a free slot; 0: there is one now."""
        fresh = sorted(since for since in self._since.values() if now - since < PATIENCE_SECONDS)
        if len(self._since) >= MOST_AT_ONCE:
            return PATIENCE_SECONDS
        if len(fresh) < self._size:
            return 0.0
        return max(0.001, fresh[-self._size] + PATIENCE_SECONDS - now)
