"""Tells whether an installed update of an Arch Linux machine waits for a restart."""

from __future__ import annotations

from qlmdm_core.api import Host, Reboot

MODULES = "/usr/lib/modules"
_OWN = ("vmlinuz", "pkgbase", "modules.dep", "kernel")
"""What a kernel's package puts in its folder, and a leftover of foreign modules has not."""


def reboot_required(host: Host) -> Reboot:
    """Whether the running kernel was replaced: its modules are then gone from the disk."""
    try:
        kernel = host.read("/proc/sys/kernel/osrelease").strip()
    except OSError:
        kernel = host.run(("uname", "-r")).stdout.strip()
    if not kernel or "/" in kernel:
        return Reboot(required=None, reason="the running kernel's release can't be told")
    try:
        installed = host.listdir(MODULES)
    except OSError as error:
        return Reboot(required=None, reason=f"{MODULES}: {error.strerror}")
    if _is_kernel(host, kernel):
        return Reboot(required=False)
    others = [other for other in installed if _is_kernel(host, other)]
    if not others:
        reason = "no kernel is installed here: a container, or one that is booted from outside"
        return Reboot(required=None, reason=reason)
    return Reboot(required=True, reason=f"the modules of the running kernel {kernel} are gone")


def _is_kernel(host: Host, release: str) -> bool:
    return any(host.exists(f"{MODULES}/{release}/{name}") for name in _OWN)
