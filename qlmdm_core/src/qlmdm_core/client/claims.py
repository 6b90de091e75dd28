"""Who gets which collector's name, while distributions are still registering."""

from __future__ import annotations

from dataclasses import dataclass

from qlmdm_core.client.plan import Descriptor
from qlmdm_core.plugins import PluginEntry, PluginFailure, resolve_conflicts


@dataclass(frozen=True, kw_only=True)
class News:
    """What the latest registrations change."""

    names: set[str]
    """All names there are."""
    accepted: list[tuple[PluginEntry, Descriptor]]
    """Those that nobody else claims, and of which nothing was known before."""
    conflicts: list[tuple[Descriptor, str]]
    """Names that turned out to be claimed twice, one claim of each, and the error."""
    failures: list[PluginFailure]
    """One for each claimant of a name that is claimed twice."""


class Claims:
    """All claims so far. Of a name that two claim, neither collector counts, even if it ran."""

    def __init__(self) -> None:
        self._count = 0
        self._seen: set[str] = set()
        self._failures: list[PluginFailure] = []
        self.contested: set[str] = set()

    def settle(self, claims: list[tuple[PluginEntry, Descriptor]]) -> News | None:
        """Look at all claims anew; None if there are no more than the last time."""
        if len(claims) == self._count:
            return None
        self._count = len(claims)
        resolved = resolve_conflicts("collector", claims)
        accepted = {descriptor.name: (entry, descriptor) for entry, descriptor in resolved.accepted}
        failures = [failure for failure in resolved.failures if failure not in self._failures]
        self._failures += failures
        conflicts: list[tuple[Descriptor, str]] = []
        for _, descriptor in claims:
            name = descriptor.name
            if name not in accepted and name not in self.contested:
                self.contested.add(name)
                error = next(f.error for f in resolved.failures if repr(name) in f.error)
                conflicts.append((descriptor, error))
        news = [claim for name, claim in accepted.items() if name not in self._seen]
        self._seen |= {descriptor.name for _, descriptor in claims}
        return News(names=set(self._seen), accepted=news, conflicts=conflicts, failures=failures)
