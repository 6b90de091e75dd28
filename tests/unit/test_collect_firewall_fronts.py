"""The firewall collector where the kernel's rules can't be read: what ufw and firewalld say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.firewall import collect, frontends, service

NFT = ["nft", "--json", "list", "ruleset"]
REFUSED = "Operation not permitted (you must be root)"
OPEN = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
CLOSED = json.dumps({"nftables": [
    {"table": {"family": "inet", "name": "site", "handle": 1}},
    {"chain": {"family": "inet", "table": "site", "name": "in", "handle": 2, "type": "filter",
               "hook": "input", "prio": 0, "policy": "drop"}},
]})  # fmt: skip

# --- ufw ----------------------------------------------------------------------------------

UFW = """Status: active
Logging: on (low)
Default: {incoming} (incoming), allow (outgoing), disabled (routed)
New profiles: skip

To                         Action      From
--                         ------      ----
22/tcp                     ALLOW IN    Anywhere
"""


@pytest.mark.parametrize(
    ("incoming", "defaults", "ipv4", "ipv6"),
    [
        ("deny", "IPV6=yes\n", "on", "on"),
        ("reject", 'IPV6="yes"\n', "on", "on"),
        ("allow", "IPV6=yes\n", "off", "off"),
        # With IPV6=no, ufw sets a policy of drop there and makes no rules.
        ("deny", "IPV6=no\n", "on", "on"),
        ("allow", "IPV6=no\n", "off", "on"),
        ("deny", "", "on", "on"),
        ("deny", None, "on", "on"),
    ],
)
def test_ufw_speaks_where_the_kernel_can_not_be_read(
    tmp_path: Path, incoming: str, defaults: str | None, ipv4: str, ipv6: str
) -> None:
    machine = RecordedMachine(tmp_path)
    if defaults is not None:  # ufw is delivered with it, and does not run without
        machine.file("/etc/default/ufw", defaults)
    machine.command(["ufw", "status", "verbose"], UFW.format(incoming=incoming))
    value = collect(machine.host())
    assert (value["ipv4"], value["ipv6"], value["front_end"]) == (ipv4, ipv6, "ufw")


@pytest.mark.parametrize(
    ("defaults", "state"),
    [('DEFAULT_INPUT_POLICY="DROP"\nIPV6=yes\n', "on"), ("DEFAULT_INPUT_POLICY=ACCEPT\n", "off")],
)
def test_the_plain_form_of_ufw_leaves_the_default_to_its_settings(
    tmp_path: Path, defaults: str, state: str
) -> None:
    machine = RecordedMachine(tmp_path).file("/etc/default/ufw", defaults)
    machine.command(
        ["ufw", "status"], "Status: active\n\nTo   Action   From\n22   ALLOW   Anywhere\n"
    )
    assert collect(machine.host())["state"] == state


def test_an_inactive_ufw_is_off_only_where_nothing_else_can_filter(tmp_path: Path) -> None:
    alone = RecordedMachine(tmp_path / "a").command(["ufw", "status"], "Status: inactive\n")
    assert collect(alone.host())["state"] == "off"
    beside = RecordedMachine(tmp_path / "b").command(["ufw", "status"], "Status: inactive\n")
    beside.command(NFT, stderr="broken", returncode=1)
    assert collect(beside.host())["state"] == "unknown"


def test_settings_of_ufw_alone_prove_nothing(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False)
    machine.command(["ufw", "status", "verbose"], stderr="ERROR: You need to be root", returncode=1)
    machine.file("/etc/ufw/ufw.conf", "# on boot\nENABLED=yes\nLOGLEVEL=low\n")
    machine.file("/etc/default/ufw", "DEFAULT_INPUT_POLICY=DROP\nIPV6=yes\n")
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert "ENABLED=yes" in value["reason"]


def test_ufw_does_not_outvote_the_rules_that_iptables_shows(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(
        ["ufw", "status", "verbose"], UFW.format(incoming="deny")
    )
    machine.file("/etc/default/ufw", "IPV6=yes\n")
    machine.command(["iptables-save"], OPEN).command(["ip6tables-save"], OPEN)
    assert collect(machine.host())["state"] == "off"


ZONES = """internal
  target: default
  interfaces:
  sources:
  services: ssh

office (active)
  target: {office}
  interfaces: wlp1s0
  sources:
  ports: {ports}
  rich rules:
	{rich}

public (default)
  target: {public}
  interfaces:
  sources:

libvirt (active)
  target: ACCEPT
  interfaces: virbr0
  sources:

trusted (active)
  target: ACCEPT
  interfaces:
  sources: 10.1.2.0/24
