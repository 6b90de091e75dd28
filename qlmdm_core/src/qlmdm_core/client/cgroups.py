"""A cgroup (version 2) for a collect, where this process may make one; cgroups(7).

It is the only thing on Linux that holds a group of processes for certain: its limits count
children of children, and `cgroup.kill` reaches all of them at once, however fast they fork.
Below the run's own group there is one for each worker and each collector::

    …/qlmdm-PID/worker-0   collector-3   …

Where controllers are not available (cgroup v1, a desktop user's own scope) the groups are
still used to kill. Where no group can be made, `RunGroup.create` is None and rlimits and the
reaper do what they can.
"""

from __future__ import annotations

import contextlib
import os

from qlmdm_core.client.limits import Limits

_MOUNTS = "/proc/self/mountinfo"
_OWN = "/proc/self/cgroup"
_PREFIX = "qlmdm-"
_CONTROLLERS = ("cpu", "memory", "pids")


class Group:
    """One cgroup of ours, as a directory."""

    def __init__(self, path: str) -> None:
        self.path = path

    def enter(self) -> None:
        """Move this process into it. Raises `OSError`."""
        _write(f"{self.path}/cgroup.procs", "0")

    def kill(self) -> None:
        """Kill everything in it and below, at once."""
        with contextlib.suppress(OSError):  # gone already; to be sure, one looks for what is left
            _write(f"{self.path}/cgroup.kill", "1")

    def remove(self) -> bool:
        """Take it away, and say whether it is gone: it must be empty of processes."""
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def exceeded(self, limits: Limits) -> str:
        """Which limit it ran into, in words; empty if none."""
        if _event(f"{self.path}/pids.events", "max"):
            return f"it started more than {limits.processes} processes"
        if _event(f"{self.path}/memory.events", "oom_kill"):
            return f"it used more than {limits.memory_bytes >> 20} MiB of memory"
        return ""


class RunGroup(Group):
    """The cgroup of one collect."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.limited = False
        """Whether its groups have limits, rather than only being good to kill."""

    @classmethod
    def create(cls, *, bases: list[str] | None = None) -> RunGroup | None:
        """A new group where one can be made, with limits if possible; None if nowhere.

        The process's own group comes first: it is ours if systemd delegated it. The top of
        the tree is used only for its controllers.
        """
        found: RunGroup | None = None
        for base in candidate_bases() if bases is None else bases:
            group = cls._create_below(base)
            if group is None:
                continue
            if group.limited:
                if found is not None:
                    found.remove()
                return group
            if found is None:
                found = group
            else:
                group.remove()
        return found

    @classmethod
    def _create_below(cls, base: str) -> RunGroup | None:
        remove_stale(base)
        group = cls(f"{base}/{_PREFIX}{os.getpid()}")
        try:
            os.mkdir(group.path)
        except OSError:
            return None
        if not os.path.exists(f"{group.path}/cgroup.kill"):  # since Linux 5.14
            group.remove()
            return None
        try:
            with open(f"{group.path}/cgroup.controllers", encoding="ascii") as file:
                available = file.read().split()
            enabled = [name for name in _CONTROLLERS if name in available]
            if enabled:
                wanted = " ".join(f"+{name}" for name in enabled)
                _write(f"{group.path}/cgroup.subtree_control", wanted)
            group.limited = "pids" in enabled and "memory" in enabled
        except OSError:
            pass
        return group

    def child(self, name: str, limits: Limits) -> Group | None:
        """A group for one worker or collector; None if it can't be made."""
        group = Group(f"{self.path}/{name}")
        try:
            os.mkdir(group.path)
        except OSError:
            return None
        if self.limited:
            for file, value in (
                ("pids.max", str(limits.processes)),
                ("memory.max", str(limits.memory_bytes)),
                ("memory.swap.max", "0"),
                ("memory.oom.group", "1"),
            ):
                with contextlib.suppress(OSError):  # no memory.swap.max where there is no swap
                    _write(f"{group.path}/{file}", value)
        return group

    def remove(self) -> bool:
        """Take it away with all groups in it; False if a process is left in one of them."""
        try:
            names = os.listdir(self.path)
        except OSError:
            names = []
        for name in names:
            if os.path.isdir(f"{self.path}/{name}"):
                Group(f"{self.path}/{name}").remove()
        return super().remove()


def candidate_bases() -> list[str]:
    """Where a group might be made: this process's own cgroup, and the top of the tree."""
    mount = _mount_point()
    if mount is None:
        return []
    try:
        with open(_OWN, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::/")), "/")
    return list(dict.fromkeys([(mount + own).rstrip("/"), mount]))


def _mount_point() -> str | None:
    """Where cgroup v2 is mounted, also beside version 1: proc_pid_mountinfo(5)."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and len(fields := before.split(" ")) > 4:
            return fields[4]
    return None


def remove_stale(base: str) -> None:
    """Clear away what a collect that was killed left behind."""
    try:
        names = os.listdir(base)
    except OSError:
        return
    for name in names:
        pid = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            group = RunGroup(f"{base}/{name}")
            group.kill()
            group.remove()


def _event(path: str, name: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                key, _, count = line.partition(" ")
                if key == name:
                    return int(count)
    except (OSError, ValueError):
        pass
    return 0


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
