"""Other names for people, machines and things: the same for the same, of the same shape.

A collector must conclude from the renamed recording what it concluded from the machine: a MAC
address keeps its maker's part and the bits that say what kind it is, a serial number its
length, a private network its prefix. What identifies nobody keeps its name: loopback, netmasks,
documentation addresses, placeholders of manufacturers.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_MAC = re.compile(
    r"(?<![0-9A-Za-z:-])[0-9A-Fa-f]{2}(?:(?P<by>\\?[:_-])[0-9A-Fa-f]{2})"
    r"(?:(?P=by)[0-9A-Fa-f]{2}){4,18}(?![0-9A-Za-z-]|:[0-9A-Fa-f])"
)
_IN_INTERFACE = re.compile(r"(?<![A-Za-z0-9])(enx|wlx|wwx)([0-9a-f]{12})(?![A-Za-z0-9])")
"""systemd.net-naming-scheme(7): an interface that is named by its address."""
_IP4 = re.compile(r"(?<![A-Za-z0-9])(?:\d{1,3}\.){3}\d{1,3}(?![A-Za-z0-9])")
_IP6 = re.compile(r"(?<![A-Za-z0-9])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![A-Za-z0-9])")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}([A-Za-z]{2,24})(?![\w-])")
_UNITS = frozenset(
    {"service", "socket", "target", "slice", "mount", "device", "timer", "path", "scope", "swap"}
)
"""Endings of systemd.unit(5): user@1000.service is nobody's address."""
_SPECIAL_MACS = re.compile(r"(?:00:){5,}00|(?:ff:){5,}ff|01:00:5e|33:33|01:80:c2", re.IGNORECASE)
_ROW = "01234567890123456789"
_DOCUMENTATION = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)
"""RFC 5737 and RFC 3849."""


