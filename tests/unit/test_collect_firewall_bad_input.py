"""The firewall collector on machines that answer too much, too late, or nonsense.

Nothing here measures time: each case takes minutes, or all memory, with a reader whose work
grows faster than its text.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.firewall import collect, listing, nft_json, nft_text, xtables
from qlmdm_plugins_builtin.collectors.firewall.walk import MAX_INTERFACES, judge

MANY = 20_000
NFT = ["nft", "--json", "list", "ruleset"]
BASE: list[JSON] = [
    {"table": {"family": "inet", "name": "t", "handle": 1}},
    {"chain": {"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input",
               "prio": 0, "policy": "drop", "handle": 2}},
]  # fmt: skip


def saved(*lines: str, policy: str = "DROP") -> str:
    return "\n".join(["*filter", f":INPUT {policy} [0:0]", *lines, "COMMIT", ""])


RULES = {
    "a long block list": [f"-A INPUT -s 10.{n >> 8}.{n & 255}.9/32 -j DROP" for n in range(MANY)],
    "a port open for each": [
        f"-A INPUT -p tcp --dport {1024 + n}:65535 -j ACCEPT" for n in range(MANY)
    ],
    "an address of ours for each": [
        f"-A INPUT -d 224.0.{n % 250}.1 -j ACCEPT" for n in range(MANY)
    ],
    "a chain for each": [
        line
        for n in range(MANY)
        for line in (f":c{n} - [0:0]", f"-A INPUT -p icmp -j c{n}", f"-A c{n} -j ACCEPT")
    ],
    "an interface for each": [f"-A INPUT -i eth{n} -p icmp -j ACCEPT" for n in range(MANY)],
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_many_rules_are_read_one_after_the_other(tmp_path: Path, rules: list[str]) -> None:
    machine = RecordedMachine(tmp_path).command(["iptables-save"], saved(*rules))
    machine.directory("/sys/class/net/eth0/device")
    assert collect(machine.host())["ipv4"] == "on"


def test_chains_that_branch_are_walked_once_each() -> None:
    deep = [f"-A c{n} -p tcp -j c{n + 1}" for n in range(30) for _ in range(4)]
    ruleset = xtables.parse(
        saved("-A INPUT -j c0", *deep, "-A c30 -j DROP", policy="ACCEPT"), "ip", ""
    )
    assert ruleset is not None
    assert judge(ruleset, "ip", ["eth0"]).state == "off"


def test_chains_that_all_call_each_other_come_to_an_end() -> None:
    names = range(60)
    rules = [f"-A c{one} -p tcp -j c{other}" for one in names for other in names]
    ruleset = xtables.parse(saved("-A INPUT -j c0", *rules, policy="ACCEPT"), "ip", "")
    assert ruleset is not None
    assert judge(ruleset, "ip", ["eth0"]).state in ("off", "unknown")


def test_a_long_map_that_many_rules_name_is_not_unfolded_for_each(tmp_path: Path) -> None:
    elements = [[f"vlan{n}", {"jump": {"target": "x"}}] for n in range(MANY)]
    named = {"map": {"family": "inet", "table": "t", "name": "m", "elem": elements}}
    asked = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@m"}}
    rule = {"rule": {"family": "inet", "table": "t", "chain": "in", "expr": [asked]}}
    text = json.dumps({"nftables": [*BASE, named, *([rule] * MANY)]})
    machine = RecordedMachine(tmp_path).command(NFT, text)
    assert collect(machine.host())["state"] == "unknown"


def test_of_very_many_interfaces_a_part_is_tried_and_that_is_said(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(NFT, json.dumps({"nftables": BASE}))
    for n in range(MAX_INTERFACES + 1):
        machine.directory(f"/sys/class/net/eth{n}/device")
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert f"only {MAX_INTERFACES} of {MAX_INTERFACES + 1}" in value["reason"]
    opened = json.dumps({"nftables": BASE}).replace('"drop"', '"accept"')
    assert collect(machine.command(NFT, opened).host())["state"] == "unknown"  # the first answer


TABLE = "table inet x {\n chain c {\n"
LONG = {
    "spaces in a rule": TABLE + " " * MANY * 20 + "x",
    "the head of a chain": TABLE + "type filter hook input device priority " + "priority " * MANY,
    "comments": "#\n" * MANY * 4,
    "quotes": TABLE + '"' * (MANY + 1) + ' "a' * MANY,
    "braces": TABLE + "{ " * MANY,
    "a listed comment": "Chain INPUT (policy ACCEPT)\nACCEPT all -- a b " + "/*" * MANY * 4,
    "words of iptables": "*filter\n-A INPUT " + '"a ' * MANY + "\n-A INPUT " + "\\" * MANY,
    "counters": "*filter\n[1:" + "1" * MANY,
    "a number": '{"nftables": [' + "1" * MANY + "]}",
    "brackets": '{"nftables": ' + "[" * MANY,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_long_lines_are_read_in_one_go(text: str) -> None:
    for found in (
        nft_json.parse(text),
        nft_text.parse(text),
        xtables.parse(text, "ip", ""),
        listing.parse(text, "ip"),
    ):
        if found is not None:
            assert judge(found, "ip", ["eth0"]).state in ("on", "off", "unknown")


# --- programs that do not answer ----------------------------------------------------------


def test_programs_that_all_hang_leave_it_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    for argv in (
        ["nft", "list", "ruleset"],
        ["iptables-save"],
        ["ip6tables-save"],
        ["iptables-legacy-save"],
        ["firewall-cmd", "--list-all-zones"],
        ["ufw", "status"],
        ["systemctl", "is-active", "firewalld.service"],
    ):
        machine.command(argv, timed_out=True)
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert "did not answer in time" in value["reason"]


def test_an_iptables_that_hangs_is_not_asked_again_in_other_words(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(["iptables-save"], timed_out=True)
    machine.command(["iptables", "-S"], saved().replace("*filter\n", "").replace("COMMIT\n", ""))
    assert collect(machine.host())["ipv4"] == "unknown"


@pytest.mark.parametrize("text", ["\x7fELF\x00\x01\x02", "Fehler: nicht erlaubt\n", "\n", "[]"])
def test_an_answer_of_another_kind_is_unknown(tmp_path: Path, text: str) -> None:
    machine = RecordedMachine(tmp_path).command(NFT, text).command(["iptables-save"], text)
    machine.command(["ip6tables-save"], text).command(["ufw", "status"], text)
    machine.command(["firewall-cmd", "--list-all-zones"], text)
    value = collect(machine.host())
    assert value["state"] == ("off" if text == "\n" else "unknown")


def test_an_output_without_end_is_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    text = "*filter\n:INPUT DROP [0:0]\n" + "-A INPUT -p icmp -j ACCEPT\n" * 200_000
    machine.command(["iptables-save"], text)
    value = collect(machine.host())
    assert value["ipv4"] == "unknown"
    assert "printed too much" in value["evidence"]["ipv4"]


def test_files_that_are_folders_are_no_answers(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(["ufw", "status"], "Status: active\n")
    machine.command(["systemctl", "is-active", "firewalld.service"], "active\n")
    for path in ("/etc/default/ufw", "/etc/firewalld/firewalld.conf", "/proc/net/ip_tables_names"):
        machine.directory(path)
    value = collect(machine.host())
    assert value["state"] in ("on", "unknown")
