"""Reads what is mounted, and which of it lies in a network (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qlmdm_core.api import Host
from qlmdm_core.client.wipe.blockdevices import UnreadableError

LOCAL = frozenset(
    {"bcachefs", "btrfs", "ecryptfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs"}
    | {"nilfs2", "ntfs", "ntfs3", "overlay", "reiserfs", "tmpfs", "vfat", "xfs", "zfs"}
)
"""File systems on a disk or in the memory of this machine. All others are left alone: a name
that is not known may be a network's."""
MOUNTINFO = "/proc/self/mountinfo"
MAX_BYTES = 4 << 20
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A line of mountinfo."""

    mount_id: int
    device: str
    """st_dev as MAJOR:MINOR."""
    root: str
    """Which folder of the file system is mounted."""
    target: str
    options: tuple[str, ...]
    """Of this mount, not of the file system: "ro" counts here."""
    fstype: str
    source: str


def read(host: Host) -> tuple[Mount, ...]:
    """All mounts in sight. Raises `UnreadableError`."""
    try:
        return parse(host.read(MOUNTINFO, max_bytes=MAX_BYTES))
    except OSError as error:
        raise UnreadableError(f"{MOUNTINFO}: {error.strerror or error}") from None


def parse(text: str) -> tuple[Mount, ...]:
    """The mounts in a text. Raises `UnreadableError` for a line that is none."""
    return tuple(_parse(line) for line in text.split("\n") if line)


def _parse(line: str) -> Mount:
    before, dash, after = line.partition(" - ")
    fields, more = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(more) < 2 or not fields[0].isdecimal():
        raise UnreadableError(f"{MOUNTINFO}: a line that is no mount")
    return Mount(
        mount_id=int(fields[0]),
        device=fields[2],
        root=_plain(fields[3]),
        target=_plain(fields[4]),
        options=tuple(fields[5].split(",")),
        fstype=more[0],
        source=_plain(more[1]),
    )


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), text)


def is_local(fstype: str) -> bool:
    """Whether a file system is one of a disk of this machine, or of its memory."""
    return fstype in LOCAL


def holding(mounted: Iterable[Mount], path: str) -> Mount | None:
    """The mount that a path (without links) lies on: the last one at the longest target."""
    best: Mount | None = None
    for mount in mounted:
        if _is_below(path, mount.target) and (
            best is None or len(mount.target) >= len(best.target)
        ):
            best = mount
    return best


def network_mounts(host: Host, homes: Iterable[str]) -> tuple[str, ...]:
    """What is mounted at, above or in homes and is not of this machine, for people."""
    mounted = read(host)
    found: dict[str, None] = {}
    for home in homes:
        holder = holding(mounted, home)
        below = [mount for mount in mounted if _is_below(mount.target, home)]
        for mount in (*([holder] if holder else []), *below):
            if not is_local(mount.fstype):
                found[f"{mount.target} ({mount.fstype})"] = None
    return tuple(found)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or folder == "/" or path.startswith(folder.rstrip("/") + "/")
