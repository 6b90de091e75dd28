"""Runs one script as root agents should: little environment, no leftovers, an end for certain.

It is done in a process of its own, the keeper, which becomes the parent of whatever the script
leaves behind, and ends all of it: when the script is over, when its time is over, and when the
process that asked for it is gone. Whatever a script wants to outlive it must be started by the
system's own service manager.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from qlmdm_core.client import limits, newborn, reaper
from qlmdm_core.client.cgroups import Group, RunGroup
from qlmdm_core.client.commands.capture import Capture, share
from qlmdm_core.prctl import Prctl
from qlmdm_core.searchpath import SEARCH_PATH

PROCESSES = 4096
"""Processes and threads that a script may have at once; beyond, it is a fork bomb."""
WATCH_SECONDS = 0.25
PAUSE_SECONDS = 0.02
END_SECONDS = 10.0
"""How long to try to kill what can't be killed: a process that waits for a broken disk."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A script, and how it is to be run."""

    script: str
    """Its file."""
    interpreter: str
    folder: str
    """Its own, private one: where it starts, and its HOME."""
    timeout: float
    """Seconds."""
    output_max: int
    """Bytes of stdout and stderr together."""
    processes: int = PROCESSES


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How it went."""

    exit_status: int | None = None
    """None: it did not end by itself."""
    seconds: float = 0.0
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    reason: str = ""
    """Why it is no success, beside its exit status."""


def environment(folder: str) -> dict[str, str]:
    """All that a script is told."""
    return {"PATH": ":".join(SEARCH_PATH), "HOME": folder, "TMPDIR": folder, "LC_ALL": "C.UTF-8"}


def run(job: Job) -> Ran:
    """Run a script to its end; nothing of it is left then. Raises `OSError` if it can't begin."""
    ours, theirs = socket.socketpair()
    with ours:
        prctl = Prctl()
        keeper = os.fork()
        if keeper == 0:
            _keeper(job, prctl, theirs.detach())
        theirs.close()
        with ours.makefile("rb") as channel:
            said = channel.read()
    os.waitpid(keeper, 0)
    if not said:
        return Ran(reason="what watched over it was killed")
    return Ran(**json.loads(said))


def _keeper(job: Job, prctl: Prctl, channel: int) -> None:
    try:
        nothing = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        former = newborn.settle_in(channel, nothing)
        prctl.become_subreaper()
        prctl.name_process("qlmdm:keeper")
        ran = Keeper(job, prctl, newborn.CHANNEL).run()
        with socket.socket(fileno=os.dup(newborn.CHANNEL)) as asker:
            asker.sendall(json.dumps(asdict(ran)).encode("ascii"))
        del former
    finally:
        newborn.leave(0)  # whatever happened, nothing may return into the parent's code


