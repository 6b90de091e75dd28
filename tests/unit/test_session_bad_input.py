"""screenlock, guest_session and sshd on machines where nothing is as it should be.

Whatever a file, a command or a process is, each says a state that is its own, and unknown
with a reason where it was kept from what decides.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.api import JSON, CommandResult, Host
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import guest_session, keyfile, screenlock, sshd
from qlmdm_plugins_builtin.collectors.guest_session import autologin, lightdm, manager
from qlmdm_plugins_builtin.collectors.screenlock import (
    commands,
    gsettings,
    gvariant,
    kde,
    sessions,
    shell,
    wayland,
    x11,
    xfce,
    xscreensaver,
)
from qlmdm_plugins_builtin.collectors.sshd import accounts, config, logins, sockets, units
from qlmdm_plugins_builtin.collectors.sshd import processes as sshd_processes
from qlmdm_plugins_builtin.collectors.whole import LARGEST, read_whole

LIST = ["loginctl", "list-sessions", "--no-legend", "--no-pager"]
SHOWN = "Id=2\nUser=1000\nName=ada\nType={kind}\nClass=user\nSeat=seat0\nDesktop={desktop}\n"
STATES = {
    "screenlock": {"enabled", "disabled", "no_graphical_session", "unknown"},
    "guest_session": {"enabled", "disabled", "unknown"},
    "sshd": {"running", "not_running", "unknown"},
}


def state(name: str, host: Host) -> str:
    """The state that a collector gives, with a reason if it is unknown."""
    collect: Callable[[Host], JSON] = {
        "screenlock": screenlock.collect,
        "guest_session": guest_session.collect,
        "sshd": sshd.collect,
    }[name]
    value = collect(host)
    assert value["state"] in STATES[name]
    assert value["state"] != "unknown" or value["reason"]
    return str(value["state"])


def desktop(path: Path, name: str, *, kind: str = "wayland", running: str = "") -> RecordedMachine:
    machine = RecordedMachine(path).command(LIST, "2 1000 ada seat0\n")
    machine.command(["loginctl", "show-session", "2"], SHOWN.format(kind=kind, desktop=name))
    machine.file("/etc/passwd", "ada:x:1000:1000::/home/ada:/bin/sh\n")
    machine.process(pid=1, uid=0, user="root", comm="systemd", argv=["/sbin/init"])
    if running:
        machine.process(pid=9, uid=1000, user="ada", comm=running[:15], argv=[running])
    return machine


XFCE_FILE = "/home/ada/.config/xfce4/xfconf/xfce-perchannel-xml/xfce4-screensaver.xml"
FILES = [
    ("screenlock", "/home/ada/.config/kscreenlockerrc", ("KDE", "")),
    ("screenlock", "/home/ada/.config/swayidle/config", ("sway", "swayidle")),
    ("screenlock", "/home/ada/.config/hypr/hypridle.conf", ("Hyprland", "hypridle")),
    ("screenlock", XFCE_FILE, ("xfce", "xfce4-screensaver")),
    ("screenlock", "/home/ada/.xscreensaver", ("openbox", "xscreensaver")),
    ("guest_session", "/etc/lightdm/lightdm.conf", ("lightdm", "")),
    ("guest_session", "/etc/lightdm/lightdm.conf.d", ("lightdm", "")),
    ("sshd", "/etc/ssh/sshd_config", ("", "")),
]


def whole(path: Path, name: str, what: tuple[str, str]) -> RecordedMachine:
    """A machine whose collector `name` gets as far as its configuration."""
    if name == "screenlock":
        return desktop(path, what[0], kind="x11" if "x" in what[1] else "wayland", running=what[1])
    machine = RecordedMachine(path).process(pid=1, uid=0, comm="systemd")
    if name == "guest_session":
        machine.file("/usr/sbin/guest-account", "#!/bin/sh\n", mode=0o755)
        return machine.process(pid=7, uid=0, comm=what[0])
    return machine.command(["ss", "-Hltnp"], 'LISTEN 0 1 *:22 *:* users:(("sshd",pid=9,fd=3))\n')


FIFO, DEVICE = 0o010644, 0o020666


def _refused(machine: RecordedMachine, path: str) -> None:
    machine.file(path, "").unreadable(path)


def _huge(machine: RecordedMachine, path: str) -> None:
    machine.file(path, "# filler\n" * (LARGEST // 9 + 1))


@pytest.mark.parametrize(
    "spoil",
    [
        _refused,
        _huge,
        lambda machine, path: machine.file(path, "", mode=FIFO),
        lambda machine, path: machine.file(path, "", mode=DEVICE),
    ],
    ids=["refused", "huge", "fifo", "device"],
)
@pytest.mark.parametrize(("name", "path", "what"), FILES)
def test_configuration_that_is_no_readable_file_proves_nothing(
    tmp_path: Path,
    name: str,
    path: str,
    what: tuple[str, str],
    spoil: Callable[[RecordedMachine, str], None],
) -> None:
    machine = whole(tmp_path, name, what)
    if path.endswith(".d"):
        path += "/50-site.conf"
    spoil(machine, path)
    value = state(name, machine.host())
    if name == "sshd":
        told = sshd.collect(machine.host())
        assert (value, told["password_login"]) == ("running", None)
        assert told["reason"]
    else:
        assert value == "unknown"


@pytest.mark.parametrize(("name", "path", "what"), FILES)
def test_configuration_that_is_a_folder_or_leads_nowhere_breaks_nothing(
    tmp_path: Path, name: str, path: str, what: tuple[str, str]
) -> None:
    state(name, whole(tmp_path / "folder", name, what).directory(path + "/x").host())
    state(name, whole(tmp_path / "link", name, what).link(path, "/nowhere/at/all").host())
    state(name, whole(tmp_path / "loop", name, what).link(path, path).host())


def test_configuration_behind_a_link_is_read(tmp_path: Path) -> None:
    machine = desktop(tmp_path, "KDE").file("/home/ada/dotfiles/k", "[Daemon]\nAutolock=false\n")
    machine.link("/home/ada/.config/kscreenlockerrc", "../dotfiles/k")
    assert state("screenlock", machine.host()) == "disabled"


@pytest.mark.parametrize("lost", ["read", "listdir", "stat", "readlink"])
@pytest.mark.parametrize(("name", "path", "what"), FILES)
def test_what_vanishes_between_two_looks_breaks_nothing(
    tmp_path: Path, name: str, path: str, what: tuple[str, str], lost: str
) -> None:
    machine = whole(tmp_path, name, what)
    machine.file(path + "/1.conf" if path.endswith(".d") else path, "Include /etc/ssh/*\n")
    host = machine.host()

    def vanished(gone: str, **_: JSON) -> JSON:
        raise FileNotFoundError(2, "No such file or directory", gone)

    setattr(host, lost, vanished)
    state(name, host)


ANSWERS: list[dict[str, JSON]] = [
    {"timed_out": True, "returncode": None},
    {"returncode": -9},
    {"returncode": 1, "stderr": "Verbindung zum Bus fehlgeschlagen: Keine Berechtigung\n"},
    {"returncode": 0, "stdout": "\x00\x01\x7f\ufffd" * 50},
    {"returncode": 0, "stdout": "Это не то, что ожидалось\n" * 50},
    {"returncode": 0, "stdout": ""},
    {"returncode": 0, "stdout": "x" * 100, "truncated": True},
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", list(STATES))
@pytest.mark.parametrize("kind", ["ubuntu", "mate", "X-Cinnamon", "xfce", "KDE", "i3", ""])
def test_programs_that_answer_nonsense_are_not_believed(
    tmp_path: Path, name: str, answer: dict[str, JSON], kind: str
) -> None:
    host = desktop(tmp_path, kind, kind="x11", running="xss-lock").host()
    sees = host.run

    def run(argv: list[str], **how: JSON) -> CommandResult:
        if argv[0] == "loginctl" and "list-seats" not in argv:
            return sees(argv, **how)
        return CommandResult(argv=tuple(argv), found=True, **answer)

    host.run = run  # type: ignore[assignment,method-assign]
    # KDE's tool prints nothing for a setting that nobody made, which then has its default.
    defaults = name == "screenlock" and kind == "KDE" and answer.get("stdout") == ""
    assert (state(name, host) == "enabled") is defaults


@pytest.mark.parametrize("answer", [a for a in ANSWERS if a.get("stdout") != ""])
def test_logind_that_answers_nonsense_is_not_an_empty_machine(
    tmp_path: Path, answer: dict[str, JSON]
) -> None:
    machine = RecordedMachine(tmp_path).process(pid=1, uid=0, comm="systemd")
    machine.process(pid=700, uid=0, comm="Xorg", argv=["/usr/lib/xorg/Xorg", ":0"])
    host = machine.host()
    host.run = lambda argv, **_: CommandResult(  # type: ignore[method-assign]
        argv=tuple(argv), found=True, **answer
    )
    assert state("screenlock", host) == "unknown"


def test_users_whose_programs_all_hang_do_not_take_for_ever(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).process(pid=1, uid=0, comm="systemd")
    users = [(f"u{number}", 1000 + number) for number in range(40)]
    machine.command(LIST, "".join(f"{uid} {uid} {user} seat0\n" for user, uid in users))
    for user, uid in users:
        shown = f"Name={user}\nType=wayland\nClass=user\nDesktop=KDE\n"
        machine.command(["loginctl", "show-session", str(uid)], shown)
        machine.directory(f"/home/{user}")
    host = machine.host()
    sees, waited = host.run, []

    def run(argv: list[str], **how: JSON) -> CommandResult:
        if argv[0] == "loginctl":
            return sees(argv, **how)
        waited.append(how["timeout"])
        return CommandResult(argv=tuple(argv), found=True, timed_out=True)

    host.run = run  # type: ignore[assignment,method-assign]
    value = screenlock.collect(host)
    assert value["state"] == "unknown"
    assert all("in time" in session["reason"] for session in value["sessions"])
    assert sum(waited) <= 45


def test_container_without_logind_and_without_display_has_no_session(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).process(pid=1, uid=0, user="root", comm="sleep")
    machine.command(LIST, stderr="Failed to connect to bus: Host is down\n", returncode=1)
    assert state("screenlock", machine.host()) == "no_graphical_session"
    assert state("guest_session", machine.host()) == "disabled"


@pytest.mark.parametrize("name", list(STATES))
def test_processes_of_which_little_is_known_break_nothing(tmp_path: Path, name: str) -> None:
    machine = desktop(tmp_path, "sway")
    machine.process(pid=50).process(pid=51, argv=[]).process(pid=52, argv=["", ""])
    machine.process(pid=53, comm="", exe="").process(pid=54, uid=1000, argv=["swayidle"])
    machine.process(pid=55, uid=1000, exe="/usr/bin/hypridle (deleted)", environ={})
    state(name, machine.host())


# --- files whole or not at all ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size", "fits"),
    [
        ("a" * 100, 100, True),
        ("a" * 101, 100, False),
        ("ä" * 50, 100, True),
        ("ä" * 51, 100, False),
    ],
)
def test_file_is_read_whole_or_not_at_all(tmp_path: Path, text: str, size: int, fits: bool) -> None:
    host = RecordedMachine(tmp_path).file("/etc/a", text).host()
    if fits:
        assert read_whole(host, "/etc/a", max_bytes=size) == text
    else:
        with pytest.raises(OSError, match="too large"):
            read_whole(host, "/etc/a", max_bytes=size)


# --- any bytes --------------------------------------------------------------------------------


def _keyfile(text: str) -> object:
    try:
        return keyfile.groups(text)
    except keyfile.KeyFileError:
        return None


def _channel(text: str) -> object:
    try:
        return xfce.parse_channel(text)
    except ValueError:
        return None


def _gdm(text: str) -> object:
    try:
        return autologin.gdm_user(text)
    except keyfile.KeyFileError:
        return None


PARSERS: dict[str, Callable[[str], object]] = {
    "a key file": _keyfile,
    "xfconf's XML": _channel,
    "GDM": _gdm,
    "GVariant": gvariant.parse,
    "gsettings": gsettings._table,
    "kscreenlockerrc": kde.parse_daemon,
    "sessions": sessions.parse_list,
    "no sessions": sessions._says_none,
    "a session": sessions.parse_properties,
    "a shell": shell.simple_commands,
    "a command": commands.effect,
    "swayidle's file": wayland.parse_swayidle_config,
    "swayidle's events": lambda text: wayland.parse_events(text.split(" ")),
    "swayidle's arguments": lambda text: wayland.split_swayidle_arguments(text.split(" ")),
    "hypridle": wayland.parse_hypridle,
    "xset": x11.parse_xset,
    "options": lambda text: x11.parse_options(text.split(" "), ("-time",)),
    "xfconf-query": xfce.parse_listing,
    "xscreensaver": xscreensaver.parse,
    "a duration": xscreensaver.seconds,
    "SDDM": autologin.loose_groups,
    "greetd": lambda text: autologin.toml_string(text, "initial_session", "user"),
    "LightDM": lightdm.parse_shown,
    "a unit": manager.unit_name,
    "sshd_config": lambda text: list(config.parse_lines(text)),
    "Match": lambda text: config.parse_match(text.split(" "), "here"),
    "sshd -T": logins.parse_dump,
    "ss": sockets.parse_ss,
    "/proc/net/tcp": sockets.parse_proc,
    "a socket unit": sockets.parse_socket_unit,
    "systemctl": units.parse,
    "sshd's options": lambda text: sshd_processes.options_of([text]),
    "a pattern": lambda text: accounts.in_list(text, "root"),
}


@pytest.mark.parametrize("parser", list(PARSERS))
@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_value_or_nothing(parser: str, data: bytes) -> None:
    PARSERS[parser](data.decode("utf-8", "replace"))


# What makes a careless reader go over the rest again at each step.
REPEATED = {
    "letters": "a", "blanks": " ", "lines": "\n", "brackets": "[", "equals": "=", "quotes": '"',
    "apostrophes": "'", "hashes": "#", "double hashes": "##", "backslashes": "\\",
    "continued lines": "\\\n", "escaped quotes": '\\"', "substitutions": "$(", "backquotes": "`",
    "variables": "$a = $a$a\n", "digits": "9", "commas": "a,", "colons": ":", "stars": "*a",
    "options": "-C ", "entries": "a = b\n", "braces": "listener {\n", "events": "timeout 5 x ",
    "properties": '<property name="a">', "matches": "Match User a\n", "groups": "[a]\n",
    "sessions": "1 1000 a seat0\n", "sockets": 'LISTEN 0 0 *:22 *:* users:(("s"\n',
    "programs": '("', "streams": "a (Stream) ", "units": "Id=a\n\n", "conditions": "if x; then ",
    "tables": "initial_session = {", "carriage returns": "\r", "names": "un",
}  # fmt: skip
LENGTH = 100_000
GUARD_SECONDS = 30
"""Of processor time: what is linear needs a thousandth of it."""


@pytest.fixture
def guarded() -> Iterator[None]:
    """Ends a reader that would not come to an end."""

    def give_up(*_: object) -> None:
        raise AssertionError("the reader goes over the text again and again")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, GUARD_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("parser", list(PARSERS))
def test_long_text_comes_to_its_end(parser: str) -> None:
    for piece in REPEATED.values():
        PARSERS[parser]((piece * LENGTH)[:LENGTH])


def test_replay_of_nothing_is_unknown_everywhere(tmp_path: Path) -> None:
    RecordedMachine(tmp_path).host()
    for name in STATES:
        assert state(name, ReplayHost(tmp_path)) == "unknown"
