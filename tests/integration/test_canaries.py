"""No secret is where it does not belong: a whole story is lived, and all of it is searched.

Server, clients and commands are processes, as they are on a site. Each secret is a canary: it
is looked for in all that was written, in what was said, and in the arguments and environments
of all processes while the story lasted.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import pytest

from qlmdm_core.client.commands import lanes
from qlmdm_core.server import crypto
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.server import SimulatedServer, prepare_server, simulated_server

BIN = Path(sys.executable).parent
PAYLOAD = "canary-of-a-command-51c2"


class Watch:
    """What every process of this machine was started with, as far as one can see it."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}
        """What was seen, and of which command."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.002):
            for folder in os.listdir("/proc"):
                if folder.isdigit() and int(folder) != os.getpid():
                    for name in ("cmdline", "environ"):
                        self._keep(f"/proc/{folder}/{name}")

    def _keep(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:  # it has ended, or is somebody else's
            return
        self.seen.setdefault(f"{path}: {data[:300]!r}", data)

    def told(self, secret: str) -> list[str]:
        """Processes that were given a secret in a place that others can read."""
        return [what for what, data in self.seen.items() if secret.encode() in data]


@dataclass
class Story:
    """A site in one folder."""

    server: SimulatedServer
    url: str
    said: list[str] = field(default_factory=list)
    """By all commands."""

    @property
    def folder(self) -> Path:
        return self.server.folder

    @property
    def client(self) -> Path:
        return self.folder / "c"

    def run(self, name: str, *argv: str, status: int = 0, data: str = "") -> str:
        """A command of ours, to its end; what it said."""
        done = subprocess.run(
            [str(BIN / name), *argv],
            input=data,
            env={
                **os.environ,
                "QLMDM_STATE_DIR": str(self.client),
                "QLMDM_SETTINGS": str(self.folder / "client.yml"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == status, self.said[-1]
        return self.said[-1]

    def admin(self, name: str, *argv: str, data: str = "", status: int = 0) -> str:
        settings = ("--settings", self.server.settings_file)
        return self.run(name, *settings, *argv, data=data, status=status)

    def poll(self) -> None:
        path = self.client / "link.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, "polled_at": 0.0, "collected_at": time.time()}))
        (self.client / "due").unlink(missing_ok=True)
        self.run("qlmdm-client-cron")

    def found(self, secret: str, *but: str) -> list[str]:
        """The files that hold a secret, but for those whose path has one of these words."""
        return [
            str(path.relative_to(self.folder))
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
            and secret.encode() in path.read_bytes()
            and not any(word in str(path.relative_to(self.folder)) for word in but)
        ]


def secret_parts(folder: Path) -> list[str]:
    """The secret numbers of all keys in gpg homes below a folder, as gpg writes them."""
    found = []
    for path in sorted(folder.glob("*/private-keys-v1.d/*.key")):
        for number in re.findall(r"\(d\s+#([0-9A-F\s]+)#", path.read_text("latin-1")):
            found.append(re.sub(r"\s", "", number))
    return found


def until(condition: Callable[[], object]) -> None:
    while not condition():
        threading.Event().wait(0.02)


@pytest.fixture
def story(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    prepared = prepare_server(tmp_path_factory.mktemp("prepared"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    (tmp_path / "client.yml").write_text(f"server_url: http://127.0.0.1:{port}\n")
    with (
        simulated_server(tmp_path, prepared=prepared) as server,
        (tmp_path / "server.log").open("w") as log,
    ):
        settings = Path(server.settings_file)
        lines = settings.read_text().splitlines()
        lines = [line for line in lines if not line.startswith("listen:")]
        settings.write_text("\n".join([*lines, f'listen: "127.0.0.1:{port}"', ""]))
        process = subprocess.Popen(
            [str(BIN / "qlmdm-server"), "--settings", str(settings)], stdout=log, stderr=log
        )
        try:
            until(lambda: can_connect(port) or process.poll() is not None)
            yield Story(server, f"http://127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_no_secret_is_where_it_does_not_belong(story: Story) -> None:
    token = story.server.invite()
    online = Path(crypto.online_key_path(story.server.settings)).read_text()
    online_lines = [line for line in online.splitlines() if len(line) == 64]
    assert online_lines
    with Watch() as watch:
        setup = ("--server", story.url, "--hostname", "laptop7", "--token-file", "-")
        story.run("qlmdm-client-setup", *setup, data=f"{token}\n")
        mistyped = str(token)[:-1]
        story.run("qlmdm-client-setup", *setup, data=f"{mistyped}\n", status=2)
        script = f"#!/bin/sh\n: {PAYLOAD}\nexit 0\n"
        said = story.admin("qlmdm-client-command", "run", "-", "--host", "laptop7", data=script)
        found = re.search(r"([0-9a-f]{32}) is queued", said)
        assert found is not None, said
        story.poll()
        store = open_store(story.server.settings.store)
        cid = json.loads((story.client / "identity.json").read_text())["cid"]
        until(lambda: (target := store.target(found[1], cid)) and target.finished_at)
        target = store.target(found[1], cid)
        assert target is not None
        assert target.state == "done", target.result
        for lane in lanes.LANES:
            until(functools.partial(lanes.is_free, str(story.client), lane))
        story.poll()
        until(lambda: not (story.client / "commands" / found[1]).exists())
        for command in ("list", "show", "output"):
            more = () if command == "list" else (found[1],)
            story.admin("qlmdm-client-command", command, *more)
        story.admin("qlmdm-clients", "list")
        story.admin("qlmdm-keys", "list")
        store.close()
    assert any("qlmdm-client-cron" in what for what in watch.seen)
    said = "\n".join(story.said)
    # The server checks a proof by the token's secret, so it keeps it (docs/adr/0035).
    assert story.found(token.secret, "server/qlmdm.sqlite") == []
    for secret in online_lines:
        assert story.found(secret, "server/keys/") == []
    for secret in (token.secret, *online_lines):
        assert secret not in said
        assert watch.told(secret) == []
    # The server keeps a command for those that it is for; the client forgets what it has run.
    assert all(path.startswith("server/") for path in story.found(PAYLOAD))
    assert PAYLOAD not in (story.folder / "server.log").read_text()
    assert watch.told(PAYLOAD) == []


@pytest.mark.slow
def test_no_key_of_a_role_and_no_share_is_where_it_does_not_belong(story: Story) -> None:
    """Operators sign, a root document is issued, a key is split and put together again."""
    numbers = secret_parts(story.folder / "server" / "keys")
    assert len(numbers) == 4, "online, release, operator, root"
    shares_folder = story.folder / "shares"
    with Watch() as watch:
        token = story.server.invite()
        setup = ("--server", story.url, "--hostname", "laptop7", "--token-file", "-")
        story.run("qlmdm-client-setup", *setup, data=f"{token}\n")
        script = f"#!/bin/sh\n: {PAYLOAD}\n"
        story.admin("qlmdm-client-command", "run", "-", "--host", "laptop7", data=script)
        story.admin("qlmdm-keys", "renew", "--yes")
        split = ("--keepers", "3", "--threshold", "2", "--output", str(shares_folder))
        story.admin("qlmdm-keys", "split", "release", *split, "--remove")
        shares = sorted(shares_folder.glob("release-share-*"))
        story.admin("qlmdm-keys", "combine", "release", *map(str, shares[:2]))
    assert any("qlmdm-keys" in what for what in watch.seen)
    said = "\n".join(story.said)
    words = [line for path in shares for line in path.read_text().splitlines() if len(line) > 60]
    assert len(words) >= 3
    for secret in (*numbers, *map(str.lower, numbers)):
        assert story.found(secret, "server/keys/") == []
    for secret in words:
        assert story.found(secret, "shares/") == []
    for secret in (*numbers, *words, PAYLOAD):
        assert secret not in said
        assert watch.told(secret) == []


@pytest.mark.slow
def test_the_databases_password_is_told_to_nobody(tmp_path: Path) -> None:
    password = "canary-of-a-database-88d1"
    settings = prepare_server(tmp_path) / "settings.yml"
    lines = [line for line in settings.read_text().splitlines() if not line.startswith("store:")]
    url = f"mongodb://qlmdm:{password}@127.0.0.1:1/qlmdm?serverSelectionTimeoutMS=300"
    settings.write_text("\n".join([*lines, f'store: "{url}"', ""]))
    settings.chmod(0o600)
    with Watch() as watch:
        for name, *more in (("qlmdm-server",), ("qlmdm-clients", "list")):
            done = subprocess.run(
                [str(BIN / name), "--settings", str(settings), *more],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 3, done.stderr
            assert password not in done.stdout + done.stderr
    assert watch.told(password) == []


def test_a_secret_in_an_argument_is_seen(tmp_path: Path) -> None:
    """Else the others would find nothing, whatever happened."""
    secret = f"canary-{datetime.now(timezone.utc).timestamp()}"
    with Watch() as watch:
        environ = {**os.environ, "CANARY": secret}
        argv = ["sh", "-c", f": {secret}; read line"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, env=environ) as process:
            until(lambda: len(watch.told(secret)) >= 2)
            process.communicate(b"\n")
    assert any("cmdline" in what for what in watch.told(secret))
