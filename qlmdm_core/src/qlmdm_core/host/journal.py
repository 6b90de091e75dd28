"""Writes a recording: several processes may add to one directory at the same time.

Each addition is made under a lock on the directory, and is whole on disk when the lock is
given back, so that a collector that is killed takes nothing with it. What is already there
stays: the first answer to a question is the one that a replay gives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from qlmdm_core.api import JSON
from qlmdm_core.errors import RecordingError
from qlmdm_core.host.recorded import FORMAT, read_recording
from qlmdm_core.host.tree import FileTree


class NotRecordedError(RecordingError):
    """A recording can't be written: where, and why."""

    exit_status = 3


class Journal:
    """A recording in the making."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._files = os.path.join(directory, "files")

    def start(self, *, now: datetime, root: bool, note: str = "") -> datetime:
        """Begin, or join what another process has begun: since when it is being made."""
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            with self._locked():
                if not os.path.lexists(self._path("machine.json")):
                    machine = {
                        "format": FORMAT,
                        "recorded_at": now.isoformat(),
                        "root": root,
                        "note": note,
                        "unreadable": [],
                        "not_read": [],
                        "stat": {},
                    }
                    self._write_json("machine.json", machine)
                    os.makedirs(self._files, exist_ok=True)
                return read_recording(self.directory).recorded_at
        except OSError as error:
            raise self._broken(error) from None

    def check(self) -> None:
        """Raise `NotRecordedError` if the recording is not there any more."""
        try:
            os.lstat(self._path("machine.json"))
        except OSError as error:
            raise self._broken(error) from None

    def abandon(self) -> None:
        """Take back what `start` wrote, if nothing was added since; the folder stays."""
        with contextlib.suppress(OSError):
            os.rmdir(self._files)
            os.unlink(self._path("machine.json"))

    # --- lists: commands, http, processes ------------------------------------------------

    def append(self, name: str, entry: Mapping[str, JSON], identity: Iterable[str]) -> None:
        """Add an entry to a list, unless one with the same values of these keys is there."""
        keys = tuple(identity)
        with self._changing():
            entries = self._read_list(name)
            wanted = [entry.get(key) for key in keys]
            if all([other.get(key) for key in keys] != wanted for other in entries):
                self._write_json(name, [*entries, entry])

    def put_once(self, name: str, entries: list[dict[str, JSON]]) -> None:
        """Write a whole list, unless there is one."""
        with self._changing():
            if not os.path.lexists(self._path(name)):
                self._write_json(name, entries)

    def has(self, name: str) -> bool:
        """Whether a list has been written."""
        return os.path.lexists(self._path(name))

    def _read_list(self, name: str) -> list[dict[str, Any]]:
        try:
            with open(self._path(name), "rb") as file:
                entries: list[dict[str, Any]] = json.loads(file.read())
        except FileNotFoundError:
            return []
        return entries

    # --- files ---------------------------------------------------------------------------

    def put_links(self, links: Mapping[str, str]) -> None:
        """Write symbolic links, as they are on the machine."""
        with self._changing():
            for path, target in links.items():
                where = self._place(path)
                if where is not None and not os.path.lexists(where):
                    os.symlink(target, where)

    def put_file(self, path: str, text: str) -> None:
        """Write what was read of a file; the longest of several readings is kept."""
        data = text.encode("utf-8", "replace")
        with self._changing():
            where = self._place(path)
            if where is None or os.path.isdir(where):
                return
            seen = os.path.lexists(where)
            if not seen or os.lstat(where).st_size < len(data):
                self._replace(where, data)
            if seen:
                machine = self._read_machine()
                if path in machine["not_read"]:
                    machine["not_read"].remove(path)
                    self._write_json("machine.json", machine)

    def put_seen(
        self,
        stats: Mapping[str, Mapping[str, float]],
        unreadable: Iterable[str] = (),
    ) -> None:
        """Write what is known of paths that were looked at, but not (or not yet) read."""
        with self._changing():
            machine = self._read_machine()
            before = json.dumps(machine, sort_keys=True)
            for path, known in stats.items():
                machine["stat"].setdefault(path, dict(known))
                if self._put_placeholder(path, int(known["mode"])):
                    machine["not_read"].append(path)
            machine["unreadable"] = sorted({*machine["unreadable"], *unreadable})
            if json.dumps(machine, sort_keys=True) != before:
                self._write_json("machine.json", machine)

    def _put_placeholder(self, path: str, mode: int) -> bool:
        """Let a file or folder exist; True if it is a file that has no content yet."""
        where = self._place(path)
        if where is None or os.path.lexists(where):
            return False
        if stat.S_ISDIR(mode):
            os.mkdir(where)
        elif stat.S_ISREG(mode):
            # (Devices and their like are only described: a folder can't hold them.)
            self._replace(where, b"", 0o755 if mode & 0o111 else 0o644)
            return True
        return False

    def _place(self, path: str) -> str | None:
        """Where a path without links belongs, its folders made; None if it can't be there.

        (The machine changes while it is recorded: a folder may since have become a link,
        through which one would write outside.)
        """
        tree = FileTree(self._files)
        try:
            if tree.resolve(path, follow_last=False, missing_ok=True) != path:
                return None
            where = tree.on_disk(path)
            os.makedirs(os.path.dirname(where), exist_ok=True)
        except (NotADirectoryError, FileExistsError):
            return None
        return where

    # --- on disk -------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _read_machine(self) -> dict[str, Any]:
        with open(self._path("machine.json"), "rb") as file:
            machine: dict[str, Any] = json.loads(file.read())
        for key, empty in (("unreadable", []), ("not_read", []), ("stat", {})):
            machine.setdefault(key, empty)
        return machine

    def _write_json(self, name: str, value: JSON) -> None:
        text = json.dumps(value, indent=1) + "\n"
        self._replace(self._path(name), text.encode())

    def _replace(self, where: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file so that it is there whole, or as it was."""
        new = self._path(f".new-{os.getpid()}")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.rename(new, where)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Opened anew each time: a lock belongs to what open() returned, which forks share.
        handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """The lock; and errors of writing as errors of ours.

        An OSError would be mistaken by a collector for an answer of the machine.
        """
        try:
            with self._locked():
                yield
        except (OSError, ValueError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> NotRecordedError:
        return NotRecordedError(f"{self.directory}: can't be recorded into: {error}")
