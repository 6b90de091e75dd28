"""Asks dnf which updates wait on a machine, from the lists that it has, and nobody else.

With `-C` dnf neither fetches nor asks a server. It then takes a repository without lists for
one without updates, and exits 0. dnf 4 says so on standard error, dnf5 not at all: "nothing
waits" proves something only together with `repositories`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qlmdm_core.api import JSON, CommandResult, Host
from qlmdm_fedora import dnf, repositories, rpmdb
from qlmdm_fedora.repositories import Repositories
from qlmdm_fedora.versions import Package, compare

CACHE_ONLY = "-C"
LOG_ELSEWHERE = "--setopt=logdir=/run/qlmdm-dnf"
"""Asked by root, dnf appends to /var/log/dnf.log each time; this keeps its log to what the
owner did. /run is root's, and empty after each start."""
LISTS_OF_ALL = (f"--setopt=cachedir={repositories.DNF5}", "--setopt=build_cache=0")
"""Asked by others, dnf5 copies all lists to the user's home before it answers, and then asks
those. This makes it read the system's, as dnf 4 does, and write none."""
CHECKS = (("dnf", "check-update"), ("dnf5", "check-upgrade"), ("yum", "check-update"))
"""How to ask for the updates: the first program that is there is asked. dnf5 knows
`check-update`, too; where it stands beside dnf 4, `dnf` is the one that the owner uses."""
RECORDED_CHECKS = (
    ("dnf", "-q", "check-update"),
    ("dnf", "check-update"),
    ("dnf", "check-upgrade"),
    ("yum", "check-update"),
)
"""The same question in other words, for recordings: a live machine never gets so far."""
ADVISORIES = (
    ("dnf", "-q", "updateinfo", "list", "--security"),
    ("dnf5", "-q", "advisory", "list", "--security", "--json"),
    ("yum", "-q", "updateinfo", "list", "security"),
)
"""How to ask which builds mend security holes. yum 3 has no option for it."""
RECORDED_ADVISORIES = (
    ("dnf", "updateinfo", "list", "--security"),
    ("dnf", "advisory", "list", "--security", "--json"),
    ("dnf", "advisory", "list", "--security"),
    ("yum", "updateinfo", "list", "--security"),
)
UPDATES_WAIT = 100
"""The exit status of check-update if there are updates (dnf(8))."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What waits, and what that is worth."""

    upgrades: tuple[Mapping[str, JSON], ...] = ()
    """In the form of `Updates.packages`."""
    security: int | None = None
    known: Repositories
    age_seconds: int | None = None
    problem: str = ""
    """Why an empty list proves nothing."""
    notes: tuple[str, ...] = ()


def ask(host: Host) -> Pending:
    """What waits on this machine."""
    result = _check(host)
    known = repositories.examine(host, dnf5=is_dnf5(host, result.argv[0]))
    if result.returncode not in (0, UPDATES_WAIT) or result.timed_out or result.truncated:
        return Pending(known=known, problem=_failure(result))
    check = dnf.parse_check(result.stdout)
    if result.returncode == UPDATES_WAIT and not check.upgrades and not check.replacements:
        return Pending(known=known, problem="dnf's list is not understood")
    advisories = _advisories(host, known) if check.upgrades else frozenset()
    upgrades = tuple(_packages(host, check.upgrades, advisories, known))
    left_out = dnf.repositories_left_out(result.stderr)
    age = known.age_seconds if known.lists else check.age_seconds
    return Pending(
        upgrades=upgrades,
        security=_count_security(upgrades, check.upgrades, advisories, known),
        known=known,
        age_seconds=age,
        problem=_doubt(host, result, known, left_out),
        notes=tuple(_notes(check, left_out)),
    )


def _check(host: Host) -> CommandResult:
    result = _ask(host, CHECKS, RECORDED_CHECKS)
    if not result.found and host.which("microdnf"):
        why = "it can't list updates, and dnf is not installed"
        return CommandResult(argv=("microdnf",), found=False, error=why)
    return result


def _ask(
    host: Host, spellings: Iterable[tuple[str, ...]], recorded: Iterable[tuple[str, ...]]
) -> CommandResult:
    """The first answer there is; else what came of asking dnf."""
    first: CommandResult | None = None
    for program, *rest in spellings:
        argv = (program, CACHE_ONLY, *options(host, program), *rest)
        result = host.run(argv, timeout=90.0)
        if result.found:
            return result
        first = first or result
    for argv in recorded:
        result = host.run(argv)
        if result.found:
            return result
    return first or CommandResult(argv=("dnf",), found=False)