@dataclass
class Names:
    """What is to be renamed, and how often it was."""

    key: bytes = field(default_factory=lambda: os.urandom(32))
    """Makes the shapes of one recording; it is thrown away with this object."""
    _others: dict[str, str] = field(default_factory=dict)
    _kinds: dict[str, str] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)
    _other_addresses: dict[ipaddress.IPv4Address | ipaddress.IPv6Address, str] = field(
        default_factory=dict
    )
    _taken: set[str] = field(default_factory=set)
    _pattern: re.Pattern[str] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    """How often something of each kind was renamed."""

    # --- what is renamed ------------------------------------------------------------------

    def add(self, kind: str, real: str) -> None:
        """A user, person, host, domain or network: it gets the next name of its kind."""
        real = real.strip()
        shortest = 2 if kind == "user" else 3
        if len(real) < shortest or real in self._others or _is_common(real):
            return
        number = self._numbers[kind] = self._numbers.get(kind, 0) + 1
        suffix = "_nomap" if kind == "wifi" and real.endswith("_nomap") else ""
        if kind == "document" and (ending := re.search(r"\.[A-Za-z0-9]{2,5}\Z", real)):
            suffix = ending[0]
        self._put(kind, real, f"{kind}{number}{suffix}")

    def add_shape(self, kind: str, real: str) -> None:
        """A serial number or the like: other digits and letters in the same places.

        What has no digits, or nothing but a row of them, is a manufacturer's placeholder.
        """
        real = real.strip()
        digits = re.sub(r"\D", "", real)
        is_row = digits in _ROW or len(set(digits)) == 1
        only_digits = not re.search(r"[^\W\d_]", real)
        if len(real) < 5 or not digits or (only_digits and is_row) or real in self._others:
            return
        self._put(kind, real, self._shape(real))

    def add_macs(self, text: str) -> None:
        """The hardware addresses in a text, which may be written without colons elsewhere."""
        for found in _MAC.finditer(text):
            octets = found[0].split(found["by"])
            bare = "".join(octets).lower()
            if len(octets) == 6 and bare not in self._others and re.search("[a-f]", bare):
                other = "".join(self._mac_octets(octets)).lower()
                if not _SPECIAL_MACS.match(":".join(octets)):
                    self._others.update({bare: other, bare.upper(): other.upper()})
                    self._kinds.update(dict.fromkeys((bare, bare.upper()), "hardware address"))
                    self._pattern = None

    def add_address(self, text: str) -> None:
        """An IP address, unless it is one that everybody has."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return
        if text in self._addresses or _is_everybodys(address):
            return
        # It may be written in several ways.
        other = self._other_addresses.get(address) or self._other_address(address)
        self._other_addresses[address] = self._addresses[text] = other

    def _put(self, kind: str, real: str, other: str) -> None:
        forms = dict.fromkeys(_forms(real), other)
        if kind in ("host", "domain"):  # RFC 4343: however it is written
            forms = {**dict.fromkeys([real.lower(), real.upper()], other), **forms}
        elif kind == "serial number":
            forms = {real.lower(): other.lower(), real.upper(): other.upper(), **forms}
        elif kind == "user" and len(real) > 4:
            forms = {real.capitalize(): other.capitalize(), **forms}
        for form, its_other in forms.items():
            self._others.setdefault(form, its_other)
            self._kinds.setdefault(form, kind)
        self._pattern = None

    # --- renaming -------------------------------------------------------------------------

    def replace(self, text: str) -> str:
        """The text with all of it renamed."""
        if self._pattern is None:
            self._pattern = _alternatives(self._others)
        text = _MAC.sub(self._mac, text)
        text = _IN_INTERFACE.sub(self._interface, text)
        text = _EMAIL.sub(self._email, text)
        if self._addresses:  # a firewall's list has thousands: they are looked up, one by one
            text = _IP4.sub(self._address, text)
            text = _IP6.sub(self._address, text)
        return self._pattern.sub(self._other, text)

    def _address(self, found: re.Match[str]) -> str:
        real = found[0]
        for end in ("", ":"):  # "2001:db8::7: unreachable"
            other = self._addresses.get(real.removesuffix(end))
            if other is not None:
                return self._count("address", other) + (end if real.endswith(end) else "")
        return real

    def _other(self, found: re.Match[str]) -> str:
        real = found[0]
        return self._count(self._kinds[real], self._others[real])

    def _mac(self, found: re.Match[str]) -> str:
        text, by = found[0], found["by"]
        if _SPECIAL_MACS.match(text.replace(by, ":")):
            return text
        return self._count("hardware address", by.join(self._mac_octets(text.split(by))))

    def _mac_octets(self, octets: list[str]) -> list[str]:
        noise = self._noise(":".join(octets).lower())
        rest = [f"{byte:02x}" for byte in noise[: len(octets) - 3]]
        if "".join(octets).upper() == "".join(octets):
            rest = [octet.upper() for octet in rest]
        return [*octets[:3], *rest]

    def _interface(self, found: re.Match[str]) -> str:
        octets = [found[2][at : at + 2] for at in range(0, 12, 2)]
        noise = self._noise(":".join(octets))
        return found[1] + "".join(octets[:3]) + noise[:3].hex()

    def _email(self, found: re.Match[str]) -> str:
        if found[1].lower() in _UNITS or found[0].endswith("@example.com"):
            return found[0]
        return self._count("e-mail address", "somebody@example.com")

    def _count(self, kind: str, other: str) -> str:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return other

    # --- shapes ---------------------------------------------------------------------------

    def _noise(self, text: str) -> bytes:
        return hmac.new(self.key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    def _shape(self, real: str) -> str:
        """Digits become digits, letters letters; hexadecimal stays hexadecimal."""
        # A word before the first dash says who made it, as in "VMware-56 4d …".
        start = re.match(r"[A-Za-z]{4,}-", real)
        kept = start[0] if start else ""
        rest = real[len(kept) :]
        is_hex = re.fullmatch(r"[0-9A-Fa-f\W_]+", rest) is not None
        out: list[str] = []
        for at, character in enumerate(rest):
            byte = self._noise(f"{real.lower()}\0{at // 32}")[at % 32]
            if character.isascii() and character.isdigit():
                out.append(str(byte % 10))
            elif character.isalpha():
                letters = "abcdef" if is_hex else "abcdefghijklmnopqrstuvwxyz"
                letter = letters[byte % len(letters)]
                out.append(letter.upper() if character.isupper() else letter)
            else:
                out.append(character)
        shaped = kept + "".join(out)
        return shaped if shaped != real else self._shape(real + "\0")[: len(real)]

    def _other_address(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
        number = len(self._addresses) + 1
        if isinstance(address, ipaddress.IPv6Address):
            if address.is_link_local:
                return f"fe80::{number:x}"
            return f"fd00::{number:x}" if address.is_private else f"2001:db8::{number:x}"
        octets = str(address).split(".")
        if address.is_private:
            fixed = 1 if octets[0] == "10" else 2
            # By what is before it, so that what is in one network stays in one.
            moved = [
                octet if octet in ("0", "255") else self._octet(".".join(octets[: at + 1]))
                for at, octet in enumerate(octets)
                if at >= fixed
            ]
            for _ in range(254):
                other = ".".join([*octets[:fixed], *moved])
                if other not in self._taken:
                    break
                moved[-1] = str(1 + int(moved[-1]) % 254)
            self._taken.add(other)
            return other
        return f"203.0.113.{1 + number % 254}"

    def _octet(self, prefix: str) -> str:
        return str(1 + self._noise(prefix)[0] % 254)


def _forms(real: str) -> Iterable[str]:
    """How a name may be written: as it is, in JSON, in nmcli's lines, in udev's database."""
    spaced = real.replace(" ", "_")
    udev = real.replace(" ", "\\x20")  # systemd: udev_util_encode_string
    colons = real.replace("\\", "\\\\").replace(":", "\\:")
    return dict.fromkeys([real, json.dumps(real)[1:-1], colons, spaced, udev])


def _alternatives(names: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    if not longest_first:
        return re.compile(r"(?!)")
    inner = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{inner})(?![A-Za-z0-9])")


def _is_common(name: str) -> bool:
    """Whether a name is that of a great many, and a word of many files besides."""
    return name.lower() in _COMMON or not re.search(r"[^\W\d_]|\d{4}", name)


_COMMON = frozenset(
    {
        "root",
        "nobody",
        "gdm",
        "sddm",
        "lightdm",
        "greeter",
        "daemon",
        "admin",
        "administrator",
        "user",
        "users",
        "guest",
        "test",
        "localhost",
        "localdomain",
        "host",
        "ubuntu",
        "debian",
        "fedora",
        "arch",
        "archlinux",
        "manjaro",
        "mint",
        "linuxmint",
        "opensuse",
        "suse",
        "gentoo",
        "alpine",
        "nixos",
        "void",
        "kali",
        "pop",
        "endeavouros",
        "centos",
        "rocky",
        "almalinux",
        "rhel",
        "linux",
        "live",
        "wheel",
        "sudo",
        "adm",
        "staff",
        "home",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "none",
        "null",
        "unknown",
        "default",
        "enabled",
        "disabled",
        "active",
        "inactive",
    }
)


def _is_everybodys(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if any(address in network for network in _DOCUMENTATION if network.version == address.version):
        return True
    netmask = address.version == 4 and str(address).startswith("255.")
    return (
        address.is_loopback
        or address.is_unspecified
        or address.is_multicast
        or netmask
        or (address.version == 4 and address.is_link_local)
        or (address.version == 4 and str(address).startswith("0."))
    )
