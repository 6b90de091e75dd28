"""Releases and their bytes.

Bytes lie in pieces of one megabyte, as a document may not have more than 16. Each writer's pieces
are its own (`attempt`); the document in `blobs` that names the attempt is written last, and makes
them visible all at once. Pieces that a crash left behind are deleted when the same bytes are put
again.
"""

from __future__ import annotations

import hashlib
import time
from secrets import token_hex

from pymongo.errors import DuplicateKeyError

from qlmdm_core.errors import StoreCorruptError, StoreUnavailableError
from qlmdm_core.store.codec import dump_text, from_ms, loads, to_ms
from qlmdm_core.store.mongo.connection import WAIT_SECONDS, Document, Mongo
from qlmdm_core.store.outgoing import ReleaseRecord

PIECE_BYTES = 1 << 20

# --- bytes ------------------------------------------------------------------------------------


def put_blob(db: Mongo, data: bytes) -> str:
    """Keep bytes; what lies under their hash and is damaged is written anew."""
    sha256 = hashlib.sha256(data).hexdigest()
    deadline = time.monotonic() + WAIT_SECONDS
    while not _is_whole(db, sha256):
        if _put_pieces(db, sha256, data):
            break
        if time.monotonic() > deadline:
            raise StoreUnavailableError(f"the bytes {sha256} are put and dropped by too many")
    return sha256


def blob(db: Mongo, sha256: str) -> bytes | None:
    """The bytes of a hash, which is checked."""
    head = db["blobs"].find_one({"_id": sha256})
    while head is not None:
        data = _pieces(db, head)
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        now = db["blobs"].find_one({"_id": sha256})
        if now is not None and now["attempt"] == head["attempt"]:
            raise StoreCorruptError(f"the stored bytes {sha256} are damaged; put them again")
        head = now  # they were dropped, and perhaps put again, while they were read
    return None


def drop_blob(db: Mongo, sha256: str) -> None:
    """Forget the bytes of a hash; from the first write on they are not found."""
    head = db["blobs"].find_one({"_id": sha256})
    if head is not None:
        _drop(db, head)


def _put_pieces(db: Mongo, sha256: str, data: bytes) -> bool:
    """Write all of it; False if somebody came in between, and it is to be tried again."""
    attempt = token_hex(16)
    starts = range(0, len(data), PIECE_BYTES)
    for number, start in enumerate(starts):
        db["pieces"].insert_one(
            {
                "_id": f"{attempt}:{number}",
                "attempt": attempt,
                "sha256": sha256,
                "data": data[start : start + PIECE_BYTES],
            }
        )
    head = {"_id": sha256, "attempt": attempt, "pieces": len(starts)}
    try:
        db["blobs"].insert_one(head)
    except DuplicateKeyError:
        db["pieces"].delete_many({"attempt": attempt})
        return False
    if db["pieces"].count_documents({"attempt": attempt}) != len(starts):
        _drop(db, head)  # another writer, whose own were dropped since, took them for left behind
        return False
    db["pieces"].delete_many({"sha256": sha256, "attempt": {"$ne": attempt}})
    return True


def _is_whole(db: Mongo, sha256: str) -> bool:
    """Whether the bytes are there and whole; damaged ones are dropped."""
    try:
        return blob(db, sha256) is not None
    except StoreCorruptError:
        drop_blob(db, sha256)
        return False


def _pieces(db: Mongo, head: Document) -> bytes:
    """What there is of the pieces, joined: one by one, so that no answer is too large."""
    found = (
        db["pieces"].find_one({"_id": f"{head['attempt']}:{number}"})
        for number in range(head["pieces"])
    )
    return b"".join(bytes(piece["data"]) for piece in found if piece is not None)


def _drop(db: Mongo, head: Document) -> None:
    db["blobs"].delete_one({"_id": head["_id"], "attempt": head["attempt"]})
    db["pieces"].delete_many({"attempt": head["attempt"]})


# --- releases ---------------------------------------------------------------------------------


def put_release(db: Mongo, release: ReleaseRecord) -> bool:
    """Add a release, unless its version is there."""
    try:
        db["releases"].insert_one(
            {
                "_id": f"{release.epoch}.{release.number}",
                "epoch": release.epoch,
                "number": release.number,
                "manifest_sha256": release.manifest_sha256,
                "tar_sha256": release.tar_sha256,
                "tar_size": release.tar_size,
                "created_ms": to_ms(release.created_at),
                "created_by": release.created_by,
                "note": release.note,
                "status": release.status,
                "rollout": dump_text(release.rollout),
                "about": dump_text(release.about),
                "revision": release.revision,
            }
        )
    except DuplicateKeyError:
        return False
    return True


def release(db: Mongo, epoch: int, number: int) -> ReleaseRecord | None:
    """One release."""
    found = db["releases"].find_one({"_id": f"{epoch}.{number}"})
    return _release(found) if found else None


def releases(db: Mongo) -> list[ReleaseRecord]:
    """All of them, newest first. They are few."""
    found = [_release(document) for document in db["releases"].find({})]
    return sorted(found, key=lambda release: (release.epoch, release.number), reverse=True)


def update_release(db: Mongo, release: ReleaseRecord) -> bool:
    """Write back what may change, unless somebody else did since it was read."""
    wanted = {"_id": f"{release.epoch}.{release.number}", "revision": release.revision}
    values = {
        "status": release.status,
        "note": release.note,
        "rollout": dump_text(release.rollout),
        "revision": release.revision + 1,
    }
    return db["releases"].update_one(wanted, {"$set": values}).matched_count == 1


def count_releases(db: Mongo) -> dict[str | None, int]:
    """How many active clients reported from each release: from one to the next by an index."""
    clients = db["clients"]
    counts: dict[str | None, int] = {}
    without = clients.count_documents({"status": "active", "release": None})
    if without:
        counts[None] = without
    last = ""
    while True:
        following = clients.find({"status": "active", "release": {"$gt": last}}, {"release": 1})
        found = list(following.sort([("status", 1), ("release", 1)]).limit(1))
        if not found:
            return counts
        last = found[0]["release"]
        counts[last] = clients.count_documents({"status": "active", "release": last})


def _release(found: Document) -> ReleaseRecord:
    return ReleaseRecord(
        epoch=found["epoch"],
        number=found["number"],
        manifest_sha256=found["manifest_sha256"],
        tar_sha256=found["tar_sha256"],
        tar_size=found["tar_size"],
        created_at=from_ms(found["created_ms"]),
        created_by=found["created_by"],
        note=found["note"],
        status=found["status"],
        rollout=loads(found["rollout"]),
        about=loads(found["about"]),
        revision=found["revision"],
    )
