"""This machine: the host that collectors get in production."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from qlmdm_core.api import JSON, CommandResult, DistroAdapter, FileStat, HttpResponse, Process
from qlmdm_core.host import command, procfs
from qlmdm_core.host.common import DistroHolder, DistroSource, absolute, glob_paths
from qlmdm_core.host.memory import Memory

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class RealHost:
    """`api.Host` for the machine that this runs on."""

    def __init__(self, *, distro: DistroSource = None, memory: str | None = None) -> None:
        """`memory` is the file in which a collector keeps what it remembers; None: it can't."""
        self._distro = DistroHolder(distro)
        self._memory = Memory(memory)

    @property
    def distro(self) -> DistroAdapter | None:
        """The adapter that was given for this machine."""
        return self._distro.get()

    @property
    def is_root(self) -> bool:
        """Whether this process may do everything."""
        return os.geteuid() == 0

    def now(self) -> datetime:
        """The present, UTC."""
        return datetime.now(timezone.utc)

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 10.0,
        max_bytes: int = 4 << 20,
    ) -> CommandResult:
        """Run a program; see `qlmdm_core.host.command`."""
        return command.run(
            argv, user=user, env=env, stdin=stdin, timeout=timeout, max_bytes=max_bytes
        )

    def which(self, program: str) -> str | None:
        """The program's path on the fixed PATH."""
        return command.find_program(program)

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        """The text of a regular file. Nothing else is opened, however it is swapped meanwhile."""
        handle = _open_regular(absolute(path))
        try:
            parts: list[bytes] = []
            room = max_bytes
            while room > 0 and (part := os.read(handle, min(room, 1 << 20))):
                parts.append(part)
                room -= len(part)
        finally:
            os.close(handle)
        return b"".join(parts).decode("utf-8", "replace")

    def exists(self, path: str) -> bool:
        """Whether the path exists; True for what is hidden from us, since it may."""
        try:
            os.stat(absolute(path))
        except OSError as error:
            return error.errno not in _ABSENT | {errno.EINVAL, errno.EILSEQ}
        return True

    def glob(self, pattern: str) -> list[str]:
        """The paths that match; see `qlmdm_core.host.common.glob_paths`."""
        return glob_paths(pattern, self.listdir, os.path.lexists)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        return sorted(os.listdir(absolute(path)))

    def stat(self, path: str) -> FileStat:
        """Type, owner, size and time of what the path leads to."""
        found = os.stat(absolute(path))
        return FileStat(
            mode=found.st_mode,
            uid=found.st_uid,
            size=found.st_size,
            mtime=found.st_mtime,
            rdev=found.st_rdev,
        )

    def readlink(self, path: str) -> str:
        """Where a symbolic link points, as written."""
        return os.readlink(absolute(path))

    def processes(self) -> list[Process]:
        """All processes in sight, by pid."""
        return procfs.read_processes()

    def http(
        self,
        method: str,
        url: str,
        *,
        json: JSON = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> HttpResponse:
        """One request to the network; see `qlmdm_core.host.network`."""
        # Loaded on use: it costs more than all other imports together, and few need it.
        from qlmdm_core.host import network

        return network.request(method, url, json=json, headers=headers, timeout=timeout)

    def recall(self) -> JSON:
        """What the collector kept; see `qlmdm_core.host.memory`."""
        return self._memory.recall()

    def remember(self, value: JSON) -> None:
        """Keep it for later runs."""
        self._memory.remember(value)


def _open_regular(path: str) -> int:
    """A descriptor of a regular file; `OSError` for anything else, which is not opened.

    To open a device can do things (start a watchdog, rewind a tape), and a link in a home
    directory may lead to one. O_PATH gets hold of the file without opening it (open(2)).
    """
    holder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mode = os.fstat(holder).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        try:
            return os.open(f"/proc/self/fd/{holder}", _OPEN)
        except OSError as error:
            # Say the path that was asked for, not the detour.
            raise OSError(error.errno, os.strerror(error.errno or errno.EIO), path) from None
    finally:
        os.close(holder)
