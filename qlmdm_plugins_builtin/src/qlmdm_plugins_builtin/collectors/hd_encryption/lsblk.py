"""Reads block devices from lsblk, whatever its version: it knows types that sysfs does not."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from qlmdm_core.api import JSON, Host

from . import lsblk_text
from .block import PARTITION, Device, is_partition, kind_by_name, short_name

LSBLK = (
    # PATH is new in util-linux 2.33, MOUNTPOINTS in 2.37: an unknown column is an error,
    # so that columns that are not needed are not asked for. JSON is new in 2.27.
    (
        "lsblk",
        "--json",
        "-b",
        "-o",
        "NAME,KNAME,PATH,MAJ:MIN,TYPE,FSTYPE,MOUNTPOINT,UUID,RM,HOTPLUG,PKNAME",
    ),
    ("lsblk", "--json", "-b", "-O"),
    ("lsblk", "--json"),
    ("lsblk", "-P", "-o", "NAME,KNAME,MAJ:MIN,TYPE,FSTYPE,MOUNTPOINT,UUID,RM"),
    ("lsblk", "-f"),
    ("lsblk",),
)
# What people and other tools type. Asked where sysfs is out of sight too: on a machine that
# somebody wrote down by hand, or of which only a support case's attachments are left.
AS_TYPED = (
    tuple(("lsblk", *words) for words in (["-J"], ["-a"], ["-l"], ["-fJ"], ["-Jf"]))
    + tuple(
        ("lsblk", "-o", columns + points)
        for columns in (
            "NAME,TYPE,FSTYPE",
            "NAME,FSTYPE,TYPE",
            "NAME,TYPE",
            "NAME,FSTYPE",
            "NAME,MAJ:MIN,RM,SIZE,RO,TYPE",
            "NAME,SIZE,TYPE",
            "NAME,SIZE,TYPE,FSTYPE",
            "NAME,TYPE,SIZE,FSTYPE",
            "NAME,KNAME,TYPE,FSTYPE",
        )
        for points in (",MOUNTPOINT", ",MOUNTPOINTS", ",MOUNTPOINT,UUID", "")
    )
    + tuple(
        ("lsblk", "-o", columns)
        for columns in (
            # Those of Rockstor, gpud, sbctl, Rescuezilla, util-linux's tests, and Insights.
            "NAME,MODEL,SERIAL,SIZE,TRAN,VENDOR,HCTL,TYPE,FSTYPE,LABEL,UUID",
            "NAME,TYPE,SIZE,ROTA,SERIAL,WWN,VENDOR,MODEL,REV,MOUNTPOINT,FSTYPE,PARTUUID",
            "NAME,TYPE,SIZE,ROTA,SERIAL,WWN,VENDOR,MODEL,REV,MOUNTPOINT,FSTYPE,FSUSED,PARTUUID",
            "PARTTYPE,MOUNTPOINT,PTTYPE,FSTYPE,MOUNTPOINTS",
            "PARTTYPE,MOUNTPOINT,PTTYPE,FSTYPE",
            "KNAME,NAME,SIZE,TYPE,FSTYPE,MOUNTPOINT,MODEL",
            "NAME,KNAME,FSTYPE,MOUNTPOINT,MOUNTPOINTS",
            (
                "ALIGNMENT,DISC-ALN,DISC-GRAN,DISC-MAX,DISC-ZERO,FSTYPE,GROUP,KNAME,LABEL,LOG-SEC,"
                "MAJ:MIN,MIN-IO,MODE,MODEL,MOUNTPOINT,NAME,OPT-IO,OWNER,PHY-SEC,RA,RM,RO,ROTA,RQ-SIZE,"
                "SCHED,SIZE,STATE,TYPE,UUID"
            ),
        )
    )
)


def read(host: Host, *, alone: bool = False) -> list[Device]:
    """The block devices that lsblk lists; none when it failed or told only a part.

    `alone` says that nothing else tells of them: every way to ask is tried. lsblk says
    "failed to get device path" when it left devices out, and then exits 32, 64, or (old
    versions) 0.
    """
    for argv in (*LSBLK, *AS_TYPED) if alone else LSBLK:
        result = host.run(argv, timeout=10.0)
        part = "failed to get" in result.stderr or "failed to get" in result.stdout
        if result.ok and not part and (devices := parse(result.stdout)):
            return devices
        if result.timed_out:
            break  # a dead disk hangs every variant alike
        if result.found and argv in AS_TYPED:
            break  # lsblk is there and shows nothing, as in some containers
    return []


def parse(text: str) -> list[Device]:
    """The devices in what any lsblk prints: JSON or text, nested or flat, with any columns.

    A device that lies on several is printed once below each of them; here it is one, with
    several parents.
    """
    found: dict[str, Device] = {}
    todo: deque[tuple[JSON, Device | None, str]] = deque(
        (entry, None, str(index)) for index, entry in enumerate(_entries(text))
    )
    while todo:
        entry, parent, place = todo.popleft()
        if not isinstance(entry, dict):
            continue
        children = _array(entry.get("children"))
        device = _device(entry, parent, place, bool(children))
        known = found.get(device.name)
        if known is not None:
            parents = tuple(dict.fromkeys((*known.parents, *device.parents)))
            mounts = tuple(dict.fromkeys((*known.mounts, *device.mounts)))
            device = replace(known, parents=parents, mounts=mounts)
        found[device.name] = device
        todo += [(child, device, f"{place}.{index}") for index, child in enumerate(children)]
    return [_on_its_disk(device, found) for device in found.values()]


def _entries(text: str) -> list[JSON]:
    if not text.lstrip().startswith(("{", "[")):
        return list(lsblk_text.parse(text))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return _array(document.get("blockdevices")) if isinstance(document, dict) else []


def _device(
    entry: Mapping[str, JSON], parent: Device | None, place: str, has_children: bool
) -> Device:
    """One entry; `place` names it when it has no name of its own."""
    shown, kname = _string(entry.get("name")), _string(entry.get("kname"))
    shown = shown or _string(entry.get("path"))
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
        kind=_kind(kind, name, _string(entry.get("tran"))),
        parents=(on,) if on else (),
        fstype=fstype,
        fs_uuid=_string(entry.get("uuid")),
        removable=any(entry.get(key) in (True, "1", 1) for key in ("rm", "hotplug")),
        partition_type=part_type,
        mounts=tuple(dict.fromkeys(p for p in points if isinstance(p, str) and p)),
    )


def _on_its_disk(device: Device, found: Mapping[str, Device]) -> Device:
    """A partition in a list without a tree lies on the disk that its name begins with."""
    if device.parents or device.kind not in ("part", "raid"):
        return device
    match = PARTITION.fullmatch(device.name)
    disk = (match.group(1) or match.group(2)) if match else ""
    if disk not in found or disk == device.name:
        return device
    return replace(device, kind="part", parents=(disk,))


def _kind(kind: str, name: str, transport: str) -> str:
    """lsblk's TYPE, in our words. It calls "disk" whatever it has no better word for."""
    if re.fullmatch(r"raid.*|md|linear", kind):
        return "raid"
    if kind == "disk":
        return "network" if transport in ("iscsi", "fcoe") else kind_by_name(name, "")
    return kind


def _guess_kind(name: str, parent: Device | None, part_type: str) -> str:
    """The kind of a device for which lsblk was not asked for TYPE."""
    if parent is None:
        return "part" if part_type or is_partition(name) else kind_by_name(name, "")
    rest = name.removeprefix(parent.name).removeprefix("p")
    if part_type or (name.startswith(parent.name) and rest.isascii() and rest.isdigit()):
        return "part"
    return {
        "crypto_LUKS": "crypt",
        "crypto": "crypt",  # `lsblk -f` on a narrow terminal cuts it off
        "BitLocker": "crypt",
        "LVM2_member": "lvm",
        "linux_raid_member": "raid",
        "mpath_member": "mpath",
    }.get(parent.fstype, "dm")


def _array(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []


def _string(value: JSON) -> str:
    return value if isinstance(value, str) else ""
