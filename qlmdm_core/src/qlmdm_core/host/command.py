"""Runs one program for a collector: bounded in time and output, and alone in the world.

It gets no shell, no inherited environment or descriptor, no terminal, and a session of its
own. When its time is up, or it prints too much, all that it started is killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qlmdm_core.api import CommandResult
from qlmdm_core.host import procfs
from qlmdm_core.searchpath import SEARCH_PATH

MARK = "QLMDM_COMMAND"
"""The variable by which a process that left the session of its command is still known."""

_DRAIN_SECONDS = 0.25
"""How long to read on after the command's end, if something it started holds its output open."""
_KILL_SECONDS = 2.0
"""How long to wait for what was killed; a process in uninterruptible sleep stays."""
_BETWEEN_KILLS_SECONDS = 0.01
_WITHOUT_PIDFD_SECONDS = 0.05
_CHUNK = 65536


def find_program(program: str) -> str | None:
    """Where a program is on the fixed PATH; a name with a slash is a path already."""
    if "/" in program:
        return program if _is_executable(program) else None
    for directory in SEARCH_PATH:
        path = f"{directory}/{program}"
        if program and _is_executable(path):
            return path
    return None


def _is_executable(path: str) -> bool:
    try:
        return os.path.isfile(path) and os.access(path, os.X_OK)
    except ValueError:  # a NUL, or a surrogate that no file name can hold
        return False


def run(
    argv: Sequence[str],
    *,
    user: str | None,
    env: Mapping[str, str] | None,
    stdin: str | None,
    timeout: float,
    max_bytes: int,
) -> CommandResult:
    """Run a program and wait for it; every outcome is data (see `api.Host.run`)."""
    words = tuple(argv)
    if not words:
        return CommandResult(argv=words, found=False, error="no program named")
    program = find_program(words[0])
    if program is None:
        return CommandResult(argv=words, found=False)
    try:
        identity = _identity(user)
    except _CannotError as error:
        return CommandResult(argv=words, error=str(error))
    mark = f"{os.getpid()}-{os.urandom(8).hex()}"
    environment = {**identity.environment, **(env or {}), MARK: mark}
    try:
        process = subprocess.Popen(
            words,
            executable=program,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            close_fds=True,
            cwd="/",
            env=environment,
            start_new_session=True,
            bufsize=0,
            **identity.arguments,
        )
    except (FileNotFoundError, PermissionError) as error:
        # Its interpreter is missing, or this user may not execute it. (EPERM: root that may
        # not become the user.)
        found = error.errno == errno.EPERM
        return CommandResult(argv=words, found=found, error=error.strerror or str(error))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return CommandResult(argv=words, error=getattr(error, "strerror", None) or str(error))
    text = None if stdin is None else stdin.encode("utf-8", "replace")
    return _Conversation(process, f"{MARK}={mark}".encode(), timeout, max_bytes).hold(words, text)


# --- as whom ------------------------------------------------------------------------------


class _CannotError(Exception):
    """Why a command can't be run as this user, for a person."""


@dataclass(frozen=True)
class _Identity:
    environment: dict[str, str]
    arguments: dict[str, Any]


def _identity(user: str | None) -> _Identity:
    """The environment of a user, and how to become that user."""
    me = os.geteuid()
    try:
        entry = pwd.getpwuid(me) if user is None else pwd.getpwnam(user)
    except (KeyError, ValueError):
        if user is not None:
            raise _CannotError(f"there is no user {user}") from None
        return _Identity(_environment("/", str(me)), {})
    if entry.pw_uid != me and me != 0:
        raise _CannotError(f"not root: cannot run as {user}")
    arguments: dict[str, Any] = {}
    if entry.pw_uid != me:
        arguments = {
            "user": entry.pw_uid,
            "group": entry.pw_gid,
            "extra_groups": os.getgrouplist(entry.pw_name, entry.pw_gid),
        }
    return _Identity(_environment(entry.pw_dir or "/", entry.pw_name), arguments)


def _environment(home: str, name: str) -> dict[str, str]:
    return {
        "PATH": ":".join(SEARCH_PATH),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
    }


# --- talking to it ------------------------------------------------------------------------


