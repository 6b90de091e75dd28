"""Finds out whether the machine drops packets that nobody asked for, over IPv4 and over IPv6.

What counts is the kernel's own rules on the way in (the input hook, and what comes before
it); forwarding does not matter for a laptop. Without root, or where they can't be read,
firewalld and ufw are asked what they do.
"""

from __future__ import annotations

from collections.abc import Iterable

from qlmdm_core import JSON, Host
from qlmdm_plugins_builtin.collectors.firewall.fronts import ask_firewalld, ask_ufw
from qlmdm_plugins_builtin.collectors.firewall.interfaces import external
from qlmdm_plugins_builtin.collectors.firewall.packets import Condition, covers_ports
from qlmdm_plugins_builtin.collectors.firewall.service import FrontEnd
from qlmdm_plugins_builtin.collectors.firewall.sources import (
    Rules,
    ask_iptables,
    ask_legacy,
    ask_nft,
)
from qlmdm_plugins_builtin.collectors.firewall.walk import Finding, Ruleset, State, judge
from qlmdm_plugins_builtin.collectors.firewall.xtables import TABLES

_FAMILIES = ("ip", "ip6")
_NAMES = {"ip": "IPv4", "ip6": "IPv6"}
_WORST: tuple[State, ...] = ("off", "unknown", "on")


def collect(host: Host) -> JSON:
    """`state` on, off or unknown, which is the worse of `ipv4` and `ipv6`, and the evidence."""
    kernel = _Kernel(host)
    findings = {family: kernel.finding(family) for family in _FAMILIES}
    fronts: list[FrontEnd] = []
    if any(kernel.is_weak(findings[family]) for family in _FAMILIES):
        fronts = [said for said in (ask_firewalld(host), ask_ufw(host)) if said is not None]
        for family in _FAMILIES:
            if kernel.is_weak(findings[family]):
                findings[family] = _with_front_ends(kernel, family, findings[family], fronts)
    if disabled := _ipv6_disabled(host):
        findings["ip6"] = Finding("on", disabled)
    return _value(host, kernel, findings, fronts)


class _Kernel:
    """The rules of this machine, asked for as far as they are needed."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.nft = ask_nft(host)
        self.legacy = {family: ask_legacy(host, family) for family in _FAMILIES}
        self.iptables: dict[str, Rules] = {}
        self.ruleset = self.nft.ruleset or Ruleset()
        for rules in self.legacy.values():
            self.ruleset = self.ruleset.with_chains_of(rules.ruleset or Ruleset())

    @property
    def installed(self) -> bool:
        """Whether any program that shows rules is there."""
        tools = [self.nft, *self.legacy.values(), *self.iptables.values()]
        return any(rules.installed for rules in tools)

    def is_weak(self, finding: Finding) -> bool:
        """Whether a front end's word could count for more than what was found."""
        return finding.state == "unknown" or (finding.state == "off" and self.nft.ruleset is None)

    def finding(self, family: str) -> Finding:
        """What the rules do with packets of one family."""
        found = self._judge(family)
        if self.nft.ruleset is not None and found.state != "unknown":
            return self._unless_legacy_hides(family, found)
        # iptables-nft shows the conditions that nft hides as `xt`.
        iptables = self.iptables[family] = ask_iptables(self._host, family)
        if iptables.ruleset is not None:
            tables = {key[1] for key in iptables.ruleset.chains} & set(TABLES)
            self.ruleset = self.ruleset.without_tables(family, tables)
            self.ruleset = self.ruleset.with_chains_of(iptables.ruleset)
            found = self._judge(family)
            if found.state == "on" or self.nft.ruleset is not None or self._is_whole():
                return self._unless_legacy_hides(family, found)
            return Finding("unknown", f"{self.nft.why}; {iptables.why or found.why}")
        if self.nft.ruleset is not None or found.state == "on":
            return found
        legacy = self.legacy[family]
        if legacy.installed and legacy.ruleset is not None and self._is_whole():
            return found
        return Finding("unknown", "; ".join(filter(None, (self.nft.why, iptables.why))))

    def _is_whole(self) -> bool:
        """Whether there can be no rules that only nft would show."""
        return self.nft.unsupported or not self.nft.installed

    def _judge(self, family: str) -> Finding:
        return judge(self.ruleset, family, external(self._host, self.ruleset.interfaces()))

    def _unless_legacy_hides(self, family: str, found: Finding) -> Finding:
        legacy = self.legacy[family]
        if found.state == "off" and legacy.ruleset is None:
            return Finding("unknown", f"{found.why}; but {legacy.why}")
        iptables = self.iptables.get(family)
        if found.state == "off" and iptables and iptables.beside_legacy and not legacy.installed:
            return Finding("unknown", f"{found.why}; but iptables-legacy has tables, too")
        return found


def _with_front_ends(
    kernel: _Kernel, family: str, found: Finding, fronts: Iterable[FrontEnd]
) -> Finding:
    """What firewalld and ufw add to what could not be read from the kernel."""
    if found.state == "off":
        # iptables showed its rules, ufw's among them; but not those of nft, if firewalld made any.
        fronts = [front for front in fronts if front.name == "firewalld"]
    said = [
        (front, finding)
        for front in fronts
        if (finding := front.ipv4 if family == "ip" else front.ipv6) is not None
    ]
    for wanted in ("on", "off"):
        for front, finding in said:
            # One that is not active says nothing about the others, unless there are none.
            if finding.state == wanted and (front.active or not kernel.installed):
                return finding
    notes = [note for front in fronts for note in front.notes]
    notes += [finding.why for _, finding in said]
    return Finding(found.state, "; ".join(dict.fromkeys([found.why, *notes])))


