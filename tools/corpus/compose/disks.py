"""Disks and what lies on them: sysfs, lsblk, device-mapper, mounts and swap, all of one model.

Formats: lsblk(8), proc_pid_mountinfo(5), proc(5) for swaps, dmsetup(8), and the kernel's
Documentation/ABI for /sys/class/block.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from machine import Machine

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LSBLK = "NAME,KNAME,PATH,MAJ:MIN,TYPE,FSTYPE,MOUNTPOINT,UUID,RM,HOTPLUG,PKNAME"
MAPPER = 253
"""The major number of device-mapper, which the kernel hands out at boot."""

_PCI = "/sys/devices/pci0000:00"
BUSES = {
    "nvme": _PCI + "/0000:00:1d.0/0000:04:00.0/nvme/nvme{index}/{name}",
    "sata": _PCI
    + "/0000:00:17.0/ata{number}/host{index}/target{index}:0:0/{index}:0:0:0/block/{name}",
    "usb": _PCI + "/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/{name}",
    "mmc": _PCI + "/0000:00:1a.0/mmc_host/mmc{index}/mmc{index}:0001/block/{name}",
    "virtio": _PCI + "/0000:00:05.0/virtio{index}/block/{name}",
    "iscsi": "/sys/devices/platform/host9/session1/target9:0:0/9:0:0:{index}/block/{name}",
}


@dataclass
class Block:
    """One block device."""

    name: str
    number: str
    type: str
    path: str
    """Its folder in /sys/devices."""
    parents: list[Block] = field(default_factory=list)
    fstype: str | None = None
    label: str = ""
    """The name of a device-mapper device."""
    points: list[str] = field(default_factory=list)
    uuid: str | None = None
    removable: bool = False

    @property
    def dev(self) -> str:
        """The path that programs know it by."""
        return f"/dev/mapper/{self.label}" if self.label else f"/dev/{self.name}"


class Disks:
    """The storage of one machine; `write` when everything is mounted."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.blocks: list[Block] = []
        self._tables: list[str] = []
        self._mounts: list[str] = []
        self._swaps: list[str] = []
        self._numbers = {"nvme": 0, "dm": 0, "mount": 20, "anonymous": 40, "uuid": 0, "loop": 0}

    # --- devices ---------------------------------------------------------------------------

    def disk(self, name: str, bus: str = "", *, removable: bool = False) -> Block:
        """A whole disk: nvme0n1, sda, vda, mmcblk0."""
        kind = "nvme" if name.startswith("nvme") else "mmc" if name.startswith("mmc") else "sata"
        kind = bus or ("virtio" if name.startswith("vd") else kind)
        index = int(re.sub(r"\D*(\d+).*", r"\1", name)) if kind in ("nvme", "mmc") else 0
        index = index or (ord(name[-1]) - ord("a") if name[-1].isalpha() else 0)
        path = BUSES[kind].format(name=name, index=index, number=index + 1)
        major = {"nvme": 259, "mmc": 179, "virtio": 254}.get(kind, 8)
        minor = self._next("nvme") if major == 259 else index * (8 if major == 179 else 16)
        block = self._add(Block(name, f"{major}:{minor}", "disk", path, removable=removable))
        self.machine.file(f"{path}/removable", "1\n" if removable else "0\n")
        return block

    def part(
        self, disk: Block, index: int, fstype: str | None = None, *, esp: bool = False
    ) -> Block:
        """A partition of a disk."""
        name = f"{disk.name}p{index}" if disk.name[-1].isdigit() else f"{disk.name}{index}"
        major, minor = disk.number.split(":")
        number = f"{major}:{self._next('nvme') if major == '259' else int(minor) + index}"
        block = Block(name, number, "part", f"{disk.path}/{name}", [disk], fstype)
        self._add(block)
        self.machine.file(f"{block.path}/partition", f"{index}\n")
        if esp:
            self.machine.file(f"/run/udev/data/b{number}", f"E:ID_PART_ENTRY_TYPE={ESP}\n")
        return block

    def mapping(
        self,
        label: str,
        parents: Sequence[Block],
        uuid: str,
        target: str,
        *,
        type: str = "",
        fstype: str | None = None,
    ) -> Block:
        """A device-mapper device; `target` is its line in `dmsetup table`, without the length.

        `{0}` and so on in it stand for the parents' numbers.
        """
        minor = self._next("dm")
        name = f"dm-{minor}"
        path = f"/sys/devices/virtual/block/{name}"
        kind = type or uuid.partition("-")[0].lower()
        block = Block(name, f"{MAPPER}:{minor}", kind, path, list(parents), fstype, label)
        self._add(block)
        self.machine.file(f"{path}/dm/name", label + "\n").file(f"{path}/dm/uuid", uuid + "\n")
        line = target.format(*(parent.number for parent in parents))
        self._tables.append(f"{label}: 0 419430400 {line}")
        self.machine.link(f"/dev/mapper/{label}", f"../{name}")
        return block

    def crypt(
        self,
        parent: Block,
        label: str,
        *,
        kind: str = "LUKS2",
        fstype: str | None = None,
        cipher: str = "aes-xts-plain64",
        options: str = "",
    ) -> Block:
        """What cryptsetup opens: LUKS1, LUKS2, PLAIN, BITLK."""
        serial = self._uuid()
        uuid = f"CRYPT-{kind}-{label}"
        key = "0" * 128
        if kind.startswith("LUKS"):
            parent.fstype, parent.uuid = "crypto_LUKS", serial
            uuid = f"CRYPT-{kind}-{serial.replace('-', '')}-{label}"
        if kind == "LUKS2":
            key = f":64:logon:cryptsetup:{serial}-d0"
        offset = {"LUKS2": 32768, "LUKS1": 4096}.get(kind, 0)
        words = f"crypt {cipher} {key} 0 {{0}} {offset} {options}".rstrip()
        return self.mapping(label, [parent], uuid, words, fstype=fstype)

    def lvm(
        self,
        parents: Block | Sequence[Block],
        volume: str,
        fstype: str | None = None,
        target: str = "linear {0} 2048",
    ) -> Block:
        """A logical volume, `volume` as "group/name" (lvm(8) doubles hyphens and joins by one)."""
        below = [parents] if isinstance(parents, Block) else list(parents)
        for parent in below:
            parent.fstype = parent.fstype or "LVM2_member"
        group, _, name = volume.partition("/")
        label = "-".join(word.replace("-", "--") for word in (group, name))
        serial = self._uuid().replace("-", "")
        return self.mapping(label, below, f"LVM-{serial}{serial}", target, fstype=fstype)

    def raid(
        self, name: str, members: Sequence[Block], level: str = "raid1", fstype: str | None = None
    ) -> Block:
        """An array of md(4)."""
        for member in members:
            member.fstype = "linux_raid_member"
        path = f"/sys/devices/virtual/block/{name}"
        number = f"9:{int(name.removeprefix('md'))}"
        return self._add(Block(name, number, level, path, list(members), fstype))

    def virtual(
        self,
        name: str,
        number: str,
        type: str,
        parents: Sequence[Block] = (),
        fstype: str | None = None,
    ) -> Block:
        """Another device that is no hardware: bcache0, zd0, sr0."""
        path = f"/sys/devices/virtual/block/{name}"
        return self._add(Block(name, number, type, path, list(parents), fstype))

    def loop(self, file: str, fstype: str | None = None) -> Block:
        """A loop device over a file."""
        index = self._next("loop")
        block = self.virtual(f"loop{index}", f"7:{index}", "loop", fstype=fstype)
        self.machine.file(f"{block.path}/loop/backing_file", file + "\n")
        return block

    def zram(self, backing: str = "none") -> Block:
        """Compressed swap in memory, in use."""
        block = self.virtual("zram0", "252:0", "disk", fstype="swap")
        self.machine.file(f"{block.path}/backing_dev", backing + "\n")
        self.swap(block, priority=100)
        return block

    # --- in use ----------------------------------------------------------------------------

    def mount(
        self,
        device: Block,
        point: str,
        fstype: str = "",
        *,
        root: str = "/",
        options: str = "rw",
        number: str = "",
    ) -> Block:
        """Mount a device; btrfs has device numbers of its own (give none: one is made up)."""
        kind = fstype or device.fstype or "ext4"
        device.fstype = kind
        device.points.append(point)
        device.uuid = device.uuid or self._uuid()
        shown = number or (self._anonymous() if kind == "btrfs" else device.number)
        self.pseudo(point, device.dev, kind, root=root, options=options, number=shown)
        return device

    def pseudo(
        self,
        point: str,
        source: str,
        fstype: str,
        *,
        root: str = "/",
        options: str = "rw",
        number: str = "",
    ) -> None:
        """Mount what is no device: tmpfs, a ZFS data set, a network share, an overlay."""
        index = self._next("mount")
        before = f"{index} 1 {number or self._anonymous()} {_escape(root)} {_escape(point)}"
        self._mounts.append(
            f"{before} rw,relatime shared:{index} - {fstype} {_escape(source)} {options}"
        )

    def swap(self, device: Block, *, shown: str = "", priority: int = -2) -> None:
        """Swap to a device."""
        device.fstype = "swap"
        device.points.append("[SWAP]")
        name = shown or f"/dev/{device.name}"
        self._swaps.append(f"{name:<39} partition\t8388604\t\t0\t\t{priority}")

    def swap_file(self, path: str) -> None:
        """Swap to a file."""
        self._swaps.append(f"{path:<39} file\t\t8388604\t\t0\t\t-2")

    def btrfs(self, *members: Block) -> None:
        """Say in sysfs which devices a btrfs has."""
        for member in members:
            self.machine.link(
                f"/sys/fs/btrfs/{members[0].uuid}/devices/{member.name}",
                f"../../../../{member.path.removeprefix('/sys/')}",
            )

    # --- writing ---------------------------------------------------------------------------

    def write(self, *, lsblk: str = "yes", dmsetup: bool = True, cmdline: str = "") -> None:
        """Write everything down. `lsblk` may be "yes", "hangs" or "no"."""
        machine = self.machine
        mounts = [
            "20 1 0:5 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw",
            "19 1 0:6 / /sys rw,nosuid,nodev,noexec,relatime shared:2 - sysfs sysfs rw",
            "18 1 0:7 / /run rw,nosuid,nodev,noexec shared:3 - tmpfs tmpfs rw,mode=755",
        ]
        machine.file("/proc/self/mountinfo", "\n".join([*self._mounts, *mounts]) + "\n")
        head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"
        machine.file("/proc/swaps", "\n".join([head, *self._swaps]) + "\n")
        machine.file("/proc/cmdline", (cmdline or "ro quiet") + "\n")
        for block in self.blocks:
            up = "../" * (len(["", "sys", "class", "block"]) - 2)
            machine.link(f"/sys/class/block/{block.name}", up + block.path.removeprefix("/sys/"))
            machine.file(f"{block.path}/dev", block.number + "\n")
            for parent in block.parents if block.type != "part" else ():
                target = "../" * (block.path.count("/") - 1) + parent.path.removeprefix("/sys/")
                machine.link(f"{block.path}/slaves/{parent.name}", target)
        argv = ("lsblk", "--json", "-b", "-o", LSBLK)
        if lsblk == "yes":
            roots = [self._entry(block, None) for block in self.blocks if not block.parents]
            machine.command(argv, json.dumps({"blockdevices": roots}) + "\n")
        elif lsblk == "hangs":
            machine.command(argv, timed_out=True)
        if self._tables and dmsetup:
            if machine.root:
                machine.command(("dmsetup", "table"), "\n".join(self._tables) + "\n")
            else:
                said = "/dev/mapper/control: open failed: Permission denied"
                machine.refused("dmsetup", "table", stderr=said)

    def _entry(self, block: Block, parent: Block | None) -> dict[str, Any]:
        """A device in lsblk's tree, with those that lie on it."""
        children = [self._entry(b, block) for b in self.blocks if block in b.parents]
        entry = {
            "name": block.label or block.name,
            "kname": block.name,
            "path": block.dev,
            "maj:min": block.number,
            "type": block.type,
            "fstype": block.fstype,
            "mountpoint": block.points[0] if block.points else None,
            "uuid": block.uuid,
            "rm": block.removable,
            "hotplug": block.removable,
            "pkname": parent.name if parent else None,
        }
        return {**entry, "children": children} if children else entry

    def _add(self, block: Block) -> Block:
        self.blocks.append(block)
        return block

    def _next(self, what: str) -> int:
        number = self._numbers[what]
        self._numbers[what] += 1
        return number

    def _anonymous(self) -> str:
        return f"0:{self._next('anonymous')}"

    def _uuid(self) -> str:
        return f"c0ffee00-0000-4000-8000-{self._next('uuid') + 1:012d}"


def _escape(text: str) -> str:
    r"""Blanks and their like as the kernel writes them: `\040` (proc_pid_mountinfo(5))."""
    return re.sub(r"[ \t\n\\]", lambda match: f"\\{ord(match.group()):03o}", text)
