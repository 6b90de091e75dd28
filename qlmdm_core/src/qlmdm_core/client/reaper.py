"""Finds and kills what a plugin's process left behind: daemons, double forks, fork bombs.

A process that is a subreaper gets the orphans of all its descendants as children (prctl(2),
PR_SET_CHILD_SUBREAPER), whatever sessions and groups they made for themselves. So "nothing is
left" is the same as "I have no child but those I know", and waitpid(2) can prove it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Collection


def child_pids(pid: int) -> list[int]:
    """The children of a process, of all its threads; empty if it is gone.

    While children exit, the list may be incomplete (proc_pid_task(5)): a caller who must be
    sure repeats it.
    """
    children: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    for thread in threads:
        try:
            children += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
        except FileNotFoundError:
            if not os.path.exists("/proc/thread-self/children"):  # no CONFIG_PROC_CHILDREN
                return [child for child, parent in _parents().items() if parent == pid]
        except (OSError, ValueError):
            continue
    return children


def _read(path: str) -> bytes:
    """A file of /proc, whole. (`open` would take three times as long.)"""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _parents() -> dict[int, int]:
    """Everybody's parent, the slow way."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold anything; the parent comes two fields later.
            parents[int(name)] = int(_read(f"/proc/{name}/stat").rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return parents


def count_descendants(pid: int, *, stop_at: int) -> int:
    """How many processes descend from this one; counting ends at `stop_at`."""
    count, pending = 0, [pid]
    while pending and count < stop_at:
        children = child_pids(pending.pop())
        count += len(children)
        pending += children
    return count


def kill(pid: int) -> None:
    """SIGKILL; no error if it is gone, or somebody else's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_tree(pid: int) -> None:
    """Kill a process and all that descend from it, parents first: the dead fork no more."""
    pending = [pid]
    while pending:
        parent = pending.pop()
        children = child_pids(parent)
        kill(parent)
        pending += children


def kill_strays(known: Collection[int]) -> set[int]:
    """Kill every child of this process that is not known, with all its descendants.

    Says which there were: then call it again, after `reap`, until there is none.
    """
    strays = {pid for pid in child_pids(os.getpid()) if pid not in known}
    for pid in strays:
        kill_tree(pid)
    return strays


def reap(found: Callable[[int, int], None]) -> bool:
    """Take the exit status of all children that have ended; False if there is no child left.

    `found(pid, status)` is called for each. Never waits.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        found(pid, status)


def describe(pid: int) -> str:
    """A process for a person: its name, its pid, and the state it hangs in."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            before, _, after = file.read().rpartition(")")
        return f"{before.partition('(')[2]} (pid {pid}, state {after.split()[0]})"
    except (OSError, IndexError):
        return f"pid {pid}"
