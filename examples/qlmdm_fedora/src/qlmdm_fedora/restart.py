"""Tells whether an update waits for a restart: by dnf's plugin, else by the kernel."""

from __future__ import annotations

import functools
import re

from qlmdm_core.api import Host, Reboot
from qlmdm_fedora import dnf, pending
from qlmdm_fedora.versions import rpmvercmp

QUESTIONS = (
    ("dnf", "needs-restarting", "-r"),
    ("dnf5", "needs-restarting", "-r"),
    ("needs-restarting", "-r"),  # yum-utils (EL 7)
)
"""dnf5 always gives this hint, and takes the option for the sake of those who know dnf 4."""


ONLY_THE_KERNEL = (
    "only the kernel was compared: dnf's plugin, which knows of libraries, too, is not installed"
)


def reboot_required(host: Host) -> Reboot:
    """Whether one of the packages that only a restart puts to use was updated since the start.

    The plugin (dnf-plugins-core, dnf5-plugins) may be missing; then only the kernel counts.
    """
    running = _running(host)
    newest = _newest(host, running)
    for program, *words in QUESTIONS:
        first = (pending.CACHE_ONLY, *pending.options(host, program)) if "dnf" in program else ()
        result = host.run((program, *first, *words), timeout=60.0)
        if not result.found or result.timed_out:
            continue
        hint = dnf.parse_restart(result.stdout)
        if hint.required is not None:
            return Reboot(
                required=hint.required,
                reason=_reason(hint) if hint.required else "",
                packages=hint.packages,
                installed_kernel=newest,
            )
    return _by_kernel(running, newest)


def _reason(hint: dnf.Restart) -> str:
    if not hint.packages:
        return "dnf says that updates wait for a restart"
    return "updated since the start: " + ", ".join(hint.packages)


def _by_kernel(running: str, newest: str | None) -> Reboot:
    if not running:
        return Reboot(required=None, reason="dnf can't say, nor is the running kernel known")
    if newest is None:  # a container, or a kernel that is booted from outside
        return Reboot(required=None, reason="dnf can't say, and no kernel is installed here")
    if rpmvercmp(newest, running) > 0:
        return Reboot(
            required=True,
            reason=f"the kernel {newest} is installed, {running} is running",
            packages=("kernel",),
            installed_kernel=newest,
        )
    return Reboot(required=False, installed_kernel=newest, notes=(ONLY_THE_KERNEL,))


def _newest(host: Host, running: str) -> str | None:
    """The newest installed kernel that follows the running one."""
    try:
        folders = host.listdir("/usr/lib/modules")
    except OSError:
        return None
    # Only what has a kernel can be booted; a folder of somebody else's modules may stay behind.
    kernels = [
        name
        for name in folders
        if _flavour(name) == _flavour(running)
        and (
            host.exists(f"/usr/lib/modules/{name}/vmlinuz") or host.exists(f"/boot/vmlinuz-{name}")
        )
    ]
    return max(kernels, key=functools.cmp_to_key(rpmvercmp), default=None)


def _running(host: Host) -> str:
    try:
        return host.read("/proc/sys/kernel/osrelease").strip()
    except OSError:
        result = host.run(("uname", "-r"))
        return result.stdout.strip() if result.ok else ""


def _flavour(release: str) -> tuple[str, ...]:
    """What distinguishes kernels that do not follow each other: `+rt`, `+debug`, `uek`."""
    plus = release.partition("+")[2]
    return plus, *re.findall(r"uek|\brt\b|amzn", release)
