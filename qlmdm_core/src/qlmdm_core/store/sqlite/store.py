"""The store in one SQLite file: for one machine, with nothing to install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from time import monotonic

from qlmdm_core.api import JSON
from qlmdm_core.errors import SettingsError, StoreUnavailableError
from qlmdm_core.store.codec import to_ms
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
from qlmdm_core.store.sqlite import audits, clients, enrolling, fleet, reports, schema
from qlmdm_core.store.sqlite.database import Database
from qlmdm_core.store.sqlite.outgoing import OutgoingPart
from qlmdm_core.store.sqlite.writer import WAIT_SECONDS

PREFIX = "sqlite://"

PIECE = 100
"""So many judgements, or lines of history, are written at once: reports wait meanwhile."""


def open_sqlite(url: str) -> SqliteStore:
    """The store of a URL `sqlite:///absolute/path` or `sqlite://relative/path`.

    What follows the two slashes is the path as it is: blanks and `%` are not encoded.
    """
    path = url[len(PREFIX) :] if url.startswith(PREFIX) else ""
    if path.startswith("//"):  # sqlite:////absolute/path, as other programs want it written
        path = "/" + path.lstrip("/")
    if not path or path.endswith("/") or path.startswith(":") or "\0" in path:
        raise SettingsError(f"{url!r} names no file: expected sqlite:///absolute/path", key="store")
    return SqliteStore(path)


class SqliteStore(OutgoingPart):
    """`qlmdm_core.store.Store` in one file: see there for what each method promises."""

    def __init__(
        self,
        path: str,
        *,
        migrations: Sequence[schema.Migration] = schema.MIGRATIONS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._db = Database(path, migrations, wait_seconds=wait_seconds)
        self._wait_seconds = wait_seconds

    # --- the store itself -------------------------------------------------------------------

    def setup(self) -> Sequence[str]:
        return self._db.setup()

    def check(self) -> None:
        self._db.check()

    def ping(self) -> None:
        self._db.write(lambda db: fleet.set_meta(db, "_ping", True))

    def close(self) -> None:
        self._db.close()

    def meta(self, key: str) -> JSON:
        return self._db.read(lambda db: fleet.meta(db, key))

    def set_meta(self, key: str, value: JSON) -> None:
        self._db.write(lambda db: fleet.set_meta(db, key, value))

    def take_lease(self, name: str, owner: str, now: datetime, seconds: float) -> bool:
        now_ms = to_ms(now)
        until_ms = now_ms + int(seconds * 1000)
        return self._db.write(lambda db: fleet.take_lease(db, name, owner, now_ms, until_ms))

    def drop_lease(self, name: str, owner: str) -> None:
        self._db.write(lambda db: fleet.drop_lease(db, name, owner))

    # --- trust ------------------------------------------------------------------------------

    def put_root(self, root: RootDocument) -> None:
        self._db.write(lambda db: fleet.put_root(db, root))

    def root(self, version: int | None = None) -> RootDocument | None:
        return self._db.read(lambda db: fleet.root(db, version))

    # --- enrolment --------------------------------------------------------------------------

    def add_invitation(self, invitation: Invitation) -> None:
        self._db.write(lambda db: enrolling.add_invitation(db, invitation))

    def invitation(self, invitation_id: str) -> Invitation | None:
        return self._db.read(lambda db: enrolling.invitation(db, invitation_id))

    def invitations(self) -> Sequence[Invitation]:
        return self._db.read(enrolling.invitations)

    def enrol(self, enrolment: Enrolment) -> Enrolled | EnrolmentRefused:
        return self._db.write(lambda db: enrolling.enrol(db, enrolment))

    def rekey(self, rekeying: Rekeying) -> RekeyOutcome:
        return self._db.write(lambda db: enrolling.rekey(db, rekeying))

    def put_unattributed(self, report: Unattributed) -> None:
        self._db.write(lambda db: enrolling.put_unattributed(db, report))

    def unattributed(self) -> Sequence[Unattributed]:
        return self._db.read(enrolling.unattributed)

    # --- clients ----------------------------------------------------------------------------

    def key(self, fingerprint: str) -> ClientKey | None:
        return self._db.read(lambda db: clients.key(db, fingerprint))

    def client(self, cid: str) -> Client | None:
        return self._db.read(lambda db: clients.client(db, cid))

    def clients_named(self, hostname: str) -> Sequence[Client]:
        return self._db.read(lambda db: clients.clients_named(db, hostname))

    def clients(self, *, after: str | None = None, limit: int = 1000) -> Page:
        return self._db.read(lambda db: clients.clients(db, after, limit))

    def count_clients(self) -> Mapping[str, int]:
        return self._db.read(clients.count_clients)

    def report(self, cid: str) -> bytes | None:
        return self._db.read(lambda db: reports.report(db, cid))

    def set_client(
        self,
        cid: str,
        *,
        status: ClientStatus | None = None,
        user_email: str | None = None,
        tags: Sequence[str] | None = None,
        flags: Mapping[str, JSON] | None = None,
    ) -> bool:
        work = partial(
            clients.set_client,
            cid=cid,
            status=status,
            user_email=user_email,
            tags=tags,
            flags=flags,
        )
        return self._db.write(work)

    def accept(self, submission: Submission) -> Acceptance:
        deadline = monotonic() + self._wait_seconds
        while True:
            prepared = self._db.read(partial(reports.prepare, s=submission))
            if not isinstance(prepared, reports.Prepared):
                return prepared
            if self._db.write(prepared.write):
                return prepared.merged.accepted
            # Another record of this client came first: one of those who race gets through
            # each time, and most of the others are then behind.
            if monotonic() > deadline:
                raise StoreUnavailableError(f"client {submission.cid} sends too much at once")

    def seen(self, cid: str, at: datetime) -> None:
        self._db.post(lambda db: clients.seen(db, cid, to_ms(at)))

    def settle_changes(self, limit: int = 1000) -> int:  # noqa: ARG002 - the interface's
        return 0  # history is written in the transaction that accepts

    def changes(
        self,
        cid: str,
        *,
        collector: str | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Change]:
        return self._db.read(lambda db: reports.changes(db, cid, collector, to_ms(before), limit))

    def forget_changes(self, before: datetime) -> int:
        forgotten = 0
        while True:
            count = self._db.write(lambda db: reports.forget_changes(db, to_ms(before), PIECE))
            forgotten += count
            if count < PIECE:
                return forgotten

    # --- audit ------------------------------------------------------------------------------

    def audit_targets(
        self, now: datetime, *, everything: bool, after: str | None = None, limit: int = 500
    ) -> Sequence[AuditTarget]:
        work = partial(
            audits.audit_targets,
            now_ms=to_ms(now),
            everything=everything,
            after=after,
            limit=limit,
        )
        return self._db.read_together(work)

    def record_judgements(self, judgements: Sequence[Judgement]) -> None:
        for start in range(0, len(judgements), PIECE):
            piece = judgements[start : start + PIECE]
            self._db.write(partial(audits.record_judgements, judgements=piece))

    def verdicts(
        self,
        *,
        cid: str | None = None,
        check: str | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[VerdictRecord]:
        work = partial(audits.verdicts, cid=cid, check=check, after=after, limit=limit)
        return self._db.read(work)

    def count_verdicts(self) -> Mapping[tuple[str, str], int]:
        return self._db.read(audits.count_verdicts)

    def issue(self, issue_id: str) -> Issue | None:
        return self._db.read(lambda db: audits.issue(db, issue_id))

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
        work = partial(
            audits.issues,
            is_open=is_open,
            cid=cid,
            check=check,
            due_by_ms=to_ms(due_by),
            after=after,
            limit=limit,
        )
        return self._db.read(work)

    def update_issues(self, issues: Sequence[Issue]) -> int:
        updated = 0
        for start in range(0, len(issues), PIECE):
            piece = issues[start : start + PIECE]
            updated += self._db.write(partial(audits.update_issues, issues=piece))
        return updated
