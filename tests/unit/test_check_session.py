"""Verdicts on locks and guests: one test for each row of the tables, and nonsense never passes."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, ClientView, Verdict
from qlmdm_core.units import Duration
from qlmdm_plugins_builtin.checks import session
from qlmdm_plugins_builtin.policy import Policy

NOW = datetime(2026, 11, 3, tzinfo=timezone.utc)
IDLE, LOCK = "org.gnome.desktop.session idle-delay", "org.gnome.desktop.screensaver lock-enabled"
GNOME = {
    "user": "ada",
    "desktop": "gnome",
    "locker": "gnome-shell",
    "state": "enabled",
    "delay": 300,
    "type": "wayland",
    "settings": {LOCK: True, IDLE: 300},
}


def judge(name: str, value: JSON, policy: Policy | None = None) -> Verdict:
    collector = {"screenlock-disabled": "screenlock", "guest-session-enabled": "guest_session"}[
        name
    ]
    client = ClientView(
        cid="c1",
        hostname="laptop7",
        report={collector: {"status": "ok", "value": value}},
        enrolled_at=NOW,
    )
    (check,) = [check for check in session.checks(policy or Policy()) if check.name == name]
    assert check.needs == (collector,)
    assert check.help
    return check.judge(client, NOW)


def lock(*sessions: JSON, state: str = "enabled", **more: JSON) -> Verdict:
    return judge("screenlock-disabled", {"state": state, "sessions": list(sessions), **more})


# --- screenlock: the rows ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, [], "enabled", {}, {"state": "on"}, {"state": None}])
def test_value_that_is_not_understood_is_unknown(value: JSON) -> None:
    assert judge("screenlock-disabled", value).state == "unknown"


@pytest.mark.parametrize("state", ["enabled", "disabled", "unknown", "no_graphical_session"])
def test_session_that_never_locks_fails_whatever_the_state(state: str) -> None:
    never = {
        **GNOME,
        "user": "bob",
        "state": "disabled",
        "delay": None,
        "reason": "idle-delay is 0",
    }
    verdict = lock(GNOME, {**never, "settings": {LOCK: True, IDLE: 0}}, state=state)
    assert verdict.state == "fail"
    assert verdict.message == (
        "bob's GNOME session never locks by itself (idle-delay is 0). As bob: "
        "gsettings set org.gnome.desktop.session idle-delay 300"
    )
    assert verdict.evidence["count"] == 1
    assert verdict.evidence["sessions"][0]["settings"] == {LOCK: True, IDLE: 0}


@pytest.mark.parametrize("state", ["enabled", "unknown"])
def test_delay_that_is_too_long_fails_whatever_the_state(state: str) -> None:
    late = {**GNOME, "delay": 1800, "settings": {LOCK: True, IDLE: 1800}}
    verdict = lock(late, state=state)
    assert verdict.state == "fail"
    assert "locks after 30 minutes, and 15 minutes is allowed" in verdict.message


def test_state_disabled_fails_without_sessions() -> None:
    assert lock(state="disabled").state == "fail"


def test_state_unknown_is_unknown_with_its_reason() -> None:
    verdict = lock({**GNOME, "state": "unknown", "delay": None}, state="unknown", reason="no bus")
    assert (verdict.state, verdict.message) == ("unknown", "no bus")


def test_nobody_logged_in_passes() -> None:
    assert lock(state="no_graphical_session").state == "pass"


def test_sessions_that_lock_in_time_pass() -> None:
    assert lock(GNOME, {**GNOME, "user": "bob", "delay": 900}).state == "pass"


@pytest.mark.parametrize(
    ("sessions", "state"),
    [
        ([], "enabled"),
        ([GNOME], "no_graphical_session"),
        ([GNOME, {**GNOME, "state": "unknown", "delay": None}], "enabled"),
        ([{**GNOME, "delay": None}], "enabled"),
        ([{**GNOME, "delay": True}], "enabled"),
        ([{**GNOME, "delay": -5}], "enabled"),
        ([GNOME, "bob"], "enabled"),
    ],
)
def test_value_that_contradicts_itself_is_unknown(sessions: list[JSON], state: str) -> None:
    assert lock(*sessions, state=state).state == "unknown"


def test_limit_is_the_policys() -> None:
    value = {"state": "enabled", "sessions": [GNOME]}
    strict = Policy(screenlock_max_delay=Duration(120.0))
    verdict = judge("screenlock-disabled", value, strict)
    assert verdict.state == "fail"
    assert verdict.message.endswith("gsettings set org.gnome.desktop.session idle-delay 120")
    assert lock({**GNOME, "delay": 900}).state == "pass"
    assert lock({**GNOME, "delay": 901}).state == "fail"


def test_many_sessions_are_counted_not_listed() -> None:
    bad = {**GNOME, "state": "disabled", "delay": None}
    verdict = lock(*[{**bad, "user": f"user{n}"} for n in range(30)], state="disabled")
    assert "28 more sessions" in verdict.message
    assert len(verdict.evidence["sessions"]) == 10
    assert verdict.evidence["count"] == 30


# --- screenlock: what to type -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("locker", "settings", "command"),
    [
        ("gnome-shell", {LOCK: False}, f"gsettings set {LOCK} true"),
        (
            "unity",
            {"org.gnome.desktop.lockdown disable-lock-screen": True},
            "gsettings set org.gnome.desktop.lockdown disable-lock-screen false",
        ),
        (
            "mate-screensaver",
            {"org.mate.session idle-delay": 0},
            "gsettings set org.mate.session idle-delay 5",
        ),
        (
            "cinnamon-screensaver",
            {"org.cinnamon.desktop.session idle-delay": 0},
            "gsettings set org.cinnamon.desktop.session idle-delay 300",
        ),
        (
            "kscreenlocker",
            {"Autolock": "false"},
            "kwriteconfig6 --file kscreenlockerrc --group Daemon --key Autolock true",
        ),
        ("kscreenlocker", {"Timeout": "60"}, "--key Timeout 5 (kwriteconfig5 in Plasma 5)"),
        ("kscreenlocker", {"LockGrace": "-1"}, "--key LockGrace 5"),
        ("kscreenlocker", {"LockGrace": "\N{SUPERSCRIPT TWO}"}, "--key Timeout 5"),
        ("kscreenlocker", {"LockGrace": "9" * 5000}, "--key Timeout 5"),
        ("xfce4-screensaver", {"/$(reboot)/enabled": "false"}, "-p /saver/idle-activation/delay"),
        (
            "xfce4-screensaver",
            {"/saver/enabled": "true", "/lock/enabled": "false"},
            "xfconf-query -c xfce4-screensaver -p /lock/enabled -n -t bool -s true",
        ),
        ("xfce4-screensaver", {}, "start xfce4-screensaver"),
        ("light-locker", {"lock-after-screensaver": 0}, "lock-after-screensaver 5"),
        ("light-locker", {"lock-after-screensaver": 5, "xset s timeout": 0}, "xset s 295"),
        ("xscreensaver", {"mode": "random", "lock": "False"}, "lock: True in ~/.xscreensaver"),
        ("xscreensaver", {"mode": "off", "lock": "True"}, "mode: blank"),
        ("xss-lock", {"xset s timeout": 0}, "xset s 300"),
        ("xss-lock", {"locker": "true"}, "xss-lock -- i3lock -n"),
        ("xautolock", {}, "xautolock -time 5 -locker slock"),
        ("swayidle", {}, "swayidle -w timeout 300 'swaylock -f'"),
        ("hypridle", {"config": "/home/ada/h.conf"}, "put into /home/ada/h.conf: general"),
        (None, {}, "swayidle -w timeout 300 'swaylock -f'"),
    ],
)
def test_message_says_what_to_type(locker: str | None, settings: JSON, command: str) -> None:
    bad = {**GNOME, "locker": locker, "state": "disabled", "delay": None, "settings": settings}
    assert command in lock(bad, state="disabled").message


def test_gnome_without_gdm_is_not_told_to_set_what_is_set() -> None:
    reason = "GNOME Shell locks only under GDM, and lightdm opened this session"
    bad = {**GNOME, "state": "disabled", "delay": None, "reason": reason}
    message = lock(bad, state="disabled").message
    assert "enable gdm" in message
    assert "gsettings" not in message


def test_reported_path_never_becomes_a_command() -> None:
    bad = {
        **GNOME,
        "locker": "hypridle",
        "state": "disabled",
        "delay": None,
        "settings": {"config": "/x; rm -rf ~"},
    }
    assert "rm -rf" not in lock(bad, state="disabled").message


# --- guest session ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 5, {}, {"state": "no"}, {"state": ["enabled"]}])
def test_guest_value_that_is_not_understood_is_unknown(value: JSON) -> None:
    assert judge("guest-session-enabled", value).state == "unknown"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            {},
            "sudo mkdir -p /etc/lightdm/lightdm.conf.d; printf '[Seat:*]\\nallow-guest=false\\n'",
        ),
        (
            {"seats": {"seat0": {"allow-guest": {"value": "true", "source": "/etc/x.conf"}}}},
            "sudo sed -i 's/^allow-guest *=.*/allow-guest=false/' /etc/x.conf",
        ),
        (
            {"seats": {"seat0": {"autologin-guest": {"value": "true", "source": "$(x)"}}}},
            "autologin-guest=false/' /etc/lightdm/lightdm.conf",
        ),
        (
            {"seats": {"seat0": {"allow-guest": {"value": "true", "source": "/usr/share/a.conf"}}}},
            "printf '[Seat:seat0]\\nallow-guest=false\\n' | sudo tee /etc/lightdm/lightdm.conf.d/",
        ),
        ({"guest_account": "xguest"}, "sudo dnf remove xguest"),
    ],
)
def test_guests_fail_with_what_to_type(value: dict[str, JSON], words: str) -> None:
    verdict = judge("guest-session-enabled", {"state": "enabled", **value})
    assert verdict.state == "fail"
    assert words in verdict.message


def test_guests_unknown_is_unknown_with_its_reason() -> None:
    value = {"state": "unknown", "reason": "/etc/lightdm/lightdm.conf: Permission denied"}
    verdict = judge("guest-session-enabled", value)
    assert (verdict.state, verdict.message) == ("unknown", value["reason"])


def test_no_guests_pass_with_or_without_autologin() -> None:
    for user in (None, "ada"):
        value = {"state": "disabled", "display_manager": "gdm", "autologin": user}
        assert judge("guest-session-enabled", value).state == "pass"


# --- anything ---------------------------------------------------------------------------------

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)
STATES = st.sampled_from(["enabled", "disabled", "unknown", "no_graphical_session"])


@given(
    state=STATES,
    rest=st.dictionaries(st.sampled_from(["sessions", "seats", "reason", "guest_account"]), ANY),
    entry=st.dictionaries(st.sampled_from([*GNOME, "reason"]), ANY),
)
def test_any_value_is_judged(state: str, rest: dict[str, JSON], entry: dict[str, JSON]) -> None:
    for name in ("screenlock-disabled", "guest-session-enabled"):
        for more in ({}, {"sessions": [entry]}, {"seats": {"seat0": entry}}):
            verdict = judge(name, {"state": state, **rest, **more})
            assert verdict.state in ("pass", "fail", "unknown")
            assert verdict.message or verdict.state == "pass"
