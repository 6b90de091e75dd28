"""The tests of the example, by the fixtures of qlmdm's kit: composed machines for the collector,
the real audit for the check and the notifier, a simulated server for the address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qlmdm_acme import client, release, server
from qlmdm_core import envelope
from qlmdm_core.testing import Auditor, Clock, RecordedMachine
from qlmdm_core.testing.client import Reply, SimulatedClient, said
from qlmdm_core.testing.pytest_plugin import (
    EnrolClient,
    LoadClientPlugin,
    LoadServerPlugin,
    StartServer,
)

CHECK = server.qlmdm_register_audit_checks()[0]
ABSENT = {"acme_badge": {"state": "absent"}}
PRESENT = {"acme_badge": {"state": "present", "number": "4711"}}

# --- the collector ----------------------------------------------------------------------------


def test_the_badge_is_read(machine: RecordedMachine, client_plugin: LoadClientPlugin) -> None:
    collector = client_plugin(client).collectors["acme_badge"]
    host = machine.file("/etc/acme/badge", "4711\n").host()
    assert collector.run(host) == {"state": "present", "number": "4711"}


def test_no_file_is_no_badge(machine: RecordedMachine) -> None:
    assert client.collect(machine.host()) == {"state": "absent"}


def test_a_file_that_can_not_be_read_is_unknown(machine: RecordedMachine) -> None:
    value = client.collect(machine.unreadable("/etc/acme/badge").host())
    assert value == {
        "state": "unknown",
        "reason": "/etc/acme/badge can't be read: Permission denied",
    }


# --- releases of the client -------------------------------------------------------------------


def test_during_a_freeze_no_release_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "FREEZE", str(tmp_path / "freeze"))
    assert release.qlmdm_release_objections("install") == []
    (tmp_path / "freeze").write_text("until Monday\n")
    (objection,) = release.qlmdm_release_objections("install")
    assert objection.reason == "change freeze: until Monday"
    assert release.qlmdm_release_objections("build") == []


def test_after_a_release_the_badge_daemon_starts_anew(machine: RecordedMachine) -> None:
    release.qlmdm_release_installed(machine.host())
    argv = ["systemctl", "try-restart", "acme-badged.service"]
    ill = machine.file("/etc/systemd/system/acme-badged.service", "").command(argv, returncode=1)
    with pytest.raises(RuntimeError, match="does not come up"):
        release.qlmdm_release_installed(ill.host())


# --- the check --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("badge", "state"),
    [
        ({"state": "present", "number": "4711"}, "pass"),
        ({"state": "present", "number": ""}, "fail"),
        ({"state": "present"}, "fail"),
        ({"state": "absent"}, "fail"),
        ({"state": "unknown", "reason": "it rained"}, "unknown"),
        ({"state": "unknown"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_laptop_needs_a_badge(audit: Auditor, badge: dict[str, Any], state: str) -> None:
    found = audit({"acme_badge": badge}, checks=[CHECK])
    assert found[CHECK.name].state == state
    assert "itself failed" not in found[CHECK.name].message
    assert len(found.lines) == (state != "pass")


def test_a_new_laptop_has_a_week_to_get_one(audit: Auditor, clock: Clock) -> None:
    assert audit(ABSENT, checks=[CHECK], grace_period=None).lines == []
    clock.forward(days=7)
    found = audit(ABSENT, checks=[CHECK], grace_period=None)
    assert "Ask the front desk for one" in found.lines[0]


# --- the notifier -----------------------------------------------------------------------------


def test_alerts_are_written_one_a_line(
    audit: Auditor, server_plugin: LoadServerPlugin, tmp_path: Path, clock: Clock
) -> None:
    log = tmp_path / "alerts.log"
    plugin = server_plugin(server, settings={"acme": {"log_file": str(log)}})
    notifiers = list(plugin.notifiers.values())
    first = audit(ABSENT, checks=[CHECK], notifiers=notifiers)
    clock.forward(hours=1)
    second = audit(ABSENT, checks=[CHECK], notifiers=notifiers)
    assert log.read_text().splitlines() == [*first.lines, *second.lines]
    assert len(log.read_text().splitlines()) == 2


def test_a_log_that_can_not_be_written_keeps_the_alerts_due(
    audit: Auditor, server_plugin: LoadServerPlugin, tmp_path: Path
) -> None:
    folder = tmp_path / "not yet there"
    plugin = server_plugin(server, settings={"acme": {"log_file": f"{folder}/alerts.log"}})
    notifiers = list(plugin.notifiers.values())
    failed = audit(ABSENT, checks=[CHECK], notifiers=notifiers)
    assert "notifier acme-log failed, will be tried again" in failed.notes[0]
    folder.mkdir()
    assert audit(checks=[CHECK], notifiers=notifiers).notes == []
    assert "names no badge" in (folder / "alerts.log").read_text()


# --- the address ------------------------------------------------------------------------------

PATH = "/qlmdm/v1/x/qlmdm-acme/lost"


def tell(laptop: SimulatedClient, badge: object) -> Reply:
    data = envelope.build(laptop.envelope("plugin", ep=PATH), {"badge": badge})
    return laptop.post(PATH, data)


def test_a_lost_badge_is_marked_until_it_is_found(
    simulated_server: StartServer, simulated_client: EnrolClient
) -> None:
    site = simulated_server(server, distribution="qlmdm-acme")
    laptop = simulated_client(site)
    for badge, flags in (("4711", {"acme_badge_lost": "4711"}), (None, {})):
        for _ in range(2):  # what arrives twice does nothing more
            assert said(tell(laptop, badge)) == {"lost": badge}
            found = site.store.client(laptop.cid or "")
            assert found is not None
            assert found.flags == flags


@pytest.mark.parametrize("badge", ["", 4711, ["4711"], "x" * 41])
def test_what_is_no_badge_is_refused(
    simulated_server: StartServer, simulated_client: EnrolClient, badge: object
) -> None:
    site = simulated_server(server, distribution="qlmdm-acme")
    laptop = simulated_client(site)
    assert tell(laptop, badge).status == 400
    found = site.store.client(laptop.cid or "")
    assert found is not None
    assert found.flags == {}


def test_strangers_are_turned_away(
    simulated_server: StartServer, simulated_client: EnrolClient
) -> None:
    site = simulated_server(server, distribution="qlmdm-acme")
    laptop, stranger = simulated_client(site), simulated_client(site, enrol=False)
    stranger.cid, stranger.root = laptop.cid, laptop.root
    assert tell(stranger, "4711").status == 403
    assert site.send("GET", PATH, b"", {}).status != 200


def test_a_lost_badge_is_an_issue_and_a_new_one_is_not(audit: Auditor) -> None:
    cid = audit.fleet.enrol("laptop7")
    audit.fleet.store.set_client(cid, flags={"acme_badge_lost": "4711"})
    audit.fleet.report(cid, PRESENT)
    lines = audit(checks=[CHECK]).lines
    assert [line for line in lines if "its badge was reported lost" in line]
    audit.fleet.report(cid, {"acme_badge": {"state": "present", "number": "4712"}})
    audit(checks=[CHECK])
    assert audit.fleet.store.issues(cid=cid) == []


def test_each_release_brings_the_rules_about_badges() -> None:
    assert b"front desk" in server.qlmdm_release_files()["acme/badge-rules.txt"]


def test_a_release_without_acme_is_objected_to() -> None:
    without = {"distributions": {"qlmdm-core": "1.0"}}
    (objection,) = server.qlmdm_release_objections(without, "build")
    assert "qlmdm-acme" in objection.reason
    assert not server.qlmdm_release_objections({"distributions": {"qlmdm-acme": "1.0"}}, "build")
    assert not server.qlmdm_release_objections(without, "another")
