"""The agent is killed at every system call by which it writes, and loses and doubles nothing.

The real `qlmdm-client-cron`, against the real server application over HTTP; `strace` kills it
at the N-th write, fsync, rename, unlink, … for each N. Afterwards it runs undisturbed. Its one
collector counts how often it ran, in a file of its own, so that the test knows what must have
arrived: every record whose spooling had finished, once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from qlmdm_core.client import enrol, identity
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.store.records import Change
from qlmdm_core.testing import write_distribution
from qlmdm_core.testing.http import served
from qlmdm_core.testing.server import SimulatedServer, simulated_server

STRACE = shutil.which("strace")
CRON = Path(sys.executable).parent / "qlmdm-client-cron"
WRITES = [
    *("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "sendto", "sendmsg", "openat"),
]
"""The calls by which something is changed or sent; strace counts each of them apart."""
PLUGIN = """
import os
from qlmdm_core import Collector, hookimpl

COUNT = {count!r}

def collect(host):
    with open(COUNT, "a") as file:
        file.write("x")
    return {{"state": "available", "number": os.path.getsize(COUNT)}}

@hookimpl
def qlmdm_register_collectors(settings):
    return [Collector(name="counter", run=collect)]
"""
OTHERS = ["builtin", "eset", "ubuntu", "arch"]

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


@dataclass
class Victim:
    """An enrolled client, whose cycle can be run and killed."""

    server: SimulatedServer
    folder: Path
    environ: dict[str, str]

    def cycle(self, *, kill_at: tuple[str, int] | None = None) -> bool:
        """Run one whole cycle; True if it was killed, at the N-th call of that name."""
        command = [str(CRON), "--now"]
        if kill_at is not None:
            call, number = kill_at
            inject = f"inject={call}:signal=KILL:when={number}"
            command = [STRACE or "", "-qq", "-o", "/dev/null", "-e", inject, *command]
        done = subprocess.run(command, env=self.environ, capture_output=True, check=False)
        # strace ends as its child did.
        assert done.returncode in (0, 137, -9), done.stderr.decode()
        return done.returncode != 0

    @property
    def cid(self) -> str:
        with State(str(self.folder / "c")) as state:
            return identity.load_identity(state).cid

    def stored(self) -> list[Change]:
        """Every value of the counter that the server ever stored, oldest first."""
        changes = self.server.store.changes(self.cid, limit=1000)
        return [change for change in reversed(changes) if change.collector == "counter"]

    def spooled(self) -> list[int]:
        """The numbers in the records that wait, oldest first."""
        found = []
        for path in sorted((self.folder / "c" / "spool").glob("[!.]*.json")):
            record = json.loads(path.read_text())
            if "collectors" in record:
                found.append(record["collectors"]["counter"]["value"]["number"])
        return found


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    plugins = tmp_path / "plugins"
    write_distribution(
        plugins,
        "qlmdm-counter",
        entry_points={"qlmdm_client": "counter = qlmdm_counter_plugin"},
        modules={"qlmdm_counter_plugin": PLUGIN.format(count=str(tmp_path / "count"))},
    )
    with simulated_server(tmp_path) as server, served(server.app) as wire:
        with State(str(tmp_path / "c")) as state:
            enrol.enrol(state, Transport(wire.url), server.invite(), "victim")
        (tmp_path / "client.yml").write_text(
            f"server_url: {wire.url}\n"
            f"plugins_off: [{', '.join(f'qlmdm-plugins-{name}' for name in OTHERS)}]\n"
        )
        environ = {
            **os.environ,
            "PYTHONPATH": str(plugins),
            "QLMDM_STATE_DIR": str(tmp_path / "c"),
            "QLMDM_SETTINGS": str(tmp_path / "client.yml"),
        }
        yield Victim(server, tmp_path, environ)


def kill_and_recover(victim: Victim, call: str, number: int) -> bool:
    """Kill one cycle at that call, let the next one through, and compare the books."""
    before = [change.new["number"] for change in victim.stored()]
    killed = victim.cycle(kill_at=(call, number))
    waiting = victim.spooled()
    assert not victim.cycle()
    after = [change.new["number"] for change in victim.stored()]
    assert victim.spooled() == []
    assert len(after) == len(set(after)), f"{call} {number}: stored twice: {after}"
    assert set(waiting) <= set(after), f"{call} {number}: lost: {waiting} not in {after}"
    assert after[: len(before)] == before, f"{call} {number}: history changed"
    assert after == sorted(after), f"{call} {number}: out of order: {after}"
    return killed


def test_a_cycle_that_is_not_killed_stores_its_record(victim: Victim) -> None:
    assert not victim.cycle()
    assert [change.new["number"] for change in victim.stored()] == [1]


@pytest.mark.parametrize(
    ("call", "number"),
    [("write", 5), ("fsync", 2), ("fsync", 6), ("renameat", 2), ("renameat", 4), ("sendto", 4)],
)
def test_a_kill_at_some_calls_loses_and_doubles_nothing(
    victim: Victim, call: str, number: int
) -> None:
    assert kill_and_recover(victim, call, number)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_kill_at_any_call_loses_and_doubles_nothing(victim: Victim) -> None:
    kills = 0
    for call in WRITES:
        number = 1
        while kill_and_recover(victim, call, number):
            number += 10 if call == "openat" else 1  # hundreds of them load modules
            kills += 1
    assert kills > 30
