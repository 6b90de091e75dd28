"""Reads what ufw and firewalld say of themselves.

They are asked when the kernel's rules can't be read, and give the firewall its name. What
they say is weaker: rules can be changed behind their back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_UFW_DEFAULT = re.compile(r"^Default:\s*(\w+) \(incoming\)", re.MULTILINE)
_ZONE = re.compile(r"^(\S+)(?: \(([^)]*)\))?$")
_ASSIGNMENT = re.compile(r"^\s*([A-Z0-9_]+)=\s*[\"']?([^\"'#\s]*)", re.MULTILINE)
_ALL_PORTS = re.compile(r"\b[01]-65535/(?:tcp|udp)\b")
_RICH_FOR_ALL = re.compile(
    r'rule(?: priority="?-?\d+"?)?(?: family="?ipv[46]"?)?(?: log.*)? accept'
)


@dataclass(frozen=True)
class Ufw:
    """What `ufw status` says."""

    active: bool
    incoming: str | None
    """deny, reject or allow; None where the plain form leaves it out."""
    has_ipv6_rules: bool


def parse_ufw(text: str) -> Ufw | None:
    """The answer of `ufw status`, plain, numbered or verbose; None if it is not that."""
    lines = text.strip().splitlines()
    first = next((line.strip() for line in lines if line.startswith("Status:")), "")
    if first not in ("Status: active", "Status: inactive"):
        return None
    default = _UFW_DEFAULT.search(text)
    return Ufw(first == "Status: active", default[1] if default else None, "(v6)" in text)


def parse_assignments(text: str) -> dict[str, str]:
    """The `NAME=value` lines of /etc/default/ufw and /etc/ufw/ufw.conf; the last one counts."""
    return {found[1]: found[2] for found in _ASSIGNMENT.finditer(text)}


@dataclass(frozen=True)
class Zone:
    """A zone of firewalld: a set of rules for some interfaces."""

    name: str
    default: bool = False
    active: bool = False
    target: str | None = None
    """default, DROP, %%REJECT%% or ACCEPT: what becomes of what no rule lets in."""
    interfaces: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    accepts_all: bool = False
    """A rule of it lets everybody in."""

    @property
    def closed(self) -> bool | None:
        """Whether it refuses what nobody asked for; None if its target is not known."""
        if self.accepts_all:
            return False
        return None if self.target is None else self.target != "ACCEPT"


def parse_zones(text: str) -> list[Zone]:
    """The zones in `--list-all-zones`, `--list-all`, `--get-active-zones`. Never raises."""
    zones: list[Zone] = []
    fields: dict[str, str] = {}
    head: re.Match[str] | None = None
    last = ""
    for line in [*text.splitlines(), "end"]:
        if not line.strip():
            continue
        if not line[0].isspace():
            if head:
                zones.append(_zone(head, fields))
            head, fields, last = _ZONE.match(line.rstrip()), {}, ""
        elif ":" in line and not line.startswith("\t"):
            name, _, value = line.strip().partition(":")
            if name in _FIELDS:
                fields[name], last = value.strip(), name
                continue
            fields[last] = f"{fields.get(last, '')}\n{line.strip()}"
        else:
            fields[last] = f"{fields.get(last, '')}\n{line.strip()}"
    return [zone for zone in zones if zone.target is not None or zone.interfaces or zone.sources]


_FIELDS = {
    "target", "icmp-block-inversion", "ingress-priority", "egress-priority", "interfaces",
    "sources", "services", "ports", "protocols", "forward", "masquerade", "forward-ports",
    "source-ports", "icmp-blocks", "rich rules", "module",
}  # fmt: skip


def _zone(head: re.Match[str], fields: Mapping[str, str]) -> Zone:
    marks = (head[2] or "").split(", ")
    rich = [line.strip() for line in fields.get("rich rules", "").splitlines()]
    return Zone(
        head[1],
        default="default" in marks,
        active="active" in marks,
        target=fields.get("target"),
        interfaces=tuple(fields.get("interfaces", "").split()),
        sources=tuple(fields.get("sources", "").split()),
        accepts_all=bool(
            _ALL_PORTS.search(fields.get("ports", ""))
            or any(_RICH_FOR_ALL.fullmatch(line) for line in rich)
        ),
    )
