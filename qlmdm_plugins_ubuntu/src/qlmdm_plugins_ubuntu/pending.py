"""Asks apt which updates wait on a machine, and puts several answers of it together.

The simulation says what would be installed. It does not say why a package is kept back, nor
that a version which it would skip had a security fix: for that, the version tables are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from qlmdm_core.api import CommandResult, Host
from qlmdm_plugins_ubuntu import apt, commands, otherwise
from qlmdm_plugins_ubuntu.kept import KeptBack, sort_out


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What waits, put together from several answers of apt."""

    packages: tuple[apt.Upgrade, ...] = ()
    count: int = 0
    undecided: int = 0
    """Newer versions that are kept back, where it can't be told why."""
    incomplete: bool = False
    """apt counted more packages than it showed, so that their origin is not known."""
    security: int | None = None
    """How many are for security, where that was counted and not shown."""
    held: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    """Why this can't prove that nothing waits."""


def ask(host: Host) -> Pending:
    """What waits on this machine, by the simulation, or failing that by the list of `apt`."""
    result = _simulate(host)
    if not result.ok:
        return _listed(host, result)
    simulation = apt.parse_simulation(result.stdout)
    if not simulation.understood:
        return Pending(problem="apt-get simulated an upgrade and said nothing about it")
    held = _held(host)
    kept = sort_out(host, simulation, held)
    left_alone = len(simulation.kept_back) + len(simulation.phased)
    shown = len(simulation.upgrades)
    upgraded = max(shown, simulation.upgraded or 0, len(simulation.named))
    notes = list(_notes(simulation, kept))
    if not simulation.pro_only:
        notes += otherwise.pro_note(host)
    return Pending(
        packages=(*_with_hidden_fixes(host, simulation.upgrades), *kept.blocked),
        count=upgraded + len(kept.blocked),
        undecided=len(kept.undecided) + max(0, (simulation.not_upgraded or 0) - left_alone),
        incomplete=upgraded > shown,
        security=simulation.security if upgraded > shown else None,
        held=held or (),
        notes=tuple(notes),
    )


def _notes(simulation: apt.Simulation, kept: KeptBack) -> Iterable[str]:
    if simulation.unfinished:
        yield (
            f"{simulation.unfinished} packages are not fully installed or removed; "
            "run: sudo dpkg --configure -a"
        )
    if phased := (*simulation.phased, *kept.phased):
        yield "not offered to this machine yet (phasing): " + _names(phased)
    if kept.blocked:
        yield "kept back by apt: " + _names(package.name for package in kept.blocked)
    if kept.undecided:
        yield "kept back, and it can't be told why: " + _names(kept.undecided)
    if kept.held_security:
        yield "held by the owner though a security update waits: " + _names(kept.held_security)
    if pro := set(simulation.pro_only):
        yield f"{len(pro)} security updates need Ubuntu Pro: " + _names(pro)


def _simulate(host: Host) -> CommandResult:
    return commands.first_found(host, commands.SIMULATIONS, timeout=90.0)


def _listed(host: Host, simulation: CommandResult) -> Pending:
    """What waits by `apt list`, which still answers where a simulation fails.

    It does where dependencies are broken, for instance. What it shows does wait, unless it is
    phased; an empty list proves nothing on a machine whose apt is broken.
    """
    listed = commands.ask_apt(host, "apt", "list", "--upgradable", timeout=30.0)
    if not listed.ok:
        return _summed_up(host, simulation)
    held = _held(host)
    upgrades = [u for u in apt.parse_upgradable(listed.stdout) if u.name not in (held or ())]
    policy = commands.policy_of(
        host, [upgrade.name for upgrade in upgrades if not upgrade.security]
    )
    phased = tuple(u.name for u in upgrades if u.name in policy and policy[u.name].phased)
    packages = tuple(upgrade for upgrade in upgrades if upgrade.name not in phased)
    notes = [simulation.why] if simulation.found else []
    if phased:
        notes.append("not offered to this machine yet (phasing): " + _names(phased))
    empty = "" if listed.stdout.strip() else "apt list printed nothing"
    return Pending(
        packages=packages,
        count=len(packages),
        held=held or (),
        notes=tuple(notes),
        problem=simulation.why if simulation.found else empty,
    )


def _summed_up(host: Host, simulation: CommandResult) -> Pending:
    """What waits by those who only count it."""
    summary = otherwise.ask(host, apt_is_there=simulation.found)
    if summary is None:
        return Pending(problem=simulation.why)
    # That no security update waits says nothing of the others.
    security = summary.security if summary.security or summary.updates is not None else None
    problem = "" if summary.updates == 0 else simulation.why
    if summary.old_lists:
        problem = "the package lists are more than a week old; run: sudo apt update"
    return Pending(
        count=max(summary.updates or 0, security or 0),
        incomplete=True,
        security=security,
        notes=tuple(otherwise.notes_of(summary)),
        problem=problem,
    )


def _held(host: Host) -> tuple[str, ...] | None:
    """The packages that the owner holds at their version; None if that can't be asked."""
    result = commands.ask_apt(host, "apt-mark", "showhold")
    return tuple(result.stdout.split()) if result.ok else None


def _with_hidden_fixes(host: Host, upgrades: Sequence[apt.Upgrade]) -> Iterable[apt.Upgrade]:
    """The same upgrades, with those marked that contain a security fix of an earlier version."""
    policy = commands.policy_of(
        host, [upgrade.name for upgrade in upgrades if not upgrade.security]
    )
    for upgrade in upgrades:
        entry = policy.get(upgrade.name)
        if entry is None or not entry.security:
            yield upgrade
        else:
            yield replace(upgrade, security=True)


def _names(names: Iterable[str], most: int = 10) -> str:
    """A few names for a person, and how many there are beyond."""
    unique = sorted(set(names))
    more = f" and {len(unique) - most} more" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more
