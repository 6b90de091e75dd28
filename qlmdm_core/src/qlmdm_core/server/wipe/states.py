"""Which state each wipe is in, with the times of all that it was in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from qlmdm_core import commanddoc
from qlmdm_core.api import JSON
from qlmdm_core.commanddoc import Command
from qlmdm_core.errors import TrustError
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import FINAL_STATES, CommandRecord, CommandTarget, Draft

SILENT_AFTER = timedelta(hours=1)
"""So long after the last word of a client that was given a wipe, it is called silent."""
KIND = "wipe"
PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Wipe:
    """One wipe, as people see it."""

    id: str
    cid: str
    method: str
    state: str
    """unsigned, held, queued, delivered, started, silent, done, failed, refused, expired,
    indeterminate or cancelled."""
    created_by: str
    times: tuple[tuple[str, datetime], ...]
    """What happened when, in order."""
    reason: str
    stages: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen."""
        return self.state not in FINAL_STATES


def wipes(store: Store, now: datetime, *, cid: str | None = None) -> Iterator[Wipe]:
    """All wipes, of one client or all, newest first; those that lack signatures before."""
    for draft in store.drafts():
        command = of_draft(draft)
        if command is not None and cid in (None, *command.hosts):
            yield _unsigned(draft, command)
    after: str | None = None
    while page := store.commands(kind=KIND, after=after, limit=PAGE):
        for record in page:
            for target in store.targets(record.command_id):
                if cid in (None, target.cid):
                    yield _wipe(record, target, now)
        after = page[-1].command_id


def of_draft(draft: Draft) -> Command | None:
    """The wipe that a draft is of; None if it is something else. Its text counts, not its
    name."""
    if draft.kind != "command" or len(draft.texts) != 1:
        return None
    try:
        command = commanddoc.parse(draft.texts[0])
    except TrustError:
        return None
    return command if command.wipe is not None else None


def _unsigned(draft: Draft, command: Command) -> Wipe:
    return Wipe(
        id=command.id,
        cid=command.hosts[0],
        method=command.wipe.method if command.wipe else "",
        state="unsigned",
        created_by=draft.created_by,
        times=(("ordered", draft.created_at),),
        reason=f"signatures are missing: qlmdm-client-wipe --approve {draft.name}",
        stages=(),
    )


def _wipe(record: CommandRecord, target: CommandTarget, now: datetime) -> Wipe:
    about = record.about if isinstance(record.about, dict) else {}
    result = target.result if isinstance(target.result, dict) else {}
    stages = result.get("stages")
    known = (
        ("ordered", record.created_at),
        ("held until", record.not_before),
        ("delivered", target.delivered_at),
        ("started", target.started_at),
        ("last word", target.updated_at if target.state == "started" else None),
        (target.state, target.finished_at),
        ("cancelled", record.cancelled_at if target.state != "cancelled" else None),
    )
    return Wipe(
        id=record.command_id,
        cid=target.cid,
        method=str(about.get("method") or ""),
        state=_state(record, target, now),
        created_by=record.created_by,
        times=tuple((name, at) for name, at in known if at is not None),
        reason=str(result.get("reason") or ""),
        stages=tuple(str(stage) for stage in stages) if isinstance(stages, list) else (),
    )


def _state(record: CommandRecord, target: CommandTarget, now: datetime) -> str:
    if target.state == "pending":
        if record.cancelled_at is not None:
            return "cancelled"
        if now >= record.expires_at:
            return "expired"
        return "held" if now < record.not_before else "queued"
    if target.state in ("delivered", "started") and now - target.updated_at > SILENT_AFTER:
        return "silent"
    return target.state


def as_json(wipe: Wipe, hostname: str) -> dict[str, JSON]:
    """A wipe as `--json` prints it."""
    return {
        "id": wipe.id,
        "cid": wipe.cid,
        "hostname": hostname,
        "method": wipe.method,
        "state": wipe.state,
        "created_by": wipe.created_by,
        "times": [[name, at.isoformat()] for name, at in wipe.times],
        "reason": wipe.reason,
        "stages": list(wipe.stages),
    }
