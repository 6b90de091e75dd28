"""The store in MongoDB: for many servers, with its replica sets and shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from qlmdm_core.api import JSON
from qlmdm_core.store.mongo import audits, clients, enrolling, fleet, history, keys, schema
from qlmdm_core.store.mongo.connection import Connection, connection_of
from qlmdm_core.store.mongo.outgoing import OutgoingPart
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

PIECE = 1000
"""So many lines of history are deleted at once."""


def open_mongo(url: str) -> MongoStore:
    """The store of a URL `mongodb://HOST[:PORT][,…]/DATABASE[?OPTIONS]`."""
    return MongoStore(connection_of(url))


class MongoStore(OutgoingPart):
    """`qlmdm_core.store.Store` in MongoDB: see there for what each method promises."""

    def __init__(
        self,
        connection: Connection,
        *,
        migrations: Sequence[schema.Migration] = schema.MIGRATIONS,
    ) -> None:
        self._connection = connection
        self._migrations = migrations

    # --- the store itself -------------------------------------------------------------------

    def setup(self) -> Sequence[str]:
        with self._connection.use() as db:
            return schema.migrate(db, self._connection.where, self._migrations)

    def check(self) -> None:
        with self._connection.use() as db:
            schema.check(db, self._connection.where, self._migrations)

    def ping(self) -> None:
        with self._connection.use() as db:
            fleet.set_meta(db, "_ping", True)

    def close(self) -> None:
        self._connection.close()

    def meta(self, key: str) -> JSON:
        with self._connection.use() as db:
            return fleet.meta(db, key)

    def set_meta(self, key: str, value: JSON) -> None:
        with self._connection.use() as db:
            fleet.set_meta(db, key, value)

    def take_lease(self, name: str, owner: str, now: datetime, seconds: float) -> bool:
        with self._connection.use() as db:
            return fleet.take_lease(db, name, owner, now, seconds)

    def drop_lease(self, name: str, owner: str) -> None:
        with self._connection.use() as db:
            fleet.drop_lease(db, name, owner)

    # --- trust ------------------------------------------------------------------------------

    def put_root(self, root: RootDocument) -> None:
        with self._connection.use() as db:
            fleet.put_root(db, root)

    def root(self, version: int | None = None) -> RootDocument | None:
        with self._connection.use() as db:
            return fleet.root(db, version)

    # --- enrolment --------------------------------------------------------------------------

    def add_invitation(self, invitation: Invitation) -> None:
        with self._connection.use() as db:
            enrolling.add_invitation(db, invitation)

    def invitation(self, invitation_id: str) -> Invitation | None:
        with self._connection.use() as db:
            return enrolling.invitation(db, invitation_id)

    def invitations(self) -> Sequence[Invitation]:
        with self._connection.use() as db:
            return enrolling.invitations(db)

    def enrol(self, enrolment: Enrolment) -> Enrolled | EnrolmentRefused:
        with self._connection.use() as db:
            return enrolling.enrol(db, enrolment)

    def rekey(self, rekeying: Rekeying) -> RekeyOutcome:
        with self._connection.use() as db:
            return keys.rekey(db, rekeying)

    def put_unattributed(self, report: Unattributed) -> None:
        with self._connection.use() as db:
            keys.put_unattributed(db, report)

    def unattributed(self) -> Sequence[Unattributed]:
        with self._connection.use() as db:
            return keys.unattributed(db)

    # --- clients ----------------------------------------------------------------------------

    def key(self, fingerprint: str) -> ClientKey | None:
        with self._connection.use() as db:
            return keys.key(db, fingerprint)

    def client(self, cid: str) -> Client | None:
        with self._connection.use() as db:
            return clients.client(db, cid)

    def clients_named(self, hostname: str) -> Sequence[Client]:
        with self._connection.use() as db:
            return clients.clients_named(db, hostname)

    def clients(self, *, after: str | None = None, limit: int = 1000) -> Page:
        with self._connection.use() as db:
            return clients.clients(db, after, limit)

    def count_clients(self) -> Mapping[str, int]:
        with self._connection.use() as db:
            return clients.count_clients(db)

    def report(self, cid: str) -> bytes | None:
        with self._connection.use() as db:
            return clients.report(db, cid)

    def set_client(
        self,
        cid: str,
        *,
        status: ClientStatus | None = None,
        user_email: str | None = None,
        tags: Sequence[str] | None = None,
        flags: Mapping[str, JSON] | None = None,
    ) -> bool:
        with self._connection.use() as db:
            return clients.set_client(
                db, cid, status=status, user_email=user_email, tags=tags, flags=flags
            )

    def accept(self, submission: Submission) -> Acceptance:
        with self._connection.use() as db:
            return clients.accept(db, submission)

    def seen(self, cid: str, at: datetime) -> None:
        with self._connection.use() as db:
            clients.seen(db, cid, at)

    def settle_changes(self, limit: int = 1000) -> int:
        with self._connection.use() as db:
            return history.settle_changes(db, limit)

    def changes(
        self,
        cid: str,
        *,
        collector: str | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Change]:
        with self._connection.use() as db:
            return history.changes(db, cid, collector, before, limit)

    def forget_changes(self, before: datetime) -> int:
        with self._connection.use() as db:
            return history.forget_changes(db, before, PIECE)

    # --- audit ------------------------------------------------------------------------------

    def audit_targets(
        self, now: datetime, *, everything: bool, after: str | None = None, limit: int = 500
    ) -> Sequence[AuditTarget]:
        with self._connection.use() as db:
            return audits.audit_targets(db, now, everything=everything, after=after, limit=limit)

    def record_judgements(self, judgements: Sequence[Judgement]) -> None:
        with self._connection.use() as db:
            for judgement in judgements:
                audits.record_judgement(db, judgement)

    def verdicts(
        self,
        *,
        cid: str | None = None,
        check: str | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[VerdictRecord]:
        with self._connection.use() as db:
            return audits.verdicts(db, cid=cid, check=check, after=after, limit=limit)

    def count_verdicts(self) -> Mapping[tuple[str, str], int]:
        with self._connection.use() as db:
            return audits.count_verdicts(db)

    def issue(self, issue_id: str) -> Issue | None:
        with self._connection.use() as db:
            return audits.issue(db, issue_id)

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
        with self._connection.use() as db:
            return audits.issues(
                db,
                is_open=is_open,
                cid=cid,
                check=check,
                due_by=due_by,
                after=after,
                limit=limit,
            )

    def update_issues(self, issues: Sequence[Issue]) -> int:
        with self._connection.use() as db:
            return sum(audits.update_issue(db, issue) for issue in issues)
