"""Asks an Arch Linux machine, or a relative, about its updates and packages.

It never synchronises the live databases: `pacman -Sy` without the upgrade leaves a machine
that breaks with the next package it installs (wiki.archlinux.org, "Partial upgrades").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from qlmdm_core import osrelease
from qlmdm_core.api import (
    JSON,
    CommandResult,
    Host,
    InstalledPackages,
    Reboot,
    ReleaseUpgrade,
    Updates,
)
from qlmdm_plugins_arch import ignored, installed, pacman, reboot
from qlmdm_plugins_arch.settings import ArchSettings

DATABASE = "/var/lib/pacman"
OLD_DATABASES = 7 * 86400
"""Seconds after which the package databases say nothing any more about what a machine lacks:
on a rolling release no week passes without updates."""
CLOCK_ERROR = 86400.0
"""Seconds by which a file may come from the future before its time is taken for nonsense."""
_DISTRIBUTION_DATABASES = ("core", "extra", "multilib", "system", "world", "galaxy")


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What one of the ways to ask for updates said."""

    upgrades: tuple[pacman.Upgrade, ...] = ()
    problem: str = ""
    fresh: bool = False
    """It was computed from databases that were fetched just now."""


class PacmanAdapter:
    """The adapter to Arch Linux and the distributions that are built upon it."""

    name = "arch"

    def __init__(self, settings: ArchSettings | None = None) -> None:
        self._settings = settings or ArchSettings()

    def match(self, os_release: Mapping[str, str]) -> int:
        """20 for Arch Linux itself, 10 for its relatives, else 0."""
        if os_release.get("ID") == "arch":
            return 20
        return 10 if "arch" in os_release.get("ID_LIKE", "").split() else 0

    def updates(self, host: Host) -> Updates:
        """The updates that `pacman -Syu` would install.

        Without the network, these are relative to the last synchronisation, which on most
        machines was the last upgrade: nothing then waits until somebody synchronises again,
        so its age is what counts. Packages that the owner ignores are no updates. What was
        built from the AUR is not covered.
        """
        if why := _other_system(host):
            return Updates(state="unknown", reason=why)
        if host.exists(f"{DATABASE}/db.lck"):
            reason = (
                f"pacman's database is locked ({DATABASE}/db.lck): "
                "an upgrade is running, or one was killed"
            )
            return Updates(state="unknown", reason=reason, cache_age_seconds=_age(host))
        answer, notes = self._ask(host)
        held = tuple(upgrade.name for upgrade in answer.upgrades if upgrade.ignored)
        advisories, note = self._advisories(host)
        if note:
            notes.append(note)
        left_alone = set(held)
        if advisories:  # checkupdates leaves out what is ignored, arch-audit does not
            left_alone |= ignored.among(host, advisories)
        packages = _packages(answer.upgrades, advisories, left_alone)
        age = 0 if answer.fresh else _age(host)
        reason = "" if packages else answer.problem or _doubt(host, age)
        security = None
        if advisories is not None and (packages or not answer.problem):
            security = sum(package["security"] is True for package in packages)
        return Updates(
            state="updates_available" if packages else "unknown" if reason else "up_to_date",
            reason=reason,
            updates=len(packages) if packages or not answer.problem else None,
            security_updates=security,
            packages=packages,
            held=held,
            cache_age_seconds=age,
            notes=tuple(notes),
        )

    def _ask(self, host: Host) -> tuple[_Answer, list[str]]:
        """The pending updates, by the best way that is allowed and answers; and notes."""
        notes: list[str] = []
        if self._settings.network:
            answer = _checkupdates(
                host.run(
                    ("checkupdates",),
                    env={"CHECKUPDATES_DB": self._settings.checkupdates_db},
                    timeout=120.0,
                )
            )
            if not answer.problem:
                return answer, notes
            notes.append(answer.problem)
        result = host.run(("pacman", "-Qu"), timeout=30.0)
        if not result.found:
            # Only in a recording that was made by hand: it may hold the other way to ask.
            listed = _checkupdates(host.run(("checkupdates",)))
            if not listed.problem:
                return listed, notes
        return _query(result), notes

    def _advisories(self, host: Host) -> tuple[frozenset[str] | None, str]:
        """The packages with a security fix that can be installed; None, and why, if unknown."""
        # It asks the network, and so only where that is allowed, or where its answer was
        # written down: no Arch is without this file but in a recording made by hand.
        recorded = not host.exists("/usr/bin/pacman") and host.which("arch-audit") is not None
        if not self._settings.network and not recorded:
            return None, ""
        result = host.run(("arch-audit", "-u"), timeout=30.0)
        if recorded and not result.found:
            result = host.run(("arch-audit", "-uf", "%n|%c"))
        if not result.ok:
            return None, result.why if self._settings.network else ""
        return pacman.parse_advisories(result.stdout), ""

    def release_upgrade(self, host: Host) -> ReleaseUpgrade:
        """A rolling release has no next one, and no end but that of the distribution."""
        if osrelease.read(host).get("ID") == "arch":
            return ReleaseUpgrade(end_of_life=False)
        return ReleaseUpgrade(reason="whether this relative of Arch is still kept is not known")

    def package_version(self, host: Host, name: str) -> str | None:
        """The version of an installed package; None if it is not, or pacman can't be asked."""
        if not name or name.startswith("-"):
            return None
        result = host.run(("pacman", "-Q", name))
        return pacman.parse_version(result.stdout, name) if result.ok else None

    def packages(self, host: Host) -> InstalledPackages:
        """All installed packages, by pacman's local database."""
        return installed.packages(host)

    def reboot_required(self, host: Host) -> Reboot:
        """Whether the running kernel was replaced."""
        return reboot.reboot_required(host)


