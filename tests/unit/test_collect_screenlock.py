"""The collector `screenlock`: whole machines, one desktop or locker each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.screenlock import collect

ADA = {"uid": 1000, "user": "ada"}
LIST = ["loginctl", "list-sessions", "--no-legend", "--no-pager"]
PROPERTIES = (
    "Id", "User", "Name", "Type", "Class", "Seat", "State", "Active", "Remote", "Desktop",
    "Display", "Service", "Leader", "LockedHint",
)  # fmt: skip


class Machine:
    """A machine with logins; the answers of its programs are added by the tests."""

    def __init__(self, path: Path, *, root: bool = True, processes: bool = True) -> None:
        self.recording = RecordedMachine(path, root=root)
        self.recording.file("/etc/passwd", "ada:x:1000:1000::/home/ada:/bin/sh\n")
        self._rows: list[str] = []
        self._pid = 1000
        if processes:
            self.recording.process(pid=1, uid=0, user="root", comm="systemd", argv=["/sbin/init"])

    def login(self, number: int = 2, user: str = "ada", uid: int = 1000, **shown: str) -> Machine:
        known = {
            "Id": str(number), "User": str(uid), "Name": user, "Type": "x11", "Class": "user",
            "Seat": "seat0", "State": "active", "Remote": "no", **shown,
        }  # fmt: skip
        self._rows.append(f"{number:>3} {uid} {user} {known['Seat']}\n")
        wanted = [word for name in PROPERTIES for word in ("-p", name)]
        text = "".join(f"{key}={value}\n" for key, value in known.items())
        self.recording.command(["loginctl", "show-session", str(number), *wanted], text)
        return self

    def runs(self, *argv: str, environ: dict[str, str] | None = None, **owner: JSON) -> Machine:
        self._pid += 1
        fields: dict[str, JSON] = {**ADA, **owner}
        if environ is not None:
            fields["environ"] = environ
        comm = Path(argv[0]).name[:15]
        self.recording.process(pid=self._pid, comm=comm, argv=list(argv), **fields)
        return self

    def answers(self, command: str, stdout: str = "", **more: JSON) -> Machine:
        self.recording.command(command.split(), stdout, **{"user": "ada", **more})
        return self

    def file(self, path: str, text: str) -> Machine:
        self.recording.file(path, text)
        return self

    def gsettings(self, **values: str) -> Machine:
        """Settings by short name: the schema's last word and the key."""
        for name, value in values.items():
            self.answers(f"gsettings get {SCHEMAS[name]}", value + "\n")
        return self

    def host(self) -> ReplayHost:
        return self.recording.command(LIST, "".join(self._rows)).host()

    def collect(self) -> JSON:
        return collect(self.host())


