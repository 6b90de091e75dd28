"""What a store keeps: plain, frozen records, the same for every database engine.

Times are aware and in UTC; names of times end in `_at`. A report is kept as JSON bytes, not
as nested documents: a plugin may name its fields `$set` or `a.b`, and no engine ever sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from qlmdm_core.api import JSON, State

ClientStatus: TypeAlias = Literal["active", "pending", "revoked", "retired"]


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """Permission to enrol a number of machines until a date (`qlmdm-clients invite`)."""

    invitation_id: str
    secret: str
    """Hex; the key of the HMAC by which a machine shows that it was invited."""
    created_at: datetime
    expires_at: datetime
    uses: int
    """How many machines may enrol with it."""
    used: int = 0
    created_by: str = ""
    tags: tuple[str, ...] = ()
    """Tags that each machine enrolled with it gets."""
    user_email: str | None = None


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """A machine that asks to be enrolled; everything in it was verified but the invitation."""

    invitation_id: str
    cid: str
    """The id that the machine gets if it is new."""
    fingerprint: str
    public_key: str
    """ASCII-armoured."""
    hostname: str
    mid: str
    enrolled_at: datetime
    status: ClientStatus = "active"
    """The state in which a new machine begins: "pending" if an administrator must approve."""


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """The machine is enrolled: now, or by an earlier request with the same key and invitation."""

    cid: str
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class EnrolmentRefused:
    """The machine is not enrolled, and why."""

    reason: Literal["unknown_invitation", "expired", "used_up", "key_in_use"]


@dataclass(frozen=True, kw_only=True)
class ClientKey:
    """The key that chooses a client: all that the server looks up before it trusts a request."""

    fingerprint: str
    cid: str
    public_key: str
    status: ClientStatus
    mid: str = field(default="", compare=False)
    """The hash of the machine it was enrolled from; empty if the engine doesn't say."""
    tags: tuple[str, ...] = ()
    release: str | None = None
    """The release that its last record came from, "EPOCH.NUMBER"."""
    has_commands: bool = False
    """Whether a command for it is open (its own state is none of `FINAL_STATES`). It may be held
    or expired: `due_commands` tells what is to be given out. False: there is nothing."""
    replaced_by: str | None = None
    """This key was replaced by `rekey`: it may do nothing but ask again for that, because the
    answer may have been lost. The fingerprint of the key that counts now."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """One enrolled machine, without its report."""

    cid: str
    fingerprint: str
    public_key: str
    status: ClientStatus
    hostname: str
    mid: str
    enrolled_at: datetime
    last_seen_at: datetime | None = None
    reported_at: datetime | None = None
    seq: int = 0
    """The last sequence number accepted from its key."""
    boot: str | None = None
    """The boot id in the last record that was accepted."""
    release: str | None = None
    user_email: str | None = None
    tags: tuple[str, ...] = ()
    flags: Mapping[str, JSON] = field(default_factory=dict)
    facts: Mapping[str, JSON] = field(default_factory=dict)
    """The flat facts that lists show and filter by, such as `{"os_info.id": "arch"}`."""


class CollectorResult(NamedTuple):
    """What one collector said in one record.

    (A tuple, as each report makes dozens of them; a frozen dataclass takes five times as long.)
    """

    status: str
    """"ok", or why there is no value: "error", "timeout", "crashed", "too_big", "invalid", …"""
    value: JSON = None
    value_sha256: str = ""
    """Of the canonical JSON of the value (or of status and error); an HMAC if private."""
    error: str | None = None
    collected_at: str = ""
    """ISO 8601, by the client's clock."""
    seconds: float = 0.0
    private: bool = False


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One record from a client, verified up to the point where only the store can judge."""

    cid: str
    fingerprint: str
    seq: int
    rid: str
    received_at: datetime
    hostname: str
    mid: str
    boot: str
    collectors: Mapping[str, CollectorResult]
    release: str | None = None
    flags: Mapping[str, JSON] = field(default_factory=dict)
    """Marks to set on the client; a value of None removes the mark."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The submission is durable: what was acknowledged survives a kill of everything."""

    accepted_at: datetime
    changed: bool
    """Whether any collector's value differs from the one before."""


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """This record was accepted before; the same receipt is due again. Nothing was written."""

    accepted_at: datetime


