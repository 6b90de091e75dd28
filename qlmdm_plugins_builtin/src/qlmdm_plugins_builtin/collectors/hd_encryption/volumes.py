"""Lists what must be encrypted, judges each, and draws the conclusion for the machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from qlmdm_core.api import JSON

from .block import Device
from .filesystems import CONTAINER_PREFIXES, sort_of
from .graph import Finding, Node, State, walk, worst_of
from .mounts import Mount, Swap, unescape_udev
from .stack import Facts, build, device_of, may_encrypt, mount_id

BOOT = (
    "/boot",
    "/efi",
    "/esp",
    # Ubuntu with keys in the TPM: the kernel's partition, and the one firmware starts from.
    "/run/mnt/ubuntu-boot",
    "/run/mnt/ubuntu-seed",
)
"""What firmware or the boot loader must read before anything can be unlocked."""
BOOT_TYPES = {
    # The Discoverable Partitions Specification: EFI system partition, extended boot loader.
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "an EFI system partition",
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "a boot loader partition",
    "0xef": "an EFI system partition",
}
REMOVABLE_PREFIXES = ("/media/", "/run/media/", "/mnt/")
SYSTEM_MOUNTS = ("/usr", "/nix", "/nix/store", "/sysroot", "/var", "/home")
"""One of these carries the system where / itself is an image or lies in memory."""
LINUX_TYPES = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "reiserfs"))
"""File systems that systems and homes are on, and that do not encrypt all by themselves."""
OVERLAID = ("/", "/usr", "/etc", "/opt", "/var", "/home", "/root", "/srv")
LIVE_OPTIONS = re.compile(
    r"(?:^|\s)(boot=(casper|live)|rd\.live\.\S+|root=live:\S+|archisobasedir=\S*|misobasedir=\S*"
    r"|iso-scan/filename=\S+|live-media\S*|nfsroot=\S+/casper\S*)(?=\s|$)"
)
"""What live images of Ubuntu, Debian, Fedora, openSUSE, Arch and Manjaro boot with."""
NETWORK_OPTIONS = re.compile(
    r"(?:^|\s)(netroot=\S+|nfsroot=\S+|nbdroot=\S+|iscsi_\w+\S*|rd\.iscsi\.\S+"
    r"|root=(nfs|iscsi|nbd|/dev/nfs|/dev/nbd)\S*)(?=\s|$)"
)
"""What machines boot with whose root is another machine's disk (dracut.cmdline(7))."""
CONTAINER_ROOT = re.compile(
    r".*/(lxc|lxd|incus|machines|containers|containerd|docker|podman)/.*|(.*/)?rootfs"
)
"""The directory of a file system that engines mount as a container's root."""
LIVE_MOUNTS = (
    "/run/initramfs/live",
    "/run/live/medium",
    "/lib/live/mount/medium",
    "/usr/lib/live/mount/medium",
    "/run/archiso/bootmnt",
    "/run/miso/bootmnt",
    "/cdrom",
    "/rofs",
    "/iso",
)
MOST_VOLUMES = 300
"""More than these are judged, but not told one by one."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One place where data is kept, and what came out for it."""

    mount: str
    """The mount point, or "swap"."""
    device: str
    fstype: str
    state: State
    chain: tuple[str, ...] = ()
    reason: str = ""

    def value(self) -> dict[str, JSON]:
        """As it stands in the report."""
        shown: dict[str, JSON] = {
            "mount": self.mount,
            "device": self.device,
            "fstype": self.fstype,
            "state": self.state,
            "chain": list(self.chain),
        }
        return {**shown, "reason": self.reason} if self.reason else shown


def judge(
    facts: Facts,
    swaps: Sequence[Swap] | None,
    partition_type: Callable[[Device], str] = lambda device: device.partition_type,
) -> list[Volume]:
    """All volumes: file systems first, in the order they were mounted, then swap."""
    nodes = build(facts)
    doubt = may_encrypt(nodes, facts)
    volumes: list[Volume] = []
    listed: set[str] = set()
    for index, mount in enumerate(facts.mounts):
        device = device_of(mount, facts)
        sort = sort_of(mount, device)
        again = (device or mount.source) in listed
        if not _is_listed(mount, sort, again=again, full=len(volumes) >= MOST_VOLUMES):
            continue
        listed.add(device or mount.source)
        finding = walk(nodes, mount_id(index), doubt=doubt)
        part = facts.devices.get(device)
        part_type = partition_type(part) if part is not None and part.kind == "part" else ""
        volumes.append(_volume(mount, sort, device, finding, facts, part_type))
    used = set(listed)
    for swap in swaps or ():
        device = swap.device or facts.lookup.device(swap.name, swap.number)
        # Where hibernation goes to is mostly one of the others, which is told already.
        if not swap.hibernation or (device and device not in used):
            volumes.append(_swap_volume(swap, device, facts, nodes, doubt))
        used.add(device)
    if swaps is None:
        reason = "/proc/swaps can't be read"
        volumes.append(
            Volume(mount="swap", device="", fstype="swap", state="unknown", reason=reason)
        )
    return volumes