def options(host: Host, program: str) -> tuple[str, ...]:
    """What to tell this program beside the question, so that it leaves the least behind."""
    if program == "yum":
        return ()
    if host.is_root:
        return (LOG_ELSEWHERE,)
    return LISTS_OF_ALL if is_dnf5(host, program) else ()


def is_dnf5(host: Host, program: str) -> bool | None:
    """Whether this program is dnf5; None if that can't be told."""
    if program in ("dnf5", "yum"):
        return program == "dnf5"
    try:
        target = host.readlink("/usr/bin/dnf")
    except OSError:
        return None
    return "dnf5" in target if "dnf" in target else None


def _failure(result: CommandResult) -> str:
    missing = dnf.repositories_left_out(result.stderr)
    if missing:
        return _no_lists(missing)
    if "no enabled repositories" in result.stderr:
        return "no repository is enabled, so that no update can be found"
    return result.why


def _no_lists(names: Iterable[str]) -> str:
    return f"dnf has no lists of {', '.join(sorted(names))[:160]}; run: sudo dnf makecache"


def _doubt(
    host: Host, result: CommandResult, known: Repositories, left_out: tuple[str, ...]
) -> str:
    """Why this answer, if it is empty, proves nothing."""
    if dnf.says_unregistered(result.stdout + result.stderr):
        return "the machine is not registered with Red Hat, which gives it no updates"
    if known.enabled is not None and not known.enabled:
        return "no repository is enabled, so that no update can be found"
    counting = known.own | frozenset(filter(repositories.is_own, left_out))
    missing = {name for name in left_out if name in counting or not known.own}
    if missing := missing | set(known.missing):
        return _no_lists(missing)
    if not host.is_root and result.argv[:1] == ("yum",):
        return "not root: yum asks lists of this user's own, whose age is not known"
    return ""


def _advisories(host: Host, known: Repositories) -> frozenset[Package] | None:
    """The builds that mend security holes; None if nothing tells."""
    result = _ask(host, ADVISORIES, RECORDED_ADVISORIES)
    answer = dnf.parse_advisories(result.stdout) if result.ok else None
    if not answer and not known.advisories:
        return None  # an empty list where no repository has any says nothing
    return answer


def _packages(
    host: Host,
    upgrades: tuple[dnf.Upgrade, ...],
    advisories: frozenset[Package] | None,
    known: Repositories,
) -> Iterable[Mapping[str, JSON]]:
    if not upgrades:
        return
    answer = rpmdb.installed(host)
    versions: dict[tuple[str, str], str] = {}
    for package in answer if isinstance(answer, tuple) else ():
        key = (package.name, package.arch)
        if key not in versions or compare(package.version, versions[key]) > 0:
            versions[key] = package.version
    fixes: dict[tuple[str, str], list[str]] = {}
    for fix in advisories or ():
        fixes.setdefault((fix.name, fix.arch), []).append(fix.version)
    for upgrade in upgrades:
        package = upgrade.package
        key = (package.name, package.arch)
        security = _is_security(upgrade, fixes.get(key, ()), known)
        yield {
            "name": package.name,
            "installed": versions.get(key),
            "available": package.version,
            "security": None if advisories is None else security,
        }


def _is_security(upgrade: dnf.Upgrade, fixes: Iterable[str], known: Repositories) -> bool | None:
    """Whether this update brings a security fix, its own or that of a build in between.

    A later build often has an advisory of another kind, or none; the hole is open all the same.
    """
    if any(compare(version, upgrade.package.version) <= 0 for version in fixes):
        return True
    lists = known.lists.get(upgrade.repository)
    return False if lists is None or lists.advisories else None


def _count_security(
    packages: tuple[Mapping[str, JSON], ...],
    upgrades: tuple[dnf.Upgrade, ...],
    advisories: frozenset[Package] | None,
    known: Repositories,
) -> int | None:
    """How many bring security fixes; None rather than 0 if one of the distribution's may.

    An update from a third party without advisories counts as none, as it does everywhere.
    """
    count = sum(package["security"] is True for package in packages)
    if count:
        return count
    if not packages:
        return 0  # whatever has advisories or not: nothing at all waits
    if advisories is None:
        return None
    undecided = any(
        package["security"] is None and upgrade.repository in known.own
        for package, upgrade in zip(packages, upgrades, strict=True)
    )
    return None if undecided else 0


def _notes(check: dnf.Check, left_out: tuple[str, ...]) -> Iterable[str]:
    if check.replacements:
        yield "would take the place of others: " + ", ".join(check.replacements)[:200]
    if left_out:
        yield "without lists, and so left out by dnf: " + ", ".join(left_out)[:200]
