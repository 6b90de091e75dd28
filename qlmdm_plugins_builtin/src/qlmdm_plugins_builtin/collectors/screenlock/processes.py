"""Which programs run in whose session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os.path import basename

from qlmdm_core import Process

from .model import Session

INTERPRETERS = frozenset({"python", "python3", "perl", "bash", "sh", "dash", "env", "ruby", "gjs"})
COMM_LENGTH = 15
"""proc(5): the kernel keeps this much of a program's name in /proc/PID/comm."""


def names(process: Process) -> set[str]:
    """The names that a process may be known by; `comm` alone may be cut off."""
    found = {process.comm} if process.comm else set()
    if process.program:
        found.add(basename(process.program))
    argv = process.argv or ()
    found.update(basename(word) for word in argv[:1])
    if any(_interpreter(name) for name in found) and "-c" not in argv:
        # A script: the first argument that is no option names it.
        for word in _operands(argv)[:1]:
            name = basename(word)
            # Cinnamon's screen saver is cinnamon-screensaver-main.py.
            found.update((name, name.removesuffix(".py").removesuffix("-main")))
    return {_bare(name) for name in found if name}


def _operands(argv: Sequence[str]) -> list[str]:
    return [word for word in argv[1:] if not word.startswith("-")]


def _interpreter(name: str) -> bool:
    return name.rstrip("0123456789.") in INTERPRETERS or name in INTERPRETERS


def _bare(name: str) -> str:
    """The name without what login shells (`-bash`) and NixOS (`.swayidle-wrapped`) add."""
    name = name.removeprefix("-")
    for end in ("-wrapped", "-wrappe", "-wrapp", "-wrap", "-wra", "-wr", "-w"):
        if name.startswith(".") and name.endswith(end):
            return name[1 : -len(end)]
    return name


def is_named(process: Process, wanted: Iterable[str]) -> bool:
    """Whether a process is one of the wanted programs."""
    known = names(process)
    comm = _bare(process.comm or "")
    return any(
        name in known or (len(comm) == COMM_LENGTH and name.startswith(comm)) for name in wanted
    )


def belongs(process: Process, session: Session) -> bool:
    """Whether a process may be part of a session.

    Programs that the user's systemd starts carry no session id, so a process of the same
    user counts unless its environment names another session.
    """
    if process.uid is not None and session.uid is not None:
        same = process.uid == session.uid
    elif process.user is not None:
        same = process.user == session.user
    else:
        same = process.uid is None  # Nothing is known of its owner: it may be ours.
    other = (process.environ or {}).get("XDG_SESSION_ID")
    return same and (not other or not session.id or other == session.id)


def of_session(processes: Sequence[Process], session: Session) -> list[Process]:
    """The processes that may be part of a session, by pid."""
    return [process for process in processes if belongs(process, session)]


def all_in_sight(processes: Sequence[Process]) -> bool:
    """Whether the list is the whole machine's: with hidepid, a user sees only their own."""
    return any(process.pid == 1 for process in processes)