def _is_listed(mount: Mount, sort: str, *, again: bool, full: bool) -> bool:
    """Whether a mount is a volume of its own. The root always is.

    `again` says whether what is mounted is listed already, `full` whether enough is listed.
    """
    if mount.point == "/":
        return True
    if sort in ("", "memory", "image", "network"):
        return False
    if sort == "union":
        return mount.point in OVERLAID
    if mount.point.startswith(("/snap/", "/var/lib/snapd/snap/")) and not mount.fstype:
        return False  # lsblk without the types of file systems: images of snaps
    # A second mount of a device can't change the conclusion, and some machines have thousands.
    machinery = mount.point.startswith(CONTAINER_PREFIXES) and not mount.point.startswith(
        REMOVABLE_PREFIXES
    )
    return not again or not (machinery or full)


def _volume(
    mount: Mount, sort: str, device: str, finding: Finding, facts: Facts, part_type: str
) -> Volume:
    shown = mount.source
    if shown == "/dev/root" and device:
        shown = f"/dev/{device}"
    exempt = _exemption(mount, part_type, finding, facts)
    if exempt:
        state: State = "exempt"
        reason = exempt
    else:
        state, reason = finding.state, finding.reason
        if state == "not_encrypted":
            reason = explain(shown, mount.fstype, finding, facts)
        elif state == "encrypted":
            reason = ""
    return Volume(
        mount=mount.point,
        device=unescape_udev(shown),
        fstype=mount.fstype or ("" if sort == "device" else sort),
        state=state,
        chain=finding.chain,
        reason=reason,
    )


def explain(shown: str, fstype: str, finding: Finding, facts: Facts) -> str:
    """Where plain data lies, in a clause: "on /dev/sda3, plain ext4"."""
    kinds = {
        facts.devices[end].name: facts.devices[end] for end in finding.ends if end in facts.devices
    }
    where = f"on {unescape_udev(shown)}, plain {fstype}".rstrip()
    partly = any("(crypt" in label and "null cipher" not in label for label in finding.chain)
    if partly:
        disks = ", ".join(f"/dev/{name}" for name in sorted(kinds))
        where = f"on {unescape_udev(shown)} ({fstype}), which is not encrypted on all of {disks}"
    return f"{where} ({finding.reason})" if finding.reason else where


def _exemption(mount: Mount, part_type: str, finding: Finding, facts: Facts) -> str:
    """Why a volume need not be encrypted; empty if it must."""
    if finding.state == "exempt":
        return finding.reason or "it keeps no data"
    point = mount.point
    if point in BOOT or point.startswith("/boot/"):
        return "needed to start the machine"
    if point != "/" and part_type.lower() in BOOT_TYPES:
        return f"it is {BOOT_TYPES[part_type.lower()]}"
    if point == "/recovery" and mount.fstype in ("vfat", ""):
        # Pop!_OS: a copy of the installer, 4 GB, never written to by users.
        return "it holds the installer's image"
    ends = [facts.devices[end] for end in finding.ends if end in facts.devices]
    seen = ends and len(ends) == len(finding.ends)
    removable = seen and all(_is_removable(device, facts) for device in ends)
    if removable and point.startswith(REMOVABLE_PREFIXES):
        return "it is a removable medium, not a disk of the machine"
    return ""


def _is_removable(device: Device, facts: Facts) -> bool:
    return device.removable or any(
        facts.devices[parent].removable for parent in device.parents if parent in facts.devices
    )


def _swap_volume(
    swap: Swap, device: str, facts: Facts, nodes: Mapping[str, Node], doubt: bool
) -> Volume:
    shown = f"/dev/{device}" if swap.hibernation else swap.name
    if not device and not swap.name.startswith("/dev/"):
        index = facts.lookup.mount_of(swap.name)
        start = mount_id(index) if index is not None else swap.name
    elif not device and swap.name.startswith("/dev/zram"):
        # Without sysfs its backing device can't be seen; hardly anybody sets one.
        reason = "zram keeps it in memory"
        return Volume(mount="swap", device=swap.name, fstype="swap", state="exempt", reason=reason)
    else:
        start = device or swap.name
    finding = walk(nodes, start, doubt=doubt)
    reason = finding.reason
    if finding.state == "not_encrypted":
        reason = explain(shown, "", finding, facts)
        reason += ", where hibernation writes" if swap.hibernation else ""
    elif finding.state == "encrypted":
        reason = ""
    return Volume(
        mount="swap",
        device=shown,
        fstype="swap",
        state=finding.state,
        chain=finding.chain,
        reason=reason,
    )


