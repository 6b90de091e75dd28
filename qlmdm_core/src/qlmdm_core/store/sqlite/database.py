"""Connections to one database file, for many threads, and across fork(2)."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TypeVar

from qlmdm_core.errors import StoreError
from qlmdm_core.store.sqlite import schema
from qlmdm_core.store.sqlite.connection import connect, explained
from qlmdm_core.store.sqlite.turns import in_turn
from qlmdm_core.store.sqlite.writer import WAIT_SECONDS, Work, Writer

T = TypeVar("T")


class Database:
    """A pool of connections to read with, and the one writer of this process.

    SQLite's connections must not be used, nor closed, in a child of fork(2): the child gets
    new ones by itself (https://www.sqlite.org/howtocorrupt.html, section 2.6).
    """

    def __init__(
        self,
        path: str,
        migrations: Sequence[schema.Migration],
        *,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.path = path
        self._migrations = migrations
        self._wait_seconds = wait_seconds
        self._closed = False
        self._begin()
        me = weakref.ref(self)

        def after_fork() -> None:
            database = me()
            if database is not None:
                database._after_fork()

        os.register_at_fork(after_in_child=after_fork)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._all: list[sqlite3.Connection] = []
        self._writer = Writer(self.path, self._open)

    # --- use --------------------------------------------------------------------------------

    def write(self, work: Work[T]) -> T:
        """Do work in a write transaction; its result is returned once it is durable."""
        return self._writer.run(work, wait_seconds=self._wait_seconds)

    def post(self, work: Work[None]) -> None:
        """Do work soon, without waiting for it and without hearing of a failure."""
        self._writer.post(work)

    def read(self, work: Work[T]) -> T:
        """Do work that reads, outside of any transaction: each statement sees the newest."""
        connection = self._borrow()
        # Written out, without context managers: each request comes through here twice.
        try:
            return work(connection)
        except (sqlite3.Error, OSError):
            with explained(self.path):
                raise
        finally:
            if not self._closed:
                self._idle.append(connection)

    def read_together(self, work: Work[T]) -> T:
        """Do work whose statements must all see one state of the database."""

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("COMMIT")

        return self.read(transaction)

    # --- life -------------------------------------------------------------------------------

    def setup(self) -> list[str]:
        """Create the file, or bring it forward."""
        created = not os.path.exists(self.path)
        connection = connect(self.path, create=True)
        try:
            with explained(self.path), in_turn(self.path):
                done = schema.migrate(connection, self.path, self._migrations)
        finally:
            connection.close()
        return [f"{self.path}: created, for this user alone", *done] if created else done

    def check(self) -> None:
        """Prove that it is there and whole."""
        self.read(lambda connection: schema.check(connection, self.path, self._migrations))

    def close(self) -> None:
        """Finish what is queued, and close everything."""
        self._writer.close()
        with self._lock:
            self._closed = True
            connections, self._idle, self._all = self._all, [], []
        for connection in connections:
            connection.close()

    def _borrow(self) -> sqlite3.Connection:
        """A connection that nobody uses; popping from a list is atomic."""
        if self._closed:
            raise StoreError(f"{self.path}: the store was closed")
        try:
            return self._idle.pop()
        except IndexError:
            connection = self._open()
            with self._lock:
                self._all.append(connection)
            return connection

    def _open(self) -> sqlite3.Connection:
        connection = connect(self.path)
        try:
            schema.require_current(connection, self.path, self._migrations)
        except BaseException:
            connection.close()
            raise
        return connection

    def _after_fork(self) -> None:
        inherited = [*self._all, self._writer.connection]
        for connection in inherited:
            if connection is not None:
                _keep_for_ever(connection)
        self._writer.forget()
        self._begin()


def _keep_for_ever(connection: sqlite3.Connection) -> None:
    """Make sure that nothing ever closes the connection, not even the interpreter's end."""
    increment: Callable[[object], None] = ctypes.pythonapi.Py_IncRef
    increment(ctypes.py_object(connection))
