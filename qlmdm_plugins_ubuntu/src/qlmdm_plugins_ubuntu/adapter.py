"""Asks an Ubuntu or Debian machine, or a relative, about its updates, release and packages.

Nothing here changes the machine or uses the network: an upgrade is simulated from the
package lists that the machine has, and how old those are is part of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from qlmdm_core import osrelease
from qlmdm_core.api import Host, InstalledPackages, Reboot, ReleaseUpgrade, Updates
from qlmdm_plugins_ubuntu import dpkg, installed, lists, pending, reboot, releases, upgrader
from qlmdm_plugins_ubuntu.text import text_of

OLD_LISTS = 14 * 86400
"""Seconds after which package lists say nothing any more about what a machine lacks. Sites
set a shorter time of their own in the audit; two weeks without any update never happen."""

_IMAGE_BASED = {
    "/run/ostree-booted": "the system is an image (ostree); its packages are not upgraded by apt",
    "/usr/bin/abroot": "the system is an image (ABRoot); its packages are not upgraded by apt",
}


class AptAdapter:
    """The adapter to Ubuntu, Debian, and the distributions that are built upon them."""

    name = "ubuntu"

    def match(self, os_release: Mapping[str, str]) -> int:
        """20 for Ubuntu and Debian themselves, 10 for their relatives, else 0."""
        if os_release.get("ID") in ("ubuntu", "debian"):
            return 20
        like = os_release.get("ID_LIKE", "").split()
        return 10 if "ubuntu" in like or "debian" in like else 0

    def updates(self, host: Host) -> Updates:
        """The updates that `apt full-upgrade` would install, by the lists that are there.

        Up to date is only claimed of a machine with lists that are not old, whose release is
        still given updates. Packages that the distribution does not offer to this machine yet
        (phasing), that the owner holds back, or that need a subscription, are no updates; they
        are named in `held` and `notes`.
        """
        for path, reason in _IMAGE_BASED.items():
            if host.exists(path):
                return Updates(state="unknown", reason=reason)
        waiting = pending.ask(host)
        found = lists.examine(host)
        notes = list(waiting.notes)
        security = waiting.security
        if security is None:
            security = sum(package.security for package in waiting.packages)
            told_apart = found.security or self._lists_are_not_recorded(host)
            if not security and (waiting.incomplete or waiting.problem or not told_apart):
                security = None
        reason = ""
        if not waiting.count:
            reason = waiting.problem or _doubt(host, found) or self._unsupported(host)
            if not reason and waiting.undecided:
                reason = (
                    f"{waiting.undecided} newer versions are kept back; "
                    "whether they could be installed can't be told"
                )
        if not found.security and found.found:
            configured = lists.security_configured(host)
            if configured is False and self._has_security_archive(host):
                notes.append("no security archive is among the sources of apt")
                reason = reason or notes[-1]
        # Without lists, "nothing to upgrade" counts nothing.
        counted = found.found or not host.exists(lists.LISTS)
        known = waiting.count > 0 or (
            counted and (not waiting.problem or waiting.security is not None)
        )
        return Updates(
            state="updates_available" if waiting.count else "unknown" if reason else "up_to_date",
            reason="" if waiting.count else reason,
            updates=waiting.count if known else None,
            security_updates=security if known else None,
            packages=tuple(
                {
                    "name": package.name,
                    "installed": package.installed,
                    "available": package.available,
                    "security": package.security if found.security or package.security else None,
                }
                for package in waiting.packages
            ),
            held=waiting.held,
            cache_age_seconds=found.age_seconds,
            notes=tuple(notes),
        )

    def release_upgrade(self, host: Host) -> ReleaseUpgrade:
        """The next release, and the end of support, by the dates of distro-info-data."""
        base = _base(host)
        if base is None:
            return ReleaseUpgrade(reason="os-release names no release of Ubuntu or Debian")
        found = lists.examine(host)
        file = text_of(host, f"/usr/share/distro-info/{base.distribution}.csv")
        known = releases.merge(
            releases.builtin(base.distribution), releases.parse_distro_info(file)
        )
        result = releases.judge(
            known,
            base,
            host.now().date(),
            paid=found.infra_pro if base.distribution == "ubuntu" else found.elts,
            prompt=releases.parse_prompt(text_of(host, "/etc/update-manager/release-upgrades")),
        )
        return upgrader.refine(host, base, result) if base.own else result

    def package_version(self, host: Host, name: str) -> str | None:
        """The version of an installed package; None if it is not, or if dpkg can't be asked."""
        return dpkg.package_version(host, name)

    def packages(self, host: Host) -> InstalledPackages:
        """All installed packages, by the database of dpkg."""
        return installed.packages(host)

    def reboot_required(self, host: Host) -> Reboot:
        """Whether an installed update waits for a restart."""
        return reboot.reboot_required(host)

    def _unsupported(self, host: Host) -> str:
        release = self.release_upgrade(host)
        if not release.end_of_life:
            return ""
        return (
            f"the release has had no updates since {release.supported_until}, "
            "so that nothing to install proves nothing"
        )

    def _lists_are_not_recorded(self, host: Host) -> bool:
        """Whether this is a recording of apt's answer without its lists, of a release that has a
        security archive. On a live machine their folder is part of the package apt."""
        return not host.exists(lists.LISTS) and self._has_security_archive(host)

    def _has_security_archive(self, host: Host) -> bool:
        """Whether this is a release for which a security archive exists (sid has none)."""
        base = _base(host)
        if base is None or (not base.own and base.distribution == "debian"):
            return False
        release = releases.find(releases.builtin(base.distribution), base)
        return release is not None and release.released is not None


def _base(host: Host) -> releases.Base | None:
    """The release that the machine runs or is built upon, by os-release and lsb-release."""
    return releases.base_of(osrelease.read(host), text_of(host, "/etc/lsb-release"))


def _doubt(host: Host, found: lists.PackageLists) -> str:
    """Why the package lists can't prove that nothing waits; empty if they can."""
    if not found.found:
        return "apt has no package lists; run: sudo apt update"
    if found.age_seconds is None:
        return "it can't be told how old the package lists are"
    if found.age_seconds > OLD_LISTS:
        # The day, not the age: a sentence that stays the same is not told as news each day.
        day = (host.now() - timedelta(seconds=found.age_seconds)).date()
        return f"the package lists are of {day.isoformat()}; run: sudo apt update"
    return ""
