"""Network interfaces and their addresses, however they were read: for several collectors."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qlmdm_core.api import JSON

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5,19}", re.IGNORECASE)
MARKS = ("dynamic", "temporary", "tentative", "dadfailed", "deprecated")

_MOST_ADDRESSES = 1000

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


def make_address(
    local: str, length: str, *, scope: str, peer: str = "", marks: Sequence[str] = ()
) -> Address | None:
    """An address if it is one; the scope of what can't be routed is corrected.

    But `ip` says "global" of an IPv6 address only where the kernel does, which knows best.
    """
    try:
        parsed = ipaddress.ip_address(local.partition("%")[0])
    except ValueError:
        return None
    prefix: int = parsed.max_prefixlen
    if length.isascii() and length.isdigit() and len(length) < 4 and int(length) <= prefix:
        prefix = int(length)
    if parsed.is_loopback:
        scope = "host"
    elif parsed.is_link_local and (parsed.version == 4 or scope != "global"):
        scope = "link"
    return Address(
        address=str(parsed),
        prefix=prefix,
        scope=scope or "global",
        peer=peer,
        marks=frozenset(mark for mark in MARKS if mark in marks),
    )


def with_address(interface: Interface, address: Address) -> Interface:
    """The interface with one more address; a thousand are enough of one."""
    if len(interface.addresses) >= _MOST_ADDRESSES:
        return interface
    return replace(interface, addresses=(*interface.addresses, address))


def word_after(words: Sequence[str], marker: str) -> str:
    """The word that follows a marker; empty if there is none."""
    for index, word in enumerate(words[:-1]):
        if word == marker:
            return words[index + 1]
    return ""


def string(value: JSON) -> str:
    return value if isinstance(value, str) else ""
