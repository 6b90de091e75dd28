"""Collects what a remote wipe would have to know of this machine: `collect(host)`.

The same code looks again when a wipe is to be carried out, and refuses on another machine.
"""

from __future__ import annotations

from qlmdm_core.api import JSON, Host
from qlmdm_core.client.wipe import plan


def collect(host: Host) -> JSON:
    """The machine's ids, its disks, headers, people and homes."""
    found = plan.read(host)
    value = plan.to_json(found)
    if not found.unknown:
        return {"state": "known", **value}
    reason = "; ".join(f"{what}: {why}" for what, why in found.unknown.items())
    return {"state": "unknown", "reason": reason, **value}