def the_worst(volumes: Sequence[Volume]) -> list[Volume]:
    """The volumes to tell: all, or if there are too many those that decide."""
    if len(volumes) <= MOST_VOLUMES:
        return list(volumes)
    order = ("not_encrypted", "unknown", "encrypted", "exempt")
    return sorted(volumes, key=lambda volume: order.index(volume.state))[:MOST_VOLUMES]


# --- the machine ----------------------------------------------------------------------------


def is_live(mounts: Sequence[Mount], volumes: Sequence[Volume], command_line: str) -> bool:
    """Whether the machine runs from a live medium: what it runs on is not its own disk."""
    if LIVE_OPTIONS.search(command_line):
        return True
    root = next((v for v in reversed(volumes) if v.mount == "/"), None)
    shown = {mount.point for mount in mounts}
    built = root is None or root.fstype in ("overlay", "aufs", "unionfs", "tmpfs", "squashfs")
    if root is not None and any(label.startswith("live-") for label in root.chain):
        built = True  # dracut: a snapshot of the image, /dev/mapper/live-rw
    return built and any(point in shown for point in LIVE_MOUNTS)


def of_others(volumes: Sequence[Volume], *, live: bool, container: bool) -> list[Volume]:
    """The volumes, those unknown that are no disks of the machine itself to judge.

    A container sees mounts of its host's disks; a live medium mounts whatever there is.
    """
    found = []
    for volume in volumes:
        if container and volume.state in ("encrypted", "not_encrypted"):
            volume = replace(volume, state="unknown", reason="it is the container's host's")
        elif live and volume.state == "not_encrypted":
            reason = f"{volume.reason}, but a live medium is running"
            volume = replace(volume, state="unknown", reason=reason)
        found.append(volume)
    return found


def container_by_root(mounts: Sequence[Mount]) -> str | None:
    """A word for the container that / is mounted for, where its place tells; else None."""
    if any(mount.point.startswith("/mnt/wslg/") for mount in mounts):
        return "wsl"
    root = next((m for m in reversed(mounts) if m.point == "/"), None)
    if root is None or not CONTAINER_ROOT.fullmatch(root.root):
        return None
    return f"/ is {root.root} of a host's file system"


def plain_disk(facts: Facts) -> str:
    """What is in plain on a machine of which no mount is known; empty if that is open.

    Where no device encrypts, every file system that does not do so itself is in plain.
    """
    kinds = {device.fstype for device in facts.devices.values()}
    if facts.mounts or kinds & {"zfs_member", "bcachefs"} or may_encrypt(build(facts), facts):
        return ""
    plain = (
        device
        for device in facts.devices.values()
        if device.fstype in LINUX_TYPES and not _is_removable(device, facts)
    )
    return next((f"/dev/{d.label or d.name} holds a plain {d.fstype}" for d in plain), "")


def conclude(
    volumes: Sequence[Volume],
    *,
    plain: str = "",
    live: bool,
    container: str | None,
    network: bool,
    whole: bool,
) -> tuple[State, str]:
    """The state of the machine, and why it is unknown or not encrypted."""
    if container:
        return "unknown", f"it runs in a container ({container}): its disks can't be seen"
    if live:
        return "unknown", "it runs from a live medium: the disks of the machine are not in use"
    root = next((v for v in reversed(volumes) if v.mount == "/"), None)
    state = worst_of([v.state for v in volumes])
    if root is None and not whole:
        system = any(v.mount in SYSTEM_MOUNTS and v.state == "not_encrypted" for v in volumes)
        if not system and plain:
            return "not_encrypted", f"no device of this machine encrypts, and {plain}"
        if not system:
            return "unknown", "the root file system's device is not in sight"
    if state == "not_encrypted":
        shown = [v for v in volumes if v.state == state][:4]
        return state, "; ".join(f"{v.mount} is {v.reason}" for v in shown)
    if root is None:
        return "unknown", "the root file system's device is not in sight"
    if root.state == "exempt" and not any(
        v.mount in SYSTEM_MOUNTS and v.state != "exempt" for v in volumes
    ):
        return "unknown", f"nothing of the system lies on a disk: {root.reason}"
    if state == "unknown":
        doubtful = next((v for v in volumes if v.state == "unknown"), root)
        return "unknown", f"{doubtful.mount}: {doubtful.reason}"
    if network:
        return "unknown", "it was started from the network: its root is not a disk of its own"
    return state, ""
