"""The few operations on files that installing a release is made of, one system call each.

The installer, the launcher's bookkeeping and the rollback change the disk by these methods and
by nothing else, so that a model of a file system can stand in for the real one: it forgets what
was not fsynced, and cuts the power between any two calls. What makes a change durable is spelt
out by the callers (fsync(2): a file's data needs `fsync`, its name `fsync_dir` of the folder).

Paths are relative to one root, with `/`. Methods raise `OSError` as the system gives it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Stat(NamedTuple):
    """What lstat(2) says; no link is followed."""

    kind: str
    """"file", "dir", "link" or "other"."""
    size: int
    mode: int
    """Permission bits."""
    inode: int
    mtime_ns: int
    ctime_ns: int


class Files(Protocol):
    """A tree of files below one root."""

    # --- reading --------------------------------------------------------------------------

    def read(self, path: str, max_bytes: int) -> bytes:
        """A regular file, whole. `OSError` (EFBIG) if it is longer."""

    def names(self, path: str) -> list[str]:
        """What is in a folder, sorted."""

    def stat(self, path: str) -> Stat | None:
        """What is there; None: nothing."""

    def readlink(self, path: str) -> str:
        """Where a symbolic link leads."""

    # --- writing: each is one system call, and can be the last before the power fails ---------

    def mkdir(self, path: str) -> None:
        """A new folder, mode 0700."""

    def create(self, path: str, mode: int) -> int:
        """A new, empty file (O_CREAT | O_EXCL | O_NOFOLLOW); its handle. `FileExistsError`."""

    def write(self, handle: int, data: bytes) -> None:
        """Append all of `data`; what was written before an `OSError` is there."""

    def fsync(self, handle: int) -> None:
        """Make the file's data and size durable."""

    def close(self, handle: int) -> None:
        """Let go of a handle; writes nothing."""

    def rename(self, source: str, target: str) -> None:
        """Move a file, link or folder over what is at `target`, atomically (rename(2))."""

    def symlink(self, destination: str, path: str) -> None:
        """A new symbolic link at `path`."""

    def unlink(self, path: str) -> None:
        """Take a file or link away."""

    def rmdir(self, path: str) -> None:
        """Take an empty folder away."""

    def fsync_dir(self, path: str) -> None:
        """Make the names in a folder durable ("" is the root)."""
