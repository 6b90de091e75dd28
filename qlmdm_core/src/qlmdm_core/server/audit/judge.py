"""Judges one client by all rules, and says what that does to its issues. Pure but for the clock.

This runs for 100,000 clients: what passes must cost next to nothing, and nothing is written
for a client whose verdicts are what they were.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property

import orjson

from qlmdm_core.api import JSON, PASS, ClientView, Verdict
from qlmdm_core.plugins.guard import say_where
from qlmdm_core.server.audit.rules import Rule
from qlmdm_core.store.merge import load_report
from qlmdm_core.store.records import AuditTarget, Issue, Judgement, VerdictRecord

MAX_MESSAGE = 2000
"""Characters; a check that says more is cut."""
BROKEN_SECONDS = 3600.0
"""How long a check that hung or crashed is left out."""
MAX_EVIDENCE = 16 << 10
"""Bytes, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """All that judging needs beside the client."""

    rules: Sequence[Rule]
    unknown_grace_period: float
    """Seconds."""
    value_max_age: float
    """Seconds, at least a day; an older value proves nothing."""
    broken: Mapping[str, str]
    """Checks that can't be asked in this run, and why."""
    disabled: frozenset[str] | None
    """None: all plugins are loaded, so a check that is no rule any more is over, and its issues
    close. Otherwise the checks that settings disable: any other that is no rule is one of a
    plugin that can't be loaded just now, and what it found must not vanish for that."""
    watch: Callable[[int], None]
    """Called with the number of each rule before its check is asked; see `workers`."""
    complete: Callable[[ClientView], ClientView] = lambda view: view
    """Adds what only the store knows; see `outgoing`."""

    def judge(self, target: AuditTarget, now: datetime) -> Judgement:
        """What to write about this client (nothing much, if nothing changed)."""
        view = self.complete(client_view(target))
        before = {record.check: record for record in target.verdicts}
        records: list[VerdictRecord] = []
        stale, rejudge_at = self._stale(view, now)
        for number, rule in enumerate(self.rules):
            if rule.tags and rule.tags.isdisjoint(view.tags):
                continue
            verdict = self._ask(number, rule, view, stale, now)
            until = verdict.valid_until
            if until is not None and (rejudge_at is None or until < rejudge_at):
                rejudge_at = until
            if verdict is not PASS and verdict.state != "pass":
                records.append(_record(view.cid, rule, verdict, before.get(rule.name), now))
        records += [record for record in target.verdicts if self._is_orphan(record.check)]
        same = len(records) == len(before) and all(before.get(r.check) == r for r in records)
        return Judgement(
            cid=view.cid,
            dirty=target.dirty,
            rejudge_at=rejudge_at,
            verdicts=None if same else records,
            issues=self._issues(target.issues, records, now),
        )

    def _stale(self, view: ClientView, now: datetime) -> tuple[Mapping[str, str], datetime | None]:
        """The collectors whose values are too old, with their day; and when the next will be.

        A value's age is how much older it is than the newest of the same report, by the
        client's clock, plus how long ago that report came, by ours: so no clock needs to agree.
        """
        stamps = {
            name: str(result.get("collected_at") or "") for name, result in view.report.items()
        }
        if not stamps or view.reported_at is None:
            return {}, None
        left = self.value_max_age - (now - view.reported_at).total_seconds()
        newest, oldest = max(stamps.values()), min(stamps.values())
        if left > 0 and newest[:10] == oldest[:10]:  # the usual case: all of one day
            return {}, view.reported_at + timedelta(seconds=self.value_max_age)
        limit = _seconds(newest) - left
        stale = {name: at[:10] for name, at in stamps.items() if _seconds(at) <= limit or left <= 0}
        fresh = [_seconds(at) - limit for name, at in stamps.items() if name not in stale]
        return stale, now + timedelta(seconds=max(1.0, min(fresh))) if fresh else None

    def _ask(
        self,
        number: int,
        rule: Rule,
        view: ClientView,
        stale: Mapping[str, str],
        now: datetime,
    ) -> Verdict:
        if self.broken and rule.name in self.broken:
            until = now + timedelta(seconds=BROKEN_SECONDS)
            return Verdict(state="unknown", message=self.broken[rule.name], valid_until=until)
        for need in rule.check.needs:
            result = view.report.get(need)
            if result is None or result.get("status") != "ok":
                return Verdict(state="unknown", message=_why_missing(need, result))
            if need in stale:
                return Verdict(
                    state="unknown", message=f"{need} was last collected on {stale[need]}"
                )
        self.watch(number)
        try:
            verdict = rule.check.judge(view, now)
        except Exception as error:  # noqa: BLE001 (whatever a check raises)
            return Verdict(
                state="unknown",
                message=f"the check itself failed: {say_where(error)}"[:MAX_MESSAGE],
            )
        if verdict is PASS or (type(verdict) is Verdict and verdict.state in _STATES):
            return verdict
        return Verdict(state="unknown", message=f"the check itself failed: {no_verdict(verdict)}")

    @cached_property
    def _grace_periods(self) -> Mapping[str, float]:
        return {rule.name: rule.grace_period for rule in self.rules}

    def _issues(
        self, present: Sequence[Issue], records: Sequence[VerdictRecord], now: datetime
    ) -> list[Issue]:
        """The issues that are new, changed or over."""
        if not present and not records:
            return []
        open_issues = {issue.check: issue for issue in present}
        grace = self._grace_periods
        written = []
        for record in records:
            if record.check not in grace:
                continue  # an orphan: its issue stays as it is
            issue = open_issues.pop(record.check, None)
            if issue is None:
                written.append(self._opened(record, grace[record.check], now))
            elif (issue.state, issue.message, issue.evidence) != (
                record.state,
                record.message,
                record.evidence,
            ):
                written.append(self._changed(issue, record, grace[record.check]))
        # What passes now, and what is no longer judged (a check taken away, or a tag).
        written += [
            replace(issue, closed_at=now)
            for issue in open_issues.values()
            if not self._is_orphan(issue.check)
        ]
        return written

    def _is_orphan(self, check: str) -> bool:
        """Whether the check's findings are kept as they are, since nobody can judge them."""
        if self.disabled is None or check in self.disabled:
            return False
        return check not in self._grace_periods

    def _opened(self, record: VerdictRecord, grace: float, now: datetime) -> Issue:
        return Issue(
            issue_id=secrets.token_hex(8),
            cid=record.cid,
            check=record.check,
            state=record.state,
            message=record.message,
            evidence=record.evidence,
            opened_at=now,
            alert_due_at=now + self._grace(record.state, grace),
        )

    def _changed(self, issue: Issue, record: VerdictRecord, grace: float) -> Issue:
        changed = replace(
            issue, state=record.state, message=record.message, evidence=record.evidence
        )
        if issue.state == record.state:
            return changed
        # From unknown to fail, or back: it gets the grace period of what it is now.
        return replace(changed, alert_due_at=record.since_at + self._grace(record.state, grace))

    def _grace(self, state: str, grace: float) -> timedelta:
        return timedelta(seconds=self.unknown_grace_period if state == "unknown" else grace)


