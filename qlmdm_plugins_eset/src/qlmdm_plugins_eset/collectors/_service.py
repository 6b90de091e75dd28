"""Tells whether a product is installed and running: its files, its unit, its processes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qlmdm_core import Host, Process

State: TypeAlias = Literal["running", "stopped", "absent", "unknown"]
_ACTIVE = re.compile(r"^[ \t]{0,20}Active: ([a-z]{1,20})\b", re.MULTILINE)
_NO_UNIT = re.compile(r"^Unit \S{1,200} could not be found|Loaded: not-found", re.MULTILINE)
_UP = ("active", "reloading", "activating", "refreshing")


@dataclass(frozen=True)
class Unit:
    """What systemd says of a unit; None where it does not say."""

    name: str
    exists: bool | None = None
    active: str | None = None
    """active, inactive, failed, …"""

    @property
    def up(self) -> bool:
        """Whether it runs, or systemd tries to make it run."""
        return self.active in _UP


@dataclass(frozen=True)
class Finding:
    """The state of a product, and why."""

    state: State
    why: str


def parse_show(text: str, name: str) -> Unit:
    """The unit in what `systemctl show` printed. Never raises."""
    values = dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)
    load = values.get("LoadState")
    # Without LoadState, a unit that does not exist looks like one that is dead.
    exists = None if load is None else load != "not-found"
    active = values.get("ActiveState") or None
    if active is None and values.get("SubState") == "running":
        active = "active"
    return Unit(name, True if active in _UP else exists, active)


def ask_unit(host: Host, name: str) -> Unit:
    """What systemd says of a service, `name` without its suffix."""
    unit = f"{name}.service"
    for argv in (
        ["systemctl", "show", "-p", "LoadState,ActiveState,SubState", unit],
        # Where there is no answer to that at all, it is a recording in somebody else's words.
        ["systemctl", "show", "-p", "ActiveState,SubState", name],
        ["systemctl", "show", unit],
        ["systemctl", "show", name],
        ["systemctl", "show", "-p", "ActiveState", unit],
        ["systemctl", "show", "-p", "ActiveState", name],
        ["systemctl", "show", "-p", "SubState", unit],
        ["systemctl", "show", "-p", "SubState", name],
    ):
        answer = host.run(argv, timeout=5.0)
        if answer.ok:
            return parse_show(answer.stdout, unit)
        if answer.found:
            return Unit(unit)  # no systemd, or it does not answer
    for argv in (["systemctl", "is-active", unit], ["systemctl", "is-active", name]):
        answer = host.run(argv, timeout=5.0)
        state = answer.stdout.strip()
        if answer.found and state in (*_UP, "inactive", "failed", "deactivating"):
            # Exit 4 is for a unit that does not exist; old versions say 3 to that as well.
            exists = True if state in _UP else False if answer.returncode == 4 else None
            return Unit(unit, exists, state)
        if answer.found and answer.returncode == 4:
            return Unit(unit, False, "inactive")
    for argv in (["systemctl", "status", unit], ["systemctl", "status", name]):
        answer = host.run(argv, timeout=5.0)
        if answer.found and (found := parse_status(answer.stdout + answer.stderr, unit)):
            return found
    return Unit(unit)


def parse_status(text: str, name: str) -> Unit | None:
    """The unit in what `systemctl status` printed; None if that says nothing. Never raises."""
    if _NO_UNIT.search(text):
        return Unit(name, False, "inactive")
    match = _ACTIVE.search(text)
    return Unit(name, True, match[1]) if match else None


def is_there(host: Host, paths: Sequence[str]) -> bool | None:
    """Whether one of the files exists; None if we may not look."""
    refused = False
    for path in paths:
        try:
            host.stat(path)
        except PermissionError:
            refused = True
        except OSError:
            continue
        else:
            return True
    return None if refused else False


def runs_from(process: Process, folder: str) -> bool:
    """Whether a process's program lies in a folder, be it replaced since (" (deleted)").

    Others' executables can be read by root only; then the command line has to do.
    """
    path = process.program
    if path is None:
        path = (process.argv or ("",))[0].split(" ", 1)[0]
    return path.startswith(folder.rstrip("/") + "/")


def list_is_whole(host: Host, processes: Sequence[Process]) -> bool:
    """Whether all processes are in sight: others' can be hidden (hidepid in proc(5))."""
    return bool(processes) and (host.is_root or any(process.pid == 1 for process in processes))


def state_of(
    host: Host, installed: bool | None, unit: Unit, is_daemon: Callable[[Process], bool]
) -> Finding:
    """Put together what files, systemd and processes say."""
    processes = host.processes()
    if any(is_daemon(process) for process in processes):
        return Finding("running", "its process is there")
    seen_all = list_is_whole(host, processes)
    if unit.up:
        if seen_all:
            return Finding(
                "unknown", f"{unit.name} is {unit.active}, but none of its processes is there"
            )
        return Finding("running", f"{unit.name} is {unit.active}")
    if installed is None and not unit.exists:
        return Finding("unknown", "whether it is installed, only root may see")
    if not installed and not unit.exists:
        return Finding("absent", "none of its files is there")
    if not installed and installed is not None:
        return Finding("absent", f"{unit.name} is left over, but none of its programs")
    said = f"{unit.name} is {unit.active}" if unit.active else ""
    if seen_all:
        return Finding("stopped", said or "none of its processes is there")
    if said and unit.exists is not False:
        return Finding("stopped", said)
    return Finding("unknown", "neither systemd nor processes tell whether it runs")
