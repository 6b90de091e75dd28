"""Reads network interfaces from what ip, ifconfig and nmcli print: for several collectors."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qlmdm_core.api import JSON, Host

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5,19}", re.IGNORECASE)
_IP_LINK = re.compile(
    r"(?P<index>\d+): (?P<name>[^\s:]\S*?)(@\S+)?: <(?P<flags>[^>]*)>(?P<rest>.*)"
)
_IP_ONE_LINE = re.compile(r"(?P<index>\d+): (?P<name>[^\s:@]+)(@\S+)?\s+(?P<rest>inet6? .*)")
_IFCONFIG = re.compile(
    r"(?P<name>[^\s:]\S*?):?\s+(flags=\d+<(?P<flags>[^>]*)>|Link encap:(?P<encap>.*))"
)
_MARKS = ("dynamic", "temporary", "tentative", "dadfailed", "deprecated")

# What an interface is, by the names that kernels, udev and well-known programs give.
_KINDS = (
    ("loopback", r"lo"),
    ("vpn", r"(tun|tap|wg|ppp|vpn|zt|utun|ipsec|gpd|cscotun|nordlynx|proton|tailscale|ovpn).*"),
    (
        "virtual",
        r"(docker|br-[0-9a-f]{8}|veth|virbr|vnet|lxcbr|lxdbr|incusbr|podman|cni|flannel).*",
    ),
    ("virtual", r"(cali|cilium|lxc|kube|weave|vmnet|vboxnet|ifb|dummy|eql|sit|tunl|gre|erspan).*"),
    ("virtual", r"(ip6tnl|ip6gre|ip6_vti|ip_vti|teql|nlmon|vxlan|geneve|macvtap|macvlan|ipvlan).*"),
    ("bridge", r"(br|bridge)\d.*"),
    ("bond", r"(bond|team)\d.*"),
    ("wifi", r"(wl|wlan|ath|ra|wifi)[a-z0-9].*"),
    ("mobile", r"(ww|wwan)[a-z0-9].*"),
    ("bluetooth", r"bnep\d.*"),
    ("infiniband", r"ib[a-z0-9].*"),
    ("ethernet", r"(en[opsxbcduiav]|eth|em|usb|lan|net|nic|venet|p\d+p)[a-z0-9].*"),
)


@dataclass(frozen=True, kw_only=True)
class Address:
    """One address of an interface."""

    address: str
    """In its shortest form, without a zone."""
    prefix: int
    """The length of the network's prefix."""
    scope: str = "global"
    """global, site, link or host."""
    peer: str = ""
    """The other end, for a point-to-point link."""
    marks: frozenset[str] = frozenset()
    """Those of dynamic, temporary, tentative, dadfailed, deprecated that apply."""

    @property
    def family(self) -> str:
        """inet or inet6, as ip has it."""
        return "inet6" if ":" in self.address else "inet"