@dataclass(frozen=True, kw_only=True)
class Behind:
    """The sequence number is not above the last one accepted. Nothing was written."""

    last_seq: int


@dataclass(frozen=True, kw_only=True)
class NotAllowed:
    """The key is not (or no longer) that client's, or the client may not report."""

    reason: str


Acceptance: TypeAlias = Accepted | Repeated | Behind | NotAllowed


@dataclass(frozen=True, kw_only=True)
class Change:
    """One collector's value that became another: a line of history."""

    change_id: str
    """`CID:SEQ:COLLECTOR`: writing it twice leaves one."""
    cid: str
    collector: str
    changed_at: datetime
    old_sha256: str | None
    new_sha256: str
    paths: tuple[str, ...] = ()
    """The JSON pointers (RFC 6901) that differ, at most 64; none for private values."""
    old: JSON = None
    """None for private values."""
    new: JSON = None
    old_status: str | None = None
    """The status of the result before; None: there was none."""
    new_status: str = "ok"


@dataclass(frozen=True, kw_only=True)
class VerdictRecord:
    """The present verdict of one check about one client. A check without one passes."""

    cid: str
    check: str
    state: State
    since_at: datetime
    message: str = ""
    evidence: JSON = None


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One episode in which a check did not pass for a client."""

    issue_id: str
    cid: str
    check: str
    state: State
    message: str
    opened_at: datetime
    alert_due_at: datetime
    """When it is next to be told: after its grace period, or its alert frequency."""
    evidence: JSON = None
    alerted_at: datetime | None = None
    snoozed_until: datetime | None = None
    snooze_reason: str = ""
    snoozed_by: str = ""
    closed_at: datetime | None = None
    notified: Mapping[str, datetime] = field(default_factory=dict)
    """For each notifier, when it last took this issue."""
    revision: int = 0
    """Grows with each write; `update_issues` refuses to write back an older one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditTarget:
    """A client to be judged, with everything that judging it needs."""

    client: Client
    """Without its `facts` (the report has more)."""
    report: bytes
    """JSON: collector name to `status`, `value`, `error`, `collected_at`, `changed_at`,
    `seconds`; `{}` if it never reported. Read it with `store.merge.load_report(target.report,
    target.times)`: `collected_at` and `seconds` in here are those of the last change."""
    dirty: str | None
    """A token that changes with every change of the report; None: nothing changed."""
    times: bytes = b""
    """What is newer than the report: when unchanged values were last collected."""
    verdicts: Sequence[VerdictRecord] = ()
    """The present verdicts that are not "pass"."""
    issues: Sequence[Issue] = ()
    """The open ones."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an audit concluded about one client, to be written in one piece."""

    cid: str
    dirty: str | None
    """The token of the target: the mark is cleared only if it is still the same."""
    rejudge_at: datetime | None
    """When time alone could change a verdict."""
    verdicts: Sequence[VerdictRecord] | None
    """All that are not "pass"; None: the same as before."""
    issues: Sequence[Issue] = ()
    """New, changed and closed ones, by `issue_id`; the others stay as they are."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a long list."""

    clients: Sequence[Client]
    after: str | None
    """Pass it as `after` to get what follows; None: this was the last page."""


@dataclass(frozen=True, kw_only=True)
class Rekeying:
    """A client that replaces its key; both keys were shown to be its own."""

    cid: str
    old_fingerprint: str
    new_fingerprint: str
    public_key: str
    """The new one's certificate, ASCII-armoured."""
    at: datetime


RekeyOutcome: TypeAlias = Literal["replaced", "again", "key_in_use", "not_your_key"]
"""`again`: the same was done before, and the answer is due again."""


@dataclass(frozen=True, kw_only=True)
class RootDocument:
    """One version of the root document, as signed."""

    version: int
    document: bytes
    """The JSON object `{"signed": TEXT, "sigs": [ARMOUR, …]}`."""
