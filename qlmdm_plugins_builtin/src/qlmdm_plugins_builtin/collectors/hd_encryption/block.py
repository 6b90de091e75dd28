"""Reads which block device lies on which: from sysfs, and from lsblk as its complement.

sysfs is there on every Linux, needs no root and no locale, and cannot hang; lsblk knows
file systems' types and partitions' types besides. Either alone is enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qlmdm_core.api import JSON, Host

CLASS = "/sys/class/block"
BLOCK = "/sys/block"
LSBLK = (
    # PATH is new in util-linux 2.33, MOUNTPOINTS in 2.37: an unknown column is an error,
    # so that columns that are not needed are not asked for.
    (
        "lsblk",
        "--json",
        "-b",
        "-o",
        "NAME,KNAME,PATH,MAJ:MIN,TYPE,FSTYPE,MOUNTPOINT,UUID,RM,HOTPLUG,PKNAME",
    ),
    ("lsblk", "--json", "-b", "-O"),
    ("lsblk", "--json"),
)
_PARTITION = re.compile(r"(.+\d)p\d+\Z|(.*[^\d])\d+\Z")
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


def read(host: Host) -> dict[str, Device]:
    """All block devices, by kernel name."""
    return merge(read_sysfs(host), read_lsblk(host))


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
    match = _PARTITION.fullmatch(name)
    disk = (match.group(1) or match.group(2)) if match else ""
    return disk if disk in folders else ""


def _names(host: Host, folder: str) -> list[str]:
    try:
        return host.listdir(folder)
    except OSError:
        return []


def _text(host: Host, path: str) -> str:
    try:
        return host.read(path).rstrip("\n")
    except OSError:
        return ""


# --- lsblk ----------------------------------------------------------------------------------


def read_lsblk(host: Host) -> list[Device]:
    """The block devices that lsblk lists; none when it failed or told only a part.

    It says "failed to get device path" and exits 32 or 64 when it left devices out.
    """
    for argv in LSBLK:
        result = host.run(argv, timeout=10.0)
        if result.ok and (devices := parse_lsblk(result.stdout)):
            return devices
        if result.timed_out:
            break  # a dead disk hangs every variant alike
    return []


def parse_lsblk(text: str) -> list[Device]:
    """The devices in the JSON of any lsblk: nested or flat, with any of its columns.

    A device that lies on several is printed once below each of them; here it is one, with
    several parents.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found: dict[str, Device] = {}
    roots = document.get("blockdevices") if isinstance(document, dict) else None
    todo: list[tuple[JSON, Device | None, str]] = [
        (entry, None, str(index)) for index, entry in enumerate(_array(roots))
    ]
    while todo:
        entry, parent, place = todo.pop(0)
        if not isinstance(entry, dict):
            continue
        children = _array(entry.get("children"))
        device = _lsblk_device(entry, parent, place, bool(children))
        known = found.get(device.name)
        if known is not None:
            parents = tuple(dict.fromkeys((*known.parents, *device.parents)))
            mounts = tuple(dict.fromkeys((*known.mounts, *device.mounts)))
            device = replace(known, parents=parents, mounts=mounts)
        found[device.name] = device
        todo += [(child, device, f"{place}.{index}") for index, child in enumerate(children)]
    return list(found.values())


def _lsblk_device(
    entry: Mapping[str, JSON], parent: Device | None, place: str, has_children: bool
) -> Device:
    """One entry; `place` names it when it has no name of its own."""
    shown, kname = _string(entry.get("name")), _string(entry.get("kname"))
    name = short_name(kname or shown) or f"device {place}"
    pkname = short_name(_string(entry.get("pkname")))
    on = parent.name if parent is not None else pkname
    points = [*_array(entry.get("mountpoints")), entry.get("mountpoint")]
    kind = _string(entry.get("type"))
    part_type = _string(entry.get("parttype"))
    if not kind:
        kind = _guess_kind(name, parent, part_type)
    fstype = _string(entry.get("fstype"))
    if has_children and _string(entry.get("pttype")) and not part_type:
        fstype = ""  # a signature left over from before the disk was partitioned
    label = short_name(shown)
    return Device(
        name=name,
        label=label if label != name and label else "",
        number=_string(entry.get("maj:min")).strip(),
        kind=_lsblk_kind(kind, name, _string(entry.get("tran"))),
        parents=(on,) if on else (),
        fstype=fstype,
        fs_uuid=_string(entry.get("uuid")),
        removable=any(entry.get(key) in (True, "1", 1) for key in ("rm", "hotplug")),
        partition_type=part_type,
        mounts=tuple(dict.fromkeys(p for p in points if isinstance(p, str) and p)),
    )


def _lsblk_kind(kind: str, name: str, transport: str) -> str:
    """lsblk's TYPE, in our words. It calls "disk" whatever it has no better word for."""
    if re.fullmatch(r"raid\d*|md|linear|raid.*", kind):
        return "raid"
    if kind == "disk":
        return "network" if transport in ("iscsi", "fcoe") else kind_by_name(name, "")
    return kind


def _guess_kind(name: str, parent: Device | None, part_type: str) -> str:
    """The kind of a device for which lsblk was not asked for TYPE."""
    if parent is None:
        return kind_by_name(name, "")
    if part_type or re.fullmatch(rf"{re.escape(parent.name)}p?\d+", name):
        return "part"
    return {
        "crypto_LUKS": "crypt",
        "BitLocker": "crypt",
        "LVM2_member": "lvm",
        "linux_raid_member": "raid",
        "mpath_member": "mpath",
    }.get(parent.fstype, "dm")


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


def _array(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []


def _string(value: JSON) -> str:
    return value if isinstance(value, str) else ""
