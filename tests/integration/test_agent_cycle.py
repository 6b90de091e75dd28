"""The agent's cycle, whole: what is due, what it stores and sends, and what stops it not.

The real command in a process of its own, against the real server application over HTTP; its
facts come from a small recorded machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.client import enrol, identity, schedule
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.testing import RecordedMachine
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.server import SimulatedServer, simulated_server

BIN = Path(sys.executable).parent


@dataclass
class Agent:
    """An enrolled client whose command can be run."""

    folder: Path
    server: SimulatedServer
    wire: Wire
    environ: dict[str, str]

    @property
    def state(self) -> Path:
        return self.folder / "c"

    @property
    def cid(self) -> str:
        with State(str(self.state)) as state:
            return identity.load_identity(state).cid

    def run(self, *argv: str) -> tuple[int, str]:
        """`qlmdm-client-cron`; its status and what it said."""
        done = subprocess.run(
            [str(BIN / "qlmdm-client-cron"), *argv],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def now(self) -> tuple[int, str]:
        return self.run("--now", "--replay", str(self.folder / "machine"))

    def link(self, **changes: Any) -> dict[str, Any]:
        """What `link.json` holds, after these changes."""
        path = self.state / "link.json"
        known = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps(known))
        return known

    def waiting(self) -> int:
        return len(list((self.state / "spool").glob("[!.]*.json")))

    def stored(self) -> dict[str, Any]:
        return json.loads(self.server.store.report(self.cid) or b"{}")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    machine = RecordedMachine(tmp_path / "machine", root=True)
    machine.file("/etc/os-release", "ID=arch\nPRETTY_NAME=Arch\n").write()
    with simulated_server(tmp_path) as server, served(server.app) as wire:
        with State(str(tmp_path / "c")) as state:
            enrol.enrol(state, Transport(wire.url), server.invite(), "laptop7")
        (tmp_path / "client.yml").write_text(f"server_url: {wire.url}\n")
        environ = {
            **os.environ,
            "QLMDM_STATE_DIR": str(tmp_path / "c"),
            "QLMDM_SETTINGS": str(tmp_path / "client.yml"),
        }
        wire.requests.clear()
        yield Agent(tmp_path, server, wire, environ)


def test_a_cycle_polls_collects_and_sends(agent: Agent) -> None:
    assert agent.now() == (0, "")
    assert agent.wire.requests == ["/qlmdm/v1/update", "/qlmdm/v1/submit"]
    assert agent.stored()["os_info"]["value"]["id"] == "arch"
    assert agent.stored()["agent"]["value"]["state"] == "ok"
    assert agent.waiting() == 0
    assert not list(agent.state.glob("gnupg/S.gpg-agent*")), "no agent of gpg is left"


def test_with_nothing_due_nothing_is_done(agent: Agent) -> None:
    agent.now()
    agent.wire.requests.clear()
    far = time.time() + 3600
    (agent.state / "due").write_text(f"{time.time()} {far}\n")
    assert agent.run() == (0, "")
    assert agent.wire.requests == []


def test_an_idle_minute_reads_one_small_file_and_imports_next_to_nothing(agent: Agent) -> None:
    (agent.state / "due").write_text(f"{time.time()} {time.time() + 3600}\n")
    code = (
        "import sys; sys.argv = ['qlmdm-client-cron']\n"
        "from qlmdm_core.client.cron import main\n"
        "status = main()\n"
        "print(status, sorted(n for n in sys.modules if n.startswith('qlmdm_core')),"
        " 'json' in sys.modules, 'dataclasses' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=agent.environ, capture_output=True, text=True, check=True
    )
    modules = ["qlmdm_core", "qlmdm_core._version", "qlmdm_core.client"]
    modules += ["qlmdm_core.client.cron", "qlmdm_core.client.schedule"]
    assert done.stdout.strip() == f"0 {modules} False False"


def test_only_what_is_due_is_done(agent: Agent) -> None:
    agent.now()
    agent.wire.requests.clear()
    agent.link(polled_at=0.0, collected_at=time.time())
    (agent.state / "due").unlink()
    assert agent.run() == (0, "")
    assert agent.wire.requests == ["/qlmdm/v1/update"]


def test_now_means_the_collectors_that_run_once_an_hour_too(agent: Agent) -> None:
    machine = agent.folder / "machine"
    machine.joinpath("files/etc/passwd").write_text("ada:x:1000:1000::/:/bin/sh\n")
    agent.now()
    machine.joinpath("files/etc/passwd").write_text("bob:x:1000:1000::/:/bin/sh\n")
    agent.link(polled_at=0.0, collected_at=0.0)
    (agent.state / "due").unlink()
    agent.run("--replay", str(machine))
    (user,) = agent.stored()["accounts"]["value"]["users"]
    assert user["name"] == "ada", "an hour has not passed"
    agent.now()
    (user,) = agent.stored()["accounts"]["value"]["users"]
    assert user["name"] == "bob"


def test_the_next_moment_is_the_clients_own(agent: Agent) -> None:
    agent.now()
    written, due = map(float, (agent.state / "due").read_text().split())
    moments = [schedule.next_due(agent.cid, interval, written) for interval in (60.0, 300.0)]
    assert due == pytest.approx(min(moments), abs=0.01)


def test_a_server_that_is_away_for_a_day_gets_all_of_it_later(agent: Agent) -> None:
    agent.wire.meddle = lambda path, body: ("503 Service Unavailable", b"")
    for _ in range(3):
        status, said = agent.now()
        assert (status, "HTTP 503" in said) == (3, True)
    assert agent.waiting() == 3
    agent.wire.meddle = None
    assert agent.now() == (0, "")
    assert agent.waiting() == 0
    client = agent.server.store.client(agent.cid)
    assert client is not None
    assert client.seq >= 4


def test_a_server_that_is_away_is_left_alone_and_told_of_once(agent: Agent) -> None:
    agent.now()
    agent.wire.meddle = lambda path, body: ("503 Service Unavailable", b"")
    agent.link(polled_at=0.0, collected_at=time.time())
    (agent.state / "due").unlink()
    status, said = agent.run()
    assert (status, "HTTP 503" in said) == (3, True)
    assert agent.link()["backoff"]["failures"] == 1
    agent.link(polled_at=0.0, backoff={"failures": 1, "failed_at": 1.0, "until": 9e9})
    (agent.state / "due").unlink()
    agent.wire.requests.clear()
    assert agent.run() == (0, "")
    assert agent.wire.requests == []
    agent.link(polled_at=0.0, backoff={"failures": 1, "failed_at": 1.0, "until": 2.0})
    (agent.state / "due").unlink()
    assert agent.run() == (3, ""), "cron has mailed it once"


@pytest.mark.parametrize("harm", ["missing", "readable"])
def test_a_keyring_that_can_not_be_used_stops_sending_not_collecting(
    agent: Agent, harm: str
) -> None:
    home = agent.state / "gnupg"
    if harm == "missing":
        home.rename(agent.state / "elsewhere")
    else:
        home.chmod(0o755)
    status, said = agent.now()
    assert (status, str(home) in said) == (3, True)
    assert agent.waiting() == 1
    if harm == "missing":
        (agent.state / "elsewhere").rename(home)
    home.chmod(0o700)
    assert agent.now() == (0, "")
    assert agent.waiting() == 0


def test_a_second_cycle_gives_way_to_the_first(agent: Agent) -> None:
    with State(str(agent.state)) as state, state.lock():
        status, said = agent.now()
        assert (status, "another qlmdm command is at work" in said) == (3, True)
        assert agent.run() == (3, ""), "each minute's start is silent about it"
    assert agent.now()[0] == 0


def test_sigterm_in_the_middle_loses_nothing(agent: Agent) -> None:
    command = [str(BIN / "qlmdm-client-cron"), "--now", "--replay", str(agent.folder / "machine")]
    for _ in range(3):
        process = subprocess.Popen(command, env=agent.environ, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        seen = len(agent.wire.requests)
        while len(agent.wire.requests) == seen and time.monotonic() < deadline:
            time.sleep(0.005)  # it is at work once it has polled
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert agent.now() == (0, "")
    assert agent.waiting() == 0
    assert agent.stored()["os_info"]["value"]["id"] == "arch"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("identity.json", "x", "is damaged"),
        ("identity.json", None, "run qlmdm-client-setup"),
        ("root.json", "{}", "is damaged"),
        ("link.json", "[]", "is damaged"),
    ],
)
def test_a_damaged_state_is_named(
    agent: Agent, file: str, content: str | None, message: str
) -> None:
    path = agent.state / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    status, said = agent.now()
    assert status in (2, 3)
    assert message in said
    assert str(agent.state) in said
