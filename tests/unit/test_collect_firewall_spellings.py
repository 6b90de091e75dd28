"""The firewall collector: the same answers to questions that were put in other words."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.firewall import collect

RULES = "-P INPUT {policy}\n-P OUTPUT ACCEPT\n-A INPUT -i lo -j ACCEPT\n"
SAVED = "*filter\n:INPUT {policy} [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"
LISTED = """\
Chain INPUT (policy {policy} 9 packets, 812 bytes)
 pkts bytes target     prot opt in     out     source               destination
   12   960 ACCEPT     all  --  lo     *       0.0.0.0/0            0.0.0.0/0
"""
ZONE = "{name}\n  target: {target}\n  interfaces: enp4s0\n  services: ssh\n"


@pytest.mark.parametrize(("policy", "state"), [("DROP", "on"), ("ACCEPT", "off")])
@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ("{} -t filter -S", RULES),
        ("{} -t filter -L -n -v", LISTED),
        ("/sbin/{} -t filter -nvL", LISTED),
        ("{}-nft -S", RULES),
        ("{}-nft-save", SAVED),
    ],
)
def test_iptables_by_the_name_of_its_table_or_kind(
    tmp_path: Path, argv: str, text: str, policy: str, state: str
) -> None:
    machine = RecordedMachine(tmp_path)
    for program in ("iptables", "ip6tables"):
        machine.command(argv.format(program).split(), text.format(policy=policy))
    value = collect(machine.host())
    assert (value["state"], value["ipv4"], value["ipv6"]) == (state, state, state)


@pytest.mark.parametrize(
    ("name", "target", "state"),
    [
        ("office (active)", "ACCEPT", "off"),
        ("office (default, active)", "ACCEPT", "off"),
        ("office", "%%REJECT%%", "on"),
        ("office (active)", "default", "on"),
    ],
)
def test_the_default_zone_is_the_one_that_is_listed_without_a_name(
    tmp_path: Path, name: str, target: str, state: str
) -> None:
    machine = RecordedMachine(tmp_path).command(["firewall-cmd", "--state"], "running\n")
    machine.command(["firewall-cmd", "--list-all"], ZONE.format(name=name, target=target))
    value = collect(machine.host())
    assert (value["state"], value["zone"]) == (state, "office")


@pytest.mark.parametrize(("target", "state"), [("ACCEPT", "off"), ("default", "on")])
@pytest.mark.parametrize(
    "question",
    ["--zone=office --list-all", "--list-all --zone=office", "--info-zone=office",
     "--zone office --list-all"],
)  # fmt: skip
def test_a_zone_that_is_listed_by_its_name(
    tmp_path: Path, question: str, target: str, state: str
) -> None:
    machine = RecordedMachine(tmp_path).command(["firewall-cmd", "--state"], "running\n")
    machine.command(["firewall-cmd", "--get-active-zones"], "office\n  interfaces: enp4s0\n")
    listed = ZONE.format(name="office (active)", target=target)
    machine.command(["firewall-cmd", *question.split()], listed)
    value = collect(machine.host())
    assert (value["state"], value["zone"]) == (state, "office")
