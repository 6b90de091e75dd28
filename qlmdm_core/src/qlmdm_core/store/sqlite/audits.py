"""What the audit reads and writes: targets, verdicts and issues, over one connection."""

# ruff: noqa: S608 - statements are put together from constants of this folder, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from qlmdm_core.store.codec import dump_text, dump_times, from_ms, load_times, loads, to_ms
from qlmdm_core.store.records import AuditTarget, Issue, Judgement, VerdictRecord
from qlmdm_core.store.sqlite.clients import to_client
from qlmdm_core.store.sqlite.reports import REPORT

FEW_DUE = 2000
"""Up to so many that are due by time are sorted for each page; more are met in order of cid."""

_ISSUE_COLUMNS = """issue_id, cid, check_name, state, message, opened_at, alert_due_at, evidence,
    alerted_at, snoozed_until, snooze_reason, snoozed_by, closed_at, notified, revision"""

# --- targets --------------------------------------------------------------------------------

# A client's facts are left out: the report has more, and 100,000 of them take time to parse.
_TARGETS = f"""SELECT c.cid, c.fingerprint, c.public_key, c.status, c.hostname, c.mid,
    c.enrolled_at, s.last_seen_at, s.reported_at, s.seq, s.boot, c.release, c.user_email, c.tags,
    c.flags, NULL, {REPORT}, s.times, s.times_newer, a.dirty
    FROM clients AS c JOIN states AS s ON s.no = c.no JOIN audits AS a ON a.no = c.no
    WHERE c.status = 'active' AND """


def audit_targets(
    db: sqlite3.Connection, now_ms: int, *, everything: bool, after: str | None, limit: int
) -> list[AuditTarget]:
    """A page of active clients to judge; inside a read transaction."""
    if everything:
        rows = db.execute(
            f"{_TARGETS} c.cid > ? ORDER BY c.cid LIMIT ?", (after or "", limit)
        ).fetchall()
    else:
        due = _due(db, now_ms, after or "", limit)
        rows = db.execute(
            f"{_TARGETS} c.cid IN (SELECT value FROM json_each(?)) ORDER BY c.cid",
            (dump_text(due),),
        ).fetchall()
    cids = dump_text([row[0] for row in rows])
    verdicts = _by_cid(_verdicts_of(db, cids))
    issues = _by_cid(_open_issues_of(db, cids))
    return [
        AuditTarget(
            client=to_client(row),
            report=row[16] or b"{}",
            times=row[17] if row[18] else b"",
            dirty=row[19],
            verdicts=verdicts.get(row[0], ()),
            issues=issues.get(row[0], ()),
        )
        for row in rows
    ]


def _due(db: sqlite3.Connection, now_ms: int, after: str, limit: int) -> list[str]:
    """The next `limit` clients, by cid, that changed or whose time has come."""
    changed = db.execute(
        "SELECT cid FROM audits WHERE dirty IS NOT NULL AND cid > ? ORDER BY cid LIMIT ?",
        (after, limit),
    ).fetchall()
    count = db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM audits WHERE rejudge_at <= ? LIMIT ?)",
        (now_ms, FEW_DUE + 1),
    ).fetchone()[0]
    # All pages together must not cost the square of what is due: a few are found by time and
    # sorted for each page, many are met by walking along the cids.
    index = "audits_by_time" if count <= FEW_DUE else "audits_by_client"
    by_time = db.execute(
        f"""SELECT cid FROM audits INDEXED BY {index}
        WHERE rejudge_at <= ? AND cid > ? ORDER BY cid LIMIT ?""",
        (now_ms, after, limit),
    ).fetchall()
    return sorted({cid for (cid,) in (*changed, *by_time)})[:limit]


# --- conclusions ----------------------------------------------------------------------------


def record_judgements(db: sqlite3.Connection, judgements: Sequence[Judgement]) -> None:
    """Write what was concluded; inside a write transaction."""
    for judgement in judgements:
        _record_judgement(db, judgement)


