"""What a record from a client does to what is known of it: pure functions, for all engines.

An engine reads a `Snapshot` of the client, asks `refusal`, then `merge`, and writes the
`Merged` only if nobody wrote to the client meanwhile (a compare-and-set on `version`);
otherwise it reads again. Nothing here does I/O.

A report that says nothing new must cost a small write. So the hash and the time of each
collector's last value are kept apart from the report (`Snapshot.times`), which is left as
it is until a value changes; `load_report` puts the two together.

`merge` is for an engine that keeps the report as one piece, `merge_entries` for one that
keeps each collector's entry apart, and so need not read and write those that stay the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreCorruptError
from qlmdm_core.store import results
from qlmdm_core.store.codec import dumps, from_ms, loads, to_ms, truncated
from qlmdm_core.store.records import (
    Accepted,
    Behind,
    Change,
    ClientStatus,
    NotAllowed,
    Repeated,
    Submission,
)

RECENT = 64
"""How many of a client's last records are remembered, to answer a retry with its receipt."""

SILENCE = timedelta(hours=1)
"""A client that comes back after this long is due for judgement whatever it says: an issue
about its silence may be open."""

STALE = timedelta(hours=6)
"""The same, for one collector's value that was not renewed for this long."""

NO_SUCH_CLIENT = NotAllowed(reason="no such client")

_DIGEST = 16  # bytes kept of a record's id
_ENTRY = _DIGEST + 8  # … and of when it was accepted
_HASH = 32  # hex digits kept of a value's hash beside the report: 128 bits


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What an engine keeps of a client beside its report, as read before a merge."""

    fingerprint: str
    status: ClientStatus
    version: int
    """Grows with each accepted record: what the compare-and-set compares."""
    seq: int
    recent: bytes
    """The last `RECENT` records: hash of the id, and when it was accepted."""
    times: bytes
    """JSON: collector name to `[hash, collected_at, seconds]` of its last value."""
    hostname: str
    release: str | None
    flags: Mapping[str, JSON]
    last_seen_at: datetime | None
    reported_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What to write: the small state always, the rest only if it is not None."""

    accepted: Accepted
    version: int
    recent: bytes
    times: bytes
    times_newer: bool
    """Whether `times` has something that the report has not."""
    last_seen_at: datetime
    report: bytes | None
    """The whole new report; always None from `merge_entries`."""
    entries: Mapping[int, bytes]
    """The new entries, `"name":{…}`, by the place of the name in `times`; only from
    `merge_entries`. A name keeps its place, new ones come last."""
    facts: bytes | None
    changes: tuple[Change, ...]
    identity: bool
    """Whether hostname, release or flags differ from the snapshot's."""
    flags: Mapping[str, JSON]
    dirty: bool
    """Whether the client is to be judged again."""


def refusal(
    snapshot: Snapshot | None, submission: Submission
) -> Repeated | Behind | NotAllowed | None:
    """Why the record must not be merged, or None if it may."""
    if snapshot is None:
        return NO_SUCH_CLIENT
    if snapshot.fingerprint != submission.fingerprint:
        return NotAllowed(reason="the key is not that of this client")
    if snapshot.status != "active":
        return NotAllowed(reason=f"the client is {snapshot.status}")
    accepted_at = _when_accepted(snapshot.recent, submission.rid)
    if accepted_at is not None:
        return Repeated(accepted_at=accepted_at)
    if submission.seq <= snapshot.seq:
        return Behind(last_seq=snapshot.seq)
    return None


def merge(
    snapshot: Snapshot, submission: Submission, read: Callable[[], tuple[bytes, bytes]]
) -> Merged:
    """Merge a record that `refusal` did not refuse.

    `read()` gives the present report and facts (JSON; `{}` if there are none); it is called
    only if a value changed, and must be of the same version as the snapshot or newer.
    """
    news = _news(snapshot, submission)
    report = facts = None
    changes: tuple[Change, ...] = ()
    if news.changed:
        report, facts, changes = _merge_values(submission, news, read())
    return _merged(
        snapshot,
        submission,
        news,
        report=report,
        facts=facts,
        changes=changes,
        times_newer=not news.changed,
    )


def merge_entries(
    snapshot: Snapshot,
    submission: Submission,
    read_entry: Callable[[int], bytes],
    read_facts: Callable[[], bytes],
) -> Merged:
    """As `merge`, for an engine that keeps the entries of a report apart (see `Merged.entries`).

    `read_entry` gives the present entry at a place, `read_facts` the facts, `{}` if there are
    none; both are called only for what changed, and must be as new as the snapshot or newer.
    """
    news = _news(snapshot, submission)
    entries: dict[int, bytes] = {}
    changes = []
    facts = None
    if news.changed:
        places = {name: place for place, name in enumerate(news.times)}
        changed = {name: submission.collectors[name] for name in news.changed}
        for name, result in changed.items():
            place = places[name]
            old = (
                results.load_entry(submission.cid, name, read_entry(place))
                if name in news.old
                else None
            )
            entry = results.entry(result, news.changed[name], news.received_at)
            entries[place] = dumps({name: entry})[1:-1]
            changes.append(results.change(submission, name, old, entry, news.received_at))
        facts = results.new_facts(submission.cid, changed, read_facts())
    return _merged(
        snapshot,
        submission,
        news,
        entries=entries,
        facts=facts,
        changes=tuple(changes),
        times_newer=len(entries) < len(news.times),
    )


