"""Reads one `match` of nft's JSON: which field of a packet it looks at, and for what.

See libnftables-json(5), "expressions"; the fields themselves are in nft(8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qlmdm_plugins_builtin.collectors.firewall.packets import Condition, Truth, fixed

_COMPARED = {"<": (0, -1), "<=": (0, 0), ">": (1, 65535), ">=": (0, 65535)}
_PORT_PROTOCOLS = ("tcp", "udp", "th", "udplite", "sctp", "dccp")
_OTHER_PROTOCOLS = {"icmp", "icmpv6", "igmp", "ah", "esp", "comp", "gre", "mh"}
_META = {
    "iifname": "in_interface",
    "iif": "in_interface",
    "oifname": "out_interface",
    "oif": "out_interface",
    "l4proto": "protocol",
    "nfproto": "family",
    "protocol": "family",
    "mark": "mark",
    "pkttype": "packet_type",
    "secpath": "listed",
    "ipsec": "listed",
}
_META_BY_CHANCE = ("time", "day", "hour", "random", "cpu")
_CT = {
    "state": "ct_state",
    "direction": "ct_direction",
    "status": "listed",
    "mark": "mark",
    "l3proto": "family",
    "protocol": "protocol",
    "helper": "listed",
}
_IP = {"saddr": "source", "daddr": "destination", "protocol": "protocol", "nexthdr": "protocol"}
_PORTS = {"sport": "source_port", "dport": "destination_port"}


def tokens(value: Any) -> list[str]:
    """The single values that a right-hand side holds: `22`, `10.0.0.0/8`, `1000-2000`, `@set`."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += reversed(item)
        elif isinstance(item, Mapping):
            waiting += reversed(_inside(item, found))
        elif isinstance(item, (str, int)):
            found.append(str(item).lower() if isinstance(item, bool) else str(item))
    return found


def _inside(item: Mapping[str, Any], found: list[str]) -> list[Any]:
    """What else a compound value holds; what is one value already goes to `found`."""
    for name, inner in item.items():
        if name == "prefix" and isinstance(inner, Mapping):
            found.append(f"{inner.get('addr')}/{inner.get('len')}")
        elif name == "range" and isinstance(inner, list) and len(inner) == 2:
            found.append(f"{inner[0]}-{inner[1]}")
        elif name == "elem" and isinstance(inner, Mapping):
            return [inner.get("val")]
        elif name in ("set", "|", "concat"):
            return [inner]
        else:
            found.append("@")  # something that is worked out when the packet comes
    return []


def conditions_of(left: Any, operator: str, right: Any) -> list[Condition]:
    """The conditions that `left operator right` puts on a packet."""
    if not isinstance(left, Mapping) or len(left) != 1:
        return [fixed(Truth.OPAQUE)]
    ((name, argument),) = left.items()
    if name == "concat":
        return _concatenated(argument, operator, right)
    if name == "&":
        return _masked(argument, operator, right)
    body = argument if isinstance(argument, Mapping) else {}
    negated = operator == "!="
    values = tuple(tokens(right))
    if name == "meta":
        return _meta(str(body.get("key")), values, operator)
    if name == "payload":
        return _payload(body, values, operator, right)
    if name == "ct":
        key = str(body.get("key"))
        if key in ("saddr", "daddr") or key not in _CT:
            return [fixed(Truth.PARTLY)]
        return [_compared(_CT[key], values, operator)]
    if name == "fib":
        return [_fib(body, values, negated)]
    return [fixed(Truth.SOMETIMES if name == "numgen" else Truth.PARTLY)]


def _compared(field: str, values: tuple[str, ...], operator: str) -> Condition:
    """The condition on one field, for the operators that need no order."""
    if operator in ("==", "in", "!="):
        return Condition(field, values, negated=operator == "!=")
    return fixed(Truth.PARTLY)


def _meta(key: str, values: tuple[str, ...], operator: str) -> list[Condition]:
    if key in _META:
        return [_compared(_META[key], values, operator)]
    if key == "iiftype":
        # All that is no loopback is on the way in; what kind of device it is, we can't tell.
        loopback = set(values) <= {"loopback", "772"}
        return [fixed(Truth.NO if loopback and operator != "!=" else Truth.PARTLY)]
    return [fixed(Truth.SOMETIMES if key in _META_BY_CHANCE else Truth.PARTLY)]


