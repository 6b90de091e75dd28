"""Proves that this process sits in a throw-away root of its own: `prove()`.

For tests alone. A mount namespace by itself hides neither the host's processes nor its files,
so much more is asked: a marker that names the namespaces outside, which must all be others; a
pid 1 that was started for it; a root on a tmpfs of its own; everything else in sight read-only;
no block device; and none of the capabilities by which any of that could be changed. Then
nothing that is done here, by whatever bug, can reach the machine around it.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from qlmdm_core.client.wipe import mounts
from qlmdm_core.client.wipe.blockdevices import UnreadableError
from qlmdm_core.errors import QlmdmError

MARKER = "/QLMDM-THROW-AWAY"
NAMESPACES = ("mnt", "pid", "ipc", "net")
SOURCE = "qlmdm-throw-away-"
"""The source of all mounts that may be written to, with the nonce behind it."""
FORBIDDEN_CAPABILITIES = {
    # capabilities(7), by their numbers in linux/capability.h.
    "CAP_SYS_MODULE": 16,
    "CAP_SYS_RAWIO": 17,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_BOOT": 22,
    "CAP_MKNOD": 27,
}


class NotOwnRootError(QlmdmError):
    """This is, or may be, the real machine: nothing is done."""

    exit_status = 1


def prove() -> str:
    """The nonce of the throw-away root that this process is in. Raises `NotOwnRootError`."""
    try:
        marker = _marker()
        nonce = str(marker["nonce"])
        _check_namespaces(marker["outside"])
        _check_first_process(nonce)
        _check_root(marker["root"])
        _check_mounts(nonce)
        _check_capabilities()
        _check_devices()
    except (OSError, UnreadableError, KeyError, TypeError, ValueError) as error:
        raise NotOwnRootError(f"not in a throw-away root: {error}") from None
    return nonce


def _marker() -> dict[str, Any]:
    """What was written for us when this root was made."""
    fd = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, encoding="utf-8") as file:
        if os.fstat(fd).st_uid != 0:
            raise ValueError(f"{MARKER} is not root's")
        value = json.load(file)
    if not isinstance(value, dict) or len(str(value["nonce"])) < 32:
        raise ValueError(f"{MARKER} says nothing")
    return value


def _check_namespaces(outside: dict[str, str]) -> None:
    for name in NAMESPACES:
        here = os.readlink(f"/proc/self/ns/{name}")
        if not outside[name] or here == outside[name]:
            raise ValueError(f"the {name} namespace is the one outside")
        if os.readlink(f"/proc/1/ns/{name}") != here:
            raise ValueError(f"process 1 is in another {name} namespace")


def _check_first_process(nonce: str) -> None:
    with open("/proc/1/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    if nonce.encode() not in words:
        raise ValueError("process 1 was not started for this root")


def _check_root(outside: list[int]) -> None:
    here = os.stat("/")
    if [here.st_dev, here.st_ino] == list(outside):
        raise ValueError("the root is the one outside")


def _check_mounts(nonce: str) -> None:
    with open(mounts.MOUNTINFO, encoding="utf-8") as file:
        found = mounts.parse(file.read())
    if not any(mount.target == "/" for mount in found):
        raise ValueError("nothing is mounted at /")
    for mount in found:
        ours = mount.fstype == "tmpfs" and mount.source == f"{SOURCE}{nonce}"
        if mount.target == "/" and not ours:
            raise ValueError(f"the root is a {mount.fstype}, and none that was made for this")
        if not ours and "ro" not in mount.options:
            raise ValueError(f"{mount.target} ({mount.fstype}) can be written to")


def _check_capabilities() -> None:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    for kind in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"):
        held = int(fields[kind], 16)
        for name, number in FORBIDDEN_CAPABILITIES.items():
            if held >> number & 1:
                raise ValueError(f"{name} is among {kind}")


def _check_devices() -> None:
    for folder, _, names in os.walk("/dev"):
        for name in names:
            if stat.S_ISBLK(os.lstat(os.path.join(folder, name)).st_mode):
                raise ValueError(f"{folder}/{name} is a block device")
