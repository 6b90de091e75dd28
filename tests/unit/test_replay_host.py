"""A recorded machine answers as its format says, whatever is in it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.api import FileStat, Host
from qlmdm_core.errors import QlmdmError, RecordingError
from qlmdm_core.host import common
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.testing import RecordedMachine


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    return RecordedMachine(tmp_path / "machine")


def test_it_is_a_host(machine: RecordedMachine) -> None:
    host = RecordedMachine(
        machine.path, root=False, recorded_at="2026-11-01T13:00:00+01:00", note="a note"
    ).host()
    assert isinstance(host, Host)
    assert host.is_root is False
    assert host.now() == datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
    assert host.now().utcoffset() == timezone.utc.utcoffset(None)
    assert host.note == "a note"
    assert host.distro is None


def test_a_machine_needs_no_more_than_its_description(tmp_path: Path) -> None:
    text = '{"format": 1, "recorded_at": "2026-11-01T12:00:00Z", "later": "unknown key"}'
    (tmp_path / "machine.json").write_text(text)
    host = ReplayHost(tmp_path)
    assert host.is_root
    assert host.processes() == []
    assert host.listdir("/") == []
    assert not host.run(["true"]).found
    assert host.http("GET", "http://x/").status == 0


def test_the_distro_may_be_found_when_asked(machine: RecordedMachine) -> None:
    asked: list[int] = []
    host = machine.host(distro=lambda: asked.append(1))
    assert asked == []
    assert host.distro is None
    assert host.distro is None
    assert asked == [1]


# --- commands -----------------------------------------------------------------------------


def test_a_command_is_answered_by_its_argv(machine: RecordedMachine) -> None:
    machine.command(["tool", "-a"], "one", stderr="e", returncode=3).command(["tool", "-b"], "two")
    host = machine.host()
    result = host.run(["tool", "-a"])
    assert (result.stdout, result.stderr, result.returncode, result.found) == ("one", "e", 3, True)
    assert result.argv == ("tool", "-a")
    assert host.run(["tool", "-b"]).stdout == "two"
    assert not host.run(["tool", "-c"]).found
    assert not host.run(["other"]).found
    assert host.run(["other"]).why == "other is not installed"


def test_a_similar_command_is_answered_if_it_is_the_only_one(machine: RecordedMachine) -> None:
    machine.command(["tool", "--json", "list", "all"], "x").command(["tool", "show"], "y")
    host = machine.host()
    assert host.run(["tool", "list", "all"]).stdout == "x"
    assert host.run(["tool", "list", "--plain", "all", "-v"]).stdout == "x"
    assert host.run(["tool", "show", "--long"]).stdout == "y"
    assert not host.run(["tool", "all", "list"]).found
    assert not host.run(["tool", "list"]).found
    missing = host.run(["tool", "list"])
    assert missing.error == "this command is not in the recording"


def test_of_several_similar_commands_none_is_taken(machine: RecordedMachine) -> None:
    host = machine.command(["tool", "-a", "x"], "1").command(["tool", "-b", "x"], "2").host()
    assert not host.run(["tool", "-c", "x"]).found


def test_commands_of_users_are_told_apart(machine: RecordedMachine) -> None:
    machine.command(["get", "key"], "root")
    machine.command(["get", "key"], "ada", user="ada")
    machine.command(["get", "-x", "key"], "bob", user="bob")
    host = machine.host()
    assert host.run(["get", "key"]).stdout == "root"
    assert host.run(["get", "key"], user="ada").stdout == "ada"
    assert host.run(["get", "key"], user="bob").stdout == "bob"
    assert not host.run(["get", "key"], user="eve").found


def test_the_only_recording_answers_for_any_user(machine: RecordedMachine) -> None:
    assert machine.command(["get", "key"], "x").host().run(["get", "key"], user="ada").ok


def test_environment_and_input_choose_between_equal_commands(machine: RecordedMachine) -> None:
    machine.command(["get"], "plain").command(["get"], "env", env={"A": "1"})
    machine.command(["get"], "input", stdin="text")
    host = machine.host()
    assert host.run(["get"]).stdout == "plain"
    assert host.run(["get"], env={"A": "1"}).stdout == "env"
    assert host.run(["get"], stdin="text").stdout == "input"
    assert host.run(["get"], env={"B": "2"}, stdin="other").stdout == "plain"


@pytest.mark.parametrize(
    ("recorded", "asked", "same"),
    [
        ("sshd", "/usr/sbin/sshd", True),
        ("/usr/sbin/sshd", "sshd", True),
        ("/usr/sbin/sshd", "/sbin/sshd", True),
        ("upd", "/opt/eset/bin/upd", True),
        ("/opt/eset/bin/upd", "upd", False),
        ("/opt/old/upd", "/opt/new/upd", False),
        ("sshd", "ssh", False),
    ],
)
def test_spellings_of_one_program(
    machine: RecordedMachine, recorded: str, asked: str, same: bool
) -> None:
    host = machine.command([recorded, "-T"], "x").host()
    assert host.run([asked, "-T"]).found is same
    assert (host.which(asked) is not None) is same


def test_two_recorded_spellings_are_two_programs(machine: RecordedMachine) -> None:
    machine.command(["/usr/bin/x"], "one").command(["/usr/local/bin/x"], "two")
    host = machine.host()
    assert host.run(["/usr/local/bin/x"]).stdout == "two"
    assert not host.run(["x"]).found
    assert host.which("x") == "/usr/local/bin/x"


def test_a_program_is_installed_if_it_ran_or_its_file_is_there(machine: RecordedMachine) -> None:
    machine.command(["ran"]).file("/usr/sbin/there", "").directory("/usr/bin/folder")
    machine.command(["/opt/x/tool"])
    host = machine.host()
    assert host.which("ran") == "/usr/bin/ran"
    assert host.which("there") == "/usr/sbin/there"
    assert host.which("/usr/sbin/there") == "/usr/sbin/there"
    assert host.which("/opt/x/tool") == "/opt/x/tool"
    assert host.exists("/opt/x/tool")
    assert stat.S_ISREG(host.stat("/opt/x/tool").mode)
    for absent in ("tool", "folder", "none", "", "/usr/sbin/none"):
        assert host.which(absent) is None
    assert host.run(["there"]).error == "this command is not in the recording"


def test_a_command_that_timed_out_has_no_status(machine: RecordedMachine) -> None:
    result = machine.command(["slow"], "begun", timed_out=True).host().run(["slow"])
    assert result.timed_out
    assert result.returncode is None
    assert result.stdout == "begun"
    assert not result.ok


def test_output_is_cut_as_on_a_real_machine(machine: RecordedMachine) -> None:
    host = machine.command(["tool"], "äöü").host()
    cut = host.run(["tool"], max_bytes=4)
    assert cut.truncated
    assert (cut.stdout, cut.returncode, cut.ok) == ("äö", -9, False)
    assert host.run(["tool"], max_bytes=6).ok


def test_an_answer_is_found_though_secrets_were_taken_out(machine: RecordedMachine) -> None:
    machine.command(["ask", "--token", "REDACTED", "x"], "1").command(
        ["ask", "api_key=REDACTED"], "2"
    )
    machine.http("GET", "http://x/?api_key=REDACTED", body="3")
    host = machine.host()
    assert host.run(["ask", "--token", "geheim", "x"]).stdout == "1"
    assert host.run(["ask", "api_key=geheim"]).stdout == "2"
    assert host.http("GET", "http://x/?api_key=geheim").body == "3"


# --- files --------------------------------------------------------------------------------


def test_files_are_read_and_described(machine: RecordedMachine) -> None:
    machine.file("/etc/a", "text ä").file("/etc/b", b"\xff", mode=0o600, uid=7, mtime=12.5)
    host = machine.directory("/etc/empty").host()
    assert host.read("/etc/a") == "text ä"
    assert host.read("/etc/a", max_bytes=2) == "te"
    assert host.read("/etc/b") == "\ufffd"
    assert host.read("etc//./b") == "\ufffd"
    assert host.listdir("/etc") == ["a", "b", "empty"]
    assert host.listdir("/etc/empty") == []
    assert host.stat("/etc/a") == FileStat(mode=stat.S_IFREG | 0o644, size=7)
    assert host.stat("/etc/b") == FileStat(mode=stat.S_IFREG | 0o600, uid=7, size=1, mtime=12.5)
    assert host.stat("/etc").mode == stat.S_IFDIR | 0o755
    assert host.exists("/etc")
    assert not host.exists("/etc/none")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/none", FileNotFoundError),
        ("/etc/none", FileNotFoundError),
        ("", FileNotFoundError),
        ("/etc/a/b", NotADirectoryError),
        ("/etc", IsADirectoryError),
        ("/etc/shadow", PermissionError),
        ("/dev/sda", OSError),
        ("/a\0b", OSError),
        ("/\ud800", OSError),
        ("/" + "x" * 5000, OSError),
    ],
)
def test_what_can_not_be_read_is_an_oserror(
    machine: RecordedMachine, path: str, error: type[OSError]
) -> None:
    machine.file("/etc/a", "").unreadable("/etc/shadow").stat("/dev/sda", mode=0o060660)
    host = machine.host()
    with pytest.raises(error) as caught:
        host.read(path)
    assert caught.value.errno is not None


def test_links_are_followed_inside(machine: RecordedMachine, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("outside")
    machine.file("/etc/real", "inside").link("/etc/relative", "real")
    machine.link("/abs", "/etc").link("/up", "../../../../etc/real").link("/out", str(secret))
    machine.link("/loop", "loop").link("/a", "/b").link("/b", "/a").link("/dangling", "none")
    machine.file("/abs/through", "placed")
    host = machine.host()
    for path in ("/etc/relative", "/abs/real", "/up", "/../../etc/real", "/abs/../etc/real"):
        assert host.read(path) == "inside"
    assert host.read("/etc/through") == "placed"
    with pytest.raises(FileNotFoundError):
        host.read("/out")
    for path in ("/loop", "/a", "/a/x"):
        with pytest.raises(OSError, match="symbolic links") as caught:
            host.stat(path)
        assert caught.value.errno == errno.ELOOP
        assert not host.exists(path)
    assert not host.exists("/dangling")
    assert host.readlink("/abs") == "/etc"
    assert host.readlink("/out") == str(secret)
    for path in ("/etc/real", "/etc"):
        with pytest.raises(OSError, match="Invalid argument"):
            host.readlink(path)
    assert host.glob("/*") == [
        f"/{name}" for name in ("a", "abs", "b", "dangling", "etc", "loop", "out", "up")
    ]


def test_the_whole_folder_may_not_be_a_link(machine: RecordedMachine) -> None:
    path = machine.write()
    (path / "files").rmdir()
    (path / "files").symlink_to("/etc")
    with pytest.raises(RecordingError, match="not a directory"):
        ReplayHost(path)


def test_what_is_no_file_in_the_folder_is_not_opened(machine: RecordedMachine) -> None:
    os.mkfifo(machine.directory("/run").path / "files/run/fifo")
    with pytest.raises(OSError, match="not a regular file"):
        machine.host().read("/run/fifo")


def test_paths_are_matched(machine: RecordedMachine) -> None:
    machine.file("/sys/block/sda/size", "1").link("/sys/block/dm-0", "../devices/dm-0")
    machine.file("/sys/devices/dm-0/size", "2").file("/sys/block/.hidden/size", "3")
    machine.stat("/dev/sda", mode=0o060660).stat("/dev/sdb", mode=0o060660)
    host = machine.host()
    assert host.glob("/sys/block/*/size") == ["/sys/block/dm-0/size", "/sys/block/sda/size"]
    assert host.glob("/sys/block/.*/size") == ["/sys/block/.hidden/size"]
    assert host.glob("/dev/sd[a-z]") == ["/dev/sda", "/dev/sdb"]
    assert host.glob("/dev/sd?") == ["/dev/sda", "/dev/sdb"]
    assert host.glob("/dev/sd[!a]") == ["/dev/sdb"]
    assert host.glob("/dev/sda") == ["/dev/sda"]
    assert host.glob("/sys/**/size") == []
    assert host.glob("/nowhere/*") == []
    assert host.glob("/\0*") == []
    assert host.glob("/*") == ["/dev", "/sys"]
    assert host.glob("/") == ["/"]


def test_what_was_refused_exists_and_is_refused_again(machine: RecordedMachine) -> None:
    machine.unreadable("/etc/shadow").unreadable("/root").file("/root/known", "x")
    machine.stat("/root/seen", mode=0o100600).link("/var/private", "/root")
    host = machine.host()
    for path in ("/etc/shadow", "/root/other", "/root/a/b", "/var/private/other"):
        with pytest.raises(PermissionError):
            host.read(path)
        assert host.exists(path)
    for path in ("/root", "/var/private"):
        with pytest.raises(PermissionError):
            host.listdir(path)
    assert host.read("/root/known") == "x"
    assert host.stat("/root/seen").mode == 0o100600
    assert host.stat("/etc/shadow").mode == stat.S_IFREG | 0o644
    assert host.listdir("/etc") == ["shadow"]
    with pytest.raises(PermissionError):
        host.stat("/root/other")


def test_what_is_only_described_exists(machine: RecordedMachine) -> None:
    machine.stat("/dev/mapper/home", mode=0o060660, rdev=os.makedev(253, 1))
    machine.stat("/var/log/size", size=5).stat("/srv/data", mode=0o700 | stat.S_IFDIR)
    host = machine.link("/dev/home", "mapper/home").host()
    assert os.minor(host.stat("/dev/home").rdev) == 1
    assert stat.S_ISBLK(host.stat("/dev/mapper/home").mode)
    assert host.listdir("/dev") == ["home", "mapper"]
    assert host.stat("/var/log/size") == FileStat(mode=stat.S_IFREG | 0o644, size=5)
    assert host.listdir("/srv/data") == []
    with pytest.raises(OSError, match="not in this recording"):
        host.read("/var/log/size")


def test_permission_bits_alone_keep_the_type(machine: RecordedMachine) -> None:
    machine.directory("/d").stat("/d", mode=0o711).stat("/f", mode=0o600)
    host = machine.host()
    assert host.stat("/d").mode == stat.S_IFDIR | 0o711
    assert host.stat("/f").mode == stat.S_IFREG | 0o600


# --- processes and network ------------------------------------------------------------------


def test_processes_are_sorted_and_what_is_absent_is_unknown(machine: RecordedMachine) -> None:
    machine.process(pid=9, argv=["a", "b"], exe="/x (deleted)", environ={"HOME": "/"}, uid=0)
    machine.process(pid=1, argv=[], environ=None)
    first, second = machine.host().processes()
    assert (first.pid, first.argv, first.environ, first.user) == (1, (), None, None)
    assert (second.argv, second.program, second.environ) == (("a", "b"), "/x", {"HOME": "/"})


def test_requests_are_answered(machine: RecordedMachine) -> None:
    machine.http("POST", "http://x/", body="one", request={"a": 1})
    machine.http("POST", "http://x/", body="two", request={"a": 2})
    machine.http("get", "http://y/", 404, "none")
    host = machine.host()
    assert host.http("post", "http://x/", json={"a": 2}).body == "two"
    assert host.http("POST", "http://x/", json={"a": 3}).status == 0
    assert host.http("GET", "http://y/", json={"any": 1}).status == 404
    assert host.http("GET", "http://z/").error == "this request is not in the recording"


# --- hostile recordings ---------------------------------------------------------------------

GOOD: dict[str, Any] = {"format": 1, "recorded_at": "2026-11-01T12:00:00+00:00"}
BAD_MACHINES: dict[str, tuple[Any, str]] = {
    "not json": ("{", "machine.json: not JSON"),
    "not utf-8": (b"\xff\xfe{", "machine.json: not UTF-8"),
    "a list": ([], "machine.json: expected a JSON object"),
    "deep": ("[" * 100_000, "machine.json: nested too deeply"),
    "nan": ('{"format": NaN}', "NaN is not JSON"),
    "no format": ({}, "format: expected a whole number"),
    "newer": ({**GOOD, "format": 2}, "format: expected 1"),
    "no time": ({"format": 1}, "recorded_at: expected text"),
    "bad time": ({**GOOD, "recorded_at": "yesterday"}, "recorded_at: expected a time"),
    "time out of range": ({**GOOD, "recorded_at": "0001-01-01T00:00:00+14:00"}, "expected a time"),
    "root": ({**GOOD, "root": 1}, "root: expected true or false"),
    "unreadable": ({**GOOD, "unreadable": {}}, "unreadable: expected a JSON list"),
    "relative": ({**GOOD, "unreadable": ["x"]}, "unreadable[0]: expected an absolute path"),
    "nul": ({**GOOD, "unreadable": ["/a\0"]}, "holds a NUL"),
    "surrogate": ({**GOOD, "unreadable": ["/\ud800"]}, "not valid Unicode"),
    "stat": ({**GOOD, "stat": {"/x": 3}}, "stat: /x: expected a JSON object"),
    "stat mode": ({**GOOD, "stat": {"/x": {"mode": "0644"}}}, "mode: expected a whole number"),
    "huge mode": ({**GOOD, "stat": {"/x": {"mode": 2**40}}}, "mode: expected type"),
    "negative": ({**GOOD, "stat": {"/x": {"size": -1}}}, "size: expected a whole number"),
    "huge number": ({**GOOD, "stat": {"/x": {"mtime": 10**400}}}, "mtime: expected a whole"),
    "relative stat": ({**GOOD, "stat": {"x": {}}}, "expected an absolute path"),
    "surrogate in an error": ({**GOOD, "stat": {"/\udc80": 1}}, "/\\udc80: expected"),
}


def put(path: Path, content: Any) -> None:
    if not isinstance(content, (str, bytes)):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("kind", BAD_MACHINES)
def test_a_bad_description_is_a_clear_error(tmp_path: Path, kind: str) -> None:
    content, expected = BAD_MACHINES[kind]
    put(tmp_path / "machine.json", content)
    with pytest.raises(RecordingError) as caught:
        ReplayHost(tmp_path)
    assert expected in str(caught.value)
    str(caught.value).encode()


BAD_LISTS: list[tuple[str, Any, str]] = [
    ("commands.json", {}, "expected a JSON list"),
    ("commands.json", [3], "commands.json[0]: expected a JSON object"),
    ("commands.json", [{"stdout": ""}], "argv: expected a JSON list"),
    ("commands.json", [{"argv": [], "stdout": ""}], "argv: expected at least the program"),
    ("commands.json", [{"argv": ["x"]}], "stdout: expected text"),
    ("commands.json", [{"argv": ["x", 1], "stdout": ""}], "argv[1]: expected text"),
    ("commands.json", [{"argv": ["x"], "stdout": "\ud800"}], "not valid Unicode"),
    ("commands.json", [{"argv": ["x"], "stdout": "", "returncode": "0"}], "returncode"),
    ("commands.json", [{"argv": ["x"], "stdout": "", "env": {"A": 1}}], "env: A: expected text"),
    ("processes.json", [{}], "pid: expected a whole number"),
    ("processes.json", [{"pid": True}], "pid: expected a whole number"),
    ("processes.json", [{"pid": 1, "argv": "sh"}], "argv: expected a JSON list"),
    ("processes.json", [{"pid": 1, "environ": []}], "environ: expected a JSON object"),
    ("http.json", [{"url": "x", "status": 200}], "method: expected text"),
    ("http.json", [{"method": "GET", "url": "x"}], "status: expected a whole number"),
]


@pytest.mark.parametrize(("name", "content", "expected"), BAD_LISTS)
def test_a_bad_list_is_a_clear_error(
    tmp_path: Path, name: str, content: Any, expected: str
) -> None:
    put(tmp_path / "machine.json", GOOD)
    put(tmp_path / name, content)
    with pytest.raises(RecordingError) as caught:
        ReplayHost(tmp_path)
    assert name in str(caught.value)
    assert expected in str(caught.value)
    assert caught.value.exit_status == 2


def test_what_is_no_recording_is_a_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(RecordingError, match="recorded machine"):
            ReplayHost(path)
    (tmp_path / "machine.json").symlink_to("/etc/passwd")
    with pytest.raises(RecordingError, match="can't be read"):
        ReplayHost(tmp_path)
    (tmp_path / "machine.json").unlink()
    os.mkfifo(tmp_path / "machine.json")
    with pytest.raises(RecordingError, match="not a regular file"):
        ReplayHost(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = [
    *("argv", "user", "env", "stdin", "stdout", "stderr", "returncode", "timed_out", "found"),
    *("pid", "ppid", "uid", "comm", "exe", "environ", "error", "truncated"),
    *("method", "url", "request", "status", "body"),
]
entries = st.lists(
    st.dictionaries(
        st.sampled_from(KEYS),
        json_values,
        max_size=6,
    )
    | json_values,
    max_size=2,
)
descriptions = st.fixed_dictionaries(
    {"format": st.just(1), "recorded_at": st.just(GOOD["recorded_at"])},
    optional={
        "root": st.booleans() | json_values,
        "note": json_values,
        "unreadable": st.lists(st.text(max_size=6).map("/".__add__), max_size=3) | json_values,
        "stat": st.dictionaries(
            st.text(max_size=6).map("/".__add__),
            st.dictionaries(st.sampled_from(["mode", "uid", "size", "mtime", "rdev"]), json_values),
            max_size=3,
        )
        | json_values,
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = RecordedMachine(tmp_path_factory.mktemp("any"))
    machine.file("/etc/a", "x").link("/l", "/etc/../l2").link("/l2", "..").link("/o", "o/o")
    return machine.write()


@settings(max_examples=150, deadline=None)
@given(description=descriptions | json_values, commands=entries, processes=entries, http=entries)
def test_any_recording_opens_or_is_a_clear_error(
    folder: Path, description: Any, commands: Any, processes: Any, http: Any
) -> None:
    for name, content in (
        ("machine", description),
        ("commands", commands),
        ("processes", processes),
        ("http", http),
    ):
        put(folder / f"{name}.json", content)
    try:
        host = ReplayHost(folder)
    except QlmdmError as error:
        str(error).encode()
        return
    for process in host.processes():
        assert isinstance(process.pid, int)
    host.run(["x", "-a", "b"])
    for path in host.glob("/*"):
        with contextlib.suppress(OSError):
            host.stat(path)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_for_json_are_a_clear_error(folder: Path, data: bytes) -> None:
    put(folder / "machine.json", data)
    with contextlib.suppress(QlmdmError):
        ReplayHost(folder)


steps = st.lists(st.sampled_from(["etc", "a", "l", "l2", "o", "..", ".", "", "*", "[", "?", "\0"]))


@settings(deadline=None)
@given(parts=steps)
def test_any_path_is_answered_or_an_oserror(folder: Path, parts: list[str]) -> None:
    put(folder / "machine.json", GOOD)
    for name in ("commands", "processes", "http"):
        put(folder / f"{name}.json", [])
    host = ReplayHost(folder)
    path = "/" + "/".join(parts)
    host.exists(path)
    host.which(path)
    for found in host.glob(path):
        assert found.startswith("/")
    for call in (host.read, host.listdir, host.stat, host.readlink):
        with contextlib.suppress(OSError):
            call(path)


@settings(deadline=None)
@given(pattern=st.text(max_size=20), names=st.lists(st.text(min_size=1, max_size=5), max_size=4))
def test_any_pattern_is_harmless(pattern: str, names: list[str]) -> None:
    found = common.glob_paths(pattern, lambda _: names, lambda _: True)
    assert found == sorted(found)
