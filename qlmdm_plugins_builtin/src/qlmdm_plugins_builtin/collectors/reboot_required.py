"""Collects whether an installed update takes effect only after a restart."""

from __future__ import annotations

from qlmdm_core import osrelease
from qlmdm_core.api import JSON, Host, Reboot, unknown


def collect(host: Host) -> JSON:
    """Whether a restart is due, by what the adapter to the distribution found."""
    adapter = host.distro
    name = osrelease.read(host).get("PRETTY_NAME") or "a system without os-release"
    if adapter is None:
        found = Reboot(required=None, reason=f"no plugin knows when {name[:80]} must restart")
    else:
        found = adapter.reboot_required(host)
    value: dict[str, JSON] = {
        "packages": list(found.packages),
        "reasons": [found.reason] if found.required and found.reason else [],
        "adapter": adapter.name if adapter else None,
    }
    if found.required is None:
        return unknown(found.reason or "the adapter gave no reason", **value)
    return {"state": "required" if found.required else "not_required", **value}