SCHEMAS = {
    "lock": "org.gnome.desktop.screensaver lock-enabled",
    "lock_delay": "org.gnome.desktop.screensaver lock-delay",
    "activation": "org.gnome.desktop.screensaver idle-activation-enabled",
    "idle": "org.gnome.desktop.session idle-delay",
    "lockdown": "org.gnome.desktop.lockdown disable-lock-screen",
    "mate_lock": "org.mate.screensaver lock-enabled",
    "mate_activation": "org.mate.screensaver idle-activation-enabled",
    "mate_lock_delay": "org.mate.screensaver lock-delay",
    "mate_idle": "org.mate.session idle-delay",
    "cinnamon_lock": "org.cinnamon.desktop.screensaver lock-enabled",
    "cinnamon_lock_delay": "org.cinnamon.desktop.screensaver lock-delay",
    "cinnamon_custom": "org.cinnamon.desktop.screensaver custom-screensaver-command",
    "cinnamon_idle": "org.cinnamon.desktop.session idle-delay",
    "light_after": "apps.light-locker lock-after-screensaver",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def locked(value: JSON) -> tuple[str, int | None]:
    """State and delay, of the only session and of all."""
    (session,) = value["sessions"]
    assert (session["state"], session["delay"]) == (value["state"], value["delay_seconds"])
    if value["state"] == "unknown":
        assert value["reason"]
    return value["state"], value["delay_seconds"]


def xset(timeout: int, cycle: int = 600) -> str:
    return f"Screen Saver:\n  prefer blanking:  yes\n  timeout:  {timeout}    cycle:  {cycle}\n"


# --- who is logged in -------------------------------------------------------------------------


def test_login_screen_alone_is_no_graphical_session(machine: Machine) -> None:
    machine.login(1, "gdm", 120, Class="greeter", Type="wayland")
    value = machine.collect()
    assert value == {"state": "no_graphical_session", "delay_seconds": None, "sessions": []}


@pytest.mark.parametrize(
    "shown",
    [
        {"Type": "tty"},
        {"Class": "manager", "Type": "unspecified", "Seat": ""},
        {"Class": "background", "Type": "unspecified", "Seat": ""},
        {"Class": "manager-early", "Type": "unspecified", "Seat": ""},
        {"Class": "lock-screen", "Type": "x11"},
        {"Type": "wayland", "Remote": "yes", "Seat": ""},
        {"State": "closing"},
    ],
)
def test_what_is_no_graphical_session_of_a_person(machine: Machine, shown: dict[str, str]) -> None:
    assert machine.login(2, "ada", 1000, **shown).collect()["state"] == "no_graphical_session"


@pytest.mark.parametrize(
    "shown",
    [{"Class": "user-early"}, {"Class": "user-light"}, {"Type": "mir"}, {"State": "online"}],
)
def test_what_is_a_graphical_session_of_a_person(machine: Machine, shown: dict[str, str]) -> None:
    machine.login(2, "ada", 1000, Desktop="KDE", **shown).file(
        "/home/ada/.config/kscreenlockerrc", ""
    )
    assert locked(machine.collect()) == ("enabled", 300)


def test_screen_that_is_locked_just_now_shows_nothing(machine: Machine) -> None:
    machine.login(Desktop="i3", LockedHint="yes").runs("i3").runs("i3lock", "-n")
    assert locked(machine.collect()) == ("disabled", None)


@pytest.mark.parametrize("user", ["gdm-greeter-2", "Debian-gdm", "greeter"])
def test_login_screen_is_known_by_its_user_where_its_class_is_not_told(
    tmp_path: Path, user: str
) -> None:
    machine = RecordedMachine(tmp_path).command(LIST, f"c1 60578 {user} seat0\n")
    assert collect(machine.host())["state"] == "no_graphical_session"


def test_all_users_must_lock_and_the_longest_delay_counts(machine: Machine) -> None:
    machine.login(2, "ada", 1000, Desktop="KDE").login(3, "bob", 1001, Desktop="KDE")
    machine.file("/home/ada/.config/kscreenlockerrc", "[Daemon]\nTimeout=10\n")
    machine.file("/home/bob/.config/kscreenlockerrc", "[Daemon]\nTimeout=2\n")
    value = machine.collect()
    assert (value["state"], value["delay_seconds"]) == ("enabled", 600)
    assert {s["user"]: s["delay"] for s in value["sessions"]} == {"ada": 600, "bob": 120}


def test_one_user_who_never_locks_outweighs_a_doubt(machine: Machine) -> None:
    machine.login(2, "ada", 1000, Desktop="KDE", State="online")
    machine.login(3, "bob", 1001, Desktop="acme-desktop").login(4, "eve", 1002, Desktop="KDE")
    machine.file("/home/ada/.config/kscreenlockerrc", "[Daemon]\nAutolock=false\n")
    value = machine.collect()
    assert value["state"] == "disabled"
    assert [s["state"] for s in value["sessions"]] == ["disabled", "unknown", "unknown"]


def test_desktop_started_from_a_console_is_found_by_its_process(machine: Machine) -> None:
    machine.login(Type="tty").runs("sway").runs("swayidle", "timeout", "300", "swaylock")
    value = machine.collect()
    assert locked(value) == ("enabled", 300)
    assert value["sessions"][0]["type"] == "wayland"


def test_console_beside_a_desktop_of_the_same_user_is_not_a_second_desktop(
    machine: Machine,
) -> None:
    machine.login(2, Desktop="KDE").login(3, Type="tty").runs("plasmashell").file("/home/ada/x", "")
    assert len(machine.collect()["sessions"]) == 1


def test_console_of_others_is_a_doubt_when_their_processes_are_hidden(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=False, processes=False).login(Type="tty")
    machine.runs("bash", uid=1001, user="bob")
    value = machine.collect()
    assert value["state"] == "unknown"
    assert "not root" in value["reason"]


def test_without_logind_processes_tell(tmp_path: Path) -> None:
    machine = Machine(tmp_path).runs("sway").runs("swayidle", "timeout", "60", "swaylock")
    value = collect(machine.recording.host())
    assert locked(value) == ("enabled", 60)


def test_without_logind_and_without_a_display_nobody_is_logged_in(tmp_path: Path) -> None:
    machine = Machine(tmp_path).runs("nginx", uid=33, user="www-data")
    machine.recording.command(LIST, "", stderr="Failed to connect to bus\n", returncode=1)
    assert collect(machine.recording.host())["state"] == "no_graphical_session"


def test_without_logind_a_display_that_nobody_explains_is_unknown(tmp_path: Path) -> None:
    machine = Machine(tmp_path).runs("/usr/lib/xorg/Xorg", ":0", uid=0, user="root")
    value = collect(machine.recording.host())
    assert value["state"] == "unknown"
    assert "loginctl is not installed" in value["reason"]


def test_without_logind_and_without_processes_nothing_is_known(tmp_path: Path) -> None:
    assert collect(RecordedMachine(tmp_path).host())["state"] == "unknown"


@pytest.mark.parametrize("form", [["-o", "json"], ["--json=short"], ["-j"], []])
def test_list_of_sessions_in_each_of_its_forms(tmp_path: Path, form: list[str]) -> None:
    json = '[{"session":"2","uid":1000,"user":"ada","seat":"seat0","tty":null}]\n'
    table = "SESSION  UID USER SEAT  TTY\n      2 1000 ada  seat0\n\n1 sessions listed.\n"
    machine = RecordedMachine(tmp_path).directory("/home/ada")
    machine.command(["loginctl", "list-sessions", *form], json if form else table)
    machine.command(["loginctl", "show-session", "2"], "Name=ada\nType=wayland\nDesktop=KDE\n")
    assert locked(collect(machine.host())) == ("enabled", 300)


def test_list_that_is_not_understood_is_not_an_empty_one(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(LIST, "seat0 -> ada, since noon\n")
    assert collect(machine.host())["state"] == "unknown"


@pytest.mark.parametrize(
    ("argv", "environ", "kind", "expected"),
    [
        (("swayidle", "timeout", "60", "swaylock"), None, "wayland", ("enabled", 60)),
        (("xautolock", "-locker", "slock"), {"DISPLAY": ":0"}, "x11", ("enabled", 600)),
    ],
)
def test_without_logind_a_locker_shows_that_somebody_is_logged_in(
    tmp_path: Path,
    argv: tuple[str, ...],
    environ: dict[str, str] | None,
    kind: str,
    expected: tuple[str, int],
) -> None:
    value = collect(Machine(tmp_path).runs(*argv, environ=environ).recording.host())
    assert (value["sessions"][0]["type"], value["sessions"][0]["state"]) == (kind, "enabled")
    assert locked(value) == expected


def test_without_logind_a_desktop_of_nobody_is_not_passed_over(tmp_path: Path) -> None:
    machine = Machine(tmp_path).runs("sway", uid=None, user=None)
    value = collect(machine.recording.host())
    assert value["state"] == "unknown"
    assert "to whom" in value["reason"]


def test_desktop_of_somebody_whom_logind_does_not_know_is_a_doubt(machine: Machine) -> None:
    machine.login(1, "gdm", 120, Class="greeter").runs("cage", uid=1500, user="kiosk")
    assert machine.collect()["state"] == "no_graphical_session"
    machine.runs("gnome-shell", uid=120, user="gdm").runs("sway", uid=1500, user="kiosk")
    value = machine.collect()
    assert value["state"] == "unknown"
    assert "logind does not know" in value["reason"]
    assert "kiosk" not in value["reason"]


# --- GNOME and its relatives ------------------------------------------------------------------


def gnome(machine: Machine, **values: str) -> Machine:
    usual = {"lock": "true", "lock_delay": "uint32 0", "idle": "uint32 300", "lockdown": "false"}
    machine.login(Type="wayland", Desktop="ubuntu", Service="gdm-password")
    return machine.gsettings(**{**usual, **values})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("enabled", 300)),
        ({"lock_delay": "uint32 30"}, ("enabled", 330)),
        ({"idle": "uint32 0"}, ("disabled", None)),
        ({"lock": "false"}, ("disabled", None)),
        ({"lockdown": "true"}, ("disabled", None)),
        ({"activation": "false"}, ("enabled", 300)),
        ({"idle": "'soon'"}, ("unknown", None)),
    ],
)
def test_gnome(machine: Machine, values: dict[str, str], expected: tuple[str, int | None]) -> None:
    assert locked(gnome(machine, **values).collect()) == expected


