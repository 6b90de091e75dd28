"""Collects the machine's own addresses, so that an administrator can find and tell it.

Only addresses that are in use and known on the machine itself: not the public one, for which
somebody outside would have to be asked.
"""

from __future__ import annotations

import ipaddress
import json

from qlmdm_core.api import JSON, Host, unknown

from ._interface_model import Address, Interface, kind_of
from ._interfaces import read

ROUTES = (
    # Asked for the way to these, the kernel names the address it would use; nothing is sent.
    ("inet", ["ip", "-json", "route", "get", "1.1.1.1"]),
    ("inet6", ["ip", "-json", "route", "get", "2606:4700:4700::1111"]),
)
_FAILED = frozenset(("tentative", "dadfailed", "deprecated"))
_ORDER = ("ethernet", "wifi", "mobile", "bond", "bridge", "other", "vpn", "virtual")
_MOST = 200


def collect(host: Host) -> JSON:
    """The addresses in use, those on each link alone, and which one the way out starts from."""
    interfaces, source, problem = read(host)
    if not interfaces:
        return unknown(problem, addresses=[])
    addresses, on_link = list_addresses(interfaces)
    primary: dict[str, JSON] = {}
    for family, argv in ROUTES:
        result = host.run(argv, timeout=5.0)
        route = parse_route(result.stdout) if result.ok else None
        if route is not None and ipaddress.ip_address(route[0]).version == _version(family):
            primary[family] = {"address": route[0], "interface": route[1]}
    return {
        "state": "available",
        "addresses": addresses[:_MOST],
        "link_local": on_link[:_MOST],
        "primary": {family: primary.get(family) for family, _ in ROUTES},
        "source": source,
    }


def list_addresses(
    interfaces: list[Interface],
) -> tuple[list[dict[str, JSON]], list[dict[str, JSON]]]:
    """The addresses in use, and those that are valid on one link only.

    Without those of the machine itself (127.0.0.1), of interfaces that are down, and those
    that are not usable (yet, or any longer). In an order that changes only when they do:
    real interfaces first, and stable addresses before temporary ones (RFC 8981), which are
    others each day.
    """
    found: list[tuple[tuple[JSON, ...], str, dict[str, JSON]]] = []
    for interface in interfaces:
        kind = interface_kind(interface)
        if kind == "loopback" or not interface.is_up:
            continue
        for address in interface.addresses:
            if address.scope == "host" or address.marks & _FAILED:
                continue
            place = (
                _ORDER.index(kind) if kind in _ORDER else len(_ORDER),
                interface.name,
                "temporary" in address.marks,
                address.family,
                _number(address.address),
            )
            found.append((place, address.scope, _value(interface.name, kind, address)))
    found.sort(key=lambda item: item[0])
    routed = [value for _, scope, value in found if scope != "link"]
    return routed, [value for _, scope, value in found if scope == "link"]


def interface_kind(interface: Interface) -> str:
    """What the interface is, by the kernel's word where there is one, else by its name."""
    kind = kind_of(interface.name)
    if interface.link_type == "loopback" or (
        interface.flags is not None and "LOOPBACK" in interface.flags
    ):
        return "loopback"
    if interface.info_kind in ("wireguard", "tun", "tap"):
        return "vpn"
    if interface.info_kind == "veth":
        return "virtual"
    if kind == "other" and interface.link_type == "none":
        return "vpn"
    if kind == "other" and interface.info_kind in ("bridge", "ethernet", "wifi"):
        return interface.info_kind
    return kind


def parse_route(text: str) -> tuple[str, str] | None:
    """The address and interface that a route starts from, from `ip route get`."""
    try:
        document = json.loads(text)
        entry = document[0]
        address, interface = entry["prefsrc"], entry["dev"]
    except (ValueError, RecursionError, LookupError, TypeError):
        words = text.split()
        if "src" not in words[:-1] or "dev" not in words[:-1]:
            return None
        address = words[words.index("src") + 1]
        interface = words[words.index("dev") + 1]
    try:
        return str(ipaddress.ip_address(address)), str(interface)
    except ValueError:
        return None


def _value(name: str, kind: str, address: Address) -> dict[str, JSON]:
    value: dict[str, JSON] = {
        "address": address.address,
        "prefix": address.prefix,
        "family": address.family,
        "scope": address.scope,
        "interface": name or None,
        "kind": kind,
        "temporary": "temporary" in address.marks,
    }
    return {**value, "peer": address.peer} if address.peer else value


def _number(address: str) -> int:
    return int(ipaddress.ip_address(address))


def _version(family: str) -> int:
    return 6 if family == "inet6" else 4
