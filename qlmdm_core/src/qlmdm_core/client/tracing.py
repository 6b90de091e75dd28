"""A host that tells a person what a collector asked of the machine, and what it heard.

Unlike a recording, it also tells what was asked in vain: that a program is not installed or
a file is not there is often the very reason for what a collector concludes.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from qlmdm_core.api import (
    JSON,
    CommandResult,
    DistroAdapter,
    FileStat,
    Host,
    HttpResponse,
    Process,
)

T = TypeVar("T")


class TracingHost:
    """`api.Host` that asks another one and writes each question and answer to a file.

    A line of the file is a JSON list: the question and the answer, both in words.
    """

    def __init__(self, inner: Host, path: str) -> None:
        self._inner = inner
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _tell(self, question: str, answer: str) -> None:
        line = json.dumps([question[:300], answer[:300]]) + "\n"
        os.write(self._fd, line.encode("ascii"))

    def _ask(self, question: str, function: Callable[[], T], say: Callable[[T], str]) -> T:
        try:
            answer = function()
        except OSError as error:
            self._tell(question, (error.strerror or str(error)).lower())
            raise
        self._tell(question, say(answer))
        return answer

    @property
    def distro(self) -> DistroAdapter | None:
        """The other host's adapter."""
        adapter = self._inner.distro
        self._tell("which adapter fits this distribution", adapter.name if adapter else "none")
        return adapter

    @property
    def is_root(self) -> bool:
        """As the other host."""
        return self._inner.is_root

    def now(self) -> datetime:
        """As the other host."""
        return self._inner.now()

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
        """Run it there."""
        result = self._inner.run(
            argv, user=user, env=env, stdin=stdin, timeout=timeout, max_bytes=max_bytes
        )
        whose = f" (as {user})" if user else ""
        self._tell(f"run {shlex.join(argv)}{whose}", _say_result(result))
        return result

    def which(self, program: str) -> str | None:
        """Where it is there."""
        path = self._inner.which(program)
        self._tell(f"find the program {program}", path or "not installed")
        return path

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        """Read it there."""
        return self._ask(
            f"read {path}", lambda: self._inner.read(path, max_bytes=max_bytes), _say_text
        )

    def exists(self, path: str) -> bool:
        """Whether it exists there."""
        return self._ask(
            f"does {path} exist",
            lambda: self._inner.exists(path),
            lambda found: "yes" if found else "no",
        )

    def glob(self, pattern: str) -> list[str]:
        """What matches there."""
        return self._ask(f"find {pattern}", lambda: self._inner.glob(pattern), _say_names)

    def listdir(self, path: str) -> list[str]:
        """The names there."""
        return self._ask(f"list {path}", lambda: self._inner.listdir(path), _say_names)

    def stat(self, path: str) -> FileStat:
        """What is known there."""
        return self._ask(
            f"look at {path}",
            lambda: self._inner.stat(path),
            lambda stat: f"mode {stat.mode:o}, uid {stat.uid}, {stat.size} bytes",
        )

    def readlink(self, path: str) -> str:
        """Where it points there."""
        return self._ask(f"follow {path}", lambda: self._inner.readlink(path), str)

    def processes(self) -> list[Process]:
        """The processes there."""
        return self._ask(
            "list processes", self._inner.processes, lambda found: f"{len(found)} of them"
        )

    def http(
        self,
        method: str,
        url: str,
        *,
        json: JSON = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> HttpResponse:
        """Ask from there."""
        answer = self._inner.http(method, url, json=json, headers=headers, timeout=timeout)
        self._tell(f"{method} {url}", answer.error or f"status {answer.status}")
        return answer

    def recall(self) -> JSON:
        """What is remembered there."""
        value = self._inner.recall()
        self._tell("recall what was remembered", "nothing" if value is None else "something")
        return value

    def remember(self, value: JSON) -> None:
        """Keep it there."""
        self._inner.remember(value)
        self._tell("remember something", "done")


def read_trace(path: str) -> list[tuple[str, str]]:
    """The questions and answers in a file, each once; as far as it goes, if its writer died."""
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    found: dict[tuple[str, str], None] = {}
    for line in lines:
        try:
            question, answer = json.loads(line)
        except ValueError:
            break
        found[(question, answer)] = None
    return list(found)


def _say_result(result: CommandResult) -> str:
    if result.ok:
        return _say_text(result.stdout)
    return result.why.partition(" ")[2] or result.why


def _say_text(text: str) -> str:
    lines = text.strip().splitlines()
    if not lines:
        return "nothing"
    first = " ".join(lines[0].split())
    few = first if len(first) <= 80 else f"{first[:80]} …"
    return few if len(lines) == 1 else f"{len(lines)} lines: {few.removesuffix(' …')} …"


def _say_names(names: list[str]) -> str:
    few = ", ".join(names[:4]) or "nothing"
    return few if len(names) <= 4 else f"{few} and {len(names) - 4} more"
