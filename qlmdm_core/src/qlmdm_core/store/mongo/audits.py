"""What the audit reads and writes: targets, verdicts and issues.

A judgement is several writes: issues and verdicts first, the client's mark last. One that is
interrupted leaves the mark, so the client is judged again; each write can be done twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from pymongo.errors import DuplicateKeyError

from qlmdm_core.store.codec import dump_text, dump_times, load_times, loads, truncated
from qlmdm_core.store.mongo.clients import OF_TARGET, to_client
from qlmdm_core.store.mongo.connection import Document, Mongo
from qlmdm_core.store.records import AuditTarget, Issue, Judgement, VerdictRecord

STATES = ("fail", "unknown")

# --- targets --------------------------------------------------------------------------------


def audit_targets(
    db: Mongo, now: datetime, *, everything: bool, after: str | None, limit: int
) -> list[AuditTarget]:
    """A page of active clients to judge, by cid."""
    if everything:
        wanted: Document = {"status": "active"}
        if after is not None:
            wanted["cid"] = {"$gt": after}
        found = list(db["clients"].find(wanted, OF_TARGET).sort("cid", 1).limit(limit))
    else:
        due = _due(db, truncated(now), after or "", limit)
        wanted = {"_id": {"$in": due}, "status": "active"}
        found = sorted(db["clients"].find(wanted, OF_TARGET), key=lambda c: str(c["_id"]))
    if not found:
        return []
    cids = [client["_id"] for client in found]
    verdicts = _by_cid(map(_verdict, db["verdicts"].find({"cid": {"$in": cids}})))
    issues = _by_cid(map(_issue, db["issues"].find({"cid": {"$in": cids}, "is_open": True})))
    return [
        AuditTarget(
            client=to_client(client),
            report=bytes(client["report"]),
            times=bytes(client["times"]) if client["times_newer"] else b"",
            dirty=client.get("dirty"),
            verdicts=sorted(verdicts.get(client["_id"], ()), key=lambda v: v.check),
            issues=sorted(issues.get(client["_id"], ()), key=lambda i: i.issue_id),
        )
        for client in found
    ]


def _due(db: Mongo, now: datetime, after: str, limit: int) -> list[str]:
    """The next `limit` clients, by cid, that changed or whose time has come."""
    changed = db["clients"].find({"due_cid": {"$gt": after}}, {"_id": 1})
    by_time = db["clients"].find(
        {"audit.rejudge_at": {"$lte": now}, "cid": {"$gt": after}}, {"_id": 1}
    )
    cids = {found["_id"] for found in changed.sort("due_cid", 1).limit(limit)}
    cids |= {found["_id"] for found in by_time.sort("cid", 1).limit(limit)}
    return sorted(cids)[:limit]


# --- conclusions ----------------------------------------------------------------------------


def record_judgement(db: Mongo, judgement: Judgement) -> None:
    """Write what was concluded about one client."""
    for issue in judgement.issues:
        _record_issue(db, issue)
    if judgement.verdicts is not None:
        _replace_verdicts(db, judgement.cid, judgement.verdicts)
    active = {"_id": judgement.cid, "status": "active"}
    due = {} if judgement.rejudge_at is None else {"rejudge_at": truncated(judgement.rejudge_at)}
    db["clients"].update_one(active, {"$set": {"audit": due}})
    if judgement.dirty is not None:
        db["clients"].update_one(
            {**active, "dirty": judgement.dirty}, {"$unset": {"dirty": "", "due_cid": ""}}
        )


def _replace_verdicts(db: Mongo, cid: str, verdicts: Sequence[VerdictRecord]) -> None:
    before = {found["_id"] for found in db["verdicts"].find({"cid": cid}, {"_id": 1})}
    for verdict in verdicts:
        values = {
            "cid": cid,
            "check": verdict.check,
            "state": verdict.state,
            "since_at": truncated(verdict.since_at),
            "message": verdict.message,
            "evidence": dump_text(verdict.evidence),
        }
        name = f"{cid}:{verdict.check}"
        before.discard(name)
        # Not an upsert: two at once can fail with a duplicate key, and nx-27017 loses the id.
        if not db["verdicts"].replace_one({"_id": name}, values).matched_count:
            try:
                db["verdicts"].insert_one({"_id": name, **values})
            except DuplicateKeyError:
                db["verdicts"].replace_one({"_id": name}, values)
    if before:
        db["verdicts"].delete_many({"_id": {"$in": sorted(before)}})


def _record_issue(db: Mongo, issue: Issue) -> None:
    """Open it, or write to the open one what was concluded and leave the rest of it."""
    while True:
        found = db["issues"].find_one({"_id": issue.issue_id})
        if found is None:
            try:
                db["issues"].insert_one(_document(issue))
            except DuplicateKeyError:
                # Another one is open for this client and check (that one stays), or this one
                # was added at this moment.
                if db["issues"].find_one({"_id": issue.issue_id}) is None:
                    return
                continue
            return
        if not found["is_open"]:
            return
        there = _issue(found)
        concluded = replace(
            there,
            state=issue.state,
            message=issue.message,
            evidence=issue.evidence,
            alert_due_at=issue.alert_due_at,
            closed_at=issue.closed_at,
        )
        if update_issue(db, concluded):
            return


def update_issue(db: Mongo, issue: Issue) -> int:
    """Write back one open issue of the same revision; 1 if it was."""
    values = _document(replace(issue, revision=issue.revision + 1))
    del values["_id"]
    update: Document = {"$set": values}
    if issue.closed_at is not None:
        update["$unset"] = {"open_key": ""}
    wanted = {"_id": issue.issue_id, "is_open": True, "revision": issue.revision}
    return int(db["issues"].update_one(wanted, update).matched_count)


def _document(issue: Issue) -> Document:
    """An issue as it is kept; `open_key` is there only while it is open."""
    times = {
        "opened_at": issue.opened_at,
        "alert_due_at": issue.alert_due_at,
        "alerted_at": issue.alerted_at,
        "snoozed_until": issue.snoozed_until,
        "closed_at": issue.closed_at,
    }
    document: Document = {
        "_id": issue.issue_id,
        "issue_id": issue.issue_id,
        "cid": issue.cid,
        "check": issue.check,
        "state": issue.state,
        "message": issue.message,
        "evidence": dump_text(issue.evidence),
        "snooze_reason": issue.snooze_reason,
        "snoozed_by": issue.snoozed_by,
        "notified": dump_times(issue.notified),
        "revision": issue.revision,
        "is_open": issue.closed_at is None,
        "at": {name: truncated(at) for name, at in times.items() if at is not None},
    }
    if issue.closed_at is None:
        document["open_key"] = f"{issue.cid}:{issue.check}"
    return document


# --- reading --------------------------------------------------------------------------------


def verdicts(
    db: Mongo, *, cid: str | None, check: str | None, after: str | None, limit: int
) -> list[VerdictRecord]:
    """Verdicts that are not "pass", by check, then cid."""
    parts: list[Document] = []
    if cid is not None:
        parts.append({"cid": cid})
    if check is not None:
        parts.append({"check": check})
    if after:
        after_check, _, after_cid = after.partition(":")
        beyond = [
            {"check": {"$gt": after_check}},
            {"check": after_check, "cid": {"$gt": after_cid}},
        ]
        parts.append({"$or": beyond})
    found = db["verdicts"].find({"$and": parts} if parts else {})
    return [_verdict(v) for v in found.sort([("check", 1), ("cid", 1)]).limit(limit)]


def count_verdicts(db: Mongo) -> dict[tuple[str, str], int]:
    """How many clients each check and state has."""
    counts = {
        (check, state): db["verdicts"].count_documents({"check": check, "state": state})
        for check in db["verdicts"].distinct("check")
        for state in STATES
    }
    return {pair: count for pair, count in counts.items() if count}


def issue(db: Mongo, issue_id: str) -> Issue | None:
    """One issue."""
    found = db["issues"].find_one({"_id": issue_id})
    return _issue(found) if found else None


def issues(
    db: Mongo,
    *,
    is_open: bool | None,
    cid: str | None,
    check: str | None,
    due_by: datetime | None,
    after: str | None,
    limit: int,
) -> list[Issue]:
    """Issues by id, those that match all that is given."""
    wanted: dict[str, Any] = {}
    if after is not None:
        wanted["issue_id"] = {"$gt": after}
    if cid is not None:
        wanted["cid"] = cid
    if check is not None:
        wanted["check"] = check
    if due_by is not None:
        wanted["at.alert_due_at"] = {"$lte": truncated(due_by)}
        wanted["is_open"] = True
    elif is_open is not None:
        wanted["is_open"] = is_open
    return [_issue(found) for found in db["issues"].find(wanted).sort("issue_id", 1).limit(limit)]


# --- within ---------------------------------------------------------------------------------

_Owned = TypeVar("_Owned", VerdictRecord, Issue)


def _by_cid(records: Iterable[_Owned]) -> Mapping[str, list[_Owned]]:
    grouped: dict[str, list[_Owned]] = {}
    for record in records:
        grouped.setdefault(record.cid, []).append(record)
    return grouped


def _verdict(found: Document) -> VerdictRecord:
    return VerdictRecord(
        cid=found["cid"],
        check=found["check"],
        state=found["state"],
        since_at=found["since_at"],
        message=found["message"],
        evidence=loads(found["evidence"]),
    )


def _issue(found: Document) -> Issue:
    return Issue(
        issue_id=found["_id"],
        cid=found["cid"],
        check=found["check"],
        state=found["state"],
        message=found["message"],
        evidence=loads(found["evidence"]),
        snooze_reason=found["snooze_reason"],
        snoozed_by=found["snoozed_by"],
        notified=load_times(found["notified"]),
        revision=found["revision"],
        **found["at"],
    )
