"""Enrolling machines, and what becomes of their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from qlmdm_core.api import JSON
from qlmdm_core.store import merge
from qlmdm_core.store.codec import dump_text, dumps, loads, truncated
from qlmdm_core.store.records import (
    Acceptance,
    Change,
    Client,
    ClientKey,
    ClientStatus,
    Enrolled,
    Enrolment,
    EnrolmentRefused,
    Page,
    Rekeying,
    RekeyOutcome,
    Submission,
)
from qlmdm_memory_store.database import Database, Row, own
from qlmdm_memory_store.outgoing import has_commands


def enrol(db: Database, wanted: Enrolment) -> Enrolled | EnrolmentRefused:
    """Use the invitation and add the client, or neither."""
    known = db.by_fingerprint.get(wanted.fingerprint)
    if known is not None:
        counts = known.client.fingerprint == wanted.fingerprint  # it was not replaced
        if counts and known.invitation_id == wanted.invitation_id:
            return Enrolled(cid=known.client.cid, again=True)
        return EnrolmentRefused(reason="key_in_use")
    invited = db.invitations.get(wanted.invitation_id)
    if invited is None:
        return EnrolmentRefused(reason="unknown_invitation")
    if wanted.enrolled_at >= invited.expires_at:
        return EnrolmentRefused(reason="expired")
    if invited.used >= invited.uses:
        return EnrolmentRefused(reason="used_up")
    client = Client(
        cid=wanted.cid,
        fingerprint=wanted.fingerprint,
        public_key=wanted.public_key,
        status=wanted.status,
        hostname=wanted.hostname,
        mid=wanted.mid,
        enrolled_at=truncated(wanted.enrolled_at),
        user_email=invited.user_email,
        tags=invited.tags,
    )
    row = Row(client=client, invitation_id=wanted.invitation_id)
    if wanted.status == "active":
        db.make_due(row)
    db.rows[wanted.cid] = db.by_fingerprint[wanted.fingerprint] = row
    db.invitations[wanted.invitation_id] = replace(invited, used=invited.used + 1)
    return Enrolled(cid=wanted.cid)


def rekey(db: Database, wanted: Rekeying) -> RekeyOutcome:
    """Replace the key of a client."""
    row = db.rows.get(wanted.cid)
    if row is None or row.client.status in ("revoked", "retired"):
        return "not_your_key"
    present, new = row.client.fingerprint, wanted.new_fingerprint
    if present != wanted.old_fingerprint:
        done = present == new and row.previous == wanted.old_fingerprint
        return "again" if done else "not_your_key"
    if new in db.by_fingerprint:
        return "key_in_use"
    row.previous, row.previous_key = present, row.client.public_key
    row.client = replace(row.client, fingerprint=new, public_key=wanted.public_key)
    db.by_fingerprint[new] = row
    return "replaced"


# --- reading ----------------------------------------------------------------------------------


def key(db: Database, fingerprint: str) -> ClientKey | None:
    """Whose key this is: one that counts, or the last that was replaced."""
    row = db.by_fingerprint.get(fingerprint)
    if row is None or fingerprint not in (row.client.fingerprint, row.previous):
        return None
    counts = fingerprint == row.client.fingerprint
    return ClientKey(
        fingerprint=fingerprint,
        cid=row.client.cid,
        public_key=row.client.public_key if counts else row.previous_key,
        status=row.client.status,
        mid=row.client.mid,
        tags=row.client.tags,
        release=row.client.release,
        has_commands=has_commands(db, row.client.cid),
        replaced_by=None if counts else row.client.fingerprint,
    )


def read(row: Row) -> Client:
    """A client with its facts; flags and facts are the reader's own."""
    return replace(row.client, flags=own(row.client.flags), facts=loads(row.facts))


def page(db: Database, after: str | None, limit: int) -> Page:
    """A part of all clients, by hostname, then cid; `after` is both of the last one."""
    last = tuple(loads(after)) if after else ("", "")
    places = sorted((row.client.hostname, cid) for cid, row in db.rows.items())
    rest = [place for place in places if place > last]
    chosen = rest[:limit]
    return Page(
        clients=[read(db.rows[cid]) for _, cid in chosen],
        after=dump_text(list(chosen[-1])) if len(rest) > limit else None,
    )


def report(row: Row) -> bytes:
    """The whole report with its newest times."""
    if not row.times_newer:
        return row.report
    return dumps(merge.load_report(row.report, row.times))


# --- writing ----------------------------------------------------------------------------------


def set_client(
    db: Database,
    row: Row,
    *,
    status: ClientStatus | None,
    user_email: str | None,
    tags: Sequence[str] | None,
    flags: Mapping[str, JSON] | None,
) -> None:
    """Change what is not None."""
    client = row.client
    row.client = replace(
        client,
        status=status or client.status,
        user_email=client.user_email if user_email is None else user_email,
        tags=client.tags if tags is None else tuple(tags),
        flags=merge.merge_flags(client.flags, own(dict(flags or {}))),
    )
    if row.client.status == "active":
        db.make_due(row)
    else:
        row.dirty = row.rejudge_at = None


def accept(db: Database, sent: Submission) -> Acceptance:
    """Merge a record. The lock is held, so that nobody can come in between."""
    row = db.rows.get(sent.cid)
    snapshot = None if row is None else row.snapshot()
    refused = merge.refusal(snapshot, sent)
    if refused is not None or row is None or snapshot is None:
        return refused or merge.NO_SUCH_CLIENT
    merged = merge.merge(snapshot, sent, lambda: (row.report, row.facts))
    # Nothing was changed so far: whatever raises above leaves the client as it was.
    row.version, row.recent = merged.version, merged.recent
    row.times, row.times_newer = merged.times, merged.times_newer
    if merged.report is not None:
        row.report = merged.report
    if merged.facts is not None:
        row.facts = merged.facts
    row.history += [_own_change(change) for change in merged.changes]
    row.client = replace(
        row.client,
        seq=sent.seq,
        boot=sent.boot,
        hostname=sent.hostname,
        release=sent.release,
        flags=own(merged.flags),
        last_seen_at=merged.last_seen_at,
        reported_at=merged.accepted.accepted_at,
    )
    if merged.dirty:
        db.make_due(row)
    return merged.accepted


def _own_change(change: Change) -> Change:
    return replace(change, old=own(change.old), new=own(change.new))


def seen(db: Database, row: Row, at: datetime) -> None:
    """Move `last_seen_at` forward; who was silent for long is judged again."""
    at, last = truncated(at), row.client.last_seen_at
    if last is not None and last >= at:
        return
    row.client = replace(row.client, last_seen_at=at)
    if row.client.status == "active" and merge.was_silent(last, at):
        db.make_due(row)


# --- history ----------------------------------------------------------------------------------


def changes(row: Row, collector: str | None, before: datetime | None, limit: int) -> list[Change]:
    """A client's history, newest first."""
    found = [
        change
        for change in sorted(row.history, key=lambda change: change.changed_at)
        if (collector is None or change.collector == collector)
        and (before is None or change.changed_at < truncated(before))
    ]
    return found[::-1][:limit]


def forget_changes(db: Database, before: datetime) -> int:
    """Drop older history; how many lines."""
    count = 0
    for row in db.rows.values():
        kept = [change for change in row.history if change.changed_at >= truncated(before)]
        count += len(row.history) - len(kept)
        row.history = kept
    return count
