"""The firewall collector, on machines composed for each case that it must tell apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.firewall import (
    collect,
    frontends,
    listing,
    nft_json,
    nft_text,
    xtables,
)
from qlmdm_plugins_builtin.collectors.firewall.walk import Ruleset, judge

NFT = ["nft", "--json", "list", "ruleset"]


def nft(*objects: JSON) -> str:
    """What nft prints for these objects."""
    return json.dumps({"nftables": [{"metainfo": {"json_schema_version": 1}}, *objects]})


def table(family: str = "inet", name: str = "site", **more: JSON) -> JSON:
    return {"table": {"family": family, "name": name, "handle": 1, **more}}


def chain(
    name: str = "incoming",
    policy: str = "accept",
    family: str = "inet",
    table: str = "site",
    hook: str = "input",
    prio: int = 0,
) -> JSON:
    return {
        "chain": {
            "family": family, "table": table, "name": name, "handle": 2,
            "type": "filter", "hook": hook, "prio": prio, "policy": policy,
        }
    }  # fmt: skip


def plain_chain(name: str, family: str = "inet", table: str = "site") -> JSON:
    return {"chain": {"family": family, "table": table, "name": name, "handle": 3}}


def rule(*expr: JSON, chain: str = "incoming", family: str = "inet", table: str = "site") -> JSON:
    body = {"family": family, "table": table, "chain": chain, "handle": 4, "expr": list(expr)}
    return {"rule": body}


def meta(key: str, right: JSON, op: str = "==") -> JSON:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def field(protocol: str, name: str, right: JSON, op: str = "==") -> JSON:
    left = {"payload": {"protocol": protocol, "field": name}}
    return {"match": {"op": op, "left": left, "right": right}}


def state(*states: str) -> JSON:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(states)}}


ACCEPT: JSON = {"accept": None}
DROP: JSON = {"drop": None}
REJECT: JSON = {"reject": {"type": "icmpx"}}
COUNTER = {"counter": {"packets": 12, "bytes": 900}}
LO = meta("iifname", "lo")


def jump(target: str) -> JSON:
    return {"jump": {"target": target}}


def by_nft(tmp_path: Path, *objects: JSON) -> RecordedMachine:
    return RecordedMachine(tmp_path).command(NFT, nft(table(), *objects))


# --- nftables -----------------------------------------------------------------------------

ON = {
    "a policy of drop": [chain(policy="drop"), rule(LO, ACCEPT)],
    "a reject at the end, as firewalld has it": [
        chain(),
        rule(state("established", "related"), ACCEPT),
        rule(LO, ACCEPT),
        rule(COUNTER, REJECT),
    ],
    "a jump to a chain that drops": [
        chain(),
        plain_chain("closed"),
        rule(jump("closed")),
        rule({"log": {"prefix": "end "}}, DROP, chain="closed"),
    ],
    "a goto to a chain that drops": [
        chain(),
        plain_chain("closed"),
        rule({"goto": {"target": "closed"}}),
        rule(DROP, chain="closed"),
    ],
    "a second chain that drops": [
        chain("early", prio=-10),
        rule(ACCEPT, chain="early"),
        chain("late", policy="drop"),
    ],
    "everything but loopback dropped": [chain(), rule(meta("iifname", "lo", "!="), DROP)],
    "everything new dropped": [chain(), rule(state("new", "invalid"), DROP)],
    "everything but one port dropped": [
        chain(),
        rule(LO, ACCEPT),
        rule(field("tcp", "dport", 22, "!="), DROP),
        rule(meta("l4proto", "udp"), DROP),
    ],
    "a drop before routing": [chain(hook="prerouting", prio=-150, policy="drop")],
    "narrow accepts before the drop": [
        chain(policy="drop"),
        rule(field("tcp", "dport", {"set": [22, 80, {"range": [8000, 8100]}]}), ACCEPT),
        rule(field("ip", "saddr", {"prefix": {"addr": "10.20.0.0", "len": 16}}), ACCEPT),
        rule(field("ip6", "saddr", {"prefix": {"addr": "fe80::", "len": 10}}), ACCEPT),
        rule(meta("l4proto", {"set": ["icmp", "ipv6-icmp"]}), ACCEPT),
        rule(field("icmp", "type", "echo-request"), ACCEPT),
        rule(field("ip", "daddr", "224.0.0.251"), ACCEPT),
        rule(meta("iifname", "docker0"), ACCEPT),
        rule(meta("pkttype", {"set": ["broadcast", "multicast"]}), ACCEPT),
        rule({"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, ACCEPT),
    ],
    "ports of users' programs open, as in Fedora Workstation": [
        chain(),
        rule(field("tcp", "dport", {"range": [1025, 65535]}), ACCEPT),
        rule(REJECT),
    ],
    "a map of states that lets nothing new in": [
        chain(policy="drop"),
        rule({
            "vmap": {
                "key": {"ct": {"key": "state"}},
                "data": {"set": [["established", ACCEPT], ["related", ACCEPT], ["invalid", DROP]]},
            }
        }),
    ],
    "a map of interfaces, each to a chain that decides": [
        chain(policy="drop"),
        plain_chain("world"),
        rule(field("tcp", "dport", 22), ACCEPT, chain="world"),
        rule({
            "vmap": {
                "key": {"meta": {"key": "iifname"}},
                "data": {"set": [["lo", ACCEPT], ["eth0", jump("world")]]},
            }
        }),
    ],
    "an unknown statement in a rule that only drops": [
        chain(policy="drop"),
        rule({"exotic": {}}, DROP),
    ],
}  # fmt: skip

OFF = {
    "an accepting chain": [chain()],
    "an accepting chain with a block list": [
        chain(),
        rule(field("ip", "saddr", {"set": ["198.51.100.7", "198.51.100.8"]}), DROP),
        rule(field("ip6", "saddr", "@bad"), DROP),
        rule(state("invalid"), DROP),
    ],
    "a policy of drop behind an accept of all": [chain(policy="drop"), rule(ACCEPT)],
    "a policy of drop behind an accept of all that has a counter": [
        chain(policy="drop"),
        rule(COUNTER, ACCEPT),
    ],
    "all of TCP accepted": [chain(policy="drop"), rule(meta("l4proto", "tcp"), ACCEPT)],
    "everything new accepted": [chain(policy="drop"), rule(state("new"), ACCEPT)],
    "all ports accepted": [
        chain(policy="drop"),
        rule(field("udp", "dport", {"range": [1, 65535]}), ACCEPT),
    ],
    "all but loopback accepted": [chain(policy="drop"), rule(meta("iifname", "lo", "!="), ACCEPT)],
    "the only network card accepted": [chain(policy="drop"), rule(meta("iifname", "eth0"), ACCEPT)],
    "the internet accepted": [
        chain(policy="drop"),
        rule(field("ip", "saddr", {"prefix": {"addr": "0.0.0.0", "len": 0}}), ACCEPT),
    ],
    "an accept within a rate": [
        chain(policy="drop"),
        rule({"limit": {"rate": 10, "per": "second"}}, ACCEPT),
    ],
    "a drop above a rate": [
        chain(),
        rule({"limit": {"rate": 10, "per": "second", "inv": True}}, DROP),
    ],
    "a drop above a rate, before an accept under a condition that is not shown": [
        chain(),
        rule({"limit": {"rate": 10, "per": "second", "inv": True}}, DROP),
        rule({"limit": {"rate": 10, "per": "second"}}, DROP),
        rule({"xt": None}, ACCEPT),
    ],
    "a drop on one interface": [chain(), rule(meta("iifname", "eth0"), DROP)],
    "a reject of one port": [chain(), rule(field("tcp", "dport", 139), REJECT)],
    "a drop in a chain that nobody jumps to": [
        chain(),
        plain_chain("closed"),
        rule(DROP, chain="closed"),
    ],
    "a return before the drop": [
        chain(),
        plain_chain("sub"),
        rule(jump("sub")),
        rule({"return": None}, chain="sub"),
        rule(DROP, chain="sub"),
    ],
    "a table that is dormant": [table(flags=["dormant"]), chain(policy="drop")],
    "forwarding only": [chain(hook="forward", policy="drop")],
    "a drop by state before states are known": [
        chain(hook="prerouting", prio=-300),
        rule(state("new"), DROP),
    ],
    "what a VPN adds": [
        chain(hook="prerouting", prio=-300),
        rule(
            meta("iifname", "wg0", "!="),
            field("ip", "daddr", "10.9.0.2"),
            {
                "match": {
                    "op": "!=",
                    "left": {"fib": {"result": "type", "flags": ["saddr"]}},
                    "right": "local",
                }
            },
            DROP,
        ),
    ],
}

UNKNOWN = {
    "an accept under a condition that is not shown": [
        chain(policy="drop"),
        rule({"xt": None}, COUNTER, ACCEPT),
    ],
    "a drop under a condition that is not shown": [chain(), rule({"xt": None}, DROP)],
    "an end that is not shown": [chain(), rule({"xt": None})],
    "a target of iptables that is not known": [
        chain(),
        rule({"xt": {"type": "target", "name": "FANCY"}}),
    ],
    "another program decides": [chain(), rule({"queue": {"num": 3}})],
    "a chain that is not listed": [chain(), rule(jump("nowhere"))],
    "chains that jump in a circle": [
        chain(),
        plain_chain("a"),
        plain_chain("b"),
        rule(jump("a")),
        rule(jump("b"), chain="a"),
        rule(jump("a"), chain="b"),
    ],
    "an accept to one address of ours, perhaps": [
        chain(policy="drop"),
        rule(field("ip", "daddr", "192.0.2.9"), ACCEPT),
        rule(field("ip6", "daddr", "2001:db8::9"), ACCEPT),
    ],
    "a drop as packets enter a device": [
        chain(),
        {"chain": {
            "family": "netdev", "table": "early", "name": "in", "handle": 9, "type": "filter",
            "hook": "ingress", "dev": "eth0", "prio": 0, "policy": "drop",
        }},
    ],
    "a map whose elements are not shown": [
        chain(),
        rule({"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("objects", ON.values(), ids=ON)
def test_nft_rules_that_drop_by_default_are_on(tmp_path: Path, objects: list[JSON]) -> None:
    value = collect(by_nft(tmp_path, *objects).host())
    assert (value["state"], value["ipv4"], value["ipv6"]) == ("on", "on", "on")
    assert value["front_end"] == "nftables"
    assert "reason" not in value


@pytest.mark.parametrize("objects", OFF.values(), ids=OFF)
def test_nft_rules_that_let_in_by_default_are_off(tmp_path: Path, objects: list[JSON]) -> None:
    value = collect(by_nft(tmp_path, *objects).host())
    assert value["state"] == "off"
    assert value["evidence"]["ipv4"]


@pytest.mark.parametrize("objects", UNKNOWN.values(), ids=UNKNOWN)
def test_nft_rules_that_are_not_understood_are_unknown(tmp_path: Path, objects: list[JSON]) -> None:
    value = collect(by_nft(tmp_path, *objects).host())
    assert value["state"] == "unknown"
    assert value["reason"]


@pytest.mark.parametrize(
    "form",
    [
        ["nft", "-j", "list", "ruleset"],
        ["nft", "-j", "-s", "-t", "list", "ruleset"],
        ["/usr/sbin/nft", "-a", "-j", "list", "ruleset"],
    ],
)
def test_every_way_to_ask_nft_is_an_answer(tmp_path: Path, form: list[str]) -> None:
    machine = RecordedMachine(tmp_path).command(form, nft(table(), chain(policy="drop")))
    assert collect(machine.host())["state"] == "on"


def test_the_json_form_is_found_beside_the_text_form(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(["nft", "list", "ruleset"], "table inet site {\n}\n")
    machine.command(["nft", "-j", "list", "ruleset"], nft(table(), chain(policy="drop")))
    assert collect(machine.host())["state"] == "on"


def test_a_dormant_table_is_seen_where_nft_garbles_its_flag(tmp_path: Path) -> None:
    # nft 1.0.6 of Debian 12, with "flags dormant".
    garbled = nft(table(flags="filter"), chain(policy="drop"))
    listed = "table inet filter {\n\tflags dormant\n\tchain input {\n\t\ttype filter hook input"
    listed += " priority filter; policy drop;\n\t}\n}\n"
    alone = RecordedMachine(tmp_path / "a").command(NFT, garbled)
    assert collect(alone.host())["state"] == "unknown"
    both = RecordedMachine(tmp_path / "b").command(NFT, garbled)
    both.command(["nft", "list", "ruleset"], listed)
    assert collect(both.host())["state"] == "off"


def test_an_empty_rule_set_is_off_for_root_alone(tmp_path: Path) -> None:
    assert collect(RecordedMachine(tmp_path / "a").command(NFT, nft()).host())["state"] == "off"
    machine = RecordedMachine(tmp_path / "b", root=False).command(NFT, nft())
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert "root" in value["reason"]


def test_a_set_that_takes_too_long_is_asked_for_without_its_elements(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(NFT, timed_out=True)
    machine.command(
        ["nft", "--json", "--stateless", "--terse", "list", "ruleset"],
        nft(table(), chain(policy="drop"), rule(field("ip", "saddr", "@big"), DROP)),
    )
    assert collect(machine.host())["state"] == "on"


def test_elements_of_a_named_set_count(tmp_path: Path) -> None:
    everybody = {"set": {
        "family": "inet", "table": "site", "name": "all", "handle": 7, "type": "inet_proto",
        "elem": ["tcp", "udp"],
    }}  # fmt: skip
    objects = [everybody, chain(policy="drop"), rule(meta("l4proto", "@all"), ACCEPT)]
    assert collect(by_nft(tmp_path, *objects).host())["state"] == "off"


def test_one_family_alone_leaves_the_other_open(tmp_path: Path) -> None:
    objects = [table("ip"), chain(policy="drop", family="ip")]
    value = collect(RecordedMachine(tmp_path).command(NFT, nft(*objects)).host())
    assert (value["state"], value["ipv4"], value["ipv6"]) == ("off", "on", "off")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n"),
        ("/sys/module/ipv6/parameters/disable", "1\n"),
    ],
)
def test_ipv6_that_is_disabled_counts_as_closed(tmp_path: Path, path: str, text: str) -> None:
    objects = [table("ip"), chain(policy="drop", family="ip")]
    machine = RecordedMachine(tmp_path).command(NFT, nft(*objects)).file(path, text)
    value = collect(machine.host())
    assert (value["state"], value["ipv6"]) == ("on", "on")
    assert "disabled" in value["evidence"]["ipv6"]


def test_ipv6_that_one_interface_has_back_is_judged(tmp_path: Path) -> None:
    conf = "/proc/sys/net/ipv6/conf"
    machine = RecordedMachine(tmp_path).command(NFT, nft(chain(policy="drop", family="ip")))
    machine.file(f"{conf}/all/disable_ipv6", "1\n").file(f"{conf}/lo/disable_ipv6", "0\n")
    machine.file(f"{conf}/wlan0/disable_ipv6", "0\n")
    assert collect(machine.host())["ipv6"] == "off"


def test_only_interfaces_that_lead_outside_are_judged(tmp_path: Path) -> None:
    objects = [
        chain(policy="drop"),
        rule(meta("iifname", "virbr0"), ACCEPT),
        rule(meta("iifname", "tailscale0"), ACCEPT),
    ]
    machine = by_nft(tmp_path, *objects)
    machine.directory("/sys/class/net/enp3s0/device").directory("/sys/class/net/virbr0/bridge")
    machine.directory("/sys/class/net/tailscale0").directory("/sys/class/net/lo")
    assert collect(machine.host())["state"] == "on"


def test_a_bridge_over_a_network_card_leads_outside(tmp_path: Path) -> None:
    machine = by_nft(tmp_path, chain(policy="drop"), rule(meta("iifname", "br-lan"), ACCEPT))
    machine.directory("/sys/class/net/enp3s0/device").directory("/sys/class/net/br-lan/bridge")
    machine.link("/sys/class/net/br-lan/lower_enp3s0", "../enp3s0")
    assert collect(machine.host())["state"] == "off"


# --- iptables -----------------------------------------------------------------------------

SAVED = """# Generated by iptables-save v1.8.9 (nf_tables) on Sun Nov  1 11:00:00 2026
*filter
:INPUT {policy} [5:300]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:site-in - [0:0]
{rules}
COMMIT
# Completed
"""


def saved(*rules: str, policy: str = "ACCEPT") -> str:
    return SAVED.format(policy=policy, rules="\n".join(rules))


IPTABLES = [
    ("on", "DROP", ["-A INPUT -i lo -j ACCEPT"]),
    ("on", "DROP", ["-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]),
    ("on", "ACCEPT", ["-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", "-A INPUT -j REJECT"]),
    ("on", "ACCEPT", ["-A INPUT ! -i lo -j DROP"]),
    ("on", "ACCEPT", ["-A INPUT -j site-in", "-A site-in -j LOG", "-A site-in -j DROP"]),
    ("on", "ACCEPT", ["-A INPUT -g site-in", "-A site-in -j DROP", "-A INPUT -j ACCEPT"]),
    ("on", "DROP", ["-A INPUT -s 192.168.7.0/24 -j ACCEPT", "-A INPUT -p icmp -j ACCEPT"]),
    ("on", "DROP", ["-A INPUT -p udp -m multiport --dports 5353,60000:61000 -j ACCEPT"]),
    ("on", "DROP", ['-A INPUT -m comment --comment "-j ACCEPT" -p tcp --dport 1 -j ACCEPT']),
    ("on", "DROP", ["-A INPUT -m set --match-set friends src -j ACCEPT"]),
    ("on", "DROP", ["-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT"]),
    ("on", "ACCEPT", ["-A INPUT -m addrtype --dst-type UNICAST -j DROP"]),
    ("on", "ACCEPT", ['[9:99] -A INPUT -m comment --comment "the \\"rest\\"" -j DROP']),
    ("on", "DROP", ["-A INPUT -p tcp -m recent --rcheck --name knock --seconds 9 -j ACCEPT"]),
    ("on", "DROP", ["-A INPUT -m rpfilter --invert -j DROP", "-A INPUT -j site-in"]),
    # As people write it in a file; iptables-save puts the target last.
    (
        "on",
        "DROP",
        ["-A INPUT -j ACCEPT -i lo", '-A INPUT -j ACCEPT -p icmp -m comment --comment "x"'],
    ),
    ("off", "ACCEPT", ["-A INPUT -j REJECT --reject-with tcp-reset -p tcp --dport 139"]),
    ("off", "ACCEPT", ["-A INPUT -i lo -j ACCEPT"]),
    ("off", "ACCEPT", ["-A FORWARD -j DROP"]),
    ("off", "ACCEPT", ["-A INPUT -p udp"]),
    ("off", "ACCEPT", ["-A INPUT -s 16.0.0.0/4 -j DROP"]),
    ("on", "DROP", ["-A INPUT -s 128.0.0.0/3 -j ACCEPT"]),
    ("off", "ACCEPT", ["-A INPUT -m conntrack --ctstate INVALID -j DROP"]),
    ("off", "ACCEPT", ["-A INPUT -p tcp -m tcp --syn -m limit --limit 5/s -j DROP"]),
    ("off", "ACCEPT", ["-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN FIN,SYN -j DROP"]),
    ("off", "DROP", ["-A INPUT -j ACCEPT"]),
    ("off", "DROP", ["-A INPUT -i eth+ -j ACCEPT"]),
    ("off", "DROP", ["-A INPUT ! -i lo -j ACCEPT"]),
    ("off", "DROP", ["-A INPUT ! -s 203.0.113.0/24 -j ACCEPT"]),
    ("off", "DROP", ["-A INPUT -p tcp -m tcp --syn -j ACCEPT"]),
    ("off", "DROP", ["-A INPUT -m state --state NEW -j ACCEPT"]),
    ("off", "DROP", ["-A INPUT -m limit --limit 5/s -j ACCEPT"]),
    ("off", "DROP", ["-A INPUT -p udp -m udp --sport 1024:65535 -j ACCEPT"]),
    ("off", "DROP", ["-A INPUT -m pkttype --pkt-type unicast -j ACCEPT"]),
    ("off", "ACCEPT", ["-A INPUT -j site-in", "-A site-in -j RETURN", "-A site-in -j DROP"]),
    ("off", "ACCEPT", ["-A INPUT -m set --match-set blocked src -j DROP"]),
    ("off", "ACCEPT", ["-A INPUT -m set ! --match-set country src -j DROP"]),
    ("off", "DROP", ["-A INPUT -m set ! --match-set blocked src -j ACCEPT"]),
    ("off", "ACCEPT", ["-A INPUT -m mark --mark 0 -j DROP"]),
    ("on", "DROP", ["-A INPUT -m mark --mark 0x1/0xff -j ACCEPT"]),
    ("unknown", "DROP", ["-A INPUT -m mark --mark 0 -j ACCEPT"]),
    ("unknown", "DROP", ["-A INPUT -m bpf --bytecode 4 -j ACCEPT"]),
    ("unknown", "ACCEPT", ["-A INPUT -j NFQUEUE --queue-num 1"]),
    ("unknown", "ACCEPT", ["-A INPUT -j elsewhere"]),
    ("unknown", "DROP", ["-A INPUT -d 192.0.2.9/32 -j ACCEPT"]),
]


@pytest.mark.parametrize(("state", "policy", "rules"), IPTABLES)
def test_rules_that_iptables_saves(
    tmp_path: Path, state: str, policy: str, rules: list[str]
) -> None:
    text = saved(*rules, policy=policy)
    machine = RecordedMachine(tmp_path).command(["iptables-save"], text)
    machine.command(["ip6tables-save"], text.replace("203.0.113.0/24", "2001:db8::/32"))
    value = collect(machine.host())
    assert value["ipv4"] == state
    assert value["state"] in (state, "unknown")


def test_the_short_form_of_iptables(tmp_path: Path) -> None:
    text = "-P INPUT DROP\n-P FORWARD ACCEPT\n-N extra\n-A INPUT -i lo -j ACCEPT\n"
    machine = RecordedMachine(tmp_path).command(["iptables", "-w", "5", "-S", "INPUT"], text)
    value = collect(machine.command(["ip6tables", "-S"], text).host())
    assert (value["state"], value["front_end"]) == ("on", "iptables")


def test_other_tables_of_iptables_count_where_they_see_what_comes_in(tmp_path: Path) -> None:
    text = "*raw\n:PREROUTING DROP [0:0]\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
    machine = RecordedMachine(tmp_path).command(["iptables-save"], text)
    assert collect(machine.host())["ipv4"] == "on"


def test_iptables_shows_what_nft_hides(tmp_path: Path) -> None:
    hidden = rule({"xt": None}, COUNTER, ACCEPT, chain="INPUT", family="ip", table="filter")
    rules = [
        table("ip", "filter"),
        chain("INPUT", "drop", "ip", "filter"),
        hidden,
    ]
    for shown, state in (("-m conntrack --ctstate ESTABLISHED", "on"), ("-m cpu --cpu 0", "off")):
        machine = RecordedMachine(tmp_path / state).command(NFT, nft(*rules))
        machine.command(["iptables-save"], saved(f"-A INPUT {shown} -j ACCEPT", policy="DROP"))
        assert collect(machine.host())["ipv4"] == state


def test_rules_of_the_legacy_form_count_beside_those_of_nft(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(NFT, nft())
    for program in ("iptables", "ip6tables"):
        machine.command([f"{program}-legacy-save"], saved(policy="DROP"))
    assert collect(machine.host())["state"] == "on"


def test_legacy_tables_that_nobody_can_list_leave_it_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(NFT, nft())
    machine.file("/proc/net/ip_tables_names", "nat\nfilter\n")
    value = collect(machine.host())
    assert value["ipv4"] == "unknown"
    assert "legacy" in value["evidence"]["ipv4"]


def test_a_warning_of_legacy_tables_that_nobody_shows_leaves_it_unknown(tmp_path: Path) -> None:
    warning = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"
    for text, stderr in ((saved() + warning, ""), (saved(), warning)):
        machine = RecordedMachine(tmp_path / str(len(stderr)))
        machine.command(["iptables-save"], text, stderr=stderr)
        value = collect(machine.host())
        assert value["ipv4"] == "unknown"
        assert "legacy" in value["evidence"]["ipv4"]
        machine.command(["iptables-legacy-save"], saved())
        assert collect(machine.host())["ipv4"] == "off"


def test_a_container_that_may_not_ask_is_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(NFT, nft(), stderr="netlink: Error: Operation not permitted", returncode=1)
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert "Operation not permitted" in value["reason"]


def test_native_rules_that_only_iptables_was_asked_about_are_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    text = "chain `INPUT' in table `filter' is incompatible, use 'nft' tool.\n"
    machine.command(["iptables", "-S"], stderr=text, returncode=1)
    machine.command(["iptables-save"], "# Table `filter' is incompatible, use 'nft' tool.\n")
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert "incompatible" in value["reason"]


def test_iptables_alone_does_not_tell_of_rules_that_nft_refuses_to_show(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(NFT, stderr="netlink: Error: cache initialization failed", returncode=1)
    machine.command(["iptables-save"], saved()).command(["ip6tables-save"], saved())
    assert collect(machine.host())["state"] == "unknown"


def test_a_kernel_without_nf_tables_has_only_the_rules_of_iptables(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(
        NFT, stderr="Error: Could not process rule: Protocol not supported", returncode=1
    )
    machine.command(["iptables-save"], saved()).command(["ip6tables-save"], saved(policy="DROP"))
    value = collect(machine.host())
    assert (value["ipv4"], value["ipv6"]) == ("off", "on")


def test_a_reader_of_rules_without_root_is_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False)
    machine.command(NFT, stderr="Operation not permitted (you must be root)\n", returncode=1)
    for program in ("iptables-save", "ip6tables-save"):
        machine.command([program], stderr="Permission denied (you must be root)\n", returncode=4)
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert "must be root" in value["reason"]


def test_a_machine_that_shows_nothing_is_unknown(tmp_path: Path) -> None:
    value = collect(RecordedMachine(tmp_path).host())
    assert value["state"] == "unknown"
    assert value["reason"]


UFW_RULES = """*filter
:INPUT {policy} [0:0]
:ufw-before-input - [0:0]
:ufw-after-input - [0:0]
:ufw-after-logging-input - [0:0]
:ufw-logging-deny - [0:0]
:ufw-not-local - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-after-logging-input
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input
-A ufw-after-logging-input -m limit --limit 3/min -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-input -j {policy}
-A ufw-user-input -p tcp -m tcp --dport 22 -m comment --comment "'dapp_OpenSSH'" -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize(("policy", "state"), [("DROP", "on"), ("ACCEPT", "off")])
def test_the_rules_that_ufw_makes(tmp_path: Path, policy: str, state: str) -> None:
    text = UFW_RULES.format(policy=policy)
    machine = RecordedMachine(tmp_path).command(["iptables-save"], text)
    value = collect(machine.command(["ip6tables-save"], text).host())
    assert (value["state"], value["front_end"]) == (state, "ufw")


