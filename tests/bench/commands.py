"""Commands: one queued for a whole fleet, its progress listed, and a poll that is given it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from figures import Figure

from qlmdm_core import settings as settings_files
from qlmdm_core.server import crypto
from qlmdm_core.server.commands import delivery, making, publish
from qlmdm_core.server.desk import Completed, Desk
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store
from qlmdm_core.store.outgoing import CommandRecord
from qlmdm_core.store.records import ClientKey
from qlmdm_core.testing.server import prepare_server

GIVEN = 1000
"""So many clients poll and are given the command."""


def figures(quick: bool) -> list[Figure]:
    """The figures of a command for a fleet."""
    count = 10_000 if quick else 100_000
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name:
        file = prepare_server(Path(name)) / "settings.yml"
        settings = settings_files.load(str(file), ServerSettings).core
        store = open_store(settings.store)
        try:
            return _figures(store, settings, count)
        finally:
            store.close()


def _figures(store: Store, settings: ServerSettings, count: int) -> list[Figure]:
    hosts = [f"cid-{number:06}" for number in range(count)]
    now = datetime.now(timezone.utc)
    made: list[CommandRecord] = []
    signing, documents = _signed(store, settings, hosts, now)
    queueing = _timed(lambda: made.append(publish.publish(store, documents, attach={}, now=now)))
    command_id = made[0].command_id
    counting = _timed(lambda: store.count_targets(command_id))
    given = _timed(lambda: _give(store, hosts[:GIVEN], now)) / GIVEN
    return [
        Figure(
            what=f"command for {count:,} clients: signed by gpg",
            values=(signing,),
            unit=" s",
            detail=f"{len(documents)} parts, {signing / len(documents) * 1e3:.1f} ms each",
        ),
        Figure(
            what=f"command for {count:,} clients: queued",
            values=(queueing,),
            unit=" s",
            detail=f"{queueing / count * 1e6:.1f} µs for each client",
        ),
        Figure(
            what=f"progress of a command for {count:,} clients",
            values=(counting * 1e3,),
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


def _give(store: Store, hosts: list[str], now: datetime) -> None:
    key = ClientKey(fingerprint="", cid="", public_key="", status="active", has_commands=True)
    for cid in hosts:
        if len(delivery.for_client(store, replace(key, cid=cid), now)) != 1:
            raise ValueError("a client was not given its command")


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
