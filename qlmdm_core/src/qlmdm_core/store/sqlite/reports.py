"""Reports and their history: functions over one connection.

A report is kept as one row for each collector. The rows of a client lie together: `id` is the
client's `no` times 2^20 plus the collector's place, which is that of its name in
`states.times`. So what did not change is neither read nor written, and the whole report is one
short walk along the table.
"""

# ruff: noqa: S608 - statements are put together from constants of this folder, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Any, TypeAlias

from qlmdm_core.errors import StoreError
from qlmdm_core.store import merge
from qlmdm_core.store.codec import dump_change, dump_text, dumps, from_ms, load_change, loads, to_ms
from qlmdm_core.store.records import Behind, Change, NotAllowed, Repeated, Submission

_PLACE_BITS = 20
_LAST_PLACE = (1 << _PLACE_BITS) - 1

REPORT = f"""(SELECT CAST('{{' || group_concat(entry) || '}}' AS BLOB) FROM reports
    WHERE id BETWEEN c.no << {_PLACE_BITS} AND (c.no << {_PLACE_BITS}) + {_LAST_PLACE})"""
"""The whole report of the client `c`, as JSON; null if it never reported."""

Refused: TypeAlias = "Repeated | Behind | NotAllowed"

FOREVER = 1 << 62
"""Later than any time in milliseconds."""


def report(db: sqlite3.Connection, cid: str) -> bytes | None:
    """The merged report with the times of the last collection."""
    row = db.execute(
        f"""SELECT {REPORT}, s.times, s.times_newer FROM clients AS c
        JOIN states AS s ON s.no = c.no WHERE c.cid = ?""",
        (cid,),
    ).fetchone()
    if row is None:
        return None
    if row[0] is None:
        return b"{}"
    if not row[2]:
        return bytes(row[0])
    return dumps(merge.load_report(row[0], row[1]))


# --- accepting a record ---------------------------------------------------------------------


def snapshot(db: sqlite3.Connection, cid: str) -> tuple[int, merge.Snapshot] | None:
    """The row number of a client, and what a merge needs to know of it."""
    row = db.execute(
        """SELECT c.no, c.fingerprint, c.status, s.version, s.seq, s.recent, s.times, c.hostname,
        c.release, c.flags, s.last_seen_at, s.reported_at
        FROM clients AS c JOIN states AS s ON s.no = c.no WHERE c.cid = ?""",
        (cid,),
    ).fetchone()
    if row is None:
        return None
    return row[0], merge.Snapshot(
        fingerprint=row[1],
        status=row[2],
        version=row[3],
        seq=row[4],
        recent=row[5],
        times=row[6],
        hostname=row[7],
        release=row[8],
        flags=loads(row[9]) if row[9] != "{}" else {},
        last_seen_at=from_ms(row[10]),
        reported_at=from_ms(row[11]),
    )


def entry(db: sqlite3.Connection, no: int, place: int) -> bytes:
    """What one collector said last: `"name":{…}`, as stored."""
    row = db.execute("SELECT entry FROM reports WHERE id = ?", (_id(no, place),)).fetchone()
    return row[0] if row else b""


def facts(db: sqlite3.Connection, no: int) -> bytes:
    """The facts as stored, `{}` if the client never reported."""
    row = db.execute("SELECT facts FROM facts WHERE no = ?", (no,)).fetchone()
    return row[0] if row else b"{}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record that may be merged, with all that can be done before it is written.

    Made by the thread that asks: the others wait while one writes.
    """

    merged: merge.Merged
    record: tuple[Any, ...]
    """A row for the view `accepting`."""
    entries: Sequence[tuple[int, bytes]]
    """Rows for `reports` and `changes`, but for the first, which is in `record`."""
    changes: Sequence[tuple[Any, ...]]
    no: int
    submission: Submission

    def write(self, db: sqlite3.Connection) -> bool:
        """Write it, unless somebody wrote to the client since it was read: False then."""
        before = db.total_changes
        db.execute(_ACCEPT, self.record)
        if db.total_changes == before:
            return False
        if self.entries:
            db.executemany("REPLACE INTO reports (id, entry) VALUES (?, ?)", self.entries)
            db.executemany(
                "INSERT INTO changes (cid, seq, collector, changed_at, body) "
                "VALUES (?, ?, ?, ?, ?)",
                self.changes,
            )
        if self.merged.identity:
            _write_identity(db, self.no, self.submission)
        return True


_ACCEPT = f"INSERT INTO accepting VALUES ({', '.join('?' * 18)})"


def prepare(db: sqlite3.Connection, s: Submission) -> Prepared | Refused:
    """Merge a record with what is there, or say why not."""
    found = snapshot(db, s.cid)
    if found is None:
        return merge.NO_SUCH_CLIENT
    no, present = found
    refused = merge.refusal(present, s)
    if refused is not None:
        return refused
    merged = merge.merge_entries(present, s, partial(entry, db, no), partial(facts, db, no))
    entries = [(_id(no, place), entry) for place, entry in merged.entries.items()]
    changes = [
        (c.cid, s.seq, c.collector, to_ms(c.changed_at), dump_change(c)) for c in merged.changes
    ]
    _, _, collector, changed_at, body = changes[0] if changes else (None,) * 5
    record = (
        no,
        present.version,
        s.fingerprint,
        s.seq,
        s.boot,
        to_ms(merged.last_seen_at),
        to_ms(merged.accepted.accepted_at),
        merged.times_newer,
        merged.recent,
        merged.times,
        merged.facts,
        token_hex(8) if merged.dirty else None,
        *(entries[0] if entries else (None, None)),
        s.cid,
        collector,
        changed_at,
        body,
    )
    return Prepared(merged, record, entries[1:], changes[1:], no, s)


# --- history --------------------------------------------------------------------------------


def changes(
    db: sqlite3.Connection,
    cid: str,
    collector: str | None,
    before_ms: int | None,
    limit: int,
) -> list[Change]:
    """A client's history, newest first."""
    rows = db.execute(
        """SELECT cid, seq, collector, changed_at, body FROM changes
        WHERE cid = ? AND changed_at < ? AND collector = coalesce(?, collector)
        ORDER BY changed_at DESC, no DESC LIMIT ?""",
        (cid, FOREVER if before_ms is None else before_ms, collector, limit),
    )
    return [
        load_change(
            row[4],
            change_id=f"{row[0]}:{row[1]}:{row[2]}",
            cid=row[0],
            collector=row[2],
            changed_at=from_ms(row[3]),
        )
        for row in rows
    ]


def forget_changes(db: sqlite3.Connection, before_ms: int, limit: int) -> int:
    """Delete at most `limit` lines of history older than this; how many."""
    return db.execute(
        """DELETE FROM changes WHERE no IN
        (SELECT no FROM changes WHERE changed_at < ? ORDER BY changed_at LIMIT ?)""",
        (before_ms, limit),
    ).rowcount


# --- within ---------------------------------------------------------------------------------


def _id(no: int, place: int) -> int:
    if place > _LAST_PLACE:
        raise StoreError("a client has reported too many different collectors")
    return no << _PLACE_BITS | place


def _write_identity(db: sqlite3.Connection, no: int, s: Submission) -> None:
    # The flags are read again: an administrator may have set others meanwhile.
    row = db.execute("SELECT flags FROM clients WHERE no = ?", (no,)).fetchone()
    db.execute(
        "UPDATE clients SET hostname = ?, release = ?, flags = ? WHERE no = ?",
        (s.hostname, s.release, dump_text(merge.merge_flags(loads(row[0]), s.flags)), no),
    )
