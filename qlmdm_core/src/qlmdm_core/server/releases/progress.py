"""How far a release has come, by what clients reported; and what follows for its roll-out.

Nothing is written down when a client is offered a release, which happens with every poll. What
is known is when it was last heard from, which release its last report came from, and which ones
it said failed there. That is enough to tell who is well, who is not, and who can't know yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import get_args

from qlmdm_core import manifest
from qlmdm_core.api import JSON
from qlmdm_core.manifest import Version
from qlmdm_core.server.lookup import active_clients
from qlmdm_core.server.releases import rollout
from qlmdm_core.server.releases.rollout import Growth, Health, Rollout, Sighting
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import ReleaseRecord

FLAG = "bad_releases"
"""The mark of a client that holds the releases which failed there, with their reasons."""
HEALTHS: tuple[Health, ...] = get_args(Health)
MOST_NAMED = 20
DEADLINE = Growth(step=1.0, every=1.0).deadline


@dataclass(kw_only=True)
class Progress:
    """The clients that a release is for, counted by how they took it."""

    counts: Counter[Health] = field(default_factory=Counter)
    trouble: list[tuple[str, str, str]] = field(default_factory=list)
    """Hostname, "bad" or "silent", and why; the first of them."""
    others: int = 0
    """Active clients that it is not offered to."""


def bad_releases(agent: object) -> JSON:
    """What a client's own state (the value of `agent`) says failed there; None: nothing."""
    release = agent.get("release") if isinstance(agent, dict) else None
    bad = release.get("bad") if isinstance(release, dict) else None
    if not isinstance(bad, dict) or not bad:
        return None
    newest = sorted((v, name) for name in bad if (v := _version(name)) is not None)[-10:]
    return {name: str(bad[name])[:200] for _, name in newest} or None


def measure(store: Store, record: ReleaseRecord, now: datetime) -> Progress:
    """Look at every active client. Reads no report, but all clients, in pages."""
    version = Version(record.epoch, record.number)
    planned = rollout.load(record.rollout, record.created_at)
    deadline = planned.growth.deadline if planned.growth else DEADLINE
    found = Progress()
    for client in active_clients(store):
        offered_at = rollout.offered_at(planned, client.cid, client.tags, version)
        if offered_at is None:
            found.others += 1
            continue
        bad = client.flags.get(FLAG)
        reason = bad.get(str(version)) if isinstance(bad, dict) else None
        seen = Sighting(
            offered_at=offered_at,
            release=_version(client.release),
            reported_at=client.reported_at,
            last_seen_at=client.last_seen_at,
            is_bad=reason is not None,
        )
        state = rollout.health(seen, version, now, deadline)
        found.counts[state] += 1
        if state in ("bad", "silent") and len(found.trouble) < MOST_NAMED:
            why = str(reason) if reason is not None else f"last seen {client.last_seen_at}"
            found.trouble.append((client.hostname, state, why))
    return found


def _version(text: JSON) -> Version | None:
    try:
        return manifest.read_version(text)
    except ValueError:
        return None


def advance(store: Store, now: datetime) -> list[str]:
    """Let every roll-out that grows by itself take its next step; what happened, in lines.

    Costs one read unless one does. Somebody who changes it at the same moment goes before.
    """
    lines: list[str] = []
    for record in store.releases():
        planned = rollout.load(record.rollout, record.created_at)
        if record.status != "published" or not planned.is_growing:
            continue
        counts: Mapping[Health, int] = measure(store, record, now).counts
        decided = rollout.decide(planned, counts, now)
        changed = replace(record, rollout=rollout.dump(decided))
        if decided == planned or not store.update_release(changed):
            continue
        lines.append(f"release {record.epoch}.{record.number}: {described(decided)}")
    return lines


def stopped(store: Store) -> list[str]:
    """A line for each roll-out that stopped by itself and waits for somebody to look."""
    return [
        f"release {record.epoch}.{record.number}: its {described(planned)}; see "
        f"qlmdm-client-release show {record.epoch}.{record.number}"
        for record in store.releases()
        if record.status == "published"
        and (planned := rollout.load(record.rollout, record.created_at)).state == "stopped"
    ]


def described(planned: Rollout) -> str:
    """A roll-out in a few words."""
    parts: list[str] = []
    if planned.steps:
        parts.append("everybody" if planned.percent >= 100 else f"{planned.percent:g}% of all")
    parts += [f"tag {tag}" for tag in planned.tags]
    if planned.hosts:
        parts.append("1 client" if len(planned.hosts) == 1 else f"{len(planned.hosts)} clients")
    whom = ", ".join(parts) or "nobody"
    if planned.state != "running":
        return f"roll-out to {whom} {planned.state}: {planned.reason}"
    growth = planned.growth
    if growth is not None and planned.percent < rollout.WHOLE:
        whom += f", growing by {growth.step:g}%"
    return f"roll-out to {whom}"
