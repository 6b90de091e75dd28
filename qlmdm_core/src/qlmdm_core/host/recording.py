"""A host that writes down everything that was asked and answered, as a recorded machine.

Secrets are taken out of what is written (see `qlmdm_core.host.redact`); the collector gets
the true answer. Only `now()` and `processes()` are answered from the recording, so that all
collectors, and a later replay, see one moment.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from qlmdm_core.api import (
    JSON,
    CommandResult,
    DistroAdapter,
    FileStat,
    Host,
    HttpResponse,
    Process,
)
from qlmdm_core.host.common import absolute
from qlmdm_core.host.journal import Journal
from qlmdm_core.host.recorded import read_recording
from qlmdm_core.host.redact import (
    keep_environment,
    redact,
    redact_argv,
    redact_file,
    redact_json,
)
from qlmdm_core.host.tree import MOST_LINKS

_OF_THE_READER = ("/proc/self", "/proc/thread-self")
"""Links that lead everybody elsewhere; a recording has plain folders there."""


class RecordingHost:
    """`api.Host` that asks another host, and records. Raises `RecordingError` if it can't."""

    def __init__(self, inner: Host, directory: str | os.PathLike[str], *, note: str = "") -> None:
        self._inner = inner
        self._journal = Journal(os.path.abspath(os.fspath(directory)))
        self._now = self._journal.start(now=inner.now(), root=inner.is_root, note=note)
        self._links: dict[str, str | None] = {}

    @property
    def distro(self) -> DistroAdapter | None:
        """The other host's adapter; what it asks comes through here, too."""
        return self._inner.distro

    @property
    def is_root(self) -> bool:
        """As the other host."""
        return self._inner.is_root

    def now(self) -> datetime:
        """When the recording was begun."""
        return self._now

    def processes(self) -> list[Process]:
        """The processes when somebody first asked, with the recorded part of what they are."""
        if not self._journal.has("processes.json"):
            entries = [_process(process) for process in self._inner.processes()]
            self._journal.put_once("processes.json", entries)
        return list(read_recording(self._journal.directory).processes)

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
        """Run it there, and write down what came of it. What is not installed leaves no trace."""
        result = self._inner.run(
            argv, user=user, env=env, stdin=stdin, timeout=timeout, max_bytes=max_bytes
        )
        if argv and argv[0] and (result.found or result.error):
            entry: dict[str, JSON] = {
                "argv": list(redact_argv(argv)),
                "user": user,
                "env": None if env is None else redact_json(env),
                "stdin": None if stdin is None else redact(stdin),
                "stdout": redact(result.stdout),
                "stderr": redact(result.stderr),
                "returncode": result.returncode,
                "timed_out": result.timed_out,
            }
            rare = {"found": result.found, "truncated": result.truncated, "error": result.error}
            usual = {"found": True, "truncated": False, "error": ""}
            entry.update({key: value for key, value in rare.items() if value != usual[key]})
            self._journal.append("commands.json", entry, ("argv", "user", "env", "stdin"))
        return result

    def which(self, program: str) -> str | None:
        """Where it is there; its file is then in the recording, without content."""
        path = self._inner.which(program)
        if path is not None:
            self._see([path])
        return path

    # --- files ---------------------------------------------------------------------------

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        """Read it there, and keep the text."""
        try:
            text = self._inner.read(path, max_bytes=max_bytes)
        except FileNotFoundError:
            raise
        except OSError:
            self._see([path], refused=stat.S_IFREG)
            raise
        where, links = self._follow(path)
        self._journal.put_links(links)
        self._journal.put_file(where, redact_file(path, text))
        return text

    def exists(self, path: str) -> bool:
        """Whether it exists there; then also in the recording."""
        found = self._inner.exists(path)
        if found:
            self._see([path])
        return found

    def glob(self, pattern: str) -> list[str]:
        """What matches there; all of it is then in the recording."""
        found = self._inner.glob(pattern)
        self._see(found)
        return found

    def listdir(self, path: str) -> list[str]:
        """The names there; all of them are then in the recording."""
        try:
            names = self._inner.listdir(path)
        except FileNotFoundError:
            raise
        except OSError:
            self._see([path], refused=stat.S_IFDIR)
            raise
        self._see([path])
        self._see([f"{path.rstrip('/')}/{name}" for name in names], follow_last=False)
        return names

    def stat(self, path: str) -> FileStat:
        """What is known there, and then in the recording."""
        try:
            found = self._inner.stat(path)
        except FileNotFoundError:
            raise
        except OSError:
            self._see([path])
            raise
        self._see([path])
        return found

    def readlink(self, path: str) -> str:
        """Where the link points there; it is then in the recording."""
        target = self._inner.readlink(path)
        _, links = self._follow(path, follow_last=False)
        where = self._follow(os.path.dirname(absolute(path)))[0].rstrip("/")
        self._journal.put_links({**links, f"{where}/{os.path.basename(path)}": target})
        return target

    def _see(
        self, paths: Iterable[str], *, follow_last: bool = True, refused: int | None = None
    ) -> None:
        """Write down that these paths exist, and what can be known of them without reading.

        `refused` is the type of file that would not have been refused for its type alone.
        """
        links: dict[str, str] = {}
        stats: dict[str, dict[str, float]] = {}
        unreadable: set[str] = set()
        for path in paths:
            try:
                where, on_the_way = self._follow(path, follow_last=follow_last)
            except OSError:
                continue
            links.update(on_the_way)
            if not follow_last and self._target(where) is not None:
                links[where] = str(self._target(where))
                continue
            try:
                stats[where] = _stat(self._inner.stat(where))
            except PermissionError:
                unreadable.add(self._refusing_folder(where))
                continue
            except OSError:
                continue  # a link that leads nowhere, or it has gone meanwhile
            if stat.S_IFMT(int(stats[where]["mode"])) == refused:
                unreadable.add(where)
        self._journal.put_links(links)
        self._journal.put_seen(stats, unreadable)

    def _refusing_folder(self, path: str) -> str:
        """The folder above that hides what is in it."""
        while path != "/":
            path = os.path.dirname(path)
            try:
                self._inner.stat(path)
            except OSError:
                continue
            break
        return path

    def _follow(self, path: str, *, follow_last: bool = True) -> tuple[str, dict[str, str]]:
        """The path without links, and the links on the way, each at a path without links."""
        waiting = [part for part in absolute(path).split("/") if part and part != "."]
        waiting.reverse()
        done: list[str] = []
        links: dict[str, str] = {}
        steps = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                done = done[:-1]
                continue
            here = "/" + "/".join([*done, part])
            target = self._target(here) if waiting or follow_last else None
            if target is None or steps == MOST_LINKS:
                done.append(part)
                continue
            steps += 1
            links[here] = target
            if target.startswith("/"):
                done = []
            waiting += [p for p in reversed(target.split("/")) if p and p != "."]
        return "/" + "/".join(done), links

    def _target(self, path: str) -> str | None:
        """Where a link points; None if it is none."""
        if path in _OF_THE_READER:
            return None
        if path not in self._links:
            try:
                self._links[path] = self._inner.readlink(path)
            except OSError:
                self._links[path] = None
        return self._links[path]

    # --- network -------------------------------------------------------------------------

    def http(
        self,
        method: str,
        url: str,
        *,
        json: JSON = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> HttpResponse:
        """Ask there, and write down the answer; the headers of a request are not kept."""
        answer = self._inner.http(method, url, json=json, headers=headers, timeout=timeout)
        entry: dict[str, JSON] = {
            "method": method.upper(),
            "url": redact(url),
            "request": redact_json(json),
            "status": answer.status,
            "body": redact(answer.body),
        }
        if answer.error:
            entry["error"] = redact(answer.error)
        self._journal.append("http.json", entry, ("method", "url", "request"))
        return answer

    def recall(self) -> JSON:
        """Nothing, as in the replay: so all that is needed is asked, and recorded."""
        return None

    def remember(self, value: JSON) -> None:
        """Forget it."""


def _stat(found: FileStat) -> dict[str, float]:
    return {
        "mode": found.mode,
        "uid": found.uid,
        "size": found.size,
        "mtime": found.mtime,
        "rdev": found.rdev,
    }


def _process(process: Process) -> dict[str, JSON]:
    """What a recording keeps of a process; what is not known is left out."""
    argv, environ = process.argv, process.environ
    entry: dict[str, JSON] = {
        "pid": process.pid,
        "ppid": process.ppid,
        "uid": process.uid,
        "user": process.user,
        "comm": process.comm,
        "argv": None if argv is None else list(redact_argv(argv)),
        "exe": process.exe,
        "environ": None if environ is None else keep_environment(environ),
    }
    return {key: value for key, value in entry.items() if value is not None}
