"""Decides who gets a name that plugins claim, and which adapter serves this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qlmdm_core.errors import PluginError
from qlmdm_core.plugins import descriptors
from qlmdm_core.plugins.entries import PluginEntry
from qlmdm_core.plugins.guard import PluginFailure, guarded

D = TypeVar("D")


@dataclass(frozen=True, kw_only=True)
class Resolved(Generic[D]):
    """What is left after names that were claimed twice are taken out."""

    accepted: list[tuple[PluginEntry, D]]
    failures: list[PluginFailure]


def resolve_conflicts(
    kind: str,
    claims: Iterable[tuple[PluginEntry, D]],
    name: Callable[[D], str] = descriptors.name_of,
) -> Resolved[D]:
    """Leave out every name that more than one plugin claims; each claimant gets a failure.

    `kind` is what is claimed, for the message: "collector", "check", "settings section", …
    """
    claimed: dict[str, list[tuple[PluginEntry, D]]] = {}
    for entry, descriptor in claims:
        claimed.setdefault(name(descriptor), []).append((entry, descriptor))
    resolved: Resolved[D] = Resolved(accepted=[], failures=[])
    for called, claimants in claimed.items():
        if len(claimants) == 1:
            resolved.accepted.extend(claimants)
            continue
        owners = sorted({entry.owner for entry, _ in claimants})
        error = f"{kind} {called!r} is claimed by {' and by '.join(owners)}; none is used"
        resolved.failures.extend(_conflict(entry, error) for entry, _ in claimants)
    return resolved


def _conflict(entry: PluginEntry, error: str) -> PluginFailure:
    return PluginFailure(
        distribution=entry.distribution, entry_point=entry.name, stage="conflict", error=error
    )


@dataclass(frozen=True, kw_only=True)
class DistroChoice(Generic[D]):
    """The adapter for a machine, and whose it is; or none, with the reason in `failures`."""

    adapter: D | None = None
    entry: PluginEntry | None = None
    failures: tuple[PluginFailure, ...] = ()


def choose_distro(
    adapters: Iterable[tuple[PluginEntry, D]], os_release: Mapping[str, str]
) -> DistroChoice[D]:
    """The adapter whose `match` is highest, and above 0; a tie is an error that names both.

    An adapter whose `match` raises, or answers no whole number, costs only itself.
    """
    failures: list[PluginFailure] = []
    best: list[tuple[PluginEntry, D]] = []
    highest = 0
    for entry, adapter in adapters:
        score = guarded(entry, "match", _match, adapter, dict(os_release))
        if isinstance(score, PluginFailure):
            failures.append(score)
        elif score > highest:
            highest, best = score, [(entry, adapter)]
        elif score == highest and score > 0:
            best.append((entry, adapter))
    if len(best) > 1:
        owners = " and ".join(
            f"{getattr(adapter, 'name', '?')} of {entry.owner}" for entry, adapter in best
        )
        error = f"{owners} match this distribution equally well ({highest}); none is used"
        failures += [_conflict(entry, error) for entry, _ in best]
        best = []
    if not best:
        return DistroChoice(failures=tuple(failures))
    entry, adapter = best[0]
    return DistroChoice(adapter=adapter, entry=entry, failures=tuple(failures))


def _match(adapter: Any, os_release: dict[str, str]) -> int:
    score = adapter.match(os_release)
    if isinstance(score, bool) or not isinstance(score, int):
        raise PluginError(f"match() answered {score!r}; expected a whole number"[:200])
    return score
