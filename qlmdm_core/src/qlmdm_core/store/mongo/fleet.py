"""What belongs to the fleet as a whole: named values, leases, root documents."""

from __future__ import annotations

from datetime import datetime, timedelta

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreError
from qlmdm_core.store.codec import dump_text, loads, truncated
from qlmdm_core.store.mongo.connection import Mongo
from qlmdm_core.store.records import RootDocument


def meta(db: Mongo, key: str) -> JSON:
    """A named value, or None."""
    found = db["meta"].find_one({"_id": f"={key}"})
    return loads(found["value"]) if found else None


def set_meta(db: Mongo, key: str, value: JSON) -> None:
    """Set a named value; None removes it."""
    if value is None:
        db["meta"].delete_one({"_id": f"={key}"})
    else:
        db["meta"].update_one(
            {"_id": f"={key}"}, {"$set": {"value": dump_text(value)}}, upsert=True
        )


def take_lease(db: Mongo, name: str, owner: str, now: datetime, seconds: float) -> bool:
    """Take or prolong a lease unless another holds it."""
    until_at = truncated(now + timedelta(seconds=seconds))
    held = {"owner": owner, "until_at": until_at}
    for mine in ({"owner": owner}, {"until_at": {"$lte": truncated(now)}}):
        if db["leases"].replace_one({"_id": name, **mine}, held).matched_count:
            return True
    try:
        db["leases"].insert_one({"_id": name, **held})
    except DuplicateKeyError:
        return False
    return True


def drop_lease(db: Mongo, name: str, owner: str) -> None:
    """Give a lease back."""
    db["leases"].delete_one({"_id": name, "owner": owner})


def put_root(db: Mongo, root: RootDocument) -> None:
    """Add a version of the root document; the same one again changes nothing."""
    try:
        db["roots"].insert_one({"_id": root.version, "document": root.document})
    except DuplicateKeyError:
        known = db["roots"].find_one({"_id": root.version})
        if known is None or bytes(known["document"]) != root.document:
            raise StoreError(
                f"root document {root.version} is there already, and differs"
            ) from None


def root(db: Mongo, version: int | None) -> RootDocument | None:
    """A version of the root document; without one, the newest."""
    wanted = {} if version is None else {"_id": version}
    found = db["roots"].find_one(wanted, sort=[("_id", DESCENDING)])
    return RootDocument(version=found["_id"], document=bytes(found["document"])) if found else None