@dataclass(frozen=True, kw_only=True)
class Interface:
    """One network interface, as far as the source tells."""

    name: str
    flags: frozenset[str] | None = None
    """UP, LOWER_UP, NO-CARRIER, …; None: not told."""
    link_type: str = ""
    """ether, loopback, none, sit, …"""
    mac: str = ""
    permanent_mac: str = ""
    """Told only where it differs from `mac`."""
    info_kind: str = ""
    """The kernel's word for what it is: bridge, vlan, veth, wireguard, …"""
    state: str = ""
    """up, down, …"""
    addresses: tuple[Address, ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether it carries traffic, as far as is told."""
        if self.flags is None:
            return True
        lower = "LOWER_UP" in self.flags or "RUNNING" in self.flags
        return "UP" in self.flags and lower and "NO-CARRIER" not in self.flags


def kind_of(name: str) -> str:
    """What an interface is, by its name: ethernet, wifi, mobile, vpn, bridge, virtual, …"""
    for kind, pattern in _KINDS:
        if re.fullmatch(pattern, name):
            return kind
    return "other"


def clean_mac(text: str) -> str:
    """A hardware address in lower case; empty for none, for zeros, and for what is no MAC."""
    text = text.strip().lower()
    return text if _MAC.fullmatch(text) and text.strip("0:") else ""


def is_random_mac(mac: str) -> bool:
    """Whether an address was made up by software: its locally-administered bit is set."""
    return bool(mac) and int(mac[:2], 16) & 2 == 2


# --- ip ---------------------------------------------------------------------------------------


def parse_ip(text: str) -> list[Interface]:
    """The interfaces that `ip addr` or `ip link` prints: as JSON, text, or one line each."""
    if text.lstrip()[:1] in ("[", "{"):
        return _parse_ip_json(text)
    found: dict[str, Interface] = {}
    current = ""
    for line in text.replace("\\", "\n").splitlines():
        if match := _IP_LINK.fullmatch(line.rstrip()):
            current = match["name"]
            found[current] = Interface(
                name=current,
                flags=frozenset(match["flags"].split(",")),
                state=_after(match["rest"].split(), "state").lower(),
            )
            line = ""
        elif match := _IP_ONE_LINE.fullmatch(line.rstrip()):
            current = match["name"]
            found.setdefault(current, Interface(name=current))
            line = match["rest"]  # as in the long form
        if current:
            found[current] = _with_line(found[current], line.split())
    return list(found.values())


def _with_line(interface: Interface, words: Sequence[str]) -> Interface:
    """The interface with what one line of `ip` below its name says."""
    if len(words) < 2:
        return interface
    if words[0].startswith("link/"):
        permanent = clean_mac(_after(words, "permaddr"))
        return replace(
            interface,
            link_type=words[0].removeprefix("link/"),
            mac=clean_mac(words[1]),
            permanent_mac=permanent,
        )
    if words[0] not in ("inet", "inet6"):
        return interface
    # "inet A peer B/32": the prefix stands with the peer, the address is A.
    peer = _after(words, "peer")
    local, _, length = words[1].partition("/")
    address = _address(
        local,
        length or peer.partition("/")[2],
        scope=_after(words, "scope"),
        peer=peer.partition("/")[0],
        marks=words,
    )
    if address is None:
        return interface
    return replace(interface, addresses=(*interface.addresses, address))


def _parse_ip_json(text: str) -> list[Interface]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    interfaces = []
    for entry in document if isinstance(document, list) else []:
        # Filtered out interfaces are left as empty objects by some versions.
        if not isinstance(entry, dict) or not isinstance(entry.get("ifname"), str):
            continue
        flags = entry.get("flags")
        information = entry.get("linkinfo")
        listed = entry.get("addr_info")
        addresses = [_json_address(item) for item in listed] if isinstance(listed, list) else []
        interfaces.append(
            Interface(
                name=entry["ifname"].partition("@")[0],
                flags=frozenset(f for f in flags if isinstance(f, str))
                if isinstance(flags, list)
                else None,
                link_type=_string(entry.get("link_type")),
                mac=clean_mac(_string(entry.get("address"))),
                permanent_mac=clean_mac(_string(entry.get("permaddr"))),
                info_kind=_string(information.get("info_kind"))
                if isinstance(information, dict)
                else "",
                state=_string(entry.get("operstate")).lower(),
                addresses=tuple(address for address in addresses if address is not None),
            )
        )
    return interfaces


def _json_address(item: JSON) -> Address | None:
    if not isinstance(item, dict):
        return None
    return _address(
        _string(item.get("local")),
        str(item.get("prefixlen", "")),
        scope=_string(item.get("scope")),
        peer=_string(item.get("address")),
        marks=[mark for mark in _MARKS if item.get(mark) is True],
    )


def _address(
    local: str, length: str, *, scope: str, peer: str = "", marks: Sequence[str] = ()
) -> Address | None:
    """An address if it is one; the scope of what can't be routed is corrected."""
    try:
        parsed = ipaddress.ip_address(local.partition("%")[0])
    except ValueError:
        return None
    prefix: int = parsed.max_prefixlen
    if length.isascii() and length.isdigit() and len(length) < 4 and int(length) <= prefix:
        prefix = int(length)
    if parsed.is_loopback:
        scope = "host"
    elif parsed.is_link_local:
        scope = "link"
    return Address(
        address=str(parsed),
        prefix=prefix,
        scope=scope or "global",
        peer=peer,
        marks=frozenset(mark for mark in _MARKS if mark in marks),
    )


# --- older and other tools --------------------------------------------------------------------


def parse_ifconfig(text: str) -> list[Interface]:
    """The interfaces that `ifconfig -a` prints, in the layout before and since net-tools 2."""
    found: dict[str, Interface] = {}
    current = ""
    for line in text.splitlines():
        if match := _IFCONFIG.match(line):
            # "eth0:1" is an alias: one more address of eth0.
            current = match["name"].partition(":")[0]
            flags = frozenset(match["flags"].split(",")) if match["flags"] is not None else None
            known = found.get(current, Interface(name=current))
            found[current] = replace(known, flags=known.flags or flags)
        if current:
            found[current] = _with_ifconfig_line(found[current], line.split())
    return list(found.values())


def _with_ifconfig_line(interface: Interface, words: Sequence[str]) -> Interface:
    for marker in ("ether", "HWaddr", "infiniband"):
        if mac := clean_mac(_after(words, marker)):
            interface = replace(interface, mac=mac)
    if "RUNNING" in words and "UP" in words and interface.flags is None:
        interface = replace(interface, flags=frozenset(words))
    if words[:1] not in (["inet"], ["inet6"]):
        return interface
    rest = words[2:] if words[1:2] == ["addr:"] else words[1:]
    local, _, length = (rest[0].removeprefix("addr:") if rest else "").partition("/")
    mask = _after(words, "netmask") or next((w[5:] for w in words if w.startswith("Mask:")), "")
    scope = next((w[6:].lower() for w in words if w.startswith("Scope:")), "")
    scope = scope or next((w[w.find("<") + 1 : -1] for w in words if w.endswith(">")), "")
    length = length or _after(words, "prefixlen") or _length(mask)
    address = _address(local, length, scope=scope, peer=_after(words, "destination"))
    if address is None:
        return interface
    return replace(interface, addresses=(*interface.addresses, address))


def _length(mask: str) -> str:
    """The length of a prefix, for a mask as "255.255.255.0" or "0xffffff00"."""
    try:
        number = int(mask, 16) if mask.startswith("0x") else mask
        return str(ipaddress.ip_network(f"0.0.0.0/{ipaddress.ip_address(number)}").prefixlen)
    except ValueError:
        return ""


def parse_nmcli(text: str) -> list[Interface]:
    """The interfaces that `nmcli device show` prints, one block of "KEY: value" for each."""
    found: list[Interface] = []
    for line in text.splitlines():
        key, _, value = line.partition(":")
        value = value.strip().replace("\\:", ":")
        if key == "GENERAL.DEVICE":
            found.append(Interface(name=value))
        elif not found:
            continue
        elif key == "GENERAL.HWADDR":
            found[-1] = replace(found[-1], mac=clean_mac(value))
        elif key == "GENERAL.TYPE":
            found[-1] = replace(found[-1], info_kind=value)
        elif re.fullmatch(r"IP[46]\.ADDRESS\[\d+\]", key):
            local, _, length = value.partition("/")
            if address := _address(local, length, scope="global"):
                found[-1] = replace(found[-1], addresses=(*found[-1].addresses, address))
    return found


def parse_nmcli_table(text: str) -> list[Interface]:
    """The interfaces that `nmcli device` prints as a table, or with -t and colons."""
    found = []
    for line in text.splitlines():
        fields = re.split(r"(?<!\\):", line) if ":" in line else line.split()
        if len(fields) >= 3 and fields[0] not in ("DEVICE", "--") and fields[1].islower():
            found.append(Interface(name=fields[0], info_kind=fields[1]))
    return found


# --- the machine ------------------------------------------------------------------------------


def read(host: Host, *, links_only: bool = False) -> tuple[list[Interface], str, str]:
    """The interfaces, by which command, and (if there are none) why.

    `links_only` asks for what an interface is rather than for its addresses.
    """
    asked = "link" if links_only else "addr"
    detail = ["-d"] if links_only else []
    problem = ""
    # The one-line form leaves out interfaces that have no address.
    short = [] if links_only else ["-o"]
    for argv, parse in (
        (["ip", "-json", *detail, asked], parse_ip),
        (["ip", "-json", "addr", "show"], parse_ip),
        (["ip", *short, "addr"], parse_ip),
        (["ip", *short, "addr", "show"], parse_ip),
        (["ifconfig", "-a"], parse_ifconfig),
        (["ifconfig"], parse_ifconfig),
        (["nmcli", "device", "show"], parse_nmcli),
        (["nmcli", "device"], parse_nmcli_table),
    ):
        result = host.run(argv, timeout=5.0)
        if result.ok and (interfaces := parse(result.stdout)):
            return interfaces, argv[0], ""
        if result.found:
            problem = problem or result.why
    return [], "", problem or "neither ip nor ifconfig nor nmcli is installed"


def _after(words: Sequence[str], marker: str) -> str:
    """The word that follows a marker; empty if there is none."""
    for index, word in enumerate(words[:-1]):
        if word == marker:
            return words[index + 1]
    return ""


def _string(value: JSON) -> str:
    return value if isinstance(value, str) else ""
