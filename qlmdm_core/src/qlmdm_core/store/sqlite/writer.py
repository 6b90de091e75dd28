"""Durable writes, in groups and in turn: one thread of each process writes for all its threads.

SQLite lets one connection write at a time and makes the others poll, which starves some of
them for seconds; and each commit waits for the disk. So jobs are queued to one thread, which
takes all that are waiting, runs them in one transaction, commits (with `synchronous=FULL`)
and only then tells those who wait. Between processes, these threads queue on file locks.
Who finds nobody before him, neither here nor in another process, writes himself: waking one
thread and being woken by it takes longer than the write.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

from qlmdm_core.errors import StoreError, StoreUnavailableError
from qlmdm_core.store.sqlite.connection import explain
from qlmdm_core.store.sqlite.turns import WriteLocks

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""Something to do inside a transaction. It may be run again if the transaction failed."""

WAIT_SECONDS = 15.0
"""How long a caller waits for its write before it is told that the database is away."""

MAX_GROUP = 64
"""The most jobs of one transaction."""

MAX_UNWATCHED = 10_000
"""The most jobs that may wait without anybody waiting for them."""


class _Job(Generic[T]):
    """A piece of work and the one who waits for it. (A lock is lighter than an Event.)"""

    __slots__ = ("abandoned", "done", "error", "result", "work")

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.done = threading.Lock()
        self.done.acquire()
        self.result: T | None = None
        self.error: Exception | None = None
        self.abandoned = False


class Writer:
    """The queue of one process, and the thread that serves it. The thread starts on use."""

    def __init__(self, path: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._writing = threading.Lock()
        """Held by the one thread of this process that uses the connection."""
        self._busy = False
        """Whether the thread has jobs in its hands: those come first."""
        self._locks = WriteLocks(path)
        self.connection: sqlite3.Connection | None = None
        """The only one that writes: after a fork, the child must keep it and not touch it."""

    def run(self, work: Work[T], *, wait_seconds: float = WAIT_SECONDS) -> T:
        """Do the work in a transaction; return its result once it is durable.

        Raises what the work raised, or `StoreUnavailableError` if that took too long.
        """
        job = _Job(work)
        if self._run_at_once(job):
            if job.error is not None:
                raise job.error
            return cast("T", job.result)
        self._enqueue(job)
        if not job.done.acquire(timeout=wait_seconds):
            job.abandoned = True
            raise StoreUnavailableError(
                f"{self._path}: could not be written for {wait_seconds:.0f} s; another process "
                f"keeps it locked (see `fuser {self._path}.lock {self._path}`), or the disk is slow"
            )
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    def post(self, work: Work[None]) -> None:
        """Do the work soon; nobody waits for it, and it is lost if it fails."""
        if self._jobs.qsize() < MAX_UNWATCHED:
            self._enqueue(_Job(work))

    def close(self) -> None:
        """Do what is queued, then let go of the connection."""
        with self._starting:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._jobs.put(None)
            thread.join(WAIT_SECONDS)
        if self._writing.acquire(timeout=WAIT_SECONDS):
            try:
                self._locks.close()
                if self.connection is not None:
                    self.connection.close()
                    self.connection = None
            finally:
                self._writing.release()

    def forget(self) -> None:
        """In a child of fork(2): let go of the locks' files, which the parent has as well."""
        self._locks.forget()

    # --- without the thread -----------------------------------------------------------------

    def _run_at_once(self, job: _Job[Any]) -> bool:
        """Do the job in this thread, if nobody else writes or waits; False if somebody does.

        Nobody is overtaken: not the queue of this process, nor another process, because one
        that waits stands in the anteroom.
        """
        if self._busy or self._closed or not self._jobs.empty():
            return False
        if not self._writing.acquire(blocking=False):
            return False
        try:
            if self.connection is None or not self._locks.try_acquire():
                return False
            try:
                self._serve_jobs(self.connection, [job])
            finally:
                self._locks.release()
        except OSError:
            return False  # the thread will meet it again, and tell
        finally:
            self._writing.release()
        return True

    # --- the thread -------------------------------------------------------------------------

    def _enqueue(self, job: _Job[Any]) -> None:
        if self._thread is None:
            with self._starting:
                if self._closed:
                    raise StoreError(f"{self._path}: the store was closed")
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._serve, name="qlmdm-store-writer", daemon=True
                    )
                    self._thread.start()
        elif self._closed:
            raise StoreError(f"{self._path}: the store was closed")
        self._jobs.put(job)

    def _serve(self) -> None:
        job = self._jobs.get()
        while job is not None:
            self._busy = True
            last = self._serve_group(job)
            self._busy = False
            job = None if last else self._jobs.get()

    def _serve_group(self, first: _Job[Any]) -> bool:
        """Write the first job and those that wait behind it; True if it was time to close."""
        group = [first]
        last = False
        try:
            with self._writing:
                if self.connection is None:
                    self.connection = self._connect()
                self._locks.acquire()
                try:
                    # Only now: others came while this process waited for its turn.
                    last = self._gather(group)
                    self._serve_jobs(self.connection, group)
                finally:
                    self._locks.release()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._tell(group, error)
        for job in group:
            job.done.release()
        return last

    def _serve_jobs(self, connection: sqlite3.Connection, group: list[_Job[Any]]) -> None:
        try:
            self._write(connection, [job for job in group if not job.abandoned])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._tell(group, error)

    def _tell(self, group: list[_Job[Any]], error: Exception) -> None:
        for job in group:
            if job.error is None:
                job.error = _told(self._path, error)

    def _gather(self, group: list[_Job[Any]]) -> bool:
        while len(group) < MAX_GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return False
            if job is None:
                return True
            group.append(job)
        return False

    def _write(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
        """All in one transaction; if a job fails, again, each under a savepoint of its own.

        Savepoints would cost as much as the work, and a job fails next to never.
        """
        try:
            with transaction(connection):
                for job in jobs:
                    with _told_apart():
                        job.result = job.work(connection)
        except _JobError as failed:
            if len(jobs) == 1:
                raise failed.error from None
            with transaction(connection):
                for job in jobs:
                    self._write_alone(connection, job)

    def _write_alone(self, connection: sqlite3.Connection, job: _Job[Any]) -> None:
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise  # SQLite gave up the whole transaction: a full disk, an I/O error
            connection.execute("ROLLBACK TO job")
            job.error = _told(self._path, error)
        connection.execute("RELEASE job")


class _JobError(Exception):
    """A job failed, not the transaction around it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _JobError(error) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: committed at the end, or rolled back if anything failed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _told(path: str, error: Exception) -> Exception:
    """What to tell one who waits; an exception of his own, as threads must not share one."""
    if isinstance(error, sqlite3.Error):
        return explain(path, error)
    if isinstance(error, OSError):
        return StoreUnavailableError(f"{path}: {error}; its folder must be writable by this user")
    if isinstance(error, StoreError):
        return type(error)(*error.args)
    return error
