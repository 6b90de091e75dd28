"""The processes of the demo: each is started here, and none is left when it ends.

Signals never raise in the middle of something: they end the command that runs, and are
noticed between two commands. So there is no moment at which they could leave anything behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from qlmdm_core.client import cgroups, reaper
from qlmdm_core.prctl import Prctl

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
POLITE_SECONDS = 10.0
"""So long may what was told to end take, before it is killed."""


class StoppedError(Exception):
    """A signal asked the demo to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number


class Done(NamedTuple):
    """What came of a command."""

    status: int
    stdout: str
    stderr: str


class Children:
    """Starts processes and ends them, with all that they started, whatever became of it."""

    def __init__(self) -> None:
        self._signal = 0
        self._current: subprocess.Popen[bytes] | None = None
        for number in SIGNALS:
            signal.signal(number, self._stop)
        # What a killed command leaves behind becomes our child, and can be found and ended.
        Prctl().become_subreaper()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._signal = self._signal or number
        if self._current is not None:
            self._current.kill()

    def check(self) -> None:
        """Raise `StoppedError` if a signal came."""
        if self._signal:
            raise StoppedError(self._signal)

    def start(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        output: Path,
        errors: Path,
        answers: Path = Path(os.devnull),
    ) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, so that Ctrl-C reaches it through us alone.

        What it reads comes from the file `answers`.
        """
        with output.open("wb") as stdout, errors.open("ab") as stderr, answers.open("rb") as stdin:
            return subprocess.Popen(
                argv,
                env=environ,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def run(
        self, argv: Sequence[str], environ: Mapping[str, str], folder: Path, answer: str = ""
    ) -> Done:
        """Run a program to its end. Raises `StoppedError` if a signal comes meanwhile.

        Its output goes to files: a pipe would stay open as long as anything that it started.
        """
        self.check()
        output, errors = folder / "stdout", folder / "stderr"
        errors.unlink(missing_ok=True)
        answers = folder / "stdin"
        answers.write_text(answer)
        child = self._current = self.start(argv, environ, output, errors, answers)
        if self._signal:
            child.kill()
        status = child.wait()
        self._current = None
        self.check()
        return Done(
            status,
            output.read_text(encoding="utf-8", errors="replace"),
            errors.read_text(encoding="utf-8", errors="replace"),
        )

    def pause(self, seconds: float) -> None:
        """Wait a moment. Raises `StoppedError`."""
        time.sleep(seconds)
        self.check()

    def end_all(self, spared: Sequence[int] = ()) -> None:
        """End every process that descends from us, but for those spared; first politely."""
        told: set[int] = set()
        deadline = time.monotonic() + POLITE_SECONDS
        while (others := self._others(spared)) and time.monotonic() < deadline:
            for pid in set(others) - told:
                told.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)
        while self._others(spared):
            reaper.kill_strays(spared)
            time.sleep(0.02)
        for base in cgroups.candidate_bases():
            cgroups.remove_stale(base)

    def _others(self, spared: Sequence[int]) -> list[int]:
        """Our children that still run, without those spared."""
        reaper.reap(lambda _pid, _status: None)
        return [pid for pid in reaper.child_pids(os.getpid()) if pid not in spared]


def end_stranger(pid: int, mark: str) -> bool:
    """End a server that an earlier demo left running; False if it does not run.

    `mark` stands in its environment: the number may be another process's by now.
    """
    try:
        if mark.encode() not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + POLITE_SECONDS
        while _runs(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if _runs(pid):
            os.killpg(pid, signal.SIGKILL)
    except OSError:
        return False
    return True


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie that somebody forgot."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] not in (["Z"], ["X"])
