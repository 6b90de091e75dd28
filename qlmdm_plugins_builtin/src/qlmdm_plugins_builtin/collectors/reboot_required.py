"""Collects whether an installed update takes effect only after a restart.

The adapter to the distribution knows best. Beside it, what is the same everywhere is looked at:
the running kernel's modules, the mark of zypper, and systems that are images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone

from qlmdm_core import osrelease
from qlmdm_core.api import JSON, Host, Reboot, unknown
from qlmdm_plugins_builtin.collectors import _virtualization
from qlmdm_plugins_builtin.collectors.text import text_of

MOST_PACKAGES = 200
_MARKS = ("/run/reboot-required", "/run/reboot-needed")
"""Of Debian's packages, and of libzypp (zypp-boot-plugin(8))."""
_MODULES = ("/usr/lib/modules", "/lib/modules")
_OWN = ("modules.dep", "modules.builtin", "kernel", "vmlinuz")
"""What a kernel's package puts there, and a leftover of foreign modules has not."""
_LAST_DEPLOYMENT = "/run/ostree/staged-deployment"


def collect(host: Host) -> JSON:
    """`required` if anything asks for a restart, `not_required` if it was shown that nothing does.

    `reasons` says what asks; `notes`, what was not looked at. A live patch mends the running
    kernel for now, and is told of; the restart is due all the same.
    """
    kernel = _running_kernel(host)
    adapter = host.distro
    value: dict[str, JSON] = {
        "packages": [],
        "running_kernel": kernel or None,
        "installed_kernel": None,
        "reasons": [],
        "live_patches": _names(host, "/sys/kernel/livepatch"),
        "since_at": _since_at(host),
        "adapter": adapter.name if adapter else None,
        "notes": [],
    }
    if kind := _virtualization.container(host):
        reason = f"this is a container ({kind}): its kernel is that of another machine"
        return unknown(reason, **value)
    found = adapter.reboot_required(host) if adapter else _nobody(host)
    if host.exists("/run/ostree-booted"):
        # What a package manager says of its packages does not tell which image is booted.
        found = _ostree(host)
    reasons = [found.reason or "the adapter says so"] if found.required else []
    reasons += [reason for reason in _generic(host, kernel) if reason not in reasons]
    value |= {
        "packages": list(found.packages)[:MOST_PACKAGES],
        "installed_kernel": found.installed_kernel,
        "reasons": reasons,
        "notes": list(found.notes),
    }
    if reasons:
        return {"state": "required", **value}
    if found.required is None:
        return unknown(found.reason or "the adapter gave no reason", **value)
    return {"state": "not_required", **value}


def _nobody(host: Host) -> Reboot:
    identity = osrelease.read(host)
    name = identity.get("PRETTY_NAME") or identity.get("ID") or "a system without os-release"
    return Reboot(required=None, reason=f"no plugin knows when {name[:80]} must restart")


# --- what is the same everywhere --------------------------------------------------------------


def _generic(host: Host, kernel: str) -> Iterator[str]:
    """What asks for a restart, whatever the distribution."""
    if host.exists("/run/reboot-needed"):
        word = text_of(host, "/run/reboot-needed").strip()
        kind = word if word in ("reboot", "kexec", "soft-reboot") else "reboot"
        yield f"zypper asks for a restart ({kind})"
    if kernel and (others := _other_kernels(host, kernel)):
        yield (
            f"the modules of the running kernel {kernel} are gone, those of {others[-1]} are there"
        )
    if part := _other_generation(host):
        yield f"NixOS was booted with another {part} than the one of its present generation"


def _other_kernels(host: Host, kernel: str) -> list[str]:
    """The kernels that are installed, if the running one is not among them."""

    def is_kernel(folder: str, name: str) -> bool:
        return any(host.exists(f"{folder}/{name}/{own}") for own in _OWN)

    if any(is_kernel(folder, kernel) for folder in _MODULES):
        return []
    return [name for folder in _MODULES for name in _names(host, folder) if is_kernel(folder, name)]


def _other_generation(host: Host) -> str:
    """What NixOS was booted with and has another of by now: it keeps links to both."""
    for part, name in (("kernel", "kernel"), ("kernel-modules", "kernel"), ("initrd", "initrd")):
        try:
            booted = host.readlink(f"/run/booted-system/{part}")
            current = host.readlink(f"/run/current-system/{part}")
        except OSError:
            continue
        if booted != current:
            return name
    return ""


def _ostree(host: Host) -> Reboot:
    """A system that is an image: whether the one that is booted next is the one that runs."""
    if host.exists(_LAST_DEPLOYMENT):
        return Reboot(required=True, reason="a new image of the system is staged (ostree)")
    result = host.run(("ostree", "admin", "status"))
    first = first_deployment(result.stdout) if result.ok else None
    if first is None:
        why = "ostree's answer is not understood" if result.ok else result.why
        return Reboot(required=None, reason=f"which image is booted next can't be told: {why}")
    if first:
        return Reboot(required=False)
    return Reboot(required=True, reason="another image of the system is booted next (ostree)")


def first_deployment(text: str) -> bool | None:
    """Whether the first deployment in `ostree admin status`, the next to be booted, runs: `*`.

    >>> first_deployment("* fedora 0123abcd.0\\n    Version: 42\\n")
    True
    """
    for line in text.splitlines():
        if found := re.match(r"([* ]) (\S+) [0-9a-f]{8,64}\.[0-9]+(?:\s|\Z)", line):
            return found[1] == "*"
    return None


def _since_at(host: Host) -> str | None:
    """When the mark was left, which is when the first update came that asks for a restart."""
    for mark in _MARKS:
        try:
            at = host.stat(mark).mtime
        except OSError:
            continue
        if 0 < at <= host.now().timestamp():
            return datetime.fromtimestamp(int(at), timezone.utc).isoformat()
    return None


def _running_kernel(host: Host) -> str:
    release = text_of(host, "/proc/sys/kernel/osrelease").strip()
    if not release:
        result = host.run(("uname", "-r"))
        release = result.stdout.strip() if result.ok else ""
    return release if re.match(r"[\w.~+-]{1,100}\Z", release) else ""


def _names(host: Host, folder: str) -> list[str]:
    try:
        return host.listdir(folder)[:100]
    except OSError:
        return []
