"""Documents that wait for signatures."""

from __future__ import annotations

from pymongo.errors import DuplicateKeyError

from qlmdm_core.store.codec import dump_text, from_ms, loads, to_ms
from qlmdm_core.store.mongo.connection import Document, Mongo
from qlmdm_core.store.outgoing import Draft


def put_draft(db: Mongo, draft: Draft) -> bool:
    """Add a draft, unless its name is taken."""
    try:
        db["drafts"].insert_one(
            {
                "_id": draft.name,
                "kind": draft.kind,
                "role": draft.role,
                "texts": dump_text(list(draft.texts)),
                "sigs": _dump_sigs(draft),
                "created_ms": to_ms(draft.created_at),
                "created_by": draft.created_by,
                "attach": dump_text(draft.attach),
                "revision": draft.revision,
            }
        )
    except DuplicateKeyError:
        return False
    return True


def draft(db: Mongo, name: str) -> Draft | None:
    """One draft."""
    found = db["drafts"].find_one({"_id": name})
    return _draft(found) if found else None


def drafts(db: Mongo) -> list[Draft]:
    """All of them, by name. They are few."""
    found = [_draft(document) for document in db["drafts"].find({})]
    return sorted(found, key=lambda draft: draft.name)


def update_draft(db: Mongo, draft: Draft) -> bool:
    """Write back its signatures, unless somebody else did since it was read."""
    wanted = {"_id": draft.name, "revision": draft.revision}
    values = {"sigs": _dump_sigs(draft), "revision": draft.revision + 1}
    return db["drafts"].update_one(wanted, {"$set": values}).matched_count == 1


def drop_draft(db: Mongo, name: str) -> bool:
    """Take a draft away."""
    return db["drafts"].delete_one({"_id": name}).deleted_count == 1


def _dump_sigs(draft: Draft) -> str:
    return dump_text([list(sigs) for sigs in draft.sigs])


def _draft(found: Document) -> Draft:
    return Draft(
        name=found["_id"],
        kind=found["kind"],
        role=found["role"],
        texts=tuple(loads(found["texts"])),
        sigs=tuple(tuple(sigs) for sigs in loads(found["sigs"])),
        created_at=from_ms(found["created_ms"]),
        created_by=found["created_by"],
        attach=loads(found["attach"]),
        revision=found["revision"],
    )
