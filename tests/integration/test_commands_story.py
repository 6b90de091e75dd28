"""A one-time command from the administrator's keyboard to a client's disk and back.

The server's commands and the client's cycle are the real ones; they meet over HTTP. The runner
that a cycle starts is a process of its own, so the tests wait for what it leaves.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.client import enrol, identity
from qlmdm_core.client.commands import lanes
from qlmdm_core.client.commands.journal import Journal
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.server.commands import cli, waiting
from qlmdm_core.store.outgoing import CommandTarget
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.server import SimulatedServer, simulated_server

BIN = Path(sys.executable).parent


@dataclass
class Site:
    """A server with one client, whose cycle is run by hand."""

    folder: Path
    server: SimulatedServer
    wire: Wire
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def state(self) -> Path:
        return self.folder / "c"

    @property
    def cid(self) -> str:
        with State(str(self.state)) as state:
            return identity.load_identity(state).cid

    @property
    def journal(self) -> Journal:
        return Journal(str(self.state))

    def admin(self, *argv: str) -> tuple[int, str]:
        """`qlmdm-client-command`; its status and what it said."""
        command = ["qlmdm-client-command", "--settings", self.server.settings_file, *argv]
        self.monkeypatch.setattr(sys, "argv", command)
        try:
            status = cli.main()
        except SystemExit as error:
            status = int(error.code or 0)
        said = self.capsys.readouterr()
        return status, said.out + said.err

    def queue(self, *argv: str) -> str:
        status, said = self.admin(*argv)
        assert status == 0, said
        found = re.search(r"([0-9a-f]{32}) is queued", said)
        assert found is not None, said
        return found[1]

    def target(self, command_id: str) -> CommandTarget:
        found = self.server.store.target(command_id, self.cid)
        assert found is not None
        return found

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            threading.Event().wait(0.01)

    def until_free(self, lane: str = "work") -> None:
        """Wait until the runner of a lane has ended."""
        self.until(lambda: lanes.is_free(str(self.state), lane))

    def until_over(self, command_id: str) -> CommandTarget:
        """Wait until the server knows how a command ended."""
        self.until(lambda: self.target(command_id).finished_at)
        return self.target(command_id)

    def carried_out(self, command_id: str) -> dict[str, Any]:
        """Poll, and wait until the runner has told how it ended; the result."""
        self.poll()
        result = self.until_over(command_id).result or {}
        assert isinstance(result, dict)
        return result

    def poll(self, **environ: str) -> None:
        """One cycle of the client that polls and does not collect."""
        path = self.state / "link.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, "polled_at": 0.0, "collected_at": time.time()}))
        (self.state / "due").unlink(missing_ok=True)
        self.server.clock.now = datetime.now(timezone.utc)  # commands were made by that
        done = subprocess.run(
            [str(BIN / "qlmdm-client-cron")],
            env={
                **os.environ,
                "QLMDM_STATE_DIR": str(self.state),
                "QLMDM_SETTINGS": str(self.folder / "client.yml"),
                **environ,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.fixture
def site(
    tmp_path: Path,
    prepared: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    with simulated_server(tmp_path, prepared=prepared) as server, served(server.app) as wire:
        with State(str(tmp_path / "c")) as state:
            enrol.enrol(state, Transport(wire.url), server.invite(), "laptop7")
        (tmp_path / "client.yml").write_text(f"server_url: {wire.url}\n")
        site = Site(tmp_path, server, wire, capsys, monkeypatch)
        yield site
        if (tmp_path / "c" / "commands").exists():
            for lane in lanes.LANES:
                site.until_free(lane)


def test_a_script_is_run_and_its_output_comes_back(site: Site) -> None:
    command = site.queue("run", "echo out; echo err >&2; exit 3", "--host", "laptop7")
    assert site.target(command).state == "pending"
    result = site.carried_out(command)
    assert site.target(command).state == "failed"
    assert (result["exit_status"], result["stdout"], result["stderr"]) == (3, "out\n", "err\n")
    status, said = site.admin("output", command[:8])
    assert status == 0
    assert "== laptop7: failed, exit status 3" in said
    assert "-- stdout\n  out\n-- stderr\n  err\n" in said
    assert "1 of 1 over: 1 failed" in site.admin("list")[1]


def test_nothing_of_a_script_is_left_and_its_id_is_remembered(site: Site) -> None:
    command = site.queue("run", "touch here; echo secret-canary", "--host", "laptop7")
    site.carried_out(command)
    site.poll()
    site.until(lambda: not (site.state / "commands" / command).exists())
    assert site.journal.knows(command)
    for path in (site.state / "commands").rglob("*"):
        if path.is_file():
            assert b"secret-canary" not in path.read_bytes()


def test_a_file_is_put_and_removed(site: Site, tmp_path: Path) -> None:
    (tmp_path / "badge").write_text("hello\n")
    args = ("put", str(tmp_path / "badge"), "acme/badge.conf", "--mode", "644")
    site.carried_out(site.queue(*args, "--host", "laptop7"))
    put = site.state / "files/acme/badge.conf"
    assert (put.read_text(), put.stat().st_mode & 0o777) == ("hello\n", 0o644)
    site.carried_out(site.queue("remove", "acme/badge.conf", "--host", "laptop7"))
    assert not put.exists()


def test_a_script_from_a_file_runs_by_its_first_line(site: Site, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(f"#!{os.path.realpath(sys.executable)} -I\nprint(6 * 7)\n")
    command = site.queue("run", "--script", str(tmp_path / "x.py"), "--host", "laptop7")
    assert site.carried_out(command)["stdout"] == "42\n"


def test_ten_commands_of_which_one_fails(site: Site) -> None:
    scripts = [f"echo {n}" if n != 4 else "exit 1" for n in range(10)]
    commands = [site.queue("run", script, "--host", "laptop7") for script in scripts]
    site.poll()
    for number, command in enumerate(commands):
        assert site.until_over(command).state == ("failed" if number == 4 else "done")


def test_a_long_script_holds_up_neither_reports_nor_a_cancellation(site: Site) -> None:
    long = site.queue("run", "touch ../began; sleep 1000", "--host", "laptop7")
    site.poll()
    site.until((site.state / "commands" / long / "began").exists)
    after = site.queue("run", "echo after", "--host", "laptop7")
    site.poll()
    assert site.target(long).state == "started"
    assert site.target(after).state == "delivered"
    status, said = site.admin("cancel", after)
    assert (status, "told by a command of its own" in said) == (0, True)
    site.poll()
    assert site.until_over(after).state == "cancelled"
    assert site.target(long).state == "started"
    kill_runner(site, "work")
    site.poll()
    assert site.until_over(long).state == "indeterminate"


def kill_runner(site: Site, lane: str) -> None:
    """SIGKILL for whoever runs this lane."""
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(str(site.state)) in argv and lane.encode() in argv:
            os.kill(int(entry.name), signal.SIGKILL)
    site.until_free(lane)


def test_a_command_that_nobody_got_is_cancelled_at_once(site: Site) -> None:
    command = site.queue("run", "touch /nowhere", "--host", "laptop7")
    status, said = site.admin("cancel", command[:6])
    assert (status, "1 clients had not been given it" in said) == (0, True)
    site.poll()
    assert site.target(command).state == "cancelled"
    assert not site.journal.knows(command)


def test_a_payload_that_was_altered_on_the_way_is_not_run(site: Site) -> None:
    command = site.queue("run", "echo right", "--host", "laptop7")

    def meddle(path: str, body: bytes) -> tuple[str, bytes]:
        if path == "/qlmdm/v1/payload":
            body = body.replace(b"right", b"wrong")
        return "200 OK", body

    site.wire.meddle = meddle
    site.poll()
    site.until(lambda: "/qlmdm/v1/payload" in site.wire.requests)
    site.until_free()
    assert site.journal.claimed(site.journal.entry(command)) is None
    site.wire.meddle = None
    assert site.carried_out(command)["stdout"] == "right\n", "it is fetched anew"


def test_an_outcome_is_told_again_until_it_is_acknowledged(site: Site) -> None:
    command = site.queue("run", "echo once >> ../../../ran", "--host", "laptop7")
    site.poll()
    site.until_free()
    ran = site.state / "ran"
    site.until(ran.exists)
    for _ in range(3):
        site.poll()
    site.until(lambda: site.target(command).finished_at)
    assert ran.read_text() == "once\n"


def test_for_whom_it_is_must_be_said_and_confirmed(site: Site) -> None:
    status, said = site.admin("run", "true")
    assert (status, "say for whom" in said) == (2, True)
    status, said = site.admin("run", "true", "--all")
    assert (status, "--yes" in said) == (2, True)
    assert site.server.store.commands() == []
    assert site.admin("run", "true", "--all", "--yes")[0] == 0


def test_what_may_be_secret_is_not_shown_in_lists(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = "curl --silent https://example.org/ --header 'Token: canary-in-shell'"
    site.queue("run", long, "--host", "laptop7")
    (tmp_path / "in").write_text("echo canary-in-stdin\n")
    with (tmp_path / "in").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        command = site.queue("run", "-", "--host", "laptop7")
    for said in (site.admin("list")[1], site.admin("list", "--json")[1]):
        assert "canary" not in said
    assert "canary" not in site.admin("show", command)[1]
    assert site.carried_out(command)["stdout"] == "canary-in-stdin\n"


def test_waiting_ends_with_how_it_ended(site: Site) -> None:
    command = site.queue("run", "exit 1", "--host", "laptop7")
    times = iter([0.0, 1.0, 5.0])
    status = waiting.wait(
        site.server.store, command, timeout=3.0, sleep=lambda _: None, clock=lambda: next(times)
    )
    assert (status, site.capsys.readouterr().out) == (3, "0 of 1 over: 1 pending\n")

    def meanwhile(_: float) -> None:
        site.carried_out(command)

    assert waiting.wait(site.server.store, command, timeout=None, sleep=meanwhile) == 1
    assert site.capsys.readouterr().out.endswith("1 of 1 over: 1 failed\n")


def test_whoever_stops_waiting_is_told_that_the_command_stays(site: Site) -> None:
    command = site.queue("run", "true", "--host", "laptop7")

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    assert waiting.wait(site.server.store, command, timeout=None, sleep=interrupt) == 130
    assert "stays queued" in site.capsys.readouterr().err
    assert site.carried_out(command)["exit_status"] == 0
