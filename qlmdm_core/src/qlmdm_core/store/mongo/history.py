"""What changed: first in the client's own document, then in a collection of its own.

A change is written together with the report that it is about, as the client's `pending`.
Settling copies it to `changes` under its id, and then takes it out of the client's document
if nothing was added meanwhile. Interrupted anywhere, it can be done again.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from qlmdm_core.store.codec import load_change, truncated
from qlmdm_core.store.mongo.connection import Document, Mongo
from qlmdm_core.store.records import Change

MAX_PENDING_BYTES = 2 << 20
"""With more than this unsettled, a client's history is settled before the next record."""


def settle_changes(db: Mongo, limit: int) -> int:
    """Settle about `limit` changes, a client at a time; how many."""
    settled = 0
    clients = db["clients"].find({"unsettled": 1}, {"_id": 1}).limit(max(limit, 1))
    for found in list(clients):
        if settled >= limit:
            break
        settled += settle_client(db, found["_id"])
    return settled


def settle_client(db: Mongo, cid: str) -> int:
    """Move one client's changes; how many were moved by this call."""
    found = db["clients"].find_one({"_id": cid}, {"pending": 1, "version": 1})
    if found is None or not found["pending"]:
        return 0
    for change in found["pending"]:
        with suppress(DuplicateKeyError):  # copied before, by one who was interrupted
            db["changes"].insert_one(change)
    # Each write raises the version: what came meanwhile is not taken out.
    taken = db["clients"].update_one(
        {"_id": cid, "version": found["version"]},
        {
            "$set": {"pending": [], "version": found["version"] + 1},
            "$unset": {"unsettled": ""},
        },
    )
    return len(found["pending"]) if taken.matched_count else 0


def changes(
    db: Mongo, cid: str, collector: str | None, before: datetime | None, limit: int
) -> list[Change]:
    """A client's history, newest first, with what is not settled yet."""
    # First what is pending: what is settled in between is then found twice, not never.
    owner = db["clients"].find_one({"_id": cid}, {"pending": 1})
    found: dict[str, Document] = {
        change["_id"]: change
        for change in (owner["pending"] if owner else ())
        if (collector is None or change["collector"] == collector)
        and (before is None or change["changed_at"] < truncated(before))
    }
    wanted: dict[str, Any] = {"cid": cid}
    if collector is not None:
        wanted["collector"] = collector
    if before is not None:
        wanted["changed_at"] = {"$lt": truncated(before)}
    settled = db["changes"].find(wanted)
    for change in settled.sort([("changed_at", DESCENDING), ("seq", DESCENDING)]).limit(limit):
        found[change["_id"]] = change
    newest = sorted(found.values(), key=lambda c: (c["changed_at"], c["seq"]), reverse=True)
    return [
        load_change(
            bytes(change["body"]),
            change_id=change["_id"],
            cid=change["cid"],
            collector=change["collector"],
            changed_at=change["changed_at"],
        )
        for change in newest[:limit]
    ]


def forget_changes(db: Mongo, before: datetime, piece: int) -> int:
    """Delete settled history older than this, in pieces; how many lines."""
    forgotten = 0
    while True:
        old = db["changes"].find({"changed_at": {"$lt": truncated(before)}}, {"_id": 1})
        ids = [change["_id"] for change in old.sort("changed_at", ASCENDING).limit(piece)]
        if not ids:
            return forgotten
        forgotten += db["changes"].delete_many({"_id": {"$in": ids}}).deleted_count