def test_the_reverse_path_filter_of_nixos_is_no_firewall(tmp_path: Path) -> None:
    text = """*mangle
:PREROUTING ACCEPT [0:0]
:nixos-fw-rpfilter - [0:0]
-A PREROUTING -j nixos-fw-rpfilter
-A nixos-fw-rpfilter -m rpfilter --validmark -j RETURN
-A nixos-fw-rpfilter -p udp -m udp --sport 67 --dport 68 -j RETURN
-A nixos-fw-rpfilter -j DROP
COMMIT
"""
    machine = RecordedMachine(tmp_path).command(["iptables-save"], text)
    assert collect(machine.host())["ipv4"] == "off"


# --- nft's text ---------------------------------------------------------------------------

TEXT = """table inet site {{
	set bad {{
		type ipv4_addr
		elements = {{ 192.0.2.4,
			192.0.2.5 }}
	}}

	chain closed {{ # handle 9
		counter packets 1 bytes 40 drop
	}}

	chain incoming {{
		type filter hook input priority {priority}; policy {policy};
		{rule}
	}}
}}
"""


@pytest.mark.parametrize(
    ("state", "policy", "rule"),
    [
        ("on", "drop", 'iifname "lo" accept'),
        ("on", "drop", "ct state established,related accept"),
        ("on", "drop", "ct state vmap { established : accept, invalid : drop, related : accept }"),
        ("on", "drop", "tcp dport { 22, 8000-8100 } ct state new counter packets 0 bytes 0 accept"),
        ("on", "drop", "ip saddr { 10.0.0.0/8, 192.168.0.0/16 } accept"),
        (
            "on",
            "drop",
            "ip6 nexthdr ipv6-icmp icmpv6 type { echo-request, nd-router-advert } accept",
        ),
        ("on", "drop", 'log prefix "in: " flags tcp sequence,options flags ip options'),
        ("on", "drop", "limit rate 10 mbytes/second burst 5 packets log level warn"),
        ("on", "accept", "meta mark set 0x1 counter packets 1 bytes 40 reject with icmpx type x"),
        ("on", "accept", "jump closed # handle 12"),
        ("on", "accept", 'comment "the rest" goto closed'),
        ("on", "accept", 'iifname != "lo" drop'),
        ("on", "accept", "fib daddr type local drop"),
        ("off", "accept", "tcp flags & (fin | syn | rst | ack) == fin drop"),
        ("off", "accept", "tcp flags fin / fin,syn,rst,ack drop"),
        ("off", "accept", "ip saddr @bad drop"),
        ("off", "accept", "ct state invalid drop"),
        ("off", "accept", "tcp dport 139 reject"),
        ("off", "drop", "accept"),
        ("off", "drop", "tcp flags & (fin|syn|rst|ack) == syn accept"),
        ("off", "drop", "tcp flags syn / fin,syn,rst,ack accept"),
        ("off", "drop", "meta l4proto { tcp, udp } accept"),
        ("off", "drop", "limit rate 10/second accept"),
        ("off", "drop", 'iifname vmap { "lo" : accept, "eth0" : accept }'),
        ("unknown", "drop", "wonderful condition accept"),
        ("unknown", "accept", "# fancy: mode 3 counter packets 0 bytes 0 drop"),
        ("unknown", "drop", 'xt match "cgroup" accept'),
    ],
)
def test_the_text_form_of_nft(tmp_path: Path, state: str, policy: str, rule: str) -> None:
    text = "# Warning: table ip nat is managed by iptables-nft, do not touch!\n"
    text += TEXT.format(policy=policy, priority="filter", rule=rule)
    machine = RecordedMachine(tmp_path).command(["nft", "list", "ruleset"], text)
    assert collect(machine.host())["ipv4"] == state


