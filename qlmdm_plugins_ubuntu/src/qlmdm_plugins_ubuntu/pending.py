"""Asks apt which updates wait on a machine, and puts several answers of it together.

The simulation says what would be installed. It does not say why a package is kept back, nor
that a version which it would skip had a security fix: for that, the version tables are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from qlmdm_core.api import CommandResult, Host
from qlmdm_plugins_ubuntu import apt, otherwise

CHANGE_NOTHING = ("-oDir::Log::Planner=", "-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache=")
"""Run by root, even a simulation replaces /var/log/apt/eipp.log.xz, and any question may write
the caches below /var/cache/apt anew. An empty name keeps apt from that (apt.conf(5) says so of
the caches, and apt-pkg/edsp.cc does it for the log). Written in one word each: a replay takes
words that begin with "-" for unimportant."""
_SIMULATE = ("-s", "-o", "Debug::NoLocking=1", "-o", "APT::Get::Show-User-Simulation-Note=no")
SIMULATIONS = (
    ("apt-get", *CHANGE_NOTHING, *_SIMULATE, "dist-upgrade"),
    ("apt-get", *_SIMULATE, "dist-upgrade"),
    ("apt-get", "-s", "dist-upgrade"),
    ("apt-get", "-s", "full-upgrade"),
    ("apt-get", "-s", "-o", "Debug::NoLocking=true", "dist-upgrade"),
    ("apt-get", "-s", "upgrade"),
    ("apt-get", "-s", "-o", "Debug::NoLocking=true", "upgrade"),
    ("apt", "-s", "full-upgrade"),
    ("apt", "-s", "upgrade"),
)
"""How to ask for a simulated upgrade. The first one is asked on any live machine; the others
are for recordings, older ones or made by hand, that hold the same question in other words."""

UNPHASED = (
    "apt-get",
    *CHANGE_NOTHING,
    "-s",
    "-oDebug::NoLocking=1",
    "-oAPT::Get::Show-User-Simulation-Note=no",
    "-oAPT::Get::Always-Include-Phased-Updates=true",
    "dist-upgrade",
)


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
    kept = _kept_back(host, simulation, held)
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


def _notes(simulation: apt.Simulation, kept: _KeptBack) -> Iterable[str]:
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
    return _first_found(host, SIMULATIONS, timeout=90.0)


def _apt(host: Host, program: str, *words: str, timeout: float = 10.0) -> CommandResult:
    """Ask a program of apt, which changes nothing."""
    # The second spelling is for recordings, where the first may be like several.
    spellings = ((program, *CHANGE_NOTHING, *words), (program, *words))
    return _first_found(host, spellings, timeout=timeout)


def _first_found(
    host: Host, spellings: Sequence[tuple[str, ...]], *, timeout: float
) -> CommandResult:
    results = (host.run(argv, timeout=timeout) for argv in spellings)
    return next((r for r in results if r.found), CommandResult(argv=spellings[0], found=False))


def _listed(host: Host, simulation: CommandResult) -> Pending:
    """What waits by `apt list`, which still answers where a simulation fails.

    It does where dependencies are broken, for instance. What it shows does wait, unless it is
    phased; an empty list proves nothing on a machine whose apt is broken.
    """
    listed = _apt(host, "apt", "list", "--upgradable", timeout=30.0)
    if not listed.ok:
        return _summed_up(host, simulation)
    held = _held(host)
    upgrades = [u for u in apt.parse_upgradable(listed.stdout) if u.name not in (held or ())]
    policy = _policy(host, [upgrade.name for upgrade in upgrades if not upgrade.security])
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
    result = _apt(host, "apt-mark", "showhold")
    return tuple(result.stdout.split()) if result.ok else None


def _policy(host: Host, names: Sequence[str]) -> dict[str, apt.Policy]:
    if not names:
        return {}
    result = _apt(host, "apt-cache", "policy", *names, timeout=20.0)
    return apt.parse_policy(result.stdout) if result.ok else {}


def _with_hidden_fixes(host: Host, upgrades: Sequence[apt.Upgrade]) -> Iterable[apt.Upgrade]:
    """The same upgrades, with those marked that contain a security fix of an earlier version."""
    policy = _policy(host, [upgrade.name for upgrade in upgrades if not upgrade.security])
    for upgrade in upgrades:
        entry = policy.get(upgrade.name)
        if entry is None or not entry.security:
            yield upgrade
        else:
            yield replace(upgrade, security=True)


@dataclass(frozen=True, kw_only=True)
class _KeptBack:
    """Why newer versions are kept back."""

    phased: tuple[str, ...] = ()
    """They are handed out in stages, or need others that are."""
    blocked: tuple[apt.Upgrade, ...] = ()
    """They wait, and apt can't install them without more ado."""
    undecided: tuple[str, ...] = ()
    held_security: tuple[str, ...] = ()
    """The owner holds them, and misses a security fix by it."""


def _kept_back(host: Host, simulation: apt.Simulation, held: Sequence[str] | None) -> _KeptBack:
    """Sort those that apt keeps back by the reason.

    apt before 2.5 shows phased updates as "kept back", like those that it can't install. Any
    apt keeps back what needs a phased update: beside one, only a security fix surely waits, and
    for the others apt is asked what it would do if nothing were phased.
    """
    policy = _policy(host, simulation.kept_back)
    phased = [
        name
        for name in simulation.kept_back
        if name not in (held or ()) and name in policy and policy[name].phased
    ]
    some_phased = bool(simulation.phased or phased)
    beside: list[str] = []
    blocked: list[apt.Upgrade] = []
    undecided: list[str] = []
    held_security: list[str] = []
    for name in simulation.kept_back:
        entry = policy.get(name, apt.Policy())
        if name in (held or ()):
            if entry.security:
                held_security.append(name)
        elif name in phased:
            continue
        elif some_phased and not entry.security:
            beside.append(name)
        elif held is not None and entry.installed and entry.candidate:
            blocked.append(
                apt.Upgrade(
                    name=name,
                    installed=entry.installed,
                    available=entry.candidate,
                    security=entry.security,
                )
            )
        else:
            undecided.append(name)
    unblocked = _without_phasing(host) if beside else frozenset()
    phased += [name for name in beside if name in unblocked]
    undecided += [name for name in beside if name not in unblocked]
    return _KeptBack(
        phased=tuple(phased),
        blocked=tuple(blocked),
        undecided=tuple(undecided),
        held_security=tuple(held_security),
    )


def _without_phasing(host: Host) -> frozenset[str]:
    """What apt would upgrade if nothing were handed out in stages."""
    result = host.run(UNPHASED, timeout=60.0)
    upgrades = apt.parse_simulation(result.stdout).upgrades if result.ok else ()
    return frozenset(upgrade.name for upgrade in upgrades if not upgrade.security)


def _names(names: Iterable[str], most: int = 10) -> str:
    """A few names for a person, and how many there are beyond."""
    unique = sorted(set(names))
    more = f" and {len(unique) - most} more" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more
