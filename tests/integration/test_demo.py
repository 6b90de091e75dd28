"""`./dev demo`, without its wrapper: what it shows, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qlmdm_core.client.state import COLLECTED

DEMO = Path(__file__).parents[2] / "tools" / "demo"
BIN = Path(sys.executable).parent
SECONDS = 240.0
pytestmark = pytest.mark.timeout(300)


class Playing:
    """A demo that runs, with a folder of its own for temporary files and no home."""

    def __init__(self, *args: str, demo: Path = DEMO) -> None:
        self.tmp = Path(tempfile.mkdtemp(prefix="qdemo", dir="/tmp"))
        self.mark = f"DEMO_OF_TEST={self.tmp.name}"
        self.output = ""
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, str(demo), *args],
            env={**os.environ, "TMPDIR": str(self.tmp), "HOME": "/proc/nowhere", name: value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def folder(self) -> Path:
        """The demo's own."""
        return next(self.tmp.glob("qlmdm-demo-*"))

    def read_until(self, text: str) -> None:
        """Read what it prints, up to the line that holds the text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        pytest.fail(f"{text!r} was not printed, but:\n{self.output}")

    def end(self) -> int:
        """Wait until it has ended; its exit status."""
        rest, _ = self.process.communicate(timeout=SECONDS)
        self.output += rest
        return self.process.returncode

    def left(self) -> list[str]:
        """The files and the processes that are there."""
        return [str(path) for path in self.tmp.rglob("*")] + running(self.mark)

    def clean(self) -> None:
        """Remove whatever a failed test leaves."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        for entry in running(self.mark):
            os.kill(int(entry.partition(" ")[0]), signal.SIGKILL)
        subprocess.run(["rm", "-rf", str(self.tmp)], check=True)


