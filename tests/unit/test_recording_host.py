"""What is recorded on a machine answers as that machine did, and holds no secrets."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qlmdm_core.api import CommandResult, Host, HttpResponse, Process
from qlmdm_core.errors import RecordingError
from qlmdm_core.host.real import RealHost
from qlmdm_core.host.recording import RecordingHost
from qlmdm_core.host.redact import (
    REDACTED,
    keep_environment,
    redact,
    redact_argv,
    redact_file,
    redact_json,
)
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import RecordedMachine

Question = Callable[[Host], Any]


def answer(question: Question, host: Host) -> Any:
    """An answer that can be compared, an error included."""
    try:
        return question(host)
    except OSError as error:
        return type(error).__name__, error.errno


def recorded(path: Path) -> Any:
    return json.loads(path.read_text())


# What collectors ask, more or less, of whatever machine this is.
QUESTIONS: list[Question] = [
    lambda host: host.is_root,
    lambda host: host.now(),
    lambda host: host.read("/etc/os-release"),
    lambda host: host.read("/proc/mounts"),
    lambda host: host.read("/proc/self/mountinfo"),
    lambda host: host.read("/etc/fstab"),
    lambda host: host.read("/etc"),
    lambda host: host.read("/etc/qlmdm-is-not-there"),
    lambda host: host.read("/etc/passwd/x"),
    lambda host: host.read("/dev/null"),
    lambda host: host.listdir("/sys/block"),
    lambda host: host.listdir("/etc/passwd"),
    lambda host: host.listdir("/nowhere"),
    lambda host: host.glob("/sys/class/net/*"),
    lambda host: host.glob("/sys/class/net/*/address"),
    lambda host: [host.read(path) for path in host.glob("/sys/class/net/*/address")],
    lambda host: [host.readlink(path) for path in host.glob("/sys/class/net/*")],
    lambda host: host.glob("/sys/block/*/dev"),
    lambda host: [host.read(path) for path in host.glob("/sys/block/*/dev")],
    lambda host: host.glob("/dev/nul[l-m]"),
    lambda host: host.stat("/dev/null"),
    lambda host: host.stat("/etc"),
    lambda host: host.stat("/etc/passwd"),
    lambda host: host.stat("/nowhere"),
    lambda host: host.exists("/etc/passwd"),
    lambda host: host.exists("/nowhere"),
    lambda host: host.exists("/sys/class/net"),
    lambda host: host.readlink("/proc/mounts"),
    lambda host: host.readlink("/etc/passwd"),
    lambda host: host.readlink("/nowhere"),
    lambda host: host.which("sh"),
    lambda host: host.which("qlmdm-no-such-program"),
    lambda host: host.which("/bin/sh"),
    lambda host: host.run(["uname", "-m"]),
    lambda host: host.run(["qlmdm-no-such-program"]),
    lambda host: host.run(["sh", "-c", "echo out; echo err >&2; exit 7"]),
    lambda host: host.run(["cat"], stdin="text", env={"A": "1"}),
    lambda host: host.run(["sleep", "60"], timeout=0.05),
    lambda host: host.run(["yes"], max_bytes=100),
    lambda host: host.run(["true"], user="qlmdm-nobody-here"),
    lambda host: host.processes(),
    lambda host: host.http("GET", "http://127.0.0.1:1/?token=geheim", timeout=1).status,
]


def test_a_replay_answers_as_this_machine_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    recording = RecordingHost(RealHost(), tmp_path / "r", note="this machine")
    assert isinstance(recording, Host)
    told = [answer(question, recording) for question in QUESTIONS]
    replay = ReplayHost(tmp_path / "r")
    again = [answer(question, replay) for question in QUESTIONS]
    assert again == told
    assert replay.note == "this machine"
    # In another order, too: no answer depends on those before it.
    assert [answer(question, replay) for question in reversed(QUESTIONS)] == told[::-1]


def test_recorded_files_are_what_the_format_says(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "m").file("/etc/a", "text").file("/etc/b", "unread")
    machine.link("/conf", "/etc").unreadable("/etc/shadow").stat("/dev/sda", mode=0o060660)
    machine.command(["tool", "-x"], "out", stderr="err", returncode=2)
    host = RecordingHost(machine.host(), tmp_path / "r")
    host.read("/conf/a")
    host.glob("/etc/*")
    host.exists("/dev/sda")
    host.run(["tool", "-x"])
    with contextlib.suppress(PermissionError):
        host.read("/etc/shadow")
    files = tmp_path / "r/files"
    assert (files / "etc/a").read_text() == "text"
    assert os.readlink(files / "conf") == "/etc"
    assert (files / "etc/b").read_text() == ""
    assert not (files / "dev/sda").exists()
    description = recorded(tmp_path / "r/machine.json")
    assert description["format"] == 1
    assert description["root"] is True
    assert description["unreadable"] == ["/etc/shadow"]
    assert description["stat"]["/dev/sda"]["mode"] == 0o060660
    assert recorded(tmp_path / "r/commands.json") == [
        {
            "argv": ["tool", "-x"],
            "user": None,
            "env": None,
            "stdin": None,
            "stdout": "out",
            "stderr": "err",
            "returncode": 2,
            "timed_out": False,
        }
    ]
    replay = ReplayHost(tmp_path / "r")
    with pytest.raises(OSError, match="not in this recording"):
        replay.read("/etc/b")


def test_a_file_that_was_seen_first_and_read_later_has_its_content(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "m").file("/etc/a", "text").file("/etc/empty", "")
    host = RecordingHost(machine.host(), tmp_path / "r")
    host.listdir("/etc")
    assert host.read("/etc/a") == "text"
    assert host.read("/etc/a", max_bytes=1) == "t"
    assert host.read("/etc/empty") == ""
    replay = ReplayHost(tmp_path / "r")
    assert replay.read("/etc/a") == "text"
    assert replay.read("/etc/empty") == ""


def test_what_is_hidden_is_hidden_again(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "m", root=False).unreadable("/root").file("/root/x", "")
    recording = RecordingHost(machine.host(), tmp_path / "r")
    questions: list[Question] = [
        lambda host: host.read("/root/secret"),
        lambda host: host.exists("/root/a/b"),
        lambda host: host.listdir("/root"),
        lambda host: host.stat("/root"),
        lambda host: host.stat("/root/secret"),
        lambda host: host.exists("/root"),
    ]
    told = [answer(question, recording) for question in questions]
    assert told[0] == ("PermissionError", 13)
    assert [answer(question, ReplayHost(tmp_path / "r")) for question in questions] == told


def test_links_that_lead_nowhere_do_no_harm(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "m").link("/loop", "loop").link("/gone", "none")
    machine.link("/out", "../../../../../../../../etc")
    host = RecordingHost(machine.host(), tmp_path / "r")
    questions: list[Question] = [
        lambda host: host.glob("/*"),
        lambda host: host.read("/loop"),
        lambda host: host.read("/gone"),
        lambda host: host.listdir("/out"),
        lambda host: host.listdir("/"),
    ]
    told = [answer(question, host) for question in questions]
    assert [answer(question, ReplayHost(tmp_path / "r")) for question in questions] == told


class Changing:
    """A machine on which a folder becomes a link that leads out of the recording."""

    def __init__(self, first: Host) -> None:
        self.now_is = first

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now_is, name)


def test_nothing_is_written_outside_the_recording(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    first = RecordedMachine(tmp_path / "1").link("/data", str(outside)).host()
    second = RecordedMachine(tmp_path / "2").file("/data/x", "text").host()
    machine = Changing(first)
    RecordingHost(machine, tmp_path / "r").readlink("/data")
    machine.now_is = second
    assert RecordingHost(machine, tmp_path / "r").read("/data/x") == "text"
    assert os.listdir(outside) == []


def test_processes_record_into_one_directory_at_once(tmp_path: Path) -> None:
    target = tmp_path / "r"
    children = []
    for number in range(6):
        child = os.fork()
        if child == 0:  # pragma: no cover
            status = 1
            with contextlib.suppress(BaseException):
                host = RecordingHost(RealHost(), target)
                for turn in range(10):
                    host.run(["echo", str(number), str(turn)])
                    host.run(["echo", "all", str(turn)])
                    host.read("/etc/passwd")
                    host.exists(f"/proc/{os.getpid()}")
                    host.stat("/etc/passwd")
                host.processes()
                status = 0
            os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    commands = [tuple(entry["argv"]) for entry in recorded(target / "commands.json")]
    assert len(commands) == len(set(commands)) == 70
    assert len([p for p in recorded(target / "machine.json")["stat"] if p != "/etc/passwd"]) == 6
    replay = ReplayHost(target)
    assert replay.run(["echo", "5", "9"]).stdout == "5 9\n"
    assert [name for name in os.listdir(target) if name.startswith(".")] == []


def test_all_who_record_see_one_moment(tmp_path: Path) -> None:
    first = RecordingHost(RealHost(), tmp_path / "r")
    processes = first.processes()
    second = RecordingHost(RealHost(), tmp_path / "r")
    assert second.now() == first.now()
    assert second.processes() == processes
    assert ReplayHost(tmp_path / "r").processes() == processes


def test_a_recording_is_for_its_owner_until_it_is_handed_on(tmp_path: Path) -> None:
    RecordingHost(RealHost(), tmp_path / "r")
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o700


def test_a_place_that_can_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="can't be recorded into"):
        RecordingHost(RealHost(), tmp_path / "file")
    (tmp_path / "r").mkdir()
    (tmp_path / "r/machine.json").write_text("[]")
    with pytest.raises(RecordingError, match="expected a JSON object"):
        RecordingHost(RealHost(), tmp_path / "r")


def test_a_failure_to_record_is_no_answer_of_the_machine(tmp_path: Path) -> None:
    host = RecordingHost(RealHost(), tmp_path / "r")
    (tmp_path / "r/machine.json").unlink()
    (tmp_path / "r/files").rmdir()
    (tmp_path / "r").rmdir()
    with pytest.raises(RecordingError):
        host.exists("/etc/passwd")


# --- secrets ------------------------------------------------------------------------------

PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----\n"


class Talkative(RealHost):
    """A machine full of secrets."""

    def run(self, argv: Any, **rest: Any) -> CommandResult:
        return CommandResult(
            argv=tuple(argv), returncode=0, stdout='{"token": "geheim"}', stderr="password=geheim"
        )

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        return f"host = x\napi_key = geheim\ndevice_key='geheim'\n{PEM}".replace("b3Bl", "geheim")

    def processes(self) -> list[Process]:
        environ = {"HOME": "/home/ada", "AWS_SECRET": "geheim", "XDG_SESSION_ID": "2"}
        return [Process(pid=1, argv=("x", "--password", "geheim"), environ=environ)]

    def http(self, method: str, url: str, **rest: Any) -> HttpResponse:
        return HttpResponse(status=200, body='{"access_token": "geheim"}')


def test_no_secret_reaches_the_disk(tmp_path: Path) -> None:
    host = RecordingHost(Talkative(), tmp_path / "r")
    assert "geheim" in host.read("/etc/prey/prey.conf")
    argv = ["x", "--api-key", "geheim", "token=geheim"]
    told = host.run(argv, env={"DB_PASSWORD": "geheim"}, stdin="secret: geheim")
    assert "geheim" in told.stdout
    host.processes()
    headers = {"Authorization": "Bearer geheim"}
    host.http(
        "POST", "http://u:geheim@x/?api_key=geheim", json={"token": "geheim"}, headers=headers
    )
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            assert "geheim" not in Path(folder, name).read_text(), name
    replay = ReplayHost(tmp_path / "r")
    assert replay.run(argv).stdout == '{"token": "REDACTED"}'
    assert replay.http("POST", "http://u:geheim@x/?api_key=geheim", json={"token": "geheim"}).body
    (process,) = replay.processes()
    assert process.environ == {"HOME": "/home/ada", "XDG_SESSION_ID": "2"}
    assert process.argv == ("x", "--password", REDACTED)
    text = replay.read("/etc/prey/prey.conf")
    assert text.splitlines()[:3] == ["host = x", "api_key = REDACTED", "device_key='REDACTED'"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api_key=abc", "api_key=REDACTED"),
        ("API-KEY: abc", "API-KEY: REDACTED"),
        ('{"device_key": "a\\"b", "x": 1}', '{"device_key": "REDACTED", "x": 1}'),
        ("?token=abc&x=1", "?token=REDACTED&x=1"),
        ("wifi.psk=abc def", "wifi.psk=REDACTED def"),
        ("root:$y$j9T$abc$def:19000:", "root:REDACTED:19000:"),
        ("x\nold:!ab0123456789.:19000:0", "x\nold:!REDACTED:19000:0"),
        ("bsd:_J9..abcd0123456789.:19000:0", "bsd:REDACTED:19000:0"),
        ('{"hashedPassword": ["$6$a$b"]}', '{"hashedPassword": ["REDACTED"]}'),
        ("proxy http://ada:pw@proxy:3128", "proxy http://ada:REDACTED@proxy:3128"),
        ("Authorization: Basic YWRh", "Authorization: REDACTED"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "-----BEGIN RSA PRIVATE KEY-----\nREDACTED\n"),
    ],
)
def test_secrets_are_taken_out(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /v1/geolocate?key=AIza12", "GET /v1/geolocate?key=REDACTED"),
        ("a?x=1&sig=ab/c&y=2", "a?x=1&sig=REDACTED&y=2"),
        ("ssh-ed25519 AAAAC3Nza+/= ada", "ssh-ed25519 REDACTED ada"),
        ("ecdsa-sha2-nistp256 AAAAE2=", "ecdsa-sha2-nistp256 REDACTED"),
        ("256 SHA256:" + "a" * 43 + " x", "256 REDACTED x"),
        ("keys=1 monkey=2", "keys=1 monkey=2"),
    ],
)
def test_keys_are_taken_out(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("path", "text", "kept"),
    [
        ("/etc/qlmdm/geo-key", "AIza0123456\n", "REDACTED\n"),
        ("/etc/qlmdm/geo.key", "api_key=AIza0123456\n", "api_key=REDACTED\n"),
        ("/etc/site/token.txt", "abcdefgh", "REDACTED\n"),
        ("/etc/hostname", "longhostname\n", "longhostname\n"),
        ("/etc/passwd", "ada:x:1:1::/:/bin/sh\n", "ada:x:1:1::/:/bin/sh\n"),
        ("/etc/site/key.conf", "two words\n", "two words\n"),
        ("/etc/keys/other", "abcdefghij\n", "abcdefghij\n"),
    ],
)
def test_a_file_that_is_nothing_but_a_key_is_not_kept(path: str, text: str, kept: str) -> None:
    assert redact_file(path, text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "passwordauthentication yes",
        "PasswordAuthentication=no",
        "permitemptypasswords no",
        "passwd:         files systemd",
        "root:x:0:0:root:/root:/bin/bash",
        "nobody:*LK*:19000:0:99999:7:::",
        "ssh_pwauth: false",
        "Tokens:\n  0: systemd-tpm2",
        "password = no",
        "-----BEGIN PUBLIC KEY-----\nabc",
        "UUID=1234 / ext4 defaults 0 1",
        "http://host:8080/x@y",
    ],
)
def test_what_collectors_read_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_structures_are_redacted_by_their_names() -> None:
    assert redact_argv(["a", "--token", "x", "--password", "-v", "y"]) == (
        "a",
        "--token",
        REDACTED,
        "--password",
        "-v",
        "y",
    )
    value = {"secret": 12, "list": [{"my_password": "x", "ok": None}], "token": {"a": 1}}
    assert redact_json(value) == {
        "secret": REDACTED,
        "list": [{"my_password": REDACTED, "ok": None}],
        "token": {"a": 1},
    }
    assert keep_environment({"LANG": "C", "PATH": "/bin", "XDG_X": "1"}) == {
        "LANG": "C",
        "XDG_X": "1",
    }


@settings(deadline=None)
@given(st.text())
@example("secret=0$1$.")
@example("ssh-rsa AAAA$1$true,")
@example("://_token:1:@")
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


def test_large_texts_are_redacted_in_reasonable_time() -> None:
    for piece in ("token ", "a.b-c ", "password", "psk=", "x" * 50, "-----BEGIN PRIVATE KEY-----"):
        text = piece * ((1 << 20) // len(piece))
        assert isinstance(redact(text), str)
    assert sys.getsizeof(redact("x")) > 0
