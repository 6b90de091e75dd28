"""The sshd collector: whether sshd can be reached, and whether a password is enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.api import JSON, Process
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.sshd import accounts, collect, config, logins
from qlmdm_plugins_builtin.collectors.sshd import processes as sshd_processes
from qlmdm_plugins_builtin.collectors.sshd import sockets as sshd_sockets
from qlmdm_plugins_builtin.collectors.sshd import units as sshd_units

NAMES = ["sshd.service", "ssh.service", "sshd.socket", "ssh.socket"]
SHOW = ["systemctl", "show", "-p", "Id,LoadState,UnitFileState,ActiveState,SubState", *NAMES]
SS = ["ss", "-Hltnp"]
MAIN = "/etc/ssh/sshd_config"


def shown(**active: str) -> str:
    """What systemctl shows; the units that are not named do not exist."""
    blocks = []
    for name in NAMES:
        state = active.get(name.replace(".", "_"))
        load = "not-found" if state is None else "loaded"
        blocks.append(
            f"Id={name}\nLoadState={load}\nUnitFileState=disabled\n"
            f"ActiveState={state or 'inactive'}\nSubState=x\n"
        )
    return "\n".join(blocks)


def dump(**changes: str) -> str:
    """What `sshd -T` prints, with these settings."""
    known = {
        "port": "22",
        "usepam": "yes",
        "permitrootlogin": "no",
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitemptypasswords": "no",
        "authenticationmethods": "any",
        "subsystem": "sftp /usr/lib/sftp-server",
        **changes,
    }
    return "".join(f"{name} {value}\n" for name, value in known.items() if value)


def running(tmp_path: Path, *, root: bool = True) -> RecordedMachine:
    """A machine whose sshd runs."""
    machine = RecordedMachine(tmp_path, root=root).command(SHOW, shown(sshd_service="active"))
    return machine.command(SS, 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=811,fd=3))\n')


def logins_of(machine: RecordedMachine) -> tuple[bool | None, bool | None]:
    value = collect(machine.host())
    return value["password_login"], value["root_password_login"]


# --- is it reachable? ---------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["sshd_service", "ssh_service", "ssh_socket", "sshd_socket"])
def test_an_active_unit_is_enough(tmp_path: Path, unit: str) -> None:
    machine = RecordedMachine(tmp_path).command(SHOW, shown(**{unit: "active"}))
    assert collect(machine.host())["state"] == "running"


def test_a_socket_that_waits_for_a_disabled_service_is_reachable(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(SHOW, shown(ssh_service="inactive", ssh_socket="active"))
    machine.command(
        ["systemctl", "show", "-p", "Listen", "ssh.socket"],
        "Listen=0.0.0.0:2022 (Stream)\nListen=[::]:2022 (Stream)\n",
    )
    machine.command(
        SS,
        'LISTEN 0 4096 *:2022 *:* users:(("systemd",pid=1,fd=41))\n'
        'LISTEN 0 4096 127.0.0.1:631 0.0.0.0:* users:(("cupsd",pid=70,fd=7))\n',
    )
    machine.command(["/usr/sbin/sshd", "-T"], dump())
    value = collect(machine.host())
    assert (value["state"], value["ports"], value["listen"]) == ("running", [2022], ["*:2022"])


def test_a_socket_unit_that_listens_elsewhere_is_no_way_in(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(SHOW, shown(sshd_socket="active"))
    machine.command(
        ["systemctl", "show", "-p", "Listen", "sshd.socket"],
        "Listen=/run/ssh-unix-local/socket (Stream)\nListen=vsock::22 (Stream)\n",
    )
    machine.command(SS, "").process(pid=1, comm="systemd", exe="/usr/lib/systemd/systemd")
    assert collect(machine.host())["state"] == "not_running"


@pytest.mark.parametrize(
    "process",
    [
        {"exe": "/usr/sbin/sshd", "comm": "sshd", "argv": ["/usr/sbin/sshd", "-D"]},
        {"exe": "/usr/sbin/sshd (deleted)", "comm": "sshd", "argv": ["/usr/sbin/sshd", "-D"]},
        {"comm": "sshd", "argv": ["sshd: /usr/bin/sshd -D [listener] 0 of 10-100 startups"]},
        {"exe": "/opt/own/sbin/sshd", "comm": "sshd"},
    ],
)
def test_a_process_is_enough(tmp_path: Path, process: dict[str, JSON]) -> None:
    machine = RecordedMachine(tmp_path).command(SHOW, shown(sshd_service="inactive"))
    machine.process(pid=1, comm="init").process(pid=900, **process)
    assert collect(machine.host())["state"] == "running"


@pytest.mark.parametrize(
    "process",
    [
        {"comm": "sshd", "argv": ["sshd: ada@pts/0"]},
        {"exe": "/usr/sbin/sshd", "comm": "sshd", "argv": ["sshd: ada [priv]"]},
        {"exe": "/usr/lib/openssh/sshd-session", "comm": "sshd-session"},
        {"exe": "/usr/bin/vim", "comm": "vim", "argv": ["vim", "/etc/ssh/sshd_config"]},
        {"exe": "/usr/bin/ssh", "comm": "ssh"},
        {"exe": "/usr/bin/python3.12", "comm": "sshd", "argv": ["sshd"]},
    ],
)
def test_what_only_looks_like_it_is_not_enough(tmp_path: Path, process: dict[str, JSON]) -> None:
    machine = RecordedMachine(tmp_path).command(SHOW, shown(sshd_service="inactive"))
    machine.command(SS, "").process(pid=1, comm="init").process(pid=900, **process)
    value = collect(machine.host())
    assert value["state"] == "not_running"
    assert (value["password_login"], value["root_password_login"]) == (None, None)


def test_an_sshd_in_a_container_is_not_this_machines(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).command(SHOW, shown()).command(SS, "")
    machine.process(pid=1, comm="systemd")
    for pid, namespace in ((1, "net:[4026531840]"), (700, "net:[4026532777]")):
        machine.link(f"/proc/{pid}/ns/net", namespace)
    machine.process(pid=700, comm="sshd", exe="/usr/sbin/sshd", argv=["/usr/sbin/sshd", "-D"])
    machine.file("/proc/701/cgroup", "0::/system.slice/docker-0a1b.scope\n")
    machine.process(pid=701, comm="sshd", argv=["/usr/sbin/sshd", "-D"])
    assert collect(machine.host())["state"] == "not_running"


def test_a_listener_is_enough_without_systemd(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(SHOW, stderr="System has not been booted with systemd", returncode=1)
    machine.command(
        ["netstat", "-tlnp"],
        "Proto Recv-Q Send-Q Local Address  Foreign Address  State   PID/Program name\n"
        "tcp6       0      0 :::2200        :::*             LISTEN  612/sshd\n",
    )
    value = collect(machine.host())
    assert (value["state"], value["ports"]) == ("running", [2200])


def test_two_witnesses_are_needed_for_an_absence(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "a").file("/usr/sbin/sshd", "", mode=0o755)
    machine.command(SHOW, shown(sshd_service="inactive"))
    assert collect(machine.host())["state"] == "unknown"
    machine = RecordedMachine(tmp_path / "b").command(SHOW, shown())
    value = collect(machine.host())
    assert value["state"] == "not_running"
    assert "not installed" in value["evidence"]["running"]


def test_a_machine_that_shows_nothing_is_unknown(tmp_path: Path) -> None:
    value = collect(RecordedMachine(tmp_path).host())
    assert value["state"] == "unknown"
    assert value["reason"]


@pytest.mark.parametrize(
    ("port", "set_up", "state"),
    [
        (22, lambda m: m.file(MAIN, ""), "running"),
        (22, lambda m: m.file("/usr/sbin/sshd", "", mode=0o755), "running"),
        (22, lambda m: m.process(pid=7, comm="bash"), "unknown"),
        (2222, lambda m: m.file(MAIN, ""), "unknown"),
        # Who sees all processes, or asks systemd, would see sshd.
        (22, lambda m: m.file(MAIN, "").process(pid=1, comm="init"), "unknown"),
        (22, lambda m: m.file(MAIN, "").command(SHOW, shown(ssh_service="inactive")), "unknown"),
    ],
)
def test_sshs_port_without_a_name_is_sshds_where_it_is_set_up(
    tmp_path: Path, port: int, set_up: JSON, state: str
) -> None:
    machine = RecordedMachine(tmp_path, root=False)
    machine.command(["ss", "-Hltn"], f"LISTEN 0 128 0.0.0.0:{port} 0.0.0.0:*\n")
    value = collect(set_up(machine).host())
    assert value["state"] == state
    assert value["ports"] == ([22] if state == "running" else [])


TCP = "  sl  local_address rem_address   st tx_queue rx_queue\n"


@pytest.mark.parametrize(
    ("tcp6", "state"),
    [
        ("   0: 00000000000000000000000000000000:0016 0:0 0A 0\n", "unknown"),
        ("   0: 0000000000000000FFFF00000100007F:0016 0:0 01 0\n", "not_running"),
        ("   0: 00000000000000000000000001000000:0277 0:0 0A 0\n", "not_running"),
    ],
)
def test_sockets_in_proc_do_not_say_whose_they_are(tmp_path: Path, tcp6: str, state: str) -> None:
    machine = RecordedMachine(tmp_path, root=False).command(SHOW, shown(ssh_service="inactive"))
    machine.file("/proc/net/tcp", TCP + "   0: 0100007F:0277 00000000:0000 0A 0\n")
    machine.file("/proc/net/tcp6", TCP + tcp6).process(pid=1, comm="systemd")
    assert collect(machine.host())["state"] == state


def test_where_processes_are_hidden_no_socket_may_stay_unexplained(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False).command(SHOW, shown(sshd_service="inactive"))
    machine.command(SS, "LISTEN 0 128 0.0.0.0:2222 0.0.0.0:*\n").process(pid=4000, comm="bash")
    value = collect(machine.host())
    assert value["state"] == "unknown"
    assert "2222" in value["reason"]


@pytest.mark.parametrize("name", ["dropbear", "tinysshd"])
def test_another_server_of_the_protocol_makes_it_unknown(tmp_path: Path, name: str) -> None:
    machine = RecordedMachine(tmp_path).command(SHOW, shown())
    machine.command(SS, f'LISTEN 0 20 0.0.0.0:22 0.0.0.0:* users:(("{name}",pid=5,fd=3))\n')
    machine.process(pid=1, comm="init").process(pid=5, comm=name, exe=f"/usr/sbin/{name}")
    value = collect(machine.host())
    assert (value["state"], value["other_servers"]) == ("unknown", [name])
    assert name in value["reason"]


def test_units_that_are_asked_one_by_one(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(["systemctl", "is-active", "ssh"], "active\n")
    machine.command(["systemctl", "is-active", "sshd.service"], "inactive\n", returncode=3)
    assert collect(machine.host())["state"] == "running"


# --- is a password enough? ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "password", "root"),
    [
        ({}, False, False),
        ({"passwordauthentication": "yes"}, True, False),
        ({"passwordauthentication": "yes", "permitrootlogin": "yes"}, True, True),
        ({"passwordauthentication": "yes", "permitrootlogin": "without-password"}, True, False),
        ({"passwordauthentication": "yes", "permitrootlogin": "prohibit-password"}, True, False),
        ({"passwordauthentication": "yes", "permitrootlogin": "forced-commands-only"}, True, False),
        ({"permitrootlogin": "yes"}, False, False),
        ({"kbdinteractiveauthentication": "yes", "permitrootlogin": "yes"}, True, True),
        ({"kbdinteractiveauthentication": "yes", "usepam": "no"}, False, False),
        (
            {"kbdinteractiveauthentication": "", "challengeresponseauthentication": "yes"},
            True,
            False,
        ),
        ({"passwordauthentication": "yes", "authenticationmethods": "publickey"}, False, False),
        (
            {"passwordauthentication": "yes", "authenticationmethods": "publickey,password"},
            False,
            False,
        ),
        (
            {"passwordauthentication": "yes", "authenticationmethods": "publickey password"},
            True,
            False,
        ),
        (
            {
                "kbdinteractiveauthentication": "yes",
                "authenticationmethods": "keyboard-interactive:pam",
            },
            True,
            False,
        ),
        ({"passwordauthentication": "yes", "authenticationmethods": ""}, True, False),
        (
            {"passwordauthentication": "yes", "permitrootlogin": "yes", "allowusers": "ada"},
            True,
            False,
        ),
        (
            {"passwordauthentication": "yes", "permitrootlogin": "yes", "denyusers": "r*"},
            True,
            False,
        ),
        (
            {"passwordauthentication": "yes", "permitrootlogin": "yes", "allowusers": "root"},
            True,
            True,
        ),
        ({"passwordauthentication": "yes", "allowusers": "root"}, False, False),
        # What a cut dump leaves out is not known.
        ({"passwordauthentication": "", "permitrootlogin": ""}, None, None),
        ({"permitrootlogin": "", "passwordauthentication": "yes"}, True, None),
        ({"kbdinteractiveauthentication": ""}, None, False),
    ],
)
def test_what_sshd_says_of_itself(
    tmp_path: Path, changes: dict[str, str], password: bool | None, root: bool | None
) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], dump(**changes))
    assert logins_of(machine) == (password, root)


def test_keywords_that_stand_more_than_once_are_all_kept() -> None:
    found = logins.parse_dump("port 22\nport 2222\nAllowUsers a\nallowusers b c\n\nbad-line\n")
    assert found["port"] == ["22", "2222"]
    assert found["allowusers"] == ["a", "b c"]


@pytest.mark.parametrize(
    ("returncode", "stderr"),
    [
        (255, "Missing privilege separation directory: /run/sshd\n"),
        (1, "sshd: no hostkeys available -- exiting.\n"),
    ],
)
def test_the_form_without_keys_is_asked_where_the_other_fails(
    tmp_path: Path, returncode: int, stderr: str
) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], stderr=stderr, returncode=returncode)
    machine.command(["sshd", "-G"], dump(passwordauthentication="yes"))
    value = collect(machine.host())
    assert value["password_login"] is True
    assert value["evidence"]["source"] == "sshd -G"


def test_a_failure_is_unknown_and_not_a_default(tmp_path: Path) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], stderr="no hostkeys", returncode=1)
    machine.command(["sshd", "-G"], stderr="unknown option -- G", returncode=1).unreadable(MAIN)
    value = collect(machine.host())
    assert (value["password_login"], value["root_password_login"]) == (None, None)
    assert "no hostkeys" in value["reason"]
    assert "Permission denied" in value["reason"]


# --- the files ----------------------------------------------------------------------------


def by_files(tmp_path: Path, **files: str) -> RecordedMachine:
    machine = running(tmp_path)
    for name, text in files.items():
        folder = "/etc/ssh/" if name == "sshd_config" else "/etc/ssh/sshd_config.d/"
        machine.file(
            folder + name.replace("_conf", ".conf") if name != "sshd_config" else MAIN, text
        )
    return machine


@pytest.mark.parametrize(
    ("files", "password", "root"),
    [
        ({"sshd_config": ""}, True, False),
        ({"sshd_config": "PasswordAuthentication no\n"}, None, False),
        ({"sshd_config": "PasswordAuthentication no\nUsePAM no\n"}, False, False),
        (
            {"sshd_config": 'passwordauthentication=NO\nChallengeResponseAuthentication = "no"\n'},
            False,
            False,
        ),
        ({"sshd_config": "PermitRootLogin yes # for now\n"}, True, True),
        ({"sshd_config": "# PermitRootLogin yes\n#PasswordAuthentication no\n"}, True, False),
        # The first value counts, so a drop-in that is included above wins, the lowest first.
        (
            {
                "sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\n",
                "20-site_conf": "PermitRootLogin no\nKbdInteractiveAuthentication no\n",
                "50-vendor_conf": "PermitRootLogin yes\nPasswordAuthentication no\n",
            },
            False,
            False,
        ),
        (
            {
                "sshd_config": "PermitRootLogin yes\nInclude sshd_config.d/*.conf nothing/*.conf\n",
                "20-site_conf": "PermitRootLogin no\n",
            },
            True,
            True,
        ),
        # A Match block ends with the file that it stands in.
        (
            {
                "sshd_config": "Include sshd_config.d/*.conf\nPermitRootLogin yes\n",
                "20-site_conf": "Match User root\n",
            },
            True,
            True,
        ),
        # A file that is included in a block counts for that block only.
        (
            {
                "sshd_config": "UsePAM no\nMatch User backup\nInclude sshd_config.d/*.conf\n",
                "20-site_conf": "PasswordAuthentication no\n",
            },
            True,
            False,
        ),
        ({"sshd_config": "UsePAM no\nMatch all\nPasswordAuthentication no\n"}, False, False),
    ],
)
def test_files_are_read_as_sshd_reads_them(
    tmp_path: Path, files: dict[str, str], password: bool | None, root: bool | None
) -> None:
    assert logins_of(by_files(tmp_path, **files)) == (password, root)


def test_the_vendors_file_counts_while_there_is_no_other(tmp_path: Path) -> None:
    machine = running(tmp_path).file("/usr/etc/ssh/sshd_config", "PermitRootLogin yes\n")
    assert logins_of(machine) == (True, True)


def test_a_folder_that_only_root_may_list_leaves_it_unknown(tmp_path: Path) -> None:
    machine = running(tmp_path, root=False).unreadable("/etc/ssh/sshd_config.d")
    machine.file(MAIN, "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication no\n")
    value = collect(machine.host())
    assert value["password_login"] is None
    assert "sshd_config.d" in value["reason"]


def test_files_that_include_each_other_end(tmp_path: Path) -> None:
    machine = running(tmp_path).file(MAIN, f"Include {MAIN}\nPasswordAuthentication no\n")
    value = collect(machine.host())
    assert value["password_login"] is None
    assert "too deeply" in value["reason"]


# --- Match blocks -------------------------------------------------------------------------

CLOSED = "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin no\n"


@pytest.mark.parametrize(
    ("block", "password", "root"),
    [
        ("Match User backup\n  PasswordAuthentication yes\n", True, False),
        ("Match User=backup\n  PasswordAuthentication yes\n", True, False),
        ("Match Group sftp-only\n  PasswordAuthentication yes\n", True, False),
        ("Match User root\n  PermitRootLogin yes\n  PasswordAuthentication yes\n", True, True),
        ("Match Address 203.0.113.0/24\n  PasswordAuthentication yes\n", True, False),
        ("Match Address *\n  PasswordAuthentication yes\n", True, False),
        ("Match Address *,!10.0.0.0/8\n  PasswordAuthentication yes\n", True, False),
        ("Match LocalPort 22\n  PasswordAuthentication yes\n", True, False),
        # From some networks only: who is asked from outside is refused, others are not.
        ("Match Address 10.0.0.0/8\n  PasswordAuthentication yes\n", None, False),
        ("Match Host *.example.com\n  PasswordAuthentication yes\n", None, False),
        ("Match Address 10.0.0.0/8\n  PermitRootLogin yes\n", False, False),
        ("Match LocalAddress 192.0.2.4\n  PasswordAuthentication yes\n", None, False),
        # Only from this machine, for nobody, or about something else.
        ("Match Address 127.0.0.1,::1\n  PasswordAuthentication yes\n", False, False),
        ("Match LocalPort 2222\n  PasswordAuthentication yes\n", False, False),
        ("Match invalid-user\n  PasswordAuthentication yes\n", False, False),
        ("Match User backup\n  X11Forwarding yes\n", False, False),
        ("Match User backup\n  PasswordAuthentication no\nMatch all\n", False, False),
        # Of the blocks that hold, the first decides.
        (
            "Match User a\n PasswordAuthentication no\nMatch User a\n PasswordAuthentication yes\n",
            False,
            False,
        ),
        ("Match User a,b\n AuthenticationMethods password\n", False, False),
    ],
)
def test_match_blocks_above_what_sshd_says(
    tmp_path: Path, block: str, password: bool | None, root: bool | None
) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], dump()).file(MAIN, CLOSED + block)
    value = collect(machine.host())
    assert (value["password_login"], value["root_password_login"]) == (password, root)
    if password is None:
        assert "Match" in value["reason"]
        assert "line 4" in value["reason"]


@pytest.mark.parametrize(
    ("members", "root"), [("ada,root", True), ("ada", False), ("rooty", False)]
)
def test_root_is_in_the_groups_that_it_is_in(tmp_path: Path, members: str, root: bool) -> None:
    block = "Match Group ops\n  PermitRootLogin yes\n  PasswordAuthentication yes\n"
    machine = running(tmp_path).command(["sshd", "-T"], dump()).file(MAIN, CLOSED + block)
    machine.file("/etc/group", f"root:x:0:\nops:x:990:{members}\nbroken\n")
    assert logins_of(machine) == (True, root)


def test_match_blocks_within_blocks_both_must_hold(tmp_path: Path) -> None:
    text = "Match Group special\n  Include nested.conf\n"
    machine = running(tmp_path).command(["sshd", "-T"], dump()).file(MAIN, CLOSED + text)
    machine.file("/etc/ssh/nested.conf", "Match User root\n  PermitRootLogin yes\n"
                 "  PasswordAuthentication yes\n")  # fmt: skip
    assert logins_of(machine) == (False, False)


def test_the_block_that_decides_is_named_and_nobody_in_it(tmp_path: Path) -> None:
    blocks = "Match Address 192.0.2.0/24\n PasswordAuthentication no\n"
    blocks += "Match User ada\n PasswordAuthentication yes\n"
    machine = running(tmp_path).command(["sshd", "-T"], dump()).file(MAIN, CLOSED + blocks)
    value = collect(machine.host())
    assert value["password_login"] is True
    assert value["note"] == f"it depends on Match user … ({MAIN} line 6)"
    assert "ada" not in json.dumps(value)


def test_a_block_that_shuts_a_few_out_leaves_the_others_in(tmp_path: Path) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], dump(passwordauthentication="yes"))
    machine.file(MAIN, "Match Group staff\n PasswordAuthentication no\n")
    assert logins_of(machine)[0] is True


def test_sshd_itself_is_asked_about_people_where_there_are_blocks(tmp_path: Path) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], dump())
    machine.file(MAIN, CLOSED + "Match exotic thing\n PasswordAuthentication yes\n")
    machine.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n")
    assert logins_of(machine) == (None, False)
    place = "host=203.0.113.77,addr=203.0.113.77,laddr=198.51.100.1,lport=22"
    for user in ("root", "ada"):
        answer = dump(passwordauthentication="yes" if user == "ada" else "no")
        machine.command(["sshd", "-T", "-C", f"user={user},{place}"], answer)
    assert logins_of(machine) == (True, False)


# --- the running daemon -------------------------------------------------------------------


def test_the_options_of_the_running_daemon_come_first(tmp_path: Path) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], dump())
    machine.process(
        pid=811,
        comm="sshd",
        argv=[
            "sshd: /usr/sbin/sshd -D -oPasswordAuthentication=yes [listener] 0 of 10-100 startups"
        ],
    )
    assert logins_of(machine) == (True, False)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/default/ssh", 'SSHD_OPTS="-o PasswordAuthentication=yes"\n'),
        ("/etc/sysconfig/sshd", "# none\nOPTIONS='-oPasswordAuthentication=yes'\n"),
    ],
)
def test_the_options_of_the_distribution_count_while_no_daemon_runs(
    tmp_path: Path, path: str, text: str
) -> None:
    machine = RecordedMachine(tmp_path).command(SHOW, shown(ssh_socket="active"))
    machine.file(path, text)
    machine.command(["sshd", "-T"], dump())
    assert logins_of(machine) == (True, False)


@pytest.mark.parametrize(
    ("changed_at", "reloaded", "password"),
    [(1000.0, None, False), (5000.0, None, None), (5000.0, "@6000", False), (5000.0, "n/a", None)],
)
def test_settings_that_the_daemon_has_not_read_yet_prove_nothing(
    tmp_path: Path, changed_at: float, reloaded: str | None, password: bool | None
) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], dump())
    machine.file(MAIN, CLOSED, mtime=changed_at)
    machine.process(pid=811, comm="sshd", argv=["/usr/sbin/sshd", "-D"])
    machine.file("/proc/stat", "cpu 1 2 3\nbtime 2000\n")
    machine.file("/proc/811/stat", "811 (sshd x) S 1 811 " + "0 " * 16 + "100000 0 0\n")
    if reloaded:
        asked = ["--timestamp=unix", "-p", "StateChangeTimestamp", "sshd.service"]
        machine.command(["systemctl", "show", *asked], f"StateChangeTimestamp={reloaded}\n")
    value = collect(machine.host())
    assert value["password_login"] is password
    assert ("changed after sshd started" in value.get("reason", "")) is (password is None)


@pytest.mark.parametrize(
    ("argv", "file", "changes"),
    [
        (["/usr/sbin/sshd", "-D"], None, ()),
        (["/usr/sbin/sshd", "-De", "-f", "/srv/sshd"], "/srv/sshd", ()),
        (
            ["/usr/sbin/sshd", "-Df/srv/sshd", "-oUsePAM=no", "-p", "99"],
            "/srv/sshd",
            ("UsePAM=no", "Port=99"),
        ),
        (["sshd: /usr/bin/sshd -D -o A=b [listener] 1 of 10"], None, ("A=b",)),
        (["/usr/sbin/sshd", "--", "-f", "x"], None, ()),
        (["/usr/sbin/sshd", "-o"], None, ()),
    ],
)
def test_options_are_read_as_getopt_does(
    argv: list[str], file: str | None, changes: tuple[str, ...]
) -> None:
    found = sshd_processes.options_of(argv)
    assert (found.file, found.settings) == (file, changes)


# --- any text -----------------------------------------------------------------------------

VOCABULARY = """LISTEN 0 128 0.0.0.0:22 [::]:22 *:22 users:(("sshd",pid=1,fd=3)) tcp tcp6 1/init
Id=ssh.service ActiveState=active Listen=[::]:22 (Stream) 0100007F:0016 0A Match User a,!b Address
10.0.0.0/8 Include /etc/ssh/* PasswordAuthentication yes no = " # permitrootlogin allowusers root
authenticationmethods publickey,password"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\n", "\n\n"])
TEXTS = st.one_of(st.text(), st.lists(WORDS).map(" ".join))


@settings(deadline=None)
@given(TEXTS)
def test_no_text_breaks_a_reader_of_sockets_and_units(text: str) -> None:
    listeners = [
        *sshd_sockets.parse_ss(text),
        *sshd_sockets.parse_proc(text),
        *sshd_sockets.parse_socket_unit(text),
    ]
    assert all(item.where and item.local_only in (True, False) for item in listeners)
    assert all(unit.name for unit in sshd_units.parse(text))


@settings(deadline=None)
@given(TEXTS)
def test_no_text_breaks_a_reader_of_settings(text: str) -> None:
    options = logins.parse_dump(text)
    for judge in (logins.by_password, logins.user_by_password, logins.root_by_password):
        assert judge(options) in (True, False, None)
    for number, keyword, arguments in config.parse_lines(text):
        assert number > 0
        match = config.parse_match(arguments, "here")
        setting = config.Setting(keyword, arguments, (match,))
        for visitor in accounts.visitors([setting], "ada"):
            assert accounts.holds(match, visitor, [22]) in (True, False, None)
            assert accounts.cases(options, [setting], visitor)


@settings(deadline=None)
@given(st.lists(st.text()))
def test_no_command_line_breaks_the_reader_of_options(argv: list[str]) -> None:
    sshd_processes.options_of(argv)
    assert sshd_processes.is_listener(Process(pid=2, argv=tuple(argv))) is False


@settings(deadline=None, max_examples=50)
@given(TEXTS)
def test_no_configuration_file_breaks_the_collector(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    machine = running(tmp_path_factory.mktemp("machine")).file(MAIN, text)
    assert collect(machine.host())["state"] == "running"


# --- what large and wrong files must not do -------------------------------------------------


def test_files_that_include_each_other_many_times_end(tmp_path: Path) -> None:
    machine = running(tmp_path).file(MAIN, f"Include {MAIN}\n" * 1000)
    value = collect(machine.host())
    assert value["password_login"] is None
    assert "included" in value["reason"]


def test_a_file_included_again_and_again_is_read_a_limited_number_of_times(tmp_path: Path) -> None:
    machine = running(tmp_path).file(MAIN, "Include /etc/ssh/part\n" * 5000)
    machine.file("/etc/ssh/part", "X11Forwarding no\n")
    found = config.read(machine.host())
    assert len(found.files) == config.MOST_FILES
    assert "too many" in found.problems[0]


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"Match User a{n}\nPasswordAuthentication no\n" for n in range(20_000)),
        "Match User " + ",".join(f"a{n}" for n in range(20_000)) + "\nPasswordAuthentication no\n",
    ],
)
def test_more_match_blocks_than_can_be_tried_leave_it_unknown(tmp_path: Path, text: str) -> None:
    machine = running(tmp_path).command(["sshd", "-T"], dump()).file(MAIN, text)
    value = collect(machine.host())
    assert (value["password_login"], value["root_password_login"]) == (None, None)
    assert "more Match blocks" in value["reason"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('Banner "a b" c # d', ("a b", "c")),
        ('Banner "a b', ("a b",)),
        (r'Banner "a\"b" c', (r"a\"b", "c")),
        ('Banner "' + r"\"" * 100_000, (r"\"" * 100_000,)),
        ("Banner a#b", ("a#b",)),
    ],
)
def test_quoted_words_of_a_line(text: str, words: tuple[str, ...]) -> None:
    assert list(config.parse_lines(text)) == [(1, "banner", words)]


def test_numbers_that_are_none_are_passed_over(tmp_path: Path) -> None:
    huge = "9" * 5000
    machine = RecordedMachine(tmp_path).command(SHOW, shown(sshd_service="active"))
    machine.command(["sshd", "-T"], dump(port=huge)).command(
        SS, f"LISTEN 0 128 0.0.0.0:{huge} 0.0.0.0:*\n"
    )
    machine.file("/etc/passwd", f"a:x:{huge}:1::/:/bin/sh\nb:x:²:1::/:/bin/sh\n")
    machine.file(MAIN, "Match User a\nPasswordAuthentication no\n")
    value = collect(machine.host())
    assert (value["state"], value["ports"]) == ("running", [])


def test_a_pattern_that_is_too_long_for_sshd_fits_nobody() -> None:
    assert accounts.in_list("ada", "ada")
    assert not accounts.in_list("x" * 2000 + ",ada", "ada")


# --- versions and distributions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kbd", "challenge", "password"),
    [("no", "no", False), ("no", "yes", True), ("yes", "no", True)],
)
def test_both_names_of_one_setting_are_one_setting(
    tmp_path: Path, kbd: str, challenge: str, password: bool
) -> None:
    settings = dump(kbdinteractiveauthentication=kbd, challengeresponseauthentication=challenge)
    value = collect(running(tmp_path).command(["sshd", "-T"], settings).host())
    assert value["password_login"] is password
    said = value["evidence"]["settings"]["kbdinteractiveauthentication"]
    assert said == ("yes" if password else "no")


@pytest.mark.parametrize(
    ("text", "release", "root"),
    [
        ("#PermitRootLogin prohibit-password\n", "ID=arch\n", False),
        ("#PermitRootLogin yes\n", "ID=debian\n", None),
        ("", 'ID="rhel"\nVERSION_ID="7.9"\n', None),
        ("", 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.10"\n', None),
        ("", 'ID="rhel"\nVERSION_ID="9.4"\n', False),
        ("PermitRootLogin no\n", 'ID="rhel"\nVERSION_ID="7.9"\n', False),
    ],
)
def test_default_for_root_is_not_guessed_where_it_may_be_the_old_one(
    tmp_path: Path, text: str, release: str, root: bool | None
) -> None:
    machine = by_files(tmp_path, sshd_config=text).file("/etc/os-release", release)
    assert logins_of(machine) == (True, root)
