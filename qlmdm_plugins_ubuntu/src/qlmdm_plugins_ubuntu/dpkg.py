"""Asks dpkg which version of a package is installed, and whether a restart is due."""

from __future__ import annotations

import re

from qlmdm_core.api import Host

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*(?::[a-z0-9-]+)?\Z")  # Debian policy 5.6.1
_FORMAT = "${db:Status-Abbrev}\t${Version}\n"


def package_version(host: Host, name: str) -> str | None:
    """The installed version of a package; None if it is not installed, or dpkg can't be asked."""
    if not _NAME.match(name):  # it would be an option, or a pattern
        return None
    result = host.run(("dpkg-query", "-W", f"-f={_FORMAT}", name))
    return parse_version(result.stdout) if result.ok else None


def parse_version(text: str) -> str | None:
    """The version in dpkg-query's answer, if the package is installed.

    The first of the three letters is what is wanted, the second what is so: `ii ` and `hi `
    are installed, `rc ` has left only its configuration behind, `iF ` is half configured.

    >>> parse_version("ii \\t5.2.15-2+b8\\n")
    '5.2.15-2+b8'
    """
    for line in text.splitlines():
        status, tab, version = line.partition("\t")
        if tab and version.strip() and status[1:2] == "i":
            return version.strip()
    return None


REBOOT_MARKS = ("/run/reboot-required", "/var/run/reboot-required")
MARKERS = (
    # Who leaves the mark: update-notifier-common, unattended-upgrades, reboot-notifier.
    "/usr/share/update-notifier/notify-reboot-required",
    "/etc/kernel/postinst.d/unattended-upgrades",
    "/etc/kernel/postinst.d/reboot-notifier",
)


def reboot_required(host: Host) -> bool | None:
    """Whether an update waits for a restart; None if it can't be told.

    The mark counts where something leaves one. Elsewhere (a plain Debian) the newest installed
    kernel is compared with the running one, which does not see an old library in use.
    """
    if any(host.exists(mark) for mark in REBOOT_MARKS):
        return True
    if any(host.exists(marker) for marker in MARKERS):
        return False
    newest, running = _newest_kernel(host), _running_kernel(host)
    # Of another flavour (cloud-amd64 beside amd64), it would not be the one that is booted.
    if not newest or not running or _flavour(newest) != _flavour(running):
        return None
    return newest != running


def _newest_kernel(host: Host) -> str:
    """The release of the kernel that is booted by default: where the link `vmlinuz` leads.

    linux-update-symlinks(1) keeps it on the newest one, in / (Debian) or /boot (Ubuntu).
    """
    for link in ("/vmlinuz", "/boot/vmlinuz"):
        try:
            return host.readlink(link).rsplit("/", 1)[-1].removeprefix("vmlinuz-")
        except OSError:
            continue
    return ""


def _running_kernel(host: Host) -> str:
    try:
        return host.read("/proc/sys/kernel/osrelease").strip()
    except OSError:
        result = host.run(("uname", "-r"))
        return result.stdout.strip() if result.ok else ""


def _flavour(release: str) -> str:
    """`amd64` of `6.1.0-28-amd64`, `cloud-amd64` of `6.1.0-28-cloud-amd64`."""
    return re.split(r"(?:\d|bpo)-(?=[a-z])", release)[-1]
