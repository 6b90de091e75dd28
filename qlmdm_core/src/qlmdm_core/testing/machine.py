"""Builds recorded machines, so that a test of a collector can say what the machine is like.

Example::

    def test_the_badge_is_read(tmp_path):
        machine = RecordedMachine(tmp_path).file("/etc/acme/badge", "4711\\n")
        assert collect(machine.host())["number"] == "4711"

The folder is the same that `qlmdm-collect --record` writes.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from qlmdm_core.api import JSON
from qlmdm_core.host.common import DistroSource
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.host.tree import FileTree


class RecordedMachine:
    """A recorded machine under construction; every method returns it, but for `host`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        root: bool = True,
        recorded_at: str = "2026-11-01T12:00:00+00:00",
        note: str = "",
    ) -> None:
        self.path = Path(path)
        self._tree = FileTree(str(self.path / "files"))
        self._root, self._recorded_at, self._note = root, recorded_at, note
        self._unreadable: list[str] = []
        self._stat: dict[str, dict[str, float]] = {}
        self._commands: list[dict[str, JSON]] = []
        self._processes: list[dict[str, JSON]] = []
        self._http: list[dict[str, JSON]] = []

    def command(
        self,
        argv: Sequence[str],
        stdout: str = "",
        *,
        stderr: str = "",
        returncode: int | None = 0,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timed_out: bool = False,
    ) -> RecordedMachine:
        """A command that answers; all others are not installed."""
        entry = {
            "argv": list(argv),
            "user": user,
            "env": None if env is None else dict(env),
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr,
            "returncode": None if timed_out else returncode,
            "timed_out": timed_out,
        }
        self._commands.append(entry)
        return self

    def file(
        self,
        path: str,
        content: str | bytes,
        *,
        mode: int | None = None,
        uid: int | None = None,
        mtime: float | None = None,
    ) -> RecordedMachine:
        """A regular file, and the folders above it; links above it are followed."""
        where = self._place(path, follow_last=True)
        data = content.encode("utf-8") if isinstance(content, str) else content
        Path(where).write_bytes(data)
        if mode is not None and not stat.S_IFMT(mode):
            mode |= stat.S_IFREG
        known = {"mode": mode, "uid": uid, "mtime": mtime}
        fields = {key: value for key, value in known.items() if value is not None}
        return self.stat(path, **fields) if fields else self

    def link(self, path: str, target: str) -> RecordedMachine:
        """A symbolic link; an absolute target is inside the recorded machine, too."""
        os.symlink(target, self._place(path, follow_last=False))
        return self

    def directory(self, path: str) -> RecordedMachine:
        """A folder, which may stay empty."""
        os.makedirs(self._place(path, follow_last=True), exist_ok=True)
        return self

    def unreadable(self, path: str) -> RecordedMachine:
        """A file or folder that exists, but was refused."""
        self._unreadable.append(path)
        return self

    def stat(self, path: str, **fields: float) -> RecordedMachine:
        """What is known of a path: mode, uid, size, mtime, rdev. It then exists."""
        self._stat.setdefault(path, {}).update(fields)
        return self

    def process(self, **fields: JSON) -> RecordedMachine:
        """A running process: pid, ppid, uid, user, comm, argv, exe, environ."""
        self._processes.append(fields)
        return self

    def http(
        self, method: str, url: str, status: int = 200, body: str = "", request: JSON = None
    ) -> RecordedMachine:
        """An answer from the network."""
        entry = {"method": method, "url": url, "request": request, "status": status, "body": body}
        self._http.append(entry)
        return self

    def write(self) -> Path:
        """Write the folder, and say where it is."""
        machine = {
            "format": 1,
            "recorded_at": self._recorded_at,
            "root": self._root,
            "note": self._note,
            "unreadable": self._unreadable,
            "stat": self._stat,
        }
        os.makedirs(self._tree.root, exist_ok=True)
        for name, value in (
            ("machine.json", machine),
            ("commands.json", self._commands),
            ("processes.json", self._processes),
            ("http.json", self._http),
        ):
            text = json.dumps(value, indent=1, sort_keys=True) + "\n"
            (self.path / name).write_text(text, encoding="utf-8")
        return self.path

    def host(self, distro: DistroSource = None) -> ReplayHost:
        """Write the folder and open it: the host to give to a collector."""
        return ReplayHost(self.write(), distro=distro)

    def _place(self, path: str, *, follow_last: bool) -> str:
        """Where to store a path; the folders above it are made."""
        resolved = self._tree.resolve(path, follow_last=follow_last, missing_ok=True)
        where = self._tree.on_disk(resolved)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        return where
