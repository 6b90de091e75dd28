"""Writes files that nobody but their owner may read, whole or not at all, and durably."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator

from qlmdm_core.errors import SettingsError


def write_new(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file that must not exist yet. Raises `SettingsError`."""
    with _written(path, text, mode) as temporary:
        os.link(temporary, path)  # fails if somebody else wrote it meanwhile
        os.unlink(temporary)


def replace(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file in place of the one that may be there, whose owner stays.

    Raises `SettingsError`.
    """
    with _written(path, text, mode) as temporary:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(path)
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, found.st_uid, found.st_gid)
        os.rename(temporary, path)


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """For the time of a `with` statement, what is made is its owner's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """For the time of a `with` statement, no other process is inside one for this file.

    The file is made if it is missing, and stays. Raises `SettingsError`.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"can't be written: {error.strerror}", file=path) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _written(path: str, text: str, mode: int) -> Iterator[str]:
    """A temporary file beside `path` that has this text; afterwards the folder is fsynced."""
    folder = os.path.dirname(os.path.abspath(path))
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{secrets.token_hex(4)}")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    except OSError as error:
        raise SettingsError(f"can't be written: {error.strerror}", file=path) from None