def test_gnome_reports_what_it_judged(machine: Machine) -> None:
    (session,) = gnome(machine, idle="uint32 0").collect()["sessions"]
    assert session["user"] == "ada"
    assert session["desktop"] == "gnome"
    assert session["locker"] == "gnome-shell"
    assert session["settings"]["org.gnome.desktop.session idle-delay"] == 0
    assert "idle-delay" in session["reason"]


@pytest.mark.parametrize(
    "complaint",
    [
        "(process:9): dconf-CRITICAL **: unable to create file '/run/user/0/dconf/user'\n",
        "(process:9): dconf-WARNING **: Unable to open /var/lib/acme: Permission denied\n",
        "GLib-GIO-Message: Using the 'memory' GSettings backend.\n",
    ],
)
def test_defaults_printed_without_the_users_settings_are_not_believed(
    tmp_path: Path, complaint: str
) -> None:
    machine = Machine(tmp_path).login(Desktop="gnome", Service="gdm-password")
    for name, value in (("lock", "true"), ("idle", "uint32 300")):
        machine.answers(f"gsettings get {SCHEMAS[name]}", value, stderr=complaint)
    assert locked(machine.collect()) == ("unknown", None)


def test_the_reason_is_the_same_each_time(tmp_path: Path) -> None:
    reasons = set()
    for number, time in ((9, "09:30:00.123"), (4711, "10:30:00.456")):
        said = f"(process:{number}): dconf-WARNING **: {time}: failed to commit: no bus\n"
        machine = Machine(tmp_path / str(number)).login(Desktop="gnome", Service="gdm-password")
        machine.answers(f"gsettings get {SCHEMAS['lock']}", "true", stderr=said)
        reasons.add(machine.collect()["reason"])
    (reason,) = reasons
    assert "dconf-WARNING **: failed to commit: no bus" in reason


def test_missing_system_database_changes_nothing(machine: Machine) -> None:
    said = "dconf-WARNING **: unable to open file '/etc/dconf/db/site': expect degraded performance"
    machine.login(Desktop="gnome", Service="gdm-password").gsettings(lock="true")
    machine.answers(f"gsettings get {SCHEMAS['idle']}", "uint32 300", stderr=said)
    assert locked(machine.collect()) == ("enabled", 300)


def test_gsettings_that_hangs_is_unknown(tmp_path: Path) -> None:
    machine = Machine(tmp_path).login(Desktop="gnome")
    machine.answers(f"gsettings get {SCHEMAS['lock']}", timed_out=True)
    value = machine.collect()
    assert locked(value) == ("unknown", None)
    assert "in time" in value["reason"]


def test_missing_schema_is_unknown_not_its_default(tmp_path: Path) -> None:
    machine = Machine(tmp_path).login(Desktop="gnome")
    machine.answers(f"gsettings get {SCHEMAS['lock']}", stderr="No such schema “x”\n", returncode=1)
    assert locked(machine.collect()) == ("unknown", None)


def test_gnome_without_any_tool_is_unknown(tmp_path: Path) -> None:
    value = Machine(tmp_path).login(Desktop="gnome").collect()
    assert locked(value) == ("unknown", None)
    assert "gsettings" in value["reason"]


def test_settings_are_asked_as_the_user_in_the_sessions_environment(tmp_path: Path) -> None:
    machine = Machine(tmp_path).login(Desktop="gnome", Service="gdm-password")
    environ = {
        "HOME": "/data/ada", "PATH": "/tmp/evil", "LD_PRELOAD": "/tmp/evil.so",
        "DCONF_PROFILE": "acme", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/tmp/bus",
    }  # fmt: skip
    machine.runs("/usr/bin/gnome-shell", environ=environ)
    asked: list[tuple[str | None, dict[str, str]]] = []
    host = machine.host()
    run = host.run

    def spy(argv: Sequence[str], **how: JSON) -> JSON:
        if argv[0] == "gsettings":
            asked.append((how["user"], dict(how["env"])))
        return run(argv, **how)

    host.run = spy  # type: ignore[method-assign]
    collect(host)
    user, env = asked[0]
    assert user == "ada"
    assert env["DCONF_PROFILE"] == "acme"
    assert env["DBUS_SESSION_BUS_ADDRESS"] == "unix:path=/tmp/bus"
    assert env["XDG_RUNTIME_DIR"] == "/run/user/1000"
    assert not {"PATH", "LD_PRELOAD", "HOME"} & set(env)


@pytest.mark.parametrize(
    ("keyfile", "expected"),
    [
        (
            "[org/gnome/desktop/session]\nidle-delay=uint32 600\n\n[a]\nb='%c'\n",
            ("enabled", 600),
        ),
        ("[org/gnome/desktop/session]\nidle-delay=0\n", ("enabled", 300)),  # an i, not a u
        ("[org/gnome/desktop/screensaver]\nlock-enabled=false\n", ("disabled", None)),
    ],
)
def test_where_gsettings_is_missing_dconf_tells_what_is_set(
    machine: Machine, keyfile: str, expected: tuple[str, int | None]
) -> None:
    machine.login(Desktop="gnome", Service="gdm-password").answers("dconf dump /", keyfile)
    assert locked(machine.collect()) == expected


def test_dconf_alone_heeds_the_distributions_defaults(machine: Machine) -> None:
    machine.login(Desktop="gnome", Service="gdm-password").answers("dconf dump /", "[a/b]\nc=1\n")
    machine.file(
        "/usr/share/glib-2.0/schemas/10_acme.gschema.override",
        "[org.gnome.desktop.screensaver]\nlock-enabled=false\n",
    )
    assert locked(machine.collect()) == ("disabled", None)


