"""What a process that is to run a plugin does to itself, straight after fork.

It must not hold anything of its parent's that a plugin could spoil: no descriptor (a lock, a
socket, another collector's pipe), no terminal, no signal handler, no stream.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import io
import os
import resource
import signal
import sys

leave = os._exit
"""Ends a process of ours at once. A plugin may replace `os._exit`, and what ran in its process
would then return into its parent's code."""

CHANNEL = 3
"""The descriptor by which it talks to its parent; the only one it gets beside 0, 1 and 2."""

_OUT_OF_THE_WAY = 16


def settle_in(channel: int, noise: int) -> list[object]:
    """Keep the channel as `CHANNEL` and noise as 1 and 2; close and reset everything else.

    The caller has to keep what is returned: the former streams, whose descriptors are closed
    already and would be closed once more, whatever they are by then.
    """
    _place(channel, noise)
    faulthandler.enable(2)  # a crash in C then says where it happened, in the evidence
    close_above(CHANNEL)
    former: list[object] = [sys.stdin, sys.stdout, sys.stderr]
    sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False))
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.FileIO(fd, "w", closefd=False),
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )
        for fd in (1, 2)
    )
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    os.chdir("/")
    return former


def settle_again(channel: int, noise: int, *, below: int) -> None:
    """As `settle_in`, in a child of a process that has done that: it costs a quarter.

    No descriptor of the parent's is `below` or above (its RLIMIT_NOFILE).
    """
    if channel > CHANNEL and noise > CHANNEL:
        os.dup2(noise, 1)
        os.dup2(noise, 2)
        os.dup2(channel, CHANNEL, inheritable=False)
    else:
        _place(channel, noise)  # a plugin closed the worker's descriptors
    os.closerange(CHANNEL + 1, below)


def _place(channel: int, noise: int) -> None:
    # Either may be 0 to 3 already, if our caller had closed those.
    channel = fcntl.fcntl(channel, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    noise = fcntl.fcntl(noise, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.dup2(noise, 1)
    os.dup2(noise, 2)
    os.dup2(channel, CHANNEL, inheritable=False)


def close_above(highest: int) -> None:
    """Close every descriptor above this one."""
    try:
        fds = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        fds = list(range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65536)))
    for fd in fds:
        if fd > highest:
            with contextlib.suppress(OSError):  # the one by which the list was read
                os.close(fd)
