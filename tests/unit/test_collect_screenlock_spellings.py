"""The screen lock collector: answers in the other forms that somebody may have recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.screenlock import collect

TABLE = "SESSION  UID USER  SEAT  TTY\n     c3 1002 ines  seat0 tty3\n\n1 sessions listed.\n"
SHOWN = {
    "Id": "c3", "Name": "ines", "Type": "wayland", "Class": "user", "State": "active",
    "Remote": "no", "Desktop": "KDE",
}  # fmt: skip
RC = "/home/ines/.config/kscreenlockerrc"


def properties(**changes: str) -> str:
    return "".join(f"{name}={value}\n" for name, value in {**SHOWN, **changes}.items())


def logged_in(tmp_path: Path, **changes: str) -> RecordedMachine:
    """A machine at which somebody sits, by logind."""
    machine = RecordedMachine(tmp_path).command(["loginctl", "list-sessions"], TABLE)
    return machine.command(["loginctl", "show-session", "c3"], properties(**changes))


def verdict(machine: RecordedMachine) -> tuple[JSON, JSON]:
    value = collect(machine.host())
    return value["state"], value["delay_seconds"]


@pytest.mark.parametrize("words", ["", "--no-legend", "list-sessions --all"])
def test_the_list_of_sessions_needs_no_word(tmp_path: Path, words: str) -> None:
    machine = RecordedMachine(tmp_path).command(["loginctl", *words.split()], TABLE)
    machine.command(["loginctl", "show-session", "c3"], properties())
    machine.file(RC, "[Daemon]\nAutolock=false\n")
    assert verdict(machine)[0] == "disabled"


@pytest.mark.parametrize("option", ["", "--value"])
def test_properties_one_by_one(tmp_path: Path, option: str) -> None:
    machine = RecordedMachine(tmp_path).command(["loginctl", "list-sessions"], TABLE)
    for name, value in SHOWN.items():
        argv = ["loginctl", "show-session", "c3", "-p", name, *option.split()]
        machine.command(argv, f"{value}\n" if option else f"{name}={value}\n")
    machine.file(RC, "[Daemon]\nTimeout=7\nLockGrace=0\n")
    assert verdict(machine) == ("enabled", 420)


@pytest.mark.parametrize(
    ("root", "dump", "expected"),
    [
        ("/", "[org/gnome/desktop/session]\nidle-delay=uint32 90\n", ("enabled", 90)),
        ("/org/gnome/", "[desktop/session]\nidle-delay=uint32 90\n", ("enabled", 90)),
        ("/org/gnome/desktop/", "[session]\nidle-delay=uint32 0\n", ("disabled", None)),
        ("/org/gnome/desktop/", "[/]\nidle-delay=uint32 0\n", ("enabled", 300)),
        # What another part says is not known.
        ("/org/gnome/desktop/session/", "[/]\nidle-delay=uint32 90\n", ("unknown", None)),
        ("/org/cinnamon/", "[desktop/session]\nidle-delay=uint32 90\n", ("unknown", None)),
    ],
)
def test_a_part_of_dconf(
    tmp_path: Path, root: str, dump: str, expected: tuple[str, int | None]
) -> None:
    machine = logged_in(tmp_path, Desktop="gnome")
    machine.command(["dconf", "dump", root], dump, user="ines")
    assert verdict(machine) == expected


def test_each_part_of_dconf_by_itself(tmp_path: Path) -> None:
    machine = logged_in(tmp_path, Desktop="gnome")
    for part, text in (
        ("session", "[/]\nidle-delay=uint32 90\n"),
        ("screensaver", "[/]\nlock-delay=uint32 5\n"),
        ("lockdown", ""),
    ):
        machine.command(["dconf", "dump", f"/org/gnome/desktop/{part}/"], text, user="ines")
    assert verdict(machine) == ("enabled", 95)


def test_the_x_servers_timer_by_the_older_spelling(tmp_path: Path) -> None:
    machine = logged_in(tmp_path, Desktop="i3", Type="x11")
    machine.process(pid=40, uid=1002, user="ines", comm="xss-lock", argv=["xss-lock", "slock"])
    machine.command(["xset", "-q"], "Screen Saver:\n  timeout:  150    cycle:  60\n", user="ines")
    assert verdict(machine) == ("enabled", 150)


@pytest.mark.parametrize(
    ("comm", "program"),
    [("gnome-session-b", "/usr/libexec/gnome-session-binary"), ("compiz", "/usr/bin/compiz")],
)
def test_a_session_of_some_desktop_is_a_session(tmp_path: Path, comm: str, program: str) -> None:
    machine = RecordedMachine(tmp_path).process(pid=1, uid=0, comm="systemd", argv=["/sbin/init"])
    machine.process(pid=40, uid=1002, user="ines", comm=comm, argv=[program])
    assert verdict(machine)[0] == "unknown"


@pytest.mark.parametrize(
    ("pid", "root", "state"),
    [(40, True, "enabled"), (40, False, "unknown"), (1, True, "disabled")],
)
def test_a_part_of_the_processes_does_not_show_that_another_does_not_run(
    tmp_path: Path, pid: int, root: bool, state: str
) -> None:
    machine = RecordedMachine(tmp_path, root=root).command(["loginctl", "list-sessions"], TABLE)
    shown = properties(Desktop="mate", Type="x11")
    machine.command(["loginctl", "show-session", "c3"], shown)
    machine.process(pid=pid, uid=0 if pid == 1 else 1002, comm="systemd", argv=["systemd"])
    machine.process(pid=41, uid=1002, user="ines", comm="mate-panel", argv=["mate-panel"])
    dump = "[org/mate/desktop/session]\nidle-delay=4\n"
    machine.command(["dconf", "dump", "/"], dump, user="ines")
    assert verdict(machine)[0] == state