def test_the_text_form_is_asked_for_where_nft_has_no_json(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(NFT, stderr="Error: JSON support not compiled-in\n", returncode=1)
    machine.command(["nft", "-j", "list", "ruleset"], stderr="no JSON\n", returncode=1)
    machine.command(
        ["nft", "list", "ruleset"],
        TEXT.format(policy="drop", priority="raw + 310", rule=""),
    )
    assert collect(machine.host())["state"] == "on"


# --- front ends, by their rules --------------------------------------------------------------


def test_firewalld_is_known_by_its_table_and_tells_its_zone(tmp_path: Path) -> None:
    there = {"family": "inet", "table": "firewalld"}
    objects = [
        table(name="firewalld"),
        chain("filter_INPUT", prio=10, table="firewalld"),
        plain_chain("filter_INPUT_ZONES", table="firewalld"),
        plain_chain("filter_IN_home", table="firewalld"),
        plain_chain("filter_IN_public", table="firewalld"),
        rule(LO, ACCEPT, chain="filter_INPUT", table="firewalld"),
        rule(jump("filter_INPUT_ZONES"), chain="filter_INPUT", table="firewalld"),
        rule(REJECT, chain="filter_INPUT", table="firewalld"),
        {"rule": {**there, "chain": "filter_INPUT_ZONES", "handle": 8, "expr": [
            meta("iifname", "wlp1s0"), {"goto": {"target": "filter_IN_home"}}]}},
        {"rule": {**there, "chain": "filter_INPUT_ZONES", "handle": 9, "expr": [
            {"goto": {"target": "filter_IN_public"}}]}},
        rule(field("tcp", "dport", {"range": [1025, 65535]}), ACCEPT,
             chain="filter_IN_home", table="firewalld"),
    ]  # fmt: skip
    value = collect(RecordedMachine(tmp_path).command(NFT, nft(*objects)).host())
    assert (value["state"], value["front_end"], value["zone"]) == ("on", "firewalld", "home")
    assert value["open_ports"] == ["1025-65535"]


def test_a_zone_of_firewalld_2_is_told_from_its_policies(tmp_path: Path) -> None:
    def of(chain: str, *expr: JSON) -> JSON:
        return rule(*expr, chain=chain, table="firewalld")

    chains = ("filter_INPUT_POLICIES", "filter_IN_policy_allow-host-ipv6", "filter_IN_home")
    objects = [
        table(name="firewalld"),
        chain("filter_INPUT", prio=10, table="firewalld"),
        *(plain_chain(name, table="firewalld") for name in (*chains, "filter_IN_public")),
        of("filter_INPUT", LO, ACCEPT),
        of("filter_INPUT", jump(chains[0])),
        of("filter_INPUT", REJECT),
        of(chains[0], jump(chains[1])),
        of(chains[0], meta("iifname", "wlp1s0"), jump("filter_IN_home")),
        of(chains[0], meta("iifname", "wlp1s0"), REJECT),
        of(chains[0], jump("filter_IN_public")),
        of(chains[0], REJECT),
    ]
    for device, zone in (("wlp1s0", "home"), ("enp2s0", "public")):
        machine = RecordedMachine(tmp_path / zone).command(NFT, nft(*objects))
        machine.directory(f"/sys/class/net/{device}/device")
        value = collect(machine.host())
        assert (value["state"], value["front_end"], value["zone"]) == ("on", "firewalld", zone)


# --- any text -----------------------------------------------------------------------------

VOCABULARY = """-A INPUT -j DROP ACCEPT ! -i lo --dport 1:2 *filter :INPUT [0:0] COMMIT table
inet x { } chain type filter hook input priority 0; policy drop; ct state new vmap : , jump goto
limit rate over log prefix "a" flags # xt & | / ( ) meta set Chain (policy DROP) target prot opt
source destination pkts in out all -- anywhere tcp dpt:22 ctstate NEW Status: active Default:
deny (incoming) target: default interfaces: rich rules: -m --tcp-flags"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\n", "\n\t", "\n  "])
TEXTS = st.one_of(st.text(), st.lists(WORDS).map(" ".join))


@settings(deadline=None)
@given(TEXTS)
def test_no_text_breaks_a_reader_of_rules(text: str) -> None:
    for found in (
        nft_json.parse(text),
        nft_text.parse(text),
        xtables.parse(text, "ip", ""),
        listing.parse(text, "ip"),
    ):
        ruleset = found or Ruleset()
        for family in ("ip", "ip6"):
            assert judge(ruleset, family, ["eth0"]).state in ("on", "off", "unknown")


@settings(deadline=None)
@given(TEXTS)
def test_no_text_breaks_a_reader_of_front_ends(text: str) -> None:
    said = frontends.parse_ufw(text)
    assert said is None or said.active in (True, False)
    assert all(zone.name for zone in frontends.parse_zones(text))
    assert isinstance(frontends.parse_assignments(text), dict)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["lo", "@x", "*", "tcp"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["set", "range", "prefix", "elem", "val", "concat", "&", "meta", "key",
                             "payload", "protocol", "field", "left", "right", "op", "match", "vmap",
                             "data", "accept", "drop", "jump", "target", "xt", "limit", "inv"]),
            inner, max_size=3,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.one_of(VALUES, VALUES.map(lambda value: rule(value)["rule"]).map(
    lambda body: {"rule": body}))))  # fmt: skip
def test_no_json_breaks_the_reader_of_nft(objects: list[JSON]) -> None:
    text = json.dumps({"nftables": [chain(), *objects]})
    found = nft_json.parse(text)
    assert found is not None
    assert judge(found, "ip", []).state in ("on", "off", "unknown")