@pytest.mark.parametrize(
    ("service", "processes", "expected"),
    [
        ("gdm-autologin", (), "enabled"),
        ("lightdm", (), "disabled"),
        ("login", ("gdm3",), "enabled"),
        ("", (), "enabled"),
    ],
)
def test_gnome_shell_has_a_lock_screen_under_gdm_only(
    machine: Machine, service: str, processes: tuple[str, ...], expected: str
) -> None:
    machine.login(Desktop="gnome", Service=service)
    machine.gsettings(lock="true", lock_delay="uint32 0", idle="uint32 300", lockdown="false")
    for name in processes:
        machine.runs(name, uid=0, user="root")
    assert locked(machine.collect())[0] == expected


def test_unity_reads_the_gnome_settings_without_gdm(machine: Machine) -> None:
    machine.login(Desktop="ubuntu", Service="lightdm").runs("unity-panel-service")
    machine.gsettings(lock="true", lock_delay="uint32 5", idle="uint32 600", lockdown="false")
    assert locked(machine.collect()) == ("enabled", 605)


@pytest.mark.parametrize(
    ("activation", "expected"), [("true", ("enabled", 300)), ("false", ("disabled", None))]
)
def test_budgie_locks_by_its_screen_saver(
    machine: Machine, activation: str, expected: tuple[str, int | None]
) -> None:
    machine.login(Desktop="budgie-desktop", Service="lightdm").runs("budgie-wm")
    machine.runs("budgie-screensaver").gsettings(
        lock="true", lock_delay="uint32 0", idle="uint32 300", lockdown="false",
        activation=activation,
    )  # fmt: skip
    assert locked(machine.collect()) == expected


def test_budgie_without_a_screen_saver_is_unknown(machine: Machine) -> None:
    machine.login(Desktop="budgie-desktop").runs("budgie-wm")
    machine.gsettings(lock="true", idle="uint32 300")
    assert locked(machine.collect()) == ("unknown", None)


# --- MATE, Cinnamon ---------------------------------------------------------------------------


def mate(machine: Machine, **values: str) -> Machine:
    usual = {
        "mate_lock": "true", "mate_activation": "true", "mate_lock_delay": "0", "mate_idle": "5",
    }  # fmt: skip
    machine.login(Desktop="mate").runs("mate-session")
    return machine.gsettings(**{**usual, **values})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("enabled", 300)),
        ({"mate_idle": "15", "mate_lock_delay": "2"}, ("enabled", 1020)),
        ({"mate_idle": "0"}, ("disabled", None)),
        ({"mate_lock": "false"}, ("disabled", None)),
        ({"mate_activation": "false"}, ("disabled", None)),
    ],
)
def test_mate_counts_minutes(
    machine: Machine, values: dict[str, str], expected: tuple[str, int | None]
) -> None:
    assert locked(mate(machine, **values).runs("mate-screensaver").collect()) == expected


def test_mate_without_its_screen_saver_never_locks(machine: Machine) -> None:
    value = mate(machine).collect()
    assert locked(value) == ("disabled", None)
    assert "does not run" in value["sessions"][0]["reason"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"cinnamon_idle": "uint32 900"}, ("enabled", 900)),
        ({"cinnamon_idle": "uint32 900", "cinnamon_lock_delay": "uint32 60"}, ("enabled", 960)),
        ({"cinnamon_idle": "uint32 0"}, ("disabled", None)),
        ({"cinnamon_idle": "uint32 900", "cinnamon_lock": "false"}, ("disabled", None)),
        ({"cinnamon_idle": "uint32 60", "cinnamon_custom": "'show-photos'"}, ("unknown", None)),
    ],
)
def test_cinnamon_has_keys_of_its_own(
    machine: Machine, values: dict[str, str], expected: tuple[str, int | None]
) -> None:
    machine.login(Desktop="cinnamon").runs("cinnamon")
    machine.runs("/usr/bin/python3", "/usr/bin/cinnamon-screensaver")
    # The GNOME keys of the same user say something else, and do not matter.
    machine.gsettings(lock="false", idle="uint32 0")
    machine.gsettings(**{"cinnamon_lock": "true", **values})
    assert locked(machine.collect()) == expected


# --- Plasma -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("enabled", 300)),
        ({"Timeout": "10"}, ("enabled", 600)),
        ({"Timeout": "0.5"}, ("enabled", 30)),
        ({"Timeout": "5", "LockGrace": "60"}, ("enabled", 360)),
        ({"Timeout": "0"}, ("disabled", None)),
        ({"Autolock": "false"}, ("disabled", None)),
        ({"RequirePassword": "false"}, ("disabled", None)),
        ({"Lock": "off"}, ("disabled", None)),
        ({"LockGrace": "-1"}, ("disabled", None)),
        ({"Timeout": "soon"}, ("unknown", None)),
    ],
)
@pytest.mark.parametrize("tool", ["kreadconfig6", "kreadconfig5"])
def test_plasma_as_kreadconfig_tells_it(
    machine: Machine, tool: str, given: dict[str, str], expected: tuple[str, int | None]
) -> None:
    machine.login(Type="wayland", Desktop="KDE").runs("plasmashell")
    defaults = {
        "Autolock": "true", "Timeout": "5", "Lock": "true", "LockGrace": "5",
        "RequirePassword": "true",
    }  # fmt: skip
    for key, default in defaults.items():
        command = f"{tool} --file kscreenlockerrc --group Daemon --key {key} --default {default}"
        machine.answers(command, given.get(key, default) + "\n")
    # The tool knows the order of files; the file alone says something else.
    machine.file("/home/ada/.config/kscreenlockerrc", "[Daemon]\nTimeout=77\n")
    assert locked(machine.collect()) == expected