class _Conversation:
    """Feeds a process and reads from it, until it ends or has to be ended."""

    def __init__(
        self, process: subprocess.Popen[bytes], mark: bytes, timeout: float, max_bytes: int
    ) -> None:
        self._process = process
        self._mark = mark
        self._deadline = time.monotonic() + timeout
        self._max_bytes = max_bytes
        self._output: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._open = {"stdout", "stderr"}
        self._selector = selectors.DefaultSelector()
        self._pidfd: int | None = None
        self._ended = False
        self._timed_out = False
        self._truncated = False

    def hold(self, argv: tuple[str, ...], stdin: bytes | None) -> CommandResult:
        """Do it all, and say how it went."""
        try:
            self._prepare(stdin)
            self._talk()
        finally:
            # Also when the collector itself is interrupted: nothing may be left behind.
            self._finish()
        return CommandResult(
            argv=argv,
            returncode=None if self._timed_out else self._process.returncode,
            stdout=self._output["stdout"].decode("utf-8", "replace"),
            stderr=self._output["stderr"].decode("utf-8", "replace"),
            timed_out=self._timed_out,
            truncated=self._truncated,
        )

    def _prepare(self, stdin: bytes | None) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(self._process, name)
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, name)
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
            self._to_send = memoryview(stdin or b"")
            self._selector.register(self._process.stdin, selectors.EVENT_WRITE, "stdin")
        with contextlib.suppress(AttributeError, OSError):  # Linux before 5.3
            self._pidfd = os.pidfd_open(self._process.pid)
            self._selector.register(self._pidfd, selectors.EVENT_READ, "end")

    def _talk(self) -> None:
        """Until it has ended and said all, or is out of time or room."""
        until = self._deadline
        while (self._open or not self._ended) and not self._truncated:
            wait = until - time.monotonic()
            if wait <= 0:
                self._timed_out = not self._ended
                return
            if self._pidfd is None:
                wait = min(wait, _WITHOUT_PIDFD_SECONDS)
            for key, _ in self._selector.select(wait):
                if key.data == "stdin":
                    self._send()
                elif key.data in self._output:
                    self._receive(key.data)
            if not self._ended and self._has_ended():
                self._ended = True
                until = time.monotonic() + _DRAIN_SECONDS
                if self._pidfd is not None:
                    self._selector.unregister(self._pidfd)

    def _has_ended(self) -> bool:
        """Whether it ended; it is not reaped yet, so that its number can't be given anew."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, options) is not None
        except ChildProcessError:  # somebody else in this process reaped it
            return True

    def _send(self) -> None:
        stream = self._process.stdin
        if stream is None:
            return
        try:
            sent = os.write(stream.fileno(), self._to_send[:_CHUNK])
        except BlockingIOError:
            return
        except OSError:  # it does not read (any more)
            sent = len(self._to_send)
        self._to_send = self._to_send[sent:]
        if not self._to_send:
            self._selector.unregister(stream)
            stream.close()

    def _receive(self, name: str) -> None:
        stream, output = getattr(self._process, name), self._output[name]
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(stream)
            self._open.discard(name)
        room = self._max_bytes - len(output)
        output += data[:room]
        if len(data) > room:
            self._truncated = True

    def _finish(self) -> None:
        """Kill what is still there, and close everything."""
        if self._ended and not self._open:
            # What it may have left in its group, such as `program &`, costs one call to end.
            _signal_group(self._process.pid, signal.SIGKILL)
        else:
            kill_all(self._process.pid, self._mark)
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)


def kill_all(leader: int, mark: bytes) -> None:
    """Kill a command and all that it has started; `leader` must not have been reaped yet."""
    # Stopped first, the leader stays a parent by whom its children are known, and nobody
    # forks while we look. Whoever does all the same is found the next time.
    _signal_group(leader, signal.SIGSTOP)
    give_up = time.monotonic() + _KILL_SECONDS
    others = procfs.belonging(leader, mark) - {os.getpid()}
    _signal_group(leader, signal.SIGKILL)
    while others and time.monotonic() < give_up:
        for sign in (signal.SIGSTOP, signal.SIGKILL):
            for pid in others:
                with contextlib.suppress(OSError):
                    os.kill(pid, sign)
        time.sleep(_BETWEEN_KILLS_SECONDS)
        others = procfs.belonging(leader, mark) - {os.getpid()}


def _signal_group(leader: int, sign: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.killpg(leader, sign)