_STATES = ("pass", "fail", "unknown")


def no_verdict(answer: object) -> str:
    """What is wrong with what a check returned."""
    if type(answer) is Verdict:
        return f"its verdict has the state {str(answer.state)[:40]!r}, not pass, fail or unknown"
    return f"it returned no verdict, but an object of type {type(answer).__name__}"


def client_view(target: AuditTarget) -> ClientView:
    """What a check may know about the client."""
    client = target.client
    return ClientView(
        cid=client.cid,
        hostname=client.hostname,
        report=load_report(target.report, target.times),
        enrolled_at=client.enrolled_at,
        last_seen_at=client.last_seen_at,
        reported_at=client.reported_at,
        user_email=client.user_email,
        tags=client.tags,
        release=client.release,
        flags=client.flags,
    )


def _seconds(stamp: str) -> float:
    """A report's time (always UTC) as seconds; what is none is the beginning of time."""
    try:
        # To the second: Python 3.10 reads neither "Z" nor a fraction of one digit.
        return datetime.fromisoformat(stamp[:19]).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return 0.0


def _why_missing(need: str, result: Mapping[str, object] | None) -> str:
    if result is None:
        return f"{need} was never reported"
    error = result.get("error")
    return f"{need} could not be collected: {error or result.get('status')}"[:MAX_MESSAGE]


def _record(
    cid: str, rule: Rule, verdict: Verdict, before: VerdictRecord | None, now: datetime
) -> VerdictRecord:
    since = before.since_at if before is not None and before.state == verdict.state else now
    return VerdictRecord(
        cid=cid,
        check=rule.name,
        state=verdict.state,
        since_at=since,
        message=str(verdict.message)[:MAX_MESSAGE],
        evidence=_as_stored(verdict.evidence),
    )


def _as_stored(evidence: JSON) -> JSON:
    """The evidence as it comes back from the store, so that it can be compared with it."""
    if evidence is None:
        return None
    try:
        text = orjson.dumps(evidence)
        return orjson.loads(text) if len(text) <= MAX_EVIDENCE else {"left_out": "too large"}
    except orjson.JSONEncodeError:
        return {"left_out": "not JSON"}
