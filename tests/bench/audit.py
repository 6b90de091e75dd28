"""The audit: a full judgement against reading and parsing, and 1 % changed against it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import fleets
import orjson
from figures import Figure

from qlmdm_core import settings
from qlmdm_core.server.audit.rules import rules
from qlmdm_core.server.audit.run import RULES_VERSION, Audit
from qlmdm_core.server.context import Context
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.fleet import START, Fleet

SIZE = 12_000
"""Bytes of a report."""
ROUNDS = 3


def figures(quick: bool) -> list[Figure]:
    """The figures of the audit, for fleets of three sizes."""
    found = []
    for count in (1000, 10_000) if quick else (1000, 10_000, 100_000):
        with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name:
            found += _fleet(Path(name), count)
    return found


def _fleet(folder: Path, count: int) -> list[Figure]:
    url = f"sqlite://{folder}/qlmdm.sqlite"
    store = fleets.filled(url, count, SIZE)
    context = Context(loaded=settings.parse(f"url: http://x\nstore: {url}", ServerSettings))
    made = rules(context.checks(), context.settings.audit, complete=False)
    audit = Audit(
        open_store=lambda: open_store(url), rules=made, notifiers=(), unknown_grace_period=604800.0
    )
    now = START + timedelta(hours=1)
    first = _timed(lambda: audit.run(now, None))
    reads, fulls, few = [], [], []
    fleet = Fleet.__new__(Fleet)
    fleet.store, fleet._seq = store, {}
    changed = [client.cid for client in store.clients(limit=count // 100).clients]
    for number in range(ROUNDS):
        now += timedelta(minutes=5)
        reads.append(_timed(lambda now=now: _read_and_parse(store, now)))
        store.set_meta(RULES_VERSION, None)
        fulls.append(_timed(lambda now=now: audit.run(now, None)))
        fleet.now = now
        for cid in changed:
            fleet.report(cid, {"dmidecode": {"state": "available", "serial": f"new{number}"}})
        few.append(_timed(lambda now=now: audit.run(now, None)))
    nothing = _timed(lambda: audit.run(now + timedelta(seconds=1), None))
    store.close()
    label = f"audit, {count:,} clients"
    return [
        Figure(
            what=f"{label}: judging all, against reading and parsing",
            values=tuple(full / read for full, read in zip(fulls, reads, strict=True)),
            budget=1.5,
            detail=f"{min(fulls):.2f} s against {min(reads):.2f} s; "
            f"the first time {first:.2f} s, {len(made)} checks",
        ),
        Figure(
            what=f"{label}: 1 % changed, against judging all",
            values=tuple(part / full for part, full in zip(few, fulls, strict=True)),
            budget=0.02 if count >= 100_000 else None,
            detail=f"{min(few) * 1000:.0f} ms; with nothing changed {nothing * 1000:.0f} ms",
        ),
    ]


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _read_and_parse(store: Store, now: datetime) -> None:
    """What no audit can do without: every report out of the store, and parsed."""
    after: str | None = None
    while True:
        page = store.audit_targets(now, everything=True, after=after, limit=500)
        for target in page:
            orjson.loads(target.report)
        if len(page) < 500:
            return
        after = page[-1].client.cid
