"""What the server hands to clients, as it is stored: releases, commands, drafts of them.

Plain, frozen records, the same for every database engine (see `records`). What clients obey is
never made of these: it is in documents that were signed, which lie here as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from qlmdm_core.api import JSON

ReleaseStatus: TypeAlias = Literal["published", "withdrawn"]


@dataclass(frozen=True, kw_only=True)
class ReleaseRecord:
    """A client release; its tar and its signed manifest are blobs."""

    epoch: int
    number: int
    manifest_sha256: str
    """The blob that is the signed document."""
    tar_sha256: str
    tar_size: int
    created_at: datetime
    created_by: str = ""
    note: str = ""
    status: ReleaseStatus = "published"
    rollout: JSON = None
    """Who gets it: see `server.rollout`; None: everybody."""
    about: JSON = None
    """What lists show without opening the manifest: dependencies, counts, what changed."""
    revision: int = 0
    """Grows with each write; `update_release` refuses to write back an older one."""


CommandState: TypeAlias = Literal[
    "pending",
    "delivered",
    "started",
    "done",
    "failed",
    "refused",
    "expired",
    "indeterminate",
    "cancelled",
]
FINAL_STATES = frozenset({"done", "failed", "refused", "expired", "indeterminate", "cancelled"})
STATE_RANK: Mapping[str, int] = {"pending": 0, "delivered": 1, "started": 2}
"""A state moves up in rank only; final ones (rank 3) never change."""


@dataclass(frozen=True, kw_only=True)
class CommandRecord:
    """A command as the administrator sees it. What clients get are the signed parts."""

    command_id: str
    kind: str
    """As in `commanddoc.Kind`."""
    summary: str
    """A line for lists."""
    created_at: datetime
    created_by: str
    not_before: datetime
    """Not given to clients earlier: the cancel window of a wipe."""
    expires_at: datetime
    hosts: int
    """How many clients it is for."""
    payload_sha256: str | None = None
    cancelled_at: datetime | None = None
    about: JSON = None
    """A wipe's plan, a file's path, …: what `show` prints."""


@dataclass(frozen=True, kw_only=True)
class CommandPart:
    """One signed document of a command, and the clients that it names."""

    part: int
    document: bytes
    hosts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CommandTarget:
    """One command on one client."""

    command_id: str
    cid: str
    part: int
    state: CommandState
    updated_at: datetime
    delivered_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: JSON = None
    """What the client said: `exit_status`, `seconds`, `stdout`, `stderr`, `truncated`,
    `reason`, `stages`."""


@dataclass(frozen=True, kw_only=True)
class DueCommand:
    """What one client has still to be given, or has not finished."""

    command: CommandRecord
    document: bytes
    state: CommandState


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A document that waits for signatures that are made elsewhere (`qlmdm-keys sign`)."""

    name: str
    """As in "root-3", "release-1.7", "command-0f3a…"."""
    kind: Literal["root", "release", "command"]
    role: str
    """Whose signatures are wanted."""
    texts: tuple[str, ...]
    """The exact texts to be signed (the parts of a command; else one)."""
    sigs: tuple[tuple[str, ...], ...]
    """For each text the signatures so far, ASCII-armoured."""
    created_at: datetime
    created_by: str = ""
    attach: JSON = None
    """What its kind needs to finish it."""
    revision: int = 0


@dataclass(frozen=True, kw_only=True)
class Unattributed:
    """A report in the original's format, signed by the key that all its clients share.

    Whoever holds that key can say anything as anybody: it is shown as what somebody said.
    """

    hostname: str
    received_at: datetime
    report: bytes
    """JSON, as it was sent."""
