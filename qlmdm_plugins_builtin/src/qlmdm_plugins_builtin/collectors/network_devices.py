"""Collects the machine's network interfaces: what they are, and their hardware addresses.

sysfs has nearly all of it, for everybody. The names of wireless networks are not collected:
they tell where somebody is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from qlmdm_core.api import JSON, Host, unknown
from qlmdm_plugins_builtin.collectors.text import text_of

from . import _udev
from ._interface_model import Interface, clean_mac, is_random_mac, kind_of
from ._interfaces import read

SYSFS = "/sys/class/net"
_MOST = 128
"""More interfaces (of containers, mostly) are counted, not listed."""

# if_arp.h: what stands in the file `type`.
_TYPES = {
    1: "ethernet",
    32: "infiniband",
    512: "ppp",
    768: "tunnel",
    769: "tunnel",
    772: "loopback",
    776: "tunnel",
    778: "tunnel",
    801: "wifi",
    802: "wifi",
    803: "wifi",
    65534: "tunnel",
}
_VIRTUAL_KINDS = frozenset(("loopback", "bridge", "bond", "vpn", "virtual", "tunnel", "vlan"))
_PRODUCT = re.compile(r"([0-9a-f]{1,4})/([0-9a-f]{1,4})/", re.IGNORECASE)


def collect(host: Host) -> JSON:
    """All interfaces, those of hardware first."""
    by_ip, source, problem = read(host, links_only=True)
    told = {interface.name: interface for interface in by_ip}
    names = _names(host)
    devices = [_by_sysfs(host, name, told.get(name)) for name in names]
    devices += [_by_command(told[name]) for name in told if name not in names]
    if not devices:
        return unknown(f"{SYSFS} can't be read, and {problem}", devices=[])
    devices.sort(key=lambda device: (not device["physical"], device["name"]))
    sources = (["sysfs"] if names else []) + ([source] if source else [])
    return {
        "state": "available",
        "devices": devices[:_MOST],
        "count": len(devices),
        "sources": sources,
    }


# --- sysfs ------------------------------------------------------------------------------------


def _names(host: Host) -> list[str]:
    """The interfaces in sysfs; files such as bonding_masters are none."""
    try:
        names = host.listdir(SYSFS)
    except OSError:
        return []
    return [name for name in names if host.exists(f"{SYSFS}/{name}/address")]


def _by_sysfs(host: Host, name: str, told: Interface | None) -> dict[str, JSON]:
    folder = f"{SYSFS}/{name}"
    uevent = _pairs(_text(host, f"{folder}/uevent"))
    properties = _pairs(_text(host, f"{folder}/device/uevent"))
    kind = _kind(host, name, uevent.get("DEVTYPE", ""), told)
    physical = _is_physical(host, folder, kind)
    mac = clean_mac(_text(host, f"{folder}/address")) if kind != "tunnel" else ""
    permanent = told.permanent_mac if told is not None else ""
    # The same address in another case, or none at all, is not told by `ip`: it is `mac`.
    if not permanent and physical and mac:
        permanent = _by_ethtool(host, name) if is_random_mac(mac) else mac
    device: dict[str, JSON] = {
        "name": name,
        "kind": kind,
        "physical": physical,
        "mac": mac or None,
        "permanent_mac": permanent or None,
        "random_mac": bool(mac) and is_random_mac(mac) and mac != permanent,
        "state": _text(host, f"{folder}/operstate") or (told.state if told else "") or None,
    }
    if physical:
        device |= _hardware(host, folder, properties)
    return device


def _kind(host: Host, name: str, devtype: str, told: Interface | None) -> str:
    """What an interface is, by the kernel's words, and by its name where those don't tell."""
    folder = f"{SYSFS}/{name}"
    number = _text(host, f"{folder}/type")
    arp = _TYPES.get(int(number), "") if number.isascii() and number.isdigit() else ""
    if arp == "loopback":
        return arp
    if devtype == "wlan" or arp == "wifi" or _any(host, folder, "wireless", "phy80211"):
        return "wifi"
    information = devtype or (told.info_kind if told else "")
    known = {
        "wwan": "mobile",
        "bridge": "bridge",
        "bond": "bond",
        "team": "bond",
        "vlan": "vlan",
        "bluetooth": "bluetooth",
        "wireguard": "vpn",
        "tun": "vpn",
        "gadget": "ethernet",
    }.get(information)
    if known:
        return known
    if _any(host, folder, "bridge"):
        # Bridges for containers and virtual machines are named by those that made them.
        return "virtual" if kind_of(name) == "virtual" else "bridge"
    if _any(host, folder, "bonding"):
        return "bond"
    if _any(host, folder, "tun_flags"):
        return "vpn"
    if information in ("veth", "dummy", "ifb", "vxlan", "macvlan", "macvtap", "ipvlan", "geneve"):
        return "virtual"
    named = kind_of(name)
    if named in ("vpn", "virtual", "wifi", "mobile", "bluetooth"):
        return named
    return arp or named


def _is_physical(host: Host, folder: str, kind: str) -> bool:
    """Whether it is hardware (or a virtual machine's): it has a device, and lies on no other."""
    try:
        if "/devices/virtual/" in host.readlink(folder):
            return False
    except OSError:
        pass  # not a link: recorded so, or a kernel before 2.6.25
    index, link = _text(host, f"{folder}/ifindex"), _text(host, f"{folder}/iflink")
    if index and link and index != link:
        return False
    if kind in _VIRTUAL_KINDS:
        return False
    # Of a kernel's own sysfs none of these is missing: then somebody wrote down a part of it,
    # and the name has to do.
    part = not _any(host, folder, "type", "iflink", "uevent", "device")
    return part or host.exists(f"{folder}/device")


def _hardware(host: Host, folder: str, properties: Mapping[str, str]) -> dict[str, JSON]:
    """Driver, bus, and the numbers and names of vendor and model."""
    vendor = _text(host, f"{folder}/device/vendor").removeprefix("0x")
    model = _text(host, f"{folder}/device/device").removeprefix("0x")
    if "PCI_ID" in properties:
        vendor, _, model = properties["PCI_ID"].lower().partition(":")
    elif match := _PRODUCT.match(properties.get("PRODUCT", "")):
        vendor, model = match.group(1).zfill(4), match.group(2).zfill(4)
    names = _udev.parse(_text(host, f"/run/udev/data/n{_text(host, f'{folder}/ifindex')}"))
    return {
        "driver": _target(host, f"{folder}/device/driver") or properties.get("DRIVER"),
        "bus": _target(host, f"{folder}/device/subsystem"),
        "vendor_id": vendor.lower() or None,
        "device_id": model.lower() or None,
        "vendor": names.get("ID_VENDOR_FROM_DATABASE"),
        "model": names.get("ID_MODEL_FROM_DATABASE"),
    }


def _by_ethtool(host: Host, name: str) -> str:
    """The address that the hardware was made with, where software replaced it."""
    if host.which("ethtool") is None:
        return ""
    result = host.run(["ethtool", "-P", name], timeout=5.0)
    _, _, mac = result.stdout.partition("address:")
    return clean_mac(mac) if result.ok else ""


# --- without sysfs ----------------------------------------------------------------------------


def _by_command(interface: Interface) -> dict[str, JSON]:
    """What `ip` or another command tells of an interface that sysfs does not show."""
    kind = kind_of(interface.name)
    if interface.info_kind in ("wifi", "ethernet", "bridge", "bond", "vlan", "loopback"):
        kind = interface.info_kind if kind in ("other", "ethernet", "loopback") else kind
    elif interface.info_kind:
        kind = "virtual" if kind in ("other", "ethernet") else kind
    if interface.link_type == "loopback":
        kind = "loopback"
    elif interface.link_type not in ("ether", "infiniband", "") and kind == "ethernet":
        kind = "tunnel"
    mac, permanent = interface.mac, interface.permanent_mac
    physical = kind in ("ethernet", "wifi", "mobile", "infiniband") and bool(
        mac or interface.info_kind or not interface.link_type
    )
    if kind in ("virtual", "tunnel", "vpn") and interface.link_type not in ("ether", ""):
        mac = ""
    return {
        "name": interface.name,
        "kind": kind,
        "physical": physical,
        "mac": mac or None,
        "permanent_mac": permanent or (mac if physical and not is_random_mac(mac) else "") or None,
        "random_mac": bool(mac) and is_random_mac(mac) and mac != permanent,
        "state": interface.state or None,
    }


def _pairs(text: str) -> dict[str, str]:
    """The KEY=value lines of a uevent file."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _any(host: Host, folder: str, *names: str) -> bool:
    return any(host.exists(f"{folder}/{name}") for name in names)


def _target(host: Host, path: str) -> str | None:
    try:
        return host.readlink(path).rsplit("/", 1)[-1] or None
    except OSError:
        return None


def _text(host: Host, path: str) -> str:
    return text_of(host, path, max_bytes=64 << 10).strip()