"""


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        ("on", {}),
        ("on", {"office": "DROP"}),
        ("on", {"office": "%%REJECT%%"}),
        ("off", {"office": "ACCEPT"}),
        ("off", {"public": "ACCEPT"}),
        ("off", {"ports": "1-65535/tcp"}),
        ("off", {"rich": 'rule family="ipv4" accept'}),
        ("on", {"rich": 'rule family="ipv4" source address="10.0.0.1" accept'}),
    ],
)
def test_firewalld_speaks_where_the_kernel_can_not_be_read(
    tmp_path: Path, state: str, changes: dict[str, str]
) -> None:
    text = ZONES.format(
        **{"office": "default", "public": "default", "ports": "", "rich": "", **changes}
    )
    machine = RecordedMachine(tmp_path, root=False)
    machine.command(NFT, stderr=REFUSED, returncode=1)
    machine.command(["firewall-cmd", "--list-all-zones"], text)
    value = collect(machine.host())
    assert (value["state"], value["front_end"], value["zone"]) == (state, "firewalld", "office")


def test_firewalld_that_is_asked_question_by_question(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False)
    machine.command(["firewall-cmd", "--state"], "running\n")
    machine.command(["firewall-cmd", "--get-active-zones"], "home\n  interfaces: enp2s0\n")
    machine.command(["firewall-cmd", "--get-default-zone"], "public\n")
    machine.command(["firewall-cmd", "--zone=home", "--get-target"], "default\n")
    machine.command(["firewall-cmd", "--zone=public", "--get-target"], "DROP\n")
    assert collect(machine.host())["state"] == "on"


def test_firewalld_that_does_not_run_leaves_it_to_the_kernel(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(NFT, CLOSED)
    machine.command(["firewall-cmd", "--state"], stderr="not running\n", returncode=252)
    assert collect(machine.host())["state"] == "on"


ROWS = """Status: active

To                         Action      From
--                         ------      ----
{rows}
"""


@pytest.mark.parametrize(
    ("rows", "ipv4", "ipv6"),
    [
        ("Anywhere                   ALLOW       Anywhere", "off", "on"),
        ("Anywhere (v6)              ALLOW       Anywhere (v6)", "on", "off"),
        ("[ 1] Anywhere              LIMIT IN    Anywhere    (log)  # all", "off", "on"),
        ("Anywhere on eth0           ALLOW IN    Anywhere", "off", "on"),
        ("1:65535/udp                ALLOW IN    Anywhere", "off", "on"),
        ("Anywhere on tailscale0     ALLOW IN    Anywhere", "on", "on"),
        ("Anywhere                   ALLOW       192.0.2.0/24", "on", "on"),
        ("Anywhere                   ALLOW OUT   Anywhere on eth0", "on", "on"),
        ("Anywhere                   DENY IN     Anywhere", "on", "on"),
        ("22/tcp                     ALLOW       Anywhere", "on", "on"),
    ],
)
def test_a_rule_of_ufw_that_lets_everybody_in_opens_it(
    tmp_path: Path, rows: str, ipv4: str, ipv6: str
) -> None:
    machine = RecordedMachine(tmp_path).file("/etc/default/ufw", "IPV6=yes\n")
    machine.command(["ufw", "status"], ROWS.format(rows=rows))
    value = collect(machine.host())
    assert (value["ipv4"], value["ipv6"]) == (ipv4, ipv6)


def test_the_service_of_ufw_proves_nothing(tmp_path: Path) -> None:
    text = "ufw.service - Uncomplicated firewall\n   Active: active (exited) since Mon\n"
    machine = RecordedMachine(tmp_path).command(["systemctl", "status", "ufw"], text)
    assert collect(machine.host())["state"] == "unknown"


# --- firewalld by its service and files -----------------------------------------------------

STATUS = """firewalld.service - firewalld - dynamic firewall daemon
     Loaded: loaded (/usr/lib/systemd/system/firewalld.service; {enabled}; preset: enabled)
     Active: {active}
