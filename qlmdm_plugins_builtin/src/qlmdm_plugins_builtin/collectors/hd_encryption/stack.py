"""Builds the graph from what was read: mounts on file systems on devices on devices.

Nothing here asks the machine: given the same facts, the graph is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from . import mapper
from .block import Device
from .filesystems import MEMORY, sort_of
from .graph import Node, Role
from .lookup import Lookup
from .mapper import Segment
from .mounts import Mount, layers, unescape_udev
from .pools import Dataset


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that was read."""

    mounts: Sequence[Mount] = ()
    devices: Mapping[str, Device] = field(default_factory=dict)
    """By kernel name."""
    tables: Mapping[str, Sequence[Segment]] | None = None
    """Device-mapper tables, by the mapping's name; None: could not be read."""
    statuses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What `cryptsetup status` says, by the mapping's name."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Where links in /dev lead, by path."""
    btrfs: Sequence[Sequence[str]] = ()
    """The devices of each btrfs."""
    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The disks of each ZFS pool, by the pool's name."""
    zvols: Mapping[str, str] = field(default_factory=dict)
    """The ZFS volume behind each zd device."""
    bcachefs: Mapping[str, bool | None] = field(default_factory=dict)
    """Whether it is encrypted, by the mount's source; None: not known."""

    @cached_property
    def lookup(self) -> Lookup:
        """Finds devices and mounts."""
        return Lookup(self.devices, self.links, self.mounts)

    @cached_property
    def _tables(self) -> Mapping[str, Sequence[Segment]]:
        return {unescape_udev(name): table for name, table in (self.tables or {}).items()}

    @cached_property
    def _btrfs_pools(self) -> Mapping[str, tuple[str, ...]]:
        """The members of a btrfs, by each of them: as sysfs or `btrfs` says, or by UUID."""
        pools: dict[str, tuple[str, ...]] = {}
        alike: dict[str, list[str]] = {}
        for device in self.devices.values():
            if device.fstype == "btrfs" and device.fs_uuid:
                alike.setdefault(device.fs_uuid, []).append(device.name)
        for names in [*alike.values(), *self.btrfs]:
            members = tuple(dict.fromkeys(self.lookup.device(n) or n for n in names))
            # One that is alone may be all that lsblk knows of it.
            pools |= {name: members for name in members if len(members) > 1 or name not in pools}
        return pools

    def btrfs_members(self, device: str) -> tuple[str, ...]:
        """The devices of the file system that `device` belongs to, itself among them."""
        return self._btrfs_pools.get(device, (device,))

    def table_of(self, device: Device) -> Sequence[Segment] | None:
        """The mapping's table, whose name dmsetup may show with udev's escapes."""
        return self._tables.get(unescape_udev(device.label or device.name))


def mount_id(index: int) -> str:
    """The name of a mount's node."""
    return f"mount {index}"


def build(facts: Facts) -> dict[str, Node]:
    """The graph: nodes by device's kernel name, "zfs NAME", and `mount_id`."""
    nodes: dict[str, Node] = {}
    for device in facts.devices.values():
        nodes[device.name] = _device_node(device, facts)
    for name in [*facts.datasets, *facts.zvols.values()]:
        nodes[f"zfs {name}"] = _dataset_node(name, facts)
    for index, mount in enumerate(facts.mounts):
        nodes[mount_id(index)] = _mount_node(index, mount, facts)
    return nodes


def may_encrypt(nodes: Mapping[str, Node], facts: Facts) -> bool:
    """Whether anything on the machine encrypts, or is a mapping that can't be seen through.

    Where nothing does, a device is in plain even if it can't be seen what it lies on.
    """
    return not facts.devices or any(
        node.role == "encrypts"
        or (node.role == "opaque" and facts.devices[name].kind not in ("loop", "zvol"))
        for name, node in nodes.items()
        if name in facts.devices  # a data set that encrypts has no disk above it
    )


# --- devices --------------------------------------------------------------------------------

_SIMPLE: dict[str, Role] = {
    "part": "passes",
    "raid": "passes",
    "bcache": "passes",
    "disk": "disk",
    "ram": "memory",
    "rom": "image",
    "network": "network",
}


def _device_node(device: Device, facts: Facts) -> Node:
    shown = device.label or device.name
    label = f"{shown} ({device.kind})"
    if device.kind in _SIMPLE:
        return Node(role=_SIMPLE[device.kind], parents=device.parents, label=label)
    if device.kind == "loop":
        return _loop_node(device, label, facts)
    if device.kind == "zram":
        if not device.backing_file:
            return Node(role="memory", label=label, reason="zram keeps it in memory")
        under = facts.lookup.device(device.backing_file)
        return Node(role="passes", parents=(under or device.backing_file,), label=label)
    if device.kind == "zvol":
        volume = facts.zvols.get(device.name)
        reason = f"which ZFS volume {device.name} is can't be seen"
        if volume is None:
            return Node(role="opaque", label=label, reason=reason)
        return Node(role="passes", parents=(f"zfs {volume}",), label=label)
    below = [facts.devices[name] for name in device.parents if name in facts.devices]
    segments = facts.table_of(device)
    role, kind, reason = mapper.role(device, segments, facts.statuses.get(shown, {}), below)
    parents = device.parents
    for segment in segments or ():
        for number in segment.devices:
            under = facts.lookup.device("", number)
            parents = tuple(dict.fromkeys((*parents, under))) if under else parents
    return Node(role=role, parents=parents, label=f"{shown} ({kind})", reason=reason)


