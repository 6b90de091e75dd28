"""The indexes, by number of migration: made by set-up, checked at start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pymongo.errors import DuplicateKeyError

from qlmdm_core.errors import NotSetUpError, StoreCorruptError, StoreError
from qlmdm_core.store.mongo.connection import Mongo

_SCHEMA = "_schema"  # the document of `meta` that holds the number of the last migration


@dataclass(frozen=True, kw_only=True)
class Index:
    """One index. `sparse` ones hold only the documents that have the field at all."""

    collection: str
    fields: tuple[str, ...]
    unique: bool = False
    sparse: bool = False

    def __str__(self) -> str:
        return f"{self.collection} ({', '.join(self.fields)})"


# Two habits of these documents are there for nx-27017, and make no difference to MongoDB. Where an
# index goes on by a document's id, the id is there twice, as `_id` and as a plain field: it has
# no index over `_id` and something else. And times that change are written as a part of a small
# document, never alone: it keeps a date that an update sets by itself as text.
_FIRST: tuple[Index, ...] = (
    Index(collection="invitations", fields=("created_at",)),
    Index(collection="clients", fields=("fingerprint",), unique=True),
    Index(collection="clients", fields=("hostname", "cid")),
    Index(collection="clients", fields=("status", "cid")),
    # `due_cid` is the client's id while it waits for judgement, and `unsettled` is there while
    # history rides in the client's document: otherwise neither field exists.
    Index(collection="clients", fields=("due_cid",), sparse=True),
    Index(collection="clients", fields=("audit.rejudge_at", "cid")),
    Index(collection="clients", fields=("unsettled",), sparse=True),
    Index(collection="changes", fields=("cid", "changed_at", "seq")),
    Index(collection="changes", fields=("changed_at",)),
    Index(collection="verdicts", fields=("cid", "check")),
    Index(collection="verdicts", fields=("check", "cid")),
    Index(collection="verdicts", fields=("check", "state")),
    # `open_key` is CID:CHECK while an issue is open: at most one is open per pair.
    Index(collection="issues", fields=("open_key",), unique=True, sparse=True),
    Index(collection="issues", fields=("is_open", "at.alert_due_at")),
    Index(collection="issues", fields=("is_open", "issue_id")),
    Index(collection="issues", fields=("cid", "issue_id")),
    Index(collection="issues", fields=("check", "issue_id")),
)
_SECOND: tuple[Index, ...] = (
    # `previous` is the fingerprint of the key that the client replaced last.
    Index(collection="clients", fields=("previous",), sparse=True),
    Index(collection="clients", fields=("status", "release")),
    Index(collection="pieces", fields=("attempt",)),
    Index(collection="pieces", fields=("sha256",)),
    Index(collection="commands", fields=("created_ms", "command_id")),
    Index(collection="commands", fields=("kind", "created_ms", "command_id")),
    Index(collection="attempts", fields=("command_id",)),
    Index(collection="attempts", fields=("expires_ms",)),
    Index(collection="parts", fields=("attempt",)),
    Index(collection="targets", fields=("attempt", "cid")),
    Index(collection="targets", fields=("attempt", "state")),
    Index(collection="targets", fields=("cid", "updated_ms")),
    # `open_cid` is there while the target is open, `unstarted_until_ms` while it has not begun.
    Index(collection="targets", fields=("open_cid",), sparse=True),
    Index(collection="targets", fields=("unstarted_until_ms",), sparse=True),
)
INDEXES = (*_FIRST, *_SECOND)


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step forward. `run` may be interrupted, and is then run again from its start."""

    number: int
    what: str
    run: Callable[[Mongo], None]


def _make(db: Mongo, index: Index) -> None:
    db[index.collection].create_index(
        [(field, 1) for field in index.fields], unique=index.unique, sparse=index.sparse
    )


def _make_first(db: Mongo) -> None:
    for index in _FIRST:
        _make(db, index)


def _make_second(db: Mongo) -> None:
    for index in _SECOND:
        _make(db, index)


MIGRATIONS: tuple[Migration, ...] = (
    Migration(number=1, what="made the indexes", run=_make_first),
    Migration(number=2, what="added releases, commands and replaced keys", run=_make_second),
)


def migrate(db: Mongo, where: str, migrations: Sequence[Migration]) -> list[str]:
    """Bring the database forward to the last migration; say what was done."""
    version = _version(db)
    _refuse_newer(version, where, migrations)
    done = []
    try:
        for migration in migrations:
            if migration.number > version:
                migration.run(db)
                db["meta"].update_one(
                    {"_id": _SCHEMA}, {"$set": {"number": migration.number}}, upsert=True
                )
                done.append(f"{where}: {migration.what} (version {migration.number})")
        for index in _missing(db):
            _make(db, index)
            done.append(f"{where}: made the index {index} again")
    except DuplicateKeyError as error:
        raise StoreCorruptError(
            f"{where}: two documents have what only one may have: {error}"
        ) from error
    return done


def check(db: Mongo, where: str, migrations: Sequence[Migration]) -> None:
    """Prove that the database is of this version and has its indexes."""
    version = _version(db)
    _refuse_newer(version, where, migrations)
    if version < migrations[-1].number:
        found = f"of version {version}" if version else "empty"
        raise NotSetUpError(f"{where}: the database is {found}; run qlmdm-server-setup")
    missing = _missing(db)
    if missing:
        raise NotSetUpError(f"{where}: the index {missing[0]} is missing; run qlmdm-server-setup")


def _missing(db: Mongo) -> list[Index]:
    """The indexes that are not there. By fields: an administrator may have named them."""
    there = {
        (collection, tuple(field for field, _ in found["key"]), bool(found.get("unique")))
        for collection in sorted({index.collection for index in INDEXES})
        for found in db[collection].index_information().values()
    }
    return [i for i in INDEXES if (i.collection, i.fields, i.unique) not in there]


def _version(db: Mongo) -> int:
    found = db["meta"].find_one({"_id": _SCHEMA})
    return int(found["number"]) if found else 0


def _refuse_newer(version: int, where: str, migrations: Sequence[Migration]) -> None:
    if version > migrations[-1].number:
        raise StoreError(
            f"{where}: the database is of version {version}, this qlmdm knows up to "
            f"{migrations[-1].number}; nothing was changed. Install the newer qlmdm again"
        )