def _record_judgement(db: sqlite3.Connection, judgement: Judgement) -> None:
    cid = judgement.cid
    # A judgement of the whole fleet finds most rows as they were: those are not written.
    rejudge_at = to_ms(judgement.rejudge_at)
    db.execute(
        """UPDATE audits SET rejudge_at = ?, dirty = nullif(dirty, ?)
        WHERE no = (SELECT no FROM clients WHERE cid = ? AND status = 'active')
        AND (rejudge_at IS NOT ? OR dirty = ?)""",
        (rejudge_at, judgement.dirty, cid, rejudge_at, judgement.dirty),
    )
    if judgement.verdicts is not None:
        db.execute("DELETE FROM verdicts WHERE cid = ?", (cid,))
        db.executemany(
            "INSERT INTO verdicts (cid, check_name, state, since_at, message, evidence) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (cid, v.check, v.state, to_ms(v.since_at), v.message, dump_text(v.evidence))
                for v in judgement.verdicts
            ],
        )
    for issue in judgement.issues:
        _record_issue(db, issue)


def _record_issue(db: sqlite3.Connection, issue: Issue) -> None:
    updated = db.execute(
        """UPDATE issues SET state = ?, message = ?, evidence = ?, closed_at = ?, open_key = ?,
        alert_due_at = ?, revision = revision + 1 WHERE issue_id = ? AND closed_at IS NULL""",
        (
            issue.state,
            issue.message,
            dump_text(issue.evidence),
            to_ms(issue.closed_at),
            _open_key(issue),
            to_ms(issue.alert_due_at),
            issue.issue_id,
        ),
    ).rowcount
    if not updated:
        # Nothing happens if it is closed, or if another one is open for this client and check.
        db.execute(
            f"""INSERT INTO issues ({_ISSUE_COLUMNS}, open_key)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING""",
            (
                issue.issue_id,
                issue.cid,
                issue.check,
                issue.state,
                issue.message,
                to_ms(issue.opened_at),
                to_ms(issue.alert_due_at),
                dump_text(issue.evidence),
                *_told(issue),
                to_ms(issue.closed_at),
                dump_times(issue.notified),
                issue.revision,
                _open_key(issue),
            ),
        )


def update_issues(db: sqlite3.Connection, issues: Sequence[Issue]) -> int:
    """Write back those that are open and of the same revision; how many were."""
    return sum(_update_issue(db, issue) for issue in issues)


def _update_issue(db: sqlite3.Connection, issue: Issue) -> int:
    return db.execute(
        """UPDATE issues SET state = ?, message = ?, evidence = ?, closed_at = ?, open_key = ?,
        alert_due_at = ?, alerted_at = ?, snoozed_until = ?, snooze_reason = ?, snoozed_by = ?,
        notified = ?, revision = revision + 1
        WHERE issue_id = ? AND closed_at IS NULL AND revision = ?""",
        (
            issue.state,
            issue.message,
            dump_text(issue.evidence),
            to_ms(issue.closed_at),
            _open_key(issue),
            to_ms(issue.alert_due_at),
            *_told(issue),
            dump_times(issue.notified),
            issue.issue_id,
            issue.revision,
        ),
    ).rowcount


# --- reading --------------------------------------------------------------------------------


def verdicts(
    db: sqlite3.Connection,
    *,
    cid: str | None,
    check: str | None,
    after: str | None,
    limit: int,
) -> list[VerdictRecord]:
    """Verdicts that are not "pass", by check, then cid."""
    after_check, _, after_cid = (after or "").partition(":")
    where = "(check_name, cid) > (?, ?)"
    values: list[Any] = [after_check, after_cid]
    if check is not None:
        where, values = "check_name = ? AND cid > ?", [check, after_cid]
        if after_check > check:
            return []
        if after_check < check:
            values = [check, ""]
    if cid is not None:
        where += " AND cid = ?"
        values.append(cid)
    rows = db.execute(
        "SELECT cid, check_name, state, since_at, message, evidence FROM verdicts "
        f"WHERE {where} ORDER BY check_name, cid LIMIT ?",
        (*values, limit),
    )
    return [_verdict(row) for row in rows]


