"""Databases of the first version open after `setup()`, with all that was in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.errors import NotSetUpError
from qlmdm_core.store import Store
from qlmdm_core.store.mongo.schema import MIGRATIONS as MONGO_MIGRATIONS
from qlmdm_core.store.records import Accepted, Repeated
from qlmdm_core.store.sqlite import SqliteStore
from qlmdm_core.testing.fake_mongo import FakeMongo
from qlmdm_core.testing.store_contract import samples

DUMP = Path(__file__).parent / "data" / "sqlite-version-1.sql"
"""What `sqlite3 FILE .dump` said of a database that the first version of the tables had made."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.db"
    old = sqlite3.connect(path)
    old.executescript(DUMP.read_text())
    old.close()
    return path


def use_what_is_new(store: Store) -> None:
    """The second version's tables and fields, on clients of the first."""
    key = store.key("FPRc1")
    assert key is not None
    assert (key.tags, key.has_commands, key.replaced_by) == (("lab",), False, None)
    samples.queued(store, "c1")
    assert store.rekey(samples.rekeying("c1", "NEW")) == "replaced"
    key = store.key("NEW")
    assert key is not None
    assert (key.tags, key.has_commands) == (("lab",), True)
    assert store.count_releases() == {None: 2}
    assert store.put_release(samples.release(7))
    assert store.put_draft(samples.draft())
    assert store.blob(store.put_blob(b"bytes")) == b"bytes"


def test_an_sqlite_database_of_version_1_opens_after_setup(path: Path) -> None:
    store = SqliteStore(str(path))
    uses: list[Callable[[], object]] = [store.check, store.ping, lambda: store.key("FPRc1")]
    for use in uses:
        with pytest.raises(NotSetUpError, match=r"version 1, this qlmdm needs 2.*-server-setup"):
            use()
    assert list(store.setup()) == [
        f"{path}: added releases, commands and replaced keys (version 2)"
    ]
    assert list(store.setup()) == []
    store.check()
    client = store.client("c1")
    assert client is not None
    assert (client.seq, client.tags, client.flags) == (1, ("lab",), {"old": 1})
    assert store.meta("server_id") == "srv-1"
    assert b"arch" in (store.report("c1") or b"")
    assert [issue.issue_id for issue in store.issues()] == ["i1"]
    # The view and trigger by which records are accepted work as before.
    assert isinstance(store.accept(samples.submission("c1", 1)), Repeated)
    changed = {"os_info": samples.result({"state": "available", "id": "debian"})}
    assert isinstance(store.accept(samples.submission("c1", 2, changed)), Accepted)
    assert len(store.changes("c1")) == 2
    use_what_is_new(store)
    by_new = replace(samples.submission("c1", 3), fingerprint="NEW")
    assert isinstance(store.accept(by_new), Accepted)
    store.close()


def test_a_migrated_sqlite_database_is_made_like_a_new_one(path: Path, tmp_path: Path) -> None:
    migrated, new = SqliteStore(str(path)), SqliteStore(str(tmp_path / "new.db"))
    found = []
    for store, file in ((migrated, path), (new, tmp_path / "new.db")):
        store.setup()
        store.close()
        plain = sqlite3.connect(file)
        rows = plain.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        found.append(rows.fetchall())
        plain.close()
    assert found[0] == found[1]


def test_a_mongodb_of_version_1_opens_after_setup() -> None:
    server = FakeMongo()
    store = server.store()
    # As the first version left it: its indexes, its number, and clients without newer fields.
    with store._connection.use() as db:
        first: Any = MONGO_MIGRATIONS[0]
        first.run(db)
    server.collection("meta").insert_one({"_id": "_schema", "number": 1})
    with pytest.raises(NotSetUpError, match=r"version 1; run qlmdm-server-setup"):
        store.check()
    for cid in ("c1", "c2"):
        samples.enrolled(store, cid)
    store.accept(samples.submission("c1", 1))
    store.set_client("c1", tags=["lab"])
    fields = set(server.collection("clients").find_one({"_id": "c1"}))
    assert not fields & {"commands", "previous", "previous_key"}
    assert list(store.setup()) == [
        "mongomock: added releases, commands and replaced keys (version 2)"
    ]
    assert list(store.setup()) == []
    store.check()
    use_what_is_new(store)
    assert isinstance(
        store.accept(replace(samples.submission("c1", 2), fingerprint="NEW")), Accepted
    )
