"""Judging one client: verdicts, what is unknown, and what becomes of its issues."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from qlmdm_core.api import PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.errors import SettingsError
from qlmdm_core.server.audit.judge import Judge
from qlmdm_core.server.audit.rules import Rule, rules, version
from qlmdm_core.server.settings import AuditSettings, CheckSettings, SiteCheck
from qlmdm_core.store.records import AuditTarget, Client, Issue, VerdictRecord

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
CLIENT = Client(
    cid="c1",
    fingerprint="F" * 40,
    public_key="",
    status="active",
    hostname="laptop7",
    mid="m",
    enrolled_at=NOW,
    tags=("dev",),
)


def judge_firewall(client: ClientView, now: datetime) -> Verdict:
    value = client.report["firewall"]["value"]
    if value["state"] == "on":
        return PASS
    if value["state"] == "unknown":
        return Verdict(state="unknown", message="nft needs root")
    return Verdict(state="fail", message="no rules. Run: ufw enable", evidence=value)


FIREWALL = AuditCheck(name="firewall-disabled", needs=("firewall",), judge=judge_firewall)


def rule(check: AuditCheck = FIREWALL, **fields: Any) -> Rule:
    given = {"owner": "test", "grace_period": 60.0, "alert_frequency": 3600.0}
    return Rule(check=check, **{**given, **fields})


def target(firewall: Any = None, *, verdicts: Any = (), issues: Any = (), **report: Any) -> Any:
    if isinstance(firewall, dict):
        report["firewall"] = firewall
    elif firewall is not None:
        report["firewall"] = {"status": "ok", "value": {"state": firewall}}
    return AuditTarget(
        client=CLIENT,
        report=json.dumps(report).encode(),
        dirty="d1",
        verdicts=verdicts,
        issues=issues,
    )


def judge(
    of: AuditTarget,
    *given: Rule,
    now: datetime = NOW,
    broken: Any = None,
    disabled: Any = None,
) -> Any:
    watched: list[int] = []
    judge = Judge(
        rules=given or [rule()],
        unknown_grace_period=600.0,
        value_max_age=3 * 86400.0,
        broken=broken or {},
        disabled=disabled,
        watch=watched.append,
    )
    return judge.judge(of, now)


def issue(state: str = "fail", message: str = "no rules. Run: ufw enable", **fields: Any) -> Issue:
    return Issue(
        issue_id="i1",
        cid="c1",
        check="firewall-disabled",
        state=state,  # type: ignore[arg-type]
        message=message,
        opened_at=NOW - timedelta(hours=1),
        alert_due_at=NOW + timedelta(hours=1),
        **{"evidence": {"state": "off"} if state == "fail" else None, **fields},
    )


def test_a_pass_writes_nothing() -> None:
    judgement = judge(target("on"))
    assert judgement.verdicts is None
    assert judgement.issues == []
    assert judgement.dirty == "d1"


def test_a_failure_opens_an_issue_that_is_due_after_its_grace_period() -> None:
    judgement = judge(target("off"))
    (verdict,) = judgement.verdicts
    (opened,) = judgement.issues
    assert (verdict.state, verdict.since_at) == ("fail", NOW)
    assert opened.alert_due_at == NOW + timedelta(seconds=60)
    assert opened.evidence == {"state": "off"}


def test_an_unknown_has_a_grace_period_of_its_own() -> None:
    (opened,) = judge(target("unknown")).issues
    assert (opened.state, opened.message) == ("unknown", "nft needs root")
    assert opened.alert_due_at == NOW + timedelta(seconds=600)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ({}, "firewall was never reported"),
        ({"firewall": {"status": "timeout"}}, "firewall could not be collected: timeout"),
        ({"firewall": {"status": "error", "error": "x"}}, "firewall could not be collected: x"),
    ],
)
def test_what_a_check_needs_and_has_not_is_unknown_never_a_pass(report: Any, reason: str) -> None:
    (verdict,) = judge(target(**report)).verdicts
    assert (verdict.state, verdict.message) == ("unknown", reason)


def test_a_check_that_raises_or_returns_nonsense_is_unknown() -> None:
    def raises(client: ClientView, now: datetime) -> Verdict:
        raise KeyError("state")

    for bad in (raises, lambda client, now: None, lambda client, now: Verdict(state="bad")):  # type: ignore[arg-type]
        (verdict,) = judge(target(), rule(AuditCheck(name="bad", judge=bad))).verdicts  # type: ignore[arg-type]
        assert verdict.state == "unknown"
        assert verdict.message.startswith("the check itself failed")


def test_a_check_that_fails_says_how_and_where() -> None:
    def raises(client: ClientView, now: datetime) -> Verdict:
        raise KeyError("state")

    def says(bad: Any) -> str:
        (verdict,) = judge(target(), rule(AuditCheck(name="bad", judge=bad))).verdicts
        return verdict.message

    line = raises.__code__.co_firstlineno + 1
    assert says(raises).endswith(f"KeyError: 'state' ({__file__}:{line} in raises)")
    assert "an object of type str" in says(lambda client, now: "pass")
    assert "has the state 'bad'" in says(lambda client, now: Verdict(state="bad"))  # type: ignore[arg-type]


def test_evidence_that_is_not_json_or_too_large_is_left_out() -> None:
    for evidence in ({1, 2}, "x" * 20000):
        check = AuditCheck(
            name="c", judge=lambda client, now, e=evidence: Verdict(state="fail", evidence=e)
        )
        (verdict,) = judge(target(), rule(check)).verdicts
        assert set(verdict.evidence) == {"left_out"}


def test_a_broken_check_is_unknown_and_not_asked() -> None:
    (verdict,) = judge(target("off"), broken={"firewall-disabled": "took too long"}).verdicts
    assert (verdict.state, verdict.message) == ("unknown", "took too long")


def test_the_same_verdict_again_writes_nothing() -> None:
    first = judge(target("off"))
    again = judge(
        target("off", verdicts=first.verdicts, issues=first.issues), now=NOW + timedelta(days=1)
    )
    assert again.verdicts is None
    assert again.issues == []


def test_a_new_message_updates_the_issue_and_keeps_when_it_was_opened() -> None:
    old = issue(message="other")
    (changed,) = judge(target("off", issues=[old])).issues
    assert changed == replace(old, message="no rules. Run: ufw enable")


def test_from_unknown_to_fail_counts_the_grace_period_anew() -> None:
    before = VerdictRecord(
        cid="c1", check="firewall-disabled", state="unknown", since_at=NOW - timedelta(days=9)
    )
    (changed,) = judge(target("off", verdicts=[before], issues=[issue("unknown")])).issues
    assert changed.state == "fail"
    assert changed.alert_due_at == NOW + timedelta(seconds=60)


def test_a_pass_closes_the_issue() -> None:
    (closed,) = judge(target("on", issues=[issue()])).issues
    assert closed.closed_at == NOW


def test_a_rule_for_other_tags_is_not_applied_and_closes_what_it_opened() -> None:
    other = rule(tags=frozenset({"server"}))
    judgement = judge(target("off", issues=[issue()]), other)
    assert [i.closed_at for i in judgement.issues] == [NOW]
    assert judge(target("off"), rule(tags=frozenset({"dev"}))).issues[0].state == "fail"


def test_the_earliest_valid_until_says_when_to_judge_again() -> None:
    def until(days: int) -> Rule:
        verdict = Verdict(state="pass", valid_until=NOW + timedelta(days=days))
        return rule(AuditCheck(name=f"c{days}", judge=lambda client, now: verdict))

    assert judge(target(), until(3), until(2), rule()).rejudge_at == NOW + timedelta(days=2)


# --- old values -------------------------------------------------------------------------------


def collected(firewall: str, agent: str) -> dict[str, Any]:
    """A report whose two values were collected at these times, by the client's clock."""
    return {
        "firewall": {"status": "ok", "value": {"state": "on"}, "collected_at": firewall},
        "agent": {"status": "ok", "value": {}, "collected_at": agent},
    }


