"""Commands: one queued for a whole fleet, its progress listed, and a poll that is given it."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from figures import Figure

from qlmdm_core import settings as settings_files
from qlmdm_core.server import crypto
from qlmdm_core.server.commands import delivery, making, publish, show_cli
from qlmdm_core.server.desk import Completed, Desk
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store
from qlmdm_core.store.outgoing import CommandRecord
from qlmdm_core.store.records import ClientKey
from qlmdm_core.testing.server import prepare_server

GIVEN = 1000
"""So many clients poll and are given the command."""
ROUNDS = 3


def figures(quick: bool) -> list[Figure]:
    """The figures of a command for a fleet."""
    count = 10_000 if quick else 100_000
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name:
        file = prepare_server(Path(name)) / "settings.yml"
        settings = settings_files.load(str(file), ServerSettings).core
        store = open_store(settings.store)
        try:
            return _figures(store, settings, count, Path(name))
        finally:
            store.close()


def _figures(store: Store, settings: ServerSettings, count: int, folder: Path) -> list[Figure]:
    hosts = [f"cid-{number:06}" for number in range(count)]
    now = datetime.now(timezone.utc)
    made: list[CommandRecord] = []
    signed, queued, inserted, counted, listed, paged = [], [], [], [], [], []
    for number in range(ROUNDS):
        seconds, documents = _signed(store, settings, hosts, now)
        signed.append(seconds)
        queued.append(_timed(lambda: made.append(_published(store, documents, now))))  # noqa: B023
        inserted.append(_insert(folder / f"plain{number}.sqlite", hosts))
        if number == 0:  # later, they would be given more than one
            given = _timed(lambda: _give(store, hosts[:GIVEN], now)) / GIVEN
        command_id = made[-1].command_id
        counted.append(_timed(lambda: store.count_targets(command_id)) * 1e3)  # noqa: B023
        listed.append(_timed(lambda: _list(store)) / len(made) * 1e3)
        paged.append(_timed(lambda: store.targets(command_id, limit=1000)) * 1e3)  # noqa: B023
    signing, queueing, plain = (statistics.median(one) for one in (signed, queued, inserted))
    return [
        Figure(
            what=f"command for {count:,} clients: signed by gpg",
            values=tuple(signed),
            unit=" s",
            detail=f"{len(documents)} parts, {signing / len(documents) * 1e3:.1f} ms each",
        ),
        Figure(
            what=f"command for {count:,} clients: queueing, against a plain INSERT of its rows",
            values=tuple(ours / bare for ours, bare in zip(queued, inserted, strict=True)),
            detail=f"{queueing:.2f} s against {plain:.2f} s; "
            f"{queueing / count * 1e6:.1f} µs for each client",
        ),
        Figure(
            what=f"progress of a command for {count:,} clients: how many are in each state",
            values=tuple(counted),
            unit=" ms",
        ),
        Figure(
            what=f"progress of a command for {count:,} clients: its line in the list",
            values=tuple(listed),
            unit=" ms",
        ),
        Figure(
            what=f"progress of a command for {count:,} clients: a page of 1,000 of them",
            values=tuple(paged),
            unit=" ms",
        ),
        Figure(what="a poll that is given a command", values=(given * 1e3,), unit=" ms"),
    ]


def _signed(
    store: Store, settings: ServerSettings, hosts: list[str], now: datetime
) -> tuple[float, list[bytes]]:
    """Seconds, and the documents."""
    verifier = crypto.verifier_of(crypto.best_engine())
    desk = Desk(settings, store, verifier, now=now)
    payload = store.put_blob(b"true\n")
    order = making.make(
        server_id=desk.root.server_id,
        kind="script",
        hosts=hosts,
        now=now,
        lifetime_seconds=86400,
        requested_by="bench",
        summary="true",
        about={},
        payload_sha256=payload,
        payload_size=5,
    )
    begun = time.perf_counter()
    signed = desk.sign(
        name=order.name,
        kind="command",
        role="operator",
        texts=order.texts(),
        attach=order.attach("bench"),
        created_by="bench",
    )
    if not isinstance(signed, Completed):
        raise TypeError("the operator's key is not on this server")
    return time.perf_counter() - begun, signed.documents


def _published(store: Store, documents: list[bytes], now: datetime) -> CommandRecord:
    return publish.publish(store, documents, attach={}, now=now)


def _insert(path: Path, hosts: Sequence[str]) -> float:
    """The yardstick: as many rows of these columns and indexes, in one durable transaction."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(
            "CREATE TABLE t (command_no INTEGER, cid TEXT, part INTEGER, state TEXT, "
            "updated_at INTEGER, finished_at INTEGER)"
        )
        for columns in ("command_no, cid", "command_no, state, cid", "cid, finished_at"):
            db.execute(f'CREATE INDEX "{columns}" ON t ({columns})')
        rows = [(1, cid, 1, "pending", 0) for cid in sorted(hosts)]
        begun = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, NULL)", rows)
        db.execute("COMMIT")
        return time.perf_counter() - begun


def _list(store: Store) -> None:
    now = datetime.now(timezone.utc)
    with contextlib.redirect_stdout(io.StringIO()):
        show_cli.list_commands(store, now=now, count=50, as_json=False)


def _give(store: Store, hosts: list[str], now: datetime) -> None:
    key = ClientKey(fingerprint="", cid="", public_key="", status="active", has_commands=True)
    for cid in hosts:
        if len(delivery.for_client(store, replace(key, cid=cid), now)) != 1:
            raise ValueError("a client was not given its command")


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