@pytest.mark.parametrize(
    ("system", "user", "expected"),
    [
        ("[Daemon]\nAutolock=false\n", "", ("disabled", None)),
        ("[Daemon]\nAutolock=false\n", "[Daemon]\nAutolock=true\n", ("enabled", 300)),
        ("[Daemon]\nAutolock[$i]=false\n", "[Daemon]\nAutolock=true\n", ("disabled", None)),
        ("[Daemon][$i]\nTimeout=3\n", "[Daemon]\nTimeout=90\n", ("enabled", 180)),
        ("[$i]\n[Daemon]\nTimeout=3\n", "[Daemon]\nTimeout=90\n", ("enabled", 180)),
        ("", "[Greeter][Daemon]\nAutolock=false\n", ("enabled", 300)),
    ],
)
def test_plasma_files_in_kconfigs_order(
    machine: Machine, system: str, user: str, expected: tuple[str, int | None]
) -> None:
    machine.login(Desktop="KDE").file("/etc/xdg/kscreenlockerrc", system)
    machine.file("/home/ada/.config/kscreenlockerrc", user)
    assert locked(machine.collect()) == expected


@pytest.mark.parametrize("directory", ["/etc/xdg", "/usr/etc/xdg"])
def test_plasmas_own_defaults_stand_between_the_systems_and_the_users(
    machine: Machine, directory: str
) -> None:
    machine.login(Desktop="KDE").file(f"{directory}/kscreenlockerrc", "[Daemon]\nTimeout=20\n")
    assert locked(machine.collect()) == ("enabled", 1200)
    defaults = "[Daemon]\nTimeout=15\nAutolock=false\n"
    machine.file("/home/ada/.config/kdedefaults/kscreenlockerrc", defaults)
    assert locked(machine.collect()) == ("disabled", None)
    machine.file("/home/ada/.config/kscreenlockerrc", "[Daemon]\nAutolock=true\n")
    assert locked(machine.collect()) == ("enabled", 900)


def test_plasma_without_a_file_locks_by_default(machine: Machine) -> None:
    assert locked(machine.login(Desktop="plasma").collect()) == ("enabled", 300)


def test_plasma_file_that_is_refused_is_unknown(machine: Machine) -> None:
    machine.login(Desktop="KDE")
    machine.recording.unreadable("/home/ada/.config/kscreenlockerrc")
    assert locked(machine.collect()) == ("unknown", None)


def test_plasma_of_a_user_without_a_home_is_unknown(machine: Machine) -> None:
    assert locked(machine.login(2, "eve", 1007, Desktop="KDE").collect()) == ("unknown", None)


def test_plasma_reads_where_the_sessions_environment_says(machine: Machine) -> None:
    machine.login(Desktop="KDE").runs("plasmashell", environ={"XDG_CONFIG_HOME": "/data/conf"})
    machine.file("/data/conf/kscreenlockerrc", "[Daemon]\nAutolock=false\n")
    assert locked(machine.collect()) == ("disabled", None)


# --- Xfce -------------------------------------------------------------------------------------

XFCONF = "xfconf-query -c xfce4-screensaver"
XFCE_FILE = "xfce4/xfconf/xfce-perchannel-xml/xfce4-screensaver.xml"


def xfce(machine: Machine, *, daemon: bool = True) -> Machine:
    machine.login(Desktop="xfce").runs("xfce4-session")
    return machine.runs("/usr/bin/xfce4-screensaver") if daemon else machine


def channel(*properties: str, more: str = "") -> str:
    """A channel file with `path type value` properties."""
    text = ""
    for entry in properties:
        path, kind, value = entry.split()
        *above, last = path.split("/")
        opening = "".join(f'<property name="{name}" type="empty">' for name in above)
        leaf = f'<property name="{last}" type="{kind}" value="{value}"{more}/>'
        text += opening + leaf + "</property>" * len(above)
    return f'<?xml version="1.0"?><channel name="xfce4-screensaver">{text}</channel>'


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("/saver/mode   0\n", ("enabled", 300)),
        (
            "/saver/idle-activation/delay        15\n/lock/saver-activation/delay  1\n",
            ("enabled", 960),
        ),
        ("/lock/enabled   false\n", ("disabled", None)),
        ("/saver/enabled  false\n", ("disabled", None)),
        ("/saver/idle-activation/enabled false\n", ("disabled", None)),
        ("/lock/saver-activation/enabled false\n", ("disabled", None)),
        ("/lock/sleep-activation  false\n", ("enabled", 300)),
        ("/saver/idle-activation/delay        0\n", ("enabled", 600)),
        ('Channel "xfce4-screensaver" contains no properties.\n', ("enabled", 300)),
    ],
)
def test_xfce_listing(machine: Machine, listing: str, expected: tuple[str, int | None]) -> None:
    assert locked(xfce(machine).answers(f"{XFCONF} -l -v", listing).collect()) == expected


def test_xfce_property_that_is_not_set_has_its_default(machine: Machine) -> None:
    xfce(machine).answers(f"{XFCONF} -p /saver/idle-activation/delay", "10\n")
    unset = 'Property "/lock/enabled" does not exist on channel "xfce4-screensaver".\n'
    machine.answers(f"{XFCONF} -p /lock/enabled", stderr=unset, returncode=1)
    assert locked(machine.collect()) == ("enabled", 600)


def test_xfconf_that_does_not_answer_is_not_a_default(machine: Machine) -> None:
    said = "Failed to init libxfconf: Cannot autolaunch D-Bus\n"
    xfce(machine).answers(f"{XFCONF} -p /lock/enabled", stderr=said, returncode=1)
    assert locked(machine.collect()) == ("unknown", None)


def test_xfce_files_users_over_systems(machine: Machine) -> None:
    xfce(machine).file(f"/etc/xdg/{XFCE_FILE}", channel("lock/enabled bool false"))
    assert locked(machine.collect()) == ("disabled", None)


def test_xfce_user_may_change_what_is_not_locked(machine: Machine) -> None:
    xfce(machine).file(f"/etc/xdg/{XFCE_FILE}", channel("lock/enabled bool false"))
    machine.file(f"/home/ada/.config/{XFCE_FILE}", channel("lock/enabled bool true"))
    assert locked(machine.collect()) == ("enabled", 300)


def test_xfce_user_may_not_change_what_is_locked(machine: Machine) -> None:
    locks = channel("saver/idle-activation/delay int 5", more=' locked="*"')
    xfce(machine).file(f"/etc/xdg/{XFCE_FILE}", locks)
    own = channel("saver/idle-activation/delay int 240")
    machine.file(f"/home/ada/.config/{XFCE_FILE}", own)
    assert locked(machine.collect()) == ("enabled", 300)


