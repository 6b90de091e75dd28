"""What a poll without news costs a server that has releases and commands."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import load
import server
from figures import Figure

from qlmdm_core.server import crypto
from qlmdm_core.server.app import create_app
from qlmdm_core.server.context import open_context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.releases import publish
from qlmdm_core.server.releases.changes import NOTHING, compare
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import CommandPart, CommandRecord, ReleaseRecord
from qlmdm_core.testing.client import SimulatedClient, make_key_pair, through_app
from qlmdm_core.testing.published import built_of
from qlmdm_core.testing.server import simulated_server

ROUNDS = 5
RELEASES = 10
COMMANDS = 20
HOSTS = 2000
"""Of each command: others than those that poll."""
TAR_BYTES = 8_000_000
CLIENTS = 16
CONNECTIONS = 8


def figures(quick: bool) -> list[Figure]:
    """The figures of releases on the server."""
    return [
        *_one_poll(50 if quick else 500),
        _polls(320 if quick else 1280),
    ]


# --- a poll with nothing new --------------------------------------------------------------------


class Counted:
    """Anything, counting what is asked of it."""

    def __init__(self, inner: Any, calls: Counter[str]) -> None:
        self._inner, self._calls = inner, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._calls[name] += 1
            return found(*args, **kwargs)

        return counted


def _one_poll(count: int) -> list[Figure]:
    """What one process does for a poll that brings nothing, counted."""
    statements: list[str] = []
    plain = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = plain(*args, **kwargs)
        connection.set_trace_callback(statements.append)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment] # as it is called here
    try:
        with (
            tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name,
            simulated_server(Path(name)) as made,
        ):
            desk = Desk(made.settings, made.store, made.crypto.verifier, now=made.clock())
            fill(made.store, desk)
            calls: Counter[str] = Counter()
            app = create_app(
                made.store,
                made.settings,
                signer=Counted(made.crypto.signer, calls),
                verifier=Counted(made.crypto.verifier, calls),
                clock=made.clock,
            )
            pair = make_key_pair(name + "/pair")
            client = SimulatedClient(through_app(app), pair, clock=made.clock)
            client.enrol(made.invite())
            said = {"root": 1, "release": f"1.{RELEASES}", "high": f"1.{RELEASES}"}
            _ask(client, said)  # what is known for a while, is read
            calls.clear()
            statements.clear()
            before = load.written_bytes()
            for _ in range(count):
                _ask(client, said)
            written = load.written_bytes() - before
            seen, asked = len(statements), Counter(calls)
            kinds = ", ".join(sorted({line.split()[0] for line in statements}))
    finally:
        sqlite3.connect = plain
    return [
        _count("verifications", asked["verify"] / count, 1.0),
        _count("signatures", asked["sign"] / count, 1.0),
        _count("statements of the database", seen / count, 1.0, kinds),
        _count("bytes written", written / count, 0.0),
    ]


def _count(what: str, value: float, budget: float, detail: str = "") -> Figure:
    return Figure(
        what=f"a poll with nothing new: {what}",
        values=(value,),
        budget=budget,
        unit="",
        detail=detail,
    )


def _ask(client: SimulatedClient, said: dict[str, Any]) -> None:
    answer = client.ask(client.envelope("update"), {"update": said})
    if answer.details["release"] is not None or answer.details["commands"]:
        raise RuntimeError(f"there was something new: {answer.details}")


def fill(store: Store, desk: Desk) -> ReleaseRecord:
    """Have releases, and commands for others; the newest release."""
    for number in range(RELEASES):
        files = {
            "settings.yml": b"server_url: https://qlmdm.example.com\n",
            "lib/number.py": b"N = %d\n" % number,
            "lib/large.py": os.urandom(TAR_BYTES) if number == RELEASES - 1 else b"",
        }
        version = publish.next_version(store, desk.root)
        built = built_of(files)
        changes = compare(NOTHING, publish.contents_of(built))
        record = publish.sign(desk, built, version, changes=changes, created_by="bench")
        if not isinstance(record, ReleaseRecord):
            raise TypeError(f"{record.name} waits for signatures")
    now = datetime.now(timezone.utc)
    for number in range(COMMANDS):
        hosts = tuple(f"00000000-0000-4000-8000-{number:04d}{n:08d}" for n in range(HOSTS))
        command = CommandRecord(
            command_id=f"{number:032x}",
            kind="script",
            summary="bench",
            created_at=now,
            created_by="bench",
            not_before=now,
            expires_at=now + timedelta(days=1),
            hosts=len(hosts),
        )
        store.put_command(command, [CommandPart(part=1, document=b"{}", hosts=hosts)])
    return record


def filled(settings_file: str) -> ReleaseRecord:
    """Releases and commands in the database of a server; the newest release."""
    context = open_context(settings_file)
    with context.store() as store:
        verifier = crypto.verifier_of(crypto.best_engine())
        now = datetime.now(timezone.utc)
        return fill(store, Desk(context.settings, store, verifier, now=now))


def queues(clients: Sequence[SimulatedClient], total: int) -> list[list[bytes]]:
    """Polls for each connection."""
    made: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    said = {"release": f"1.{RELEASES}", "high": f"1.{RELEASES}", "bad": {}, "python": "3.11"}
    for number, client in enumerate(clients):
        made[number % CONNECTIONS] += load.polls(client, total // len(clients), **said)
    return made


def _polls(total: int) -> Figure:
    """As `server` does it, with releases and commands there."""
    ratios, found = [], []
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port, settings_file, pid = stack.enter_context(server.running("real", folder))
        real = server.Target(port=port, pid=pid)
        filled(settings_file)
        (folder / "keys").mkdir()
        clients = server.enrolled(settings_file, port, folder / "keys", CLIENTS)
        port, _, pid = stack.enter_context(server.running("noop", folder))
        noop = server.Target(port=port, pid=pid)
        for _ in range(ROUNDS):
            messages = queues(clients, total)
            bare, ours = noop.fire(messages), real.fire(messages)
            ratios.append(ours.rate / bare.rate)
            found.append((ours.rate, bare.rate, ours.cpu * 1000, bare.cpu * 1000))
    rate, bare_rate, cpu, bare_cpu = (statistics.median(one[i] for one in found) for i in range(4))
    return Figure(
        what="poll, with releases and commands there, against a no-op application",
        values=tuple(ratios),
        budget=0.6,
        better="high",
        detail=f"{rate:,.0f}/s against {bare_rate:,.0f}/s; "
        f"{cpu:.2f} ms of the servers' CPU each against {bare_cpu:.2f} ms",
    )
