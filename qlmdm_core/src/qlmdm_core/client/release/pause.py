"""Remembers which release could not be taken, why, and when to try it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qlmdm_core.api import JSON
from qlmdm_core.client.backoff import Backoff
from qlmdm_core.client.state import State
from qlmdm_core.errors import SpoolError
from qlmdm_core.manifest import Version

UPDATE_STATE = "update.json"
LONGEST_PAUSE = 3600.0
"""Seconds."""
MAX_WHY = 500


@dataclass(frozen=True, kw_only=True)
class Pause:
    """How long to leave a release alone that could not be taken."""

    version: str = ""
    problem: str = ""
    backoff: Backoff = Backoff()

    @classmethod
    def read(cls, state: State) -> Pause:
        """What was remembered; nothing, if that is damaged: trying again does no harm."""
        try:
            value = state.read_json(UPDATE_STATE) or {}
            return cls(
                version=str(value.get("version", "")),
                problem=str(value.get("problem", "")),
                backoff=_backoff(value.get("backoff", {})),
            )
        except (SpoolError, TypeError, ValueError, AttributeError):
            return cls()

    def waits(self, version: Version, now: float) -> bool:
        """Whether it is too early to try this release again."""
        return self.version == str(version) and self.backoff.waits(now)

    def after(self, version: Version, now: float, problem: str) -> Pause:
        """After one more failure."""
        before = self.backoff if self.version == str(version) else Backoff()
        return Pause(
            version=str(version),
            problem=problem[:MAX_WHY],
            backoff=before.failed(now, LONGEST_PAUSE),
        )

    def write(self, state: State) -> None:
        """Remember it; a full disk forgets it, and the next try comes sooner."""
        try:
            state.write_json(UPDATE_STATE, asdict(self))
        except SpoolError:
            return


def _backoff(value: JSON) -> Backoff:
    return Backoff(
        failures=int(value.get("failures", 0)),
        failed_at=float(value.get("failed_at", 0)),
        until=float(value.get("until", 0)),
    )
