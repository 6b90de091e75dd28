"""Reads processes from /proc, which may change or vanish under one's eyes (proc(5))."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

from qlmdm_core.api import Process

MAX_CMDLINE_BYTES = 64 << 10
MAX_ENVIRON_BYTES = 256 << 10


def pids(proc: str = "/proc") -> list[int]:
    """The processes in sight, in order."""
    return sorted(int(name) for name in os.listdir(proc) if name.isascii() and name.isdigit())


def read_processes(proc: str = "/proc") -> list[Process]:
    """All processes in sight, by pid; one that ends meanwhile is left out."""
    names: dict[int, str | None] = {}
    found = (_process(proc, pid, names) for pid in pids(proc))
    return [process for process in found if process is not None]


def _process(proc: str, pid: int, names: dict[int, str | None]) -> Process | None:
    folder = f"{proc}/{pid}"
    status = _read(f"{folder}/status", 16 << 10)
    if status is None:
        return None
    ppid = uid = None
    for line in status.split(b"\n"):
        words = line.split()
        if len(words) >= 2 and words[0] == b"PPid:":
            ppid = _integer(words[1])
        elif len(words) >= 3 and words[0] == b"Uid:":
            uid = _integer(words[2])  # the effective one, as ps(1) shows
    comm = _read(f"{folder}/comm", 256)
    cmdline = _read(f"{folder}/cmdline", MAX_CMDLINE_BYTES)
    environ = _read(f"{folder}/environ", MAX_ENVIRON_BYTES)
    return Process(
        pid=pid,
        ppid=ppid,
        uid=uid,
        user=_user(uid, names),
        comm=None if comm is None else _text(comm.removesuffix(b"\n")),
        argv=None if cmdline is None else tuple(_strings(cmdline)),
        exe=_exe(f"{folder}/exe"),
        environ=None if environ is None else _variables(environ),
    )


def _read(path: str, limit: int) -> bytes | None:
    """The start of a file, or None if it is gone or not for us."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts: list[bytes] = []
        while limit > 0 and (part := os.read(handle, min(limit, 65536))):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)
    except OSError:  # ESRCH: it ended between open and read
        return None
    finally:
        os.close(handle)


def _exe(path: str) -> str | None:
    try:
        return _text(os.readlink(os.fsencode(path)))
    except OSError:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _integer(word: bytes) -> int | None:
    try:
        return int(word)
    except ValueError:
        return None


def _strings(data: bytes) -> Iterator[str]:
    # A program that writes over its arguments (setproctitle) leaves padding behind.
    stripped = data.rstrip(b"\0")
    return (_text(part) for part in stripped.split(b"\0")) if stripped else iter(())


def _variables(data: bytes) -> dict[str, str]:
    pairs = (part.partition("=") for part in _strings(data))
    return {name: value for name, equals, value in pairs if equals}


def _user(uid: int | None, names: dict[int, str | None]) -> str | None:
    """The name of a user; asked once each, since a directory service may have to be asked."""
    if uid is None:
        return None
    if uid not in names:
        try:
            names[uid] = pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            names[uid] = None
    return names[uid]


def belonging(leader: int, mark: bytes, proc: str = "/proc") -> set[int]:
    """The processes that a command has started, however they tried to get away.

    Those are: its descendants, what is in its session or process group, and what carries
    `mark` (`NAME=value`) in the environment. The leader itself is not among them.
    """
    parents: dict[int, int] = {}
    found: set[int] = set()
    for pid in pids(proc):
        fields = _stat_fields(f"{proc}/{pid}/stat")
        if fields is None:
            continue
        parents[pid], group, session = fields
        if leader in (group, session) or _carries(f"{proc}/{pid}/environ", mark):
            found.add(pid)
    for pid in parents:
        above, steps = pid, 0
        while above in parents and steps < len(parents):
            above, steps = parents[above], steps + 1
            if above == leader or above in found:
                found.add(pid)
                break
    return found - {leader}


def _carries(path: str, mark: bytes) -> bool:
    return mark in (_read(path, MAX_ENVIRON_BYTES) or b"").split(b"\0")


def _stat_fields(path: str) -> tuple[int, int, int] | None:
    """Parent, process group and session of a live process; None for a zombie, too."""
    data = _read(path, 4096)
    if data is None:
        return None
    # The name stands in brackets and may hold anything, brackets and blanks included.
    fields = data[data.rfind(b")") + 1 :].split()
    if len(fields) < 4 or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[1]), int(fields[2]), int(fields[3])
