"""The MongoDB engine passes the contract suite over mongomock, within one process.

mongomock changes documents in place while others read them; MongoDB never lets a half-done
update be seen. So each operation here is done under one lock: operations are then atomic, as
in MongoDB, and threads still interleave between any two of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import mongomock
import pytest

from qlmdm_core.store.mongo import MongoStore
from qlmdm_core.store.mongo.connection import Connection
from qlmdm_core.testing.store_contract import Engine, StoreContract


class AtomicClient:
    """A mongomock client whose collections do one thing at a time."""

    def __init__(self) -> None:
        self._client: Any = mongomock.MongoClient(tz_aware=True)
        self._lock = threading.RLock()

    def __getitem__(self, database: str) -> dict[str, Any]:
        client, lock = self._client, self._lock

        class Collections(dict[str, Any]):
            def __missing__(self, name: str) -> AtomicCollection:
                return AtomicCollection(client[database][name], lock)

        return Collections()

    def close(self) -> None:
        """The data must outlive it: the next to open it is another process of the server."""


class AtomicCollection:
    """A collection each of whose methods runs under the lock."""

    def __init__(self, collection: Any, lock: threading.RLock) -> None:
        self._collection, self._lock = collection, lock

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._collection, name)

        def locked(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                found = method(*args, **kwargs)
            return AtomicCursor(found, self._lock) if name == "find" else found

        return locked


class AtomicCursor:
    """A cursor that is read at one moment."""

    def __init__(self, cursor: Any, lock: threading.RLock) -> None:
        self._cursor, self._lock = cursor, lock

    def sort(self, *args: Any) -> AtomicCursor:
        self._cursor = self._cursor.sort(*args)
        return self

    def limit(self, number: int) -> AtomicCursor:
        self._cursor = self._cursor.limit(number)
        return self

    def __iter__(self) -> Iterator[Any]:
        with self._lock:
            return iter(list(self._cursor))


class TestMongomockStore(StoreContract):
    @pytest.fixture
    def engine(self) -> Engine:
        client: Any = AtomicClient()

        def open_store() -> MongoStore:
            return MongoStore(Connection(lambda: client, "qlmdm", "mongomock"))

        return Engine(open=open_store, many=2_000)
