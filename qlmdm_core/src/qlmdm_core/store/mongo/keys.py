"""A client's next key, and reports that no client's own key signed.

A key is replaced in two writes, each atomic: first the old key is put down in `old_keys`, so that
nobody may come with it again; then the client's document gets the new one, if nobody wrote to
it meanwhile. A key that is somebody's is so in one of the two places at every moment, which are
therefore looked up in this order: `clients`, then `old_keys`. A crash in between leaves a key
put down that still counts, which hinders nobody: its owner's next try goes on.
"""

from __future__ import annotations

import time
from contextlib import suppress

from pymongo.errors import DuplicateKeyError

from qlmdm_core.errors import StoreUnavailableError
from qlmdm_core.store.codec import from_ms, to_ms
from qlmdm_core.store.mongo.connection import WAIT_SECONDS, Document, Mongo
from qlmdm_core.store.outgoing import Unattributed
from qlmdm_core.store.records import ClientKey, Rekeying, RekeyOutcome

_OF_KEY = dict.fromkeys(
    (
        *("fingerprint", "public_key", "status", "mid", "tags", "release", "commands"),
        *("previous", "previous_key"),
    ),
    1,
)


def key(db: Mongo, fingerprint: str) -> ClientKey | None:
    """Whose key this is: one read; a second one for a key that is nobody's, or was replaced."""
    found = db["clients"].find_one({"fingerprint": fingerprint}, _OF_KEY)
    if found is not None:
        return _key(found, fingerprint, found["public_key"], None)
    found = db["clients"].find_one({"previous": fingerprint}, _OF_KEY)
    if found is not None:
        return _key(found, fingerprint, found["previous_key"], found["fingerprint"])
    return None


def is_somebody_s(db: Mongo, fingerprint: str) -> bool:
    """Whether a key is, or ever was, a client's."""
    present = db["clients"].find_one({"fingerprint": fingerprint}, {"_id": 1})
    return present is not None or was_replaced(db, fingerprint)


def was_replaced(db: Mongo, fingerprint: str) -> bool:
    """Whether a key was a client's, or is about to be replaced."""
    return db["old_keys"].find_one({"_id": fingerprint}, {"_id": 1}) is not None


def rekey(db: Mongo, rekeying: Rekeying) -> RekeyOutcome:
    """Replace the key of a client."""
    old, new = rekeying.old_fingerprint, rekeying.new_fingerprint
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = db["clients"].find_one({"_id": rekeying.cid}, {**_OF_KEY, "version": 1})
        if found is None or found["status"] in ("revoked", "retired"):
            return "not_your_key"
        if found["fingerprint"] != old:
            done = found["fingerprint"] == new and found.get("previous") == old
            return "again" if done else "not_your_key"
        if is_somebody_s(db, new):
            now = db["clients"].find_one({"_id": rekeying.cid}, {"version": 1})
            if now is not None and now["version"] == found["version"]:
                return "key_in_use"
            continue  # the same was done at the same moment, perhaps: then it is our own by now
        with suppress(DuplicateKeyError):  # put down before, by one who was interrupted
            db["old_keys"].insert_one(
                {"_id": old, "cid": rekeying.cid, "replaced_ms": to_ms(rekeying.at)}
            )
        values = {
            "fingerprint": new,
            "public_key": rekeying.public_key,
            "previous": old,
            "previous_key": found["public_key"],
            "version": found["version"] + 1,
        }
        wanted = {"_id": rekeying.cid, "version": found["version"]}
        try:
            if db["clients"].update_one(wanted, {"$set": values}).matched_count:
                return "replaced"
        except DuplicateKeyError:  # somebody else's since it was looked up
            return "key_in_use"
        if time.monotonic() > deadline:
            raise StoreUnavailableError(f"client {rekeying.cid} is written to by too many at once")


def put_unattributed(db: Mongo, report: Unattributed) -> None:
    """Keep a report, unless a newer one of its hostname is there."""
    received_ms = to_ms(report.received_at)
    values: Document = {"received_ms": received_ms, "report": report.report}
    for _ in range(2):  # a second time if somebody else's first one came in between
        older = {"_id": report.hostname, "received_ms": {"$lte": received_ms}}
        if db["unattributed"].update_one(older, {"$set": values}).matched_count:
            return
        with suppress(DuplicateKeyError):
            db["unattributed"].insert_one({"_id": report.hostname, **values})
            return


def unattributed(db: Mongo) -> list[Unattributed]:
    """All of them, by hostname."""
    found = [
        Unattributed(
            hostname=document["_id"],
            received_at=from_ms(document["received_ms"]),
            report=bytes(document["report"]),
        )
        for document in db["unattributed"].find({})
    ]
    return sorted(found, key=lambda report: report.hostname)


def _key(found: Document, fingerprint: str, public_key: str, replaced_by: str | None) -> ClientKey:
    return ClientKey(
        fingerprint=fingerprint,
        cid=found["_id"],
        public_key=public_key,
        status=found["status"],
        mid=found["mid"],
        tags=tuple(found["tags"]),
        release=found.get("release"),
        has_commands=bool(found.get("commands")),
        replaced_by=replaced_by,
    )