def _ipv6_disabled(host: Host) -> str:
    """Why there is no IPv6 on this machine; empty if there is, or may be."""
    base = "/proc/sys/net/ipv6/conf"
    if _first_word(host, f"{base}/all/disable_ipv6") == "1":
        # A single interface can have it back (ip-sysctl.rst, disable_ipv6).
        others = [
            path
            for path in host.glob(f"{base}/*/disable_ipv6")
            if path.split("/")[-2] not in ("all", "default", "lo")
            and _first_word(host, path) == "0"
        ]
        return "" if others else "IPv6 is disabled (net.ipv6.conf.all.disable_ipv6 = 1)"
    if _first_word(host, "/sys/module/ipv6/parameters/disable") == "1":
        return "IPv6 is disabled in the kernel (ipv6.disable = 1)"
    return ""


def _first_word(host: Host, path: str) -> str:
    try:
        return (host.read(path).split() or [""])[0]
    except OSError:
        return ""


def _value(
    host: Host, kernel: _Kernel, findings: dict[str, Finding], fronts: list[FrontEnd]
) -> JSON:
    states = [findings[family].state for family in _FAMILIES]
    state = next(state for state in _WORST if state in states)
    value: dict[str, JSON] = {
        "state": state,
        "ipv4": findings["ip"].state,
        "ipv6": findings["ip6"].state,
        "front_end": _front_end(kernel.ruleset, findings, fronts),
        "zone": _zone(host, kernel.ruleset) or next((f.zone for f in fronts if f.zone), None),
        "evidence": {"ipv4": findings["ip"].why[:500], "ipv6": findings["ip6"].why[:500]},
        "installed": [name for name in ("firewalld", "ufw") if host.which(_PROGRAMS[name])],
    }
    if ports := _wide_ports(kernel.ruleset):
        value["open_ports"] = ports
    if state == "unknown":
        value["reason"] = "; ".join(
            f"{_NAMES[family]}: {findings[family].why}"[:500]
            for family in _FAMILIES
            if findings[family].state == "unknown"
        )
    return value


_PROGRAMS = {"firewalld": "firewall-cmd", "ufw": "ufw"}


def _front_end(
    ruleset: Ruleset, findings: dict[str, Finding], fronts: list[FrontEnd]
) -> str | None:
    """The program that made the rules, as far as their names tell."""
    chains = {key[2] for key in ruleset.chains}
    if any(key[1] == "firewalld" for key in ruleset.chains) or "INPUT_ZONES" in chains:
        return "firewalld"
    if any(name.startswith(("ufw-", "ufw6-")) for name in chains):
        return "ufw"
    if any(front.active for front in fronts):
        return next(front.name for front in fronts if front.active)
    if "shorewall" in chains:
        return "shorewall"
    closed = "; ".join(finding.why for finding in findings.values() if finding.state == "on")
    for key in ruleset.chains:
        if f"chain {key[2]} of table {key[0]} {key[1]}" in closed:
            of_iptables = key[0] in _FAMILIES and key[1].rsplit(" ", 1)[-1] in TABLES
            return "iptables" if of_iptables and key[2].isupper() else "nftables"
    return None


# By iptables; by nft up to firewalld 1.x; since 2.0, where policies stand beside zones.
_OF_ZONES = ("INPUT_ZONES", "filter_INPUT_ZONES", "filter_INPUT_POLICIES")


def _zone(host: Host, ruleset: Ruleset) -> str | None:
    """firewalld's zones for the interfaces that lead outside, read from its chains."""
    outside = set(external(host, ruleset.interfaces()))
    named: dict[str, None] = {}
    default: dict[str, None] = {}
    for key, chain in ruleset.chains.items():
        if key[2] not in _OF_ZONES:
            continue
        for rule in chain.rules:
            zone = rule.target.removeprefix("filter_").removeprefix("IN_")
            devices = _devices(rule.conditions)
            if zone.startswith("policy_"):
                continue
            if zone != rule.target and devices is None:
                default[zone] = None
            elif zone != rule.target and devices and outside & devices:
                named[zone] = None
    return ", ".join(named or default) or None


def _devices(conditions: Iterable[Condition]) -> set[str] | None:
    """The interfaces that a rule is for; None if for all."""
    found: set[str] | None = None
    for condition in conditions:
        if condition.field == "in_interface" and condition.values != ("*",):
            found = set(condition.values)
        elif condition.field in ("source", "listed"):
            return set()  # a zone for addresses
    return found


def _wide_ports(ruleset: Ruleset) -> list[str]:
    """Ranges of ports that rules open and that hold most ports of users' programs."""
    found: dict[str, bool] = {}
    chains = [chain for family in _FAMILIES for chain in ruleset.reached(family, "input")]
    accepts = [rule for chain in chains for rule in chain.rules if rule.verdict == "accept"]
    for condition in (condition for rule in accepts for condition in rule.conditions):
        if condition.field == "destination_port" and not condition.negated:
            found[",".join(condition.values)] = covers_ports(condition.values, 1024, 65535)
    return sorted(ports for ports, wide in found.items() if wide)
