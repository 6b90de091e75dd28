"""Puts and removes files below the client's own folder for them, `STATE/files`.

Paths were checked when the command was read (`commanddoc.is_safe_path`); here each folder on
the way is opened by descriptor and never through a link, so that nobody who can write in one
leads us elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator

from qlmdm_core import commanddoc
from qlmdm_core.client.commands.journal import mounted_below
from qlmdm_core.client.disk import Directory

FOLDER = "files"

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def put(state_path: str, path: str, source: str, mode: int) -> None:
    """Move the file `source` to `path`, durably, replacing what is there in one step.

    Raises `OSError`, also if something on the way is a link or a file.
    """
    with _parent(state_path, path, create=True) as (parent, name):
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(source, name, dst_dir_fd=parent)
        os.fsync(parent)


def remove(state_path: str, path: str) -> bool:
    """Take a file away, or a folder with all that is in it; False if it is not there.

    A link is taken away itself. Raises `OSError`.
    """
    try:
        with _parent(state_path, path, create=False) as (parent, name):
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                # Safe below a folder that is ours alone, which `_parent` has just walked.
                whole = os.path.join(state_path, FOLDER, path)
                if inside := mounted_below(whole):
                    raise OSError(16, "something is mounted there", inside)
                shutil.rmtree(whole)
            else:
                os.unlink(name, dir_fd=parent)
            os.fsync(parent)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def _parent(state_path: str, path: str, *, create: bool) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that `path` is in, and its name there."""
    if not commanddoc.is_safe_path(path):
        raise OSError(1, "its path leads elsewhere", path)
    *folders, name = path.split("/")
    top = os.path.join(state_path, FOLDER)
    if not create and not os.path.lexists(top):
        raise FileNotFoundError(2, "no such file", top)
    with contextlib.ExitStack() as stack:
        Directory(top).close()  # made, ours, and nobody else's to write
        fd = _opened(stack, top, None)
        for folder in folders:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o700, dir_fd=fd)
                    os.fsync(fd)
            fd = _opened(stack, folder, fd)
        yield fd, name


def _opened(stack: contextlib.ExitStack, name: str, parent: int | None) -> int:
    fd = os.open(name, _OPEN, dir_fd=parent)
    stack.callback(os.close, fd)
    return fd
