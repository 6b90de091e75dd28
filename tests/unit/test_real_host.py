"""The real host: what it lets a collector do on this machine, and what it keeps away."""

from __future__ import annotations

import contextlib
import http.server
import os
import pwd
import signal
import socket
import stat
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qlmdm_core.api import Host
from qlmdm_core.host import command, procfs
from qlmdm_core.host.real import RealHost
from qlmdm_core.searchpath import SEARCH_PATH

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0")


@pytest.fixture
def host() -> RealHost:
    return RealHost()


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-c", textwrap.dedent(code), *arguments]


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def test_it_is_a_host(host: RealHost) -> None:
    assert isinstance(host, Host)
    assert host.is_root is (os.geteuid() == 0)
    assert host.now().utcoffset() is not None


def test_the_distro_is_found_once_when_first_asked() -> None:
    asked: list[int] = []

    def find() -> None:
        asked.append(1)

    host = RealHost(distro=find)
    assert asked == []
    assert host.distro is None
    assert host.distro is None
    assert asked == [1]


# --- commands -----------------------------------------------------------------------------


def test_a_command_answers_with_output_and_status(host: RealHost) -> None:
    result = host.run(
        python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    )
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 3)
    assert result.found
    assert not result.ok
    assert result.why.endswith("exited 3: err")


