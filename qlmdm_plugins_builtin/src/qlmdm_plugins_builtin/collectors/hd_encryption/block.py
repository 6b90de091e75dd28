"""Reads which block device lies on which from sysfs, and puts it together with lsblk's view.

sysfs is there on every Linux, needs no root and no locale, and cannot hang; lsblk knows
file systems' types and partitions' types besides (`lsblk`). Either alone is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from qlmdm_core.api import Host
from qlmdm_plugins_builtin.collectors.text import text_of

CLASS = "/sys/class/block"
BLOCK = "/sys/block"
PARTITION = re.compile(r"(.+\d)p\d+\Z|(.*[^\d])\d+\Z")
_ISCSI = re.compile(r"/session\d+/|/nvme-fabrics/")


@dataclass(frozen=True, kw_only=True)
class Device:
    """One block device. What is not known is empty."""

    name: str
    """The kernel's name: "sda2", "dm-0"."""
    label: str = ""
    """The name of a device-mapper device: "cr_home"."""
    number: str = ""
    """Device number, "MAJOR:MINOR"."""
    kind: str = ""
    """disk, part, crypt, lvm, raid, mpath, dm, loop, zram, ram, rom, bcache, zvol, network;
    "dm" is a device-mapper device of which no more is known."""
    parents: tuple[str, ...] = ()
    """The kernel names of the devices that this one lies on."""
    fstype: str = ""
    """The signature that blkid found on it; empty is not "none", but not known."""
    fs_uuid: str = ""
    dm_uuid: str = ""
    backing_file: str = ""
    """The file under a loop device; the device under a zram device."""
    removable: bool = False
    partition_type: str = ""
    """The type in the partition table, a GUID or a number."""
    mounts: tuple[str, ...] = ()
    """Where lsblk says that it is mounted; "[SWAP]" for swap."""


# --- sysfs ----------------------------------------------------------------------------------


def read_sysfs(host: Host) -> dict[str, Device]:
    """The block devices in /sys/class/block (or /sys/block), by kernel name."""
    folders = {name: f"{CLASS}/{name}" for name in _names(host, CLASS)}
    for disk in _names(host, BLOCK):
        folders.setdefault(disk, f"{BLOCK}/{disk}")
        for part in _names(host, f"{BLOCK}/{disk}") if not host.exists(CLASS) else ():
            if part.startswith(disk):
                folders.setdefault(part, f"{BLOCK}/{disk}/{part}")
    return {name: _sysfs_device(host, name, folders) for name in folders}


def _sysfs_device(host: Host, name: str, folders: Mapping[str, str]) -> Device:
    folder = folders[name]

    def attribute(path: str) -> str:
        text = _text(host, f"{folder}/{path}")
        if not text and folder == f"{CLASS}/{name}":
            text = _text(host, f"{BLOCK}/{name}/{path}")
        return text

    try:
        link = host.readlink(folder)
    except OSError:
        link = ""
    disk = _disk_of(host, name, link, folders)
    dm_uuid = attribute("dm/uuid") if name.startswith("dm-") else ""
    parents = [n.replace("!", "/") for n in _names(host, f"{folder}/slaves")]
    parents = parents or [n.replace("!", "/") for n in _names(host, f"{BLOCK}/{name}/slaves")]
    backing = ""
    if name.startswith("loop"):
        backing = attribute("loop/backing_file")
    elif name.startswith("zram"):
        backing = attribute("backing_dev").removeprefix("none")
    if disk:
        parents = [disk.replace("!", "/")]
    return Device(
        name=name.replace("!", "/"),
        label=attribute("dm/name") if name.startswith("dm-") else "",
        number=attribute("dev"),
        kind="part" if disk else kind_by_name(name, dm_uuid, link),
        parents=tuple(parents),
        dm_uuid=dm_uuid,
        backing_file=backing,
        removable=attribute("removable") == "1"
        or "/usb" in link
        or (name.startswith("mmcblk") and attribute("device/type") == "SD"),
    )