def test_xfce_file_that_is_no_xml_is_unknown(machine: Machine) -> None:
    xfce(machine).file(f"/home/ada/.config/{XFCE_FILE}", "<channel")
    assert locked(machine.collect()) == ("unknown", None)


def test_xfce_without_a_running_locker_never_locks(machine: Machine) -> None:
    xfce(machine, daemon=False).answers(f"{XFCONF} -l -v", "/lock/enabled  true\n")
    assert locked(machine.collect()) == ("disabled", None)


def test_without_a_view_of_the_processes_xfce_is_unknown(tmp_path: Path) -> None:
    machine = Machine(tmp_path, processes=False).login(Desktop="xfce")
    machine.answers(f"{XFCONF} -l -v", "/lock/enabled  true\n")
    assert locked(machine.collect()) == ("unknown", None)


@pytest.mark.parametrize(
    ("desktop", "dump", "expected"),
    [
        ("mate", "[org/mate/desktop/session]\nidle-delay=15\n", ("enabled", 900)),
        # The schema's name is not its path, and a lock of type int is none.
        ("mate", "[org/mate/session]\nidle-delay=15\n", ("enabled", 300)),
        ("mate", "[org/mate/screensaver]\nlock-enabled=0\n", ("enabled", 300)),
        ("cinnamon", "[org/gnome/desktop/session]\nidle-delay=uint32 0\n", ("enabled", 900)),
        ("cinnamon", "[org/cinnamon/desktop/session]\nidle-delay=uint32 60\n", ("enabled", 60)),
    ],
)
def test_dconf_of_mate_and_cinnamon(
    machine: Machine, desktop: str, dump: str, expected: tuple[str, int]
) -> None:
    machine.login(Desktop=desktop).runs(f"{desktop}-screensaver").answers("dconf dump /", dump)
    assert locked(machine.collect()) == expected


def test_settings_that_never_lock_need_no_view_of_the_processes(tmp_path: Path) -> None:
    machine = Machine(tmp_path, processes=False).login(Desktop="xfce")
    machine.answers(f"{XFCONF} -l -v", "/saver/enabled  false\n")
    assert locked(machine.collect()) == ("disabled", None)


def test_where_processes_are_hidden_another_locker_may_run(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=False, processes=False).login(Desktop="xfce")
    machine.answers(f"{XFCONF} -l -v", "/saver/enabled  false\n").runs("bash", uid=7, user="eve")
    assert locked(machine.collect()) == ("unknown", None)


def test_budgie_of_which_nothing_is_seen_starts_its_own_screen_saver(tmp_path: Path) -> None:
    machine = Machine(tmp_path, processes=False).login(Desktop="budgie-desktop")
    machine.gsettings(lock="true", lock_delay="uint32 5", idle="uint32 300", lockdown="false")
    machine.gsettings(activation="true")
    assert locked(machine.collect()) == ("enabled", 305)


def test_screen_saver_of_cinnamon_is_a_script(machine: Machine) -> None:
    machine.login(Desktop="cinnamon")
    script = "/usr/share/cinnamon-screensaver/cinnamon-screensaver-main.py"
    machine.runs("/usr/bin/python3", script)
    machine.gsettings(cinnamon_lock="true", cinnamon_lock_delay="uint32 2", cinnamon_custom="''")
    machine.gsettings(cinnamon_idle="uint32 900")
    assert locked(machine.collect()) == ("enabled", 902)


# --- lockers of X11 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "after", "timeout", "expected"),
    [
        ((), "uint32 5", 600, ("enabled", 605)),
        ((), "uint32 0", 600, ("disabled", None)),
        ((), "uint32 5", 0, ("disabled", None)),
        (("--lock-after-screensaver=10",), "uint32 0", 600, ("enabled", 610)),
        (("--lock-after-screensaver", "0"), "uint32 5", 600, ("disabled", None)),
        (("--late-locking",), "uint32 5", 60, ("enabled", 65)),
    ],
)
def test_light_locker(
    machine: Machine,
    arguments: tuple[str, ...],
    after: str,
    timeout: int,
    expected: tuple[str, int | None],
) -> None:
    xfce(machine, daemon=False).runs("light-locker", *arguments).gsettings(light_after=after)
    assert locked(machine.answers("xset q", xset(timeout)).collect()) == expected


def test_light_locker_needs_lightdm(machine: Machine) -> None:
    machine.login(Desktop="openbox", Service="sddm").runs("light-locker")
    machine.gsettings(light_after="uint32 5").answers("xset q", xset(600))
    assert locked(machine.collect()) == ("unknown", None)


@pytest.mark.parametrize(
    ("argv", "timer", "expected"),
    [
        ("xss-lock -- i3lock -n -c 000000", xset(300, 5), ("enabled", 300)),
        ("xss-lock -l i3lock", xset(300, 5), ("enabled", 300)),
        ("xss-lock -n dimmer -- xsecurelock", xset(300, 5), ("enabled", 305)),
        ("xss-lock --notifier=dimmer -- xsecurelock", xset(300, 5), ("enabled", 305)),
        ("xss-lock -n dimmer -- xsecurelock", xset(300, 0), ("disabled", None)),
        ("xss-lock -- i3lock", xset(0), ("disabled", None)),
        ("xss-lock -- systemctl suspend", xset(300), ("disabled", None)),
        ("xss-lock -- i3lock", "", ("unknown", None)),
    ],
)
def test_xss_lock(
    machine: Machine, argv: str, timer: str, expected: tuple[str, int | None]
) -> None:
    machine.login(Desktop="i3").runs(*argv.split()).answers("xset q", timer)
    assert locked(machine.collect()) == expected


