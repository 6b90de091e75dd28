"""The collector `guest_session`: display managers, their merged configuration, autologin."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.guest_session import autologin, collect, lightdm, manager

LINK = "/etc/systemd/system/display-manager.service"
SYSTEMCTL = ["systemctl", "show", "-p", "Id", "--value", "display-manager.service"]
ALLOW = "[Seat:*]\nallow-guest=true\n"
FORBID = "[Seat:*]\nallow-guest=false\n"
MAIN = "/etc/lightdm/lightdm.conf"


@pytest.fixture
def bare(tmp_path: Path) -> RecordedMachine:
    """A machine of which nothing is known."""
    return RecordedMachine(tmp_path)


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    """LightDM runs, and the script for guest accounts is installed."""
    found = RecordedMachine(tmp_path)
    found.process(pid=1, uid=0, comm="systemd", argv=["/sbin/init"])
    found.process(pid=700, uid=0, comm="lightdm", argv=["/usr/sbin/lightdm"])
    return found.file("/usr/sbin/guest-account", "#!/bin/sh\n", mode=0o755)


def state(machine: RecordedMachine) -> str:
    value = collect(machine.host())
    if value["state"] == "unknown":
        assert value["reason"]
    return str(value["state"])


# --- LightDM: what makes a guest --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "enabled"),  # the default is true
        (ALLOW, "enabled"),
        (FORBID, "disabled"),
        ("[SeatDefaults]\nallow-guest=false\n", "disabled"),
        ("[SeatDefaults]\nallow-guest=false\n[Seat:*]\nallow-guest=true\n", "enabled"),
        ("[Seat:*]\nallow-guest=true\n[SeatDefaults]\nallow-guest=false\n", "disabled"),
        ("[Seat:*]\nallow-guest=True\n", "disabled"),
        ("[Seat:*]\nallow-guest=yes\n", "disabled"),
        ("[Seat:*]\nallow-guest=1\n", "disabled"),
        ("[Seat:*]\nallow-guest = true  \n", "enabled"),
        ("[Seat:*]\nallow-guest=true # for the library\n", "disabled"),
        ("[Seat:*]\n#allow-guest=false\n", "enabled"),
        ("[LightDM]\nallow-guest=false\n", "enabled"),  # the wrong group
        ("[Seat:*]\nallow-guest=false\n[Seat:seat0]\nallow-guest=true\n", "enabled"),
        ("[Seat:seat0]\nallow-guest=true\n[Seat:*]\nallow-guest=false\n", "enabled"),
        ("[Seat:*]\nallow-guest=true\n[Seat:seat?]\nallow-guest=false\n", "disabled"),
        ("[Seat:*]\ngreeter-allow-guest=false\n", "enabled"),  # hides the button only
        ("[Seat:*]\nallow-guest=false\nguest-session=xfce\n", "disabled"),
        ("[Seat:*]\nallow-guest=false\nautologin-guest=true\n", "enabled"),
        ("[LightDM]\nguest-account-script=\n", "disabled"),
        ("[LightDM]\nguest-account-script=/opt/acme/guest\n", "disabled"),
        ("[LightDM]\nguest-account-script=/usr/sbin/guest-account\n", "enabled"),
        ("[Seat:*]\nallow-guest\n", "unknown"),
        ("allow-guest=false\n", "unknown"),
    ],
)
def test_lightdm_file(machine: RecordedMachine, text: str, expected: str) -> None:
    assert state(machine.file(MAIN, text)) == expected


def test_without_the_script_no_guest_gets_in(bare: RecordedMachine) -> None:
    bare.process(pid=700, uid=0, comm="lightdm").file(MAIN, ALLOW + "autologin-guest=true\n")
    value = collect(bare.host())
    assert value["state"] == "disabled"
    assert (value["guest_account_script"], value["script_installed"]) == ("guest-account", False)


def test_guest_is_reported_with_the_evidence(machine: RecordedMachine) -> None:
    value = collect(machine.file(MAIN, ALLOW).host())
    assert value["display_manager"] == "lightdm"
    assert value["autologin"] is None
    assert value["found_by"] == "process 700"
    assert value["seats"] == {"seat0": {"allow-guest": {"value": "true", "source": MAIN}}}


# --- LightDM: the order of its files ----------------------------------------------------------

ORDER = (
    "/usr/share/lightdm/lightdm.conf.d/90-a.conf",
    "/usr/local/share/lightdm/lightdm.conf.d/10-a.conf",
    "/etc/xdg/lightdm/lightdm.conf.d/10-a.conf",
    "/etc/lightdm/lightdm.conf.d/10-a.conf",
    "/etc/lightdm/lightdm.conf.d/20-a.conf",
    MAIN,
)


@pytest.mark.parametrize("at", range(len(ORDER) - 1))
@pytest.mark.parametrize(("first", "then"), [(ALLOW, FORBID), (FORBID, ALLOW)])
def test_later_file_wins(machine: RecordedMachine, at: int, first: str, then: str) -> None:
    machine.file(ORDER[at], first).file(ORDER[at + 1], then)
    assert state(machine) == ("enabled" if then == ALLOW else "disabled")


def test_only_files_named_conf_count(machine: RecordedMachine) -> None:
    machine.file(f"{MAIN}.d/10-off.conf", FORBID).file(f"{MAIN}.d/20-on.conf.bak", ALLOW)
    assert state(machine) == "disabled"


def test_named_configuration_replaces_those_of_etc_lightdm(bare: RecordedMachine) -> None:
    bare.process(pid=7, uid=0, comm="lightdm", argv=["lightdm", "--config", "/srv/dm.conf"])
    bare.file("/usr/bin/guest-account", "", mode=0o755)
    bare.file(f"{MAIN}.d/1.conf", ALLOW).file(MAIN, ALLOW).file("/srv/dm.conf", FORBID)
    assert state(bare) == "disabled"


@pytest.mark.parametrize("path", [MAIN, f"{MAIN}.d", f"{MAIN}.d/10.conf"])
def test_what_can_not_be_read_is_unknown(machine: RecordedMachine, path: str) -> None:
    machine.file(f"{MAIN}.d/10.conf", FORBID).file(MAIN, "")
    assert state(machine.unreadable(path)) == "unknown"


SHOWN = """
   [Seat:*]