def kind_by_name(name: str, dm_uuid: str, link: str = "") -> str:
    """What sort of device it is, by its kernel name, and where in /sys it is.

    Documentation/admin-guide/devices.txt of the kernel has the names.
    """
    if name.startswith("dm-"):
        return kind_by_dm_uuid(dm_uuid)
    for prefix, kind in (
        ("md", "raid"),
        ("loop", "loop"),
        ("zram", "zram"),
        ("ram", "ram"),
        ("sr", "rom"),
        ("bcache", "bcache"),
        ("nbd", "network"),
        ("rbd", "network"),
        ("drbd", "network"),
        ("etherd", "network"),
        ("zd", "zvol"),
    ):
        if re.fullmatch(rf"{prefix}[_!/e.\d].*", name):
            return kind
    return "network" if _ISCSI.search(link) else "disk"


def kind_by_dm_uuid(uuid: str) -> str:
    """What sort of device-mapper device it is, by the prefix that its maker gave it.

    libdevmapper.h (dm_uuid prefixes of LVM, multipath, kpartx) and libcryptsetup. CRYPT-
    says who made it, not that it encrypts: that is for `mapper.role`.
    """
    prefix = uuid.partition("-")[0].lower()
    if prefix in ("lvm", "mpath", "crypt", "dmraid"):
        return prefix
    return "part" if re.fullmatch(r"part\d+", prefix) else "dm"


def _disk_of(host: Host, name: str, link: str, folders: Mapping[str, str]) -> str:
    """The disk that a partition is part of; empty for what is no partition."""
    parts = link.rstrip("/").split("/")
    if len(parts) > 2 and parts[-2] in folders:
        return parts[-2]
    if not host.exists(f"{folders[name]}/partition"):
        return ""
    match = PARTITION.fullmatch(name)
    disk = (match.group(1) or match.group(2)) if match else ""
    return disk if disk in folders else ""


def _names(host: Host, folder: str) -> list[str]:
    try:
        return host.listdir(folder)
    except OSError:
        return []


def _text(host: Host, path: str) -> str:
    return text_of(host, path).rstrip("\n")


_REAL = re.compile(
    r"/dev/(?P<part>(?P<disk>(?:sd|hd|vd|xvd|dasd)[a-z]{1,4}|(?:nvme\d+n|mmcblk)\d+(?=p|\Z))"
    r"(?:p?\d+)?)"
)


def is_partition(name: str) -> bool:
    """Whether a kernel name is that of a disk's partition: "sda1", but not "nvme0n1"."""
    match = _REAL.fullmatch(f"/dev/{name}")
    return match is not None and match["part"] != match["disk"]


def by_names(paths: Iterable[str]) -> dict[str, Device]:
    """The disks and partitions among these paths, by kernel name, where nothing else is known.

    Documentation/admin-guide/devices.txt of the kernel: such names are given to disks and
    to their partitions only, never to what encrypts.
    """
    devices = {}
    for path in paths:
        if match := _REAL.fullmatch(path):
            name, disk = match["part"], match["disk"]
            devices[disk] = Device(name=disk, kind="disk")
            if name != disk:
                devices[name] = Device(name=name, kind="part", parents=(disk,))
    return devices


def short_name(path: str) -> str:
    """The name that a device's path ends in: "mapper/x" and "x" are both "x"."""
    return path.removeprefix("/dev/").removeprefix("mapper/")


# --- both -----------------------------------------------------------------------------------


def merge(sysfs: Mapping[str, Device], lsblk: Sequence[Device]) -> dict[str, Device]:
    """What both say, by kernel name: sysfs counts, lsblk fills in what it left open."""
    names = {device.number: name for name, device in sysfs.items() if device.number}
    names |= {device.label: name for name, device in sysfs.items() if device.label}
    alias = {
        device.name: names.get(device.number, names.get(device.name, device.name))
        for device in lsblk
    }
    merged = dict(sysfs)
    for device in lsblk:
        name = alias[device.name]
        parents = tuple(alias.get(parent, parent) for parent in device.parents)
        known = merged.get(name)
        if known is None:
            merged[name] = replace(device, name=name, parents=parents)
            continue
        vague = known.kind in ("", "dm") or (known.kind == "disk" and device.kind == "part")
        merged[name] = replace(
            known,
            label=known.label or device.label,
            number=known.number or device.number,
            kind=device.kind if vague and device.kind else known.kind,
            parents=tuple(dict.fromkeys((*known.parents, *parents))),
            fstype=device.fstype,
            fs_uuid=device.fs_uuid,
            removable=known.removable or device.removable,
            partition_type=device.partition_type,
            mounts=device.mounts,
        )
    return merged