def test_locker_of_a_sites_own_locks_unverified(machine: Machine) -> None:
    machine.login(Desktop="i3").runs("xss-lock", "--", "/opt/acme/greeter")
    value = machine.answers("xset q", xset(300)).collect()
    assert locked(value) == ("enabled", 300)
    assert value["sessions"][0]["verified"] is False


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["xautolock", "-time", "5", "-locker", "slock"], ("enabled", 300)),
        (["xautolock", "-locker", "i3lock -n", "-secure"], ("enabled", 600)),
        (["xautolock", "-time", "600", "-locker", "slock"], ("enabled", 3600)),
        (["xautolock", "-time", "5", "-locker", "systemctl suspend"], ("disabled", None)),
        (["xautolock", "-time", "soon", "-locker", "slock"], ("unknown", None)),
    ],
)
def test_xautolock(machine: Machine, argv: list[str], expected: tuple[str, int | None]) -> None:
    assert locked(machine.login(Desktop="i3").runs(*argv).collect()) == expected


def test_xautolock_takes_what_is_not_said_from_the_x_resources(machine: Machine) -> None:
    machine.login(Desktop="i3").runs("xautolock", "-locker", "slock")
    assert locked(machine.answers("xrdb -query", "Xautolock.time:\t2\n").collect()) == (
        "enabled",
        120,
    )


def test_xidlehook_of_old_names_the_kind_of_timer(machine: Machine) -> None:
    argv = ["xidlehook", "--timer", "primary", "60", "slock", ""]
    assert locked(machine.login(Desktop="bspwm").runs(*argv).collect()) == ("enabled", 60)


def test_xidlehook_counts_from_the_timer_before(machine: Machine) -> None:
    argv = ["xidlehook", "--timer", "60", "xset dpms force off", "", "--timer", "240", "slock", ""]
    assert locked(machine.login(Desktop="bspwm").runs(*argv).collect()) == ("enabled", 300)


@pytest.mark.parametrize(
    ("own", "system", "expected"),
    [
        ("timeout:\t0:10:00\nlock:\tTrue\nlockTimeout:\t0:05:00\n", "", ("enabled", 900)),
        ("timeout: 0:10:00\n", "*lock:\tTrue\n", ("enabled", 600)),
        ("lock: False\n", "*lock: True\n", ("disabled", None)),
        ("", "", ("disabled", None)),
        ("lock: True\nmode: off\n", "", ("disabled", None)),
        ("lock: True\ntimeout: 5\n", "", ("enabled", 300)),
        ("lock: True\ntimeout: later\n", "", ("unknown", None)),
        ("programs: \\\n  lock: True \\n\\\n  x\n", "", ("disabled", None)),
    ],
)
def test_xscreensaver(
    machine: Machine, own: str, system: str, expected: tuple[str, int | None]
) -> None:
    machine.login(Desktop="openbox").runs("xscreensaver", "-no-splash")
    machine.file("/home/ada/.xscreensaver", own).file("/etc/X11/app-defaults/XScreenSaver", system)
    assert locked(machine.collect()) == expected


def test_without_a_view_of_the_processes_xscreensaver_says_itself_that_it_runs(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, processes=False).login(Desktop="openbox")
    machine.answers("xscreensaver-command -time", "XScreenSaver 6.06: screen non-blanked\n")
    machine.file("/home/ada/.xscreensaver", "lock: True\n")
    assert locked(machine.collect()) == ("enabled", 600)


def test_x11_locker_in_a_wayland_session_locks_nothing_for_certain(machine: Machine) -> None:
    machine.login(Type="wayland", Desktop="sway").runs("xautolock", "-locker", "slock")
    assert locked(machine.collect()) == ("unknown", None)


def test_window_manager_without_a_locker_never_locks(machine: Machine) -> None:
    machine.login(Desktop="i3").runs("i3")
    assert locked(machine.collect()) == ("disabled", None)


# --- swayidle, hypridle -----------------------------------------------------------------------


def swayidle(machine: Machine, *arguments: str, config: str = "") -> Machine:
    machine.login(Type="wayland", Desktop="sway").runs("swayidle", *arguments)
    return machine.file("/home/ada/.config/swayidle/config", config)


@pytest.mark.parametrize(
    ("arguments", "config", "expected"),
    [
        (
            ("-w", "timeout", "300", "swaylock -f", "timeout", "600", "swaymsg x"),
            "",
            ("enabled", 300),
        ),
        (("timeout", "300", "swaymsg x", "resume", "swaylock"), "", ("disabled", None)),
        (("timeout", "300", "loginctl lock-session"), "", ("disabled", None)),
        (("timeout", "300", "loginctl lock-session", "lock", "swaylock"), "", ("enabled", 300)),
        (("timeout", "300", "loginctl lock-session"), "lock swaylock\n", ("enabled", 300)),
        (("timeout", "900", "swaylock"), "timeout 600 'gtklock -d'\n", ("enabled", 600)),
        (("before-sleep", "swaylock"), "", ("disabled", None)),
        (("timeout", "0", "swaylock"), "", ("disabled", None)),
        (("timeout", "60", "systemctl suspend"), "", ("disabled", None)),
        (("timeout", "60", "acme-idle"), "", ("unknown", None)),
        ((), "timeout 300 loginctl lock-session\nlock swaylock\n", ("disabled", None)),
        ((), "# timeout 5 swaylock\ntimeout 300 swaylock # five minutes\n", ("enabled", 300)),
        ((), 'timeout 30 "pgrep swaylock && swaymsg off"\n', ("disabled", None)),
    ],
)
def test_swayidle(
    machine: Machine,
    arguments: tuple[str, ...],
    config: str,
    expected: tuple[str, int | None],
) -> None:
    assert locked(swayidle(machine, *arguments, config=config).collect()) == expected


def test_swayidle_has_an_older_place_for_its_file(machine: Machine) -> None:
    machine.login(Type="wayland", Desktop="river").runs("swayidle", "-w")
    machine.file("/home/ada/.swayidle/config", "timeout 90 swaylock\n")
    assert locked(machine.collect()) == ("enabled", 90)


@pytest.mark.parametrize("desktop", ["niri", "river", "labwc", "wayfire", "sway", "Hyprland"])
@pytest.mark.parametrize("daemon", ["swayidle", "hypridle"])
def test_compositors_lock_by_either_idle_daemon(
    machine: Machine, desktop: str, daemon: str
) -> None:
    machine.login(Type="wayland", Desktop=desktop).runs(daemon)
    machine.file("/home/ada/.config/swayidle/config", "timeout 300 gtklock\n")
    text = "listener {\n timeout = 300\n on-timeout = gtklock\n}\n"
    machine.file("/home/ada/.config/hypr/hypridle.conf", text)
    assert locked(machine.collect()) == ("enabled", 300)


