"""What the audit reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from qlmdm_core.store.codec import truncated
from qlmdm_core.store.records import AuditTarget, Issue, Judgement, VerdictRecord
from qlmdm_memory_store.database import Database, Row, own, whole


def targets(
    db: Database, now: datetime, *, everything: bool, after: str | None, limit: int
) -> list[AuditTarget]:
    """Active clients to judge, by cid."""
    cids = sorted(
        cid
        for cid, row in db.rows.items()
        if cid > (after or "")
        and row.client.status == "active"
        and (everything or row.dirty is not None or _is_time(row, now))
    )
    return [_target(db, db.rows[cid]) for cid in cids[:limit]]


def _is_time(row: Row, now: datetime) -> bool:
    return row.rejudge_at is not None and row.rejudge_at <= now


def _target(db: Database, row: Row) -> AuditTarget:
    cid = row.client.cid
    ids = sorted(found for (owner, _), found in db.open_issues.items() if owner == cid)
    return AuditTarget(
        client=replace(row.client, flags=own(row.client.flags)),
        report=row.report,
        times=row.times if row.times_newer else b"",
        dirty=row.dirty,
        verdicts=tuple(row.verdicts[check] for check in sorted(row.verdicts)),
        issues=tuple(db.issues[issue_id] for issue_id in ids),
    )


# --- conclusions ------------------------------------------------------------------------------


def record(db: Database, judgement: Judgement) -> None:
    """Write what was concluded about one client."""
    row = db.rows.get(judgement.cid)
    if row is None:
        return
    if row.client.status == "active":
        row.rejudge_at = whole(judgement.rejudge_at)
        if row.dirty == judgement.dirty:
            row.dirty = None
    if judgement.verdicts is not None:
        row.verdicts = {
            verdict.check: replace(
                verdict, since_at=truncated(verdict.since_at), evidence=own(verdict.evidence)
            )
            for verdict in judgement.verdicts
        }
    for issue in judgement.issues:
        _record_issue(db, _kept(issue))


def _record_issue(db: Database, issue: Issue) -> None:
    present = db.issues.get(issue.issue_id)
    if present is not None and present.closed_at is None:
        # Only what the audit concluded: a snooze that was set meanwhile stays.
        concluded = replace(
            present,
            state=issue.state,
            message=issue.message,
            evidence=issue.evidence,
            closed_at=issue.closed_at,
            alert_due_at=issue.alert_due_at,
        )
        _put(db, replace(concluded, revision=present.revision + 1))
    elif present is None and (
        issue.closed_at is not None or (issue.cid, issue.check) not in db.open_issues
    ):
        _put(db, issue)


def update(db: Database, issues: Sequence[Issue]) -> int:
    """Write back those that are open and of the same revision; how many were."""
    updated = 0
    for issue in issues:
        present = db.issues.get(issue.issue_id)
        if present is None or present.closed_at is not None:
            continue
        if present.revision == issue.revision:
            _put(db, replace(_kept(issue), revision=issue.revision + 1))
            updated += 1
    return updated


def _put(db: Database, issue: Issue) -> None:
    db.issues[issue.issue_id] = issue
    place = issue.cid, issue.check
    if issue.closed_at is None:
        db.open_issues[place] = issue.issue_id
    elif db.open_issues.get(place) == issue.issue_id:
        del db.open_issues[place]


def _kept(issue: Issue) -> Issue:
    """An issue as it comes back."""
    return replace(
        issue,
        opened_at=truncated(issue.opened_at),
        alert_due_at=truncated(issue.alert_due_at),
        alerted_at=whole(issue.alerted_at),
        snoozed_until=whole(issue.snoozed_until),
        closed_at=whole(issue.closed_at),
        notified={name: truncated(at) for name, at in issue.notified.items()},
        evidence=own(issue.evidence),
    )


# --- reading ----------------------------------------------------------------------------------


def verdicts(
    db: Database, *, cid: str | None, check: str | None, after: str | None, limit: int
) -> list[VerdictRecord]:
    """Verdicts that are not "pass", by check, then cid."""
    after_check, _, after_cid = (after or "").partition(":")
    found = sorted(
        (
            verdict
            for row in db.rows.values()
            for verdict in row.verdicts.values()
            if cid in (None, verdict.cid)
            and check in (None, verdict.check)
            and (verdict.check, verdict.cid) > (after_check, after_cid)
        ),
        key=lambda verdict: (verdict.check, verdict.cid),
    )
    return found[:limit]


def count_verdicts(db: Database) -> dict[tuple[str, str], int]:
    """How many clients each check and state has."""
    return dict(Counter((v.check, v.state) for r in db.rows.values() for v in r.verdicts.values()))


def issues(
    db: Database,
    *,
    is_open: bool | None,
    cid: str | None,
    check: str | None,
    due_by: datetime | None,
    after: str | None,
    limit: int,
) -> list[Issue]:
    """Issues by id, those that match all that is given."""
    found = [
        issue
        for issue_id, issue in sorted(db.issues.items())
        if issue_id > (after or "")
        and cid in (None, issue.cid)
        and check in (None, issue.check)
        and is_open in (None, issue.closed_at is None)
        and (due_by is None or (issue.closed_at is None and issue.alert_due_at <= due_by))
    ]
    return found[:limit]
