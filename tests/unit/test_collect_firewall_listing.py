"""The firewall collector on `iptables -L`, which hides half of each rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.firewall import collect, listing
from qlmdm_plugins_builtin.collectors.firewall.walk import Ruleset, judge

LISTED = """Chain INPUT (policy {policy})
target     prot opt source               destination
{rules}

Chain FORWARD (policy ACCEPT)
target     prot opt source               destination

Chain site (2 references)
target     prot opt source               destination
"""


@pytest.mark.parametrize(
    ("state", "policy", "rules"),
    [
        ("on", "DROP", "ACCEPT     tcp  --  anywhere   anywhere   tcp dpt:ssh"),
        ("on", "DROP", "ACCEPT     all  --  anywhere   anywhere   ctstate RELATED,ESTABLISHED"),
        ("on", "DROP", "site       all  --  anywhere   anywhere"),
        ("off", "ACCEPT", "           udp  --  anywhere   anywhere"),
        ("off", "ACCEPT", "DROP       all  --  192.0.2.77 anywhere"),
        ("off", "ACCEPT", "LOG        all  --  anywhere   anywhere   LOG level warning"),
        # An interface may be hidden in these.
        ("unknown", "DROP", "ACCEPT     all  --  anywhere   anywhere"),
        ("unknown", "ACCEPT", "DROP       all  --  anywhere   anywhere"),
        ("unknown", "ACCEPT", "REJECT     udp"),
    ],
)
def test_the_listing_for_people(tmp_path: Path, state: str, policy: str, rules: str) -> None:
    text = LISTED.format(policy=policy, rules=rules)
    machine = RecordedMachine(tmp_path).command(["iptables", "-L"], text)
    assert collect(machine.host())["ipv4"] == state


@pytest.mark.parametrize(
    ("state", "policy", "rules"),
    [
        ("on", "DROP", "   66  6034 ACCEPT  all  --  lo  *  0.0.0.0/0  0.0.0.0/0"),
        ("on", "ACCEPT", "    1    40 DROP    all  --  *   *  0.0.0.0/0  0.0.0.0/0"),
        ("on", "ACCEPT", "    1    40 DROP    0    --  !lo *  0.0.0.0/0  0.0.0.0/0"),
        ("off", "DROP", "    1    40 ACCEPT  all  --  *   *  0.0.0.0/0  0.0.0.0/0"),
        (
            "on",
            "ACCEPT",
            " 1 40 DROP  all  --  *   *  0.0.0.0/0  0.0.0.0/0  ADDRTYPE match dst-type LOCAL",
        ),
        (
            "off",
            "ACCEPT",
            " 1 40 DROP  all  --  *   *  0.0.0.0/0  0.0.0.0/0  ADDRTYPE match dst-type !LOCAL",
        ),
        ("off", "ACCEPT", "    0     0 DROP    all  --  lo  *  192.0.2.1  0.0.0.0/0"),
        ("off", "ACCEPT", "    1    40         all  --  *   *  0.0.0.0/0  0.0.0.0/0"),
        (
            "off",
            "DROP",
            "    1    40 ACCEPT  tcp  --  *   *  0.0.0.0/0  0.0.0.0/0  limit: avg 3/sec",
        ),
    ],
)
def test_the_wide_listing_shows_interfaces(
    tmp_path: Path, state: str, policy: str, rules: str
) -> None:
    text = LISTED.format(policy=f"{policy} 0 packets, 0 bytes", rules=rules).replace(
        "target     prot opt source               destination",
        " pkts bytes target  prot opt in out source     destination",
    )
    machine = RecordedMachine(tmp_path).command(["iptables", "-n", "-v", "-L"], text)
    assert collect(machine.host())["ipv4"] == state


def test_the_listing_of_firewalld_is_known_by_its_order(tmp_path: Path) -> None:
    rules = """ACCEPT  all  --  anywhere  anywhere  ctstate RELATED,ESTABLISHED,DNAT
