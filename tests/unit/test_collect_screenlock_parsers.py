"""The parsers behind `screenlock`: each from text to values, and no text breaks one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import Process
from qlmdm_plugins_builtin.collectors import keyfile
from qlmdm_plugins_builtin.collectors.screenlock import (
    desktops,
    gvariant,
    kde,
    processes,
    sessions,
    shell,
    wayland,
    x11,
    xfce,
    xscreensaver,
)
from qlmdm_plugins_builtin.collectors.screenlock.commands import Effect, effect, effect_of_words
from qlmdm_plugins_builtin.collectors.screenlock.idle import IdleDaemon, Listeners, Rule, judge
from qlmdm_plugins_builtin.collectors.screenlock.lockers import combine
from qlmdm_plugins_builtin.collectors.screenlock.model import disabled, enabled, unsure
from qlmdm_plugins_builtin.collectors.screenlock.sessions import Row

# --- commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("swaylock -f", Effect.LOCKS),
        ("/usr/bin/swaylock", Effect.LOCKS),
        ("pidof hyprlock || hyprlock", Effect.LOCKS),
        ("if ! pgrep -x swaylock; then swaylock -f; fi", Effect.LOCKS),
        ("playerctl pause & swaylock", Effect.LOCKS),
        ("sh -c 'sleep 1; exec gtklock -d'", Effect.LOCKS),
        ("env A=b setsid -f i3lock -n", Effect.LOCKS),
        ("LANG=C timeout -k 5 60 swaylock", Effect.LOCKS),
        ("uwsm app -- hyprlock", Effect.LOCKS),
        ("hyprctl dispatch exec hyprlock", Effect.LOCKS),
        ("swaymsg 'exec swaylock -f'", Effect.LOCKS),
        ("swaymsg -q exec -- swaylock", Effect.LOCKS),
        ("niri msg action spawn -- swaylock -f", Effect.LOCKS),
        ("riverctl spawn 'waylock'", Effect.LOCKS),
        ("betterlockscreen --lock blur", Effect.LOCKS),
        ("swaylock > /dev/null 2>&1", Effect.LOCKS),
        ("swaylock \\\n  --daemonize", Effect.LOCKS),
        ("loginctl lock-session", Effect.SIGNALS),
        ("loginctl lock-sessions", Effect.SIGNALS),
        ("dbus-send --system --dest=org.freedesktop.login1 /o org.freedesktop.login1.Session.Lock",
         Effect.SIGNALS),
        ("[ -e /tmp/away ] && swaylock", Effect.LOCKS_UNVERIFIED),
        ("qs -c acme ipc call lockScreen lock", Effect.LOCKS_UNVERIFIED),
        ("dm-tool lock", Effect.LOCKS_UNVERIFIED),
        ("xscreensaver-command -lock", Effect.LOCKS_UNVERIFIED),
        ("systemctl --user start screen-lock.service", Effect.LOCKS_UNVERIFIED),
        ("~/bin/lock.sh", Effect.LOCKS_UNVERIFIED),
        ("acme-lock-screen", Effect.LOCKS_UNVERIFIED),
        ("loginctl lock-session; dms ipc call lock lock", Effect.LOCKS_UNVERIFIED),
        ("python3 -I ~/bin/lock.py", Effect.LOCKS_UNVERIFIED),
        ("python3 ~/bin/dim.py", Effect.UNKNOWN),
        ("python3 -c 'import swaylock'", Effect.UNKNOWN),
        ("flock -n /run/user/1000/l swaylock", Effect.LOCKS),
        ("i3exit lock", Effect.LOCKS_UNVERIFIED),
        ("i3exit suspend", Effect.NOTHING),
        ("grim /tmp/swaylock.png && hyprctl dispatch dpms off", Effect.NOTHING),
        ("loginctl lock-session; swaylock", Effect.LOCKS),
        ("loginctl lock-session && notify-send bye", Effect.SIGNALS),
        ("/nix/store/0a1b-swaylock-1.8/bin/swaylock -f", Effect.LOCKS),
        ("xset s activate", Effect.ACTIVATES),
        ("~/bin/away", Effect.UNKNOWN),
        ("$AWAY", Effect.UNKNOWN),
        ("numlockx on", Effect.UNKNOWN),
        ("~/bin/unlock", Effect.UNKNOWN),
        ("pgrep swaylock && swaymsg 'output * dpms off'", Effect.NOTHING),
        ("if pgrep swaylock; then swaymsg off; fi", Effect.NOTHING),
        ("killall -q swaylock", Effect.NOTHING),
        ("echo swaylock; notify-send 'i3lock in 5 s'", Effect.NOTHING),
        ("command -v swaylock", Effect.NOTHING),
        ("systemctl suspend", Effect.NOTHING),
        ("hyprctl dispatch dpms off", Effect.NOTHING),
        ("xset dpms force off", Effect.NOTHING),
        ("betterlockscreen -u ~/picture.png", Effect.NOTHING),
        ("brightnessctl set $(cat /tmp/swaylock)", Effect.NOTHING),
        ("# swaylock", Effect.NOTHING),
        ("echo x > swaylock", Effect.NOTHING),
        ("", Effect.NOTHING),
    ],
)  # fmt: skip
def test_effect_of_a_command_line(command: str, expected: Effect) -> None:
    assert effect(command) == expected


@pytest.mark.parametrize(
    "command",
    [
        "swaylock", "hyprlock", "gtklock", "waylock", "swaylock-effects", "i3lock", "slock",
        "xsecurelock", "physlock", "betterlockscreen -l", "xlock", "qs ipc call lockScreen lock",
        "dms ipc call lock lock", "caelestia shell lock lock",
        "noctalia msg session lock", "quickshell ipc call lock activate",
    ],
)  # fmt: skip
def test_known_lockers(command: str) -> None:
    assert effect(command) >= Effect.LOCKS_UNVERIFIED


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("i3lock", Effect.LOCKS),
        ("/opt/acme/greeter", Effect.LOCKS_UNVERIFIED),
        ("$LOCKER", Effect.LOCKS_UNVERIFIED),
        ("systemctl suspend", Effect.NOTHING),
        ("xset dpms force off", Effect.NOTHING),
        ("loginctl lock-session", Effect.SIGNALS),
    ],
)
def test_stranger_in_a_lockers_place_is_a_locker(command: str, expected: Effect) -> None:
    assert effect(command, is_locker=True) == expected


def test_scripts_are_looked_into_once() -> None:
    texts = {"/a": "#!/bin/sh\n/b\n", "/b": "#!/bin/sh\nswaylock\n"}
    assert effect("/b", read_script=texts.get) == Effect.LOCKS_UNVERIFIED
    assert effect("/a", read_script=texts.get) == Effect.UNKNOWN


def test_shells_in_shells_come_to_an_end() -> None:
    command = "true"
    for _ in range(12):
        command = f"sh -c {command!r}" if "'" not in command else f'sh -c "{command}"'
    assert effect("env " * 200 + "swaylock") == Effect.UNKNOWN
    assert effect(command) in Effect


@given(st.text(alphabet="swaylock \"'\\$()`;&|#\n<>{}[]!if=-", max_size=80))
def test_any_command_line_has_an_effect(command: str) -> None:
    assert effect(command) in Effect
    assert effect_of_words(command.split(), is_locker=True) in Effect


@given(st.text(max_size=200))
def test_simple_commands_are_never_empty(text: str) -> None:
    assert all(shell.simple_commands(text))


@given(st.lists(st.from_regex(r"[a-z*#;& ]{1,8}", fullmatch=True), min_size=1, max_size=5))
def test_quoted_words_come_out_as_they_went_in(words: list[str]) -> None:
    line = "run " + " ".join(f"'{word}'" for word in words)
    assert shell.simple_commands(line) == [["run", *words]]


# --- idle daemons -----------------------------------------------------------------------------


def test_certain_lock_is_preferred_to_an_earlier_doubtful_one() -> None:
    rules = [Rule(60, "a", Effect.LOCKS_UNVERIFIED), Rule(300, "b", Effect.LOCKS)]
    finding = judge(IdleDaemon(name="swayidle", rules=rules), Listeners())
    assert (finding.state, finding.delay, finding.verified) == ("enabled", 300, True)


def test_screen_saver_that_is_started_locks_if_something_listens() -> None:
    daemon = IdleDaemon(name="x", rules=[Rule(60, "xset s activate", Effect.ACTIVATES)])
    assert judge(daemon, Listeners()).state == "disabled"
    assert judge(daemon, Listeners(screen_saver=Effect.LOCKS)).delay == 60


def test_swayidle_takes_one_word_as_the_command() -> None:
    events = wayland.parse_events(["timeout", "5", "swaylock", "-f", "lock", "gtklock"])
    assert [(event.name, event.command) for event in events] == [
        ("timeout", "swaylock"),
        ("lock", "gtklock"),
    ]


@pytest.mark.parametrize(
    "line", ["timeout", "timeout 5", "timeout x swaylock", "lock", "before_sleep x"]
)
def test_swayidle_event_without_its_arguments_is_none(line: str) -> None:
    assert wayland.parse_swayidle_config(line) == []


@given(st.text(max_size=200))
def test_any_text_is_a_swayidle_config(text: str) -> None:
    for event in wayland.parse_swayidle_config(text):
        assert event.seconds >= 0


@given(
    st.lists(st.sampled_from(["-C", "-Cx", "-w", "-dS", "--", "timeout", "5", "", "-"]), max_size=9)
)
def test_any_words_are_swayidle_arguments(words: list[str]) -> None:
    _, events = wayland.split_swayidle_arguments(words)
    wayland.parse_events(events)


@given(st.text(alphabet="listenergeneral {}=#$\nsource:timeout-0123456789", max_size=200))
def test_any_text_is_a_hypridle_config(text: str) -> None:
    config = wayland.parse_hypridle(text)
    assert all(isinstance(rule, dict) for rule in config.listeners)


def test_hypridle_variables_do_not_grow_without_end() -> None:
    lines = ["$a0 = " + "x" * 100]
    lines += [f"$a{n} = " + f"$a{n - 1}" * 50 for n in range(1, 20)]
    config = wayland.parse_hypridle("\n".join([*lines, "general {", "lock_cmd = $a19", "}"]))
    assert len(config.general["lock_cmd"]) <= 16 << 10


# --- logind -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  2 1000 ada  seat0 tty2\n", [Row("2", 1000, "ada", "seat0", None)]),
        ("SESSION  UID USER SEAT TTY\n c1  120 gdm  seat0\n\n1 sessions listed.\n",
         [Row("c1", 120, "gdm", "seat0", None)]),
        ("3 1000 ada       pts/0\n", [Row("3", 1000, "ada", None, None)]),
        ("1 1000 ada - 812 manager - no -\n", [Row("1", 1000, "ada", None, "manager")]),
        ('[{"session":"4","uid":1000,"user":"ada","seat":null,"class":"user"}]',
         [Row("4", 1000, "ada", None, "user")]),
        ('[{"session":"4"}, 5, {"session":"$(x)"}]', [Row("4")]),
        ("[", []),
        ("No sessions.\n", []),
    ],
)  # fmt: skip
def test_list_of_sessions(text: str, expected: list[Row]) -> None:
    assert sessions.parse_list(text) == expected


@given(st.text(max_size=200))
def test_any_text_is_a_list_of_sessions(text: str) -> None:
    assert all(row.id for row in sessions.parse_list(text))
    sessions.parse_properties(text)


# --- processes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (Process(pid=2, comm="xfce4-screensav"), True),
        (Process(pid=2, comm="xfce4-screen"), False),
        (Process(pid=2, exe="/usr/bin/xfce4-screensaver (deleted)"), True),
        (Process(pid=2, argv=("/usr/bin/python3", "-I", "/usr/bin/xfce4-screensaver")), True),
        (Process(pid=2, argv=("sh", "-c", "xfce4-screensaver")), False),
        (Process(pid=2, argv=("grep", "xfce4-screensaver")), False),
        (Process(pid=2, comm=".xfce4-screensaver-wrapped"), True),
        (Process(pid=2), False),
    ],
)
def test_name_of_a_process(process: Process, expected: bool) -> None:
    assert processes.is_named(process, ["xfce4-screensaver"]) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["ubuntu:GNOME"], "gnome"),
        (["Budgie:GNOME"], "budgie"),
        (["Unity:Unity7:ubuntu"], "unity"),
        (["GNOME-Flashback:GNOME"], "gnome-flashback"),
        (["X-Cinnamon"], "cinnamon"),
        (["/usr/share/xsessions/plasmax11"], "kde"),
        (["plasma.desktop"], "kde"),
        (["hyprland-uwsm.desktop"], "hyprland"),
        (["LXDE-pi-labwc"], "labwc"),
        (["", "KDE"], "kde"),
        (["acme"], None),
        ([], None),
    ],
)
def test_name_of_a_desktop(said: list[str], expected: str | None) -> None:
    assert desktops.by_names(said) == expected


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", ("b", True)),
        ("uint32 300", ("u", 300)),
        ("-5", ("i", -5)),
        ("0x10", ("i", 16)),
        ("int64 7", ("x", 7)),
        ("'a\\'b'", ("s", "a'b")),
        ("@as []", None),
        ("3.5", None),
        ("'", None),
        ("", None),
    ],
)
def test_gvariant(text: str, expected: tuple[str, object] | None) -> None:
    value = gvariant.parse(text)
    assert (None if value is None else (value.type, value.value)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0:10:00", 600), ("1:02:03", 3723), ("2:30", 150), ("5", 300), ("", None), ("a:b", None)],
)
def test_xscreensaver_durations(text: str, expected: int | None) -> None:
    assert xscreensaver.seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  timeout:  600    cycle:  5\n", x11.XTimer(600, 5)),
        ("DPMS is Enabled\n", None),
        ("", None),
    ],
)
def test_x_timer(text: str, expected: x11.XTimer | None) -> None:
    assert x11.parse_xset(text) == expected


def test_xfce_entities_are_refused() -> None:
    text = '<!DOCTYPE x [<!ENTITY a "b">]><channel name="x"><property name="&a;"/></channel>'
    with pytest.raises(ValueError, match="entities"):
        xfce.parse_channel(text)


def test_xfce_properties_are_not_nested_without_end() -> None:
    with pytest.raises(ValueError, match="deep"):
        xfce.parse_channel("<channel>" + '<property name="a">' * 1000)


def reads_channel(text: str) -> None:
    try:
        xfce.parse_channel(text)
    except ValueError:
        return


def reads_keyfile(text: str) -> None:
    try:
        keyfile.groups(text)
    except keyfile.KeyFileError:
        return


@pytest.mark.parametrize(
    "parse",
    [
        gvariant.parse,
        kde.parse_daemon,
        reads_channel,
        reads_keyfile,
        x11.parse_xset,
        xfce.parse_listing,
        xscreensaver.parse,
        xscreensaver.seconds,
        lambda text: kde.judge({"Timeout": text, "LockGrace": text}),
        lambda text: xfce.judge({xfce.IDLE: text, xfce.LOCK: text}),
        lambda text: xscreensaver.judge({"timeout": text, "lock": "True"}),
    ],
)
@given(text=st.text(max_size=100) | st.from_regex(r"\s*[\[</*\w:=]+[\d\s.:\]>-]*", fullmatch=True))
def test_any_text_gives_a_value_or_none(parse: Callable[[str], object], text: str) -> None:
    parse(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [("a=b", "line 1"), ("[x]\nnothing", "line 2"), ("[]", "line 1"), ("[x\n", "line 1")],
)
def test_key_file_that_glib_refuses(text: str, where: str) -> None:
    with pytest.raises(keyfile.KeyFileError, match=where):
        keyfile.groups(text)


def test_key_file_merges_groups_and_keeps_percent_signs() -> None:
    text = "# x\n[a]\nb = 1\n[c]\nd=%s # kept\n[a]\nb=2\n; y\n"
    assert keyfile.groups(text) == {"a": {"b": "2"}, "c": {"d": "%s # kept"}}


# --- together ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([disabled("a", "", {}), enabled("b", 900, {})], "b"),
        ([enabled("a", 900, {}), enabled("b", 300, {})], "b"),
        ([enabled("a", 60, {}, verified=False), enabled("b", 300, {})], "b"),
        ([disabled("a", "", {}), unsure("b", "")], "b"),
        ([disabled("a", "", {}), disabled("b", "", {})], "a"),
    ],
)
def test_which_locker_decides(findings: list[object], expected: str) -> None:
    verdict = combine(findings)  # type: ignore[arg-type]
    assert verdict.finding.locker == expected
    assert len(verdict.others) == 1
