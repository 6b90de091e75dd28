"""The processes in which an audit runs what plugins bring: checks and notifiers.

Each ends when the audit does, however that ends; whatever it prints goes to standard error,
since the audit's own output is mailed or parsed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from qlmdm_core.prctl import Prctl


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process, and the end of a pipe that it (and all it starts) holds the other end of."""

    pid: int
    pipe: int

    def kill(self) -> int:
        """End it and what it started, and wait for it; its wait status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # it may not have had its group yet
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pipe)
        return status


def start(work: Callable[[int], None]) -> Child:
    """Run `work(pipe)` in a process of its own; it may write to the pipe.

    It is forked beside threads (a database driver's), of which Python warns: so it opens anew
    what it needs of ours, and ends without running anybody's exit handlers.
    """
    prctl, parent = Prctl(), os.getpid()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            prctl.die_with_parent(parent)
            os.setsid()
            os.close(ours)
            os.dup2(2, 1)
            sys.stdout = sys.stderr
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            work(theirs)
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    return Child(pid=pid, pipe=ours)
