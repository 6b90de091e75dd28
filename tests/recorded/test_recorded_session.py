"""Drives `screenlock` and `guest_session` with output of real machines, against its verdict.

The recordings belong to other projects and are not part of this one. `QLMDM_RECORDED` names
the folder that holds them, with an `INDEX.tsv` of what each deserves; without it, nothing
here runs. Each test says what the recording is: the answer of a command, or a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import guest_session, screenlock

FOLDER = os.environ.get("QLMDM_RECORDED", "")

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="QLMDM_RECORDED does not name the folder of recordings"
)


def recorded(name: str) -> str:
    return (Path(FOLDER) / name).read_text(encoding="utf-8")


def login(machine: RecordedMachine, *, desktop: str = "", kind: str = "x11") -> RecordedMachine:
    """One graphical session, of ada (uid 1000)."""
    shown = {
        "Id": "2", "User": "1000", "Name": "ada", "Type": kind, "Class": "user", "Seat": "seat0",
        "State": "active", "Active": "yes", "Remote": "no", "Desktop": desktop,
    }  # fmt: skip
    text = "".join(f"{key}={value}\n" for key, value in shown.items())
    machine.command(
        ["loginctl", "list-sessions", "--no-legend", "--no-pager"], "2 1000 ada seat0\n"
    )
    machine.command(["loginctl", "show-session", "2"], text)
    machine.process(pid=1, uid=0, user="root", comm="systemd", argv=["/sbin/init"])
    return machine.file("/etc/passwd", "ada:x:1000:1000::/home/ada:/bin/sh\n")


def runs(machine: RecordedMachine, *argv: str, pid: int = 900) -> RecordedMachine:
    return machine.process(
        pid=pid, uid=1000, user="ada", comm=Path(argv[0]).name[:15], argv=list(argv)
    )


def lock(value: JSON) -> tuple[str, int | None]:
    assert len(value["sessions"]) == 1
    return value["state"], value["delay_seconds"]


def test_index_holds_no_recording_that_is_not_driven_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    lines = recorded("INDEX.tsv").splitlines()
    names = [line.split("\t")[0] for line in lines]
    mine = [Path(name).name for name in names if name.startswith(("screenlock/", "guest_session/"))]
    assert mine
    assert [name for name in mine if name not in text] == []


# --- screenlock: settings of GNOME, Cinnamon, MATE, light-locker ------------------------------


def test_gnome_settings_lock_after_300_seconds(tmp_path: Path) -> None:
    machine = login(RecordedMachine(tmp_path), desktop="ubuntu", kind="wayland")
    text = recorded("screenlock/gnome-gsettings-list-recursively.txt")
    machine.command(["gsettings", "list-recursively"], text, user="ada")
    assert lock(screenlock.collect(machine.host())) == ("enabled", 300)


@pytest.mark.parametrize(
    ("name", "desktop", "running", "expected"),
    [
        ("dconf-keyfile-gnome-lockdown.txt", "gnome", "gnome-shell", ("disabled", None)),
        ("dconf-keyfile-gnome-policy-lock.txt", "gnome", "gnome-shell", ("enabled", 300)),
        ("dconf-keyfile-mate-policy.txt", "mate", "mate-screensaver", ("enabled", 900)),
        (
            "cinnamon-dconf-dump-arch.ini",
            "cinnamon",
            "cinnamon-screensaver",
            ("disabled", None),
        ),
    ],
)
def test_dconf_values(
    tmp_path: Path, name: str, desktop: str, running: str, expected: tuple[str, int | None]
) -> None:
    machine = runs(login(RecordedMachine(tmp_path), desktop=desktop), running)
    machine.command(["dconf", "dump", "/"], recorded(f"screenlock/{name}"), user="ada")
    assert lock(screenlock.collect(machine.host())) == expected


@pytest.mark.parametrize(
    ("xset", "expected"),
    [("timeout:  600    cycle:  600\n", ("enabled", 605)), (None, ("unknown", None))],
)
def test_light_locker_waits_for_the_x_screen_saver(
    tmp_path: Path, xset: str | None, expected: tuple[str, int | None]
) -> None:
    machine = runs(login(RecordedMachine(tmp_path), desktop="xfce"), "light-locker")
    text = recorded("screenlock/dconf-light-locker-late-false.txt")
    machine.command(["dconf", "dump", "/"], text, user="ada")
    if xset is not None:
        machine.command(["xset", "q"], xset, user="ada")
    assert lock(screenlock.collect(machine.host())) == expected


# --- screenlock: Plasma, Xfce, xscreensaver ---------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kde-kscreenlockerrc-carter.ini", ("enabled", 300)),
        ("kde-kscreenlockerrc-fenris.ini", ("disabled", None)),
        ("kde-kscreenlockerrc-jtk.ini", ("disabled", None)),
        ("kde-kscreenlockerrc-lordronz.ini", ("enabled", 300)),
        ("kde-kscreenlockerrc-omar.ini", ("enabled", 600)),
        ("kde-kscreenlockerrc-redm.ini", ("enabled", 300)),
    ],
)
def test_plasma_files(tmp_path: Path, name: str, expected: tuple[str, int | None]) -> None:
    machine = login(RecordedMachine(tmp_path), desktop="KDE", kind="wayland")
    machine.file("/home/ada/.config/kscreenlockerrc", recorded(f"screenlock/{name}"))
    assert lock(screenlock.collect(machine.host())) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xfce4-screensaver-7aske.xml", ("disabled", None)),
        ("xfce4-screensaver-frontend.xml", ("enabled", 2100)),
        ("xfce4-screensaver-galatolo.xml", ("enabled", 600)),
        ("xfce4-screensaver-kdmc.xml", ("enabled", 300)),
    ],
)
@pytest.mark.parametrize("daemon", [True, False])
def test_xfce_files(
    tmp_path: Path, name: str, expected: tuple[str, int | None], daemon: bool
) -> None:
    machine = runs(login(RecordedMachine(tmp_path), desktop="xfce"), "xfce4-session")
    if daemon:
        runs(machine, "/usr/bin/xfce4-screensaver", pid=901)
    machine.file(
        "/home/ada/.config/xfce4/xfconf/xfce-perchannel-xml/xfce4-screensaver.xml",
        recorded(f"screenlock/{name}"),
    )
    assert lock(screenlock.collect(machine.host())) == (expected if daemon else ("disabled", None))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xscreensaver-amodio.txt", ("disabled", None)),
        ("xscreensaver-bcon.txt", ("enabled", 2460)),
        ("xscreensaver-crosse.txt", ("enabled", 1500)),
        ("xscreensaver-patater.txt", ("enabled", 420)),
    ],
)
@pytest.mark.parametrize("daemon", [True, False])
def test_xscreensaver_files(
    tmp_path: Path, name: str, expected: tuple[str, int | None], daemon: bool
) -> None:
    machine = runs(login(RecordedMachine(tmp_path), desktop="openbox"), "openbox")
    if daemon:
        runs(machine, "xscreensaver", "-no-splash", pid=901)
    machine.file("/home/ada/.xscreensaver", recorded(f"screenlock/{name}"))
    assert lock(screenlock.collect(machine.host())) == (expected if daemon else ("disabled", None))


# --- screenlock: idle daemons -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected", "verified"),
    [
        ("hypridle-0xmnt.conf", ("disabled", None), True),
        ("hypridle-caferen.conf", ("enabled", 120), True),
        ("hypridle-maria.conf", ("enabled", 300), True),
        ("hypridle-shang-niri.conf", ("enabled", 300), False),
        ("hypridle-shang-sway.conf", ("enabled", 600), True),
    ],
)
def test_hypridle_files(
    tmp_path: Path, name: str, expected: tuple[str, int | None], verified: bool
) -> None:
    machine = login(RecordedMachine(tmp_path), desktop="Hyprland", kind="wayland")
    runs(machine, "hypridle", "-c", f"/home/ada/{name}")
    machine.file(f"/home/ada/{name}", recorded(f"screenlock/{name}"))
    value = screenlock.collect(machine.host())
    assert lock(value) == expected
    assert value["sessions"][0]["verified"] is verified


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("swayidle-config-alexherbo2.txt", ("enabled", 600)),
        ("swayidle-config-atweiden.txt", ("enabled", 420)),
        ("swayidle-config-samq64.txt", ("enabled", 900)),
    ],
)
def test_swayidle_files(tmp_path: Path, name: str, expected: tuple[str, int | None]) -> None:
    machine = login(RecordedMachine(tmp_path), desktop="sway", kind="wayland")
    runs(machine, "swayidle", "-w")
    machine.file("/home/ada/.config/swayidle/config", recorded(f"screenlock/{name}"))
    assert lock(screenlock.collect(machine.host())) == expected


def started(name: str, program: str) -> list[str]:
    """The arguments that a start script gives to a program."""
    line = next(line for line in recorded(f"screenlock/{name}").splitlines() if program in line)
    return re.sub(rf".*\b(?={program})", "", line).rstrip("& ").split()


def test_xautolock_counts_minutes(tmp_path: Path) -> None:
    machine = login(RecordedMachine(tmp_path), desktop="i3")
    runs(machine, *started("x11-xautolock-slock.sh", "xautolock"))
    assert lock(screenlock.collect(machine.host())) == ("enabled", 600)


def test_xss_lock_with_a_notifier_locks_a_cycle_later(tmp_path: Path) -> None:
    machine = login(RecordedMachine(tmp_path), desktop="i3")
    runs(machine, *started("x11-xss-lock-xsecurelock.sh", "xss-lock"))
    text = recorded("screenlock/x11-xss-lock-xsecurelock.sh")
    timeout, cycle = re.findall(r"xset s (\d+) (\d+)", text)[0]
    answer = f"Screen Saver:\n  prefer blanking:  yes\n  timeout:  {timeout}    cycle:  {cycle}\n"
    machine.command(["xset", "q"], answer, user="ada")
    assert lock(screenlock.collect(machine.host())) == ("enabled", 305)


# --- screenlock: sessions ---------------------------------------------------------------------


def test_managers_are_no_sessions(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    text = recorded("screenlock/loginctl-list-sessions-json-systemd257.json")
    machine.command(["loginctl", "--json=short", "list-sessions"], text)
    shown = recorded("screenlock/loginctl-show-session-kde-wayland.txt")
    machine.command(["loginctl", "show-session", "1"], shown)
    machine.directory("/home/alice")
    value = screenlock.collect(machine.host())
    assert [entry["user"] for entry in value["sessions"]] == ["alice"]
    assert value["sessions"][0]["desktop"] == "kde"
    assert lock(value) == ("enabled", 300)


def test_seven_users_are_seven_sessions(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    text = recorded("screenlock/loginctl-list-sessions-table-deepin-multiuser.txt")
    machine.command(["loginctl", "list-sessions"], text)
    value = screenlock.collect(machine.host())
    assert [entry["session"] for entry in value["sessions"]] == [
        "1",
        "10",
        "12",
        "16",
        "19",
        "4",
        "7",
    ]
    assert value["state"] == "unknown"


def test_session_that_is_switched_away_counts(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(["loginctl", "list-sessions"], "1 1000 uos seat0\n")
    shown = recorded("screenlock/loginctl-show-session-deepin-autologin.txt")
    machine.command(["loginctl", "show-session", "1"], shown)
    value = screenlock.collect(machine.host())
    assert lock(value) == ("unknown", None)
    assert value["sessions"][0]["desktop"] == "deepin"


# --- guest_session ----------------------------------------------------------------------------


def lightdm(tmp_path: Path, *, script: bool) -> RecordedMachine:
    machine = RecordedMachine(tmp_path)
    machine.file("/etc/X11/default-display-manager", "/usr/sbin/lightdm\n")
    if script:
        machine.file("/usr/sbin/guest-account", "#!/bin/sh\n", mode=0o755)
    return machine


@pytest.mark.parametrize(
    ("name", "with_script", "autologin"),
    [
        ("50-disable-guest.conf", "disabled", None),
        ("lightdm.conf-arch-prologin", "enabled", None),
        ("lightdm.conf-autologin-root", "enabled", "root"),
        ("lightdm.conf-linuxlite", "disabled", "linux"),
        ("lightdm.conf-liquidgalaxy", "disabled", "lg"),
        ("lightdm.conf-slick-autologin", "enabled", "f16poom"),
        ("lightdm.conf-vx-dga", "disabled", None),
        ("upstream-allow-guest-false.conf", "disabled", None),
        ("upstream-autologin-guest.conf", "enabled", None),
        ("upstream-default-guest-allowed.conf", "enabled", None),
        ("upstream-seatdefaults-merge.conf", "enabled", "have-password1"),
    ],
)
@pytest.mark.parametrize("script", [True, False])
def test_lightdm_files(
    tmp_path: Path, name: str, with_script: str, autologin: str | None, script: bool
) -> None:
    """Where the script is not installed (all but Ubuntu), no guest gets in."""
    machine = lightdm(tmp_path, script=script)
    machine.file("/etc/lightdm/lightdm.conf", recorded(f"guest_session/{name}"))
    value = guest_session.collect(machine.host())
    assert value["display_manager"] == "lightdm"
    assert value["state"] == (with_script if script else "disabled")
    assert value["autologin"] == autologin


def test_gdm_reads_true_in_any_case(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.link(
        "/etc/systemd/system/display-manager.service", "/usr/lib/systemd/system/gdm.service"
    )
    machine.file("/etc/gdm/custom.conf", recorded("guest_session/gdm-custom.conf-fedora-live.conf"))
    value = guest_session.collect(machine.host())
    assert (value["state"], value["display_manager"]) == ("disabled", "gdm")
    assert value["autologin"] == "liveuser"


def test_greetd_greeter_is_no_autologin(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).process(pid=400, uid=0, comm="greetd", argv=["greetd"])
    text = recorded("guest_session/greetd-config-gentoo.toml")
    machine.file("/etc/greetd/config.toml", text)
    value = guest_session.collect(machine.host())
    assert (value["state"], value["display_manager"]) == ("disabled", "greetd")
    assert value["autologin"] is None