def was_silent(last: datetime | None, now: datetime) -> bool:
    """Whether a client that is heard of now was silent for so long that it must be judged."""
    return last is not None and now - last >= SILENCE


def merge_flags(old: Mapping[str, JSON], new: Mapping[str, JSON]) -> dict[str, JSON]:
    """The marks of a client after setting some; a value of None removes the mark."""
    return {name: value for name, value in {**old, **new}.items() if value is not None}


def load_report(report: bytes, times: bytes = b"") -> dict[str, dict[str, JSON]]:
    """A client's report as a dictionary, with `times` (of an `AuditTarget`) put into it."""
    loaded: dict[str, dict[str, JSON]] = loads(report)
    if times:
        for name, (_, collected_at, seconds) in loads(times).items():
            if name in loaded:
                loaded[name]["collected_at"] = collected_at
                loaded[name]["seconds"] = seconds
    return loaded


# --- within -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _News:
    """A record compared with the hashes of what is there."""

    received_at: datetime
    old: Mapping[str, list[Any]]
    times: dict[str, list[Any]]
    changed: dict[str, str]
    """Collector name to the hash of its new value."""
    woken: bool
    """Whether the client, or a value, comes back after a long silence."""


def _news(snapshot: Snapshot, submission: Submission) -> _News:
    received_at = truncated(submission.received_at)
    old: dict[str, list[Any]] = loads(snapshot.times or b"{}")
    times = dict(old)
    changed: dict[str, str] = {}
    woken = was_silent(snapshot.reported_at, received_at)
    for name, result in submission.collectors.items():
        sha256 = result.value_sha256 or results.result_sha256(result)
        kept = sha256[:_HASH]
        before = old.get(name)
        if before is None or before[0] != kept:
            changed[name] = sha256
        elif _older(before[1], result.collected_at, STALE):
            woken = True
        times[name] = [kept, result.collected_at, result.seconds]
    return _News(received_at=received_at, old=old, times=times, changed=changed, woken=woken)


def _merged(
    snapshot: Snapshot,
    submission: Submission,
    news: _News,
    *,
    times_newer: bool,
    facts: bytes | None,
    changes: tuple[Change, ...],
    report: bytes | None = None,
    entries: Mapping[int, bytes] | None = None,
) -> Merged:
    flags = merge_flags(snapshot.flags, submission.flags)
    identity = (submission.hostname, submission.release, flags) != (
        snapshot.hostname,
        snapshot.release,
        dict(snapshot.flags),
    )
    return Merged(
        accepted=Accepted(accepted_at=news.received_at, changed=bool(news.changed)),
        version=snapshot.version + 1,
        recent=_remember(snapshot.recent, submission.rid, news.received_at),
        times=dumps(news.times),
        times_newer=times_newer,
        last_seen_at=max(news.received_at, snapshot.last_seen_at or news.received_at),
        report=report,
        entries=entries or {},
        facts=facts,
        changes=changes,
        identity=identity,
        flags=flags,
        dirty=bool(news.changed) or identity or news.woken or snapshot.reported_at is None,
    )


def _merge_values(
    submission: Submission, news: _News, present: tuple[bytes, bytes]
) -> tuple[bytes, bytes, tuple[Change, ...]]:
    """The new report and facts, and a line of history for each value that changed."""
    try:
        report: dict[str, dict[str, JSON]] = loads(present[0])
    except ValueError as error:
        raise StoreCorruptError(f"client {submission.cid}: its report is damaged") from error
    changes = []
    for name, sha256 in news.changed.items():
        result = submission.collectors[name]
        old = report.get(name)
        if old is not None and old.get("value_sha256") == sha256:
            continue  # only the record of times was lost or cut
        report[name] = results.entry(result, sha256, news.received_at)
        changes.append(results.change(submission, name, old, report[name], news.received_at))
    for name, (_, collected_at, seconds) in news.times.items():
        if name in report:
            report[name]["collected_at"] = collected_at
            report[name]["seconds"] = seconds
    changed = {name: submission.collectors[name] for name in news.changed}
    facts = results.new_facts(submission.cid, changed, present[1])
    return dumps(report), facts or present[1], tuple(changes)


def _digest(rid: str) -> bytes:
    return hashlib.sha256(rid.encode()).digest()[:_DIGEST]


def _when_accepted(recent: bytes, rid: str) -> datetime | None:
    digest = _digest(rid)
    start = recent.find(digest)
    while start >= 0:
        if start % _ENTRY == 0:
            return from_ms(int.from_bytes(recent[start + _DIGEST : start + _ENTRY], "big"))
        start = recent.find(digest, start + 1)
    return None


def _remember(recent: bytes, rid: str, at: datetime) -> bytes:
    """`recent` with one more record, the oldest dropped."""
    entry = _digest(rid) + to_ms(at).to_bytes(8, "big")
    return (recent + entry)[-RECENT * _ENTRY :]


def _older(old: str, new: str, gap: timedelta) -> bool:
    """Whether `old` is that much before `new`; times that don't parse count as it."""
    if old[:13] == new[:13]:  # the same hour, without parsing
        return False
    try:
        difference = _parse_iso(new) - _parse_iso(old)
    except (ValueError, TypeError):
        return True
    return difference >= gap


def _parse_iso(text: str) -> datetime:
    # Python 3.10 does not know the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
