"""Tells whether an installed update of an Arch Linux machine waits for a restart."""

from __future__ import annotations

import re

from qlmdm_core.api import Host, Reboot
from qlmdm_plugins_arch import pacman

MODULES = "/usr/lib/modules"
_OWN = ("vmlinuz", "pkgbase", "modules.dep", "kernel")
"""What a kernel's package puts in its folder, and a leftover of foreign modules has not."""
_NOTE = "only the kernel was compared: nothing here notes updated libraries"


def reboot_required(host: Host) -> Reboot:
    """Whether the running kernel was replaced. The first that fits decides:

    - its modules are gone, and another kernel's are there: required;
    - its package (pkgbase) is installed in another version, with modules of its own, those of
      the running one having been kept by hand or by kernel-modules-hook: required;
    - its modules are there: not required, as far as the kernel goes;
    - no kernel is installed at all: it can't be told.
    """
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
    others = [other for other in installed if other != kernel and _is_kernel(host, other)]
    if _is_kernel(host, kernel):
        return _by_package(host, kernel, others)
    if not others:
        reason = "no kernel is installed here: a container, or one that is booted from outside"
        return Reboot(required=None, reason=reason)
    return Reboot(
        required=True,
        reason=f"the modules of the running kernel {kernel} are gone",
        installed_kernel=others[0] if len(others) == 1 else None,
    )


def _by_package(host: Host, kernel: str, others: list[str]) -> Reboot:
    """A kernel whose modules are there: whether its package has moved on.

    The versions alone don't tell: a package 6.17.7-1 (linux-xanmod) may hold the kernel
    6.17.7-x64v3-xanmod1-1. It has moved on only if another folder of modules is its own, too.
    """
    name = _package_of(host, kernel)
    if not any(_package_of(host, other) == name for other in others):
        name = ""
    if re.match(r"[a-z0-9@_+][a-z0-9@._+-]*\Z", name):
        result = host.run(("pacman", "-Q", name))
        version = pacman.parse_version(result.stdout, name) if result.ok else None
        if version is not None and not same_kernel(version, kernel):
            return Reboot(
                required=True,
                reason=f"{name} {version} is installed, {kernel} runs",
                packages=(name,),
            )
    return Reboot(required=False, installed_kernel=kernel, notes=(_NOTE,))


def _package_of(host: Host, release: str) -> str:
    """The package that a kernel came with, by the file in which it says so."""
    try:
        return host.read(f"{MODULES}/{release}/pkgbase").strip()
    except OSError:
        return ""


def same_kernel(version: str, release: str) -> bool:
    """Whether a package of this version holds the kernel of this release.

    The release is the version, with dots for hyphens or the other way round, and a name behind;
    a first version of a series has a zero more.

    >>> same_kernel("6.17.7.arch1-1", "6.17.7-arch1-1"), same_kernel("6.12.56-1", "6.12.56-1-lts")
    (True, True)
    """
    ours, theirs = (re.split(r"[.-]", text.rpartition(":")[2]) for text in (version, release))
    first = len(ours) == 3 and theirs[2:3] == ["0"]  # 6.17-1, of 6.17.0-1-lts
    if first or (len(ours) > 2 and not ours[2].isdigit()):
        ours.insert(2, "0")
    return theirs[: len(ours)] == ours


def _is_kernel(host: Host, release: str) -> bool:
    return any(host.exists(f"{MODULES}/{release}/{name}") for name in _OWN)