ACCEPT  all  --  anywhere  anywhere
INPUT_direct  all  --  anywhere  anywhere
INPUT_ZONES  all  --  anywhere  anywhere
REJECT  all  --  anywhere  anywhere  reject-with icmp-host-prohibited"""
    text = LISTED.format(policy="ACCEPT", rules=rules) + "\nChain INPUT_direct (1 references)\n"
    text += "\nChain INPUT_ZONES (1 references)\n"
    value = collect(RecordedMachine(tmp_path).command(["iptables", "-L"], text).host())
    assert (value["ipv4"], value["front_end"]) == ("on", "firewalld")
    # Somebody opened it by hand: `iptables -I INPUT -j ACCEPT`.
    opened = text.replace("ACCEPT  all", "ACCEPT  all  --  anywhere  anywhere\nACCEPT  all", 1)
    value = collect(RecordedMachine(tmp_path / "b").command(["iptables", "-L"], opened).host())
    assert value["ipv4"] == "unknown"


KNOWN = "ACCEPT  all  --  anywhere  anywhere  state RELATED,ESTABLISHED"
ALL = "ACCEPT  all  --  anywhere  anywhere"
SSH = "ACCEPT  tcp  --  anywhere  anywhere  state NEW tcp dpt:ssh"
END = "REJECT  all  --  anywhere  anywhere  reject-with icmp-host-prohibited"
LOG = "LOG  all  --  anywhere  anywhere  LOG level warning"
SHAPES = [
    # What RHEL 6 began with, and all that was made from it.
    ("on", "ACCEPT", [KNOWN, ALL, SSH, END]),
    ("on", "ACCEPT", [ALL, KNOWN, SSH, LOG, "DROP  all  --  anywhere  anywhere"]),
    ("on", "DROP", [KNOWN, ALL, SSH]),
    ("on", "ACCEPT", [KNOWN.replace("all", "0"), ALL.replace("all", "0"), END]),
    ("on", "ACCEPT", [KNOWN, END.replace("all", "0")]),
    # Of two, at most one is for the loopback device.
    ("unknown", "ACCEPT", [ALL, KNOWN, ALL, SSH, END]),
    # Rules behind it would show that it is narrow.
    ("unknown", "DROP", [KNOWN, SSH, ALL]),
    # Who forgets what is established may have forgotten more.
    ("unknown", "ACCEPT", [ALL, SSH, END]),
    ("unknown", "ACCEPT", ["DROP  all  --  anywhere  anywhere", KNOWN, SSH, LOG]),
    # A drop that has rules behind it is a narrow one.
    ("unknown", "ACCEPT", [KNOWN, "DROP  all  --  anywhere  anywhere", SSH]),
    ("off", "ACCEPT", [KNOWN, ALL, SSH]),
    ("off", "ACCEPT", [KNOWN, SSH, "REJECT  tcp  --  anywhere  anywhere  tcp dpt:telnet"]),
]


@pytest.mark.parametrize(("state", "policy", "rules"), SHAPES)
def test_the_place_of_a_rule_tells_what_is_hidden(
    tmp_path: Path, state: str, policy: str, rules: list[str]
) -> None:
    text = LISTED.format(policy=policy, rules="\n".join(rules))
    machine = RecordedMachine(tmp_path).command(["iptables", "-L"], text)
    assert collect(machine.host())["ipv4"] == state


@pytest.mark.parametrize(("state", "policy", "rules"), SHAPES[:2])
def test_numbers_of_rules_change_nothing(
    tmp_path: Path, state: str, policy: str, rules: list[str]
) -> None:
    numbered = [f"{at}    {rule}" for at, rule in enumerate(rules, 1)]
    text = LISTED.format(policy=policy, rules="\n".join(numbered))
    text = text.replace("target     prot", "num  target     prot")
    machine = RecordedMachine(tmp_path).command(["iptables", "-L", "--line-numbers"], text)
    assert collect(machine.host())["ipv4"] == state


def test_a_chain_that_input_calls_is_read_alike(tmp_path: Path) -> None:
    rules = [ALL, "ACCEPT  icmp  --  anywhere  anywhere", KNOWN, SSH, END]
    text = LISTED.format(policy="ACCEPT", rules="site  all  --  anywhere  anywhere")
    machine = RecordedMachine(tmp_path).command(["iptables", "-L"], text + "\n".join(rules))
    assert collect(machine.host())["ipv4"] == "on"


def test_a_rule_that_is_too_long_to_be_read_decides_nothing_for_sure(tmp_path: Path) -> None:
    rule = "ACCEPT  tcp  --  anywhere  anywhere  tcp dpt:ssh /*" + "x" * 5000 + "*/"
    text = LISTED.format(policy="DROP", rules=rule)
    machine = RecordedMachine(tmp_path).command(["iptables", "-L"], text)
    assert collect(machine.host())["ipv4"] == "unknown"


# --- any text -----------------------------------------------------------------------------

VOCABULARY = (
    "Chain INPUT FORWARD site (policy DROP) ACCEPT) (1 references) target prot opt source"
    " destination pkts bytes in out num ACCEPT REJECT LOG INPUT_ZONES all tcp -- - lo anywhere"
    " 0.0.0.0/0 state RELATED,ESTABLISHED NEW tcp dpt:22 spts:1:9 /* */ limit: [goto]"
)
WORDS = st.sampled_from([*VOCABULARY.split(), "\n"])
HEAD = "Chain INPUT (policy DROP)\ntarget prot opt source destination\n"
TEXTS = st.one_of(st.text(), st.lists(WORDS).map(" ".join))


@settings(deadline=None)
@given(TEXTS, st.booleans())
def test_no_text_breaks_the_reader(text: str, headed: bool) -> None:
    ruleset = listing.parse(HEAD * headed + text, "ip") or Ruleset()
    assert judge(ruleset, "ip", ["eth0"]).state in ("on", "off", "unknown")
