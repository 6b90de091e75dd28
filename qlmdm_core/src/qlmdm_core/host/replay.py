"""A recorded machine, answering as the machine did when it was recorded.

How a question finds its answer is part of the format: a command by its exact argv and
user; failing that, by the only recording of the same program with the same words that are
no options; failing that, it is not found. A file that is not there does not exist.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from datetime import datetime

from qlmdm_core.api import JSON, CommandResult, DistroAdapter, FileStat, HttpResponse, Process
from qlmdm_core.errors import RecordingError
from qlmdm_core.host.common import (
    DistroHolder,
    DistroSource,
    glob_paths,
)
from qlmdm_core.host.programs import Programs
from qlmdm_core.host.recorded import file_stat, read_recording
from qlmdm_core.host.redact import redact, redact_json
from qlmdm_core.host.tree import FileTree
from qlmdm_core.searchpath import SEARCH_PATH

KILLED = -9
"""The exit status of a command that was killed because it printed too much."""


class ReplayHost:
    """`api.Host` over a recorded machine. Raises `RecordingError` if the recording is bad."""

    def __init__(self, directory: str | os.PathLike[str], *, distro: DistroSource = None) -> None:
        root = os.path.abspath(os.fspath(directory))
        if not os.path.isdir(root):
            raise RecordingError(f"{root}: not a directory; expected a recorded machine")
        self._recording = read_recording(root)
        self._distro = DistroHolder(distro)
        self._memory: JSON = None
        files = os.path.join(root, "files")
        if os.path.lexists(files) and (os.path.islink(files) or not os.path.isdir(files)):
            raise RecordingError(f"{files}: not a directory")
        self._tree = FileTree(files)
        # First by what is stored alone, since that is what the links of these paths are in.
        self._stats = {self._canonical(p): known for p, known in self._recording.stat.items()}
        self._unreadable = {self._canonical(path) for path in self._recording.unreadable}
        self._not_read = frozenset(self._recording.not_read)
        self._tree.know(["/", *self._stats, *self._unreadable])
        self._programs = Programs(self._recording.commands)

    def _canonical(self, path: str) -> str:
        """The path without links, as far as it is stored; as it is if it leads nowhere."""
        try:
            return self._tree.resolve(path, missing_ok=True)
        except OSError:
            return path

    # --- what the machine is -------------------------------------------------------------

    @property
    def distro(self) -> DistroAdapter | None:
        """The adapter that was given for this machine."""
        return self._distro.get()

    @property
    def is_root(self) -> bool:
        """Whether the recording was made by root."""
        return self._recording.root

    @property
    def note(self) -> str:
        """What the recording says of itself."""
        return self._recording.note

    def now(self) -> datetime:
        """When the recording was made."""
        return self._recording.recorded_at

    def processes(self) -> list[Process]:
        """The processes that were running, by pid."""
        return sorted(self._recording.processes, key=lambda process: process.pid)

    # --- commands ------------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 10.0,  # noqa: ARG002 - the answer is here at once
        max_bytes: int = 4 << 20,
    ) -> CommandResult:
        """What the recorded command printed; `timeout` has no meaning here."""
        words = tuple(argv)
        answer = self._programs.find(words, user, env, stdin)
        if answer is None:
            installed = bool(words) and self.which(words[0]) is not None
            error = "this command is not in the recording" if installed else ""
            return CommandResult(argv=words, found=False, error=error)
        stdout, cut_out = _cut(answer.stdout, max_bytes)
        stderr, cut_err = _cut(answer.stderr, max_bytes)
        cut = cut_out or cut_err
        return CommandResult(
            argv=words,
            found=answer.found,
            returncode=KILLED if cut else None if answer.timed_out else answer.returncode,
            stdout=stdout,
            stderr=stderr,
            timed_out=answer.timed_out and not cut,
            truncated=answer.truncated or cut,
            error=answer.error,
        )

    def which(self, program: str) -> str | None:
        """The program's path: where its file is, or where one would expect what was recorded."""
        if "/" in program:
            known = self.exists(program) or self._programs.knows(program)
            return program if known else None
        for directory in SEARCH_PATH:
            path = f"{directory}/{program}"
            if program and self._is_program(path):
                return path
        return f"/usr/bin/{program}" if self._programs.ran_at(program) else None

    def _is_program(self, path: str) -> bool:
        if self._programs.ran_at(path):
            return True
        try:
            return not stat.S_ISDIR(self.stat(path).mode)
        except OSError:
            return False

    # --- files ---------------------------------------------------------------------------

    def _resolve(self, path: str, *, follow_last: bool = True) -> str:
        """The canonical path; `PermissionError` for what is not known below a refused folder."""
        try:
            return self._tree.resolve(path, follow_last=follow_last)
        except FileNotFoundError:
            where = self._tree.resolve(path, follow_last=follow_last, missing_ok=True)
            while where != "/":
                where = os.path.dirname(where)
                if where in self._unreadable:
                    raise _refused(path) from None
            raise

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        """The text of a file that was read when the recording was made."""
        where = self._resolve(path)
        if where in self._unreadable:
            raise _refused(path)
        known = self._stat(where)
        if stat.S_ISDIR(known.mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(known.mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if where in self._not_read:
            raise _not_recorded(path)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(self._tree.on_disk(where), flags)
        except FileNotFoundError:
            raise _not_recorded(path) from None
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            return file.read(max_bytes).decode("utf-8", "replace")

    def exists(self, path: str) -> bool:
        """Whether it existed: its file is here, or it was refused, or it ran as a program."""
        try:
            self._resolve(path)
        except PermissionError:
            return True
        except OSError:
            return self._programs.ran_at(path)
        return True

    def glob(self, pattern: str) -> list[str]:
        """The recorded paths that match."""
        return glob_paths(pattern, self.listdir, self._lexists)

    def _lexists(self, path: str) -> bool:
        try:
            self._tree.resolve(path, follow_last=False)
        except OSError:
            return False
        return True

    def listdir(self, path: str) -> list[str]:
        """The recorded names in a directory."""
        where = self._resolve(path)
        if where in self._unreadable:
            raise _refused(path)
        if not stat.S_ISDIR(self._stat(where).mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return self._tree.names(where)

    def stat(self, path: str) -> FileStat:
        """What is recorded of it; for the rest, what a plain file or folder of root has."""
        try:
            return self._stat(self._resolve(path))
        except FileNotFoundError:
            if self._programs.ran_at(path):
                return FileStat(mode=stat.S_IFREG | 0o755)
            raise

    def _stat(self, where: str) -> FileStat:
        try:
            stored = os.lstat(self._tree.on_disk(where))
            mode, size = stored.st_mode, stored.st_size
        except FileNotFoundError:
            folder = self._tree.has_known_children(where)
            mode, size = stat.S_IFDIR | 0o755 if folder else stat.S_IFREG | 0o644, 0
        if stat.S_ISDIR(mode):
            plain = FileStat(mode=stat.S_IFDIR | 0o755, size=4096)
        elif stat.S_ISREG(mode):
            # git keeps this bit of the mode, and no other.
            plain = FileStat(mode=stat.S_IFREG | (0o755 if mode & 0o100 else 0o644), size=size)
        else:
            plain = FileStat(mode=mode)
        return file_stat(self._stats.get(where, {}), plain)

    def readlink(self, path: str) -> str:
        """The target of a recorded link, as it was on the machine."""
        where = self._resolve(path, follow_last=False)
        try:
            return os.readlink(self._tree.on_disk(where))
        except FileNotFoundError:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path) from None

    # --- network -------------------------------------------------------------------------

    def http(
        self,
        method: str,
        url: str,
        *,
        json: JSON = None,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - not recorded: may be secret
        timeout: float = 10.0,  # noqa: ARG002 - the answer is here at once
    ) -> HttpResponse:
        """The recorded answer to this request; failing that, the only one from this address."""
        same = [
            entry
            for entry in self._recording.http
            if entry.method == method.upper() and entry.url in (url, redact(url))
        ]
        exact = [entry for entry in same if entry.request in (json, redact_json(json))]
        chosen = exact[:1] or (same if len(same) == 1 else [])
        if not chosen:
            return HttpResponse(status=0, error="this request is not in the recording")
        return HttpResponse(status=chosen[0].status, body=chosen[0].body, error=chosen[0].error)

    # --- memory --------------------------------------------------------------------------

    def recall(self) -> JSON:
        """What was kept in this replay: a recording has no memory of its own."""
        return self._memory

    def remember(self, value: JSON) -> None:
        """Keep it as long as this object lives."""
        self._memory = value


def _cut(text: str, max_bytes: int) -> tuple[str, bool]:
    data = text.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return text, False
    return data[:max_bytes].decode("utf-8", "replace"), True


def _refused(path: str) -> PermissionError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _not_recorded(path: str) -> OSError:
    return OSError(errno.ENODATA, "not in this recording", path)
