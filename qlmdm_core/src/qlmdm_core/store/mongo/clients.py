"""Clients and their reports: one document each, written by compare-and-set on `version`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from secrets import token_hex

from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreUnavailableError
from qlmdm_core.store import merge
from qlmdm_core.store.codec import dump_change, dump_text, dumps, loads, truncated
from qlmdm_core.store.mongo.connection import WAIT_SECONDS, Document, Mongo
from qlmdm_core.store.mongo.history import MAX_PENDING_BYTES, settle_client
from qlmdm_core.store.records import (
    Acceptance,
    Client,
    ClientStatus,
    Enrolment,
    Page,
    Submission,
)

STATUSES: tuple[ClientStatus, ...] = ("active", "pending", "revoked", "retired")

_OF_CLIENT = dict.fromkeys(
    (
        *("fingerprint", "public_key", "status", "hostname", "mid", "enrolled_at", "heard"),
        *("seq", "boot", "release", "user_email", "tags", "flags", "facts"),
    ),
    1,
)
_OF_SNAPSHOT = dict.fromkeys(
    (
        *("fingerprint", "status", "version", "seq", "recent", "times", "hostname", "release"),
        *("flags", "heard", "pending"),
    ),
    1,
)
OF_TARGET = {**_OF_CLIENT, "report": 1, "times": 1, "times_newer": 1, "dirty": 1}
del OF_TARGET["facts"]


def new_client(enrolment: Enrolment, cid: str, invited: Document) -> Document:
    """The document of a machine that is enrolled by an invitation."""
    document = {
        "_id": cid,
        "cid": cid,
        "fingerprint": enrolment.fingerprint,
        "public_key": enrolment.public_key,
        "status": enrolment.status,
        "hostname": enrolment.hostname,
        "mid": enrolment.mid,
        "enrolled_at": truncated(enrolment.enrolled_at),
        "invitation_id": enrolment.invitation_id,
        "user_email": invited["user_email"],
        "tags": list(invited["tags"]),
        "flags": "{}",
        "version": 0,
        "seq": 0,
        "heard": {},
        "audit": {},
        "recent": b"",
        "times": b"{}",
        "times_newer": False,
        "report": b"{}",
        "facts": b"{}",
        "pending": [],
    }
    if enrolment.status == "active":
        document.update(_due(cid))
    return document


# --- reading --------------------------------------------------------------------------------


def client(db: Mongo, cid: str) -> Client | None:
    """One client."""
    found = db["clients"].find_one({"_id": cid}, _OF_CLIENT)
    return to_client(found) if found else None


def clients_named(db: Mongo, hostname: str) -> list[Client]:
    """All clients of a hostname, by cid."""
    found = db["clients"].find({"hostname": hostname}, _OF_CLIENT).sort("cid", 1)
    return [to_client(document) for document in found]


def clients(db: Mongo, after: str | None, limit: int) -> Page:
    """A page of all clients, by hostname, then cid; `after` is both of the last one, as JSON."""
    wanted: Document = {}
    if after:
        hostname, cid = loads(after)
        wanted = {
            "$or": [
                {"hostname": {"$gt": hostname}},
                {"hostname": hostname, "cid": {"$gt": cid}},
            ]
        }
    found = db["clients"].find(wanted, _OF_CLIENT)
    page = [
        to_client(document)
        for document in found.sort([("hostname", 1), ("cid", 1)]).limit(limit + 1)
    ]
    more = len(page) > limit
    del page[limit:]
    return Page(clients=page, after=dump_text([page[-1].hostname, page[-1].cid]) if more else None)


def count_clients(db: Mongo) -> dict[str, int]:
    """How many clients have each status."""
    counts = {status: db["clients"].count_documents({"status": status}) for status in STATUSES}
    return {status: count for status, count in counts.items() if count}


def report(db: Mongo, cid: str) -> bytes | None:
    """The merged report with the times of the last collection."""
    found = db["clients"].find_one({"_id": cid}, {"report": 1, "times": 1, "times_newer": 1})
    if found is None:
        return None
    if not found["times_newer"]:
        return bytes(found["report"])
    return dumps(merge.load_report(bytes(found["report"]), bytes(found["times"])))


def to_client(found: Document) -> Client:
    """A client from its document."""
    facts = found.get("facts")
    return Client(
        cid=found["_id"],
        fingerprint=found["fingerprint"],
        public_key=found["public_key"],
        status=found["status"],
        hostname=found["hostname"],
        mid=found["mid"],
        enrolled_at=found["enrolled_at"],
        last_seen_at=found["heard"].get("last_seen_at"),
        reported_at=found["heard"].get("reported_at"),
        seq=found["seq"],
        boot=found.get("boot"),
        release=found.get("release"),
        user_email=found.get("user_email"),
        tags=tuple(found["tags"]),
        flags=loads(found["flags"]),
        facts=loads(bytes(facts)) if facts is not None else {},
    )


# --- writing --------------------------------------------------------------------------------


def set_client(
    db: Mongo,
    cid: str,
    *,
    status: ClientStatus | None,
    user_email: str | None,
    tags: Sequence[str] | None,
    flags: Mapping[str, JSON] | None,
) -> bool:
    """Change what is not None, and make the client due for judgement if it is active."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = db["clients"].find_one({"_id": cid}, {"version": 1, "status": 1, "flags": 1})
        if found is None:
            return False
        values: Document = {"version": found["version"] + 1}
        if status is not None:
            values["status"] = status
        if user_email is not None:
            values["user_email"] = user_email
        if tags is not None:
            values["tags"] = list(tags)
        if flags is not None:
            values["flags"] = dump_text(merge.merge_flags(loads(found["flags"]), flags))
        update: Document = {"$set": values}
        if (status or found["status"]) == "active":
            values.update(_due(cid))
        else:
            values["audit"] = {}
            update["$unset"] = {"dirty": "", "due_cid": ""}
        wanted = {"_id": cid, "version": found["version"]}
        if db["clients"].update_one(wanted, update).matched_count:
            return True
        _give_up_after(deadline, cid)


