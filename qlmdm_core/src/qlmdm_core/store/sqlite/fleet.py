"""What belongs to the fleet as a whole: named values, leases, root documents."""

from __future__ import annotations

import sqlite3

from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreError
from qlmdm_core.store.codec import dump_text, loads
from qlmdm_core.store.records import RootDocument


def meta(db: sqlite3.Connection, key: str) -> JSON:
    """A named value, or None."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return loads(row[0]) if row else None


def set_meta(db: sqlite3.Connection, key: str, value: JSON) -> None:
    """Set a named value; None removes it."""
    if value is None:
        db.execute("DELETE FROM meta WHERE key = ?", (key,))
    else:
        db.execute("REPLACE INTO meta (key, value) VALUES (?, ?)", (key, dump_text(value)))


def take_lease(db: sqlite3.Connection, name: str, owner: str, now_ms: int, until_ms: int) -> bool:
    """Take or prolong a lease unless another holds it."""
    cursor = db.execute(
        """INSERT INTO leases (name, owner, until_at) VALUES (?, ?, ?)
        ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until_at = excluded.until_at
        WHERE owner = excluded.owner OR until_at <= ?""",
        (name, owner, until_ms, now_ms),
    )
    return cursor.rowcount > 0


def drop_lease(db: sqlite3.Connection, name: str, owner: str) -> None:
    """Give a lease back."""
    db.execute("DELETE FROM leases WHERE name = ? AND owner = ?", (name, owner))


def put_root(db: sqlite3.Connection, root: RootDocument) -> None:
    """Add a version of the root document; the same one again changes nothing."""
    known = db.execute("SELECT document FROM roots WHERE version = ?", (root.version,)).fetchone()
    if known is None:
        db.execute("INSERT INTO roots VALUES (?, ?)", (root.version, root.document))
    elif known[0] != root.document:
        raise StoreError(f"root document {root.version} is there already, and differs")


def root(db: sqlite3.Connection, version: int | None) -> RootDocument | None:
    """A version of the root document; without one, the newest."""
    if version is None:
        row = db.execute(
            "SELECT version, document FROM roots ORDER BY version DESC LIMIT 1"
        ).fetchone()
    else:
        row = db.execute(
            "SELECT version, document FROM roots WHERE version = ?", (version,)
        ).fetchone()
    return RootDocument(version=row[0], document=row[1]) if row else None
