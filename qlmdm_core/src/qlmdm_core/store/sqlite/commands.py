"""Commands and their targets: functions over one connection.

A target is open while `finished_at` is null. Rows are tied to their command by its number, and
to their client by its `cid`: a command may name a client that does not exist.
"""

# ruff: noqa: S608 - statements are put together from constants of this folder, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qlmdm_core.api import JSON
from qlmdm_core.store import progress
from qlmdm_core.store.codec import dump_text, dumps, from_ms, loads, to_ms
from qlmdm_core.store.outgoing import (
    CommandPart,
    CommandRecord,
    CommandState,
    CommandTarget,
    DueCommand,
)
from qlmdm_core.store.sqlite.reports import FOREVER

_COMMAND = """c.command_id, c.kind, c.summary, c.created_at, c.created_by, c.not_before,
    c.expires_at, c.hosts, c.payload_sha256, c.cancelled_at, c.about"""
_COMMAND_FIELDS = 11
_TARGET = """c.command_id, t.cid, t.part, t.state, t.updated_at, t.delivered_at, t.started_at,
    t.finished_at, t.result"""
_TARGETS = "targets AS t JOIN commands AS c ON c.no = t.command_no"

# --- queueing ---------------------------------------------------------------------------------


def prepare(
    command: CommandRecord, parts: Sequence[CommandPart]
) -> Callable[[sqlite3.Connection], bool]:
    """The work that queues a command: all else is done by now, as others wait for a writer."""
    progress.require_distinct(parts)
    row = (
        command.command_id,
        command.kind,
        command.summary,
        to_ms(command.created_at),
        command.created_by,
        to_ms(command.not_before),
        to_ms(command.expires_at),
        command.hosts,
        command.payload_sha256,
        to_ms(command.cancelled_at),
        dump_text(command.about),
    )
    updated_at = to_ms(command.created_at)
    # In the order of the index: rows that lie together are written together.
    hosts = sorted((cid, part.part) for part in parts for cid in part.hosts)

    def write(db: sqlite3.Connection) -> bool:
        cursor = db.execute(
            """INSERT INTO commands (command_id, kind, summary, created_at, created_by, not_before,
            expires_at, hosts, payload_sha256, cancelled_at, about)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (command_id) DO NOTHING""",
            row,
        )
        if not cursor.rowcount:
            return False
        no = cursor.lastrowid
        db.executemany(
            "INSERT INTO parts (command_no, part, document) VALUES (?, ?, ?)",
            ((no, part.part, part.document) for part in parts),
        )
        db.executemany(
            "INSERT INTO targets (command_no, cid, part, state, updated_at) "
            "VALUES (?, ?, ?, 'pending', ?)",
            ((no, cid, part, updated_at) for cid, part in hosts),
        )
        return True

    return write


# --- reading ----------------------------------------------------------------------------------


def command(db: sqlite3.Connection, command_id: str) -> CommandRecord | None:
    """One command."""
    row = db.execute(
        f"SELECT {_COMMAND} FROM commands AS c WHERE c.command_id = ?", (command_id,)
    ).fetchone()
    return _command(row) if row else None


def commands(
    db: sqlite3.Connection, *, after: str | None, limit: int, kind: str | None
) -> list[CommandRecord]:
    """Commands, newest first."""
    wanted: list[str] = []
    values: list[str | int] = []
    if kind is not None:
        wanted.append("c.kind = ?")
        values.append(kind)
    if after is None:
        wanted.append("c.created_at < ?")
        values.append(FOREVER)
    else:
        wanted.append(
            """(c.created_at, c.command_id) <
            (SELECT l.created_at, l.command_id FROM commands AS l WHERE l.command_id = ?)"""
        )
        values.append(after)
    rows = db.execute(
        f"""SELECT {_COMMAND} FROM commands AS c WHERE {" AND ".join(wanted)}
        ORDER BY c.created_at DESC, c.command_id DESC LIMIT ?""",
        (*values, limit),
    )
    return [_command(row) for row in rows]


def due_commands(db: sqlite3.Connection, cid: str, now_ms: int) -> list[DueCommand]:
    """What a client may be given now, oldest first."""
    rows = db.execute(
        f"""SELECT {_COMMAND}, p.document, t.state FROM {_TARGETS}
        JOIN parts AS p ON p.command_no = t.command_no AND p.part = t.part
        WHERE t.cid = ? AND t.finished_at IS NULL AND c.cancelled_at IS NULL
        AND c.not_before <= ? AND c.expires_at > ? ORDER BY c.created_at, c.command_id""",
        (cid, now_ms, now_ms),
    )
    return [
        DueCommand(
            command=_command(row), document=row[_COMMAND_FIELDS], state=row[_COMMAND_FIELDS + 1]
        )
        for row in rows
    ]


def target(db: sqlite3.Connection, command_id: str, cid: str) -> CommandTarget | None:
    """One command on one client."""
    row = db.execute(
        f"SELECT {_TARGET} FROM {_TARGETS} WHERE c.command_id = ? AND t.cid = ?",
        (command_id, cid),
    ).fetchone()
    return _target(row) if row else None


