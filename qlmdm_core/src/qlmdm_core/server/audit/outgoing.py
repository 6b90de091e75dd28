"""What clients were given and should have by now: for the checks about releases and commands.

These verdicts change without a word from the client: a release is published, a command gets old.
So the whole fleet is judged anew when what was given changed, which a short mark tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from qlmdm_core import manifest
from qlmdm_core.api import ClientView
from qlmdm_core.manifest import Version
from qlmdm_core.server.releases import rollout
from qlmdm_core.server.releases.rollout import Rollout
from qlmdm_core.store import Store
from qlmdm_core.store.codec import iso
from qlmdm_core.store.outgoing import CommandRecord

MARK = "audit.outgoing"
OLD = timedelta(days=1)
"""A command that was not carried out for so long is looked at."""
MOST_COMMANDS = 1000
"""Of the newest commands."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """Releases and commands as they are at the beginning of an audit."""

    releases: Sequence[tuple[Version, Rollout]] = ()
    """Those that are published and rolled out, newest first."""
    any_commands: bool = False
    """Whether any command is old and open: only then are clients' own looked up."""
    mark: str | None = None
    """Changes when what follows for clients may change; None: nothing was ever given."""

    def added_to(self, view: ClientView, store: Store, now: datetime) -> ClientView:
        """The client, with what it should have by now."""
        due = self._release_due(view)
        if due is not None:
            view = replace(view, release_due=str(due[0]), release_due_at=due[1])
        if self.any_commands:
            pending = tuple(
                {
                    "id": one.command.command_id,
                    "kind": one.command.kind,
                    "summary": one.command.summary,
                    "state": one.state,
                    "since": iso(max(one.command.created_at, one.command.not_before)),
                }
                for one in store.due_commands(view.cid, now)
            )
            view = replace(view, pending_commands=pending) if pending else view
        return view

    def _release_due(self, view: ClientView) -> tuple[Version, datetime] | None:
        """The newest release that it was offered and does not run, and since when."""
        try:
            runs = manifest.read_version(view.release)
        except ValueError:
            return None  # not installed by a release
        for version, planned in self.releases:
            if version <= runs:
                return None
            offered_at = rollout.offered_at(planned, view.cid, view.tags, version)
            if offered_at is not None:
                return version, offered_at
        return None


def read_outgoing(store: Store, now: datetime) -> Outgoing:
    """What there is to be had: two reads."""
    records = [record for record in store.releases() if record.status == "published"]
    releases = [
        (
            Version(record.epoch, record.number),
            rollout.load(record.rollout, record.created_at),
        )
        for record in records
    ]
    old = [one for one in store.commands(limit=MOST_COMMANDS) if _is_old(one, now)]
    if not records and not old:
        return Outgoing()
    text = repr([*((str(version), planned) for version, planned in releases), *_ids(old)])
    return Outgoing(
        releases=[entry for entry in releases if entry[1].state == "running"],
        any_commands=bool(old),
        mark=hashlib.sha256(text.encode()).hexdigest()[:16],
    )


def _is_old(command: CommandRecord, now: datetime) -> bool:
    is_open = command.cancelled_at is None and now < command.expires_at
    return is_open and now - max(command.created_at, command.not_before) >= OLD


def _ids(commands: Sequence[CommandRecord]) -> list[str]:
    return [command.command_id for command in commands]
