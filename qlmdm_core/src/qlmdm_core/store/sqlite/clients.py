"""Clients, without their reports: functions over one connection."""

# ruff: noqa: S608 - statements are put together from constants of this folder, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreCorruptError
from qlmdm_core.store import merge
from qlmdm_core.store.codec import dump_text, from_ms, loads
from qlmdm_core.store.records import Client, ClientKey, ClientStatus, Page

CLIENT_COLUMNS = """c.cid, c.fingerprint, c.public_key, c.status, c.hostname, c.mid, c.enrolled_at,
    s.last_seen_at, s.reported_at, s.seq, s.boot, c.release, c.user_email, c.tags, c.flags,
    f.facts"""
CLIENT_TABLES = """clients AS c
    JOIN states AS s ON s.no = c.no
    LEFT JOIN facts AS f ON f.no = c.no"""

# --- reading clients ------------------------------------------------------------------------


_OF_KEY = """c.cid, c.status, c.mid, c.tags, c.release,
    EXISTS (SELECT 1 FROM targets AS t WHERE t.cid = c.cid AND t.finished_at IS NULL)"""
_KEY = f"""SELECT c.fingerprint, c.public_key, NULL, {_OF_KEY}
    FROM clients AS c WHERE c.fingerprint = ?
    UNION ALL SELECT o.fingerprint, o.public_key, c.fingerprint, {_OF_KEY}
    FROM old_keys AS o JOIN clients AS c ON c.no = o.no
    WHERE o.fingerprint = ? AND o.public_key <> '' LIMIT 1"""


def key(db: sqlite3.Connection, fingerprint: str) -> ClientKey | None:
    """Whose key this is; the second half of the statement runs only if the first finds none."""
    row = db.execute(_KEY, (fingerprint, fingerprint)).fetchone()
    if row is None:
        return None
    return ClientKey(
        fingerprint=row[0],
        public_key=row[1],
        replaced_by=row[2],
        cid=row[3],
        status=row[4],
        mid=row[5],
        tags=_tags(row[6]),
        release=row[7],
        has_commands=bool(row[8]),
    )


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
        make_due(db, no)
    else:
        db.execute("UPDATE audits SET dirty = NULL, rejudge_at = NULL WHERE no = ?", (no,))
    return True


def make_due(db: sqlite3.Connection, no: int | None) -> None:
    """Have a client judged again by the next audit."""
    db.execute("UPDATE audits SET dirty = ? WHERE no = ?", (token_hex(8), no))


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
        make_due(db, no)


# --- within ---------------------------------------------------------------------------------


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
            tags=_tags(row[13]),
            flags=loads(row[14]) if row[14] != "{}" else {},
            facts=loads(row[15]) if row[15] else {},
        )
    except ValueError as error:
        raise StoreCorruptError(f"client {row[0]}: its row is damaged: {error}") from error


def _tags(text: str) -> tuple[str, ...]:
    return tuple(loads(text)) if text != "[]" else ()
