"""`qlmdm-collect --record` at a terminal: the person sees it first, and decides.

The real command on a pseudo-terminal, of a machine that is itself only recorded.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from qlmdm_core.hookspecs import CLIENT_GROUP
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

    def __init__(self, *argv: str) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.said = ""

    def wait_for(self, text: str) -> None:
        """Read until this was said (once more)."""
        start = len(self.said)
        while text not in self.said[start:]:
            assert select.select([self._master], [], [], 60)[0], f"waited for {text!r}: {self.said}"
            try:
                self.said += os.read(self._master, 4096).decode("utf-8", "replace")
            except OSError:  # pty(7): the other side is closed
                raise AssertionError(f"it ended without {text!r}: {self.said}") from None

    def answer(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

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
