"""Firewalls and sshd.

Formats: nft(8) with --json (libnftables-json(5)), iptables-save(8), ufw(8), firewall-cmd(1),
systemctl(1), ss(8), sshd_config(5) and `sshd -T` (sshd(8)).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from machine import Machine

Rule = Sequence[Mapping[str, Any]]

# --- nftables, as JSON ------------------------------------------------------------------------

META: Mapping[str, Any] = {"metainfo": {"version": "1.0.9", "json_schema_version": 1}}


def match(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    """A condition: "meta iifname", "ct state", "tcp dport"."""
    base, _, name = key.partition(" ")
    left = (
        {base: {"key": name}}
        if base in ("meta", "ct")
        else {"payload": {"protocol": base, "field": name}}
    )
    return {"match": {"op": op, "left": left, "right": right}}


ESTABLISHED = match("ct state", ["established", "related"], "in")
LOOPBACK = match("meta iifname", "lo")
ACCEPT: Mapping[str, Any] = {"accept": None}
DROP: Mapping[str, Any] = {"drop": None}
REJECT: Mapping[str, Any] = {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}


def jump(chain: str) -> dict[str, Any]:
    """Go to another chain, and come back."""
    return {"jump": {"target": chain}}


def table(family: str, name: str, *chains: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A table with its chains, each made by `chain`."""
    listed: list[dict[str, Any]] = [{"table": {"family": family, "name": name, "handle": 1}}]
    for entries in chains:
        for entry in entries:
            ((kind, body),) = entry.items()
            listed.append({kind: {"family": family, "table": name, **body}})
    return listed


def chain(
    name: str, *rules: Rule, hook: str = "", policy: str = "accept", prio: int = 0
) -> list[dict[str, Any]]:
    """A chain and its rules; one with a hook is where packets come in."""
    base = {"type": "filter", "hook": hook, "prio": prio, "policy": policy} if hook else {}
    listed: list[dict[str, Any]] = [{"chain": {"name": name, "handle": 1, **base}}]
    for handle, rule in enumerate(rules, 2):
        listed.append({"rule": {"chain": name, "handle": handle, "expr": [*rule]}})
    return listed


def nft(machine: Machine, *tables: Sequence[Mapping[str, Any]]) -> None:
    """The kernel's rules, which are shown to root only."""
    argv = ("nft", "--json", "list", "ruleset")
    if not machine.root:
        machine.refused(*argv, stderr="Operation not permitted (you must be root)")
        return
    ruleset = [META, *(entry for entries in tables for entry in entries)]
    machine.command(argv, json.dumps({"nftables": ruleset}) + "\n")


def guarded(family: str = "inet", *opened: Rule, name: str = "filter") -> list[dict[str, Any]]:
    """A hand-written table that drops what nobody asked for."""
    rules = [[ESTABLISHED, ACCEPT], [LOOPBACK, ACCEPT], *opened]
    return table(family, name, chain("input", *rules, hook="input", policy="drop"))


def docker_tables() -> list[dict[str, Any]]:
    """What Docker leaves: chains that forward, and nothing on the way in."""
    return [
        *table("ip", "nat", chain("DOCKER")),
        *table("ip", "filter", chain("DOCKER"), chain("FORWARD", hook="forward", policy="drop")),
    ]


# --- front ends -------------------------------------------------------------------------------