def accept(db: Mongo, submission: Submission) -> Acceptance:
    """Merge a record into its client's document, if `merge` allows it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = db["clients"].find_one({"_id": submission.cid}, _OF_SNAPSHOT)
        snapshot = _snapshot(found) if found else None
        refused = merge.refusal(snapshot, submission)
        if refused is not None or snapshot is None or found is None:
            return refused or merge.NO_SUCH_CLIENT
        if sum(len(change["body"]) for change in found["pending"]) > MAX_PENDING_BYTES:
            settle_client(db, submission.cid)
            continue
        merged = merge.merge(snapshot, submission, lambda: _report_and_facts(db, submission.cid))
        wanted = {"_id": submission.cid, "version": snapshot.version}
        values = _values(submission, merged, found["pending"])
        if db["clients"].update_one(wanted, {"$set": values}).matched_count:
            return merged.accepted
        _give_up_after(deadline, submission.cid)


def seen(db: Mongo, cid: str, at: datetime) -> None:
    """Move `last_seen_at` forward; a client that was silent for long is due again."""
    at = truncated(at)
    found = db["clients"].find_one({"_id": cid}, {"heard": 1, "status": 1, "version": 1})
    if found is None:
        return
    last = found["heard"].get("last_seen_at")
    if last is not None and last >= at:
        return
    values: Document = {
        "heard": {**found["heard"], "last_seen_at": at},
        "version": found["version"] + 1,
    }
    if found["status"] == "active" and merge.was_silent(last, at):
        values.update(_due(cid))
    # If somebody else writes to the client at the same moment, it was most likely heard of.
    db["clients"].update_one({"_id": cid, "version": found["version"]}, {"$set": values})


def _values(submission: Submission, merged: merge.Merged, pending: list[Document]) -> Document:
    """What the one write of an accepted record sets."""
    values: Document = {
        "version": merged.version,
        "seq": submission.seq,
        "boot": submission.boot,
        "heard": {
            "last_seen_at": merged.last_seen_at,
            "reported_at": merged.accepted.accepted_at,
        },
        "recent": merged.recent,
        "times": merged.times,
        "times_newer": merged.times_newer,
    }
    if merged.report is not None:
        values["report"] = merged.report
        values["facts"] = merged.facts
    if merged.changes:
        new = [
            {
                "_id": change.change_id,
                "cid": change.cid,
                "seq": submission.seq,
                "collector": change.collector,
                "changed_at": change.changed_at,
                "body": dump_change(change),
            }
            for change in merged.changes
        ]
        values["pending"] = [*pending, *new]
        values["unsettled"] = 1
    if merged.identity:
        values["hostname"] = submission.hostname
        values["release"] = submission.release
        values["flags"] = dump_text(merged.flags)
    if merged.dirty:
        values.update(_due(submission.cid))
    return values


def _snapshot(found: Document) -> merge.Snapshot:
    return merge.Snapshot(
        fingerprint=found["fingerprint"],
        status=found["status"],
        version=found["version"],
        seq=found["seq"],
        recent=bytes(found["recent"]),
        times=bytes(found["times"]),
        hostname=found["hostname"],
        release=found.get("release"),
        flags=loads(found["flags"]),
        last_seen_at=found["heard"].get("last_seen_at"),
        reported_at=found["heard"].get("reported_at"),
    )


def _report_and_facts(db: Mongo, cid: str) -> tuple[bytes, bytes]:
    found = db["clients"].find_one({"_id": cid}, {"report": 1, "facts": 1})
    if found is None:
        return b"{}", b"{}"
    return bytes(found["report"]), bytes(found["facts"])


def _due(cid: str) -> Document:
    return {"dirty": token_hex(8), "due_cid": cid}


def _give_up_after(deadline: float, cid: str) -> None:
    """One of those who race wins each time; give up when it takes too long all the same."""
    if time.monotonic() > deadline:
        raise StoreUnavailableError(f"client {cid} is written to by too many at once")
