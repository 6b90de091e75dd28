"""ZFS, which tells of itself what no other program knows: zfs(8) and zpool-status(8)."""

from __future__ import annotations

from machine import Machine

ENCRYPTION = (
    *("zfs", "get", "-H", "-p", "-t", "filesystem,volume", "-o", "name,property,value"),
    "encryption,keystatus",
)
"""How data sets are asked whether they are encrypted."""
POOLS = ("zpool", "status", "-LP")


def zfs(machine: Machine, encryption: dict[str, str], pools: dict[str, str]) -> None:
    """What zfs(8) and zpool(8) say: the data sets' encryption, and the pools' disks."""
    lines = []
    for name, value in encryption.items():
        status = "available" if value != "off" else "-"
        lines += [f"{name}\tencryption\t{value}", f"{name}\tkeystatus\t{status}"]
    machine.command(ENCRYPTION, "".join(line + "\n" for line in lines))
    shown = [
        f"  pool: {pool}\n state: ONLINE\nconfig:\n\n\tNAME  STATE  READ WRITE CKSUM\n"
        f"\t{pool}  ONLINE  0 0 0\n\t  {disk}  ONLINE  0 0 0\n\nerrors: No known data errors\n"
        for pool, disk in pools.items()
    ]
    machine.command(POOLS, "\n".join(shown))
