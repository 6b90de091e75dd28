"""The MongoDB engine passes the contract suite over a socket.

The server is `nx-27017` (a MongoDB-wire server on SQLite, from PyPI), which the suite starts;
or the one that `QLMDM_TEST_MONGODB_URL` names, such as `mongodb://127.0.0.1:27017/`. Each
test has a database of its own there, dropped afterwards.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pymongo import MongoClient

from qlmdm_core.store.open import open_store
from qlmdm_core.testing.store_contract import Engine, StoreContract

ELSEWHERE = os.environ.get("QLMDM_TEST_MONGODB_URL", "")


class WireServer:
    """An nx-27017 of our own on a free port of the loopback; it can be killed and come back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        argv = [
            *(sys.executable, "-c", "from nx_27017.nx_27017 import main; main()"),
            *("--data-dir", str(self._folder / "data"), "--host", "127.0.0.1"),
            *("--port", str(self.port), "--pid-file", str(self._folder / "pid")),
            *("--log-file", str(self._folder / "log")),
        ]
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                argv, cwd=self._folder, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError((self._folder / "output").read_text()[-2000:])
            time.sleep(0.02)

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)
        (self._folder / "pid").unlink(missing_ok=True)

    def crash(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServer | None]:
    if ELSEWHERE:
        yield None
        return
    server = WireServer(tmp_path_factory.mktemp("nx"))
    yield server
    server.kill()


class TestMongoWireStore(StoreContract):
    @pytest.fixture
    def engine(self, server: WireServer | None) -> Iterator[Engine]:
        base = ELSEWHERE.rstrip("/") if server is None else f"mongodb://127.0.0.1:{server.port}"
        name = f"qlmdm_{uuid4().hex}"
        url = f"{base}/{name}"
        yield Engine(
            open=lambda: open_store(url),
            url=url,
            many=1_000,
            compares_nul=_compares_nul(base),
            crash=server.crash if server is not None else None,
        )
        # A new client: the server may have been killed since the test began.
        with MongoClient[dict[str, object]](base) as client:
            client.drop_database(name)


def _compares_nul(url: str) -> bool:
    """Whether text that differs after a NUL differs to this server (to MongoDB it does)."""
    with MongoClient[dict[str, object]](url) as client:
        probe = client[f"qlmdm_probe_{uuid4().hex}"]["probe"]
        probe.insert_one({"text": "a\0b"})
        found = probe.find_one({"text": "a\0b"})
        client.drop_database(probe.database.name)
    return found is not None
