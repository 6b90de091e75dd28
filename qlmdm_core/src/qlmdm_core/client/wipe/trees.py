"""Takes a folder away with all that is in it, and nothing else: `remove_tree`.

Links are removed, not followed: each folder is opened by its name in the one above
(O_NOFOLLOW), and files are unlinked there. What is mounted inside stays: the kernel's number of
the mount (fdinfo, proc_pid_fdinfo(5)) must be the one of the folder where it began. That also
holds for a bind mount of the same file system, whose st_dev is the same, and lets through
subvolumes of btrfs, whose st_dev differs. It uses three descriptors, however deep the tree is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeAlias

May: TypeAlias = Callable[[os.stat_result], bool]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_TOLD = 20


@dataclass
class Removed:
    """What came of it."""

    files: int = 0
    folders: int = 0
    left: list[str] = field(default_factory=list)
    """What is still there, and why; the first of them."""
    more_left: int = 0

    def leave(self, path: str, why: str) -> None:
        """Note what stays."""
        if len(self.left) < MAX_TOLD:
            self.left.append(f"{path}: {why}")
        else:
            self.more_left += 1


def mount_of(fd: int) -> int:
    """The kernel's number of the mount that an open file is on. Raises `OSError`."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise OSError("fdinfo does not tell the mount")


@dataclass
class _Level:
    """A folder on the way down."""

    identity: tuple[int, int]
    """st_dev and st_ino."""
    name: str
    """Its name in the folder above."""
    todo: list[str]


def remove_tree(
    parent: int,
    name: str,
    where: str,
    *,
    mounted: Collection[str],
    may: May = lambda _: True,
) -> Removed:
    """Remove `name`, a folder or file in the open folder `parent`; `where` is its path.

    `mounted` are the paths at which something is mounted: none is even opened, because that may
    hang. `may(stat)` has the last word on the top of the tree, once it is open.
    """
    done = Removed()
    try:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(info.st_mode):
            if may(info):
                os.unlink(name, dir_fd=parent)
                done.files += 1
            else:
                done.leave(where, "it is somebody else's")
            return done
        top = os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        done.leave(where, error.strerror or str(error))
        return done
    try:
        if not may(os.fstat(top)):
            done.leave(where, "it is somebody else's")
            return done
        _Walk(top, where, mounted, done).run()
    except OSError as error:
        done.leave(where, error.strerror or str(error))
        return done
    _remove_folder(parent, name, where, done)
    return done


def _remove_folder(parent: int, name: str, where: str, done: Removed) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
        done.folders += 1
    except OSError as error:
        done.leave(where, error.strerror or str(error))


class _Walk:
    """Empties one folder. Goes down by opening names, and up by opening ".." and looking
    whether that is where it came from."""

    def __init__(self, top: int, where: str, mounted: Collection[str], done: Removed) -> None:
        self._fd = top
        self._mounted = mounted
        self._done = done
        self._mount = mount_of(top)
        self._levels = [_Level(_identity(top), where, os.listdir(top))]

    def run(self) -> None:
        try:
            while True:
                level = self._levels[-1]
                if level.todo:
                    self._take(level.todo.pop())
                elif len(self._levels) == 1:
                    return
                else:
                    self._up()
        finally:
            os.close(self._fd)

    def _path(self, name: str) -> str:
        return "/".join([*(level.name for level in self._levels), name])

    def _take(self, name: str) -> None:
        path = self._path(name)
        if path in self._mounted:
            self._done.leave(path, "something is mounted there")
            return
        try:
            info = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                os.unlink(name, dir_fd=self._fd)
                self._done.files += 1
                return
            self._down(name, path)
        except OSError as error:
            self._done.leave(path, error.strerror or str(error))

    def _down(self, name: str, path: str) -> None:
        fd = os.open(name, _FOLDER, dir_fd=self._fd)
        try:
            if not self._is_same_mount(fd):
                self._done.leave(path, "something is mounted there")
                os.close(fd)
                return
            level = _Level(_identity(fd), name, os.listdir(fd))
        except BaseException:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd
        self._levels.append(level)

    def _is_same_mount(self, fd: int) -> bool:
        return mount_of(fd) == self._mount

    def _up(self) -> None:
        emptied = self._levels.pop()
        fd = os.open("..", _FOLDER, dir_fd=self._fd)
        os.close(self._fd)
        self._fd = fd
        if _identity(fd) != self._levels[-1].identity:
            raise OSError("a folder was moved away meanwhile")
        _remove_folder(fd, emptied.name, self._path(emptied.name), self._done)


def _identity(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino
