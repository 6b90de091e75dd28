"""Asks programs as long as they answer: each that hangs costs its whole time limit.

A dead session bus makes every program of that user hang, and there may be many users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qlmdm_core import CommandResult, Host

TIMEOUT = 5.0
"""Seconds for each question: D-Bus activation may hang under a dead session bus."""
MOST_HANGING = 8
"""So many programs may hang; with their time limits, that is the most this collector waits."""


class Patience:
    """What is left of it, over all sessions of a machine."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._left = MOST_HANGING

    def run(
        self, argv: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> CommandResult:
        """What the program answers; without asking, once too many did not answer."""
        if self._left <= 0:
            why = "not asked, for too many programs did not answer in time"
            return CommandResult(argv=tuple(argv), found=True, timed_out=True, error=why)
        result = self._host.run(argv, user=user, env=env, timeout=TIMEOUT)
        if result.timed_out:
            self._left -= 1
        return result
