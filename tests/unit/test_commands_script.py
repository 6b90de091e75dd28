"""How a script is run: what it is told, what is kept of what it says, and that nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client.commands import script
from qlmdm_core.client.commands.capture import GAP, Capture, share
from qlmdm_core.client.commands.script import Job, Ran


def job(tmp_path: Path, text: str) -> Job:
    (tmp_path / "home").mkdir(exist_ok=True)
    path = tmp_path / "script"
    path.write_text(textwrap.dedent(text))
    path.chmod(0o700)
    return Job(
        script=str(path),
        interpreter="/bin/sh",
        folder=str(tmp_path / "home"),
        timeout=60.0,
        output_max=10_000,
    )


def run(tmp_path: Path, text: str) -> Ran:
    return script.run(job(tmp_path, text))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that init has not fetched yet is dead enough.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_output_and_status_come_back(tmp_path: Path) -> None:
    ran = run(tmp_path, "echo out; echo err >&2; exit 3")
    assert (ran.exit_status, ran.stdout, ran.stderr) == (3, "out\n", "err\n")
    assert (ran.truncated, ran.reason) == (False, "")
    assert ran.seconds > 0


def test_a_script_is_told_nothing_but_where_programs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "canary")
    monkeypatch.setenv("LD_PRELOAD", "")
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    ran = run(tmp_path, f"umask; pwd; env; ls /proc/self/fd; {sys.executable} -c '{code}'")
    assert ran.stdout.startswith(f"0077\n{tmp_path}/home\n")
    lines = ran.stdout.splitlines()
    names = {line.partition("=")[0] for line in lines if "=" in line and line[0].isupper()}
    assert names <= {"PATH", "HOME", "TMPDIR", "LC_ALL", "PWD", "OLDPWD", "SHLVL", "_"}
    assert f"HOME={tmp_path}/home" in ran.stdout
    assert "LC_ALL=C.UTF-8" in ran.stdout
    assert "canary" not in ran.stdout
    # 0, 1, 2 and the one by which `ls` reads the list
    assert [line for line in lines if line.isdigit() and len(line) < 3] == ["0", "1", "2", "3"]


def test_a_script_names_its_own_interpreter_through_env(tmp_path: Path) -> None:
    made = replace(
        job(tmp_path, f"#!{os.path.realpath(sys.executable)} -I\nprint(6 * 7)"),
        interpreter="/usr/bin/env",
    )
    assert script.run(made).stdout == "42\n"


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    ran = script.run(replace(job(tmp_path, "true"), interpreter="/no/such/shell"))
    assert ran.exit_status is None
    assert "/no/such/shell can't be started" in ran.reason


def test_a_script_killed_by_a_signal_has_no_status(tmp_path: Path) -> None:
    ran = run(tmp_path, "kill -9 $$")
    assert (ran.exit_status, ran.reason) == (None, "killed by signal 9")


def test_a_script_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    made = job(tmp_path, "trap '' TERM; sleep 1000 & echo $!; setsid sleep 1000 & echo $!; wait")
    ran = script.run(replace(made, timeout=0.5))
    assert ran.exit_status is None
    assert "longer than 0.5 seconds" in ran.reason
    pids = [int(line) for line in ran.stdout.split()]
    assert len(pids) == 2
    assert not any(map(alive, pids))


def test_a_daemon_that_a_script_leaves_is_ended(tmp_path: Path) -> None:
    ran = run(
        tmp_path,
        "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' >/dev/null 2>&1 &)\n"
        "until [ -s daemon ]; do :; done; exit 0",
    )
    assert ran.exit_status == 0
    assert ran.reason == "what it left running was ended"
    assert not alive(int((tmp_path / "home/daemon").read_text()))


def test_a_daemon_that_holds_the_output_open_holds_nothing_up(tmp_path: Path) -> None:
    ran = run(tmp_path, "sleep 1000 & echo done")
    assert (ran.exit_status, ran.stdout) == (0, "done\n")


def test_a_fork_bomb_is_ended(tmp_path: Path) -> None:
    made = job(tmp_path, "f() { echo $$; sleep 100 & f & wait; }; f")
    ran = script.run(replace(made, processes=40))
    if ran.exit_status is None:
        assert "more than 40 processes" in ran.reason
    else:  # a cgroup kept it from starting more
        assert "fork" in ran.stderr


def test_a_flood_of_output_is_cut_in_the_middle(tmp_path: Path) -> None:
    ran = run(tmp_path, "echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo last")
    assert ran.exit_status == 0
    assert ran.truncated
    assert ran.stdout.startswith("first\nxxx")
    assert ran.stdout.endswith("xxx\nlast\n")
    assert len(ran.stdout) <= 10_000 + len(GAP)


def test_whoever_ran_it_is_killed_and_nothing_of_the_script_is_left(tmp_path: Path) -> None:
    made = job(tmp_path, "sleep 1000 & echo $! > pids; setsid sleep 1000 & echo $! >> pids; wait")
    code = (
        "import sys; from qlmdm_core.client.commands.script import *; "
        "run(Job(script=sys.argv[1], interpreter='/bin/sh', folder=sys.argv[2], timeout=1000.0, "
        "output_max=10))"
    )
    argv = [sys.executable, "-c", code, made.script, made.folder]
    with subprocess.Popen(argv) as runner:
        pids = tmp_path / "home/pids"
        while not pids.exists() or len(pids.read_text().splitlines()) < 2:
            assert runner.poll() is None
        runner.send_signal(signal.SIGKILL)
    numbers = [int(line) for line in pids.read_text().split()]
    while any(map(alive, numbers)):
        pass  # the keeper ends them; if it did not, this would never end


@given(st.lists(st.binary(max_size=60)), st.integers(0, 100), st.integers(0, 100))
def test_of_any_output_no_more_is_kept_than_may_be(
    chunks: list[bytes], limit: int, less: int
) -> None:
    capture = Capture(limit)
    for chunk in chunks:
        capture.add(chunk)
    whole = b"".join(chunks)
    assert len(capture._first) + len(capture._last) <= limit
    text = capture.text(min(less, limit))
    if len(whole) <= min(less, limit):
        assert text == whole.decode("utf-8", "replace")
    else:
        assert GAP in text
        assert len(text) <= min(less, limit) + len(GAP)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_two_streams_share_what_there_is(out: int, err: int, limit: int) -> None:
    stdout, stderr = Capture(limit), Capture(limit)
    stdout.add(b"o" * out)
    stderr.add(b"e" * err)
    said, errors, cut = share(stdout, stderr, limit)
    assert said.count("o") + errors.count("e") <= limit
    assert cut == (out + err > limit)
    if not cut:
        assert (said, errors) == ("o" * out, "e" * err)
