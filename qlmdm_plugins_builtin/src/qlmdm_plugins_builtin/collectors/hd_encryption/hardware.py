"""Looks at disks that encrypt by themselves (OPAL), where a tool is there to ask.

Every self-encrypting drive encrypts always ("MediaEncrypt = Y"); that protects nothing
until a password locks it. Only "LockingEnabled = Y" changes the answer, and then to unknown:
which part of the disk is locked isn't told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from qlmdm_core.api import JSON, Host

from .stack import Facts
from .volumes import Volume

_FLAG = re.compile(r"\b(\w{1,40})\s{0,9}=\s{0,9}([YN])\b")
_NVME = re.compile(r"\s*Locking Feature Enabled\s*:\s*(Yes|No)\s*", re.IGNORECASE)


def parse_query(text: str) -> dict[str, bool]:
    """The flags of the locking function that `sedutil-cli --query` prints, by name."""
    flags: dict[str, bool] = {}
    inside = False
    for line in text.splitlines():
        if "function (" in line:
            inside = line.strip().startswith("Locking function")
        elif inside:
            flags |= {name: value == "Y" for name, value in _FLAG.findall(line)}
    return flags


def parse_discover(text: str) -> bool | None:
    """Whether locking is enabled, by `nvme sed discover`; None if it doesn't say."""
    matches = (_NVME.fullmatch(line) for line in text.splitlines())
    return next((match.group(1).lower() == "yes" for match in matches if match), None)


def _is_locking(host: Host, disk: str) -> bool | None:
    """Whether a disk has locking enabled; None if no tool tells."""
    # An NVMe disk is a part of its controller, which is what some ask: nvme0n1 of nvme0.
    controller = re.sub(r"(nvme\d+)n\d+\Z", r"\1", disk)
    for name in dict.fromkeys((disk, controller)):
        result = host.run(["sedutil-cli", "--query", f"/dev/{name}"])
        if result.ok and (flags := parse_query(result.stdout)):
            return flags.get("LockingEnabled", False)
    if disk.startswith("nvme"):
        result = host.run(["nvme", "sed", "discover", f"/dev/{disk}"])
        return parse_discover(result.stdout) if result.ok else None
    return None


def consider(
    host: Host, listed: Sequence[Volume], facts: Facts
) -> tuple[list[Volume], list[dict[str, JSON]]]:
    """The volumes, those on a drive with locking turned unknown; and a note for each drive."""
    plain = [volume for volume in listed if volume.state == "not_encrypted"]
    if not plain or not any(host.which(tool) for tool in ("sedutil-cli", "nvme")):
        return list(listed), []
    notes: list[dict[str, JSON]] = []
    locked: list[str] = []
    for disk in _disks(plain, facts):
        enabled = _is_locking(host, disk)
        if enabled is None:
            continue
        notes.append({"device": f"/dev/{disk}", "kind": "opal", "locking_enabled": enabled})
        if enabled:
            locked.append(f"{disk} (disk)")
    return [_doubted(volume, locked) for volume in listed], notes


def _disks(plain: Iterable[Volume], facts: Facts) -> list[str]:
    """The disks at the bottom of the volumes' chains."""
    labels = {label for volume in plain for label in volume.chain}
    return sorted(d.name for d in facts.devices.values() if f"{d.name} (disk)" in labels)


def _doubted(volume: Volume, locked: Sequence[str]) -> Volume:
    if volume.state != "not_encrypted" or not locked:
        return volume
    disks = [label for label in volume.chain if label.endswith("(disk)")]
    if not disks or not all(label in locked for label in disks):
        return volume
    reason = "its disk encrypts by itself and has locking enabled; for which part isn't told"
    return replace(volume, state="unknown", reason=reason)
