"""Notes directories that are encrypted by themselves: eCryptfs, fscrypt, gocryptfs, homed.

They never make a disk "encrypted": names, sizes or everything beside them is in plain. They
are told beside it, because a home that is encrypted is better than one that is not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from qlmdm_core.api import JSON, Host

from .mounts import Mount

MOUNTED = {
    "ecryptfs": "ecryptfs",
    "fuse.gocryptfs": "gocryptfs",
    "fuse.encfs": "encfs",
    "encfs": "encfs",
    "fuse.cryfs": "cryfs",
    "fuse.securefs": "securefs",
    "fuse.veracrypt": "veracrypt",
}
_FSCRYPT = ("ext4", "f2fs", "ubifs", "btrfs")
_MOST_ASKED = 16
_POLICIES = re.compile(r"(?<!\d)(\d{1,9}) polic")


def note(host: Host, mounts: Sequence[Mount]) -> list[dict[str, JSON]]:
    """The directories that are encrypted by themselves, as far as they are in sight."""
    found: dict[tuple[str, str], dict[str, JSON]] = {}

    def add(path: str, kind: str, **more: JSON) -> None:
        found.setdefault((path, kind), {"path": path, "kind": kind, **more})

    for mount in mounts:
        if mount.fstype in MOUNTED:
            add(mount.point, MOUNTED[mount.fstype], mounted=True)
    # ecryptfs-setup-private(1): the ciphertext of users, logged in or not.
    for path in host.glob("/home/.ecryptfs/*"):
        add(f"/home/{path.rsplit('/', 1)[-1]}", "ecryptfs", mounted=False)
    for path in host.glob("/home/*/.ecryptfs"):
        add(path.removesuffix("/.ecryptfs"), "ecryptfs", mounted=False)
    # systemd-homed: one file (a LUKS volume) or one directory (fscrypt) for each user.
    for path in host.glob("/home/*.home"):
        add(path, "homed", mounted=_in_use(path.removesuffix(".home"), mounts))
    for path in host.glob("/home/*.homedir"):
        add(path, "homed", mounted=_in_use(path.removesuffix(".homedir"), mounts))
    if host.which("fscrypt") is not None:
        points = [m.point for m in mounts if m.fstype in _FSCRYPT and m.root == "/"]
        for point in list(dict.fromkeys(points))[:_MOST_ASKED]:
            if policies := _fscrypt_policies(host, point):
                add(point, "fscrypt", policies=policies)
    return list(found.values())


def _in_use(home: str, mounts: Sequence[Mount]) -> bool:
    return any(mount.point == home for mount in mounts)


def _fscrypt_policies(host: Host, point: str) -> int:
    """How many encrypted directories a file system has, by fscrypt(8); 0 if it can't tell.

    `fscrypt status` exits 0 even where nothing is encrypted: the counts are what matters.
    """
    result = host.run(["fscrypt", "status", point])
    return parse_fscrypt(result.stdout).get(point, 0) if result.ok else 0


def parse_fscrypt(text: str) -> dict[str, int]:
    """The number of policies (encrypted directories) by mount point, from `fscrypt status`."""
    found = {}
    for line in text.splitlines():
        # ext4 filesystem "/home" has 1 protector and 2 policies
        mount, has, counts = line.partition('filesystem "')[2].rpartition('" has ')
        if has and (match := _POLICIES.search(counts)):
            found[mount] = int(match.group(1))
    return found
