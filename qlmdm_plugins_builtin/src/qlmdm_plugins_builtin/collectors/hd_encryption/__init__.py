"""Collects whether the data on the machine's disks is encrypted: `collect(host)`.

The question is whether every block of users' data at rest is encrypted. So it starts from
what is mounted (`mounts`) and swapped, and walks down what each lies on (`block`, `mapper`,
`pools`), to the disks; of several legs all must be encrypted (`graph`). What is needed to
start the machine, lies in memory, or is a read-only image, is exempt (`volumes`). What can't
be found out is unknown, never encrypted.
"""

from __future__ import annotations

from qlmdm_core.api import JSON, Host

from .. import _udev, _virtualization
from . import directories, facts, hardware, volumes
from .block import Device

__all__ = ["collect"]


def collect(host: Host) -> JSON:
    """The state of the machine and of each volume, with the chain of devices as evidence."""
    found, swaps, whole = facts.read(host)

    def partition_type(device: Device) -> str:
        if device.partition_type or not device.number:
            return device.partition_type
        try:
            text = host.read(f"/run/udev/data/b{device.number}")
        except OSError:
            return ""
        return _udev.parse(text).get("ID_PART_ENTRY_TYPE", "")

    listed = volumes.judge(found, swaps, partition_type)
    try:
        command_line = host.read("/proc/cmdline").strip()
    except OSError:
        command_line = ""
    listed, notes = hardware.consider(host, listed, found)
    live = volumes.is_live(found.mounts, listed, command_line)
    container = _virtualization.container(host) or volumes.container_by_root(found.mounts)
    listed = volumes.of_others(listed, live=live, container=bool(container))
    state, reason = volumes.conclude(
        listed,
        live=live,
        container=container,
        network=bool(volumes.NETWORK_OPTIONS.search(command_line)),
        whole=whole,
        plain=volumes.plain_disk(found),
    )
    value: dict[str, JSON] = {"state": state}
    if reason:
        value["reason"] = reason
    value["volumes"] = [volume.value() for volume in volumes.the_worst(listed)]
    value["directories"] = directories.note(host, found.mounts)
    value["hardware"] = notes
    return value
