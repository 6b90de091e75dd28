"""A client that releases install: from the folder that is unpacked on it, to the next release.

Real files, the real launcher started as cron starts it, and the real server's application over
HTTP; only which release is offered is said by the test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.rootdoc import Root
from qlmdm_core.server.gate import Gate
from qlmdm_core.testing import releases
from qlmdm_core.testing.http import Wire, served
from qlmdm_core.testing.releases import Built, Shop
from qlmdm_core.testing.server import SimulatedServer, prepare_server, simulated_server
from qlmdm_core.testing.trust import Ring, whole_second

PLUGIN = """
from qlmdm_core import Collector, hookimpl

@hookimpl
def qlmdm_register_collectors():
    return [Collector(name="site", run=lambda host: {"state": "NAME"})]
"""


@dataclass
class Machine:
    """A client's machine, its server, and what that server has on offer."""

    folder: Path
    server: SimulatedServer
    wire: Wire
    shop: Shop
    ring: Ring
    root_document: bytes
    root: Root
    said: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "c"

    def build(self, version: str, plugin: str | None = None, **changes: Any) -> Built:
        settings = changes.pop("settings", f"server_url: {self.wire.url}\n")
        text = PLUGIN.replace("NAME", version) if plugin is None else plugin
        files = {**releases.agent_files(settings, text), **changes.pop("files", {})}
        now = whole_second(datetime.now(timezone.utc))
        changes.setdefault("server_id", self.root.server_id)
        return releases.build(self.ring, version, files, now=now, **changes)

    def bootstrap(self, built: Built, *argv: str, token: str | None = None) -> tuple[int, str]:
        """Unpack and run `client-setup`."""
        folder = releases.unpack_bootstrap(
            str(self.folder / "new"),
            built,
            self.root_document,
            token or str(self.server.invite()),
        )
        where = ["--dir", str(self.state), "--bin-dir", str(self.folder / "bin"), "--no-cron"]
        return self._run([f"{folder}/client-setup", *where, *argv])

    def cron(self, *argv: str) -> tuple[int, str]:
        """What cron starts, with something due."""
        (self.state / "due").unlink(missing_ok=True)
        return self.command("qlmdm-client-cron", *argv)

    def command(self, name: str, *argv: str) -> tuple[int, str]:
        launcher = str(self.state / "launcher" / "launcher.py")
        return self._run([sys.executable, "-I", "-S", launcher, name, *argv])

    def _run(self, argv: list[str]) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            argv,
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def json(self, name: str) -> Any:
        path = self.state / name
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def current(self) -> str:
        return os.readlink(self.state / "current")

    def report(self) -> Any:
        """What the server has of this client."""
        cid = self.json("identity.json")["cid"]
        return json.loads(self.server.store.report(cid) or b"{}")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_server(tmp_path_factory.mktemp("s"))


@pytest.fixture
def machine(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with simulated_server(tmp_path, prepared=prepared) as server:
        shop = Shop(server.app)
        monkeypatch.setattr(Gate, "answer", shop.answer(Gate.answer))
        with served(shop) as wire:
            ring = releases.site_ring(str(tmp_path / "server"))
            stored = server.store.root(1)
            assert stored is not None
            document = stored.document
            text = signedtext.unpack(document, max_bytes=rootdoc.MAX_BYTES).text
            yield Machine(tmp_path, server, wire, shop, ring, document, rootdoc.parse(text))


@pytest.fixture
def client(machine: Machine) -> Machine:
    status, said = machine.bootstrap(machine.build("1.1"))
    assert status == 0, said
    return machine


def test_a_new_machine_is_installed_enrolled_and_reports(machine: Machine) -> None:
    status, said = machine.bootstrap(machine.build("1.1"))
    assert status == 0, said
    assert "release 1.1 is installed" in said
    assert machine.current == "slots/1.1"
    assert machine.cron("--now") == (0, "")
    assert machine.report()["site"]["value"] == {"state": "1.1"}
    assert machine.report()["agent"]["value"]["release"]["installed"] == "1.1"


def test_a_release_that_is_offered_is_installed_tried_and_committed(client: Machine) -> None:
    client.shop.put(client.build("1.3"))
    assert client.cron() == (0, "")
    assert client.json("trial.json") == {"previous": "1.1", "slot": "1.3", "tries_left": 3}
    assert client.cron() == (0, "")
    assert client.json("trial.json") is None
    assert client.json("release.json") == {"bad": {}, "high": "1.3", "previous": "1.1"}
    assert client.current == "slots/1.3"
    assert client.report()["site"]["value"] == {"state": "1.3"}
