"""Checks: does a client take the releases and the commands that the server has for it?"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from qlmdm_core.api import PASS, ClientView, Verdict
from qlmdm_plugins_builtin.checks import outgoing
from qlmdm_plugins_builtin.policy import Policy

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
CHECKS = {check.name: check for check in outgoing.checks(Policy())}


def judge(name: str, at: datetime = NOW, **known: Any) -> Verdict:
    client = ClientView(
        cid="c", hostname="h", report={}, enrolled_at=NOW - timedelta(days=90), **known
    )
    return CHECKS[name].judge(client, at)


def behind(days: float, **more: Any) -> Verdict:
    since = NOW - timedelta(days=days)
    return judge("release-behind", release="1.6", release_due="1.7", release_due_at=since, **more)


def test_a_client_that_runs_what_it_is_offered_passes() -> None:
    assert judge("release-behind", release="1.7") is PASS
    assert judge("release-behind") is PASS


def test_a_client_has_three_days_to_take_a_release() -> None:
    verdict = behind(1)
    assert (verdict.state, verdict.valid_until) == ("pass", NOW + timedelta(days=2))
    assert behind(2.999).state == "pass"
    verdict = behind(3)
    assert verdict.state == "fail"
    assert "runs release 1.6 and does not take 1.7" in verdict.message
    assert "sudo qlmdm-update" in verdict.message


def test_a_client_that_rolled_it_back_is_told_apart() -> None:
    verdict = behind(4, flags={"bad_releases": {"1.7": "no answer"}})
    assert "rolled back (no answer)" in verdict.message
    assert behind(4, flags={"bad_releases": "1.7"}).state == "fail"


def pending(*ages: float, **more: Any) -> Verdict:
    commands = tuple(
        {
            "id": f"{number}" * 32,
            "kind": "script",
            "summary": f"script {number}",
            "state": "delivered",
            "since": (NOW - timedelta(days=age)).isoformat(),
            **more,
        }
        for number, age in enumerate(ages)
    )
    return judge("pending-patches", pending_commands=commands)


def test_a_command_may_wait_three_days() -> None:
    assert judge("pending-patches") is PASS
    verdict = pending(1, 2)
    assert (verdict.state, verdict.valid_until) == ("pass", NOW + timedelta(days=1))
    verdict = pending(3, 1)
    assert verdict.state == "fail"
    assert "script 0 (delivered)" in verdict.message
    assert "script 1" not in verdict.message
    assert "qlmdm-client-command show 000000000000" in verdict.message
    assert verdict.evidence["commands"][0]["id"] == "0" * 32


def test_one_that_is_over_is_noticed_within_an_hour() -> None:
    assert pending(3).valid_until == NOW + timedelta(hours=1)


def test_what_has_no_time_is_passed_over() -> None:
    assert pending(9, since=None) is PASS
    assert pending(9, since="yesterday") is PASS
