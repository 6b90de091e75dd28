"""Connecting to MongoDB, lazily and after a fork, and saying in words what went wrong."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from qlmdm_core.errors import SettingsError, StoreError, StoreUnavailableError

Document: TypeAlias = dict[str, Any]
Documents: TypeAlias = Collection[Document]
Mongo: TypeAlias = Database[Document]
Client: TypeAlias = MongoClient[Document]

WAIT_SECONDS = 15.0
"""How long a write, or the search for a primary, may take."""

_REFUSED = (13, 18)  # Unauthorized, AuthenticationFailed (MongoDB's error_codes.yml)
_AWAY = (
    *(6, 7, 50, 64, 89, 91, 189, 262),  # unreachable, timed out, shutting down, no majority
    *(9001, 10107, 11600, 11602, 13435, 13436),  # not (or no longer) the primary
)


class Connection:
    """The database of one URL: connected on first use, and anew in a child of fork(2).

    PyMongo's clients must not be shared with a child
    (https://www.mongodb.com/docs/languages/python/pymongo-driver/current/faq/, "fork-safe").
    """

    def __init__(self, connect: Callable[[], Client], name: str, where: str) -> None:
        self._connect = connect
        self._name = name
        self.where = where
        """Hosts and database, without user and password: for messages."""
        self._closed = False
        self._inherited: list[Client] = []
        self._begin()
        me = weakref.ref(self)

        def after_fork() -> None:
            connection = me()
            if connection is not None:
                connection._after_fork()

        os.register_at_fork(after_in_child=after_fork)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._client: Client | None = None

    def _after_fork(self) -> None:
        if self._client is not None:
            self._inherited.append(self._client)  # closing it would end the parent's sessions
        self._begin()

    @contextmanager
    def use(self) -> Iterator[Mongo]:
        """The database; errors inside the block become qlmdm's."""
        with explained(self.where):
            with self._lock:
                if self._closed:
                    raise StoreError(f"{self.where}: the store was closed")
                if self._client is None:
                    self._client = self._connect()
                client = self._client
            yield client[self._name]

    def close(self) -> None:
        """Let go of all sockets."""
        with self._lock:
            self._closed = True
            if self._client is not None:
                self._client.close()
                self._client = None


def connection_of(url: str, *, wait_seconds: float = WAIT_SECONDS) -> Connection:
    """The connection that a URL means; nothing is sent yet."""
    # For messages: only what comes after the last @, wherever it is, so that a password with
    # a slash or a question mark that was not encoded is not shown either.
    scheme, _, rest = url.partition("://")
    where = f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that does not close
        raise SettingsError(f"{where} is no URL", key="store") from None
    name = parts.path.removeprefix("/")
    if not name or "/" in name or not parts.netloc:
        raise SettingsError(
            f"{where} names no database: expected mongodb://HOST/DATABASE (a / or ? in a "
            "password must be encoded)",
            key="store",
        )

    def connect() -> Client:
        try:
            return _strict_client(
                url,
                # What was acknowledged is in the journals of a majority, whatever the URL says.
                w="majority",
                journal=True,
                wTimeoutMS=int(wait_seconds * 1000),
                read_preference=ReadPreference.PRIMARY,
                serverSelectionTimeoutMS=int(wait_seconds * 1000),
                connectTimeoutMS=5_000,
                socketTimeoutMS=int(2 * wait_seconds * 1000),
                tz_aware=True,
                appname="qlmdm",
            )
        except UserWarning as warning:
            raise SettingsError(f"{where} can't be used: {warning}", key="store") from None
        except (InvalidURI, ConfigurationError, ValueError) as error:
            # The error may repeat the URL, with its password.
            raise SettingsError(
                f"{where} can't be used: {type(error).__name__}; see MongoDB's documentation of "
                "connection strings (a %, : or @ in a password must be encoded)",
                key="store",
            ) from None

    return Connection(connect, name, where)


def _strict_client(url: str, **options: Any) -> Client:
    """A client; an option that is wrong is an error. (PyMongo warns, and leaves it away: `tls`.)"""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return MongoClient(url, **options)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn PyMongo's errors inside the block into qlmdm's."""
    try:
        yield
    except PyMongoError as error:
        raise explain(where, error) from error


def explain(where: str, error: PyMongoError) -> StoreError:
    """The error of our tree that says what, where, and what to do."""
    text = str(error).split(", Timeout:")[0][:500]  # the rest is a description of the cluster
    if isinstance(error, (ConnectionFailure, ExecutionTimeout, WTimeoutError)):
        return StoreUnavailableError(f"{where}: MongoDB does not answer: {text}; is it running?")
    if isinstance(error, OperationFailure):
        if error.code in _REFUSED:
            return StoreUnavailableError(
                f"{where}: MongoDB refuses: {text}; see user, password and authSource in store"
            )
        if error.code in _AWAY or error.has_error_label("RetryableWriteError"):
            return StoreUnavailableError(f"{where}: MongoDB can't do it now: {text}")
    if isinstance(error, DocumentTooLarge):
        return StoreError(f"{where}: larger than MongoDB takes (16 MB): {text}")
    return StoreError(f"{where}: {type(error).__name__}: {text}")
