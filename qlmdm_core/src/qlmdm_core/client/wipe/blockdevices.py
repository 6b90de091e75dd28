"""Reads which disks are built into the machine, and what lies on them.

lsblk tells the tree, sysfs where a disk is attached and what its serial number is. What sits in
a USB port, a card slot or elsewhere in the network is not the machine's own. Whatever can't be
read is said, never guessed: a wipe is refused then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from qlmdm_core.api import JSON, Host

LSBLK = (
    # PATH is new in util-linux 2.33, and an unknown column is an error; JSON is new in 2.27.
    (
        "lsblk",
        "--json",
        "-b",
        "-o",
        "NAME,KNAME,PATH,MAJ:MIN,TYPE,FSTYPE,MOUNTPOINT,UUID,RM,HOTPLUG,PKNAME",
    ),
    ("lsblk", "--json", "-b", "-O"),
)
LUKS = "crypto_LUKS"
_NO_DISK = re.compile(r"(?:loop|zram|ram|sr|fd|nbd|rbd|drbd|zd|md|dm-|mmcblk\d+(?:boot|rpmb|gp))")
"""What lsblk may call a disk and is none (devices.txt of the kernel), or is a part of one."""
_ELSEWHERE = re.compile(r"/usb\d|/fw\d|/session\d+/|/nvme-fabrics/")
"""In a device's place in /sys: USB, FireWire, iSCSI, NVMe over a network."""
_CARD = re.compile(r"mmcblk\d+\Z")
_MAX_TEXT = 100


class UnreadableError(Exception):
    """Something that must be known can't be read; the message says what and why."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A line of lsblk."""

    name: str
    """The kernel's name, as in "nvme0n1p3"."""
    path: str
    kind: str
    fstype: str
    uuid: str
    removable: bool
    hotplug: bool
    number: str
    mountpoint: str
    children: tuple[Node, ...] = field(default=())

    def walk(self) -> Iterator[Node]:
        """This one and all that lies on it."""
        yield self
        for child in self.children:
            yield from child.walk()


def read(host: Host) -> tuple[Node, ...]:
    """What lsblk lists, disks first. Raises `UnreadableError`."""
    why = ""
    for argv in LSBLK:
        result = host.run(argv, timeout=30.0)
        if result.ok and "failed to get" not in result.stderr:
            nodes = parse(result.stdout)
            if nodes:
                return nodes
            raise UnreadableError("lsblk lists no device")
        why = why or result.why
        if result.timed_out or not result.found:
            break
    raise UnreadableError(why)


def parse(text: str) -> tuple[Node, ...]:
    """The tree in lsblk's JSON. Raises `UnreadableError` for anything else."""
    try:
        value = json.loads(text)["blockdevices"]
        return tuple(_node(entry, 0) for entry in value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError(f"lsblk's answer can't be read: {type(error).__name__}") from None


def _node(entry: Mapping[str, JSON], depth: int) -> Node:
    if depth > 32:
        raise ValueError("too deep")

    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    def flag(key: str) -> bool:
        return entry.get(key) in (True, "1", 1)  # "1" until util-linux 2.32

    name = text("kname") or text("name")
    if not name:
        raise ValueError("a device without a name")
    children = entry.get("children")
    return Node(
        name=name,
        path=text("path") or f"/dev/{name}",
        kind=text("type"),
        fstype=text("fstype"),
        uuid=text("uuid"),
        removable=flag("rm"),
        hotplug=flag("hotplug"),
        number=text("maj:min").strip(),
        mountpoint=text("mountpoint"),
        children=tuple(
            _node(child, depth + 1)
            for child in (children if isinstance(children, list) else ())
            if isinstance(child, dict)
        ),
    )


def is_disk(node: Node) -> bool:
    """Whether it is a disk at all, wherever it is attached."""
    return node.kind == "disk" and not _NO_DISK.match(node.name)


def is_internal(host: Host, disk: Node) -> bool:
    """Whether a disk is built in. Raises `UnreadableError` if that can't be told."""
    if disk.removable or _ELSEWHERE.search(_place(host, disk.name)):
        return False
    if _CARD.match(disk.name):
        # An eMMC chip is soldered on, a card is not; for lsblk both are hotplug.
        kind = _attribute(host, disk.name, "device/type")
        if kind not in ("MMC", "SD"):
            raise UnreadableError(f"{disk.path}: whether it is a card or a chip can't be read")
        return kind == "MMC"
    return not disk.hotplug


def serial(host: Host, disk: Node) -> str:
    """What tells this disk from all others, or (virtual disks have nothing) its size.

    Raises `UnreadableError`.
    """
    for name in ("serial", "device/serial"):
        if text := _attribute(host, disk.name, name):
            return text
    try:
        for line in host.read(f"/run/udev/data/b{disk.number}").split("\n"):
            if line.startswith("E:ID_SERIAL_SHORT=") and (text := _clean(line.partition("=")[2])):
                return text
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UnreadableError(f"{disk.path}: serial number: {error.strerror or error}") from None
    for name in ("device/wwid", "wwid"):
        if text := _attribute(host, disk.name, name):
            return text
    size = size_bytes(host, disk)
    if not size:
        raise UnreadableError(f"{disk.path}: it has neither a serial number nor a size")
    return f"without a serial number, {size} bytes"


def size_bytes(host: Host, disk: Node) -> int:
    """The size of a disk; 0 if it is not told."""
    text = _attribute(host, disk.name, "size")
    # In units of 512 bytes, whatever the disk's sectors are (block/genhd.c).
    return int(text) * 512 if text.isascii() and text.isdigit() and len(text) < 19 else 0


def model(host: Host, disk: Node) -> str:
    """What its maker calls it; empty if it is not told."""
    return _attribute(host, disk.name, "device/model")


def _place(host: Host, name: str) -> str:
    for folder in ("/sys/class/block", "/sys/block"):
        try:
            return host.readlink(f"{folder}/{name.replace('/', '!')}")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UnreadableError(f"{name}: its place: {error.strerror or error}") from None
    return ""


def _attribute(host: Host, name: str, attribute: str) -> str:
    """A file of sysfs; empty if there is none (another kind of disk has it)."""
    try:
        text = host.read(f"/sys/class/block/{name.replace('/', '!')}/{attribute}", max_bytes=4096)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise UnreadableError(f"/dev/{name}: {attribute}: {error.strerror or error}") from None
    return _clean(text)


def _clean(text: str) -> str:
    shown = "".join(c if " " <= c <= "~" else " " for c in text)
    return " ".join(shown.split())[:_MAX_TEXT]
