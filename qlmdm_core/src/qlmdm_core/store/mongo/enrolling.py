"""Enrolling exactly once, without transactions.

A machine is enrolled in three writes, each atomic, and a crash after any of them is mended by
the machine's next try:

1. Claim: the invitation's document gets the key's fingerprint and the `cid` it shall have,
   and `used` grows. The write succeeds only if nobody wrote to the invitation since it was
   read (`version`). It was read before it was looked up whether the key has a client, so that
   a key whose enrolment ended in between is seen by one or the other.
2. Insert: the client's document, under the `cid` of the claim. The database holds `cid` and
   fingerprint unique.
3. Release: the claim is taken out again; `used` stays.
"""

from __future__ import annotations

import time
from typing import Any

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from qlmdm_core.errors import StoreError, StoreUnavailableError
from qlmdm_core.store.codec import truncated
from qlmdm_core.store.mongo.clients import new_client
from qlmdm_core.store.mongo.connection import WAIT_SECONDS, Document, Mongo
from qlmdm_core.store.mongo.keys import was_replaced
from qlmdm_core.store.records import Enrolled, Enrolment, EnrolmentRefused, Invitation


def add_invitation(db: Mongo, invitation: Invitation) -> None:
    """Add a document; an id that is there already is an error of the caller."""
    try:
        db["invitations"].insert_one(
            {
                "_id": invitation.invitation_id,
                "secret": invitation.secret,
                "created_at": truncated(invitation.created_at),
                "expires_at": truncated(invitation.expires_at),
                "uses": invitation.uses,
                "used": invitation.used,
                "created_by": invitation.created_by,
                "tags": list(invitation.tags),
                "user_email": invitation.user_email,
                "claims": [],
                "version": 0,
            }
        )
    except DuplicateKeyError:
        raise StoreError(f"invitation {invitation.invitation_id} is there already") from None


def invitation(db: Mongo, invitation_id: str) -> Invitation | None:
    """One invitation."""
    found = db["invitations"].find_one({"_id": invitation_id})
    return _invitation(found) if found else None


def invitations(db: Mongo) -> list[Invitation]:
    """All of them, newest first."""
    found = db["invitations"].find({}).sort([("created_at", DESCENDING), ("_id", 1)])
    return [_invitation(document) for document in found]


def enrol(db: Mongo, enrolment: Enrolment) -> Enrolled | EnrolmentRefused:
    """Use the invitation once and add the client, or neither."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        invited = db["invitations"].find_one({"_id": enrolment.invitation_id})
        known = db["clients"].find_one({"fingerprint": enrolment.fingerprint}, {"invitation_id": 1})
        if known:
            return _known(db, enrolment, known)
        if was_replaced(db, enrolment.fingerprint):
            _release(db, enrolment, used=0)
            return EnrolmentRefused(reason="key_in_use")
        if invited is None:
            return EnrolmentRefused(reason="unknown_invitation")
        cid = _claimed(invited, enrolment.fingerprint)
        if cid is None:
            if truncated(enrolment.enrolled_at) >= invited["expires_at"]:
                return EnrolmentRefused(reason="expired")
            if invited["used"] >= invited["uses"]:
                return EnrolmentRefused(reason="used_up")
            claim = {"fingerprint": enrolment.fingerprint, "cid": enrolment.cid}
            if not _write(db, invited, [*invited["claims"], claim], used=1):
                _pause(deadline, enrolment)
                continue
            cid = enrolment.cid
        return _insert(db, enrolment, cid, invited)


def _insert(
    db: Mongo, enrolment: Enrolment, cid: str, invited: Document
) -> Enrolled | EnrolmentRefused:
    """Add the client that was claimed, or find that somebody did."""
    again = False
    try:
        db["clients"].insert_one(new_client(enrolment, cid, invited))
    except DuplicateKeyError:
        known = db["clients"].find_one({"fingerprint": enrolment.fingerprint}, {"invitation_id": 1})
        if known is None:
            # The cid is another machine's: ids are random, so this is a mistake, not chance.
            _release(db, enrolment, used=-1)
            raise StoreError(f"the client id {cid} is taken") from None
        if known["invitation_id"] != enrolment.invitation_id:
            return _known(db, enrolment, known)
        cid, again = known["_id"], True
    _release(db, enrolment, used=0)
    return Enrolled(cid=cid, again=again)


def _known(db: Mongo, enrolment: Enrolment, known: Document) -> Enrolled | EnrolmentRefused:
    """The answer for a key that has a client; gives back what the key claimed elsewhere."""
    if known["invitation_id"] == enrolment.invitation_id:
        _release(db, enrolment, used=0)
        return Enrolled(cid=known["_id"], again=True)
    _release(db, enrolment, used=-1)
    return EnrolmentRefused(reason="key_in_use")


def _release(db: Mongo, enrolment: Enrolment, *, used: int) -> None:
    """Take the key's claim out of the invitation, if it is there."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        invited = db["invitations"].find_one({"_id": enrolment.invitation_id})
        if invited is None or _claimed(invited, enrolment.fingerprint) is None:
            return
        rest = [c for c in invited["claims"] if c["fingerprint"] != enrolment.fingerprint]
        if _write(db, invited, rest, used=used):
            return
        _pause(deadline, enrolment)


def _write(db: Mongo, invited: Document, claims: list[Any], *, used: int) -> bool:
    """Change the claims, unless somebody wrote to the invitation since it was read."""
    changed = {
        "claims": claims,
        "used": invited["used"] + used,
        "version": invited["version"] + 1,
    }
    wanted = {"_id": invited["_id"], "version": invited["version"]}
    return db["invitations"].update_one(wanted, {"$set": changed}).matched_count == 1


def _claimed(invited: Document, fingerprint: str) -> str | None:
    for claim in invited["claims"]:
        if claim["fingerprint"] == fingerprint:
            return str(claim["cid"])
    return None


def _pause(deadline: float, enrolment: Enrolment) -> None:
    """One of those who race wins each time; give up when it takes too long all the same."""
    if time.monotonic() > deadline:
        raise StoreUnavailableError(
            f"too many machines enrol with invitation {enrolment.invitation_id} at once"
        )


def _invitation(found: Document) -> Invitation:
    return Invitation(
        invitation_id=found["_id"],
        secret=found["secret"],
        created_at=found["created_at"],
        expires_at=found["expires_at"],
        uses=found["uses"],
        used=found["used"],
        created_by=found["created_by"],
        tags=tuple(found["tags"]),
        user_email=found["user_email"],
    )