def running(mark: str) -> list[str]:
    """The processes that have this in their environment; a zombie runs no more."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if state not in "ZX":
            found.append(f"{folder.name} {line}")
    return found


Play = Callable[..., Playing]


@pytest.fixture
def play() -> Iterator[Play]:
    """Starts demos that are gone after the test."""
    started: list[Playing] = []

    def start(*args: str, demo: Path = DEMO) -> Playing:
        started.append(Playing(*args, demo=demo))
        return started[-1]

    yield start
    for playing in started:
        playing.clean()


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


# --- to its end --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played() -> Iterator[Playing]:
    """A demo that ran to its end."""
    playing = Playing()
    assert playing.end() == 0, playing.output
    yield playing
    playing.clean()


def test_the_fleet_is_shown_as_a_table(played: Playing) -> None:
    lines = [line.strip() for line in played.output.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith("CLIENT "))
    rows = [re.split(r"  +", line) for line in lines[start + 1 : start + 6]]
    shown = {row[0]: (row[1], row[2], row[-1]) for row in rows}
    here = shown.pop(os.uname().nodename)
    assert here[0] == "you@example.com"
    assert shown == {
        "ada-laptop": ("ada@example.com", "ubuntu 24.04", "all pass"),
        "bob-desktop": ("bob@example.com", "linuxmint 20.3", "13 fail"),
        "carol-arch": ("carol@example.com", "arch", "3 fail, 1 unknown"),
        "dave-partly-unknown": ("dave@example.com", "void", "2 fail, 10 unknown"),
    }


def test_the_issues_are_shown_as_they_would_be_mailed(played: Playing) -> None:
    lines = played.output.splitlines()
    assert (
        "bob-desktop (bob@example.com): screenlock-disabled now: bob's Cinnamon session never "
        "locks by itself (lock-enabled is false). As bob: gsettings set "
        "org.cinnamon.desktop.screensaver lock-enabled true, or snooze with: "
        "qlmdm-issues snooze bob-desktop screenlock-disabled"
    ) in lines
    unknown = (
        "dave-partly-unknown (dave@example.com): unknown now: no plugin knows the package manager "
        "of Void Linux (os-security-patches-available, os-update-available)"
    )
    assert sum(line.startswith(unknown) for line in lines) == 1
    told = [line.partition(" (")[0] for line in lines if "@example.com): " in line]
    assert set(told) - {os.uname().nodename} == {
        "bob-desktop",
        "carol-arch",
        "dave-partly-unknown",
    }
    assert told.count("bob-desktop") == 13


def test_a_release_installs_itself_and_a_command_runs_once(played: Playing) -> None:
    if "what needs a release is left out" in played.output:
        pytest.skip("pip reaches no package index")
    lines = [line.strip() for line in played.output.splitlines()]
    assert "release 1.2 is installed, and is tried at the next start (within a minute)" in lines
    assert any(re.match(r"1\.2 +published +1 ", line) for line in lines)
    assert "== erin-laptop: done, exit status 0" in lines
    assert f"Linux {os.uname().release}" in lines


def test_a_wipe_by_somebody_who_is_no_operator_is_refused(played: Playing) -> None:
    refused = played.output.partition("is refused\n")[2]
    assert "/dev/sda: WD-WXA1E7700001" in refused
    assert "no operator key is called" in refused
    assert "is queued" not in refused


def test_the_readme_shows_what_is_printed(played: Playing) -> None:
    readme = (DEMO.parents[1] / "README.md").read_text()
    (sample,) = re.findall(r"```\n(CLIENT .*?)```", readme, re.DOTALL)
    printed = without_times(played.output)
    assert [line for line in without_times(sample) if line not in printed] == []


def without_times(text: str) -> list[str]:
    """The lines, without how long ago each client was seen, which makes a column wider, too."""
    return [
        re.sub(r"  (now|\d+ seconds? ago|LAST SEEN)  +", "  ", line.strip())
        for line in text.splitlines()
    ]


def test_it_says_that_there_are_no_grace_periods_and_what_to_try_next(played: Playing) -> None:
    assert "no grace periods" in played.output
    assert "./dev demo --keep" in played.output


def test_the_commands_are_shown_as_one_would_type_them(played: Playing) -> None:
    assert "$ qlmdm-client-cron --now\n" in played.output
    assert "$ qlmdm-clients invite --email you@example.com" in played.output


def test_nothing_is_left_at_the_end(played: Playing) -> None:
    assert played.left() == []


# --- not to its end ----------------------------------------------------------------------------


# Each of these, once true, stays so: no moment can be missed.


def making_keys(playing: Playing) -> bool:
    """The setup is at it: at least one key is begun."""
    return any(playing.folder.glob("server/keys/*"))


def enrolling(playing: Playing) -> bool:
    """This machine makes its key."""
    return (playing.folder / "clients/this-machine/state/gnupg").is_dir()


def collecting(client: str) -> Callable[[Playing], bool]:
    """Wardens and workers are at work (several processes of one name), or were."""

    def is_so(playing: Playing) -> bool:
        state = playing.folder / "clients" / client / "state"
        at_work = sum("qlmdm-client-cron" in line for line in running(playing.mark)) > 3
        return state.is_dir() and (at_work or (state / COLLECTED).exists())

    return is_so


def at_once(_playing: Playing) -> bool:
    return True


# What takes as long as the whole demo is left to `nox -s slow`.
MOMENTS = (
    pytest.param("Everything happens", at_once, signal.SIGTERM, id="begun"),
    pytest.param("$ qlmdm-server-setup", at_once, signal.SIGINT, id="setup"),
    pytest.param("$ qlmdm-server-setup", making_keys, signal.SIGTERM, id="making-keys"),
    pytest.param("$ qlmdm-server\n", at_once, signal.SIGTERM, id="server"),
    pytest.param("$ qlmdm-clients invite", at_once, signal.SIGHUP, id="invite"),
    pytest.param("$ qlmdm-client-setup", enrolling, signal.SIGTERM, id="enrolling"),
    pytest.param("$ qlmdm-client-cron", collecting("this-machine"), signal.SIGINT, id="collecting"),
    pytest.param(
        "carol-arch", collecting("carol-arch"), signal.SIGTERM, id="replay", marks=pytest.mark.slow
    ),
    pytest.param("$ qlmdm-audit", at_once, signal.SIGINT, id="audit", marks=pytest.mark.slow),
    pytest.param(
        "$ qlmdm-clients list", at_once, signal.SIGQUIT, id="list", marks=pytest.mark.slow
    ),
)


@pytest.mark.parametrize(("text", "condition", "number"), MOMENTS)
def test_stopped_at_any_moment_it_leaves_nothing(
    text: str, condition: Callable[[Playing], bool], number: signal.Signals, play: Play
) -> None:
    playing = play()
    playing.read_until(text)
    wait_for(lambda: condition(playing))
    playing.process.send_signal(number)
    assert (playing.end(), playing.left()) == (128 + number, [])
    assert f"stopped by {number.name}; cleaning up" in playing.output


def test_a_second_signal_does_not_disturb_the_cleaning(play: Play) -> None:
    playing = play()
    playing.read_until("$ qlmdm-client-setup")
    for _ in range(3):
        playing.process.send_signal(signal.SIGINT)
    assert (playing.end(), playing.left()) == (130, [])


def test_a_reader_that_goes_away_ends_it(play: Play) -> None:
    playing = play()
    playing.read_until("Everything happens")
    assert playing.process.stdout is not None
    playing.process.stdout.close()
    playing.process.wait(timeout=SECONDS)
    assert playing.left() == []


def test_a_step_that_fails_is_shown_with_what_it_printed(play: Play, tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    shutil.copytree(DEMO, demo, symlinks=True)
    (demo / "machines" / "ada-laptop" / "commands.json").write_text("no JSON")
    playing = play(demo=demo)
    assert playing.end() == 3
    assert "./dev demo: qlmdm-client-cron --now --replay" in playing.output
    assert "ended with status 2:" in playing.output
    assert "commands.json: not JSON" in playing.output
    assert playing.left() == []


# --- kept --------------------------------------------------------------------------------------


def test_a_demo_that_is_kept_can_be_used_and_stopped(play: Play) -> None:
    playing = play("--keep")
    assert playing.end() == 0, playing.output
    folder = playing.folder
    (url,) = re.findall(r"The server runs at (\S+)\. ", playing.output)
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
        assert answer.status == 200

    environ = {**os.environ, "QLMDM_SETTINGS": f"{folder}/server/settings.yml"}
    argv = [str(BIN / "qlmdm-clients"), "list", "--json"]
    listed = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True).stdout
    assert len([json.loads(line) for line in listed.splitlines()]) == 5

    (typed,) = re.findall(r"dev'? demo --stop (\S+)", playing.output)
    assert typed == str(folder)
    stop = [sys.executable, str(DEMO), "--stop", typed]
    assert subprocess.run(stop, check=False, capture_output=True).returncode == 0
    assert playing.left() == []
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/healthz", timeout=10)
    again = subprocess.run(stop, check=False, capture_output=True, text=True)
    assert (again.returncode, "is not the folder of a demo" in again.stderr) == (2, True)


@pytest.mark.parametrize("name", ["mine", "qlmdm-demo-empty"])
def test_only_the_folder_of_a_demo_is_removed(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    if name == "mine":
        (folder / "server.pid").write_text("1\n")
    stop = [sys.executable, str(DEMO), "--stop", str(folder)]
    done = subprocess.run(stop, check=False, timeout=SECONDS)
    assert (done.returncode, folder.is_dir()) == (2, True)


def test_the_number_of_another_process_is_not_killed(tmp_path: Path) -> None:
    folder = tmp_path / "qlmdm-demo-old"
    folder.mkdir()
    with subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL) as other:
        (folder / "server.pid").write_text(f"{other.pid}\n")
        stop = [sys.executable, str(DEMO), "--stop", str(folder)]
        done = subprocess.run(stop, check=False, capture_output=True, text=True, timeout=SECONDS)
        alive = other.poll() is None
        other.kill()
    assert (done.returncode, alive, folder.exists()) == (0, True, False)
    assert "the server had ended" in done.stdout
