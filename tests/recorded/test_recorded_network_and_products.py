"""Collectors against outputs that were recorded on real machines, with the right answers.

The recordings are not part of this repository: QLMDM_RECORDED names their folder, in which
INDEX.tsv lists each file with its right answer.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import firewall, sshd
from qlmdm_plugins_builtin.collectors.geolocation import GeolocationSettings, points, scan
from qlmdm_plugins_builtin.collectors.sshd import config, logins
from qlmdm_plugins_eset.collectors import eraagent, eset, prey

FOLDER = os.environ.get("QLMDM_RECORDED", "")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="QLMDM_RECORDED is not set: it names the folder of recorded outputs"
)
COLLECTORS = ("firewall", "sshd", "geolocation", "eset", "eraagent", "prey")


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    return RecordedMachine(tmp_path, recorded_at="2025-09-10T08:00:00+00:00")


def recorded(name: str) -> str:
    return (Path(FOLDER) / name).read_text(encoding="utf-8", errors="replace")


def rows() -> dict[str, str]:
    """The files of our collectors in the index, with their right answers."""
    found = {}
    for line in recorded("INDEX.tsv").splitlines()[1:]:
        file, collector, _, _, verdict = line.split("\t")
        if collector in COLLECTORS:
            found[file] = verdict
    return found


# --- firewall -----------------------------------------------------------------------------

NFT, SAVE, LIST = ["nft", "-j", "list", "ruleset"], ["iptables-save"], ["iptables", "-L"]
UFW, ZONES = ["ufw", "status"], ["firewall-cmd", "--list-all-zones"]
FIREWALL = {
    # The state of IPv4 and of IPv6, which a file about one family can't tell.
    "centos-7.7-iptables-filter.out": (LIST, "on", "unknown"),
    "firewall-cmd-list-all-zones.txt": (ZONES, "on", "on"),
    "firewall-cmd-not-running.txt": (ZONES, "off", "off"),
    "generic-iptables-no-jump.out": (LIST, "off", "unknown"),
    "generic-ufw-inactive.out": (UFW, "off", "off"),
    "iptables-save-accept-then-reject.txt": (SAVE, "on", "unknown"),
    "iptables.save-sadm.txt": (SAVE, "off", "unknown"),
    "nft-json-empty.json": (NFT, "off", "off"),
    "nft-json-lxc-bridge-only.json": (NFT, "off", "off"),
    "nft-json-ntt_list_ruleset_doc.json": (NFT, "off", "off"),
    "nft-json-ntt_list_ruleset_outpu1.json": (NFT, "on", "off"),
    "nft-json-only-loopback-rules.json": (NFT, "off", "off"),
    "nft-json-translated-iptables-policy-drop.json": (NFT, "on", "off"),
    "nft-text-debian10-policy-drop.txt": (["nft", "list", "ruleset"], "on", "off"),
    "ubuntu-18.04-iptables-filter-nv.out": (["iptables", "-nvL"], "off", "unknown"),
    "ubuntu-18.04-ufw-numbered.out": (["ufw", "status", "numbered"], "on", "on"),
    "ubuntu-18.04-ufw-verbose.out": (["ufw", "status", "verbose"], "on", "on"),
    "ubuntu_ufw_status_OFF.txt": (UFW, "off", "off"),
    "ubuntu_ufw_status_ON.txt": (UFW, "on", "on"),
    "ufw-status-verbose-medium-logging.txt": (["ufw", "status", "verbose"], "on", "on"),
}


@pytest.mark.parametrize("name", FIREWALL)
def test_firewall(machine: RecordedMachine, name: str) -> None:
    argv, ipv4, ipv6 = FIREWALL[name]
    value = firewall.collect(machine.command(argv, recorded(f"firewall/{name}")).host())
    assert (value["ipv4"], value["ipv6"]) == (ipv4, ipv6)
    assert value["evidence"]["ipv4"]


def test_firewall_of_both_families(machine: RecordedMachine) -> None:
    text = recorded("firewall/iptables-save-accept-then-reject.txt")
    machine.command(["iptables-save"], text).command(["ip6tables-save"], text)
    assert firewall.collect(machine.host())["state"] == "on"


def test_a_firewall_in_a_report_for_people(machine: RecordedMachine) -> None:
    text = recorded("firewall/fedora_systemctl_status_firewalld.service_ON.txt")
    machine.command(["systemctl", "status", "firewalld.service"], text)
    assert firewall.collect(machine.host())["state"] == "on"


# --- sshd ---------------------------------------------------------------------------------

DUMPS = {
    "sshd-T-old.txt": (True, False),
    "sshd-T-openssh10-kali.txt": (True, False),
    "sshd-T-rhel-first-lines.txt": (None, None),
}
MAIN = "/etc/ssh/sshd_config"
FILES: dict[str, tuple[bool | None, bool | None]] = {
    "sshd_config-complete-rhel.txt": (True, False),
    "sshd_config-generic.txt": (True, None),  # RHEL 7: `#PermitRootLogin yes` is its default
    "sshd_config-include-globs.txt": (True, False),
    "sshd_config-sadm-arch.txt": (False, False),
}


def listening(machine: RecordedMachine) -> RecordedMachine:
    row = 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=9,fd=3))\n'
    return machine.command(["ss", "-Hltnp"], row)


@pytest.mark.parametrize("name", DUMPS)
def test_sshd_dumps(machine: RecordedMachine, name: str) -> None:
    listening(machine).command(["sshd", "-T"], recorded(f"sshd/{name}"))
    value = sshd.collect(machine.host())
    assert (value["password_login"], value["root_password_login"]) == DUMPS[name]
    assert value["ports"] == [22]


def test_sshd_dump_keeps_all_values_of_a_keyword() -> None:
    found = logins.parse_dump(recorded("sshd/sshd-T-old.txt"))
    assert len(found["listenaddress"]) == 2
    assert len(found["hostkey"]) == 3
    assert found["ciphers"][0].startswith("+chacha20")


@pytest.mark.parametrize("name", FILES)
def test_sshd_files(machine: RecordedMachine, name: str) -> None:
    listening(machine).file(MAIN, recorded(f"sshd/{name}"))
    value = sshd.collect(machine.host())
    assert (value["password_login"], value["root_password_login"]) == FILES[name]


def test_sshd_includes_are_relative_and_in_order(machine: RecordedMachine) -> None:
    machine.file(MAIN, recorded("sshd/sshd_config-include-globs.txt"))
    machine.file("/etc/ssh/conf.d/01_site.conf", recorded("sshd/sshd_config.d-01-match-group.txt"))
    machine.file("/etc/ssh/conf.d/02_late.conf", "PermitRootLogin yes\n")
    machine.file("/etc/ssh/subdir/02_b.conf", "Banner b\n")
    machine.file("/etc/ssh/subdir/01_a.conf", "Banner a\n")
    found = config.read(machine.host())
    assert [path.rsplit("/", 1)[-1] for path in found.files] == [
        "sshd_config", "01_site.conf", "02_late.conf", "01_a.conf", "02_b.conf",
    ]  # fmt: skip
    inside = {item.keyword for item in found.settings if item.blocks}
    assert inside == {"allowtcpforwarding", "chrootdirectory"}
    value = sshd.collect(listening(machine).host())
    assert (value["password_login"], value["root_password_login"]) == (True, False)


def test_sshd_drop_ins_win_over_the_main_file(machine: RecordedMachine) -> None:
    machine.file(
        "/etc/ssh/sshd_config.d/50-redhat.conf", recorded("sshd/sshd_config.d-redhat-50.txt")
    )
    main = "Include /etc/ssh/sshd_config.d/*.conf\nChallengeResponseAuthentication yes\n"
    listening(machine).file(MAIN, f"{main}PasswordAuthentication no\nUsePAM yes\n")
    assert sshd.collect(machine.host())["password_login"] is False


def test_sshd_behind_a_socket(machine: RecordedMachine) -> None:
    text = recorded("sshd/sshd-socket-and-service-ubuntu.txt")
    listeners = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("LISTEN"))
    value = sshd.collect(machine.command(["ss", "-tlnp"], listeners).host())
    assert (value["state"], value["ports"]) == ("running", [52022])


# --- geolocation --------------------------------------------------------------------------


def test_two_access_points_are_enough(machine: RecordedMachine) -> None:
    machine.directory("/sys/class/net/wlan0/wireless")
    machine.command(["iw", "dev", "wlan0", "scan"], recorded("geolocation/iw-scan0.txt"))
    found = scan.hear(machine.host(), GeolocationSettings())
    assert [(point.bssid, point.signal_dbm, point.channel) for point in found.points] == [
        ("00:19:a9:cd:c6:80", -45, 1),
        ("d0:d0:fd:69:ca:70", -70, 11),
    ]


def test_many_access_points() -> None:
    found = points.parse_iw(recorded("geolocation/iw-scan1-many.txt"))
    assert len(found) == 26
    kept = points.usable(found, max_age_ms=30000, limit=50)
    assert {point.bssid for point in kept} < {point.bssid for point in found}
    assert all(not int(point.bssid[:2], 16) & 3 for point in kept)
    assert all(point.age_ms is not None and point.age_ms <= 30000 for point in kept)
    assert "1c:b0:44:75:42:a5" in {point.bssid for point in kept}
    assert "ae:22:15:db:4d:5b" not in {point.bssid for point in kept}


def test_the_access_point_in_use_alone_tells_no_place(machine: RecordedMachine) -> None:
    machine.directory("/sys/class/net/wlp5s0/wireless")
    machine.command(["iwconfig"], recorded("geolocation/iwconfig-many.txt"))
    found = scan.hear(machine.host(), GeolocationSettings())
    assert found.points == ()
    assert found.why


def test_the_table_of_networkmanager(machine: RecordedMachine) -> None:
    machine.directory("/sys/class/net/wlan0/wireless")
    text = recorded("geolocation/nmcli-dev-wifi-list-table-2.txt")
    machine.command(["nmcli", "device", "wifi", "list"], text)
    found = scan.hear(machine.host(), GeolocationSettings())
    assert sorted(point.signal_dbm for point in found.points) == [-58, -55, -50]


# --- products -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "up_to_date"), [("2025-09-10", True), ("2025-09-11", True), ("2025-09-13", False)]
)
def test_eset(tmp_path: Path, now: str, up_to_date: bool) -> None:
    upd = "/opt/eset/eea/bin/upd"
    machine = RecordedMachine(tmp_path, recorded_at=f"{now}T08:00:00+00:00")
    machine.command([upd, "--version"], recorded("eset/eea-upd-version.txt"))
    machine.command([upd, "--list-modules"], recorded("eset/eea-upd-list-modules.txt"))
    machine.command(["systemctl", "is-active", "eea.service"], "active\n")
    value = eset.collect(machine.host())
    assert (value["state"], value["version"]) == ("running", "12.0.13.0")
    assert (value["engine_version"], value["engine_date"]) == ("31832", "2025-09-09")
    assert value["up_to_date"] is up_to_date


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("eraagent-supervisor-unit.txt", "command = "),
        ("eset-agent-nixos-service-renamed.nix", "ExecStart = "),
    ],
)
def test_eraagent_is_known_by_its_path(machine: RecordedMachine, name: str, mark: str) -> None:
    lines = recorded(f"eraagent/{name}").splitlines()
    started = next(line.split(mark, 1)[1] for line in lines if mark in line)
    argv: JSON = started.strip('";').split()
    machine.process(pid=1, comm="init").process(pid=40, comm="ERAAgent", argv=argv)
    assert eraagent.collect(machine.host())["state"] == "running"


def test_prey_that_was_never_registered(machine: RecordedMachine) -> None:
    machine.file("/usr/lib/prey/current/bin/prey", "").process(pid=1, comm="init")
    machine.file(prey.CONFIG, recorded("prey/prey.conf-unregistered.conf"))
    value = prey.collect(machine.host())
    assert (value["state"], value["registered"]) == ("stopped", False)


# --- all of them --------------------------------------------------------------------------


def test_every_recording_of_the_index_has_its_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    missing = [file for file in rows() if Path(file).name not in source]
    assert missing == []
