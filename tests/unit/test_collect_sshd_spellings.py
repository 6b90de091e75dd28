"""The sshd collector: systemd's answer in the other forms that somebody may have recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors.sshd import collect, units

SERVICE = """\
● ssh.service - OpenBSD Secure Shell server
     Loaded: loaded (/usr/lib/systemd/system/ssh.service; disabled; preset: enabled)
     Active: {active} since Tue 2026-10-06 07:12:40 UTC; 3 days ago
TriggeredBy: ● ssh.socket
"""
SOCKET = """\
● ssh.socket - OpenBSD Secure Shell server socket
     Loaded: loaded (/usr/lib/systemd/system/ssh.socket; enabled; preset: enabled)
     Active: {active} since Tue 2026-10-06 07:12:38 UTC; 3 days ago
   Triggers: ● ssh.service
     Listen: 192.0.2.17:2022 (Stream)
             [::]:2022 (Stream)
"""
WAITS, DEAD, RUNS = "active (listening)", "inactive (dead)", "active (running)"


def with_init(tmp_path: Path) -> RecordedMachine:
    """A machine whose processes are known; none is an sshd."""
    return RecordedMachine(tmp_path).process(pid=1, uid=0, comm="systemd", argv=["/sbin/init"])


def status(machine: RecordedMachine, names: str, text: str) -> RecordedMachine:
    code = 3 if DEAD in text else 0
    return machine.command(["systemctl", "status", *names.split()], text, returncode=code)


@pytest.mark.parametrize("name", ["ssh.service", "ssh"])
def test_the_status_of_a_service_tells_that_it_runs(tmp_path: Path, name: str) -> None:
    machine = status(RecordedMachine(tmp_path), name, SERVICE.format(active=RUNS))
    value = collect(machine.host())
    assert value["state"] == "running"
    assert value["evidence"]["units"] == {
        "ssh.service": {"active": "active", "enabled": "disabled"}
    }


def test_the_status_of_a_socket_tells_where_it_waits(tmp_path: Path) -> None:
    machine = status(with_init(tmp_path), "ssh.socket", SOCKET.format(active=WAITS))
    status(machine, "ssh.service", SERVICE.format(active=DEAD))
    value = collect(machine.host())
    assert (value["state"], value["ports"]) == ("running", [2022])
    assert value["listen"] == ["192.0.2.17:2022", "[::]:2022"]


@pytest.mark.parametrize("names", ["ssh.socket ssh.service", "ssh.service ssh.socket"])
def test_both_may_stand_in_one_answer(tmp_path: Path, names: str) -> None:
    texts = {
        "ssh.socket": SOCKET.format(active=WAITS),
        "ssh.service": SERVICE.format(active=DEAD),
    }
    text = "\n".join(texts[name] for name in names.split())
    assert collect(status(with_init(tmp_path), names, text).host())["state"] == "running"


def test_a_service_that_is_down_says_nothing_of_the_socket_that_starts_it(tmp_path: Path) -> None:
    machine = status(with_init(tmp_path), "ssh.service", SERVICE.format(active=DEAD))
    machine.file("/usr/sbin/sshd", "")
    assert collect(machine.host())["state"] == "unknown"
    status(machine, "ssh.socket", SOCKET.format(active=DEAD))
    assert collect(machine.host())["state"] == "not_running"


@pytest.mark.parametrize("options", [[], ["-p", "ActiveState"], ["--property=ActiveState,Id"]])
@pytest.mark.parametrize(("active", "state"), [("active", "running"), ("inactive", "not_running")])
def test_the_properties_of_one_unit(
    tmp_path: Path, options: list[str], active: str, state: str
) -> None:
    machine = with_init(tmp_path)
    argv = ["systemctl", "show", *options, "sshd.service"]
    machine.command(argv, f"LoadState=loaded\nActiveState={active}\n")
    assert collect(machine.host())["state"] == state


@pytest.mark.parametrize("option", ["-p ActiveState --value", "--value -p ActiveState"])
def test_the_value_of_a_property_alone(tmp_path: Path, option: str) -> None:
    machine = with_init(tmp_path).command(["systemctl", "show", *option.split(), "ssh"], "active\n")
    assert collect(machine.host())["evidence"]["units"] == {
        "ssh.service": {"active": "active", "enabled": ""}
    }


@pytest.mark.parametrize("mode", ["-T", "-G"])
def test_sshd_may_have_been_told_which_file_it_reads(tmp_path: Path, mode: str) -> None:
    machine = with_init(tmp_path).command(["systemctl", "is-active", "sshd"], "active\n")
    machine.command(
        ["/usr/sbin/sshd", mode, "-f", "/etc/ssh/sshd_config"],
        "port 22\nusepam yes\npermitrootlogin yes\npasswordauthentication yes\n"
        "kbdinteractiveauthentication no\nauthenticationmethods any\n",
    )
    value = collect(machine.host())
    assert (value["password_login"], value["root_password_login"]) == (True, True)


def test_a_unit_that_does_not_exist_is_no_answer(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(
        ["systemctl", "status", "sshd"], stderr="Unit sshd.service could not be found.\n",
        returncode=4,
    )  # fmt: skip
    assert collect(machine.host())["state"] == "unknown"


def test_a_long_line_of_a_status_is_read_once() -> None:
    text = f"● ssh.service - x\n Active: inactive (dead)\nTriggeredBy: {'x' * 2_000_000}\n"
    assert [unit.active for unit, _ in units.parse_status(text)] == ["inactive"]


@given(st.text() | st.lists(st.sampled_from([*SERVICE.splitlines(), "● x - y"])).map("\n".join))
def test_no_text_breaks_the_reader_of_a_status(text: str) -> None:
    for unit, sockets in units.parse_status(text):
        assert unit.name in units.NAMES
        assert all(name.endswith(".socket") for name in sockets)