def _loop_node(device: Device, label: str, facts: Facts) -> Node:
    path = device.backing_file
    if not path:
        if device.parents:
            return Node(role="passes", parents=device.parents, label=label)
        reason = f"which file is behind {device.name} can't be seen"
        return Node(role="opaque", label=label, reason=reason)
    under = facts.lookup.mount_of(path)
    if under is None:
        return Node(role="opaque", label=label, reason=f"where {path} lies can't be seen")
    return Node(role="passes", parents=(mount_id(under),), label=label)


# --- file systems ---------------------------------------------------------------------------


def device_of(mount: Mount, facts: Facts) -> str:
    """The kernel name of the device that is mounted; empty if there is none, or not one."""
    if mount.device:
        return mount.device
    if not mount.source.startswith(("/", "UUID=")):
        return facts.lookup.device("", mount.number)
    source = mount.source.split(":/")[0] if mount.fstype == "bcachefs" else mount.source
    return facts.lookup.device(source, mount.number)


def _mount_node(index: int, mount: Mount, facts: Facts) -> Node:
    device = device_of(mount, facts)
    sort = sort_of(mount, device)
    if sort == "memory":
        return Node(role="memory", reason=f"{mount.fstype} keeps it in memory")
    if sort == "network":
        return Node(role="network", reason=f"it is {mount.fstype}: another machine's storage")
    if sort == "flash":
        return Node(role="disk", label=f"{mount.source} (flash)")
    if sort == "image" or (mount.fstype == "udf" and _kind(device, facts) == "rom"):
        return Node(
            role="image",
            reason=f"{mount.fstype} is a read-only image",
            parents=(device,) if device else (),
        )
    if sort == "union":
        return _union_node(index, mount, facts)
    if sort == "zfs":
        name = mount.source.partition("@")[0]
        return Node(role="passes", parents=(f"zfs {name}",))
    if sort == "bcachefs":
        return _bcachefs_node(mount, facts)
    if not device:
        return Node(role="opaque", reason=f"{mount.source} is not among the devices in sight")
    if sort == "btrfs":
        return Node(role="passes", parents=facts.btrfs_members(device))
    return Node(role="passes", parents=(device,))


def _kind(device: str, facts: Facts) -> str:
    return facts.devices[device].kind if device in facts.devices else ""


def _union_node(index: int, mount: Mount, facts: Facts) -> Node:
    """An overlay is what its layers are; a layer that can't be seen leaves it open."""
    found = layers(mount)
    parents: list[str] = []
    hidden = not any(found.values())
    for option, paths in found.items():
        for path in paths:
            under = facts.lookup.mount_of(path, but=index)
            # A lower layer "on a tmpfs" is something mounted there that is out of sight.
            memory = (
                under is not None and facts.mounts[under].fstype in MEMORY and option == "lowerdir"
            )
            if under is None or memory:
                # composefs: the lower layer is an index; the files are in the data layers.
                hidden = hidden or not (option == "lowerdir" and found["datadir"])
            else:
                parents.append(mount_id(under))
    if hidden:
        parents.append(f"the layers of {mount.point}")
    return Node(
        role="passes",
        parents=tuple(dict.fromkeys(parents)),
        label=f"{mount.point} ({mount.fstype})",
    )


def _bcachefs_node(mount: Mount, facts: Facts) -> Node:
    paths = [path for path in mount.source.replace(":/", "\n/").split("\n") if path]
    parents = tuple(facts.lookup.device(p) or p for p in paths)
    encrypted = facts.bcachefs.get(mount.source)
    role: Role = "opaque" if encrypted is None else "encrypts" if encrypted else "passes"
    return Node(
        role=role,
        parents=parents,
        label=f"{mount.source} (bcachefs{', encrypted' if encrypted else ''})",
        reason="" if encrypted is not None else "only `bcachefs show-super` tells if it encrypts",
    )


def _dataset_node(name: str, facts: Facts) -> Node:
    data = facts.datasets.get(name, Dataset(problem="zfs was not asked"))
    parents = _pool_parents(name.partition("/")[0], facts)
    if data.problem:
        reason = f"whether {name} is encrypted can't be seen: {data.problem}"
        return Node(role="opaque", parents=parents, label=f"{name} (zfs)", reason=reason)
    if data.encryption in ("", "off"):
        mapped = any(mount.source.startswith("/dev/mapper/") for mount in facts.mounts)
        if data.encryption and not parents and not facts.devices and not mapped:
            # All that is told of the machine's storage is this word of ZFS itself.
            reason = f"{name} has encryption=off, and no device below it is in sight"
            return Node(role="disk", label=f"{name} (zfs)", reason=reason)
        return Node(role="passes", parents=parents, label=f"{name} (zfs)")
    return Node(role="encrypts", parents=parents, label=f"{name} (zfs, {data.encryption})")


def _pool_parents(pool: str, facts: Facts) -> tuple[str, ...]:
    """The devices of a pool; where `zpool` doesn't tell, all that blkid takes for ZFS's."""
    if pool in facts.pools:
        parents = []
        for disk in facts.pools[pool]:
            name = facts.lookup.device(disk)
            under = None
            if not name and disk.startswith("/") and not disk.startswith("/dev/"):
                under = facts.lookup.mount_of(disk)
            parents.append(name or (mount_id(under) if under is not None else disk))
        return tuple(dict.fromkeys(parents))
    divided = set(partitioned(facts.devices.values()))
    return tuple(
        d.name for d in facts.devices.values() if d.fstype == "zfs_member" and d.name not in divided
    )


def partitioned(devices: Iterable[Device]) -> list[str]:
    """The devices that have partitions: a signature on one of these is left over."""
    return [parent for d in devices if d.kind == "part" for parent in d.parents]
