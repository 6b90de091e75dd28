"""What an installed client puts outside its own folder: commands to type, and what starts it.

Each file says who wrote it, is replaced whole, and is not touched if somebody else wrote it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Sequence

from qlmdm_core.client.release import launcher
from qlmdm_core.errors import UsageError

MARK = "# Written by qlmdm's client-setup; it may write it anew."
OURS = ("qlmdm_core.client.", "qlmdm_core.plugins.")
"""Where the commands of a client are; a release may have the server's names, too."""
TIMER = "qlmdm-client"


def commands(lib: str) -> list[str]:
    """The commands of an installed release."""
    return sorted(
        name
        for name, module in launcher.console_scripts(lib)
        if name.startswith("qlmdm-") and module.startswith(OURS)
    )


def start(python: str, state: str, command: str) -> list[str]:
    """How a command is started: Python alone, and the launcher."""
    return [python, "-I", "-S", os.path.join(state, "launcher", "launcher.py"), command]


def write_commands(bin_dir: str, python: str, state: str, names: Sequence[str]) -> list[str]:
    """One small script for each command; their paths. Raises `UsageError`."""
    return [
        _write(
            os.path.join(bin_dir, name),
            f'#!/bin/sh\n{MARK}\nexec {shlex.join(start(python, state, name))} "$@"\n',
            0o755,
        )
        for name in names
    ]


def write_schedule(etc: str, python: str, state: str) -> list[str]:
    """What starts the agent each minute: a line for cron, or a timer where there is no cron.

    `etc` is /etc. Returns the files that were written; none if the machine has neither.
    """
    words = start(python, state, "qlmdm-client-cron")
    # crontab(5): "%" begins standard input, unless it is escaped.
    line = shlex.join(words).replace("%", r"\%")
    if os.path.isdir(os.path.join(etc, "cron.d")):
        text = f"{MARK}\n* * * * * root {line}\n"
        return [_write(os.path.join(etc, "cron.d", "qlmdm"), text, 0o644)]
    units = os.path.join(etc, "systemd", "system")
    if not os.path.isdir(units):
        return []
    # systemd.service(5): "%" begins a specifier, "$" a variable; quotes are as a shell's here.
    command = shlex.join(words).replace("%", "%%").replace("$", "$$")
    service = f"{MARK}\n[Unit]\nDescription=qlmdm agent\n\n[Service]\nType=oneshot\n"
    service += f"ExecStart={command}\n"
    timer = f"{MARK}\n[Unit]\nDescription=qlmdm agent, each minute\n\n[Timer]\n"
    timer += "OnCalendar=minutely\nAccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n"
    return [
        _write(os.path.join(units, f"{TIMER}.service"), service, 0o644),
        _write(os.path.join(units, f"{TIMER}.timer"), timer, 0o644),
    ]


def check_ours(path: str) -> None:
    """Raise `UsageError` if others than root, and us, can put something else in its place.

    What lies there is run as root each minute: a Python of somebody's own, or a folder in a
    place that is open to everybody, would hand the machine to them.
    """
    places = {os.path.abspath(path), os.path.realpath(path)}
    for place in sorted(places):
        while True:
            found = os.lstat(place)
            theirs = found.st_uid not in (0, os.geteuid())
            # sticky (inode(7)): others can't rename or replace what is not theirs
            is_open = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
            if theirs or (is_open and not stat.S_ISLNK(found.st_mode)):
                what = f"belongs to uid {found.st_uid}" if theirs else "can be written by everybody"
                raise UsageError(
                    f"{place} {what}, and {path} would be run as root; use another place, or "
                    "another python3 (the first in PATH)"
                )
            if place == os.path.dirname(place):
                break
            place = os.path.dirname(place)


def remove(bin_dir: str, etc: str) -> list[str]:
    """Take away every file of ours; their paths."""
    places = [os.path.join(etc, "cron.d", "qlmdm")]
    places += [
        os.path.join(etc, "systemd", "system", TIMER + kind) for kind in (".timer", ".service")
    ]
    if os.path.isdir(bin_dir):
        names = sorted(os.listdir(bin_dir))
        places += [os.path.join(bin_dir, name) for name in names if name.startswith("qlmdm-")]
    gone = [path for path in places if os.path.lexists(path) and _is_ours(path)]
    for path in gone:
        os.unlink(path)
    return gone


def _is_ours(path: str) -> bool:
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return MARK.encode() in file.read(4096)


def _write(path: str, text: str, mode: int) -> str:
    """Replace a file of ours; the path."""
    if os.path.lexists(path) and not _is_ours(path):
        raise UsageError(f"{path} is there already, and is not ours; move it away first")
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.new")
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        # A new one, of our own: one that somebody else made would go on being theirs to write.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, mode)
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
    return path
