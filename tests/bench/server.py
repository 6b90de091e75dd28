"""Submits and polls: against a no-op application, and against the same server with gpg."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import falcon
import load
import processes
from figures import Figure

from qlmdm_core import settings as settings_files
from qlmdm_core.server import blobs, crypto, serve
from qlmdm_core.server.context import open_context
from qlmdm_core.server.invitations import invite
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.setup import Answers, set_up
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.client import SimulatedClient, make_key_pair, through_http

CLIENTS = 32
ROUNDS = 3


class NoOp:
    """Parses what the real resources parse, as any Falcon application would, and answers."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        fields = {part.name: part.get_data() for part in req.get_media()}
        json.loads(fields["data"])
        resp.data = b'{"status":"ok"}'
        resp.content_type = falcon.MEDIA_JSON


def no_op_app(*_: object, **__: object) -> falcon.App:
    """In place of the real application, under the same gunicorn."""
    app = falcon.App()
    multipart = app.req_options.media_handlers[falcon.MEDIA_MULTIPART]
    multipart.parse_options.max_body_part_buffer_size = 8_000_000
    for path in ("/qlmdm/v1/submit", "/qlmdm/v1/update", "/readyz"):
        app.add_route(path, NoOp())
    return app


def main(kind: str, settings_file: str) -> None:
    """In the server's process: serve the real thing, or a variant."""
    if kind == "noop":
        serve.create_app = no_op_app
    if kind == "gpg":
        crypto.best_engine = lambda: "gpg"
    if kind == "unread":
        # Whoever reads a blob in Python, and does not send it by sendfile, fails.
        blobs.PartStream.read = _must_not_be_read
    serve.serve(open_context(settings_file))


def _must_not_be_read(*_: object) -> bytes:
    raise AssertionError("a release went through the interpreter")


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[tuple[int, str, int]]:
    """A server of that kind, set up afresh; its port, settings file and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = folder / kind
    home.mkdir()
    settings_file = str(home / "settings.yml")
    url = f"http://127.0.0.1:{port}"
    answers = Answers(url=url, directory=str(home / "s"), listen=f"127.0.0.1:{port}")
    set_up(answers, settings_file, now=datetime.now(timezone.utc), say=lambda _: None)
    log = (home / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, __file__, kind, settings_file], stdout=log, stderr=log
    )
    try:
        _wait(port, process, home / "log")
        yield port, settings_file, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server to be loaded."""

    port: int
    pid: int

    def fire(self, queues: Sequence[Sequence[bytes]]) -> load.Load:
        """One round, with the CPU time that the server's processes took for it."""
        before = processes.cpu_of_tree(self.pid)
        done = load.fire(self.port, queues)
        spent = processes.cpu_of_tree(self.pid) - before
        return replace(done, cpu=spent / sum(map(len, queues)))


def enrolled(settings_file: str, port: int, folder: Path, count: int) -> list[SimulatedClient]:
    """Clients with keys of their own."""
    settings = settings_files.load(settings_file, ServerSettings).core
    store = open_store(settings.store)
    now = datetime.now(timezone.utc)
    _, token = invite(store, now=now, expires_at=now + timedelta(hours=1), uses=count)
    store.close()
    made = []
    for number in range(count):
        key = make_key_pair(str(folder / f"k{number}"))
        client = SimulatedClient(through_http(f"http://127.0.0.1:{port}"), key)
        client.hostname = f"host{number}"
        client.enrol(token)
        made.append(client)
    return made


