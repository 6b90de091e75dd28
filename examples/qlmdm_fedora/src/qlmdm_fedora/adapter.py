"""The adapter: which machines it is for, and who answers each of the contract's questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from qlmdm_core import osrelease
from qlmdm_core.api import Host, InstalledPackages, Reboot, ReleaseUpgrade, Updates
from qlmdm_fedora import image, pending, releases, repositories, restart, rpmdb

OLD_LISTS = 14 * 86400
"""Seconds after which dnf's lists say nothing any more about what a machine lacks. Sites set a
shorter time of their own in the audit; two weeks without any update never happen."""
MADE_FOR = ("fedora", "rhel", "centos", "rocky", "almalinux", "ol", "amzn")
RELATIVES = ("fedora", "rhel", "centos")


class FedoraAdapter:
    """The adapter to Fedora, RHEL, and the distributions that are built upon them."""

    name = "fedora"

    def match(self, os_release: Mapping[str, str]) -> int:
        """20 for those it is made for, 10 for their relatives, else 0."""
        if os_release.get("ID") in MADE_FOR:
            return 20
        like = os_release.get("ID_LIKE", "").split()
        return 10 if any(name in like for name in RELATIVES) else 0

    def updates(self, host: Host) -> Updates:
        """The updates that `dnf upgrade` would install, by the lists that are there.

        Up to date is only claimed of a machine whose own repositories have lists that are not
        old, on a release that is still given updates. What the owner holds back is no update.
        """
        found = image.updates(host) if image.is_image(host) else self._packages(host)
        if found.state == "up_to_date" and (reason := self._unsupported(host)):
            return replace(found, state="unknown", reason=reason)
        return found

    def _packages(self, host: Host) -> Updates:
        waiting = pending.ask(host)
        reason = ""
        if not waiting.upgrades:
            reason = waiting.problem or _doubt(host, waiting)
        notes = (*waiting.notes, *_pinned(host))
        if waiting.upgrades and waiting.problem:
            notes = (*notes, waiting.problem)
        known = bool(waiting.upgrades) or not waiting.problem
        return Updates(
            state="updates_available"
            if waiting.upgrades
            else "unknown"
            if reason
            else "up_to_date",
            reason=reason,
            updates=len(waiting.upgrades) if known else None,
            security_updates=waiting.security if known else None,
            packages=waiting.upgrades,
            held=repositories.held(host),
            cache_age_seconds=waiting.age_seconds,
            notes=notes,
        )

    def release_upgrade(self, host: Host) -> ReleaseUpgrade:
        """The next release, and the end of support."""
        return releases.judge(osrelease.read(host), host.now().date())

    def package_version(self, host: Host, name: str) -> str | None:
        """The version of an installed package; None if it is not, or if rpm can't be asked."""
        return rpmdb.package_version(host, name)

    def packages(self, host: Host) -> InstalledPackages:
        """All installed packages."""
        return rpmdb.packages(host)

    def reboot_required(self, host: Host) -> Reboot:
        """Whether an installed update waits for a restart."""
        return (
            image.reboot_required(host) if image.is_image(host) else restart.reboot_required(host)
        )

    def _unsupported(self, host: Host) -> str:
        release = self.release_upgrade(host)
        if not release.end_of_life:
            return ""
        return (
            f"the release has had no updates since {release.supported_until}, "
            "so that nothing to install proves nothing"
        )


def _doubt(host: Host, waiting: pending.Pending) -> str:
    """Why dnf's lists can't prove that nothing waits; empty if they can."""
    identity = osrelease.read(host)
    known = waiting.known
    looked = known.enabled is not None or known.lists
    if identity.get("ID") == "rhel" and looked and not any(map(repositories.is_own, known.own)):
        return "no repository of Red Hat is enabled; register the machine to get updates"
    if reason := _locked(host, identity):
        return reason
    if waiting.age_seconds is None:
        return "it can't be told how old dnf's package lists are; run: sudo dnf makecache"
    if waiting.age_seconds > OLD_LISTS:
        # The day, not the age: a sentence that stays the same is not told as news each day.
        day = (host.now() - timedelta(seconds=waiting.age_seconds)).date()
        return f"dnf's package lists are of {day.isoformat()}; run: sudo dnf makecache"
    return ""


def _pinned(host: Host) -> tuple[str, ...]:
    """A minor release that the owner keeps to: later ones, and their fixes, are not offered."""
    for path in ("/etc/dnf/vars/releasever", "/etc/yum/vars/releasever"):
        release = repositories.read(host, path).strip()
        if "." in release:
            return (f"kept to the release {release[:20]} ({path})",)
    return ()


def _locked(host: Host, identity: Mapping[str, str]) -> str:
    """Amazon Linux 2023 stays at the state of its image unless it is told otherwise.

    Its repositories are addressed by `releasever`, which is that of system-release; within one,
    nothing ever changes (docs.aws.amazon.com/linux/al2023, "Deterministic upgrades").
    """
    if (identity.get("ID"), identity.get("VERSION_ID")) != ("amzn", "2023"):
        return ""
    if repositories.read(host, "/etc/dnf/vars/releasever").strip() == "latest":
        return ""
    return (
        "Amazon Linux 2023 is locked to one release of its repositories, "
        "so that nothing to install proves nothing; run: dnf check-release-update"
    )
