"""What a process that runs a plugin may use, and how the kernel is told.

Most limits are inherited by whatever the process starts. They hold a plugin that errs, not
one that fights: as root, a process can take most of them off again.
"""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that one collector, with all that it starts, may use."""

    memory_bytes: int = 1024 * _MIB
    """Memory of its own. Without a cgroup, for each process."""
    address_space_bytes: int = 16384 * _MIB
    """Everything mapped, files included; ample, since some runtimes reserve gigabytes."""
    processes: int = 256
    """Processes and threads."""
    file_bytes: int = 512 * _MIB
    """The largest file that may be written: package managers rebuild caches when asked."""
    open_files: int = 1024
    output_bytes: int = 8 * _MIB
    """What may be printed, which is not shown to anybody."""
    niceness: int = 10
    """The person at the machine comes first, and so does whoever has to end a fork bomb."""


def apply(limits: Limits) -> None:
    """Limit this process, and what it will start. Never raises: a lower limit may be set."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_DATA, limits.memory_bytes)  # setrlimit(2): private writable memory
    _lower(resource.RLIMIT_AS, limits.address_space_bytes)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    _lower(resource.RLIMIT_NOFILE, limits.open_files)
    if os.geteuid() != 0:
        # Counts everything of this user, so what runs already comes on top. Root isn't held
        # by it, but users to whom root's children change would be.
        _lower(resource.RLIMIT_NPROC, tasks_on_machine() + limits.processes)
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            # When memory runs out, this goes first: proc_pid_oom_score_adj(5).
            os.write(fd, b"1000")
        finally:
            os.close(fd)


def be_nice(niceness: int) -> None:
    """Set this process's niceness; only root may set one below the present."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, value))


def tasks_on_machine() -> int:
    """How many processes and threads there are: the fourth field of /proc/loadavg, proc(5)."""
    try:
        fd = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.read(fd, 200).split()[3].partition(b"/")[2])
        finally:
            os.close(fd)
    except (OSError, ValueError, IndexError):
        return 0
