"""Tells why apt keeps newer versions back: phasing, the owner, or what it can't resolve."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core.api import Host
from qlmdm_plugins_ubuntu import apt, commands


@dataclass(frozen=True, kw_only=True)
class KeptBack:
    """Why newer versions are kept back."""

    phased: tuple[str, ...] = ()
    """They are handed out in stages, or need others that are."""
    blocked: tuple[apt.Upgrade, ...] = ()
    """They wait, and apt can't install them without more ado."""
    undecided: tuple[str, ...] = ()
    held_security: tuple[str, ...] = ()
    """The owner holds them, and misses a security fix by it."""


def sort_out(host: Host, simulation: apt.Simulation, held: Sequence[str] | None) -> KeptBack:
    """Sort what apt keeps back by the reason. `held` is None where that can't be asked.

    apt before 2.5 shows phased updates as "kept back", like those that it can't install. Any
    apt keeps back what needs a phased update: beside one, only a security fix surely waits, and
    for the others apt is asked what it would do if nothing were phased.
    """
    policy = commands.policy_of(host, simulation.kept_back)
    owned = set(held or ())
    names = [name for name in simulation.kept_back if name not in owned]
    phased = [name for name in names if name in policy and policy[name].phased]
    all_phased = {*simulation.phased, *phased}
    rest = [name for name in names if name not in all_phased]
    beside = [n for n in rest if all_phased and not policy.get(n, apt.Policy()).security]
    unphased = _without_phasing(host, all_phased) if beside else None
    phased += [name for name in beside if name in (unphased or ())]
    blocked: list[apt.Upgrade] = []
    undecided: list[str] = []
    for name in rest:
        if name in phased:
            continue
        upgrade = _upgrade(name, policy)
        if upgrade is None or held is None or (name in beside and unphased is None):
            undecided.append(name)
        else:
            blocked.append(upgrade)
    return KeptBack(
        phased=tuple(phased),
        blocked=tuple(blocked),
        undecided=tuple(undecided),
        held_security=tuple(n for n in simulation.kept_back if n in owned and _is_fix(n, policy)),
    )


def _upgrade(name: str, policy: Mapping[str, apt.Policy]) -> apt.Upgrade | None:
    entry = policy.get(name)
    if entry is None or not entry.installed or not entry.candidate:
        return None
    return apt.Upgrade(
        name=name,
        installed=entry.installed,
        available=entry.candidate,
        security=entry.security,
    )


def _is_fix(name: str, policy: Mapping[str, apt.Policy]) -> bool:
    return name in policy and policy[name].security


def _without_phasing(host: Host, phased: Collection[str]) -> set[str] | None:
    """What apt would upgrade if nothing were handed out in stages; None if it can't be told.

    An answer that leaves the phased ones out as before is no answer to that question: it may be
    the only simulation of a recording.
    """
    result = host.run(commands.UNPHASED, timeout=60.0)
    upgrades = apt.parse_simulation(result.stdout).upgrades if result.ok else ()
    names = {upgrade.name for upgrade in upgrades}
    if not names & set(phased):
        return None
    return {upgrade.name for upgrade in upgrades if not upgrade.security}
