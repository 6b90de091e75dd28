"""The checks that need no collector, and the registration of the built-in plugins."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.units import Duration
from qlmdm_plugins_builtin.checks import fleet
from qlmdm_plugins_builtin.policy import Policy

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
CHECKS = {check.name: check for check in fleet.checks(Policy())}


def judge(name: str, view: ClientView, at: datetime = NOW) -> Verdict:
    return CHECKS[name].judge(view, at)


def client(
    *,
    enrolled_days: float = 90,
    seen_days: float | None = 0.01,
    report: dict[str, dict[str, JSON]] | None = None,
    flags: dict[str, JSON] | None = None,
) -> ClientView:
    return ClientView(
        cid="c",
        hostname="h",
        report=report or {},
        enrolled_at=NOW - timedelta(days=enrolled_days),
        last_seen_at=None if seen_days is None else NOW - timedelta(days=seen_days),
        flags=flags or {},
    )


# --- not-reporting ----------------------------------------------------------------------------


def test_a_client_that_was_heard_from_passes_until_a_day_has_passed() -> None:
    verdict = judge("not-reporting", client(seen_days=0.5))
    assert (verdict.state, verdict.valid_until) == ("pass", NOW + timedelta(days=0.5))


def test_at_that_moment_time_alone_makes_it_fail() -> None:
    view = client(seen_days=0.5)
    at = judge("not-reporting", view).valid_until
    assert at is not None
    assert judge("not-reporting", view, at - timedelta(seconds=1)).state == "pass"
    verdict = judge("not-reporting", view, at)
    assert (verdict.state, verdict.valid_until) == ("fail", None)
    assert "last heard from on 2026-11-01 00:00 UTC" in verdict.message


def test_a_client_that_never_came_back_fails_a_day_after_it_enrolled() -> None:
    fresh = judge("not-reporting", client(enrolled_days=0.5, seen_days=None))
    assert (fresh.state, fresh.valid_until) == ("pass", NOW + timedelta(days=0.5))
    verdict = judge("not-reporting", client(enrolled_days=2, seen_days=None))
    assert verdict.state == "fail"
    assert "enrolled on 2026-10-30 12:00 UTC and never heard from since" in verdict.message


def test_what_is_said_does_not_change_while_nothing_changes() -> None:
    view = client(seen_days=3)
    later = judge("not-reporting", view, NOW + timedelta(days=5))
    assert judge("not-reporting", view) == later


def test_a_site_sets_the_time() -> None:
    (check, *_) = fleet.checks(Policy(not_reporting_after=Duration(4 * 86400)))
    assert check.judge(client(seen_days=3), NOW).state == "pass"
    assert "last 4 days" in check.help


# --- collector-failing ------------------------------------------------------------------------


def result(status: str = "ok", **fields: JSON) -> dict[str, JSON]:
    return {"status": status, "value": {"state": "unknown"}, **fields}


def test_values_that_are_unknown_are_no_failure_of_their_collector() -> None:
    view = client(report={"sshd": result(), "firewall": result()})
    assert judge("collector-failing", view) is PASS


def test_no_report_is_no_failure_of_a_collector() -> None:
    assert judge("collector-failing", client()) is PASS


def test_a_collector_that_failed_is_named_with_its_error() -> None:
    view = client(
        report={
            "sshd": result("error", error="ValueError: no"),
            "firewall": result(),
            "eset": result("timeout"),
        }
    )
    verdict = judge("collector-failing", view)
    assert verdict.state == "fail"
    assert verdict.message == (
        "no value from eset (timeout); sshd (ValueError: no). "
        "On the machine, see: sudo qlmdm-collect --explain eset"
    )
    assert verdict.evidence == {"eset": "timeout", "sshd": "ValueError: no"}


def test_many_failures_are_one_short_sentence() -> None:
    view = client(report={f"c{n:02}": result("error", error="x" * 5000) for n in range(30)})
    verdict = judge("collector-failing", view)
    assert "and 25 more" in verdict.message
    assert len(verdict.message) < 1000


def test_a_plugin_that_can_not_be_loaded_is_named() -> None:
    failure = {"distribution": "qlmdm-acme", "stage": "import", "error": "ImportError: badge"}
    agent = {"status": "ok", "value": {"state": "degraded", "plugin_failures": [failure]}}
    verdict = judge("collector-failing", client(report={"agent": agent}))
    assert verdict.state == "fail"
    assert "plugin qlmdm-acme (ImportError: badge). On the machine, see" in verdict.message
    agent["value"] = {"state": "ok", "plugin_failures": []}
    assert judge("collector-failing", client(report={"agent": agent})) is PASS


def test_what_can_not_be_encrypted_is_told_with_what_to_do() -> None:
    why = "not encrypted to the secret-keeper ABC (it has expired)"
    failures = [
        {"distribution": "acme", "stage": "seal", "error": f"{name}: {why}"}
        for name in ("screenlock", "accounts")
    ]
    value = {"state": "degraded", "plugin_failures": failures}
    agent: dict[str, Any] = {"status": "ok", "value": value}
    message = judge("collector-failing", client(report={"agent": agent})).message
    assert message.startswith(f"no value from what is private ({why}). If a secret-keeper's key")
    assert "qlmdm-server-setup" in message
    assert "acme" not in message


@pytest.mark.parametrize("value", [7, "x", [], {"plugin_failures": 7}, {"plugin_failures": "x"}])
def test_what_the_agent_says_may_be_anything(value: object) -> None:
    agent = {"status": "ok", "value": value}
    assert judge("collector-failing", client(report={"agent": agent})) is PASS
    failing = {"agent": agent, "x": {"status": "timeout"}}
    assert judge("collector-failing", client(report=failing)).state == "fail"


@pytest.mark.parametrize("broken", [{}, {"status": None}, {"status": 5}])
def test_a_result_without_a_status_is_a_failure(broken: dict[str, JSON]) -> None:
    assert judge("collector-failing", client(report={"sshd": broken})).state == "fail"


# --- flags ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deprecated-port", "duplicate-identity"])
def test_a_client_without_marks_passes(name: str) -> None:
    assert judge(name, client()) is PASS
    assert judge(name, client(flags={"other": True})) is PASS
    assert judge(name, client(flags={"deprecated_url": None, "duplicate_identity": False})) is PASS


def test_an_address_that_is_given_up_is_named() -> None:
    verdict = judge("deprecated-port", client(flags={"deprecated_url": "https://old.example"}))
    assert verdict.state == "fail"
    assert "https://old.example" in verdict.message


@pytest.mark.parametrize("mark", [True, {"reason": "counts twice"}, {"reason": 5}])
def test_two_machines_behind_one_identity_fail(mark: JSON) -> None:
    verdict = judge("duplicate-identity", client(flags={"duplicate_identity": mark}))
    assert verdict.state == "fail"
    assert verdict.evidence == {"duplicate_identity": mark}
    assert ("(counts twice)" in verdict.message) is (mark == {"reason": "counts twice"})


# --- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: str(check.name))
def test_they_need_no_collector_and_say_what_to_do(check: AuditCheck) -> None:
    assert check.needs == ()
    assert len(check.help) > 50