def test_a_command_sees_a_fixed_environment_only(
    host: RealHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD_NOT", "1")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    result = host.run(["env"], env={"EXTRA": "yes"})
    seen = dict(line.split("=", 1) for line in result.stdout.splitlines())
    me = pwd.getpwuid(os.geteuid())
    seen.pop(command.MARK)
    assert seen == {
        "PATH": ":".join(SEARCH_PATH),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": me.pw_dir,
        "USER": me.pw_name,
        "LOGNAME": me.pw_name,
        "EXTRA": "yes",
    }


def test_a_command_gets_no_descriptor_no_terminal_and_a_session_of_its_own(
    host: RealHost,
) -> None:
    kept = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        result = host.run(
            python("""
                import os
                inherited = sorted(int(n) for n in os.listdir('/proc/self/fd'))
                inherited = [n for n in inherited if os.path.exists(f'/proc/self/fd/{n}')]
                print(inherited, os.getsid(0) == os.getpid(), os.getcwd(), repr(os.read(0, 9)))
            """)
        )
    finally:
        os.close(kept)
    assert result.stdout == "[0, 1, 2] True / b''\n"


def test_what_is_not_installed_is_not_found(host: RealHost, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    for program in ("qlmdm-no-such-program", str(plain), str(script), str(tmp_path), "a\0b", ""):
        result = host.run([program])
        assert not result.found
        assert result.returncode is None
        assert not result.ok
    assert host.run([]).error == "no program named"


def test_a_program_outside_the_fixed_path_is_not_found_by_name(
    host: RealHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "qlmdm-trap"
    program.write_text("#!/bin/sh\necho caught\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert host.which("qlmdm-trap") is None
    assert not host.run(["qlmdm-trap"]).found
    assert host.which(str(program)) == str(program)
    assert host.run([str(program)]).stdout == "caught\n"


def test_a_name_is_looked_for_on_the_fixed_path(host: RealHost) -> None:
    path = host.which("sh")
    assert path is not None
    assert os.path.dirname(path) in SEARCH_PATH


def test_arguments_that_no_command_can_have_are_an_error(host: RealHost) -> None:
    assert host.run(["echo", "a\0b"]).error
    assert host.run(["echo", "\ud800"]).error
    assert host.run(["echo", "x" * (4 << 20)]).error


def test_standard_input_is_fed_without_a_deadlock(host: RealHost) -> None:
    text = "ä line of text\n" * 200_000
    result = host.run(["cat"], stdin=text)
    assert result.stdout == text[: len(result.stdout)]
    assert result.ok or result.truncated
    assert host.run(["cat"], stdin="small").stdout == "small"
    assert host.run(["true"], stdin=text).ok


def test_both_streams_are_read_at_once(host: RealHost) -> None:
    result = host.run(
        python("""
            import os
            for _ in range(40):
                os.write(2, b'e' * 30000); os.write(1, b'o' * 30000)
        """)
    )
    assert result.ok
    assert (len(result.stdout), len(result.stderr)) == (1_200_000, 1_200_000)


def test_output_that_is_not_utf8_is_replaced(host: RealHost) -> None:
    assert host.run(["printf", r"a\377b"]).stdout == "a\ufffdb"


def test_too_much_output_is_cut_and_the_command_killed(host: RealHost) -> None:
    result = host.run(["yes"], max_bytes=1000)
    assert result.truncated
    assert not result.timed_out
    assert len(result.stdout) == 1000
    assert result.returncode == -signal.SIGKILL
    assert not result.ok
    exact = host.run(["printf", "12345"], max_bytes=5)
    assert exact.ok
    assert not exact.truncated


def test_a_command_that_hangs_is_ended_at_its_deadline(host: RealHost) -> None:
    result = host.run(python("import time; print('begun', flush=True); time.sleep(600)"), timeout=1)
    assert result.timed_out
    assert result.returncode is None
    assert result.why.endswith("did not answer in time")


ESCAPE = """
    import os, signal, sys, time
    # Into another session, orphaned, deaf to all that can be ignored, with closed streams.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (1, 2, 15):
                signal.signal(number, signal.SIG_IGN)
            with open(sys.argv[1] + '.new', 'w') as file:
                file.write(str(os.getpid()))
            os.rename(sys.argv[1] + '.new', sys.argv[1])
            if sys.argv[2] == 'quiet':
                null = os.open('/dev/null', os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(null, number)
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    if sys.argv[3] == 'hang':
        time.sleep(600)
"""


def test_what_escaped_its_session_is_killed_at_the_deadline(host: RealHost, tmp_path: Path) -> None:
    where = tmp_path / "pid"
    result = host.run(python(ESCAPE, str(where), "quiet", "hang"), timeout=3)
    assert result.timed_out
    pid = int(where.read_text())
    assert wait_until(lambda: is_gone(pid))


def test_a_daemon_that_holds_the_output_delays_nobody(host: RealHost, tmp_path: Path) -> None:
    where = tmp_path / "pid"
    result = host.run(python(ESCAPE, str(where), "loud", "end"), timeout=500)
    assert result.ok
    pid = int(where.read_text())
    assert wait_until(lambda: is_gone(pid))


def test_a_background_job_does_not_outlive_its_command(host: RealHost) -> None:
    result = host.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"])
    assert wait_until(lambda: is_gone(int(result.stdout)))


def test_without_pidfd_an_old_kernel_is_served_as_well(
    host: RealHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing, raising=False)
    assert host.run(["echo", "hello"]).stdout == "hello\n"
    assert host.run(["sleep", "600"], timeout=0.2).timed_out


def test_nothing_stays_open_after_commands(host: RealHost) -> None:
    before = len(os.listdir("/proc/self/fd"))
    host.run(["true"])
    host.run(["yes"], max_bytes=10)
    host.run(["sleep", "600"], timeout=0.1)
    host.run(["cat"], stdin="x")
    assert len(os.listdir("/proc/self/fd")) == before


@needs_root
@pytest.mark.root
def test_root_runs_a_command_as_another_user(host: RealHost) -> None:
    nobody = pwd.getpwnam("nobody")
    code = """
        import os
        print(os.getresuid(), os.getresgid(), os.getgroups())
        print(os.environ['HOME'], os.environ['USER'], os.environ['LOGNAME'])
    """
    result = host.run(["/usr/bin/python3", "-I", "-c", textwrap.dedent(code)], user="nobody")
    if not result.found:
        pytest.skip("no /usr/bin/python3")
    uid, gid = nobody.pw_uid, nobody.pw_gid
    groups = sorted(os.getgrouplist("nobody", gid))
    first, second = result.stdout.splitlines()
    assert first == f"({uid}, {uid}, {uid}) ({gid}, {gid}, {gid}) {groups}"
    assert second == f"{nobody.pw_dir} nobody nobody"


def test_an_unknown_user_is_an_error(host: RealHost) -> None:
    result = host.run(["true"], user="qlmdm-nobody-here")
    assert result.error == "there is no user qlmdm-nobody-here"
    assert result.returncode is None
    assert not result.ok


def test_the_present_user_needs_no_rights(host: RealHost) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert host.run(["id", "-un"], user=me).stdout.strip() == me


def test_without_root_nobody_else_can_be_become(
    host: RealHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "nobody" if pwd.getpwuid(os.geteuid()).pw_name != "nobody" else "root"
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    result = host.run(["true"], user=other)
    assert result.error == f"not root: cannot run as {other}"
    assert not result.ok


# --- files --------------------------------------------------------------------------------


def test_files_are_read_and_bounded(host: RealHost, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"gr\xc3\xbcn \xff")
    assert host.read(str(tmp_path / "text")) == "grün \ufffd"
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 40)
    assert len(host.read(str(big), max_bytes=10)) == 10
    assert host.read("/proc/self/stat").startswith(f"{os.getpid()} ")


def test_only_regular_files_are_opened(host: RealHost, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    try:
        for name in ("fifo", "link", "socket"):
            with pytest.raises(OSError, match="not a regular file"):
                host.read(str(tmp_path / name))
    finally:
        server.close()
    with pytest.raises(IsADirectoryError):
        host.read(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        host.read(str(tmp_path / "none"))


def test_a_name_that_no_file_can_have_is_an_oserror(host: RealHost) -> None:
    for call in (host.read, host.stat, host.listdir, host.readlink):
        for name in ("/a\0b", "/\ud800", "", "/" + "x" * 5000):
            with pytest.raises(OSError, match=r"file name|No such|too long"):
                call(name)
    assert not host.exists("/a\0b")
    assert not host.exists("/\ud800")
    assert host.glob("/\0*") == []


def test_paths_are_found_and_described(host: RealHost, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("1")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "d").mkdir()
    base = str(tmp_path)
    assert host.listdir(base) == [".hidden", "a", "b", "d", "dangling"]
    assert host.glob(f"{base}/[ab]") == [f"{base}/a", f"{base}/b"]
    assert host.glob(f"{base}/*") == [f"{base}/{n}" for n in ("a", "b", "d", "dangling")]
    assert host.glob(f"{base}/**") == host.glob(f"{base}/*")
    assert host.glob(f"{base}/.h*") == [f"{base}/.hidden"]
    assert host.glob(f"{base}/d/*") == []
    assert host.glob(f"{base}/?/x") == []
    assert host.readlink(f"{base}/a") == "b"
    assert host.exists(f"{base}/a")
    assert not host.exists(f"{base}/dangling")
    found = host.stat(f"{base}/a")
    assert stat.S_ISREG(found.mode)
    assert (found.size, found.uid) == (1, os.geteuid())
    assert found.mtime == (tmp_path / "b").stat().st_mtime
    with pytest.raises(OSError, match="Invalid argument"):
        host.readlink(f"{base}/b")


@needs_root
@pytest.mark.root
def test_what_is_hidden_may_exist_and_is_refused(host: RealHost, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").write_text("x")
    for parent in (tmp_path, *tmp_path.parents):
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o711)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        answer = b"wrong"
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
            try:
                host.read(str(closed / "file"))
            except PermissionError:
                answer = b"refused" if host.exists(str(closed / "file")) else b"absent"
        os.write(writer, answer)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"refused"


# --- processes ----------------------------------------------------------------------------


def test_processes_are_described(host: RealHost) -> None:
    found = {process.pid: process for process in host.processes()}
    assert list(found) == sorted(found)
    me = found[os.getpid()]
    assert me.ppid == os.getppid()
    assert me.uid == os.geteuid()
    assert me.user == pwd.getpwuid(os.geteuid()).pw_name
    assert me.program == os.path.realpath("/proc/self/exe")
    assert me.argv
    assert me.environ is not None


def test_a_process_that_vanishes_or_lies_hurts_nobody(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("Name:\tx\nPPid:\tmany\nUid:\nUid:\t0\t4294967295\n")
    (tmp_path / "7/cmdline").write_bytes(b"a\0b c\0\0\0")
    (tmp_path / "7/environ").write_bytes(b"A=1\0broken\0B=\xff\0")
    (tmp_path / "7/comm").write_bytes(b"\xff)\n")
    (tmp_path / "²").mkdir()
    (process,) = procfs.read_processes(str(tmp_path))
    assert process.pid == 7
    assert process.ppid is None
    assert process.user is None
    assert process.comm == "\ufffd)"
    assert process.argv == ("a", "b c")
    assert process.exe is None
    assert process.environ == {"A": "1", "B": "\ufffd"}


# --- network ------------------------------------------------------------------------------


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/stay":
            self.redirect("/end?key=1")
        elif self.path == "/leave":
            self.redirect("http://127.0.0.2:9/end")
        elif self.path == "/loop":
            self.redirect("/loop")
        elif self.path == "/huge":
            self.answer(b"x" * (2 << 20))
        else:
            self.answer(str(self.headers.get("authorization")).encode())

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["content-length"])))

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_request_sends_json_and_reads_the_answer(host: RealHost, server: str) -> None:
    answer = host.http("POST", f"{server}/x", json={"a": 1})
    assert (answer.status, answer.error) == (200, "")
    assert answer.body.replace(" ", "") == '{"a":1}'


def test_redirects_stay_on_the_host_and_no_login_is_sent(host: RealHost, server: str) -> None:
    assert host.http("GET", f"{server}/stay").body == "None"
    assert host.http("GET", f"{server}/leave").status == 302
    assert host.http("GET", f"{server}/loop").error == "too many redirects"


def test_a_request_that_fails_says_why_without_its_key(host: RealHost, server: str) -> None:
    assert "larger" in host.http("GET", f"{server}/huge").error
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/?key=geheim"
        assert host.http("GET", url, timeout=0.3).error == "no answer in time"
    refused = host.http("GET", url)
    assert refused.status == 0
    assert refused.error
    assert "geheim" not in refused.error
    assert host.http("GET", "file:///etc/passwd").error
    assert host.http("GET", "http://[").error
