"""Asks the machine for its firewall rules: the kernel first, its front ends when that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qlmdm_core import CommandResult, Host
from qlmdm_plugins_builtin.collectors.firewall import (
    frontends,
    listing,
    nft_json,
    nft_text,
    xtables,
)
from qlmdm_plugins_builtin.collectors.firewall.interfaces import external
from qlmdm_plugins_builtin.collectors.firewall.walk import Finding, Ruleset

NFT = (
    ("nft", "--json", "list", "ruleset"),
    ("nft", "-j", "list", "ruleset"),
    # Sets of a hundred thousand addresses take long; their members do not matter here.
    ("nft", "--json", "--stateless", "--terse", "list", "ruleset"),
    ("nft", "-j", "-s", "-t", "list", "ruleset"),
    ("nft", "list", "ruleset"),
)
"""How the kernel can be asked for its rules; the first form that answers is used."""

_NO_NF_TABLES = ("protocol not supported", "operation not supported")


@dataclass(frozen=True)
class Rules:
    """The rules that a source gave, or why it gave none."""

    ruleset: Ruleset | None = None
    installed: bool = False
    why: str = ""
    unsupported: bool = False
    """The kernel itself has no such rules."""


@dataclass(frozen=True)
class FrontEnd:
    """What a front end says of both families, if it is there."""

    name: str
    ipv4: Finding | None = None
    ipv6: Finding | None = None
    active: bool = False
    zone: str | None = None
    notes: list[str] = field(default_factory=list)


def ask_nft(host: Host) -> Rules:
    """All rules of nf_tables."""
    why, installed, slow = "nft is not installed", host.which("nft") is not None, False
    for argv in NFT if installed else NFT[:1]:
        if slow and not {"--terse", "-t"} & set(argv):
            continue
        answer = host.run(argv, timeout=8.0)
        if not answer.found:
            continue
        if answer.ok:
            text = answer.stdout
            found = nft_json.parse(text) or nft_text.parse(text)
            if found is None and not text.strip():
                found = Ruleset()
            if found is not None:
                return _trusted(host, found, "nft")
            why = "nft printed what is not understood"
            continue
        why = answer.why
        if any(text in answer.stderr.lower() for text in _NO_NF_TABLES):
            return Rules(None, True, why, unsupported=True)
        if slow or not (answer.timed_out or answer.truncated or "json" in answer.stderr.lower()):
            break
        slow = answer.timed_out or answer.truncated
    return Rules(None, installed, why)


def _trusted(host: Host, found: Ruleset, program: str) -> Rules:
    """An empty answer proves nothing to a process that may not see the rules."""
    if not found.chains and not host.is_root:
        return Rules(None, True, f"{program} shows no rules, and needs root to show them")
    return Rules(found, True)


def ask_iptables(host: Host, family: str) -> Rules:
    """The rules of iptables, in whichever form it is installed, for one family."""
    program = "iptables" if family == "ip" else "ip6tables"
    return _ask_xtables(
        host,
        family,
        "",
        (
            (f"{program}-save",),
            (f"{program}-save", "-t", "filter"),
            (program, "-w", "5", "-S"),
            (program, "-S"),
            (program, "-w", "5", "-S", "INPUT"),
            (program, "-S", "INPUT"),
            (program, "-n", "-v", "-L"),
            (program, "-L"),
        ),
    )


def ask_legacy(host: Host, family: str) -> Rules:
    """The rules of iptables-legacy, which nft does not show; an empty set if there are none."""
    program = "iptables" if family == "ip" else "ip6tables"
    loaded = _loaded_tables(host, family)
    found = _ask_xtables(
        host, family, "legacy", ((f"{program}-legacy-save",), (f"{program}-legacy", "-S"))
    )
    if found.ruleset is not None or (found.installed and loaded is not False):
        return found
    if loaded is None:
        return Rules(None, found.installed, f"{program}-legacy may have tables; root could see")
    if not loaded:
        return Rules(Ruleset(), found.installed)
    # The tables of the legacy form are loaded, but the program of that name is not there.
    found = _ask_xtables(host, family, "legacy", ((f"{program}-save",), (program, "-S")))
    if found.ruleset is not None and found.ruleset.chains:
        return found
    return Rules(None, found.installed, f"{program}-legacy has tables that can't be listed")


def _loaded_tables(host: Host, family: str) -> bool | None:
    """Whether the kernel has a filter table of the legacy form; None if that is kept from us."""
    name = "ip_tables_names" if family == "ip" else "ip6_tables_names"
    try:
        return "filter" in host.read(f"/proc/net/{name}").split()
    except FileNotFoundError:
        return False  # the module is not loaded
    except OSError:
        return None


def _ask_xtables(host: Host, family: str, source: str, forms: Sequence[Sequence[str]]) -> Rules:
    why, installed = f"{forms[0][0]} is not installed", False
    for argv in forms:
        if host.which(argv[0]) is None:
            continue
        installed = True
        answer: CommandResult = host.run(argv, timeout=10.0)
        if not answer.found:
            continue
        if not answer.ok:
            why = answer.why
            continue
        found = xtables.parse(answer.stdout, family, source) or listing.parse(answer.stdout, family)
        if found is None:
            why = f"{argv[0]} printed what is not understood"
        elif found.notes and not found.chains:
            why = found.notes[0]  # "Table `filter' is incompatible, use 'nft' tool."
        else:
            return _trusted(host, found, argv[0])
    return Rules(None, installed, why)


# --- front ends ---------------------------------------------------------------------------


def ask_ufw(host: Host) -> FrontEnd | None:
    """What ufw says; None if it is not installed."""
    if host.which("ufw") is None:
        return None
    said = None
    for argv in (("ufw", "status", "verbose"), ("ufw", "status"), ("ufw", "status", "numbered")):
        answer = host.run(argv, timeout=10.0)
        if answer.found:
            said = frontends.parse_ufw(answer.stdout) if answer.ok else None
            break
    settings = _assignments(host, "/etc/default/ufw")
    if said is None:
        # "active" for systemd means that its start script ran, not that there are rules.
        enabled = _assignments(host, "/etc/ufw/ufw.conf").get("ENABLED", "")
        notes = [f"/etc/ufw/ufw.conf has ENABLED={enabled}"] if enabled else []
        return FrontEnd("ufw", notes=notes)
    if not said.active:
        off = Finding("off", "ufw is inactive")
        return FrontEnd("ufw", off, off)
    incoming = said.incoming or settings.get("DEFAULT_INPUT_POLICY", "").lower()
    # The plain form leaves the default out; ufw's own is to deny (ufw(8)).
    opened = incoming in ("allow", "accept")
    why = f"ufw is active, and its default is to {incoming or 'deny'} what comes in"
    ipv4 = Finding("off" if opened else "on", why)
    ipv6 = ipv4
    if settings.get("IPV6", "").lower() == "no":
        ipv6 = Finding("off", "/etc/default/ufw has IPV6=no: ufw leaves IPv6 alone")
    elif "IPV6" not in settings and not said.has_ipv6_rules:
        ipv6 = Finding("unknown", "ufw does not say whether it handles IPv6")
    return FrontEnd("ufw", ipv4, ipv6, active=True)


def _assignments(host: Host, path: str) -> dict[str, str]:
    try:
        return frontends.parse_assignments(host.read(path))
    except OSError:
        return {}


def ask_firewalld(host: Host) -> FrontEnd | None:
    """What firewalld says; None if it is not installed."""
    if host.which("firewall-cmd") is None:
        return None
    answer = host.run(["firewall-cmd", "--list-all-zones"], timeout=10.0)
    if not answer.found:
        answer = host.run(["firewall-cmd", "--state"], timeout=10.0)
    if "not running" in (answer.stdout + answer.stderr).lower() or answer.returncode == 252:
        off = Finding("off", "firewalld is not running")
        return FrontEnd("firewalld", off, off)
    if not answer.ok:
        return FrontEnd("firewalld", notes=[answer.why])
    zones = frontends.parse_zones(answer.stdout) or _zones_one_by_one(host)
    finding, names = _judge_zones(zones, external(host, _interfaces(zones)))
    return FrontEnd("firewalld", finding, finding, active=True, zone=", ".join(names) or None)


def _interfaces(zones: Sequence[frontends.Zone]) -> list[str]:
    return [name for zone in zones for name in zone.interfaces]


def _zones_one_by_one(host: Host) -> list[frontends.Zone]:
    """The active zones and the default one, by the questions that every version answers."""
    active = frontends.parse_zones(_said(host, "--get-active-zones"))
    default = _said(host, "--get-default-zone").strip()
    if len(default.split()) != 1:
        default = ""
    names = dict.fromkeys([zone.name for zone in active] + ([default] if default else []))
    interfaces = {zone.name: zone.interfaces for zone in active}
    return [
        frontends.Zone(
            name,
            default=name == default,
            active=name in interfaces,
            target=_target(host, name),
            interfaces=interfaces.get(name, ()),
        )
        for name in names
    ]


def _target(host: Host, zone: str) -> str | None:
    for options in ((), ("--permanent",)):
        target = _said(host, *options, f"--zone={zone}", "--get-target").strip()
        if target in ("default", "ACCEPT", "DROP", "REJECT", "%%REJECT%%"):
            return target
    return None


def _said(host: Host, *options: str) -> str:
    answer = host.run(["firewall-cmd", *options], timeout=10.0)
    return answer.stdout if answer.ok else ""


def _judge_zones(
    zones: Sequence[frontends.Zone], outside: Sequence[str]
) -> tuple[Finding, list[str]]:
    """Whether the zones of the interfaces that lead outside are closed, and their names.

    The default zone counts too: an interface that is in no zone is in that one.
    """
    used = [zone for zone in zones if zone.active and set(zone.interfaces) & set(outside)]
    default = [zone for zone in zones if zone.default]
    names = [zone.name for zone in used or default]
    judged = [*used, *(zone for zone in default if zone not in used)]
    opened = [zone.name for zone in judged if zone.closed is False]
    if opened:
        return Finding("off", f"firewalld's zone {opened[0]} lets everything in"), names
    if not judged or any(zone.closed is None for zone in judged):
        return Finding("unknown", "firewalld runs, but does not tell its zones' targets"), names
    return Finding("on", f"firewalld runs, and its zone {judged[0].name} refuses the rest"), names
