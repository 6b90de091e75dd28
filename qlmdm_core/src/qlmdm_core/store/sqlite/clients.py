"""Enrolment, clients and their reports: functions over one connection."""

# ruff: noqa: S608 - statements are put together from constants of this folder, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any, TypeAlias

from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreCorruptError
from qlmdm_core.store import merge
from qlmdm_core.store.codec import dump_change, dump_text, dumps, from_ms, load_change, loads, to_ms
from qlmdm_core.store.records import (
    Change,
    Client,
    ClientKey,
    ClientStatus,
    Enrolled,
    Enrolment,
    EnrolmentRefused,
    Invitation,
    Page,
    Submission,
)

CLIENT_COLUMNS = """c.cid, c.fingerprint, c.public_key, c.status, c.hostname, c.mid, c.enrolled_at,
    s.last_seen_at, s.reported_at, s.seq, s.boot, c.release, c.user_email, c.tags, c.flags,
    f.facts"""
CLIENT_TABLES = """clients AS c
    JOIN states AS s ON s.no = c.no
    LEFT JOIN facts AS f ON f.no = c.no"""

FOREVER = 1 << 62
"""Later than any time in milliseconds."""

# --- enrolment ------------------------------------------------------------------------------


def add_invitation(db: sqlite3.Connection, invitation: Invitation) -> None:
    """Add a row; an id that is there already is an error of the caller."""
    db.execute(
        "INSERT INTO invitations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            invitation.invitation_id,
            invitation.secret,
            to_ms(invitation.created_at),
            to_ms(invitation.expires_at),
            invitation.uses,
            invitation.used,
            invitation.created_by,
            dump_text(list(invitation.tags)),
            invitation.user_email,
        ),
    )


def invitation(db: sqlite3.Connection, invitation_id: str) -> Invitation | None:
    """One invitation."""
    row = db.execute(
        "SELECT * FROM invitations WHERE invitation_id = ?", (invitation_id,)
    ).fetchone()
    return _invitation(row) if row else None


def invitations(db: sqlite3.Connection) -> list[Invitation]:
    """All of them, newest first. They are few, so they are read through."""
    rows = db.execute("SELECT * FROM invitations ORDER BY created_at DESC, invitation_id")
    return [_invitation(row) for row in rows]


def enrol(db: sqlite3.Connection, enrolment: Enrolment) -> Enrolled | EnrolmentRefused:
    """Use the invitation and add the client, or neither; inside a write transaction."""
    known = db.execute(
        "SELECT cid, invitation_id FROM clients WHERE fingerprint = ?", (enrolment.fingerprint,)
    ).fetchone()
    if known:
        if known[1] == enrolment.invitation_id:
            return Enrolled(cid=known[0], again=True)
        return EnrolmentRefused(reason="key_in_use")
    invited = invitation(db, enrolment.invitation_id)
    if invited is None:
        return EnrolmentRefused(reason="unknown_invitation")
    if enrolment.enrolled_at >= invited.expires_at:
        return EnrolmentRefused(reason="expired")
    if invited.used >= invited.uses:
        return EnrolmentRefused(reason="used_up")
    no = db.execute(
        """INSERT INTO clients (cid, fingerprint, public_key, status, hostname, mid, enrolled_at,
        invitation_id, user_email, tags, flags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{}')""",
        (
            enrolment.cid,
            enrolment.fingerprint,
            enrolment.public_key,
            enrolment.status,
            enrolment.hostname,
            enrolment.mid,
            to_ms(enrolment.enrolled_at),
            enrolment.invitation_id,
            invited.user_email,
            dump_text(list(invited.tags)),
        ),
    ).lastrowid
    db.execute(
        "INSERT INTO states (no, version, seq, times_newer, recent, times) "
        "VALUES (?, 0, 0, 0, x'', x'')",
        (no,),
    )
    db.execute("INSERT INTO audits (no, cid) VALUES (?, ?)", (no, enrolment.cid))
    if enrolment.status == "active":
        _make_due(db, no)
    db.execute(
        "UPDATE invitations SET used = used + 1 WHERE invitation_id = ?",
        (enrolment.invitation_id,),
    )
    return Enrolled(cid=enrolment.cid)