def ufw(
    machine: Machine, *, active: bool = True, incoming: str = "deny", ipv6: bool = True
) -> None:
    """ufw and the rules that it makes, by iptables-nft as the kernel has them."""
    machine.program("/usr/sbin/ufw")
    machine.file("/etc/ufw/ufw.conf", f"ENABLED={'yes' if active else 'no'}\nLOGLEVEL=low\n")
    policy = {"deny": "DROP", "allow": "ACCEPT", "reject": "REJECT"}[incoming]
    settings = f'IPV6={"yes" if ipv6 else "no"}\nDEFAULT_INPUT_POLICY="{policy}"\n'
    machine.file("/etc/default/ufw", settings)
    if not machine.root:
        machine.refused(
            "ufw", "status", "verbose", stderr="ERROR: You need to be root to run this script"
        )
        nft(machine)
        return
    said = "Status: inactive\n"
    if active:
        said = (
            "Status: active\nLogging: on (low)\n"
            f"Default: {incoming} (incoming), allow (outgoing), disabled (routed)\n"
            "New profiles: skip\n"
        )
    machine.command(("ufw", "status", "verbose"), said)
    tables = []
    for family, prefix in (("ip", "ufw"), ("ip6", "ufw6")) if active else ():
        if family == "ip6" and not ipv6:
            # ufw-init-functions: without IPV6=yes it drops all IPv6 but the loopback's.
            closed = chain("INPUT", [LOOPBACK, ACCEPT], hook="input", policy="drop")
            tables += table("ip6", "filter", closed)
            continue
        before, user = f"{prefix}-before-input", f"{prefix}-user-input"
        verdict = {"deny": [], "reject": [[jump(f"{prefix}-reject-input")]], "allow": []}[incoming]
        tables += table(
            family,
            "filter",
            chain(
                "INPUT",
                [jump(before)],
                *verdict,
                hook="input",
                policy="accept" if incoming != "deny" else "drop",
            ),
            chain(before, [LOOPBACK, ACCEPT], [ESTABLISHED, ACCEPT], [jump(user)]),
            chain(user, [match("tcp dport", 22), ACCEPT]),
            chain(f"{prefix}-reject-input", [REJECT]),
        )
    nft(machine, tables)


def firewalld(
    machine: Machine,
    zone: str,
    interface: str,
    *,
    target: str = "default",
    ports: str = "",
    old: bool = False,
) -> None:
    """firewalld, its tables (firewalld.conf(5): FirewallBackend=nftables), and what it says.

    Version 2 has one chain that goes through policies and zones; `old` ones have one for each.
    """
    machine.program("/usr/bin/firewall-cmd")
    mark = "active, default" if target else ""
    machine.command(
        ("firewall-cmd", "--list-all-zones"),
        f"{zone} ({mark})\n  target: {target}\n  icmp-block-inversion: no\n"
        f"  interfaces: {interface}\n  sources: \n  services: dhcpv6-client ssh\n"
        f"  ports: {ports}\n  protocols: \n  forward: yes\n  masquerade: no\n"
        "  forward-ports: \n  source-ports: \n  icmp-blocks: \n  rich rules: \n\n",
    )
    allowed: list[Rule] = [[match("tcp dport", 22), ACCEPT]]
    for port in ports.split():
        numbers, _, protocol = port.partition("/")
        first, _, last = numbers.partition("-")
        allowed.append([match(f"{protocol} dport", {"range": [int(first), int(last)]}), ACCEPT])
    final: list[Rule] = [[{"ACCEPT": ACCEPT, "DROP": DROP}[target]]] if target != "default" else []
    into = f"filter_IN_{zone}"
    here = match("meta iifname", interface)
    if old:
        dispatch = "filter_INPUT_ZONES"
        zones = chain(dispatch, [here, {"goto": {"target": into}}], [{"goto": {"target": into}}])
    else:
        dispatch = "filter_INPUT_POLICIES"
        rest = {"ACCEPT": ACCEPT, "DROP": DROP}.get(target, REJECT)
        final = []
        zones = chain(
            dispatch,
            [here, jump("filter_IN_policy_allow-host-ipv6")],
            [here, jump(into)],
            [here, rest],
            [jump("filter_IN_policy_allow-host-ipv6")],
            [jump("filter_IN_public")],
            [REJECT],
        )
        neighbours = match("icmpv6 type", {"set": ["nd-neighbor-advert", "nd-neighbor-solicit"]})
        zones += chain("filter_IN_policy_allow-host-ipv6", [neighbours, ACCEPT])
        zones += chain("filter_IN_public") if zone != "public" else []
    nft(
        machine,
        table(
            "inet",
            "firewalld",
            chain(
                "filter_INPUT",
                [match("ct state", ["established", "related"], "in"), ACCEPT],
                [LOOPBACK, ACCEPT],
                [match("ct state", "invalid", "in"), DROP],
                [jump(dispatch)],
                [REJECT],
                hook="input",
                prio=10,
            ),
            zones,
            chain(into, [jump(f"{into}_allow")], *final),
            chain(f"{into}_allow", *allowed),
        ),
    )


