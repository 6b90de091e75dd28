"""The tests of the example: recorded machines for the collector, plain values for the rest."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_acme import client, server
from qlmdm_core import Alert, ClientView
from qlmdm_core.testing import RecordedMachine

NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)


def view(badge: dict[str, Any]) -> ClientView:
    report = {"acme_badge": {"status": "ok", "value": badge}}
    return ClientView(cid="1", hostname="laptop7", report=report, enrolled_at=NOW)


def test_the_badge_is_read(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file("/etc/acme/badge", "4711\n")
    assert client.collect(machine.host()) == {"state": "present", "number": "4711"}


def test_no_file_is_no_badge(tmp_path: Path) -> None:
    assert client.collect(RecordedMachine(tmp_path).host()) == {"state": "absent"}


def test_a_file_that_can_not_be_read_is_unknown(tmp_path: Path) -> None:
    value = client.collect(RecordedMachine(tmp_path).unreadable("/etc/acme/badge").host())
    assert value == {
        "state": "unknown",
        "reason": "/etc/acme/badge can't be read: Permission denied",
    }


@pytest.mark.parametrize(
    ("badge", "state"),
    [
        ({"state": "present", "number": "4711"}, "pass"),
        ({"state": "present", "number": ""}, "fail"),
        ({"state": "absent"}, "fail"),
        ({"state": "unknown", "reason": "it rained"}, "unknown"),
    ],
)
def test_a_laptop_needs_a_badge(badge: dict[str, Any], state: str) -> None:
    verdict = server.judge(view(badge), NOW)
    assert verdict.state == state
    assert (verdict.message == "") is (state == "pass")


def test_alerts_are_written_one_a_line(tmp_path: Path) -> None:
    alert = Alert(
        cid="1",
        hostname="laptop7",
        check="acme-badge-missing",
        state="fail",
        message="no badge",
        opened_at=NOW,
        line="laptop7: acme-badge-missing: no badge",
    )
    log = tmp_path / "log"
    server.write([alert], str(log))
    server.write([alert, alert], str(log))
    assert log.read_text() == "laptop7: acme-badge-missing: no badge\n" * 3