# --- reading clients ------------------------------------------------------------------------


def key(db: sqlite3.Connection, fingerprint: str) -> ClientKey | None:
    """Whose key this is."""
    row = db.execute(
        "SELECT fingerprint, cid, public_key, status, mid FROM clients WHERE fingerprint = ?",
        (fingerprint,),
    ).fetchone()
    if row is None:
        return None
    return ClientKey(fingerprint=row[0], cid=row[1], public_key=row[2], status=row[3], mid=row[4])


def client(db: sqlite3.Connection, cid: str) -> Client | None:
    """One client."""
    row = db.execute(
        f"SELECT {CLIENT_COLUMNS} FROM {CLIENT_TABLES} WHERE c.cid = ?", (cid,)
    ).fetchone()
    return to_client(row) if row else None


def clients_named(db: sqlite3.Connection, hostname: str) -> list[Client]:
    """All clients of a hostname, by cid."""
    rows = db.execute(
        f"SELECT {CLIENT_COLUMNS} FROM {CLIENT_TABLES} WHERE c.hostname = ? ORDER BY c.cid",
        (hostname,),
    )
    return [to_client(row) for row in rows]


def clients(db: sqlite3.Connection, after: str | None, limit: int) -> Page:
    """A page of all clients, by hostname, then cid; `after` is both of the last one, as JSON."""
    hostname, cid = loads(after) if after else ("", "")
    rows = db.execute(
        f"""SELECT {CLIENT_COLUMNS} FROM {CLIENT_TABLES}
        WHERE (c.hostname, c.cid) > (?, ?) ORDER BY c.hostname, c.cid LIMIT ?""",
        (hostname, cid, limit + 1),
    ).fetchall()
    page = [to_client(row) for row in rows[:limit]]
    more = len(rows) > limit
    return Page(clients=page, after=dump_text([page[-1].hostname, page[-1].cid]) if more else None)


def count_clients(db: sqlite3.Connection) -> dict[str, int]:
    """How many clients have each status."""
    return dict(db.execute("SELECT status, count(*) FROM clients GROUP BY status").fetchall())


def report(db: sqlite3.Connection, cid: str) -> bytes | None:
    """The merged report with the times of the last collection."""
    row = db.execute(
        """SELECT r.report, s.times, s.times_newer FROM clients AS c
        JOIN states AS s ON s.no = c.no LEFT JOIN reports AS r ON r.no = c.no WHERE c.cid = ?""",
        (cid,),
    ).fetchone()
    if row is None:
        return None
    if row[0] is None:
        return b"{}"
    if not row[2]:
        return bytes(row[0])
    return dumps(merge.load_report(row[0], row[1]))


# --- writing clients ------------------------------------------------------------------------


def set_client(
    db: sqlite3.Connection,
    cid: str,
    *,
    status: ClientStatus | None,
    user_email: str | None,
    tags: Sequence[str] | None,
    flags: Mapping[str, JSON] | None,
) -> bool:
    """Change what is not None, and make the client due for judgement if it is active."""
    row = db.execute("SELECT no, status, flags FROM clients WHERE cid = ?", (cid,)).fetchone()
    if row is None:
        return False
    no, now_status, now_flags = row
    db.execute(
        """UPDATE clients SET status = ?, user_email = coalesce(?, user_email),
        tags = coalesce(?, tags), flags = ? WHERE no = ?""",
        (
            status or now_status,
            user_email,
            None if tags is None else dump_text(list(tags)),
            dump_text(merge.merge_flags(loads(now_flags), flags or {})),
            no,
        ),
    )
    if (status or now_status) == "active":
        _make_due(db, no)
    else:
        db.execute("UPDATE audits SET dirty = NULL, rejudge_at = NULL WHERE no = ?", (no,))
    return True


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
        flags=loads(row[9]),
        last_seen_at=from_ms(row[10]),
        reported_at=from_ms(row[11]),
    )


