"""Decides who is offered a release, and whether its roll-out may grow: rules without a database.

A roll-out names clients, tags, and a share of all clients; whoever is in one of these is offered
the release. It is only ever widened, so who was offered a release stays offered it, unless the
roll-out is paused or stopped, or the release withdrawn: then nobody else is.

Which clients are in a share follows from their ids and the release's version alone. So a larger
share holds the smaller one, every process says the same, and it is not the same machines that
are the first with each release.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from qlmdm_core.api import JSON
from qlmdm_core.manifest import Version
from qlmdm_core.rootdoc import read_time, write_time

State = Literal["running", "paused", "stopped"]
WHOLE = 100.0
MAX_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a share grows by itself."""

    step: float
    """Percent of all clients that are added each time."""
    every: float
    """Seconds that a step is given before the next."""
    healthy_above: float = 95.0
    """Percent of those that took it, or failed to, that must be well."""
    deadline: float = 3 * 86400.0
    """Seconds after which a client that was offered it and fell silent counts as lost."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Who is offered a release, since when."""

    state: State = "running"
    reason: str = ""
    """Why it is paused or stopped."""
    hosts: Mapping[str, datetime] = field(default_factory=dict)
    """Ids of clients."""
    tags: Mapping[str, datetime] = field(default_factory=dict)
    steps: tuple[tuple[float, datetime], ...] = ()
    """Shares in percent, growing, each with when it began."""
    growth: Growth | None = None

    @property
    def percent(self) -> float:
        """The present share of all clients."""
        return self.steps[-1][0] if self.steps else 0.0

    @property
    def is_growing(self) -> bool:
        """Whether there is anything left to be decided by itself."""
        return self.state == "running" and self.growth is not None and self.percent < WHOLE


def to_everybody(at: datetime) -> Rollout:
    """The roll-out of a release that says nothing of one."""
    return Rollout(steps=((WHOLE, at),))


def place(cid: str, version: Version) -> float:
    """Where a client stands among all, from 0 up to, and not including, 100."""
    digest = hashlib.sha256(f"{version}:{cid}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48) * WHOLE


def offered_at(
    rollout: Rollout, cid: str, tags: Collection[str], version: Version
) -> datetime | None:
    """Since when a client is in the roll-out, running or not; None: it is not."""
    found = [rollout.tags[tag] for tag in tags if tag in rollout.tags]
    if cid in rollout.hosts:
        found.append(rollout.hosts[cid])
    if rollout.steps:
        mine = place(cid, version)
        found += [at for percent, at in rollout.steps if mine < percent][:1]
    return min(found, default=None)


def is_offered(rollout: Rollout, cid: str, tags: Collection[str], version: Version) -> bool:
    """Whether a client that asks now is offered the release."""
    return rollout.state == "running" and offered_at(rollout, cid, tags, version) is not None


def widen(
    rollout: Rollout,
    now: datetime,
    *,
    hosts: Sequence[str] = (),
    tags: Sequence[str] = (),
    percent: float | None = None,
    growth: Growth | None = None,
) -> Rollout:
    """With more clients, and running (again). A smaller share than before changes nothing."""
    steps = rollout.steps
    if percent is not None and percent > rollout.percent:
        steps = (*steps, (min(percent, WHOLE), now))[-MAX_STEPS:]
    return Rollout(
        hosts={**dict.fromkeys(hosts, now), **rollout.hosts},
        tags={**dict.fromkeys(tags, now), **rollout.tags},
        steps=steps,
        growth=growth or (rollout.growth if percent is None else None),
    )


def pause(rollout: Rollout, reason: str) -> Rollout:
    """Nobody who does not have it gets it, until somebody says otherwise."""
    return replace(rollout, state="paused", reason=reason)


# --- how clients are ------------------------------------------------------------------------

Health = Literal["healthy", "bad", "silent", "waiting", "absent"]
"""healthy: it reported from this release, or from a later one. bad: it said that it failed.
silent: it was there to be offered it, and was not heard of since. waiting: offered, not decided
yet. absent: not heard of since it was offered, so it can't know of it."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What the server knows of one client that is in the roll-out."""

    offered_at: datetime
    release: Version | None
    reported_at: datetime | None
    last_seen_at: datetime | None
    is_bad: bool


def health(seen: Sighting, version: Version, now: datetime, deadline: float) -> Health:
    """How a client took a release."""
    if seen.is_bad:
        return "bad"
    if seen.release is not None and seen.release >= version and seen.reported_at is not None:
        return "healthy"
    if seen.last_seen_at is None or seen.last_seen_at < seen.offered_at:
        return "absent"
    if now - seen.last_seen_at > timedelta(seconds=deadline):
        return "silent"
    return "waiting"


def decide(rollout: Rollout, counts: Mapping[Health, int], now: datetime) -> Rollout:
    """Grow, stop, or leave it, by how the clients are that were offered the release.

    It stops as soon as so many failed that the share of the healthy ones is below the limit
    even if all that are undecided come back well: those that have not heard of it don't count.
    It grows when a step had its time, most of those that it reached are decided, and enough of
    the decided ones are well.
    """
    growth = rollout.growth
    if growth is None or not rollout.is_growing:
        return rollout
    healthy, lost = counts.get("healthy", 0), counts.get("bad", 0) + counts.get("silent", 0)
    decided = healthy + lost
    reached = decided + counts.get("waiting", 0)
    if lost * WHOLE > reached * (WHOLE - growth.healthy_above):
        reason = (
            f"{counts.get('bad', 0)} clients rolled it back and {counts.get('silent', 0)} fell "
            f"silent, of {reached} that were reached; {growth.healthy_above:g}% have to be well"
        )
        return replace(rollout, state="stopped", reason=reason)
    begun = rollout.steps[-1][1] if rollout.steps else now
    if rollout.steps and now - begun < timedelta(seconds=growth.every):
        return rollout
    if rollout.steps and (not decided or decided < math.ceil(reached / 2)):
        return rollout
    if decided and healthy * WHOLE < decided * growth.healthy_above:
        return rollout
    return replace(
        rollout, steps=(*rollout.steps, (min(rollout.percent + growth.step, WHOLE), now))
    )


# --- as it is stored ------------------------------------------------------------------------


def dump(rollout: Rollout) -> JSON:
    """The value of `ReleaseRecord.rollout`."""
    growth = rollout.growth
    return {
        "state": rollout.state,
        "reason": rollout.reason,
        "hosts": {cid: write_time(at) for cid, at in rollout.hosts.items()},
        "tags": {tag: write_time(at) for tag, at in rollout.tags.items()},
        "steps": [[percent, write_time(at)] for percent, at in rollout.steps],
        "growth": None
        if growth is None
        else {
            "step": growth.step,
            "every": growth.every,
            "healthy_above": growth.healthy_above,
            "deadline": growth.deadline,
        },
    }


def load(value: JSON, created_at: datetime) -> Rollout:
    """What `dump` wrote; None is a release for everybody. A damaged value is one for nobody."""
    if value is None:
        return to_everybody(created_at)
    try:
        growth = value["growth"]
        return Rollout(
            state=value["state"] if value["state"] in ("running", "paused") else "stopped",
            reason=str(value["reason"]),
            hosts={str(cid): read_time(at) for cid, at in value["hosts"].items()},
            tags={str(tag): read_time(at) for tag, at in value["tags"].items()},
            steps=tuple((float(percent), read_time(at)) for percent, at in value["steps"]),
            growth=None if growth is None else Growth(**growth),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return Rollout(state="stopped", reason="what is stored about the roll-out is damaged")
