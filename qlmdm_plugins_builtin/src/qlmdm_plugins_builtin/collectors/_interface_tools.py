"""Reads network interfaces from what older and rarer tools than ip print."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import replace

from ._interface_model import Interface, clean_mac, make_address, with_address, word_after

_IFCONFIG = re.compile(
    r"(?P<name>[^\s:]\S*?):?\s+(flags=\d+<(?P<flags>[^>]*)>|Link encap:(?P<encap>.*))"
)
_IWCONFIG = re.compile(r"(?P<name>[a-zA-Z]\S*) +(IEEE )?802\.11")


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
        if mac := clean_mac(word_after(words, marker)):
            interface = replace(interface, mac=mac)
    if "RUNNING" in words and "UP" in words and interface.flags is None:
        interface = replace(interface, flags=frozenset(words))
    if words[:1] not in (["inet"], ["inet6"]):
        return interface
    rest = words[2:] if words[1:2] == ["addr:"] else words[1:]
    local, _, length = (rest[0].removeprefix("addr:") if rest else "").partition("/")
    mask = word_after(words, "netmask") or next((w[5:] for w in words if w.startswith("Mask:")), "")
    scope = next((w[6:].lower() for w in words if w.startswith("Scope:")), "")
    scope = scope or next((w[w.find("<") + 1 : -1] for w in words if w.endswith(">")), "")
    length = length or word_after(words, "prefixlen") or _length(mask)
    address = make_address(local, length, scope=scope, peer=word_after(words, "destination"))
    return interface if address is None else with_address(interface, address)


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
            if address := make_address(local, length, scope=""):
                found[-1] = with_address(found[-1], address)
    return found


def parse_nmcli_table(text: str) -> list[Interface]:
    """The interfaces that `nmcli device` prints as a table, or with -t and colons."""
    found = []
    for line in text.splitlines():
        fields = re.split(r"(?<!\\):", line) if ":" in line else line.split()
        if len(fields) >= 3 and fields[0] not in ("DEVICE", "--") and fields[1].islower():
            found.append(Interface(name=fields[0], info_kind=fields[1]))
    return found


def parse_nmcli_connections(text: str) -> list[Interface]:
    """The interfaces that the active ones among `nmcli connection` use.

    Connections are no devices: one that is not in use has none, or "--".
    """
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    names = next((row for row in rows if {"DEVICE", "TYPE"} <= set(row)), [])
    found = {}
    for row in rows[rows.index(names) + 1 :] if names else ():
        cells = dict(zip(names, row, strict=False))
        name = cells.get("DEVICE", "--")
        if len(row) == len(names) and name != "--" and cells["TYPE"].islower():
            found[name] = Interface(name=name, info_kind=cells["TYPE"])
    return list(found.values())


def parse_iw_dev(text: str) -> list[Interface]:
    """The wireless interfaces that `iw dev` prints, with the addresses that they use."""
    found: list[Interface] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "Interface":
            found.append(Interface(name=words[1], info_kind="wifi"))
        elif len(words) == 2 and words[0] == "addr" and found:
            found[-1] = replace(found[-1], mac=clean_mac(words[1]))
    return found


def parse_iwconfig(text: str) -> list[Interface]:
    """The wireless interfaces that `iwconfig` prints; the others have "no wireless extensions"."""
    lines = text.splitlines()
    names = [match["name"] for line in lines if (match := _IWCONFIG.match(line))]
    return [Interface(name=name, info_kind="wifi") for name in dict.fromkeys(names)]


def parse_hostname(text: str) -> list[Interface]:
    """The addresses that `hostname -I` prints, on an interface without a name."""
    addresses = [make_address(word, "", scope="") for word in text.split()[:200]]
    known = tuple(address for address in addresses if address is not None)
    # One word that is no address, and this is something else.
    return [Interface(name="", addresses=known)] if known and None not in addresses else []