def at_reported(hours_ago: float, **report: Any) -> AuditTarget:
    made = target(**report)
    reported_at = NOW - timedelta(hours=hours_ago)
    return replace(made, client=replace(CLIENT, reported_at=reported_at))


@pytest.mark.parametrize(
    ("hours_ago", "firewall", "agent", "state"),
    [
        (0, "2026-11-01T11:00:00Z", "2026-11-01T11:00:00Z", "pass"),
        (71, "2026-10-29T13:00:00Z", "2026-10-29T13:00:00Z", "pass"),
        (73, "2026-10-29T11:00:00Z", "2026-10-29T11:00:00Z", "unknown"),
        (0, "2026-10-29T13:00:00Z", "2026-11-01T12:00:00Z", "pass"),
        (0, "2026-10-29T11:00:00Z", "2026-11-01T12:00:00Z", "unknown"),
        (24, "2026-10-29T13:00:00Z", "2026-10-31T12:00:00Z", "pass"),
        (30, "2026-10-29T11:00:00Z", "2026-10-31T12:00:00Z", "unknown"),
        # Only the client's own clock is wrong, by years: what it says is as fresh as ever.
        (0, "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "pass"),
        (0, "2099-01-01T00:00:00.5+00:00", "2099-01-02T00:00:00Z", "pass"),
    ],
)
def test_an_old_value_proves_nothing(
    hours_ago: float, firewall: str, agent: str, state: str
) -> None:
    judgement = judge(at_reported(hours_ago, **collected(firewall, agent)))
    if state == "pass":
        assert judgement.verdicts is None
        assert NOW < judgement.rejudge_at <= NOW + timedelta(days=3)
    else:
        (verdict,) = judgement.verdicts
        assert (verdict.state, verdict.message) == (
            "unknown",
            f"firewall was last collected on {firewall[:10]}",
        )


# --- the rules of a site ------------------------------------------------------------------


def test_settings_change_or_disable_a_check() -> None:
    settings = AuditSettings(
        grace_period=5.0,  # type: ignore[arg-type]
        checks={
            "firewall-disabled": CheckSettings(alert_frequency=7.0),  # type: ignore[arg-type]
            "other": CheckSettings(enabled=False),
        },
    )
    other = AuditCheck(name="other", judge=judge_firewall)
    (only,) = rules([("a", FIREWALL), ("b", other)], settings)
    assert (only.grace_period, only.alert_frequency) == (5.0, 7.0)


def test_a_setting_for_a_check_that_is_not_there_is_a_mistake() -> None:
    settings = AuditSettings(checks={"firewal": CheckSettings()})
    with pytest.raises(SettingsError, match=r"audit\.checks\.firewal.*there is no such check"):
        rules([("a", FIREWALL)], settings, "s.yml")
    assert len(rules([("a", FIREWALL)], settings, complete=False)) == 1


def test_a_site_check_judges_by_its_query() -> None:
    site = SiteCheck(query={"firewall.state": "off", "client.tags": "dev"}, message="turn it on")
    (made,) = rules([], AuditSettings(site_checks={"ours": site}))
    assert made.check.needs == ("firewall",)
    (verdict,) = judge(target("off"), made).verdicts
    assert (verdict.check, verdict.state, verdict.message) == ("ours", "fail", "turn it on")
    assert judge(target("on"), made).verdicts is None
    assert judge(target(), made).verdicts[0].state == "unknown"


def test_a_site_check_can_not_take_a_plugins_name() -> None:
    site = SiteCheck(query={"a": 1}, message="m")
    with pytest.raises(SettingsError, match="comes from acme"):
        rules([("acme", FIREWALL)], AuditSettings(site_checks={"firewall-disabled": site}))


def test_any_change_of_the_rules_is_a_new_version() -> None:
    def of(settings: AuditSettings) -> str:
        return version(rules([("a 1.0", FIREWALL)], settings), 1.0)

    def site(query: Any) -> AuditSettings:
        return AuditSettings(site_checks={"s": SiteCheck(query=query, message="m")})

    versions = {
        of(AuditSettings()),
        of(AuditSettings(grace_period=9.0)),  # type: ignore[arg-type]
        of(AuditSettings(checks={"firewall-disabled": CheckSettings(tags=("x",))})),
        of(AuditSettings(checks={"firewall-disabled": CheckSettings(enabled=False)})),
        of(site({"a": 1})),
        of(site({"a": 2})),
    }
    assert len(versions) == 6
    assert of(AuditSettings()) == of(AuditSettings())
