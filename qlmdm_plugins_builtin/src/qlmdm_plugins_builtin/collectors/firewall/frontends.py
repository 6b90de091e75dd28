"""Reads what ufw and firewalld say of themselves.

They are asked when the kernel's rules can't be read, and give the firewall its name. What
they say is weaker: rules can be changed behind their back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_UFW_DEFAULT = re.compile(r"^Default: *(\w+) \(incoming\)", re.MULTILINE)
_UFW_OPEN = re.compile(
    # To, the interface, the action, and From: "Anywhere (v6) on eth0  ALLOW IN  Anywhere (v6)"
    r"(?:\[ *\d+\] )?(Anywhere|[01]:65535/(?:tcp|udp))( \(v6\))?(?: on (\S+))? +"
    r"(?:ALLOW|LIMIT)(?: IN)? +Anywhere(?: \(v6\))? *(?:\(log[^)]*\) *)?(?:#.*)?\Z"
)
_ZONE = re.compile(r"^(\S+)(?: \(([^)]*)\))?$")
_ASSIGNMENT = re.compile(r"^[ \t]*([A-Z0-9_]+)=[ \t]*[\"']?([^\"'#\s]*)", re.MULTILINE)
_ALL_PORTS = re.compile(r"\b[01]-65535/(?:tcp|udp)\b")
_RICH_FOR_ALL = re.compile(
    r'rule(?: priority="?-?\d+"?)?(?: family="?ipv[46]"?)?(?: log.*)? accept'
)


@dataclass(frozen=True)
class OpenRule:
    """A rule of ufw that lets everybody in, on all ports."""

    interface: str
    """The only one that it is for; empty: all."""
    ipv6: bool
    text: str


@dataclass(frozen=True)
class Ufw:
    """What `ufw status` says."""

    active: bool
    incoming: str | None
    """deny, reject or allow; None where the plain form leaves it out."""
    has_ipv6_rules: bool
    open_rules: tuple[OpenRule, ...] = ()


def parse_ufw(text: str) -> Ufw | None:
    """The answer of `ufw status`, plain, numbered or verbose; None if it is not that."""
    lines = text.strip().splitlines()
    first = next((line.strip() for line in lines if line.startswith("Status:")), "")
    if first not in ("Status: active", "Status: inactive"):
        return None
    default = _UFW_DEFAULT.search(text)
    return Ufw(
        active=first == "Status: active",
        incoming=default[1] if default else None,
        has_ipv6_rules="(v6)" in text,
        open_rules=tuple(
            OpenRule(rule[3] or "", bool(rule[2]), " ".join(rule[0].split()))
            for rule in map(_UFW_OPEN.match, lines)
            if rule is not None
        ),
    )


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
    fields: dict[str, list[str]] = {}
    head: re.Match[str] | None = None
    last = ""
    for line in [*text.splitlines(), "end"]:
        if not line.strip():
            continue
        if not line[0].isspace():
            if head:
                zones.append(_zone(head, fields))
            head, fields, last = _ZONE.match(line.rstrip()), {}, ""
            continue
        name, colon, value = line.strip().partition(":")
        if colon and name in _FIELDS and not line.startswith("\t"):
            fields[name], last = [value.strip()], name
        else:
            fields.setdefault(last, []).append(line.strip())
    return [zone for zone in zones if zone.target is not None or zone.interfaces or zone.sources]


_FIELDS = {
    "target", "icmp-block-inversion", "ingress-priority", "egress-priority", "interfaces",
    "sources", "services", "ports", "protocols", "forward", "masquerade", "forward-ports",
    "source-ports", "icmp-blocks", "rich rules", "module",
}  # fmt: skip


def _zone(head: re.Match[str], fields: Mapping[str, list[str]]) -> Zone:
    marks = (head[2] or "").split(", ")
    values = {name: " ".join(lines) for name, lines in fields.items()}
    open_rule = any(_RICH_FOR_ALL.fullmatch(rule) for rule in fields.get("rich rules", ()))
    return Zone(
        head[1],
        default="default" in marks,
        active="active" in marks,
        target=values.get("target"),
        interfaces=tuple(values.get("interfaces", "").split()),
        sources=tuple(values.get("sources", "").split()),
        accepts_all=bool(_ALL_PORTS.search(values.get("ports", ""))) or open_rule,
    )
