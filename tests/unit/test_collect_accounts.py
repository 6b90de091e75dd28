"""The collector of accounts: passwords, shells, sudo and doas, and what is not known of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON
from qlmdm_core.host.recording import RecordingHost
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import accounts
from qlmdm_plugins_builtin.collectors.accounts import rights, sudoers, users

HASH = "$y$j9T$abcdefgh$0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
ada:x:1000:1000:Ada:/home/ada:/bin/bash
bob:x:1001:1001::/home/bob:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
SHADOW = f"""\
root:!:20000:0:99999:7:::
daemon:*:20000:0:99999:7:::
ada:{HASH}:20000:0:99999:7:::
bob:{HASH}:20000:0:99999:7:::
nobody:*:20000:0:99999:7:::
"""
GROUP = "root:x:0:\nsudo:x:27:ada\nada:x:1000:\nbob:x:1001:\n"
SUDOERS = """\
# This file MUST be edited with the 'visudo' command as root.
Defaults\tenv_reset
root\tALL=(ALL:ALL) ALL
%sudo\tALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
"""


def machine(
    path: Path,
    *,
    passwd: str = PASSWD,
    shadow: str | None = SHADOW,
    sudo: str | None = SUDOERS,
    root: bool = True,
) -> RecordedMachine:
    built = RecordedMachine(path, root=root).file("/etc/passwd", passwd).file("/etc/group", GROUP)
    built.file("/etc/login.defs", "# useradd\nUID_MIN\t\t 1000\n").file("/etc/hostname", "box\n")
    for program in ("bin/bash", "bin/sh", "usr/sbin/nologin"):
        built.file(f"/{program}", "")
    if shadow is not None:
        built.file("/etc/shadow", shadow)
    if sudo is not None:
        built.file("/usr/bin/sudo", "").file("/etc/sudoers", sudo)
    return built


def collect(built: RecordedMachine) -> JSON:
    value = accounts.collect(built.host())
    text = json.dumps(value)
    assert json.loads(text) == value
    assert "$y$" not in text
    return value


def user(value: JSON, name: str) -> JSON:
    (found,) = [entry for entry in value["users"] if entry["name"] == name]
    return found


# --- who is listed ----------------------------------------------------------------------------


def test_people_and_root_are_listed_with_all_that_is_known(tmp_path: Path) -> None:
    value = collect(machine(tmp_path))
    assert (value["state"], value["notes"]) == ("available", [])
    assert [entry["name"] for entry in value["users"]] == ["root", "ada", "bob"]
    assert user(value, "ada") == {
        "name": "ada",
        "uid": 1000,
        "shell": "/bin/bash",
        "can_log_in": True,
        "expired": False,
        "password": "set",
        "sudo": True,
        "sudo_from": "/etc/sudoers: all commands, by the group sudo",
        "doas": False,
        "groups": ["sudo"],
    }
    assert (user(value, "root")["password"], user(value, "root")["sudo"]) == ("locked", True)
    assert user(value, "bob")["sudo"] is False


def test_a_second_account_with_uid_0_is_listed(tmp_path: Path) -> None:
    value = collect(machine(tmp_path, passwd=PASSWD + "toor:x:0:0::/root:/bin/sh\n"))
    assert [entry["uid"] for entry in value["users"]] == [0, 0, 1000, 1001]


@pytest.mark.parametrize("odd", ["\f", "\x85", "\u2028"])
def test_no_comment_hides_an_account(tmp_path: Path, odd: str) -> None:
    value = collect(machine(tmp_path, passwd=PASSWD + f"toor:x:0:0:{odd}:/root:/bin/sh\n"))
    assert user(value, "toor")["uid"] == 0


def test_an_account_of_the_system_is_listed_if_it_needs_no_password(tmp_path: Path) -> None:
    value = collect(machine(tmp_path, shadow=SHADOW.replace("daemon:*", "daemon:")))
    assert user(value, "daemon")["password"] == "empty"


def test_where_people_begin_is_what_login_defs_says(tmp_path: Path) -> None:
    built = machine(tmp_path, passwd=PASSWD + "old:x:500:500::/home/old:/bin/bash\n")
    assert len(collect(built)["users"]) == 3
    built.file("/etc/login.defs", "UID_MIN 500\n")
    assert user(collect(built), "old")["password"] == "unknown"  # it has no line in shadow


def test_accounts_of_homed_are_listed(tmp_path: Path) -> None:
    record = {
        "userName": "eve",
        "shell": "/bin/bash",
        "privileged": {"hashedPassword": [HASH]},
        "memberOf": ["sudo", 7],
        "binding": {"0123": {"uid": 60123, "gid": 60123}},
    }
    built = machine(tmp_path).file("/var/lib/systemd/home/eve.identity", json.dumps(record))
    built.file("/var/lib/systemd/home/bad.identity", "{")
    value = collect(built)
    assert (user(value, "eve")["uid"], user(value, "eve")["password"]) == (60123, "set")
    assert (user(value, "eve")["sudo"], user(value, "eve")["groups"]) == (True, ["sudo"])
    assert value["notes"] == ["accounts of systemd-homed that are not understood: 1"]


def test_of_very_many_accounts_those_that_matter_are_listed(tmp_path: Path) -> None:
    passwd = PASSWD + "".join(f"u{n}:x:{n}:100::/:/bin/bash\n" for n in range(2000, 4000))
    passwd += "open::4001:100::/:/bin/bash\n"
    value = collect(machine(tmp_path, passwd=passwd))
    assert len(value["users"]) == accounts.MOST_ACCOUNTS
    assert user(value, "open")["password"] == "empty"
    assert "accounts are not named here" in value["notes"][-1]


# --- passwords and shells ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("", "empty"),
        ("*", "locked"),
        ("!", "locked"),
        ("!!", "locked"),
        (f"!{HASH}", "locked"),
        ("*LK*", "locked"),
        ("x", "locked"),
        (HASH, "set"),
        ("$1$ab$0123456789012345678901", "set"),
        ("ab0123456789.", "set"),  # DES
        ("_J9..abcd0123456789.", "set"),  # BSDi
        ("$md5,rounds=904$ab$$0123456789012345678901", "set"),  # Sun
        ("ab0123456789.0123456789.", "set"),  # bigcrypt
        ("REDACTED", "set"),
    ],
)
def test_the_kinds_of_passwords(field: str, kind: str) -> None:
    assert users.judge_password(field) == kind


def test_a_password_in_passwd_itself_counts(tmp_path: Path) -> None:
    passwd = PASSWD.replace("ada:x", "ada:").replace("bob:x", "bob:ab0123456789.")
    value = collect(machine(tmp_path, passwd=passwd))
    assert (user(value, "ada")["password"], user(value, "bob")["password"]) == ("empty", "set")


def test_without_root_neither_passwords_nor_sudo_are_known(tmp_path: Path) -> None:
    built = machine(tmp_path, root=False).unreadable("/etc/shadow").unreadable("/etc/sudoers")
    value = collect(built)
    ada = user(value, "ada")
    assert (ada["password"], ada["expired"], ada["sudo"]) == ("unknown", None, None)
    assert value["notes"] == [
        "passwords: /etc/shadow: Permission denied",
        "sudo: /etc/sudoers: Permission denied",
    ]


def test_where_shadow_is_hidden_from_root_passwd_tells(tmp_path: Path) -> None:
    built = machine(tmp_path, shadow=None)
    built.command(["passwd", "-S", "-a"], "root L 2026-01-31 0 99999 7 -1\nada NP 2026-01-31\n")
    value = collect(built)
    assert (user(value, "ada")["password"], user(value, "ada")["expired"]) == ("empty", None)
    assert user(value, "bob")["password"] == "unknown"


@pytest.mark.parametrize(
    ("expires", "expired"), [("", False), ("20000", True), ("20758", True), ("20759", False)]
)
def test_an_account_that_has_ended_lets_nobody_in(
    tmp_path: Path, expires: str, expired: bool
) -> None:
    # 2026-11-01, when the recording was made, is day 20758.
    shadow = SHADOW.replace(f"ada:{HASH}:20000:0:99999:7:::", f"ada:{HASH}:1:0:9:7::{expires}:")
    ada = user(collect(machine(tmp_path, shadow=shadow)), "ada")
    assert (ada["expired"], ada["can_log_in"]) == (expired, not expired)


@pytest.mark.parametrize(
    ("shell", "lets_in"),
    [("/bin/bash", True), ("", True), ("/usr/sbin/nologin", False), ("/bin/gone", False)],
)
def test_a_shell_that_lets_nobody_in(tmp_path: Path, shell: str, lets_in: bool) -> None:
    passwd = PASSWD.replace("/home/ada:/bin/bash", f"/home/ada:{shell}")
    assert user(collect(machine(tmp_path, passwd=passwd)), "ada")["can_log_in"] is lets_in


# --- sudo -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "ada", "source"),
    [
        ("ada ALL=(ALL) ALL", True, "all commands, by name"),
        ("ada ALL = NOPASSWD: /usr/bin/apt update, /usr/bin/apt upgrade", True, "some commands"),
        ("ada ALL=(postgres) ALL", True, "some commands"),
        ("#1000 ALL=ALL", True, "by uid"),
        ("%ada ALL=ALL", True, "the group ada"),
        ("%#1000 ALL=ALL", True, "a group's number"),
        ('"ada" ALL=ALL', True, "by name"),
        ("ALL ALL=(ALL) ALL", True, "everybody"),
        ("bob, ada  ALL = ALL", True, "by name"),
        ("User_Alias OPS = bob, ada\nOPS ALL=ALL", True, "by name"),
        ("User_Alias A = bob : OPS = A, ada\nOPS ALL=ALL", True, "by name"),
        ("ada box=ALL", True, "by name"),
        ("Host_Alias HERE = box, web\nada HERE=ALL", True, "by name"),
        ("ada \\\n ALL=ALL", True, "by name"),
        ("# a comment \\\nada ALL=ALL", True, "by name"),
        ("ada ALL=ALL # why not", True, "all commands"),
        ("ada web=ALL", False, ""),
        ("ada web1=ALL", False, ""),
        ("ada box.example.com=ALL", None, "can't be told"),
        ("ada ALL=ALL\nada ALL=!ALL", False, ""),
        ("ada ALL=ALL\nada ALL=!/usr/bin/su", True, "all commands"),
        ("ada ALL=!/usr/bin/su", False, ""),
        ("ada ALL=!ALL, /usr/bin/id", True, "some commands"),
        ("ada web=/usr/bin/id : ALL=ALL", None, "line 1 is not understood"),
        ("ALL, !ada ALL=ALL", False, ""),
        ("OPS ALL=ALL", False, ""),
        ("# ada ALL=ALL", False, ""),
        ("Defaults targetpw\nALL ALL=(ALL) ALL", False, ""),
        ("Defaults targetpw\nada ALL=(ALL) NOPASSWD: ALL", True, "by name"),
        ("Defaults:bob targetpw\nada ALL=(ALL) ALL", True, "by name"),
        ("Defaults:bob, ada targetpw\nada ALL=(ALL) ALL", False, ""),
        ("Defaults:%ada !targetpw\nDefaults targetpw\nALL ALL=(ALL) ALL", True, "everybody"),
        ("Defaults:+admins targetpw\nada ALL=(ALL) ALL", None, "whose password"),
        ("Defaults:+admins targetpw\nada ALL=(ALL) NOPASSWD: ALL", True, "by name"),
        ("ada 192.0.2.0/24=ALL", None, "can't be told"),
        ("+admins ALL=ALL", None, "can't be told"),
        ("User_Alias A = A\nA ALL=ALL", None, "can't be told"),
        ("this is nothing", None, "line 1 is not understood"),
        ("@include /etc/gone", None, "/etc/gone: No such file"),
        ("@includedir /etc/%h.d", None, "by the host's name"),
        ("@include /etc/sudoers", None, "too many files"),
    ],
)
def test_who_may_use_sudo(tmp_path: Path, rules: str, ada: bool | None, source: str) -> None:
    found = user(collect(machine(tmp_path, sudo=rules + "\n")), "ada")
    assert found["sudo"] is ada
    assert source in (found["sudo_from"] or "")


def test_a_line_that_is_not_understood_takes_no_right_away(tmp_path: Path) -> None:
    value = collect(machine(tmp_path, sudo=SUDOERS + "this is nothing\n"))
    assert (user(value, "ada")["sudo"], user(value, "bob")["sudo"]) == (True, None)


def test_notes_name_no_file_that_is_named_after_somebody(tmp_path: Path) -> None:
    built = machine(tmp_path).file("/etc/sudoers.d/bob", "nonsense\n")
    value = collect(built)
    assert value["notes"] == ["sudo: not all of its rules could be read"]
    assert user(value, "bob")["sudo_from"] == "/etc/sudoers.d/bob: line 1 is not understood"


def test_files_are_included_as_sudo_does_it(tmp_path: Path) -> None:
    built = machine(tmp_path)
    built.file("/etc/sudoers.d/90-bob", "bob ALL=ALL\n")
    built.file("/etc/sudoers.d/90-bob.dpkg-old", "nonsense\n").file("/etc/sudoers.d/x~", "nonsense")
    built.file("/etc/sudoers.d/91-take", "%sudo ALL=!ALL\n")
    value = collect(built)
    assert user(value, "bob")["sudo_from"] == "/etc/sudoers.d/90-bob: all commands, by name"
    assert user(value, "ada")["sudo"] is False


def test_without_sudo_its_rules_do_not_count(tmp_path: Path) -> None:
    value = collect(machine(tmp_path, sudo=None).file("/etc/sudoers", "ada ALL=ALL\n"))
    assert user(value, "ada")["sudo"] is False


@pytest.mark.parametrize(
    ("nsswitch", "sssd", "bob"),
    [
        ("sudoers: files sss\n", True, None),
        ("sudoers: files sss\n", False, False),
        ("sudoers: files ldap\n", False, None),
        ("passwd: files sss\n", True, False),
    ],
)
def test_rules_from_the_network_are_not_known(
    tmp_path: Path, nsswitch: str, sssd: bool, bob: bool | None
) -> None:
    built = machine(tmp_path).file("/etc/nsswitch.conf", nsswitch)
    if sssd:
        built.file("/etc/sssd/sssd.conf", "")
    value = collect(built)
    assert (user(value, "ada")["sudo"], user(value, "bob")["sudo"]) == (True, bob)


def test_without_the_groups_nobody_is_said_to_have_no_rights(tmp_path: Path) -> None:
    built = machine(tmp_path).unreadable("/etc/group")
    built.file("/usr/bin/doas", "").file("/etc/doas.conf", "permit :wheel\npermit ada\n")
    value = collect(built)
    bob, ada = user(value, "bob"), user(value, "ada")
    assert (bob["sudo"], bob["doas"], bob["groups"]) == (None, None, None)
    assert (ada["sudo"], ada["doas"]) == (None, True)


def test_rules_that_are_not_read_to_their_end_take_no_right_away(tmp_path: Path) -> None:
    value = collect(machine(tmp_path, sudo=SUDOERS + "#" * (1 << 20)))
    assert (user(value, "ada")["sudo"], user(value, "bob")["sudo"]) == (None, None)


# --- doas -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "ada"),
    [
        ("permit persist :sudo", True),
        ("permit nopass keepenv setenv { A=b -C } ada as root cmd reboot", True),
        ("permit :sudo\ndeny ada", False),
        ("deny ada\npermit :sudo", True),
        ("permit :sudo\ndeny ada cmd reboot", True),
        ("# permit ada", False),
        ("permit bob", False),
        ("", False),
    ],
)
def test_who_may_use_doas(tmp_path: Path, rules: str, ada: bool) -> None:
    built = machine(tmp_path).file("/usr/bin/doas", "").file("/etc/doas.conf", rules + "\n")
    assert user(collect(built), "ada")["doas"] is ada


def test_the_folder_of_rules_of_alpine_linux_is_read_last(tmp_path: Path) -> None:
    built = machine(tmp_path).file("/usr/bin/doas", "").file("/etc/doas.conf", "deny ada\n")
    built.file("/etc/doas.d/wheel.conf", "permit persist :sudo\n")
    assert user(collect(built), "ada")["doas"] is True
    built.unreadable("/etc/doas.d/wheel.conf")
    assert user(collect(built), "ada")["doas"] is None


def test_rules_of_doas_that_are_refused_are_not_known(tmp_path: Path) -> None:
    built = machine(tmp_path).file("/usr/bin/doas", "").file("/etc/doas.conf", "permit ada\n")
    assert user(collect(built.unreadable("/etc/doas.conf")), "ada")["doas"] is None


# --- what can't be read, and what must not be kept --------------------------------------------


def test_a_folder_in_the_place_of_each_file_breaks_nothing(tmp_path: Path) -> None:
    files = ("shadow", "group", "sudoers", "login.defs", "hostname", "nsswitch.conf", "doas.conf")
    built = RecordedMachine(tmp_path).file("/etc/passwd", PASSWD)
    built.file("/usr/bin/sudo", "").file("/usr/bin/doas", "")
    for name in files:
        built.directory(f"/etc/{name}")
    ada = user(collect(built), "ada")
    assert (ada["password"], ada["sudo"], ada["doas"]) == ("unknown", None, None)


@pytest.mark.parametrize("passwd", ["", "nonsense\n", "+::::::\n"])
def test_a_machine_without_accounts_is_unknown(tmp_path: Path, passwd: str) -> None:
    value = collect(machine(tmp_path, passwd=passwd))
    assert (value["state"], value["users"]) == ("unknown", [])


def test_accounts_from_nis_are_noted(tmp_path: Path) -> None:
    assert collect(machine(tmp_path, passwd=PASSWD + "+::::::\n"))["notes"]


def test_no_hash_is_ever_recorded(tmp_path: Path) -> None:
    """And the recording gives the same value."""
    record = {"userName": "eve", "privileged": {"hashedPassword": [HASH]}, "uid": 60001}
    shadow = SHADOW.replace(f"bob:{HASH}", "bob:!ab0123456789.").replace(
        "root:!:", "root:_J9..abcd0123456789.:"
    )
    built = machine(tmp_path / "made", shadow=shadow)
    built.file("/var/lib/systemd/home/eve.identity", json.dumps(record))
    expected = collect(built)
    host = RecordingHost(built.host(), tmp_path / "recorded")
    assert accounts.collect(host) == expected
    for path in (tmp_path / "recorded").rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert "$y$" not in text, path
            assert "0123456789" not in text, path
    assert accounts.collect(ReplayHost(tmp_path / "recorded")) == expected


# --- any text gives a value -------------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            [
                "ada:x:1000:1000::/:/bin/sh",
                "ada::1::::::",
                "sudo:x:27:ada,,",
                "UID_MIN x",
                "UID_MIN 99999999999999999999",
                "ada NP 2026",
                "Defaults targetpw",
                "User_Alias A = A : B = ada",
                "A, !B ALL=(ALL:ALL) NOPASSWD: ALL, !/bin/sh",
                "ada ALL=(a,b : c",
                'a "b',
                "@include x",
                "#includedir /etc/sudoers.d",
                "permit as",
                "deny setenv { :x",
                "\\",
            ]
        ),
    ),
    max_size=10,
).map("\n".join)


@given(LINES)
def test_no_text_breaks_a_parser(text: str) -> None:
    assert all(account.name for account in users.parse_passwd(text))
    assert all(secret.password for secret in users.parse_shadow(text).values())
    assert all(secret.password for secret in users.parse_passwd_status(text).values())
    assert all(users.parse_groups(text))
    assert users.parse_first_uid(text) > 0
    assert all(identity for _, identity, _ in rights.parse_doas(text))
    found = sudoers.read("/etc/sudoers", lambda _: text, lambda _: ["a", "b.c"])
    assert all(rule.users and rule.hosts for rule in found.rules)


@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    ["userName", "uid", "shell", "binding", "privileged", "hashedPassword"]
                ),
                inner,
                max_size=5,
            ),
        ),
    )
)
def test_no_record_breaks_the_reader_of_homed(record: JSON) -> None:
    found = users.parse_homed(json.dumps(record))
    assert found is None or found.password in ("set", "empty", "locked", "unknown")


@pytest.mark.parametrize(
    "text", [",", "(", '"', "! ", " ", "#", "a=", "NOEXEC:", "User_Alias A=b:", "{", "a:"]
)
def test_a_long_line_costs_no_more_than_its_length(text: str) -> None:
    """Each of these would take minutes if its time grew with the square of its length."""
    line = text * (400_000 // len(text))
    for whole in (line, f"ada ALL={line}", f"ada {line}=ALL"):
        found = sudoers.read("/etc/sudoers", {"/etc/sudoers": whole}.__getitem__, lambda _: [])
        assert len(found.rules) + len(found.problems) <= 2
        list(rights.parse_doas(whole))
        users.parse_passwd(whole)