def targets(
    db: sqlite3.Connection,
    command_id: str,
    *,
    states: Sequence[CommandState] | None,
    after: str | None,
    limit: int,
) -> list[CommandTarget]:
    """The targets of a command in any of these states, by `cid`."""
    found: list[CommandTarget] = []
    # One statement for each state: each is then a short walk along an index, in order.
    for state in (None,) if states is None else dict.fromkeys(states):
        rows = db.execute(
            f"""SELECT {_TARGET} FROM {_TARGETS} WHERE c.command_id = ? AND t.cid > ?
            {"" if state is None else "AND t.state = ?"} ORDER BY t.cid LIMIT ?""",
            (command_id, after or "", *(() if state is None else (state,)), limit),
        )
        found += [_target(row) for row in rows]
    return sorted(found, key=lambda target: target.cid)[:limit]


def targets_of(db: sqlite3.Connection, cid: str, limit: int) -> list[CommandTarget]:
    """The commands of one client, newest first. A client has few, so they are sorted."""
    rows = db.execute(
        f"""SELECT {_TARGET} FROM {_TARGETS} WHERE t.cid = ?
        ORDER BY t.updated_at DESC, c.created_at DESC, c.command_id DESC LIMIT ?""",
        (cid, limit),
    )
    return [_target(row) for row in rows]


def count_targets(db: sqlite3.Connection, command_id: str) -> dict[str, int]:
    """How many targets are in each state: one walk along an index."""
    return dict(
        db.execute(
            """SELECT state, count(*) FROM targets
            WHERE command_no = (SELECT no FROM commands WHERE command_id = ?) GROUP BY state""",
            (command_id,),
        ).fetchall()
    )


# --- moving on --------------------------------------------------------------------------------


def cancel_command(db: sqlite3.Connection, command_id: str, at_ms: int) -> bool:
    """Mark a command and its pending targets; again changes nothing."""
    row = db.execute("SELECT no FROM commands WHERE command_id = ?", (command_id,)).fetchone()
    if row is None:
        return False
    db.execute(
        "UPDATE commands SET cancelled_at = ? WHERE no = ? AND cancelled_at IS NULL",
        (at_ms, row[0]),
    )
    db.execute(
        """UPDATE targets SET state = 'cancelled', updated_at = ?, finished_at = ?
        WHERE command_no = ? AND state = 'pending'""",
        (at_ms, at_ms, row[0]),
    )
    return True


@dataclass(frozen=True, slots=True)
class Advance:
    """What a client said of its command."""

    command_id: str
    cid: str
    state: CommandState
    at_ms: int
    result: JSON

    def step(self, db: sqlite3.Connection) -> tuple[int, progress.Step] | None:
        """The number of the target and what becomes of it; None: there is none."""
        row = db.execute(
            f"SELECT t.no, t.state FROM {_TARGETS} WHERE c.command_id = ? AND t.cid = ?",
            (self.command_id, self.cid),
        ).fetchone()
        if row is None:
            return None
        has_result = self.result is not None
        return row[0], progress.step(row[1], self.state, has_result=has_result)

    def write(self, db: sqlite3.Connection) -> bool:
        """Do it, inside a write transaction, in which it is looked up again."""
        found = self.step(db)
        if found is None or found[1] == "stays":
            return False
        no, step = found
        result = None if self.result is None else dumps(self.result)
        if step == "tells":
            db.execute("UPDATE targets SET result = ? WHERE no = ?", (result, no))
            return False
        db.execute(
            f"""UPDATE targets SET state = ?, updated_at = ?, {progress.time_of(self.state)} = ?,
            result = coalesce(?, result) WHERE no = ?""",
            (self.state, self.at_ms, self.at_ms, result, no),
        )
        return True


def expire_targets(db: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Close at most `limit` targets that were never begun, of commands that expired."""
    expired = 0
    while expired < limit:
        row = db.execute(
            """SELECT no FROM commands WHERE swept = 0 AND expires_at <= ?
            ORDER BY expires_at LIMIT 1""",
            (now_ms,),
        ).fetchone()
        if row is None:
            break
        for state in progress.UNSTARTED:
            expired += _expire(db, row[0], state, now_ms, limit - expired)
        if expired < limit:
            db.execute("UPDATE commands SET swept = 1 WHERE no = ?", row)
    return expired


def _expire(db: sqlite3.Connection, command_no: int, state: str, now_ms: int, limit: int) -> int:
    return db.execute(
        """UPDATE targets SET state = 'expired', updated_at = ?, finished_at = ?
        WHERE no IN (SELECT no FROM targets WHERE command_no = ? AND state = ? LIMIT ?)""",
        (now_ms, now_ms, command_no, state, limit),
    ).rowcount


# --- within -----------------------------------------------------------------------------------


def _command(row: Sequence[Any]) -> CommandRecord:
    return CommandRecord(
        command_id=row[0],
        kind=row[1],
        summary=row[2],
        created_at=from_ms(row[3]),
        created_by=row[4],
        not_before=from_ms(row[5]),
        expires_at=from_ms(row[6]),
        hosts=row[7],
        payload_sha256=row[8],
        cancelled_at=from_ms(row[9]),
        about=loads(row[10]),
    )


def _target(row: Sequence[Any]) -> CommandTarget:
    return CommandTarget(
        command_id=row[0],
        cid=row[1],
        part=row[2],
        state=row[3],
        updated_at=from_ms(row[4]),
        delivered_at=from_ms(row[5]),
        started_at=from_ms(row[6]),
        finished_at=from_ms(row[7]),
        result=None if row[8] is None else loads(row[8]),
    )
