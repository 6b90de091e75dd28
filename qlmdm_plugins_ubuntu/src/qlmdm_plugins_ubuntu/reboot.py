"""Tells whether an installed update of an Ubuntu or Debian machine waits for a restart."""

from __future__ import annotations

import re

from qlmdm_core.api import Host, Reboot

MARKS = ("/run/reboot-required", "/var/run/reboot-required")
MARKERS = (
    # Who leaves the mark: update-notifier-common, unattended-upgrades, reboot-notifier.
    "/usr/share/update-notifier/notify-reboot-required",
    "/etc/kernel/postinst.d/unattended-upgrades",
    "/etc/kernel/postinst.d/reboot-notifier",
)


def reboot_required(host: Host) -> Reboot:
    """Whether an update waits for a restart; None if it can't be told.

    The mark counts where something leaves one. Elsewhere (a plain Debian) the newest installed
    kernel is compared with the running one, which does not see an old library in use.
    """
    if any(host.exists(mark) for mark in MARKS):
        return Reboot(required=True, reason="a package asks for a restart")
    if any(host.exists(marker) for marker in MARKERS):
        return Reboot(required=False)
    newest, running = _newest_kernel(host), _running_kernel(host)
    # Of another flavour (cloud-amd64 beside amd64), it would not be the one that is booted.
    if not newest or not running or _flavour(newest) != _flavour(running):
        return Reboot(required=None, reason="nothing here notes that a restart is due")
    if newest != running:
        return Reboot(required=True, reason=f"kernel {newest} is installed, {running} runs")
    return Reboot(required=False)


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
