"""Tells which network interfaces lead outside: a firewall is judged on those."""

from __future__ import annotations

import re
from collections.abc import Iterable

from qlmdm_core import Host

_SYSFS = "/sys/class/net"
_LIKE_HARDWARE = re.compile(r"(?:en|eth|wl|ww|usb|sl|ib|em\d|p\d+p\d|ra\d)[a-z0-9_.-]*\Z")
"""Names that systemd, the kernel and Dell's biosdevname give to real devices."""


def external(host: Host, named: Iterable[str] = ()) -> list[str]:
    """The interfaces with a device behind them, and the bridges and bonds over those.

    Bridges of containers and virtual machines and tunnels are left out: rules that trust
    them are no hole. `named` are the interfaces that rules name; they stand in where sysfs
    can't be read.
    """
    try:
        present = [name for name in host.listdir(_SYSFS) if name != "lo"]
    except OSError:
        examples = (re.sub(r"\*\Z", "0", name) for name in named)
        return sorted(name for name in examples if _LIKE_HARDWARE.match(name))
    real = {name for name in present if _has_device(host, name) or _LIKE_HARDWARE.match(name)}
    for _ in range(len(present)):  # a VLAN on a bond in a bridge: each round finds one more floor
        above = {name for name in present if _lower(host, name) & real} - real
        if not above:
            break
        real |= above
    return sorted(real)


def _has_device(host: Host, name: str) -> bool:
    return host.exists(f"{_SYSFS}/{name}/device")


def _lower(host: Host, name: str) -> set[str]:
    """What an interface is made of: `lower_eth0` stands in a bridge over eth0."""
    try:
        names = host.listdir(f"{_SYSFS}/{name}")
    except OSError:
        return set()
    return {entry.removeprefix("lower_") for entry in names if entry.startswith("lower_")}