def report_and_facts(db: sqlite3.Connection, no: int) -> tuple[bytes, bytes]:
    """What a merge changes: both as stored, `{}` if the client never reported."""
    report_row = db.execute("SELECT report FROM reports WHERE no = ?", (no,)).fetchone()
    facts_row = db.execute("SELECT facts FROM facts WHERE no = ?", (no,)).fetchone()
    return (report_row[0] if report_row else b"{}", facts_row[0] if facts_row else b"{}")


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
    if merged.report is not None:
        db.execute("REPLACE INTO reports (no, report) VALUES (?, ?)", (no, merged.report))
        db.execute("REPLACE INTO facts (no, facts) VALUES (?, ?)", (no, merged.facts))
    if rows:
        db.executemany(
            "INSERT INTO changes (cid, seq, collector, changed_at, body) VALUES (?, ?, ?, ?, ?)",
            rows,
        )
    if merged.identity:
        _write_identity(db, no, s)
    if merged.dirty:
        _make_due(db, no)
    return True


def seen(db: sqlite3.Connection, cid: str, at_ms: int) -> None:
    """Move `last_seen_at` forward; a client that was silent for long is due again."""
    row = db.execute(
        """SELECT c.no, c.status, s.last_seen_at FROM clients AS c JOIN states AS s ON s.no = c.no
        WHERE c.cid = ?""",
        (cid,),
    ).fetchone()
    if row is None or (row[2] is not None and row[2] >= at_ms):
        return
    no, status, last = row
    db.execute("UPDATE states SET last_seen_at = ? WHERE no = ?", (at_ms, no))
    if status == "active" and merge.was_silent(from_ms(last), from_ms(at_ms)):
        _make_due(db, no)


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


def _make_due(db: sqlite3.Connection, no: int | None) -> None:
    db.execute("UPDATE audits SET dirty = ? WHERE no = ?", (token_hex(8), no))


def _write_identity(db: sqlite3.Connection, no: int, s: Submission) -> None:
    # The flags are read again: an administrator may have set others meanwhile.
    row = db.execute("SELECT flags FROM clients WHERE no = ?", (no,)).fetchone()
    db.execute(
        "UPDATE clients SET hostname = ?, release = ?, flags = ? WHERE no = ?",
        (s.hostname, s.release, dump_text(merge.merge_flags(loads(row[0]), s.flags)), no),
    )


def to_client(row: Sequence[Any]) -> Client:
    """A client from a row of `CLIENT_COLUMNS`."""
    try:
        return Client(
            cid=row[0],
            fingerprint=row[1],
            public_key=row[2],
            status=row[3],
            hostname=row[4],
            mid=row[5],
            enrolled_at=from_ms(row[6]),
            last_seen_at=from_ms(row[7]),
            reported_at=from_ms(row[8]),
            seq=row[9],
            boot=row[10],
            release=row[11],
            user_email=row[12],
            tags=tuple(loads(row[13])) if row[13] != "[]" else (),
            flags=loads(row[14]) if row[14] != "{}" else {},
            facts=loads(row[15]) if row[15] else {},
        )
    except ValueError as error:
        raise StoreCorruptError(f"client {row[0]}: its row is damaged: {error}") from error


def _invitation(row: Sequence[Any]) -> Invitation:
    return Invitation(
        invitation_id=row[0],
        secret=row[1],
        created_at=from_ms(row[2]),
        expires_at=from_ms(row[3]),
        uses=row[4],
        used=row[5],
        created_by=row[6],
        tags=tuple(loads(row[7])),
        user_email=row[8],
    )