def _packages(
    upgrades: Iterable[pacman.Upgrade], advisories: frozenset[str] | None, held: Iterable[str]
) -> tuple[Mapping[str, JSON], ...]:
    """What waits: by pacman, and beside that what has a security fix that pacman's databases
    do not know yet."""
    listed = {
        upgrade.name: {
            "name": upgrade.name,
            "installed": upgrade.installed,
            "available": upgrade.available,
            "security": None if advisories is None else upgrade.name in advisories,
        }
        for upgrade in upgrades
        if not upgrade.ignored
    }
    for name in sorted((advisories or frozenset()) - set(listed) - set(held)):
        listed[name] = {"name": name, "installed": None, "available": None, "security": True}
    return tuple(listed.values())


def _other_system(host: Host) -> str:
    """Why pacman's answer is meaningless here, though it may be there."""
    identity = osrelease.read(host)
    if identity.get("ID") == "steamos":
        return "SteamOS is an image; its packages are not upgraded by pacman"
    if host.exists("/run/ostree-booted"):
        return "the system is an image (ostree); its packages are not upgraded by pacman"
    return ""


def _checkupdates(result: CommandResult) -> _Answer:
    """checkupdates(8): 0 and a list, 2 and nothing, 1 for a failure (no network, no fakeroot)."""
    if result.returncode == 2 and not result.stdout.strip():
        return _Answer(fresh=True)
    upgrades = pacman.parse_upgrades(result.stdout)
    if result.ok and upgrades:
        return _Answer(upgrades=upgrades, fresh=True)
    return _Answer(problem="checkupdates printed nothing" if result.ok else result.why)


def _query(result: CommandResult) -> _Answer:
    """`pacman -Qu`: 0 and a list; 1 and nothing if no update waits, or if it could not tell."""
    upgrades = pacman.parse_upgrades(result.stdout)
    if result.ok and upgrades:
        return _Answer(upgrades=upgrades)
    if result.returncode not in (0, 1) or result.timed_out or result.truncated:
        return _Answer(problem=result.why)
    if trouble := pacman.complaint(result.stderr):
        return _Answer(problem=f"pacman: {trouble}")
    if result.stdout.strip():
        return _Answer(problem="pacman's answer is not understood")
    return _Answer()


def _doubt(host: Host, age: int | None) -> str:
    """Why nothing to install proves nothing; empty if it does."""
    if age is None:
        return "it can't be told how old pacman's package databases are; run: sudo pacman -Syu"
    if age > OLD_DATABASES:
        # The day, not the age: a sentence that stays the same is not told as news each day.
        day = (host.now() - timedelta(seconds=age)).date()
        return f"pacman's package databases are of {day.isoformat()}; run: sudo pacman -Syu"
    return ""


def _age(host: Host) -> int | None:
    """Seconds since the newest database of the distribution; None if that can't be told.

    pacman gives each file the time that the mirror names: it can seem older than it is.
    """
    now = host.now().timestamp()
    paths = host.glob(f"{DATABASE}/sync/*.db")
    own = [path for path in paths if _database(path) in _DISTRIBUTION_DATABASES]
    times = list(_times(host, own or paths, now))
    return max(0, int(now - max(times))) if times else None


def _database(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".db")


def _times(host: Host, paths: Iterable[str], now: float) -> Iterable[float]:
    for path in paths:
        try:
            time = host.stat(path).mtime
        except OSError:
            continue
        if 0 < time <= now + CLOCK_ERROR:
            yield time