def figures(quick: bool) -> list[Figure]:
    """The figures of the server."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        targets: dict[str, Target] = {}
        clients: dict[str, list[SimulatedClient]] = {}
        for kind in ("real", "noop", "gpg"):
            port, settings_file, pid = stack.enter_context(running(kind, folder))
            targets[kind] = Target(port=port, pid=pid)
            if kind != "noop":
                home = folder / f"keys-{kind}"
                home.mkdir()
                clients[kind] = enrolled(settings_file, port, home, CLIENTS)
        total = 320 if quick else 1280
        for connections in (1, 8, 32):
            found += _submits(targets, clients, connections, total)
        found.append(_polls(targets, clients["real"], total))
    found += _writes(200 if quick else 2000)
    return found


def _queues(
    clients: Sequence[SimulatedClient], connections: int, total: int, *, poll: bool = False
) -> list[list[bytes]]:
    """Requests for each connection; a client's records stay in order on one of them."""
    make = load.polls if poll else load.submissions
    each = max(1, total // max(connections, 8))
    chosen = clients[: max(connections, 8)]
    queues: list[list[bytes]] = [[] for _ in range(connections)]
    for number, client in enumerate(chosen):
        queues[number % connections] += make(client, each)
    return queues


def _submits(
    targets: dict[str, Target],
    clients: dict[str, list[SimulatedClient]],
    connections: int,
    total: int,
) -> list[Figure]:
    ratios, against_gpg, tails, rates = [], [], [], []
    for _ in range(ROUNDS):
        queues = _queues(clients["real"], connections, total)
        noop = targets["noop"].fire(queues)
        real = targets["real"].fire(queues)
        slow = targets["gpg"].fire(
            _queues(clients["gpg"], connections, max(connections, total // 10))
        )
        ratios.append(real.rate / noop.rate)
        against_gpg.append(real.rate / slow.rate)
        tails.append(real.p99 / real.p50)
        rates.append((real, noop, slow))
    real, noop, slow = ([statistics.median(r[i].rate for r in rates)] for i in range(3))
    cpu, noop_cpu = (statistics.median(r[i].cpu for r in rates) * 1000 for i in range(2))
    p50 = statistics.median(r[0].p50 for r in rates) * 1000
    p99 = statistics.median(r[0].p99 for r in rates) * 1000
    budget = 0.6 if connections > 1 else None
    return [
        Figure(
            what=f"submit, {connections} connections, against a no-op application",
            values=tuple(ratios),
            budget=budget,
            better="high",
            detail=f"{real[0]:,.0f}/s against {noop[0]:,.0f}/s; "
            f"{cpu:.2f} ms of the servers' CPU each against {noop_cpu:.2f} ms",
        ),
        Figure(
            what=f"submit, {connections} connections, against verifying by gpg",
            values=tuple(against_gpg),
            budget=8.0,
            better="high",
            detail=f"{real[0]:,.0f}/s against {slow[0]:,.0f}/s",
        ),
        Figure(
            what=f"submit, {connections} connections, p99 against p50",
            values=tuple(tails),
            budget={1: None, 8: 6.0, 32: 12.0}[connections],
            detail=f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
        ),
    ]


def _polls(targets: dict[str, Target], clients: list[SimulatedClient], total: int) -> Figure:
    ratios, rates = [], []
    for _ in range(ROUNDS):
        queues = _queues(clients, 8, total, poll=True)
        noop = targets["noop"].fire(queues)
        real = targets["real"].fire(queues)
        ratios.append(real.rate / noop.rate)
        rates.append((real.rate, noop.rate, real.cpu * 1000, noop.cpu * 1000))
    real, noop, cpu, noop_cpu = (statistics.median(rate[i] for rate in rates) for i in range(4))
    return Figure(
        what="poll, 8 connections, against a no-op application",
        values=tuple(ratios),
        budget=0.6,
        better="high",
        detail=f"{real:,.0f}/s against {noop:,.0f}/s; "
        f"{cpu:.2f} ms of the servers' CPU each against {noop_cpu:.2f} ms",
    )


def _writes(count: int) -> list[Figure]:
    """The store alone: durable writes in a second, and what an unchanged report writes."""
    from fleets import Writers

    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name:
        writers = Writers(Path(name))
        alone = [writers.rate(threads=1, count=count // 4) for _ in range(ROUNDS)]
        eight = [writers.rate(threads=8, count=count) for _ in range(ROUNDS)]
        sizes = [
            (writers.written(changed=False, count=200), writers.written(changed=True, count=200))
            for _ in range(ROUNDS)
        ]
        writers.close()
    small, large = sizes[-1]
    return [
        Figure(
            what="durable submissions in a second, 8 writers",
            values=tuple(eight),
            unit="/s",
            detail=f"{statistics.median(alone):,.0f}/s by one writer",
        ),
        Figure(
            what="bytes written for an unchanged report, against a changed one",
            values=tuple(a / b for a, b in sizes),
            budget=0.25,
            detail=f"{small / 1000:.1f} kB against {large / 1000:.1f} kB",
        ),
    ]


if __name__ == "__main__":
    os.environ.pop("QLMDM_SETTINGS", None)
    main(sys.argv[1], sys.argv[2])
