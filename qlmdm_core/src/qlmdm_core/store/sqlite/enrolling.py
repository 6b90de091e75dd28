"""Invitations, and the machines that use them: functions over one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from qlmdm_core.store.codec import dump_text, from_ms, loads, to_ms
from qlmdm_core.store.outgoing import Unattributed
from qlmdm_core.store.records import (
    Enrolled,
    Enrolment,
    EnrolmentRefused,
    Invitation,
    Rekeying,
    RekeyOutcome,
)
from qlmdm_core.store.sqlite.clients import make_due


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
    if _was_replaced(db, enrolment.fingerprint):
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
        make_due(db, no)
    db.execute(
        "UPDATE invitations SET used = used + 1 WHERE invitation_id = ?",
        (enrolment.invitation_id,),
    )
    return Enrolled(cid=enrolment.cid)


# --- a client's next key ----------------------------------------------------------------------


def rekey(db: sqlite3.Connection, rekeying: Rekeying) -> RekeyOutcome:
    """Replace the key of a client; inside a write transaction."""
    row = db.execute(
        "SELECT no, fingerprint, status, public_key FROM clients WHERE cid = ?", (rekeying.cid,)
    ).fetchone()
    if row is None or row[2] in ("revoked", "retired"):
        return "not_your_key"
    no, present, _, public_key = row
    old, new = rekeying.old_fingerprint, rekeying.new_fingerprint
    if present != old:
        last = db.execute(
            "SELECT fingerprint FROM old_keys WHERE no = ? AND public_key <> ''", (no,)
        ).fetchone()
        return "again" if present == new and last == (old,) else "not_your_key"
    taken = db.execute("SELECT 1 FROM clients WHERE fingerprint = ?", (new,)).fetchone()
    if taken or _was_replaced(db, new):
        return "key_in_use"
    db.execute("UPDATE old_keys SET public_key = '' WHERE no = ? AND public_key <> ''", (no,))
    db.execute(
        "INSERT INTO old_keys (fingerprint, no, public_key, replaced_at) VALUES (?, ?, ?, ?)",
        (old, no, public_key, to_ms(rekeying.at)),
    )
    db.execute(
        "UPDATE clients SET fingerprint = ?, public_key = ? WHERE no = ?",
        (new, rekeying.public_key, no),
    )
    return "replaced"


def _was_replaced(db: sqlite3.Connection, fingerprint: str) -> bool:
    found = db.execute("SELECT 1 FROM old_keys WHERE fingerprint = ?", (fingerprint,)).fetchone()
    return found is not None


# --- reports that nobody's key signed ---------------------------------------------------------


def put_unattributed(db: sqlite3.Connection, report: Unattributed) -> None:
    """Keep a report, unless a newer one of its hostname is there."""
    db.execute(
        """INSERT INTO unattributed (hostname, received_at, report) VALUES (?, ?, ?)
        ON CONFLICT (hostname) DO UPDATE SET received_at = excluded.received_at,
        report = excluded.report WHERE received_at <= excluded.received_at""",
        (report.hostname, to_ms(report.received_at), report.report),
    )


def unattributed(db: sqlite3.Connection) -> list[Unattributed]:
    """All of them, by hostname."""
    rows = db.execute("SELECT hostname, received_at, report FROM unattributed ORDER BY hostname")
    return [
        Unattributed(hostname=row[0], received_at=from_ms(row[1]), report=row[2]) for row in rows
    ]


# --- within -----------------------------------------------------------------------------------


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
