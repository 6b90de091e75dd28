"""`qlmdm_core.store.Store` over a database in memory: see there for what each method promises."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from qlmdm_core.api import JSON
from qlmdm_core.errors import SettingsError, StoreError
from qlmdm_core.store.codec import dumps, loads, truncated
from qlmdm_core.store.outgoing import Unattributed
from qlmdm_core.store.records import (
    Acceptance,
    AuditTarget,
    Change,
    Client,
    ClientKey,
    ClientStatus,
    Enrolled,
    Enrolment,
    EnrolmentRefused,
    Invitation,
    Issue,
    Judgement,
    Page,
    Rekeying,
    RekeyOutcome,
    RootDocument,
    Submission,
    VerdictRecord,
)
from qlmdm_memory_store import audits, clients
from qlmdm_memory_store.database import Database, whole
from qlmdm_memory_store.outgoing import OutgoingPart


class Memory:
    """The databases of this process, by name: who opens one twice gets the same."""

    def __init__(self) -> None:
        self._databases: dict[str, Database] = {}
        self._lock = threading.Lock()

    def open(self, url: str) -> MemoryStore:
        """The store of a URL `memory://NAME`."""
        name = url.removeprefix("memory://")
        if not name or name == url or "/" in name:
            raise SettingsError(f"{url!r} names no fleet: expected memory://NAME", key="store")
        with self._lock:
            return MemoryStore(self._databases.setdefault(name, Database()))


class MemoryStore(OutgoingPart):
    """One way into a database. It takes no time worth speaking of, and keeps nothing for long."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # --- the store itself -----------------------------------------------------------------------

    def setup(self) -> Sequence[str]:
        with self._db.held() as db:
            if db.is_set_up:
                return []
            db.is_set_up = True
            return ["made a fleet in memory, which ends with this process"]

    def check(self) -> None:
        with self._db.ready():
            pass

    def ping(self) -> None:
        self.check()

    def close(self) -> None:
        """The database stays: others have it open, or will."""

    def meta(self, key: str) -> JSON:
        with self._db.ready() as db:
            return loads(db.meta[key]) if key in db.meta else None

    def set_meta(self, key: str, value: JSON) -> None:
        with self._db.ready() as db:
            if value is None:
                db.meta.pop(key, None)
            else:
                db.meta[key] = dumps(value)

    def take_lease(self, name: str, owner: str, now: datetime, seconds: float) -> bool:
        with self._db.ready() as db:
            holder, until = db.leases.get(name, (owner, now))
            if holder != owner and until > now:
                return False
            db.leases[name] = owner, now + timedelta(seconds=seconds)
            return True

    def drop_lease(self, name: str, owner: str) -> None:
        with self._db.ready() as db:
            if db.leases.get(name, ("", None))[0] == owner:
                del db.leases[name]

    # --- trust ----------------------------------------------------------------------------------

    def put_root(self, root: RootDocument) -> None:
        with self._db.ready() as db:
            if db.roots.setdefault(root.version, root) != root:
                raise StoreError(f"root document {root.version} is there already, and differs")

    def root(self, version: int | None = None) -> RootDocument | None:
        with self._db.ready() as db:
            newest = max(db.roots, default=0)
            return db.roots.get(newest if version is None else version)

    # --- enrolment ------------------------------------------------------------------------------

    def add_invitation(self, invitation: Invitation) -> None:
        with self._db.ready() as db:
            if invitation.invitation_id in db.invitations:
                raise StoreError(f"invitation {invitation.invitation_id} is there already")
            db.invitations[invitation.invitation_id] = replace(
                invitation,
                created_at=truncated(invitation.created_at),
                expires_at=truncated(invitation.expires_at),
            )

    def invitation(self, invitation_id: str) -> Invitation | None:
        with self._db.ready() as db:
            return db.invitations.get(invitation_id)

    def invitations(self) -> Sequence[Invitation]:
        with self._db.ready() as db:
            by_id = sorted(db.invitations.values(), key=lambda found: found.invitation_id)
            return sorted(by_id, key=lambda found: found.created_at, reverse=True)

    def enrol(self, enrolment: Enrolment) -> Enrolled | EnrolmentRefused:
        with self._db.ready() as db:
            return clients.enrol(db, enrolment)

    def rekey(self, rekeying: Rekeying) -> RekeyOutcome:
        with self._db.ready() as db:
            return clients.rekey(db, rekeying)

    def put_unattributed(self, report: Unattributed) -> None:
        with self._db.ready() as db:
            kept = replace(report, received_at=truncated(report.received_at))
            known = db.unattributed.get(report.hostname)
            if known is None or known.received_at <= kept.received_at:
                db.unattributed[report.hostname] = kept

    def unattributed(self) -> Sequence[Unattributed]:
        with self._db.ready() as db:
            return [report for _, report in sorted(db.unattributed.items())]

    # --- clients --------------------------------------------------------------------------------

    def key(self, fingerprint: str) -> ClientKey | None:
        with self._db.ready() as db:
            return clients.key(db, fingerprint)

    def client(self, cid: str) -> Client | None:
        with self._db.ready() as db:
            row = db.rows.get(cid)
            return None if row is None else clients.read(row)

    def clients_named(self, hostname: str) -> Sequence[Client]:
        with self._db.ready() as db:
            rows = [row for _, row in sorted(db.rows.items()) if row.client.hostname == hostname]
            return [clients.read(row) for row in rows]

    def clients(self, *, after: str | None = None, limit: int = 1000) -> Page:
        with self._db.ready() as db:
            return clients.page(db, after, limit)

    def count_clients(self) -> Mapping[str, int]:
        with self._db.ready() as db:
            counts: dict[str, int] = {}
            for row in db.rows.values():
                counts[row.client.status] = counts.get(row.client.status, 0) + 1
            return counts

    def report(self, cid: str) -> bytes | None:
        with self._db.ready() as db:
            row = db.rows.get(cid)
            return None if row is None else clients.report(row)

    def set_client(
        self,
        cid: str,
        *,
        status: ClientStatus | None = None,
        user_email: str | None = None,
        tags: Sequence[str] | None = None,
        flags: Mapping[str, JSON] | None = None,
    ) -> bool:
        with self._db.ready() as db:
            row = db.rows.get(cid)
            if row is None:
                return False
            clients.set_client(
                db, row, status=status, user_email=user_email, tags=tags, flags=flags
            )
            return True

    def accept(self, submission: Submission) -> Acceptance:
        with self._db.ready() as db:
            return clients.accept(db, submission)

    def seen(self, cid: str, at: datetime) -> None:
        with self._db.ready() as db:
            row = db.rows.get(cid)
            if row is not None:
                clients.seen(db, row, at)

    def settle_changes(self, limit: int = 1000) -> int:  # noqa: ARG002 - the interface's
        return 0  # history is written where it belongs at once

    def changes(
        self,
        cid: str,
        *,
        collector: str | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Change]:
        with self._db.ready() as db:
            row = db.rows.get(cid)
            return [] if row is None else clients.changes(row, collector, before, limit)

    def forget_changes(self, before: datetime) -> int:
        with self._db.ready() as db:
            return clients.forget_changes(db, before)

    # --- audit ----------------------------------------------------------------------------------

    def audit_targets(
        self, now: datetime, *, everything: bool, after: str | None = None, limit: int = 500
    ) -> Sequence[AuditTarget]:
        with self._db.ready() as db:
            return audits.targets(
                db, truncated(now), everything=everything, after=after, limit=limit
            )

    def record_judgements(self, judgements: Sequence[Judgement]) -> None:
        with self._db.ready() as db:
            for judgement in judgements:
                audits.record(db, judgement)

    def verdicts(
        self,
        *,
        cid: str | None = None,
        check: str | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[VerdictRecord]:
        with self._db.ready() as db:
            return audits.verdicts(db, cid=cid, check=check, after=after, limit=limit)

    def count_verdicts(self) -> Mapping[tuple[str, str], int]:
        with self._db.ready() as db:
            return audits.count_verdicts(db)

    def issue(self, issue_id: str) -> Issue | None:
        with self._db.ready() as db:
            return db.issues.get(issue_id)

    def issues(
        self,
        *,
        is_open: bool | None = True,
        cid: str | None = None,
        check: str | None = None,
        due_by: datetime | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Issue]:
        with self._db.ready() as db:
            return audits.issues(
                db,
                is_open=is_open,
                cid=cid,
                check=check,
                due_by=whole(due_by),
                after=after,
                limit=limit,
            )

    def update_issues(self, issues: Sequence[Issue]) -> int:
        with self._db.ready() as db:
            return audits.update(db, issues)