def test_swayidle_reads_the_file_it_was_given(machine: Machine) -> None:
    swayidle(machine, "-dwC", "/home/ada/mine", config="timeout 60 swaylock\n")
    machine.file("/home/ada/mine", "timeout 120 swaylock\n")
    assert locked(machine.collect()) == ("enabled", 120)


def test_script_that_runs_a_locker_locks_unverified(machine: Machine) -> None:
    swayidle(machine, "timeout", "300", "~/bin/away")
    machine.file("/home/ada/bin/away", "#!/bin/sh\nplayerctl pause\nswaylock -f\n")
    value = machine.collect()
    assert locked(value) == ("enabled", 300)
    assert value["sessions"][0]["verified"] is False


def test_script_without_a_locker_is_unknown(machine: Machine) -> None:
    swayidle(machine, "timeout", "300", "~/bin/away")
    machine.file("/home/ada/bin/away", "#!/bin/sh\nbrightnessctl set 10\n")
    assert locked(machine.collect()) == ("unknown", None)


def test_desktop_shell_may_hear_what_nobody_else_hears(machine: Machine) -> None:
    swayidle(machine, "timeout", "300", "loginctl lock-session").runs("quickshell")
    assert locked(machine.collect()) == ("unknown", None)


HYPRIDLE = """
$locker = pidof hyprlock || hyprlock
general {
    lock_cmd = $locker   # once
}
listener {
    timeout = 150
    on-timeout = brightnessctl -s set 10
}
listener {
    timeout = 300
    on-timeout = loginctl lock-session
}
"""


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HYPRIDLE, ("enabled", 300)),
        (HYPRIDLE.replace("lock_cmd", "unlock_cmd"), ("disabled", None)),
        (HYPRIDLE.replace("timeout = 300", "# timeout = 300"), ("disabled", None)),
        (
            HYPRIDLE.replace("loginctl lock-session", "hyprctl dispatch dpms off"),
            ("disabled", None),
        ),
        ("listener { timeout = 60\n on-timeout = echo '##' && hyprlock\n}", ("enabled", 60)),
        ("listener {\n timeout = 60\n on-timeout = hyprlock\n state = 1\n}", ("disabled", None)),
    ],
)
def test_hypridle(machine: Machine, config: str, expected: tuple[str, int | None]) -> None:
    machine.login(Type="wayland", Desktop="Hyprland").runs("Hyprland").runs("hypridle", "-q")
    machine.file("/home/ada/.config/hypr/hypridle.conf", config)
    assert locked(machine.collect()) == expected


@pytest.mark.parametrize("name", ["hypridle", "swayidle"])
def test_idle_daemon_may_have_a_home_for_its_configuration_alone(
    machine: Machine, name: str
) -> None:
    machine.login(Type="wayland", Desktop="sway")
    machine.runs(name, environ={"XDG_CONFIG_HOME": "/nix/store/0a1b-etc"})
    machine.file("/nix/store/0a1b-etc/swayidle/config", "timeout 120 swaylock\n")
    text = "listener {\n timeout = 120\n on-timeout = swaylock\n}\n"
    machine.file("/nix/store/0a1b-etc/hypr/hypridle.conf", text)
    machine.runs("sway", environ={"XDG_CONFIG_HOME": "/home/ada/.config"})
    assert locked(machine.collect()) == ("enabled", 120)


def test_hypridle_follows_source_once(machine: Machine) -> None:
    machine.login(Type="wayland", Desktop="niri").runs("hypridle", "--config", "~/idle.conf")
    machine.file("/home/ada/idle.conf", "$t = 90\nsource = ./parts/*.conf\n")
    part = "source = ../idle.conf\nlistener {\n timeout = $t\n on-timeout = swaylock\n}\n"
    machine.file("/home/ada/parts/a.conf", part)
    assert locked(machine.collect()) == ("enabled", 90)


def test_hypridle_without_a_configuration_is_unknown(machine: Machine) -> None:
    machine.login(Type="wayland", Desktop="niri").runs("hypridle")
    assert locked(machine.collect()) == ("unknown", None)


def test_reason_names_nobody(machine: Machine) -> None:
    machine.login(2, "ada", 1000, Desktop="acme").login(3, "eve", 1007, Desktop="KDE")
    value = machine.collect()
    assert value["reason"].startswith("session 2: there is no reader")
    assert not {"ada", "eve"} & set(str(value["reason"]).replace(":", " ").split())
    assert "eve" not in value["sessions"][1]["reason"]


# --- together ---------------------------------------------------------------------------------


def test_any_locker_that_works_locks_the_session(machine: Machine) -> None:
    xfce(machine).answers(f"{XFCONF} -l -v", "/lock/enabled  false\n")
    machine.runs("xautolock", "-time", "10", "-locker", "slock")
    (session,) = machine.collect()["sessions"]
    assert (session["locker"], session["delay"]) == ("xautolock", 600)
    assert session["others"][0]["locker"] == "xfce4-screensaver"


def test_lockers_of_other_users_do_not_count(machine: Machine) -> None:
    machine.login(Desktop="i3").runs("i3")
    machine.runs("xautolock", "-locker", "slock", uid=1001, user="bob")
    assert locked(machine.collect()) == ("disabled", None)


def test_locker_of_another_session_of_the_same_user_does_not_count(machine: Machine) -> None:
    machine.login(Desktop="i3").runs("i3", environ={"XDG_SESSION_ID": "2"})
    machine.runs("xautolock", "-locker", "slock", environ={"XDG_SESSION_ID": "9"})
    assert locked(machine.collect()) == ("disabled", None)


@pytest.mark.parametrize("desktop", ["COSMIC", "deepin", "pantheon", "LXQt", "acme", ""])
def test_desktop_without_a_reader_is_unknown(machine: Machine, desktop: str) -> None:
    assert locked(machine.login(Desktop=desktop).collect()) == ("unknown", None)


def test_process_outweighs_what_logind_says(machine: Machine) -> None:
    machine.login(Desktop="gnome", Service="sddm").runs("plasmashell")
    (session,) = machine.collect()["sessions"]
    assert session["desktop"] == "kde"
