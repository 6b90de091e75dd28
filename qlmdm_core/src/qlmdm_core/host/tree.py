"""The files of a recorded machine: a folder that is seen as if it were `/`.

Symbolic links keep the target they had on the machine, so an absolute one points outside
the folder. Here every link is followed by hand, and each step stays inside.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from qlmdm_core.host.common import absolute

MOST_LINKS = 40  # path_resolution(7): Linux gives up with ELOOP after 40


class FileTree:
    """A folder seen as `/`, and paths that are known to exist without being stored in it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._known: dict[str, set[str]] = {}

    def know(self, paths: Iterable[str]) -> None:
        """Let these paths exist, with their parents, though the folder does not hold them."""
        for path in paths:
            try:
                where = self.resolve(path, missing_ok=True)
            except OSError:
                continue
            self._known.setdefault(where, set())
            while where != "/":
                parent, name = os.path.split(where)
                self._known.setdefault(parent, set()).add(name)
                where = parent

    def on_disk(self, resolved: str) -> str:
        """Where a resolved path is stored."""
        return self.root + resolved

    def resolve(self, path: str, *, follow_last: bool = True, missing_ok: bool = False) -> str:
        """The path without links and dots, as seen from inside.

        Raises `OSError` as the kernel does: ENOENT (unless `missing_ok`), ENOTDIR, ELOOP.
        """
        waiting = [part for part in absolute(path).split("/") if part and part != "."]
        waiting.reverse()
        done: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                if done:
                    done.pop()
                continue
            here = "/" + "/".join([*done, part])
            mode = self._mode(here)
            if mode is None and not missing_ok:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if mode is not None and stat.S_ISLNK(mode) and (waiting or follow_last):
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(self.on_disk(here))
                if target.startswith("/"):
                    done = []
                waiting += [p for p in reversed(target.split("/")) if p and p != "."]
                continue
            if waiting and mode is not None and not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            done.append(part)
        return "/" + "/".join(done)

    def _mode(self, resolved: str) -> int | None:
        """Type and permissions of what is stored; of a folder, if it is only known to exist."""
        try:
            return os.lstat(self.on_disk(resolved)).st_mode
        except FileNotFoundError:
            # Only the folder's own links are followed, so a known path is a plain name; whether
            # it is a file or a folder matters to nobody who walks through it.
            return stat.S_IFDIR if resolved in self._known else None

    def names(self, resolved: str) -> list[str]:
        """What a folder holds, on disk or by knowledge, sorted."""
        names = set(self._known.get(resolved, ()))
        try:
            names.update(os.listdir(self.on_disk(resolved)))
        except FileNotFoundError:
            if resolved not in self._known:
                raise
        return sorted(names)

    def has_known_children(self, resolved: str) -> bool:
        """Whether something is known to exist below this path."""
        return resolved == "/" or bool(self._known.get(resolved))
