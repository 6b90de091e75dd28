"""The packets that a firewall is tried with, and what a rule's conditions make of them.

A firewall is judged by what it would do to packets that nobody here asked for: a first TCP
or UDP packet from somewhere in the internet, to a port that no rule is made for. Reading
rules so, and not by their look, tells `-i lo -j ACCEPT` from `-j ACCEPT`, and a block list
from a default.

A condition that is not understood must not make a firewall look closed: `Truth` has a
value for each way of not being sure.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

OTHER_INTERFACE = "?"
"""An interface that no rule names, such as a USB dongle that comes tomorrow."""

NO_TRACKING = -200
"""Chains of this priority and below see packets before conntrack (linux/netfilter_ipv4.h)."""


class Truth(enum.Enum):
    """Whether a packet meets a condition."""

    YES = "yes"
    NO = "no"
    SOMETIMES = "sometimes"
    """By rate, time or chance: an accept opens, a drop does not close."""
    PARTLY = "partly"
    """Some packets, which we can't name: an accept may open, a drop does not close."""
    OPAQUE = "opaque"
    """The rule does not show its condition: it may be none."""


@dataclass(frozen=True)
class Packet:
    """A packet that comes in, unasked for."""

    family: str
    """"ip" or "ip6"."""
    protocol: str
    """"tcp" or "udp"."""
    interface: str
    tracked: bool = True
    """False before conntrack has seen it; no rule about its state matches then."""


@dataclass(frozen=True)
class Condition:
    """One condition of a rule: that a field of the packet has one of these values."""

    field: str
    """A key of `_JUDGES`, or source or destination."""
    values: tuple[str, ...] = ()
    negated: bool = False

    def met_by(self, packet: Packet) -> Truth:
        """Whether the packet meets it. A field that is not known is PARTLY."""
        if self.negated and (self.field == "listed" or any(v[:1] == "@" for v in self.values)):
            # Who is not in a list: most, but the list may be that of a country.
            return Truth.SOMETIMES
        if self.field in ("source", "destination"):
            found = _address(self, packet)
        else:
            judge = _JUDGES.get(self.field)
            found = judge(self.values, packet) if judge else Truth.PARTLY
        return _NEGATED.get(found, found) if self.negated else found

    @cached_property
    def spans(self) -> list[tuple[int, int, int] | None]:
        """The values as networks: a rule is tried with many packets, and parsing takes long."""
        return [_network(value) for value in self.values]

    @cached_property
    def anywhere(self) -> set[str]:
        """The families of whose internet the values hold most."""
        return {family for family in _SAMPLES if _from_anywhere(self.spans, family)}


def fixed(truth: Truth) -> Condition:
    """A condition whose truth does not depend on the packet."""
    return Condition("fixed", (truth.value,))


def all_of(conditions: Iterable[Condition], packet: Packet) -> Truth:
    """Whether the packet meets all conditions of a rule."""
    doubts: set[Truth] = set()
    for condition in conditions:
        met = condition.met_by(packet)
        if met is Truth.NO:
            return Truth.NO
        if met is not Truth.YES:
            doubts.add(met)
    if not doubts:
        return Truth.YES
    return doubts.pop() if len(doubts) == 1 else Truth.PARTLY


def unasked_packets(family: str, interfaces: Iterable[str]) -> list[Packet]:
    """The packets to try a firewall with, for one family of addresses."""
    names = dict.fromkeys([*interfaces, OTHER_INTERFACE])
    return [Packet(family, protocol, name) for name in names for protocol in ("tcp", "udp")]


# --- the fields ---------------------------------------------------------------------------

_NEGATED = {Truth.YES: Truth.NO, Truth.NO: Truth.YES}
_FAMILIES = {
    "ip": "ip", "ipv4": "ip", "2": "ip", "0x0800": "ip", "2048": "ip",
    "ip6": "ip6", "ipv6": "ip6", "10": "ip6", "0x86dd": "ip6", "34525": "ip6",
}  # fmt: skip
_PROTOCOLS = {"6": "tcp", "17": "udp"}
_ANY_PROTOCOL = {"all", "0", "ip", "ipv6", "any"}

# Addresses spread over the internet. A condition on addresses counts as "from anywhere" when
# it holds for most of them: block lists and a trusted network hold for one at best.
_SAMPLES = {
    "ip": ("23.57.12.9", "62.141.38.7", "91.205.88.3", "133.9.44.2", "185.77.3.250"),
    "ip6": (
        "2001:4f8:3:7::5", "2400:cb00:20::9", "2600:1f18:a::7", "2804:14c::3", "2a01:4f8:1::2",
    ),
}  # fmt: skip
_NEVER_OURS = (
    # Packets to these are not for this host alone, or never come from outside.
    (4, 0x7F000000, 0x7FFFFFFF),  # 127.0.0.0/8
    (4, 0xE0000000, 0xEFFFFFFF),  # 224.0.0.0/4
    (4, 0xFFFFFFFF, 0xFFFFFFFF),  # 255.255.255.255
    (6, 1, 1),  # ::1
    (6, 0xFF << 120, (1 << 128) - 1),  # ff00::/8
)
_LONG_LIST = 200
"""So many networks are a list of hosts or of a country, and not the internet."""
_LOW_PORTS = (1, 1023)
_CLIENT_PORTS = (32768, 60999)  # ip_local_port_range of a Linux that sends


def _yes(condition: bool) -> Truth:
    return Truth.YES if condition else Truth.NO


def _fixed(values: tuple[str, ...], _packet: Packet) -> Truth:
    return Truth(values[0])


def _family(values: tuple[str, ...], packet: Packet) -> Truth:
    return _yes(packet.family in {_FAMILIES.get(value) for value in values})


def _protocol(values: tuple[str, ...], packet: Packet) -> Truth:
    names = {_PROTOCOLS.get(value.lower(), value.lower()) for value in values}
    return _yes(packet.protocol in names or bool(names & _ANY_PROTOCOL))


def _in_interface(values: tuple[str, ...], packet: Packet) -> Truth:
    for value in values:
        if value.endswith("*"):
            if packet.interface.startswith(value[:-1]) or value == "*":
                return Truth.YES
        elif value == packet.interface:
            return Truth.YES
    if any(value.startswith("@") or (value.isdigit() and value != "1") for value in values):
        return Truth.PARTLY  # a set whose members are not shown; an index (1 is lo)
    return Truth.NO


def _out_interface(_values: tuple[str, ...], _packet: Packet) -> Truth:
    return Truth.NO  # a packet to this host leaves by none


def _network(
    value: str,
) -> tuple[int, int, int] | None:
    """Version, first and last address of an address, prefix or range; None if it is none."""
    try:
        if "-" in value:
            first, last = (ipaddress.ip_address(part) for part in value.split("-", 1))
            return (first.version, int(first), int(last)) if first.version == last.version else None
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None
    return network.version, int(network[0]), int(network[-1])


def _from_anywhere(spans: Sequence[tuple[int, int, int] | None], family: str) -> bool:
    wide = [span for span in spans if span and span[1] < span[2]]
    if len(spans) > _LONG_LIST or not wide:
        return False
    held = 0
    for sample in _SAMPLES[family]:
        address = ipaddress.ip_address(sample)
        held += any(
            version == address.version and low <= int(address) <= high
            for version, low, high in wide
        )
    return held * 2 > len(_SAMPLES[family])


def _address(condition: Condition, packet: Packet) -> Truth:
    if packet.family in condition.anywhere:
        return Truth.YES
    if condition.field == "source":
        return Truth.NO
    for span in condition.spans:
        if span is None or not any(
            span[0] == version and low <= span[1] and span[2] <= high
            for version, low, high in _NEVER_OURS
        ):
            return Truth.PARTLY  # it may be this host's own address
    return Truth.NO


def _ports(value: str) -> tuple[int, int] | None:
    low, _, high = value.replace(":", "-").partition("-")
    try:
        return (int(low or 0), int(high or 65535) if _ else int(low))
    except ValueError:
        return None  # a service's name: one port


def covers_ports(values: Iterable[str], low: int, high: int) -> bool:
    """Whether most ports from `low` to `high` are among the values."""
    spans = (span for span in map(_ports, values) if span)
    covered, end = 0, low - 1
    for first, last in sorted(spans):
        first, last = max(first, end + 1), min(last, high)
        if first <= last:
            covered += last - first + 1
            end = last
    return covered * 2 > high - low + 1


def _destination_port(values: tuple[str, ...], _packet: Packet) -> Truth:
    return _yes(covers_ports(values, *_LOW_PORTS))


def _source_port(values: tuple[str, ...], _packet: Packet) -> Truth:
    return _yes(covers_ports(values, *_CLIENT_PORTS))


def _ct_state(values: tuple[str, ...], packet: Packet) -> Truth:
    states = {value.lower() for value in values}
    return _yes(("new" if packet.tracked else "untracked") in states)


def _ct_direction(values: tuple[str, ...], _packet: Packet) -> Truth:
    return _yes("original" in {value.lower() for value in values} or "0" in values)


def _tcp_flags(values: tuple[str, ...], packet: Packet) -> Truth:
    """Values: which flags are looked at, and which of them must be set; the packet has SYN."""
    if packet.protocol != "tcp" or len(values) != 2:
        return Truth.NO
    looked_at, wanted = (
        {flag for flag in value.lower().split(",") if flag != "none"} for value in values
    )
    return _yes(
        ("syn" in looked_at or "all" in looked_at) == ("syn" in wanted) and wanted <= {"syn"}
    )


def _any_tcp_flag(values: tuple[str, ...], packet: Packet) -> Truth:
    return _yes(packet.protocol == "tcp" and "syn" in {value.lower() for value in values})


def _mark(values: tuple[str, ...], _packet: Packet) -> Truth:
    """A packet that comes in has no mark, unless a rule that we do not follow gave it one."""
    try:
        unmarked = any(int(value.split("/", 1)[0], 0) == 0 for value in values)
    except ValueError:
        return Truth.PARTLY
    return Truth.PARTLY if unmarked else Truth.NO


def _packet_type(values: tuple[str, ...], _packet: Packet) -> Truth:
    return _yes(bool({"host", "unicast", "0"} & {value.lower() for value in values}))


def _destination_type(values: tuple[str, ...], _packet: Packet) -> Truth:
    return _yes("local" in {value.lower() for value in values})


def _source_type(values: tuple[str, ...], _packet: Packet) -> Truth:
    return _yes("unicast" in {value.lower() for value in values})


def _listed(_values: tuple[str, ...], _packet: Packet) -> Truth:
    return Truth.NO  # a list of hosts, whose members are few


_JUDGES = {
    "fixed": _fixed,
    "family": _family,
    "protocol": _protocol,
    "in_interface": _in_interface,
    "out_interface": _out_interface,
    "source_port": _source_port,
    "destination_port": _destination_port,
    "ct_state": _ct_state,
    "ct_direction": _ct_direction,
    "tcp_flags": _tcp_flags,
    "any_tcp_flag": _any_tcp_flag,
    "mark": _mark,
    "packet_type": _packet_type,
    "destination_type": _destination_type,
    "source_type": _source_type,
    "listed": _listed,
}