class Keeper:
    """Watches over one script. `asker` becomes readable when whoever asked is gone."""

    def __init__(self, job: Job, prctl: Prctl, asker: int) -> None:
        self._job = job
        self._prctl = prctl
        self._asker = asker
        self._out, self._err = Capture(job.output_max), Capture(job.output_max)
        self._selector = selectors.DefaultSelector()
        self._tasks_before = limits.tasks_on_machine()
        self._groups = RunGroup.create()
        self._group = self._own_group()

    def run(self) -> Ran:
        """From its start to the end of everything that it started."""
        begun = time.monotonic()
        try:
            process = self._start()
        except OSError as error:
            self._remove_groups()
            return Ran(reason=f"{self._job.interpreter} can't be started: {error.strerror}")
        why = self._watch(process, begun + self._job.timeout)
        seconds = time.monotonic() - begun
        status = process.returncode
        left = self._end_all(process)
        self._drain()
        stdout, stderr, truncated = share(self._out, self._err, self._job.output_max)
        if status is not None and status < 0:
            why, status = why or f"killed by signal {-status}", None
        return Ran(
            exit_status=status,
            seconds=round(seconds, 3),
            stdout=stdout,
            stderr=stderr,
            truncated=truncated,
            reason="; ".join(filter(None, (why, left))),
        )

    def _own_group(self) -> Group | None:
        if self._groups is None:
            return None
        group = Group(f"{self._groups.path}/script")
        try:
            os.mkdir(group.path)
            if self._groups.limited:
                with open(f"{group.path}/pids.max", "w", encoding="ascii") as file:
                    file.write(str(self._job.processes))
        except OSError:
            return None
        return group

    def _start(self) -> subprocess.Popen[bytes]:
        job, parent = self._job, os.getpid()

        def settle() -> None:
            self._prctl.die_with_parent(parent)
            if self._group is not None:
                with contextlib.suppress(OSError):  # then the reaper alone must do
                    self._group.enter()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)

        process = subprocess.Popen(
            [job.interpreter, job.script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=job.folder,
            env=environment(job.folder),
            umask=0o077,
            start_new_session=True,
            preexec_fn=settle,
        )
        for stream, capture in ((process.stdout, self._out), (process.stderr, self._err)):
            assert stream is not None  # noqa: S101 - for the types
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream.fileno(), selectors.EVENT_READ, capture)
        self._selector.register(self._asker, selectors.EVENT_READ, None)
        return process

    def _watch(self, process: subprocess.Popen[bytes], deadline: float) -> str:
        """Until it ends, or must be ended; then why."""
        next_watch = time.monotonic() + WATCH_SECONDS
        with _end_of(process.pid, self._selector) as pause:
            while True:
                now = time.monotonic()
                for key, _ in self._selector.select(max(0.0, min(pause, deadline - now))):
                    if key.fd == self._asker:
                        return "whoever ran it was killed"
                    if isinstance(key.data, Capture):
                        self._hear(key.fd, key.data)
                if process.poll() is not None:
                    return ""
                now = time.monotonic()
                if now >= deadline:
                    return f"it ran longer than {self._job.timeout:g} seconds and was ended"
                if now >= next_watch:
                    next_watch = now + WATCH_SECONDS
                    if self._crowded():
                        return f"it started more than {self._job.processes} processes"

    def _hear(self, fd: int, capture: Capture) -> bool:
        try:
            chunk = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        if chunk:
            capture.add(chunk)
        else:
            self._selector.unregister(fd)
        return bool(chunk)

    def _drain(self) -> None:
        """What it said last, now that nobody is left who could say more."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Capture):
                # Bounded by what a pipe holds, even if somebody out of reach still writes.
                for _ in range(64):
                    if not self._hear(key.fd, key.data):
                        break

    def _crowded(self) -> bool:
        most = self._job.processes
        if limits.tasks_on_machine() <= self._tasks_before + most:
            return False
        return reaper.count_descendants(os.getpid(), stop_at=most + 1) > most

    def _end_all(self, process: subprocess.Popen[bytes]) -> str:
        """Kill all that is left, and say so if something was; and what could not be killed."""
        left = process.returncode is not None and bool(reaper.child_pids(os.getpid()))
        give_up = time.monotonic() + END_SECONDS
        while True:
            if self._group is not None:
                self._group.kill()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            limits.be_nice(-20)  # before a fork bomb, if we may
            reaper.kill_strays(())
            if not reaper.reap(lambda *_: None):
                break
            if time.monotonic() > give_up:
                pids = reaper.child_pids(os.getpid())
                return "can't be ended: " + ", ".join(map(reaper.describe, pids))
            time.sleep(PAUSE_SECONDS)
        process.returncode = process.returncode or 0  # reaped above, so that nobody waits for it
        self._remove_groups()
        return "what it left running was ended" if left else ""

    def _remove_groups(self) -> None:
        if self._groups is not None:
            self._groups.remove()


@contextlib.contextmanager
def _end_of(pid: int, selector: selectors.BaseSelector) -> Iterator[float]:
    """Wake the selector when a process ends, where the system can do that (Linux 5.3).

    Gives the seconds after which it must be looked at in any case.
    """
    try:
        fd = os.pidfd_open(pid)
    except (OSError, AttributeError):
        yield PAUSE_SECONDS
        return
    selector.register(fd, selectors.EVENT_READ, None)
    try:
        yield WATCH_SECONDS
    finally:
        selector.unregister(fd)
        os.close(fd)
