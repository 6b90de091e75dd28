"""The SQLite engine passes the contract suite, and has troubles of its own to stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store
from qlmdm_core.store.records import Enrolment
from qlmdm_core.store.sqlite import SqliteStore, enrolling
from qlmdm_core.testing.store_contract import Engine, StoreContract


def seed(store: Store, enrolments: Sequence[Enrolment]) -> None:
    """Enrol many in one transaction."""
    assert isinstance(store, SqliteStore)
    store._db.write(lambda db: [enrolling.enrol(db, enrolment) for enrolment in enrolments])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/a folder/fleet 100%.db"


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def engine(self, url: str) -> Engine:
        Path(url.removeprefix("sqlite://")).parent.mkdir()
        return Engine(open=lambda: open_store(url), url=url, seed=seed, many=100_000)
