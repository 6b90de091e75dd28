"""Two lanes of commands, each with one runner at a time, beside the agent's cycle.

A script may run for a day. Meanwhile the agent goes on reporting, and a wipe or a cancellation
does not wait for it: those have a lane of their own. Within a lane commands are carried out one
after the other, in the order in which they were made. A lane's lock is held for as long as its
runner lives, so whoever gets it knows that what was begun in that lane is not at work any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator

from qlmdm_core.client.commands.journal import FOLDER
from qlmdm_core.errors import BusyError, SpoolError

WORK, URGENT = "work", "urgent"
LANES = (URGENT, WORK)
URGENT_KINDS = ("wipe", "cancel")
LOG = "runner.log"
LOG_BYTES = 256 << 10

# The parent's own modules, wherever they are (a slot of a release, say), and nothing else's.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from qlmdm_core.client.commands.runner import main; sys.exit(main(sys.argv[2:]))"
)


def lane_of(kind: str) -> str:
    """Which lane a kind of command goes through."""
    return URGENT if kind in URGENT_KINDS else WORK


@contextlib.contextmanager
def held(state_path: str, lane: str) -> Iterator[None]:
    """Hold the lock of a lane. Raises `BusyError` if its runner is at work."""
    path = os.path.join(state_path, FOLDER, f"{lane}.lock")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolError(f"{path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"the runner of the lane {lane!r} is at work") from None
        yield
    finally:
        os.close(fd)


def is_free(state_path: str, lane: str) -> bool:
    """Whether no runner is at work in this lane."""
    try:
        with held(state_path, lane):
            return True
    except BusyError:
        return False


def start(state_path: str, lane: str, settings_file: str) -> int:
    """Start the runner of a lane, which outlives us; its process id.

    It has nothing of ours but the environment (proxies, the release that we are of): cron waits
    for whoever holds its pipes. What it has to say goes to `commands/runner.log`.
    """
    log = _log(state_path)
    options = ["-I", "-S"]
    if sys.pycache_prefix is not None:
        options += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    if sys.dont_write_bytecode:
        options.append("-B")
    path = json.dumps([folder for folder in sys.path if folder])
    argv = [sys.executable, *options, "-c", _START, path, state_path, lane, settings_file]
    try:
        return os.posix_spawn(
            sys.executable,
            argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
        )
    except OSError as error:
        raise SpoolError(f"the runner of commands can't be started: {error.strerror}") from None
    finally:
        os.close(log)


def _log(state_path: str) -> int:
    path = os.path.join(state_path, FOLDER, LOG)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
        if os.fstat(fd).st_size > LOG_BYTES:
            os.ftruncate(fd, 0)
    except OSError as error:
        raise SpoolError(f"{path}: {error.strerror}") from None
    return fd
