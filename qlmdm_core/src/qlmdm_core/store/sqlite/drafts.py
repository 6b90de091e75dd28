"""Documents that wait for signatures: functions over one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from qlmdm_core.store.codec import dump_text, from_ms, loads, to_ms
from qlmdm_core.store.outgoing import Draft


def put_draft(db: sqlite3.Connection, draft: Draft) -> bool:
    """Add a draft, unless its name is taken."""
    cursor = db.execute(
        """INSERT INTO drafts (name, kind, role, texts, sigs, created_at, created_by, attach,
        revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING""",
        (
            draft.name,
            draft.kind,
            draft.role,
            dump_text(list(draft.texts)),
            dump_sigs(draft),
            to_ms(draft.created_at),
            draft.created_by,
            dump_text(draft.attach),
            draft.revision,
        ),
    )
    return cursor.rowcount > 0


def draft(db: sqlite3.Connection, name: str) -> Draft | None:
    """One draft."""
    row = db.execute("SELECT * FROM drafts WHERE name = ?", (name,)).fetchone()
    return _draft(row) if row else None


def drafts(db: sqlite3.Connection) -> list[Draft]:
    """All of them, by name. They are few, so they are read through."""
    return [_draft(row) for row in db.execute("SELECT * FROM drafts ORDER BY name")]


def update_draft(db: sqlite3.Connection, draft: Draft) -> bool:
    """Write back its signatures, unless somebody else did since it was read."""
    cursor = db.execute(
        """UPDATE drafts SET sigs = ?, revision = revision + 1
        WHERE name = ? AND revision = ?""",
        (dump_sigs(draft), draft.name, draft.revision),
    )
    return cursor.rowcount > 0


def drop_draft(db: sqlite3.Connection, name: str) -> bool:
    """Take a draft away."""
    return db.execute("DELETE FROM drafts WHERE name = ?", (name,)).rowcount > 0


def dump_sigs(draft: Draft) -> str:
    """The signatures of each text, as JSON."""
    return dump_text([list(sigs) for sigs in draft.sigs])


def _draft(row: Sequence[Any]) -> Draft:
    return Draft(
        name=row[0],
        kind=row[1],
        role=row[2],
        texts=tuple(loads(row[3])),
        sigs=tuple(tuple(sigs) for sigs in loads(row[4])),
        created_at=from_ms(row[5]),
        created_by=row[6],
        attach=loads(row[7]),
        revision=row[8],
    )
