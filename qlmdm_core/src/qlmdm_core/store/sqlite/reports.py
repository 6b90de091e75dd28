"""Reports and their history: functions over one connection.

A report is kept as one row for each collector. The rows of a client lie together: `id` is the
client's `no` times 2^20 plus the collector's place, which is that of its name in
`states.times`. So what did not change is neither read nor written, and the whole report is one
short walk along the table.
"""

# ruff: noqa: S608 - statements are put together from constants of this folder, never from values

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from qlmdm_core.errors import StoreError
from qlmdm_core.store import merge
from qlmdm_core.store.codec import dump_change, dump_text, dumps, from_ms, load_change, loads, to_ms
from qlmdm_core.store.records import Change, Submission
from qlmdm_core.store.sqlite.clients import make_due

_PLACE_BITS = 20
_LAST_PLACE = (1 << _PLACE_BITS) - 1

REPORT = f"""(SELECT CAST('{{' || group_concat(entry) || '}}' AS BLOB) FROM reports
    WHERE id BETWEEN c.no << {_PLACE_BITS} AND (c.no << {_PLACE_BITS}) + {_LAST_PLACE})"""
"""The whole report of the client `c`, as JSON; null if it never reported."""

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


ChangeRow: TypeAlias = tuple[str, int, str, int, bytes]


def change_rows(merged: merge.Merged, s: Submission) -> list[ChangeRow]:
    """The lines of history of a merge, made by the thread that asks, not by the writer."""
    return [
        (c.cid, s.seq, c.collector, to_ms(c.changed_at), dump_change(c)) for c in merged.changes
    ]


def write_merged(
    db: sqlite3.Connection,
    no: int,
    version: int,
    merged: merge.Merged,
    s: Submission,
    rows: list[ChangeRow],
) -> bool:
    """Write a merge, unless somebody wrote to the client since `version` was read: False then."""
    written = db.execute(
        """UPDATE states SET version = ?, seq = ?, boot = ?, last_seen_at = ?, reported_at = ?,
        times_newer = ?, recent = ?, times = ? WHERE no = ? AND version = ? AND EXISTS
        (SELECT 1 FROM clients WHERE no = ? AND status = 'active' AND fingerprint = ?)""",
        (
            merged.version,
            s.seq,
            s.boot,
            to_ms(merged.last_seen_at),
            to_ms(merged.accepted.accepted_at),
            merged.times_newer,
            merged.recent,
            merged.times,
            no,
            version,
            no,
            s.fingerprint,
        ),
    ).rowcount
    if not written:
        return False
    for place, entry in merged.entries.items():
        db.execute("REPLACE INTO reports (id, entry) VALUES (?, ?)", (_id(no, place), entry))
    if merged.facts is not None:
        db.execute("REPLACE INTO facts (no, facts) VALUES (?, ?)", (no, merged.facts))
    if rows:
        db.executemany(
            "INSERT INTO changes (cid, seq, collector, changed_at, body) VALUES (?, ?, ?, ?, ?)",
            rows,
        )
    if merged.identity:
        _write_identity(db, no, s)
    if merged.dirty:
        make_due(db, no)
    return True


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
        WHERE cid = ?1 AND changed_at < ?2 AND (?3 IS NULL OR collector = ?3)
        ORDER BY changed_at DESC, no DESC LIMIT ?4""",
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
