"""`Files` on the real file system: everything below one folder, and no way out of it.

The folder is held by a descriptor. Each path is walked from there, one name at a time, and no
step follows a symbolic link, so that neither a link nor a name can lead elsewhere (openat(2)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from qlmdm_core.client.release.files import Stat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


class RealFiles:
    """The tree below a folder. Use it in a `with` statement, or call `close_root`."""

    def __init__(self, root: str) -> None:
        """`root` must be there, and must be no link. Raises `OSError`."""
        self.root = os.path.abspath(root)
        self._fd = os.open(self.root, _FOLDER)

    def close_root(self) -> None:
        """Let go of the folder; nothing can be done with it afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> RealFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_root()

    # --- reading ------------------------------------------------------------------------------

    def read(self, path: str, max_bytes: int) -> bytes:
        """See `Files`, as for all methods here."""
        with self._parent(path) as (folder, name):
            fd = os.open(name, _READ, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            chunks: list[bytes] = []
            left = max_bytes + 1
            while left and (chunk := os.read(fd, min(left, _CHUNK))):
                chunks.append(chunk)
                left -= len(chunk)
        finally:
            os.close(fd)
        if not left:
            raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", path)
        return b"".join(chunks)

    def names(self, path: str) -> list[str]:
        with self._folder(path) as folder:
            return sorted(os.listdir(folder))

    def stat(self, path: str) -> Stat | None:
        try:
            with self._parent(path) as (folder, name):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Stat(
            kind=_kind(found.st_mode),
            size=found.st_size,
            mode=stat.S_IMODE(found.st_mode),
            inode=found.st_ino,
            mtime_ns=found.st_mtime_ns,
            ctime_ns=found.st_ctime_ns,
        )

    def readlink(self, path: str) -> str:
        with self._parent(path) as (folder, name):
            return os.readlink(name, dir_fd=folder)

    # --- writing ------------------------------------------------------------------------------

    def mkdir(self, path: str) -> None:
        with self._parent(path) as (folder, name):
            os.mkdir(name, 0o700, dir_fd=folder)

    def create(self, path: str, mode: int) -> int:
        with self._parent(path) as (folder, name):
            fd = os.open(name, _CREATE, mode, dir_fd=folder)
        try:
            os.fchmod(fd, mode)  # whatever the umask is; nothing but permissions is in `mode`
        except BaseException:
            os.close(fd)
            raise
        return fd

    def write(self, handle: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def fsync(self, handle: int) -> None:
        os.fsync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def rename(self, source: str, target: str) -> None:
        with self._parent(source) as (old, name), self._parent(target) as (new, other):
            os.rename(name, other, src_dir_fd=old, dst_dir_fd=new)

    def symlink(self, destination: str, path: str) -> None:
        with self._parent(path) as (folder, name):
            os.symlink(destination, name, dir_fd=folder)

    def unlink(self, path: str) -> None:
        with self._parent(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def rmdir(self, path: str) -> None:
        with self._parent(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def fsync_dir(self, path: str) -> None:
        with self._folder(path) as folder:
            os.fsync(folder)

    # --- the walk -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder that a path's last name is in, open, and that name."""
        parts = _parts(path)
        if not parts:
            raise OSError(errno.EINVAL, "this is the root itself", path)
        with self._walk(parts[:-1]) as folder:
            yield folder, parts[-1]

    @contextlib.contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        with self._walk(_parts(path)) as folder:
            yield folder

    @contextlib.contextmanager
    def _walk(self, parts: list[str]) -> Iterator[int]:
        fd = os.open(".", _FOLDER, dir_fd=self._fd)
        try:
            for part in parts:
                below = os.open(part, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def _parts(path: str) -> list[str]:
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise OSError(errno.EINVAL, "not a path below the root", path)
    return parts


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "other"
