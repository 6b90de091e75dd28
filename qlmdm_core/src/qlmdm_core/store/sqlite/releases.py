"""Releases and their bytes: functions over one connection."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any

from qlmdm_core.errors import StoreCorruptError
from qlmdm_core.store.codec import dump_text, from_ms, loads, to_ms
from qlmdm_core.store.outgoing import ReleaseRecord

_RELEASE = """epoch, number, manifest_sha256, tar_sha256, tar_size, created_at, created_by, note,
    status, rollout, about, revision"""

# --- bytes ------------------------------------------------------------------------------------


def put_blob(db: sqlite3.Connection, sha256: str, data: bytes) -> None:
    """Keep bytes; what lies under their hash and differs was damaged, and is put right."""
    known = db.execute("SELECT data FROM blobs WHERE sha256 = ?", (sha256,)).fetchone()
    if known is None or known[0] != data:
        db.execute("REPLACE INTO blobs (sha256, data) VALUES (?, ?)", (sha256, data))


def blob(db: sqlite3.Connection, sha256: str) -> bytes | None:
    """The bytes of a hash, which is checked."""
    row = db.execute("SELECT data FROM blobs WHERE sha256 = ?", (sha256,)).fetchone()
    if row is None:
        return None
    data: bytes = row[0]
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreCorruptError(f"the stored bytes {sha256} are damaged; put them again")
    return data


def drop_blob(db: sqlite3.Connection, sha256: str) -> None:
    """Forget the bytes of a hash."""
    db.execute("DELETE FROM blobs WHERE sha256 = ?", (sha256,))


# --- releases ---------------------------------------------------------------------------------


def put_release(db: sqlite3.Connection, release: ReleaseRecord) -> bool:
    """Add a release, unless its version is there."""
    cursor = db.execute(
        f"""INSERT INTO releases ({_RELEASE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (epoch, number) DO NOTHING""",  # noqa: S608 - put together from constants
        (
            release.epoch,
            release.number,
            release.manifest_sha256,
            release.tar_sha256,
            release.tar_size,
            to_ms(release.created_at),
            release.created_by,
            release.note,
            release.status,
            dump_text(release.rollout),
            dump_text(release.about),
            release.revision,
        ),
    )
    return cursor.rowcount > 0


def release(db: sqlite3.Connection, epoch: int, number: int) -> ReleaseRecord | None:
    """One release."""
    row = db.execute(
        f"SELECT {_RELEASE} FROM releases WHERE epoch = ? AND number = ?",  # noqa: S608 - as above
        (epoch, number),
    ).fetchone()
    return _release(row) if row else None


def releases(db: sqlite3.Connection) -> list[ReleaseRecord]:
    """All of them, newest first. They are few, so they are read through."""
    rows = db.execute(
        f"SELECT {_RELEASE} FROM releases ORDER BY epoch DESC, number DESC"  # noqa: S608 - as above
    )
    return [_release(row) for row in rows]


def update_release(db: sqlite3.Connection, release: ReleaseRecord) -> bool:
    """Write back what may change, unless somebody else did since it was read."""
    cursor = db.execute(
        """UPDATE releases SET status = ?, note = ?, rollout = ?, revision = revision + 1
        WHERE epoch = ? AND number = ? AND revision = ?""",
        (
            release.status,
            release.note,
            dump_text(release.rollout),
            release.epoch,
            release.number,
            release.revision,
        ),
    )
    return cursor.rowcount > 0


def count_releases(db: sqlite3.Connection) -> dict[str | None, int]:
    """How many active clients reported from each release: one walk along an index."""
    return dict(
        db.execute(
            "SELECT release, count(*) FROM clients WHERE status = 'active' GROUP BY release"
        ).fetchall()
    )


def _release(row: Sequence[Any]) -> ReleaseRecord:
    return ReleaseRecord(
        epoch=row[0],
        number=row[1],
        manifest_sha256=row[2],
        tar_sha256=row[3],
        tar_size=row[4],
        created_at=from_ms(row[5]),
        created_by=row[6],
        note=row[7],
        status=row[8],
        rollout=loads(row[9]),
        about=loads(row[10]),
        revision=row[11],
    )
