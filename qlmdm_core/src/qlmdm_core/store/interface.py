"""The one interface to a database: what the server, the audit and the commands may ask of it.

An engine implements `Store`, registers a `StoreBackend`, and passes the contract suite
(`qlmdm_core.testing.store_contract`). The promises that matter:

- What a method returned from has happened, and survives `kill -9` and a power cut.
- A method that raised has changed nothing that anybody was told of; calling it again is safe.
- All methods may be called by many threads and many processes at once.
- `StoreUnavailableError`: the same call may work later. `StoreCorruptError`: nothing was touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from qlmdm_core.api import JSON
from qlmdm_core.store.outgoing import (
    CommandPart,
    CommandRecord,
    CommandState,
    CommandTarget,
    Draft,
    DueCommand,
    ReleaseRecord,
    Unattributed,
)
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


class Store(Protocol):
    """All state of one fleet."""

    # --- the store itself ---------------------------------------------------------------

    def setup(self) -> Sequence[str]:
        """Create what is missing and migrate what is old, by number; say what was done.

        Run by `qlmdm-server-setup`. Raises `StoreError` for a database of a newer version.
        """

    def check(self) -> None:
        """Prove that the database is there, of this version, and has its indexes.

        Run at start. Raises `NotSetUpError`, `StoreUnavailableError` or `StoreCorruptError`.
        """

    def ping(self) -> None:
        """Prove, quickly, that the database answers and can be written (`/readyz`)."""

    def close(self) -> None:
        """Let go of files and sockets. Nothing may be called afterwards."""

    def meta(self, key: str) -> JSON:
        """A small named value of the whole fleet (`server_id`, …), or None."""

    def set_meta(self, key: str, value: JSON) -> None:
        """Set a small named value; None removes it."""

    def take_lease(self, name: str, owner: str, now: datetime, seconds: float) -> bool:
        """Take, or prolong, a named lock that lapses by itself; False if another holds it."""

    def drop_lease(self, name: str, owner: str) -> None:
        """Give the lock back, if `owner` holds it."""

    # --- trust --------------------------------------------------------------------------

    def put_root(self, root: RootDocument) -> None:
        """Add the next version. Raises `StoreError` if that version is there and differs."""

    def root(self, version: int | None = None) -> RootDocument | None:
        """A version of the root document; without one, the newest."""

    # --- enrolment ----------------------------------------------------------------------

    def add_invitation(self, invitation: Invitation) -> None:
        """Keep a new invitation."""

    def invitation(self, invitation_id: str) -> Invitation | None:
        """One invitation, used up and expired ones included."""

    def invitations(self) -> Sequence[Invitation]:
        """All invitations, newest first."""

    def enrol(self, enrolment: Enrolment) -> Enrolled | EnrolmentRefused:
        """Use the invitation once and add the client, or neither, in one step.

        The same key with the same invitation gets the same `cid` again, whatever the state
        of the invitation. A key that came by another invitation is `key_in_use`. Two requests
        that race for the last use: exactly one is enrolled.
        """

    def rekey(self, rekeying: Rekeying) -> RekeyOutcome:
        """Replace a client's key by another, in one step; its `seq` and all else stay.

        Only the key that counts can be replaced, and not while the client is revoked or retired
        (`not_your_key`). The same again is `again`; a new key that is (or was) anybody's
        is `key_in_use`. Of the keys that were replaced, the last is remembered (`key`); none of
        them can be enrolled again (`enrol` says `key_in_use`).
        """

    def put_unattributed(self, report: Unattributed) -> None:
        """Keep the newest report of a hostname, in place of the one before."""

    def unattributed(self) -> Sequence[Unattributed]:
        """All of them, by hostname."""

    # --- clients ------------------------------------------------------------------------

    def key(self, fingerprint: str) -> ClientKey | None:
        """Whose key this is: one indexed read, which every request makes.

        Also finds the key that a client replaced last (`ClientKey.replaced_by`).
        """

    def client(self, cid: str) -> Client | None:
        """One client."""

    def clients_named(self, hostname: str) -> Sequence[Client]:
        """All clients of one hostname; hostnames may collide."""

    def clients(self, *, after: str | None = None, limit: int = 1000) -> Page:
        """Clients by hostname, then cid, in pages. Parses no report."""

    def count_clients(self) -> Mapping[str, int]:
        """How many clients there are, by status."""

    def report(self, cid: str) -> bytes | None:
        """The merged report of a client, as in `AuditTarget.report`, with its newest times."""

    def set_client(
        self,
        cid: str,
        *,
        status: ClientStatus | None = None,
        user_email: str | None = None,
        tags: Sequence[str] | None = None,
        flags: Mapping[str, JSON] | None = None,
    ) -> bool:
        """Change what an administrator may change; None leaves it. False: no such client.

        `flags` sets marks and leaves the others; a value of None removes that mark. The client
        becomes due for judgement if it is active, and is no longer due if it is not.
        """

    def accept(self, submission: Submission) -> Acceptance:
        """Merge a record into its client's report: one atomic, durable write.

        It happens only if the key is the client's, the client is active, `seq` is above the
        last one and `rid` is not among the last 64. A known `rid` is `Repeated` whatever its
        `seq`. Collectors that the record does not name keep what they had. A value whose
        `value_sha256` is that of the one before leaves `changed_at` and the report as they
        were and no line in `changes`; only the small state of the client is written.

        The client is due for judgement if a value, its hostname, release or flags changed, and
        also if it (or one of its collectors) comes back after a long silence (`merge.SILENCE`,
        `merge.STALE`), because a verdict about the silence may stand.
        """

    def seen(self, cid: str, at: datetime) -> None:
        """Move `last_seen_at` forward. Readers see it, and it is durable, once the next write
        through this store returned; a failure is not told.

        A client that comes back after an hour or more is due for judgement (see `accept`).
        """

    def settle_changes(self, limit: int = 1000) -> int:
        """Move changes that rode in a client's own document to the history; how many.

        Safe to interrupt and to run twice. Engines that need no such step return 0.
        """

    def changes(
        self,
        cid: str,
        *,
        collector: str | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Change]:
        """A client's history, newest first; includes what is not settled yet."""

    def forget_changes(self, before: datetime) -> int:
        """Delete history older than this; how many lines."""

    # --- audit --------------------------------------------------------------------------

    def audit_targets(
        self, now: datetime, *, everything: bool, after: str | None = None, limit: int = 500
    ) -> Sequence[AuditTarget]:
        """Active clients to judge, by cid, those after `after`.

        `everything`: all of them. Otherwise those whose report or settings changed since they
        were last judged, those never judged, and those whose `rejudge_at` has come; what this
        costs grows with their number, not with the fleet's.
        """

    def record_judgements(self, judgements: Sequence[Judgement]) -> None:
        """Write conclusions, each in one piece.

        At most one issue is open per client and check, enforced by the database: an open
        issue that another process opened first stays, and the new one is dropped. Of an issue
        that is there, only what the audit concluded is written (state, message, evidence,
        `alert_due_at`, `closed_at`): a snooze set meanwhile stays. A closed issue stays as it is.
        """

    def verdicts(
        self,
        *,
        cid: str | None = None,
        check: str | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[VerdictRecord]:
        """Verdicts that are not "pass", by check, then cid; `after` is the last one's
        `"CHECK:CID"`."""

    def count_verdicts(self) -> Mapping[tuple[str, str], int]:
        """How many clients each (check, state) has, "pass" left out."""

    def issue(self, issue_id: str) -> Issue | None:
        """One issue."""

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
        """Issues by `issue_id`; `due_by`: only open ones whose `alert_due_at` has come."""

    def update_issues(self, issues: Sequence[Issue]) -> int:
        """Write back issues that are still open, by `issue_id` (alerted, snoozed, notified,
        closed); how many were.

        One that somebody else wrote to since it was read (another `revision`) is left alone:
        read it and try again.
        """

    # --- releases -----------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        """Keep bytes under their SHA-256 (hex), which is returned; they may be there already.

        Whole or not at all: a blob that was cut off is not found.
        """

    def blob(self, sha256: str) -> bytes | None:
        """The bytes; None if they are not there. Raises `StoreCorruptError` if they differ."""

    def drop_blob(self, sha256: str) -> None:
        """Forget it; no error if it is not there. Whether somebody needs it is the caller's."""

    def put_release(self, release: ReleaseRecord) -> bool:
        """Add a release; False if its version is there already (nothing was changed)."""

    def release(self, epoch: int, number: int) -> ReleaseRecord | None:
        """One release."""

    def releases(self) -> Sequence[ReleaseRecord]:
        """All of them, newest version first."""

    def update_release(self, release: ReleaseRecord) -> bool:
        """Write back its status, note and rollout; False if somebody else wrote meanwhile."""

    def count_releases(self) -> Mapping[str | None, int]:
        """How many active clients reported from each release ("EPOCH.NUMBER"; None: none)."""

    # --- commands -----------------------------------------------------------------------

    def put_command(self, command: CommandRecord, parts: Sequence[CommandPart]) -> bool:
        """Queue a command: all of its targets are "pending", or nothing happened.

        False if its id is there already. 100,000 targets are usual. A client that is named
        and does not exist gets a target all the same. Raises `StoreError` for one that is named
        twice.
        """

    def command(self, command_id: str) -> CommandRecord | None:
        """One command."""

    def commands(
        self, *, after: str | None = None, limit: int = 100, kind: str | None = None
    ) -> Sequence[CommandRecord]:
        """Commands, newest first; `after` is the last one's `command_id`."""

    def cancel_command(self, command_id: str, at: datetime) -> bool:
        """Mark it cancelled and its "pending" targets with it; False: no such command.

        Targets that were delivered are told by a command of kind "cancel". From then on no
        pending target moves: who gives a command to a client asks `advance_target` first.
        """

    def due_commands(self, cid: str, now: datetime) -> Sequence[DueCommand]:
        """The open commands of a client, oldest first: none that is cancelled, expired or held."""

    def advance_target(
        self, command_id: str, cid: str, state: CommandState, at: datetime, result: JSON = None
    ) -> bool | None:
        """Move a target's state forward, atomically; None: that client has no such command.

        False: it was there already, or further; nothing is written, but a result that "started"
        brings (the stages of a wipe) replaces the one before. True: it moved, and
        `delivered_at`, `started_at` or `finished_at` is set; without a result, the one before
        stays. Raises `StoreError` for what is no state.
        """

    def target(self, command_id: str, cid: str) -> CommandTarget | None:
        """One command on one client."""

    def targets(
        self,
        command_id: str,
        *,
        states: Sequence[CommandState] | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[CommandTarget]:
        """The targets of a command, by `cid`; `after` is the last one's."""

    def targets_of(self, cid: str, *, limit: int = 100) -> Sequence[CommandTarget]:
        """The commands of one client, newest first by `updated_at`."""

    def count_targets(self, command_id: str) -> Mapping[str, int]:
        """How many targets there are in each state."""

    def expire_targets(self, now: datetime, limit: int = 1000) -> int:
        """Move targets of expired commands that never started to "expired"; how many.

        It is final: a client that began in time and tells of it later is not heard any more. So
        who calls it gives the clients some time, by a `now` that is in the past.
        """

    # --- what waits for signatures --------------------------------------------------------

    def put_draft(self, draft: Draft) -> bool:
        """Add a draft; False if one of that name is there."""

    def draft(self, name: str) -> Draft | None:
        """One draft."""

    def drafts(self) -> Sequence[Draft]:
        """All of them, by name."""

    def update_draft(self, draft: Draft) -> bool:
        """Write back its signatures; False if somebody else wrote meanwhile, or it is gone."""

    def drop_draft(self, name: str) -> bool:
        """Take a draft away; False if there is none."""
