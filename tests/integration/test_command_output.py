"""All commands: output that can't be written, streams that are closed, options in their places."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from qlmdm_core import cli
from qlmdm_core.errors import UsageError
from qlmdm_core.signedtext import SignedText
from qlmdm_core.store.open import open_store
from qlmdm_core.store.records import RootDocument

ROOT = Path(__file__).parents[2]
FOLDER = Path(sys.executable).parent
COMMANDS = re.findall(
    r"^(qlmdm-[a-z-]+) = ", (ROOT / "qlmdm_core/pyproject.toml").read_text(), re.MULTILINE
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A server's settings and store, and a client's state, in a folder."""
    settings = tmp_path / "settings.yml"
    settings.write_text(f"url: https://q.example.com\nstore: sqlite://{tmp_path}/q.sqlite\n")
    store = open_store(f"sqlite://{tmp_path}/q.sqlite")
    store.setup()
    document = SignedText(text="{}", sigs=()).pack()
    store.put_root(RootDocument(version=1, document=document))
    store.close()
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {
        **inherited,
        "QLMDM_SETTINGS": str(settings),
        "QLMDM_STATE_DIR": str(tmp_path / "state"),
    }


def run(
    command: str, redirection: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f"{shlex.quote(str(FOLDER))}/{command} {redirection}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
@pytest.mark.parametrize(
    "command",
    [
        *(f"{command} --help" for command in COMMANDS),
        "qlmdm-server-setup --example",
        "qlmdm-clients list",
        "qlmdm-clients invite",
        "qlmdm-issues list",
        "qlmdm-issues list --json",
        "qlmdm-audit --explain",
        "qlmdm-plugins --json",
        f"qlmdm-collect --replay {shlex.quote(str(ROOT))}/tools/demo/machines/ada-laptop --json",
    ],
)
def test_output_that_can_not_be_written_is_said_and_is_exit_3(
    environment: dict[str, str], command: str, redirection: str
) -> None:
    name = command.partition(" ")[0]
    if name == "qlmdm-collect":
        del environment["QLMDM_SETTINGS"]
    done = run(command, redirection, environment)
    reason = {">/dev/full": "No space left on device", ">&-": "Bad file descriptor"}[redirection]
    assert done.stderr == f"{name}: can't write the output: {reason}\n"
    assert done.returncode == 3


@pytest.mark.parametrize("command", ["qlmdm-issues --help", "qlmdm-issues list"])
def test_unbuffered_output_that_can_not_be_written_is_said_too(
    environment: dict[str, str], command: str
) -> None:
    done = run(command, ">/dev/full", {**environment, "PYTHONUNBUFFERED": "1"})
    assert done.stderr == "qlmdm-issues: can't write the output: No space left on device\n"
    assert done.returncode == 3


def test_a_reader_that_has_seen_enough_is_no_error(environment: dict[str, str]) -> None:
    done = run("qlmdm-server-setup --example", "| true", environment)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("redirection", "status"),
    [("2>&-", 0), ("<&-", 0), ("<&- 2>&-", 0), ("<&- >&- 2>&-", 3)],
)
def test_closed_streams_do_no_harm(
    environment: dict[str, str], redirection: str, status: int
) -> None:
    done = run("qlmdm-clients list", redirection, environment)
    said = "" if status else "no clients yet; invite some with: qlmdm-clients invite\n"
    assert (done.returncode, done.stdout, done.stderr) == (status, said, "")


def test_an_error_does_not_stray_into_the_output(environment: dict[str, str]) -> None:
    done = run("qlmdm-clients show nobody", "2>&-", environment)
    assert (done.returncode, done.stdout) == (1, "")


def test_other_errors_are_not_taken_for_the_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: object) -> int:
        print("something")
        raise OSError(errno.ENOSPC, "of some other file")

    with pytest.raises(OSError, match="of some other file"):
        cli.run(main, "qlmdm-x", [])
    assert capsys.readouterr() == ("something\n", "")


def test_an_error_can_not_move_a_terminals_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """A client may have chosen some of its words, such as a hostname."""

    def main(argv: object) -> int:
        raise UsageError("2 clients are called \x1b[2J\r\u202e:\n  a")

    assert cli.run(main, "qlmdm-x", []) == 2
    assert capsys.readouterr().err == "qlmdm-x: 2 clients are called ·[2J··:\n  a\n"


# --- options --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "qlmdm-clients --settings {} list",
        "qlmdm-clients list --settings {}",
        "qlmdm-clients list --settings={} --json",
        "qlmdm-clients --json list --settings {}",
        "qlmdm-clients invite --settings {}",
        "qlmdm-issues --settings {} list",
        "qlmdm-issues list --settings {} --json",
        "qlmdm-issues --json list --settings {}",
        "qlmdm-issues --settings /nonexistent list --settings {}",
    ],
)
def test_common_options_may_stand_before_or_after_the_action(
    environment: dict[str, str], command: str
) -> None:
    file = environment.pop("QLMDM_SETTINGS")
    done = run(command.format(file), "", environment)
    assert (done.returncode, done.stderr) == (0, "")
    if "--json" in command:
        assert done.stdout in ("", "[]\n")


@pytest.mark.parametrize(
    "command", ["qlmdm-clients --json invite", "qlmdm-issues --json unsnooze a b"]
)
def test_json_of_what_has_none_is_refused(environment: dict[str, str], command: str) -> None:
    done = run(command, "", environment)
    assert done.returncode == 2
    assert "--json goes with list" in done.stderr
