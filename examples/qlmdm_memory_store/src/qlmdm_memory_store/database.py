"""What is kept, and how it is locked. The rest of the package works on this, under the lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from qlmdm_core.api import JSON
from qlmdm_core.errors import NotSetUpError, StoreUnavailableError
from qlmdm_core.store import merge
from qlmdm_core.store.codec import dumps, loads, truncated
from qlmdm_core.store.outgoing import (
    CommandRecord,
    CommandTarget,
    Draft,
    ReleaseRecord,
    Unattributed,
)
from qlmdm_core.store.records import (
    Change,
    Client,
    Invitation,
    Issue,
    RootDocument,
    VerdictRecord,
)


@dataclass(kw_only=True)
class Row:
    """One client, with all that belongs to it."""

    client: Client
    """As it is read; its times are whole milliseconds."""
    invitation_id: str
    previous: str = ""
    """The fingerprint of the key that was replaced last."""
    previous_key: str = ""
    version: int = 0
    recent: bytes = b""
    times: bytes = b""
    times_newer: bool = False
    report: bytes = b"{}"
    facts: bytes = b"{}"
    history: list[Change] = field(default_factory=list)
    """Oldest first."""
    dirty: str | None = None
    """Not None: the client is due for judgement."""
    rejudge_at: datetime | None = None
    verdicts: dict[str, VerdictRecord] = field(default_factory=dict)
    """Those that are not "pass", by check."""

    def snapshot(self) -> merge.Snapshot:
        """What a merge has to know."""
        client = self.client
        return merge.Snapshot(
            fingerprint=client.fingerprint,
            status=client.status,
            version=self.version,
            seq=client.seq,
            recent=self.recent,
            times=self.times,
            hostname=client.hostname,
            release=client.release,
            flags=client.flags,
            last_seen_at=client.last_seen_at,
            reported_at=client.reported_at,
        )


@dataclass(kw_only=True)
class Database:
    """All state of one fleet, in this process."""

    is_set_up: bool = False
    meta: dict[str, bytes] = field(default_factory=dict)
    """JSON, so that nobody changes a value that he read or wrote."""
    leases: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """Name to owner and when it lapses."""
    roots: dict[int, RootDocument] = field(default_factory=dict)
    invitations: dict[str, Invitation] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    """By cid."""
    by_fingerprint: dict[str, Row] = field(default_factory=dict)
    """By the keys that count, and by all that were replaced."""
    unattributed: dict[str, Unattributed] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    releases: dict[tuple[int, int], ReleaseRecord] = field(default_factory=dict)
    """By epoch and number."""
    commands: dict[str, CommandRecord] = field(default_factory=dict)
    documents: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """By command and part."""
    targets: dict[str, dict[str, CommandTarget]] = field(default_factory=dict)
    """By cid, then command."""
    drafts: dict[str, Draft] = field(default_factory=dict)
    issues: dict[str, Issue] = field(default_factory=dict)
    open_issues: dict[tuple[str, str], str] = field(default_factory=dict)
    """(cid, check) to the issue that is open: at most one."""
    marks: int = 0
    """How often something became due: each time has a mark of its own."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _pid: int = field(default_factory=os.getpid)

    @contextmanager
    def held(self) -> Iterator[Database]:
        """The database for one thread. What is done to it there happens at once for others.

        Raises `StoreUnavailableError` in any process but the one that made it: a fork has a
        copy, and what it wrote there would be lost without a word.
        """
        if os.getpid() != self._pid:
            raise StoreUnavailableError(
                "memory:// keeps a fleet in one process, and this is another; "
                "use sqlite:// where commands or audits run beside the server"
            )
        with self._lock:
            yield self

    @contextmanager
    def ready(self) -> Iterator[Database]:
        """As `held`; raises `NotSetUpError` if nobody has called `setup`."""
        with self.held():
            if not self.is_set_up:
                raise NotSetUpError("there is no fleet in memory yet; run qlmdm-server-setup")
            yield self

    def make_due(self, row: Row) -> None:
        """Have a client judged by the next audit."""
        self.marks += 1
        row.dirty = str(self.marks)


def whole(at: datetime | None) -> datetime | None:
    """A time as every engine gives it back: in UTC, to the millisecond."""
    return None if at is None else truncated(at)


def own(value: JSON) -> JSON:
    """A copy of a JSON value that its giver can't change any more."""
    return loads(dumps(value))
