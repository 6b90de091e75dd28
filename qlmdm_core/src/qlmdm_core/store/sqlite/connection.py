"""Opening the database file, and saying in words what SQLite could not do with it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from qlmdm_core.errors import (
    NotSetUpError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)

BUSY_SECONDS = 10.0
"""How long SQLite itself waits for a lock of something that is not qlmdm (a backup, say)."""

MAX_IDLE_WAL_BYTES = 64 << 20
"""A -wal file that grew larger in a busy hour is cut to this."""

# What SQLite says (sqlite3ErrStr in main.c, and the messages of Python's module), and what
# to do about it. Python 3.10 gives no error codes, so the text has to do.
_ADVICE = {
    "database is locked": "another program keeps it locked: see `fuser {path}`",
    "database table is locked": "another program keeps it locked: see `fuser {path}`",
    "database or disk is full": "make room on its file system: see `df {folder}`",
    "attempt to write a readonly database": "it must be writable by this user, with its folder",
    "unable to open database file": "the folder must exist and be writable by this user",
    "access permission denied": "it must be readable and writable by this user",
    "disk I/O error": "the file system failed or is full: see `dmesg` and `df {folder}`",
    "locking protocol": "the file system must support locks: do not use a network share",
    "large file support is disabled": "use a file system with large files",
}
_CORRUPT = ("database disk image is malformed", "file is not a database", "malformed database")


def _exists(path: str) -> bool:
    """Whether the file is there. Raises `StoreUnavailableError` if this user can't tell."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreUnavailableError(
            f"{path}: {error.strerror}; run this as the user who owns the database"
        ) from None
    return True


def connect(path: str, *, create: bool = False) -> sqlite3.Connection:
    """A connection to the file, without implicit transactions; usable from any one thread."""
    if not create and not _exists(path):
        missing_folder(path)
        raise NotSetUpError(f"{path}: there is no database yet; run qlmdm-server-setup")
    if create:
        _create_private(path)
    with explained(path):
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {MAX_IDLE_WAL_BYTES}")
        except BaseException:
            connection.close()
            raise
    return connection


def missing_folder(path: str) -> None:
    """Raise if the folder of the database is missing or may not be entered."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise StoreUnavailableError(
            f"{path}: the folder {folder} is missing or may not be entered; create it, owned by "
            "the user that runs the server, or correct store in the settings"
        )


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn SQLite's errors inside the block into qlmdm's."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, error) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"{path}: {error.strerror or error}; it and its folder must be writable by this user"
        ) from error


def explain(path: str, error: sqlite3.Error) -> StoreError:
    """The error of our tree that says what, where, and what to do."""
    text = str(error)
    if text.startswith(_CORRUPT):
        return StoreCorruptError(
            f"{path}: {text}; nothing was changed. Stop the server, keep a copy of the file with "
            "its -wal, and restore a backup"
        )
    for start, advice in _ADVICE.items():
        if text.startswith(start):
            what = advice.format(path=path, folder=os.path.dirname(path) or ".")
            return StoreUnavailableError(f"{path}: {text}; {what}")
    return StoreError(f"{path}: {type(error).__name__}: {text}")


def _create_private(path: str) -> None:
    """Create the file for its owner alone; SQLite gives its -wal and -shm the same mode."""
    missing_folder(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailableError(
            f"{path}: can't be created: {error.strerror}; its folder must be writable by this user"
        ) from error