"""
RUNNING = "active (running) since Tue 2026-10-06 07:30:11 UTC; 3h ago"


@pytest.mark.parametrize(
    ("words", "text", "returncode", "state"),
    [
        ("status firewalld.service", STATUS.format(enabled="enabled", active=RUNNING), 0, "on"),
        ("status firewalld", STATUS.format(enabled="disabled", active=RUNNING), 0, "on"),
        ("status firewalld", STATUS.format(enabled="enabled", active="inactive (dead)"), 3, "off"),
        ("status firewalld", STATUS.format(enabled="enabled", active="failed (x)"), 3, "off"),
        ("status firewalld", STATUS.format(enabled="enabled", active="activating"), 3, "unknown"),
        ("status firewalld.service", "", 4, "unknown"),
        ("is-active firewalld", "active\n", 0, "on"),
        # systemd says so of services that do not exist, too.
        ("is-active firewalld.service", "inactive\n", 3, "unknown"),
    ],
)
def test_where_firewalld_is_not_asked_systemd_tells_whether_it_runs(
    tmp_path: Path, words: str, text: str, returncode: int, state: str
) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(["systemctl", *words.split()], text, returncode=returncode)
    assert collect(machine.host())["state"] == state


ZONE = '<?xml version="1.0" encoding="utf-8"?>\n<zone{target}>\n  <short>x</short>\n{more}</zone>\n'


@pytest.mark.parametrize(
    ("default", "target", "more", "state"),
    [
        ("site", "", "", "on"),
        ("site", ' target="DROP"', "", "on"),
        ("site", ' target="ACCEPT"', "", "off"),
        ("public", ' target="ACCEPT"', "", "on"),
        ("public", ' target="ACCEPT"', '  <interface name="eth0"/>\n', "off"),
        ("elsewhere", "", "", "unknown"),
        ("trusted", "", "", "unknown"),
    ],
)
def test_the_zones_of_firewalld_are_read_from_its_files(
    tmp_path: Path, default: str, target: str, more: str, state: str
) -> None:
    machine = RecordedMachine(tmp_path).command(["firewall-cmd", "--state"], "running\n")
    machine.file(
        "/etc/firewalld/firewalld.conf", f"# x\nDefaultZone={default}\nCleanupOnExit=yes\n"
    )
    machine.file("/etc/firewalld/zones/site.xml", ZONE.format(target=target, more=more))
    value = collect(machine.host())
    assert value["state"] == state
    assert value["front_end"] == "firewalld"


def test_the_zone_that_firewalld_brings_along_counts(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(["firewall-cmd", "--state"], "running\n")
    machine.file("/etc/firewalld/firewalld.conf", "DefaultZone=trusted\n")
    machine.file(
        "/usr/lib/firewalld/zones/trusted.xml", ZONE.format(target=' target="ACCEPT"', more="")
    )
    assert collect(machine.host())["state"] == "off"


def test_zones_that_can_not_be_read_leave_it_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False)
    machine.command(["systemctl", "is-active", "firewalld.service"], "active\n")
    machine.unreadable("/etc/firewalld/firewalld.conf")
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert "firewalld runs, but its zones can't be read" in value["reason"]


@pytest.mark.parametrize("returncode", [0, 127])
def test_a_firewall_cmd_that_is_missing_is_no_answer(tmp_path: Path, returncode: int) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(
        ["firewall-cmd", "--list-all-zones"],
        "bash: firewall-cmd: command not found\n",
        returncode=returncode,
    )
    value = collect(machine.host())
    assert (value["state"], value["front_end"]) == ("unknown", None)


def test_a_firewalld_that_polkit_hides_is_found_by_its_service(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False)
    machine.command(
        ["firewall-cmd", "--list-all-zones"], stderr="Authorization failed.\n", returncode=253
    )
    machine.command(["systemctl", "is-active", "firewalld.service"], "active\n")
    assert collect(machine.host())["state"] == "on"


# --- any text -----------------------------------------------------------------------------

VOCABULARY = (
    "Status: active inactive Default: deny (incoming) Anywhere (v6) on eth0 ALLOW IN LIMIT # (log"
    " target: default ACCEPT interfaces: rich rules: public (active, default) ports: 1-65535/tcp"
    " Active: <zone target= <interface name= ENABLED=yes IPV6="
)
WORDS = st.sampled_from([*VOCABULARY.split(), "\n", "\n\t", "\n  ", '"', "  "])
TEXTS = st.one_of(st.text(), st.lists(WORDS).map("".join), st.lists(WORDS).map(" ".join))


@settings(deadline=None)
@given(TEXTS)
def test_no_text_breaks_a_reader_of_front_ends(text: str) -> None:
    said = frontends.parse_ufw(text)
    assert said is None or said.active in (True, False)
    assert all(zone.name for zone in frontends.parse_zones(text))
    assert isinstance(frontends.parse_assignments(text), dict)
    assert service.parse_status(text) in (True, False, None)
    assert isinstance(service.parse_zone(text)[0], str)


MANY = 60_000
LONG = {
    # Texts that take minutes where a pattern looks back or a list is copied for each line.
    "empty lines": "\n" * MANY + "A=1",
    "spaces": "Status: active\nDefault:" + " " * MANY,
    "rules of everybody": "Status: active\nAnywhere" + " " * MANY + "\n[" + " " * MANY,
    "rich rules": "a (active)\n  rich rules:\n" + "\trule x\n" * MANY,
    "one rich rule": "a (active)\n  rich rules:\n\trule" + " log" * MANY,
    "zones": "<zone " * MANY + "target=" * MANY,
    "status": "\n" * MANY + " " * MANY + "Active:" * MANY,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_long_answers_of_front_ends_are_read_in_one_go(text: str) -> None:
    frontends.parse_ufw(text)
    frontends.parse_assignments(text)
    frontends.parse_zones(text)
    service.parse_status(text)
    service.parse_zone(text)
