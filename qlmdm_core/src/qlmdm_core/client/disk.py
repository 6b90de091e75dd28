"""A private directory whose files survive a power cut: what the client's state is kept in.

Everything is relative to a descriptor of the directory, so that nobody can put a symbolic
link in the way, and each method is one step that can fail alone. What makes a change durable
is spelt out by the callers: write and fsync the new file, rename it into place, fsync the
directory (rename(2) is atomic, but neither the data nor the name is on disk before that).

This module is loaded every minute: it imports nothing that an interpreter has not loaded yet.
"""

from __future__ import annotations

import os
import stat

from qlmdm_core.errors import SpoolError

TEMPORARY = ".new-"
"""How the names of files begin that are not whole yet."""


class Directory:
    """One directory of ours: mode 0700, our own, not reached through a link of its own name.

    Methods raise `OSError` as the system gives it, with `SpoolError` only for what an
    administrator must mend when it is opened.
    """

    def __init__(self, path: str, *, create: bool = True) -> None:
        """Open it, or make it first. Raises `SpoolError` if it can't be trusted or made."""
        self.path = path
        try:
            if create and not os.path.isdir(path):
                _make(path)
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise SpoolError(f"{path}: {_why_not_opened(path, error)}") from None
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        info = os.fstat(self._fd)
        if info.st_uid != os.geteuid():
            raise SpoolError(
                f"{self.path} belongs to uid {info.st_uid}, not to uid {os.geteuid()} who runs this"
            )
        if info.st_mode & 0o022:
            raise SpoolError(
                f"{self.path} can be written by others (mode {stat.S_IMODE(info.st_mode):o}); "
                "what is in it can't be trusted: look at it, then chmod 700"
            )
        if info.st_mode & 0o077:
            os.fchmod(self._fd, 0o700)

    def close(self) -> None:
        """Let go of the directory; it can't be used afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one step each ---------------------------------------------------------------------

    def names(self) -> list[str]:
        """What is in it, sorted."""
        return sorted(os.listdir(self._fd))

    def size(self, name: str) -> int:
        """Bytes in a file of it."""
        return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_size

    def read(self, name: str, max_bytes: int) -> bytes:
        """A regular file's content; raises `OSError` (EFBIG) if there is more of it."""
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd
        )
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(22, "not a regular file", name)
            chunks: list[bytes] = []
            left = max_bytes + 1
            while left and (chunk := os.read(fd, min(left, 1 << 20))):
                chunks.append(chunk)
                left -= len(chunk)
        finally:
            os.close(fd)
        if not left:
            raise OSError(27, f"larger than {max_bytes} bytes", name)
        return b"".join(chunks)

    def create(self, name: str) -> int:
        """A new, empty file (0600), as a descriptor; raises `FileExistsError`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, 0o600, dir_fd=self._fd)

    def append(self, fd: int, data: bytes) -> int:
        """Write some of `data`, and say how much."""
        return os.write(fd, data)

    def sync_file(self, fd: int) -> None:
        """Wait until the file's content is on disk."""
        os.fsync(fd)

    def close_file(self, fd: int) -> None:
        """Close what `create` opened."""
        os.close(fd)

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, replacing what had it, in one step."""
        os.rename(name, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def unlink(self, name: str) -> bool:
        """Take a name away, and say whether it was there."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def truncate(self, name: str) -> None:
        """Empty a file: gives its blocks back even where nothing can be created any more."""
        fd = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        os.close(fd)

    def sync(self) -> None:
        """Wait until the names in the directory are on disk."""
        os.fsync(self._fd)

    # --- composed of them --------------------------------------------------------------------

    def write(self, name: str, data: bytes) -> None:
        """Make `name` hold exactly `data`, durably: after a crash it is the old or the new."""
        temporary = TEMPORARY + name
        self.unlink(temporary)
        fd = self.create(temporary)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[self.append(fd, bytes(view[: 1 << 20])) :]
                self.sync_file(fd)
            finally:
                self.close_file(fd)
            self.rename(temporary, name)
        except OSError:
            self.unlink(temporary)
            raise
        self.sync()

    def remove(self, name: str) -> None:
        """Take a file away, durably; no error if it is not there."""
        self.unlink(name)
        self.sync()


def _make(path: str) -> None:
    """Make the directory, and its parents; their names are on disk before anything is in it."""
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent):
        _make(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return  # somebody was faster, or it is something else, which opening it will tell
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _why_not_opened(path: str, error: OSError) -> str:
    if os.path.islink(path):
        return "is a symbolic link; name the directory itself"
    if isinstance(error, PermissionError):
        return "permission denied; run it as root, or set QLMDM_STATE_DIR to a directory of yours"
    return error.strerror or str(error)
