"""`qlmdm-collect --record` at a terminal: the person sees it first, and decides.

The real command on a pseudo-terminal, of a machine that is itself only recorded.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import settings
from qlmdm_core.client import bug_report
from qlmdm_core.client.collect import collect
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.host.journal import NotRecordedError
from qlmdm_core.testing import RecordedMachine, write_distribution

COLLECT = str(Path(sys.executable).parent / "qlmdm-collect")

PLUGIN = """
    from qlmdm_core import Collector, hookimpl

    def acme(host):
        return {"state": "on" if "lock = yes" in host.read("/etc/acme.conf") else "off"}

    @hookimpl
    def qlmdm_register_collectors(settings):
        return [Collector(name="acme", run=acme)]
"""


@pytest.fixture
def machine(tmp_path: Path) -> str:
    recorded = RecordedMachine(tmp_path / "machine")
    recorded.file("/etc/os-release", 'ID=arch\nPRETTY_NAME="Arch of grace"\n')
    recorded.file("/etc/passwd", "grace:x:1000:1000:Grace,,,:/home/grace:/bin/sh\n")
    return str(recorded.write())


class Terminal:
    """A command that runs at a terminal."""

    def __init__(self, *argv: str, **environ: str) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            # setsid(1), --ctty: so that Ctrl-C is a signal
            ["/usr/bin/setsid", "--ctty", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **environ},
        )
        os.close(slave)
        self.said = ""

    def wait_for(self, text: str) -> None:
        """Read until this was said (once more)."""
        start = len(self.said)
        while text not in self.said[start:]:
            assert self.listen(60), f"waited for {text!r}: {self.said}"

    def listen(self, seconds: float = 0.5) -> bool:
        """Whether it said something more within this time."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            self.said += os.read(self._master, 4096).decode("utf-8", "replace")
        except OSError:  # pty(7): the other side is closed
            raise AssertionError(f"it ended: {self.said}") from None
        return True

    def answer(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

    def press(self, key: str) -> None:
        os.write(self._master, key.encode())

    def press_ctrl_c(self) -> None:
        self.press("\x03")

    def kill(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def end(self) -> int:
        """Its exit status."""
        while True:
            try:
                data = os.read(self._master, 4096)
            except OSError:
                break
            if not data:
                break
            self.said += data.decode("utf-8", "replace")
        os.close(self._master)
        return self._process.wait(60)


@pytest.mark.parametrize(("answer", "status", "written"), [("n", 1, False), ("w", 0, True)])
def test_nothing_is_written_before_the_person_agrees(
    tmp_path: Path, machine: str, answer: str, status: int, written: bool
) -> None:
    target = tmp_path / "report"
    terminal = Terminal(
        COLLECT, "--replay", machine, "--record", str(target), "--only", "os_info", "accounts"
    )
    terminal.wait_for("[n]othing? ")
    assert "collectors conclude the same from it" in terminal.said
    assert "renamed: " in terminal.said
    assert not target.exists() or os.listdir(target) == []
    terminal.answer(answer)
    assert terminal.end() == status, terminal.said
    assert target.exists() is written
    if written:
        text = "".join(p.read_text() for p in target.rglob("*") if p.is_file())
        assert "grace" not in text
        assert "user1" in text


def test_a_question_that_is_not_understood_is_asked_again(tmp_path: Path, machine: str) -> None:
    terminal = Terminal(
        COLLECT, "--replay", machine, "--record", str(tmp_path / "r"), "--only", "os_info"
    )
    terminal.wait_for("[n]othing? ")
    terminal.answer("perhaps")
    terminal.wait_for("[n]othing? ")
    terminal.answer("")
    assert terminal.end() == 1


@pytest.mark.parametrize("how", ["ctrl-c", signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_at_the_question_leaves_nothing_behind(
    tmp_path: Path, machine: str, how: str | int
) -> None:
    target, scratch = tmp_path / "report", tmp_path / "scratch"
    scratch.mkdir()
    options = ["--replay", machine, "--record", str(target), "--only", "os_info"]
    terminal = Terminal(COLLECT, *options, TMPDIR=str(scratch))
    terminal.wait_for("[n]othing? ")
    (folder,) = scratch.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    if isinstance(how, int):
        terminal.kill(how)
    else:
        terminal.press_ctrl_c()
    assert terminal.end() == (128 + how if isinstance(how, int) else 130), terminal.said
    assert not target.exists()
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/usr/bin/less"), reason="less(1) is not installed")
def test_ctrl_c_in_the_pager_is_the_pagers(tmp_path: Path, machine: str) -> None:
    options = ["--replay", machine, "--record", str(tmp_path / "r"), "--only", "os_info"]
    terminal = Terminal(COLLECT, *options, TERM="xterm")
    terminal.wait_for("[n]othing? ")
    terminal.answer("v")
    terminal.wait_for("(END)")
    terminal.press_ctrl_c()
    asked = terminal.said.count("[n]othing? ")
    while terminal.said.count("[n]othing? ") == asked:
        terminal.press("q")  # again and again: less forgets what was typed when it is interrupted
        terminal.listen()
    terminal.answer("?")  # with what is left of the above before it: never understood
    terminal.wait_for("[n]othing? ")
    terminal.answer("w")
    assert terminal.end() == 0, terminal.said
    assert (tmp_path / "r/machine.json").exists()


def test_a_folder_that_is_taken_away_meanwhile_is_an_error_and_no_crash(
    tmp_path: Path, machine: str
) -> None:
    target = tmp_path / "report"
    terminal = Terminal(COLLECT, "--replay", machine, "--record", str(target), "--only", "os_info")
    terminal.wait_for("[n]othing? ")
    target.rmdir()
    terminal.answer("w")
    assert terminal.end() == 3
    assert f"{target}: can't be recorded into: No such file" in " ".join(terminal.said.split())
    assert "Traceback" not in terminal.said
    assert not target.exists()


def record(machine: str, target: Path, agreed: Callable[[str], bool]) -> bool:
    loaded: Any = settings.defaults(StandaloneSettings)
    return bug_report.record(
        str(target),
        lambda make: collect(loaded, only=["os_info"], make_host=make),
        replay=machine,
        renamed=True,
        agreed=agreed,
        say=lambda _: None,
    )[1]


def test_without_a_folder_for_temporary_files_nothing_is_recorded(
    tmp_path: Path, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(NotRecordedError, match="TMPDIR"):
        record(machine, tmp_path / "report", lambda _: True)
    assert not (tmp_path / "report").exists()


def test_half_of_a_recording_is_taken_away_again(
    tmp_path: Path, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another file system that is full."""

    def full(source: str, target: str) -> None:
        if source.endswith("machine.json"):
            raise OSError(28, "No space left on device")
        os.rename(source, target)

    monkeypatch.setattr(shutil, "move", full)
    target = tmp_path / "report"
    target.mkdir()
    with pytest.raises(NotRecordedError, match="report: can't be recorded into: No space"):
        record(machine, target, lambda _: True)
    assert list(target.iterdir()) == []


def test_a_recording_comes_whole_to_another_file_system(tmp_path: Path, machine: str) -> None:
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("there is no other file system to write to")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert record(machine, Path(folder, "report"), lambda _: True)
        assert os.listdir(Path(folder, "report"))[0]
        assert Path(folder, "report/files/etc/os-release").read_text().startswith("ID=arch")


def test_names_are_kept_when_that_is_asked_for(tmp_path: Path, machine: str) -> None:
    target = tmp_path / "report"
    options = ["--keep-names", "--yes", "--only", "os_info"]
    done = subprocess.run(
        [COLLECT, "--replay", machine, "--record", str(target), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "left as they are: names of people" in done.stderr
    assert "grace" in (target / "files/etc/os-release").read_text()


def test_a_name_that_is_a_word_of_a_file_is_told(tmp_path: Path) -> None:
    """A person called like a setting: with another name, collectors conclude otherwise."""
    recorded = RecordedMachine(tmp_path / "machine")
    recorded.file("/etc/passwd", "lock:x:1000:1000::/home/lock:/bin/sh\n")
    recorded.file("/etc/acme.conf", "lock = yes\n")
    write_distribution(
        tmp_path / "plugin",
        "acme",
        entry_points={CLIENT_GROUP: "main = acme"},
        modules={"acme": textwrap.dedent(PLUGIN)},
    )
    argv = ["--replay", str(recorded.write()), "--record", str(tmp_path / "r"), "--yes"]
    done = subprocess.run(
        [COLLECT, *argv, "--only", "acme", "accounts"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "plugin")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "acme says off by this recording, and on here" in done.stderr
    assert "--keep-names" in done.stderr


@pytest.mark.parametrize("option", ["--yes", "--keep-names"])
def test_options_of_a_recording_go_with_it(option: str) -> None:
    done = subprocess.run(
        [COLLECT, "--stdout", option], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--record" in done.stderr
