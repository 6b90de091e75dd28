"""MongoDB within the process, for tests: mongomock, one operation at a time.

mongomock changes documents in place while others read them; MongoDB never lets a half-done
update be seen. So each operation is done under one lock: operations are atomic, as in
MongoDB, and threads still interleave between any two of them. A test can also interrupt what
is being done before any operation, as a crash would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import mongomock

from qlmdm_core.store.mongo import MongoStore
from qlmdm_core.store.mongo.connection import Connection


class FakeMongo:
    """A server with all its data; give it to as many stores as a test needs."""

    def __init__(self) -> None:
        self._client: Any = mongomock.MongoClient(tz_aware=True)
        self._lock = threading.RLock()
        self.before: Callable[[str, str], None] = lambda _collection, _method: None
        """Called before each operation with its collection and method; what it raises
        interrupts whoever asked for the operation."""

    def store(self) -> MongoStore:
        """A store on this server, as another process would open it."""
        client: Any = self
        return MongoStore(Connection(lambda: client, "qlmdm", "mongomock"))

    def collection(self, name: str) -> Any:
        """A collection as mongomock has it, to look at or to spoil."""
        return self._client["qlmdm"][name]

    def __getitem__(self, database: str) -> _Database:
        return _Database(self, self._client[database])

    def close(self) -> None:
        """A client is closed; the server's data stay."""

    def run(self, collection: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        """One operation, alone."""
        with self._lock:
            self.before(collection.name, method)
            return getattr(collection, method)(*args, **kwargs)

    def read(self, cursor: Any) -> list[Any]:
        """All documents of a cursor, as they are at one moment."""
        with self._lock:
            return list(cursor)


class _Database:
    def __init__(self, server: FakeMongo, database: Any) -> None:
        self._server, self._database = server, database

    def __getitem__(self, name: str) -> _Collection:
        return _Collection(self._server, self._database[name])


class _Collection:
    def __init__(self, server: FakeMongo, collection: Any) -> None:
        self._server, self._collection = server, collection

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            found = self._server.run(self._collection, method, *args, **kwargs)
            return _Cursor(self._server, found) if method == "find" else found

        return run


class _Cursor:
    def __init__(self, server: FakeMongo, cursor: Any) -> None:
        self._server, self._cursor = server, cursor

    def sort(self, *args: Any) -> _Cursor:
        self._cursor = self._cursor.sort(*args)
        return self

    def limit(self, number: int) -> _Cursor:
        self._cursor = self._cursor.limit(number)
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(self._server.read(self._cursor))