def iptables(machine: Machine, ipv4: str, ipv6: str | None = None) -> None:
    """iptables-save and ip6tables-save, in the legacy form, without nft on the machine."""
    for program, text in (("iptables", ipv4), ("ip6tables", ipv4 if ipv6 is None else ipv6)):
        if machine.root:
            machine.command((f"{program}-save",), text)
            machine.command((f"{program}-legacy-save",), text)
        else:
            said = f"{program}-save: Permission denied (you must be root)"
            machine.refused(f"{program}-save", stderr=said, returncode=4)
    for name in ("ip_tables_names", "ip6_tables_names"):
        if machine.root:
            machine.file(f"/proc/net/{name}", "filter\n" if ipv4 else "")
        else:
            machine.unreadable(f"/proc/net/{name}")


# --- sshd -------------------------------------------------------------------------------------

UNITS = ("sshd.service", "ssh.service", "sshd.socket", "ssh.socket")


def sshd(
    machine: Machine,
    up: str = "",
    *,
    config: str = "",
    effective: Mapping[str, str] | None = None,
    listen: str = "0.0.0.0:22",
    others: Sequence[str] = ("127.0.0.53%lo:53",),
    program: str = "/usr/sbin/sshd",
) -> None:
    """sshd behind the unit `up` ("": not installed; "-ssh.service": installed, and off)."""
    off, unit = up.startswith("-"), up.removeprefix("-")
    if machine.systemd:
        argv = ("systemctl", "show", "-p", "Id,LoadState,UnitFileState,ActiveState,SubState")
        machine.command((*argv, *UNITS), "\n".join(_unit(name, unit, off) for name in UNITS))
    lines = [f"LISTEN 0 4096 {place} 0.0.0.0:*" for place in others]
    if unit:
        machine.program(program)
        machine.file("/etc/ssh/sshd_config", config or "Include /etc/ssh/sshd_config.d/*.conf\n")
    if unit and not off:
        pid = 1 if unit.endswith(".socket") else machine.daemon(program, "-D")
        owner = f'users:(("{"systemd" if pid == 1 else "sshd"}",pid={pid},fd=3))'
        seen = f" {owner}" if machine.root else ""
        lines += [
            f"LISTEN 0 128 {place} 0.0.0.0:*{seen}"
            for place in (listen, f"[::]:{listen.rpartition(':')[2]}")
        ]
        if unit.endswith(".socket"):
            said = f"Listen={listen} (Stream)\nListen=[::]:22 (Stream)\n"
            machine.command(("systemctl", "show", "-p", "Listen", unit), said)
        if machine.root:
            machine.command((program, "-T"), dump(**(effective or {})))
        else:
            said = "sshd: no hostkeys available -- exiting."
            machine.refused(program, "-T", stderr=said)
            machine.refused(
                program, "-G", stderr="/etc/ssh/sshd_config: Permission denied", returncode=255
            )
    machine.command(("ss", "-Hltnp"), "".join(line + "\n" for line in lines))


def dump(**changed: str) -> str:
    """What `sshd -T` prints, as far as it matters here, with some values changed."""
    values = {
        "port": "22",
        "addressfamily": "any",
        "usepam": "yes",
        "permitrootlogin": "without-password",
        "pubkeyauthentication": "yes",
        "passwordauthentication": "yes",
        "kbdinteractiveauthentication": "no",
        "permitemptypasswords": "no",
        "authenticationmethods": "any",
        **changed,
    }
    return "".join(f"{name} {value}\n" for name, value in values.items())


def _unit(name: str, present: str, off: bool) -> str:
    if name != present:
        return (
            f"Id={name}\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\n"
        )
    active, sub = ("inactive", "dead") if off else ("active", "running")
    if name.endswith(".socket") and not off:
        sub = "listening"
    enabled = "disabled" if off else "enabled"
    said = f"Id={name}\nLoadState=loaded\nActiveState={active}\nSubState={sub}\n"
    return f"{said}UnitFileState={enabled}\n"


OUTSIDE = "203.0.113.77"
"""The address from which a visitor of whom sshd is asked is said to come."""


def visitors(
    machine: Machine, *users: str, program: str = "/usr/sbin/sshd", **changed: str
) -> None:
    """What `sshd -T -C` says of these users when they come from outside."""
    for user in users:
        spec = f"user={user},host={OUTSIDE},addr={OUTSIDE},laddr=198.51.100.1,lport=22"
        machine.command((program, "-T", "-C", spec), dump(**changed))