def _payload(
    body: Mapping[str, Any], values: tuple[str, ...], operator: str, right: Any
) -> list[Condition]:
    protocol, field = str(body.get("protocol")), str(body.get("field"))
    if protocol in ("ip", "ip6"):
        family = Condition("family", (protocol,))
        if field in _IP:
            return [family, _compared(_IP[field], values, operator)]
        return [family, fixed(Truth.PARTLY)]
    if protocol in _OTHER_PROTOCOLS:
        return [fixed(Truth.NO)]
    if protocol == "ether" and field == "saddr":
        return [_compared("listed", values, operator)]
    if protocol not in _PORT_PROTOCOLS:
        return [fixed(Truth.PARTLY)]
    carried = [] if protocol == "th" else [Condition("protocol", (protocol,))]
    if field in _PORTS:
        return [*carried, _port(_PORTS[field], values, operator)]
    if protocol == "tcp" and field == "flags":
        return [*carried, _flags(values, operator, right)]
    return [*carried, fixed(Truth.PARTLY)]


def _port(field: str, values: tuple[str, ...], operator: str) -> Condition:
    if operator not in _COMPARED:
        return _compared(field, values, operator)
    try:
        (bound,) = (int(value) for value in values)
    except ValueError:
        return fixed(Truth.PARTLY)
    spans = {
        "<": f"0-{bound - 1}",
        "<=": f"0-{bound}",
        ">": f"{bound + 1}-65535",
        ">=": f"{bound}-65535",
    }
    return Condition(field, (spans[operator],))


def _flags(values: tuple[str, ...], operator: str, right: Any) -> Condition:
    """`tcp flags syn` holds if one of them is set; `tcp flags == syn` if no other is."""
    if operator == "in":
        return Condition("any_tcp_flag", values)
    if isinstance(right, Mapping) and "set" in right:
        return fixed(Truth.PARTLY)
    return Condition("tcp_flags", ("all", ",".join(values)), negated=operator == "!=")


def _masked(argument: Any, operator: str, right: Any) -> list[Condition]:
    """`field & mask == value`, for the two fields where it is common."""
    if not isinstance(argument, list) or len(argument) != 2:
        return [fixed(Truth.PARTLY)]
    inner, mask = argument
    values, negated = tokens(right), operator == "!="
    if operator not in ("==", "!=", "in") or not isinstance(inner, Mapping):
        return [fixed(Truth.PARTLY)]
    if inner.get("payload") == {"protocol": "tcp", "field": "flags"}:
        wanted = [value for value in values if value not in ("0", "0x0")]
        return [
            Condition("protocol", ("tcp",)),
            Condition("tcp_flags", (",".join(tokens(mask)), ",".join(wanted)), negated),
        ]
    if inner in ({"meta": {"key": "mark"}}, {"ct": {"key": "mark"}}):
        return [Condition("mark", tuple(values), negated)]
    return [fixed(Truth.PARTLY)]


def _fib(body: Mapping[str, Any], values: tuple[str, ...], negated: bool) -> Condition:
    """A question to the routing table: whose address it is, or where answers would go."""
    asked = tokens(body.get("flags"))
    if body.get("result") == "type":
        field = "destination_type" if "daddr" in asked else "source_type"
        return Condition(field, values, negated)
    if "saddr" in asked and len(values) == 1:
        # Reverse path: we take it that answers to the packet have a way out.
        has_route = values[0] in ("true", "exists", "1")
        return fixed(Truth.YES if has_route != negated else Truth.NO)
    return fixed(Truth.PARTLY)


def _concatenated(argument: Any, operator: str, right: Any) -> list[Condition]:
    """Several fields at once: no rule about everybody if one of them is not."""
    parts = argument if isinstance(argument, list) else []
    if operator == "!=" or not parts:
        return [fixed(Truth.PARTLY)]
    columns: list[list[Any]] = [[] for _ in parts]
    elements = right.get("set", [right]) if isinstance(right, Mapping) else []
    for element in elements if isinstance(elements, list) else ():
        while isinstance(element, Mapping) and "elem" in element:
            inner = element["elem"]
            element = inner.get("val") if isinstance(inner, Mapping) else None
        values = element.get("concat") if isinstance(element, Mapping) else None
        if not isinstance(values, list) or len(values) != len(parts):
            return [fixed(Truth.PARTLY)]
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    found = [
        condition
        for part, column in zip(parts, columns, strict=True)
        for condition in conditions_of(part, "in", {"set": column or ["@"]})
    ]
    return [*found, fixed(Truth.PARTLY)]
