"""What a machine of the corpus stands for, read out of the report expected of it.

Nothing is said by hand here, so the corpus can't claim more than it shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qlmdm_core.testing.corpus import Machine

_KIND = re.compile(r".*\((.+)\)\Z")


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The kinds of thing that tests/machines/README.md lists, and the corpus is counted by."""

    distribution: str
    """The id in os-release, with the version if it has one."""
    desktops: tuple[str, ...]
    """Of each graphical session: the desktop and the locker in charge."""
    storage: str
    """What the volumes with data lie on, by kind of device, from above to below."""
    firewall: str
    """Front end, zone, and whether inbound traffic is dropped."""
    root: bool


def of(machine: Machine) -> Traits:
    """The traits of one machine."""
    report: Any = machine.expected()
    values = {name: result.get("value", {}) for name, result in report["collectors"].items()}
    return Traits(
        distribution=_distribution(values["os_info"]),
        desktops=tuple(sorted(set(_desktops(values["screenlock"])))),
        storage=_storage(values["hd_encryption"]),
        firewall=_firewall(values["firewall"]),
        root=machine.root,
    )


def _distribution(value: dict[str, Any]) -> str:
    return " ".join(filter(None, [value.get("id"), value.get("version_id")])) or "unknown"


def _desktops(value: dict[str, Any]) -> Iterator[str]:
    for session in value.get("sessions", ()):
        yield f"{session.get('desktop') or 'unknown'} ({session.get('locker') or 'no locker'})"


def _storage(value: dict[str, Any]) -> str:
    judged = [volume for volume in value.get("volumes", ()) if volume["state"] != "exempt"]
    stacks = {_stack(volume) for volume in judged}
    return "; ".join(sorted(stacks)) or f"{value['state']}: nothing to judge"


def _stack(volume: dict[str, Any]) -> str:
    labels = [match.group(1) for label in volume["chain"] if (match := _KIND.match(label))]
    return " > ".join([volume["fstype"] or "unknown", *dict.fromkeys(labels)])


def _firewall(value: dict[str, Any]) -> str:
    front_end = value.get("front_end") or "no front end"
    zone = f" ({value['zone']})" if value.get("zone") else ""
    ipv4, ipv6 = value.get("ipv4"), value.get("ipv6")
    state = str(ipv4) if ipv4 == ipv6 else f"IPv4 {ipv4}, IPv6 {ipv6}"
    return f"{front_end}{zone}: {state}"