def count_verdicts(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """How many clients each check and state has."""
    rows = db.execute("SELECT check_name, state, count(*) FROM verdicts GROUP BY 1, 2")
    return {(row[0], row[1]): row[2] for row in rows}


def issue(db: sqlite3.Connection, issue_id: str) -> Issue | None:
    """One issue."""
    row = db.execute(
        f"SELECT {_ISSUE_COLUMNS} FROM issues WHERE issue_id = ?", (issue_id,)
    ).fetchone()
    return _issue(row) if row else None


def issues(
    db: sqlite3.Connection,
    *,
    is_open: bool | None,
    cid: str | None,
    check: str | None,
    due_by_ms: int | None,
    after: str | None,
    limit: int,
) -> list[Issue]:
    """Issues by id, those that match all that is given."""
    conditions: list[tuple[str, Any]] = [("issue_id > ?", after or "")]
    if cid is not None:
        conditions.append(("cid = ?", cid))
    if check is not None:
        # A client has few issues and a check has many: the + keeps its index out of the choice.
        conditions.append(("+check_name = ?" if cid is not None else "check_name = ?", check))
    if due_by_ms is not None:
        conditions.append(("alert_due_at <= ?", due_by_ms))
    where = " AND ".join(condition for condition, _ in conditions)
    if due_by_ms is not None or is_open:
        where += " AND closed_at IS NULL"
    if is_open is False:
        where += " AND closed_at IS NOT NULL"
    # Asked each minute, usually in vain: what it costs is what is due, not what is open.
    index = "INDEXED BY issues_due" if due_by_ms is not None and cid is check is None else ""
    rows = db.execute(
        f"SELECT {_ISSUE_COLUMNS} FROM issues {index} WHERE {where} ORDER BY issue_id LIMIT ?",
        (*(value for _, value in conditions), limit),
    )
    return [_issue(row) for row in rows]


# --- within ---------------------------------------------------------------------------------


def _verdicts_of(db: sqlite3.Connection, cids: str) -> Iterable[VerdictRecord]:
    rows = db.execute(
        "SELECT cid, check_name, state, since_at, message, evidence FROM verdicts "
        "WHERE cid IN (SELECT value FROM json_each(?)) ORDER BY cid, check_name",
        (cids,),
    )
    return map(_verdict, rows.fetchall())


def _open_issues_of(db: sqlite3.Connection, cids: str) -> Iterable[Issue]:
    rows = db.execute(
        f"SELECT {_ISSUE_COLUMNS} FROM issues WHERE closed_at IS NULL "
        "AND cid IN (SELECT value FROM json_each(?)) ORDER BY cid, issue_id",
        (cids,),
    )
    return map(_issue, rows.fetchall())


_Owned = TypeVar("_Owned", VerdictRecord, Issue)


def _by_cid(records: Iterable[_Owned]) -> Mapping[str, Sequence[_Owned]]:
    return {cid: tuple(group) for cid, group in groupby(records, key=attrgetter("cid"))}


def _open_key(issue: Issue) -> str | None:
    return f"{issue.cid}:{issue.check}" if issue.closed_at is None else None


def _told(issue: Issue) -> tuple[int | None, int | None, str, str]:
    return (
        to_ms(issue.alerted_at),
        to_ms(issue.snoozed_until),
        issue.snooze_reason,
        issue.snoozed_by,
    )


def _verdict(row: Sequence[Any]) -> VerdictRecord:
    return VerdictRecord(
        cid=row[0],
        check=row[1],
        state=row[2],
        since_at=from_ms(row[3]),
        message=row[4],
        evidence=None if row[5] == "null" else loads(row[5]),
    )


def _issue(row: Sequence[Any]) -> Issue:
    return Issue(
        issue_id=row[0],
        cid=row[1],
        check=row[2],
        state=row[3],
        message=row[4],
        opened_at=from_ms(row[5]),
        alert_due_at=from_ms(row[6]),
        evidence=None if row[7] == "null" else loads(row[7]),
        alerted_at=from_ms(row[8]),
        snoozed_until=from_ms(row[9]),
        snooze_reason=row[10],
        snoozed_by=row[11],
        closed_at=from_ms(row[12]),
        notified=load_times(row[13]),
        revision=row[14],
    )