A  allow-guest=false
B  autologin-user=ada

   [LightDM]
B  greeter-user=lightdm

Sources:
A  /usr/share/lightdm/lightdm.conf.d/50-disable-guest.conf
B  /etc/lightdm/lightdm.conf
"""


def test_lightdm_itself_is_asked(machine: RecordedMachine) -> None:
    machine.command(["lightdm", "--show-config"], stderr=SHOWN)
    value = collect(machine.host())
    assert (value["state"], value["autologin"]) == ("disabled", "ada")
    assert value["seats"]["seat0"]["allow-guest"]["source"].endswith("50-disable-guest.conf")


def test_lightdm_that_shows_nothing_is_not_believed(machine: RecordedMachine) -> None:
    machine.command(["lightdm", "--show-config"], stderr="Unknown option --show-config\n")
    assert state(machine.file(MAIN, FORBID)) == "disabled"
    assert state(machine.file(MAIN, ALLOW)) == "enabled"


def test_lightdm_is_not_asked_about_files_that_we_may_not_read(machine: RecordedMachine) -> None:
    machine.command(["lightdm", "--show-config"], stderr=SHOWN)
    assert state(machine.file(MAIN, "").unreadable(MAIN)) == "unknown"


@pytest.mark.parametrize(
    ("listed", "expected"),
    [("seat0\n", "disabled"), ("seat0\nseat-kiosk\n", "enabled"), (None, "unknown")],
)
def test_each_seat_that_exists_counts(
    machine: RecordedMachine, listed: str | None, expected: str
) -> None:
    if listed is not None:
        machine.command(["loginctl", "list-seats", "--no-legend", "--no-pager"], listed)
    machine.file(MAIN, FORBID + "[Seat:seat-kiosk]\nallow-guest=true\n")
    assert state(machine) == expected


# --- which display manager --------------------------------------------------------------------


@pytest.mark.parametrize("service", ["gdm", "sddm", "greetd", "ly", "lxdm", "xdm"])
def test_leftover_of_lightdm_is_no_finding(bare: RecordedMachine, service: str) -> None:
    bare.link(LINK, f"/usr/lib/systemd/system/{service}.service").file(MAIN, ALLOW)
    bare.file("/usr/sbin/guest-account", "", mode=0o755)
    value = collect(bare.host())
    assert (value["state"], value["display_manager"]) == ("disabled", service)


@pytest.mark.parametrize(
    ("set_up", "expected"),
    [
        (lambda m: m.command(SYSTEMCTL, "gdm.service\n"), "gdm"),
        (lambda m: m.command(SYSTEMCTL, "Id=lightdm.service\n"), "lightdm"),
        (lambda m: m.link(LINK, "/lib/systemd/system/ly@.service"), "ly"),
        (lambda m: m.file("/etc/X11/default-display-manager", "/usr/sbin/gdm3\n"), "gdm"),
        (lambda m: m.file("/etc/X11/default-display-manager", "# none\n/usr/bin/sddm\n"), "sddm"),
        (lambda m: m.file("/etc/conf.d/xdm", 'DISPLAYMANAGER="lightdm"\n')
         .link("/etc/runlevels/default/xdm", "/etc/init.d/xdm"), "lightdm"),
        (lambda m: m.file("/etc/conf.d/xdm", 'DISPLAYMANAGER="lightdm"\n'), None),
        (lambda m: m.link("/var/service/slim", "/etc/sv/slim"), "slim"),
        (lambda m: m.process(pid=9, uid=0, exe="/usr/sbin/gdm3"), "gdm"),
        (lambda m: m.process(pid=9, uid=0, comm="sddm"), "sddm"),
        (lambda m: m.process(pid=9, uid=1000, comm="lightdm"), None),
        (lambda m: m, None),
    ],
)  # fmt: skip
def test_display_manager(bare: RecordedMachine, set_up: JSON, expected: str | None) -> None:
    host = set_up(bare).host()
    assert manager.find(host, host.processes()).name == expected


def test_unit_that_is_not_there_says_nothing(bare: RecordedMachine) -> None:
    bare.command(SYSTEMCTL, "display-manager.service\n")
    bare.file("/etc/X11/default-display-manager", "/usr/sbin/sddm\n")
    assert collect(bare.host())["display_manager"] == "sddm"


def test_running_one_decides_over_the_configured(bare: RecordedMachine) -> None:
    bare.link(LINK, "/lib/systemd/system/sddm.service").process(pid=5, uid=0, comm="gdm")
    assert collect(bare.host())["display_manager"] == "gdm"


def test_guest_that_comes_with_the_next_boot_is_a_doubt(bare: RecordedMachine) -> None:
    bare.link(LINK, "/lib/systemd/system/lightdm.service").process(pid=5, uid=0, comm="gdm")
    assert state(bare) == "disabled"
    assert state(bare.file("/usr/sbin/guest-account", "", mode=0o755)) == "unknown"


@pytest.mark.parametrize(("text", "expected"), [(FORBID, "disabled"), (ALLOW, "unknown")])
def test_configuration_alone_does_not_show_that_lightdm_is_used(
    bare: RecordedMachine, text: str, expected: str
) -> None:
    bare.file(MAIN, text).file("/usr/sbin/guest-account", "", mode=0o755)
    assert state(bare) == expected


def test_machine_without_a_display_manager_has_no_guests(bare: RecordedMachine) -> None:
    value = collect(bare.process(pid=1, uid=0, comm="init").host())
    assert (value["state"], value["display_manager"], value["autologin"]) == (
        "disabled",
        None,
        None,
    )


def test_recording_that_lacks_everything_tells_nothing(bare: RecordedMachine) -> None:
    value = collect(bare.host())
    assert (value["state"], value["display_manager"]) == ("unknown", None)
    assert "neither processes nor services" in value["reason"]


@pytest.mark.parametrize(
    "set_up",
    [
        lambda m: m.command(SYSTEMCTL, "display-manager.service\n"),
        lambda m: m.link("/etc/runlevels/default/sshd", "/etc/init.d/sshd"),
        lambda m: m.link("/var/service/sshd", "/etc/sv/sshd"),
    ],
)
def test_list_of_services_without_a_display_manager_is_enough(
    bare: RecordedMachine, set_up: JSON
) -> None:
    value = collect(set_up(bare).host())
    assert (value["state"], value["display_manager"]) == ("disabled", None)


@pytest.mark.parametrize(
    "how",
    [
        {"timed_out": True},
        {"returncode": 1, "stderr": "Failed to connect to bus: No such file or directory\n"},
        {"stdout": "\n"},
    ],
)
def test_systemd_that_does_not_answer_says_nothing(bare: RecordedMachine, how: JSON) -> None:
    assert state(bare.command(SYSTEMCTL, **how)) == "unknown"


def test_display_manager_that_starts_at_boot_and_does_not_run_is_no_way_in(
    bare: RecordedMachine,
) -> None:
    bare.process(pid=1, uid=0, comm="systemd").file(MAIN, ALLOW)
    assert state(bare.file("/usr/sbin/guest-account", "", mode=0o755)) == "disabled"


def test_login_screens_for_the_network_are_told_apart(machine: RecordedMachine) -> None:
    machine.file(MAIN, FORBID + "[XDMCPServer]\nenabled=true\n[VNCServer]\nenabled=True\n")
    value = collect(machine.host())
    assert (value["state"], value["remote_login"]) == ("disabled", ["xdmcp"])


def test_unknown_display_manager_is_unknown(bare: RecordedMachine) -> None:
    bare.link(LINK, "/lib/systemd/system/acme-dm.service")
    value = collect(bare.host())
    assert (value["state"], value["display_manager"]) == ("unknown", "acme-dm")


# --- autologin --------------------------------------------------------------------------------


def login_of(machine: RecordedMachine, service: str) -> str | None:
    machine.link(LINK, f"/usr/lib/systemd/system/{service}.service")
    value = collect(machine.host())
    assert value["state"] == "disabled"
    return value["autologin"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "path", ["/etc/gdm3/custom.conf", "/etc/gdm3/daemon.conf", "/etc/gdm/custom.conf"]
)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[daemon]\nAutomaticLoginEnable=True\nAutomaticLogin=ada\n", "ada"),
        ("[daemon]\nAutomaticLoginEnable=1\nAutomaticLogin=ada\n", "ada"),
        ("[daemon]\nAutomaticLoginEnable=false\nAutomaticLogin=ada\n", None),
        ("[daemon]\nAutomaticLogin=ada\n", None),
        ("[daemon]\nTimedLoginEnable=true\nTimedLogin=bob\nTimedLoginDelay=9\n", "bob"),
        ("[daemon]\nAutomaticLoginEnable=true\n[xdmcp]\n[daemon]\nAutomaticLogin=ada\n", "ada"),
        ("# [daemon]\n", None),
    ],
)
def test_gdm(bare: RecordedMachine, path: str, text: str, expected: str | None) -> None:
    assert login_of(bare.file(path, text), "gdm") == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/etc/sddm.conf": "[Autologin]\nUser=ada\nSession=plasma\n"}, "ada"),
        ({"/etc/sddm.conf": "[Autologin]\nUser=\n"}, None),
        ({"/etc/sddm.conf": "[Users]\nUser=ada\n"}, None),
        ({"/usr/lib/sddm/sddm.conf.d/a.conf": "[Autologin]\nUser=ada\n"}, "ada"),
        ({"/usr/lib/sddm/sddm.conf.d/a.conf": "[Autologin]\nUser=ada\n",
          "/etc/sddm.conf.d/a.conf": "[Autologin]\nUser=\n"}, None),
        ({"/etc/sddm.conf.d/a.conf": "[Autologin]\nUser=ada\n",
          "/etc/sddm.conf": "[Autologin]\nUser=bob\n"}, "bob"),
    ],
)  # fmt: skip
def test_sddm(bare: RecordedMachine, files: dict[str, str], expected: str | None) -> None:
    for path, text in files.items():
        bare.file(path, text)
    assert login_of(bare, "sddm") == expected


GREETER = '[default_session]\ncommand = "tuigreet"\nuser = "greeter"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GREETER, None),
        (GREETER + '[initial_session]\ncommand = "sway"\nuser = "ada"\n', "ada"),
        ("[initial_session] # home\nuser='ada'\n" + GREETER, "ada"),
        ('initial_session = { command = "sway", user = "ada" }\n' + GREETER, "ada"),
        ('initial_session.user = "ada"\n' + GREETER, "ada"),
        (GREETER + '# [initial_session]\n# user = "ada"\n', None),
        (GREETER + '[initial_session]\n# user = "ada"\n', None),
        # No login screen at all: the desktop of somebody.
        ('[default_session]\ncommand = "sway"\nuser = "ada"\n', "ada"),
        ('[default_session]\ncommand = "agreety --cmd sway"\nuser = "ada"\n', None),
        ('[default_session]\ncommand = "labwc -s nwg-hello"\nuser = "_greetd"\n', None),
        ('[default_session]\nuser = "ada"\n', None),
    ],
)
def test_greetd(bare: RecordedMachine, text: str, expected: str | None) -> None:
    assert login_of(bare.file("/etc/greetd/config.toml", text), "greetd") == expected


def test_greetd_reads_the_file_that_its_unit_names(bare: RecordedMachine) -> None:
    unit = "[Service]\nExecStart=/usr/bin/greetd --config /etc/greetd/acme.toml\n"
    bare.file("/usr/lib/systemd/system/greetd.service", unit)
    bare.file("/etc/greetd/acme.toml", '[initial_session]\nuser = "ada"\n')
    assert login_of(bare, "greetd") == "ada"


def test_login_screen_of_cosmic_has_a_file_of_its_own(bare: RecordedMachine) -> None:
    text = GREETER + '[initial_session]\nuser = "ada"\n'
    bare.file("/etc/greetd/cosmic-greeter.toml", text)
    assert login_of(bare, "cosmic-greeter") == "ada"


@pytest.mark.parametrize(
    ("service", "path", "text"),
    [
        ("lxdm", "/etc/lxdm/lxdm.conf", "[base]\n# autologin=x\nautologin=ada\n"),
        ("ly", "/etc/ly/config.ini", "auto_login_user = ada\n"),
        ("slim", "/etc/slim.conf", "default_user ada\nauto_login yes\n"),
        ("plasmalogin", "/etc/plasmalogin.conf", "[Autologin]\nUser=ada\n"),
    ],
)
def test_small_display_managers(bare: RecordedMachine, service: str, path: str, text: str) -> None:
    bare.file(path, text)
    assert login_of(bare, service) == "ada"


@pytest.mark.parametrize(
    ("service", "path", "text"),
    [
        ("lxdm", "/etc/lxdm/lxdm.conf", "[base]\n# autologin=ada\n"),
        ("ly", "/etc/ly/config.ini", "auto_login_user = null\n"),
        ("slim", "/etc/slim.conf", "default_user ada\nauto_login no\n"),
    ],
)
def test_small_display_managers_without_autologin(
    bare: RecordedMachine, service: str, path: str, text: str
) -> None:
    bare.file(path, text)
    assert login_of(bare, service) is None


def test_autologin_that_can_not_be_read_is_said(bare: RecordedMachine) -> None:
    bare.link(LINK, "/lib/systemd/system/gdm.service").file("/etc/gdm/custom.conf", "")
    value = collect(bare.unreadable("/etc/gdm/custom.conf").host())
    assert (value["state"], value["autologin"]) == ("disabled", None)
    assert "/etc/gdm/custom.conf" in value["autologin_reason"]


# --- xguest -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("enforcing", "rules", "accounts", "expected"),
    [
        (
            "1",
            "# rules\nxguest:exclusive\n",
            "xguest:x:1001:1001::/home/xguest:/bin/sh\n",
            "enabled",
        ),
        ("0", "xguest:exclusive\n", "xguest:x:1001:1001::/home/xguest:/bin/sh\n", "disabled"),
        ("1", "#xguest:exclusive\n", "xguest:x:1001:1001::/home/xguest:/bin/sh\n", "disabled"),
        ("1", "xguest:exclusive\n", "root:x:0:0::/root:/bin/sh\n", "disabled"),
    ],
)
def test_xguest_gets_in_without_a_password_while_selinux_enforces(
    bare: RecordedMachine, enforcing: str, rules: str, accounts: str, expected: str
) -> None:
    bare.process(pid=5, uid=0, comm="gdm").file("/sys/fs/selinux/enforce", enforcing)
    bare.file("/etc/security/sepermit.conf", rules).file("/etc/passwd", accounts)
    assert state(bare) == expected


# --- parsers ----------------------------------------------------------------------------------


@given(st.text(max_size=200))
def test_any_text_is_a_shown_configuration_or_none(text: str) -> None:
    config = lightdm.parse_shown(text)
    if config is not None:
        lightdm.judge_seat(config, "seat0", script_installed=True)


@given(st.text(alphabet="[]initial_session=user{}.\"'# \n", max_size=80))
def test_any_text_is_a_greetd_configuration(text: str) -> None:
    found = autologin.toml_string(text, "initial_session", "user")
    assert found is None or "\n" not in found


@given(st.text(max_size=100))
def test_any_text_is_a_unit_or_none(text: str) -> None:
    assert manager.unit_name(text) != "display-manager"
    autologin.loose_groups(text)
