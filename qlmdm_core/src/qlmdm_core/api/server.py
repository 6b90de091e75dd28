"""What a plugin gives to the server: checks, notifiers, stores and routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from qlmdm_core.api.values import JSON, State


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientView:
    """What a check may know about one client. Times are aware, UTC."""

    cid: str
    hostname: str
    report: Mapping[str, Mapping[str, JSON]]
    """For each collector: `status` ("ok", "timeout", "error", …), `value` (when ok),
    `error` (when not), `collected_at`, `changed_at` (ISO 8601), `seconds`."""
    enrolled_at: datetime
    last_seen_at: datetime | None = None
    """When it last sent anything that was accepted; None: never."""
    reported_at: datetime | None = None
    """When its last report was accepted."""
    user_email: str | None = None
    tags: tuple[str, ...] = ()
    release: str | None = None
    """The client release it runs, "EPOCH.NUMBER"; None: not installed from a release."""
    pending_commands: tuple[Mapping[str, JSON], ...] = ()
    """What was queued for it and is not over, once any command is old: `id`, `kind`, `summary`,
    `state`, `since` (ISO 8601)."""
    release_due: str | None = None
    """A newer release that it is offered and does not run; None: there is none."""
    release_due_at: datetime | None = None
    """Since when it is offered that one."""
    flags: Mapping[str, JSON] = field(default_factory=dict)
    """Marks that the server set, such as "duplicate_identity" or "deprecated_url"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a check concluded about one client."""

    state: State
    message: str = ""
    """One terse sentence with the evidence and what to do, without the client's name; for
    `unknown`, the reason. Empty for `pass`."""
    evidence: JSON = None
    """The facts that were judged, small enough to show."""
    valid_until: datetime | None = None
    """When time alone could change the verdict; None: only a new report can."""


PASS = Verdict(state="pass")
"""The verdict of most checks on most clients; sharing it saves building it."""


@dataclass(frozen=True, kw_only=True)
class AuditCheck:
    """One rule about clients. Runs on the server, over stored reports."""

    name: str
    judge: Callable[[ClientView, datetime], Verdict]
    """`judge(client, now)`; it must not change, keep, or look anything up."""
    needs: tuple[str, ...] = ()
    """The collectors it reads. While one of them is missing or failed, the check is
    unknown without being asked; a value whose state is unknown is the check's to judge."""
    grace_period: float = 0.0
    """Seconds that a failure may last before anybody is told, unless settings say."""
    alert_frequency: float = 3600.0
    """Seconds between two alerts about the same open issue, unless settings say."""
    help: str = ""
    """What is checked and how it is mended, for `qlmdm-audit --explain`."""
    api: int = 1


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One line that the audit has to say."""

    cid: str
    hostname: str
    check: str
    state: State
    message: str
    opened_at: datetime
    line: str
    """The whole sentence, as `qlmdm-audit` prints it."""
    user_email: str | None = None
    tags: tuple[str, ...] = ()
    evidence: JSON = None


@dataclass(frozen=True, kw_only=True)
class Notifier:
    """A way to tell people. `send` gets all alerts of one audit run, at least one."""

    name: str
    send: Callable[[Sequence[Alert]], None]
    """May raise; the alerts then stay due for this notifier and the audit exits 3."""
    timeout: float = 30.0
    api: int = 1


@dataclass(frozen=True, kw_only=True)
class StoreBackend:
    """A database engine. The first part of a store's URL chooses it."""

    scheme: str
    """As in `scheme://…`."""
    open: Callable[[str], Any]
    """`open(url) -> qlmdm_core.store.Store`; opens nothing that needs the network yet."""
    api: int = 1


@dataclass(frozen=True, kw_only=True)
class Route:
    """An address that a plugin adds to the server, below `/qlmdm/v1/x/<distribution>/`."""

    path: str
    """Relative, without a leading slash; Falcon's URI templates."""
    resource: object
    """A Falcon resource."""
    auth: Literal["client", "none"] = "client"
    """"client": the request is a signed envelope of an enrolled client, checked before the
    resource is called (as `req.context.envelope`); "none": anybody may call it."""
    api: int = 1
