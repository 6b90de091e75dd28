"""Asks the machine for all that the graph is built from, and no more than it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qlmdm_core.api import Host

from . import block, lsblk, mapper, mappings, mounts, pools
from .block import Device
from .mapper import Segment
from .mounts import Mount, Swap
from .stack import Facts

_MOST_STATUSES = 24
"""More mappings than this are not asked for one by one."""


def read(host: Host) -> tuple[Facts, list[Swap] | None, bool]:
    """The facts, the swap areas (None: not known), and whether all mounts are known.

    Mounts are known in part only when lsblk alone tells of them: it shows one mount point
    for each device (before 2.37), and none of file systems without a device.
    """
    sysfs = block.read_sysfs(host)
    devices = block.merge(sysfs, lsblk.read(host, alone=not sysfs))
    mounted = mounts.read_mounts(host)
    swaps = mounts.read_swaps(host)
    by_lsblk, swaps_by_lsblk = mounts.from_lsblk(
        (d.name, d.fstype, point) for d in devices.values() for point in d.mounts
    )
    if swaps is None and (swaps_by_lsblk or not host.exists("/proc/swaps")):
        swaps = swaps_by_lsblk  # a kernel without swap has no such file
    whole = bool(mounted)
    mounted = mounted or by_lsblk
    if not devices:
        # Neither sysfs nor lsblk: some names tell by themselves that they are in plain.
        devices = block.by_names(
            [path for mount in mounted for path in mount.source.replace(":/", "\n/").split("\n")]
            + [swap.name for swap in swaps or ()]
        )
    if resume := mounts.read_resume(host):
        swaps = [*swaps, resume] if swaps is not None else None
    devices, tables, statuses = _read_mapper(host, devices, mounted, swaps or [])
    facts = Facts(
        mounts=mounted,
        devices=devices,
        tables=tables,
        statuses=statuses,
        links=_read_links(host, mounted, swaps or []),
    )
    return _with_pools(host, facts), swaps, whole


def _read_mapper(
    host: Host, devices: dict[str, Device], mounted: Sequence[Mount], swaps: Sequence[Swap]
) -> tuple[dict[str, Device], Mapping[str, Sequence[Segment]] | None, dict[str, Mapping[str, str]]]:
    """The devices with those that only device-mapper's own tools tell of; tables; statuses."""
    sources = [mount.source for mount in mounted] + [swap.name for swap in swaps]
    named = [s.removeprefix("/dev/mapper/") for s in sources if s.startswith("/dev/mapper/")]
    mapped = [d for d in devices.values() if d.name.startswith("dm-") or d.kind in _MAPPED]
    if not mapped and not named:
        return devices, None, {}
    tables = mappings.read_tables(host)
    hidden, paths = mappings.hidden(named, tables or {}, devices.values(), sources)
    known: set[str] = set()
    if hidden:
        info = mappings.read(host, paths)
        devices = block.merge(devices, info)
        known = {mounts.unescape_udev(device.label) for device in info}
    statuses: dict[str, Mapping[str, str]] = {}
    known_so_far = Facts(devices=devices, tables=tables)
    asked = [d for d in devices.values() if _needs_status(d, known_so_far.table_of(d))]
    for device in asked[:_MOST_STATUSES]:
        name = device.label or device.name
        if status := mapper.read_status(host, name):
            statuses[name] = status
    for name in sorted(hidden - known)[:_MOST_STATUSES]:
        status = mapper.read_status(host, name)
        if status or name in (tables or {}):
            statuses[name] = status
            under = block.short_name(status.get("device", ""))
            devices = {**block.by_names([status.get("device", "")]), **devices}
            devices[name] = Device(name=name, kind="dm", parents=(under,) if under else ())
    return devices, tables, statuses


_MAPPED = ("crypt", "lvm", "mpath", "dm")


def _needs_status(device: Device, segments: Sequence[Segment] | None) -> bool:
    """Whether cryptsetup can tell what the mapping's UUID and table leave open.

    Without a table that is the cipher, which may be the null cipher; with one, whether a
    LUKS mapping that has no crypt target leaves the work to the disk.
    """
    crypt = mapper.made_by(device.dm_uuid) in mapper.ENCRYPTING
    if segments:
        return crypt and all(segment.target != "crypt" for segment in segments)
    vague = not device.dm_uuid and device.kind in ("crypt", "dm")
    return crypt or (vague and device.kind != "part")


def _read_links(host: Host, mounted: Sequence[Mount], swaps: Sequence[Swap]) -> dict[str, str]:
    """Where the paths in /dev that something is mounted from lead, if they are links."""
    paths = [mount.source for mount in mounted] + [swap.name for swap in swaps]
    links = {}
    for path in dict.fromkeys(paths):
        if path.startswith("/dev/"):
            try:
                links[path] = host.readlink(path)
            except OSError:
                continue
    return links


def _with_pools(host: Host, facts: Facts) -> Facts:
    """The facts with those about ZFS, btrfs and bcachefs, where they are in use."""
    types = {mount.fstype for mount in facts.mounts}
    if "btrfs" in types:
        facts = replace(facts, btrfs=pools.read_btrfs(host))
    if "bcachefs" in types:
        sources = [mount.source for mount in facts.mounts if mount.fstype == "bcachefs"]
        facts = replace(facts, bcachefs=pools.read_bcachefs(host, sources))
    names = [m.source.partition("@")[0] for m in facts.mounts if m.fstype == "zfs"]
    zvols = {}
    if any(device.kind == "zvol" for device in facts.devices.values()):
        zvols = pools.read_zvols(host)
    if names or zvols:
        facts = replace(
            facts,
            zvols=zvols,
            datasets=pools.read_datasets(host, [*names, *zvols.values()]),
            pools=pools.read_pools(host),
        )
    return facts
