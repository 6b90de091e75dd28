"""What the SQLite engine does when handing something out fails halfway, or lies there damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlmdm_core.errors import StoreCorruptError, StoreError
from qlmdm_core.store.sqlite import SqliteStore, commands
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.samples import NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(path))
    store.setup()
    samples.enrolled(store, "c1")
    yield store
    store.close()


def spoil(path: Path, statement: str) -> None:
    """Change the database behind the store's back."""
    plain = sqlite3.connect(path)
    plain.execute(statement)
    plain.commit()
    plain.close()


def test_a_command_that_fails_halfway_is_queued_for_nobody(path: Path, store: SqliteStore) -> None:
    hosts = ["c1", *(f"d{number:03}" for number in range(500))]
    spoil(
        path,
        "CREATE TRIGGER halfway BEFORE INSERT ON targets WHEN new.cid = 'd250' "
        "BEGIN SELECT RAISE(ABORT, 'halfway'); END",
    )
    wanted = samples.command(hosts=len(hosts))
    with pytest.raises(StoreError, match="halfway"):
        store.put_command(wanted, samples.parts(hosts))
    assert store.command(wanted.command_id) is None
    assert store.targets_of("c1") == []
    key = store.key("FPRc1")
    assert key is not None
    assert not key.has_commands
    spoil(path, "DROP TRIGGER halfway")
    assert store.put_command(wanted, samples.parts(hosts))
    assert store.count_targets(wanted.command_id) == {"pending": 501}


def test_a_key_whose_replacement_fails_halfway_still_counts(path: Path, store: SqliteStore) -> None:
    spoil(
        path,
        "CREATE TRIGGER halfway BEFORE UPDATE OF fingerprint ON clients "
        "BEGIN SELECT RAISE(ABORT, 'halfway'); END",
    )
    with pytest.raises(StoreError, match="halfway"):
        store.rekey(samples.rekeying("c1", "NEW"))
    key = store.key("FPRc1")
    assert key is not None
    assert (key.replaced_by, key.public_key) == (None, "KEY c1")
    assert store.key("NEW") is None
    spoil(path, "DROP TRIGGER halfway")
    assert store.rekey(samples.rekeying("c1", "NEW")) == "replaced"


def test_damaged_bytes_are_told_and_put_right(path: Path, store: SqliteStore) -> None:
    sha256 = store.put_blob(b"the bytes of a release")
    spoil(path, "UPDATE blobs SET data = x'00'")
    with pytest.raises(StoreCorruptError, match=rf"{sha256} are damaged"):
        store.blob(sha256)
    assert store.put_blob(b"the bytes of a release") == sha256
    assert store.blob(sha256) == b"the bytes of a release"


def test_readers_go_on_while_a_command_is_queued(store: SqliteStore) -> None:
    """They see nothing of it, and wait for nothing, until it is there as a whole."""
    hosts = ["c1", *(f"d{number}" for number in range(100))]
    command_id = samples.command_id("1")
    seen: list[object] = []

    def look(connection: sqlite3.Connection) -> None:
        assert connection.in_transaction
        key = store.key("FPRc1")
        assert key is not None
        seen.extend([key.has_commands, store.command(command_id), store.count_targets(command_id)])

    queue = commands.prepare(samples.command(hosts=len(hosts)), samples.parts(hosts))

    def work(connection: sqlite3.Connection) -> bool:
        queued = queue(connection)
        look(connection)
        return queued

    assert store._db.write(work)
    assert seen == [False, None, {}]
    assert len(store.due_commands("c1", NOW)) == 1
