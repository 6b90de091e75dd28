"""What is handed out: releases, commands, drafts. The rules are `qlmdm_core.store.progress`'s."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from qlmdm_core.api import JSON
from qlmdm_core.store import progress
from qlmdm_core.store.codec import truncated
from qlmdm_core.store.outgoing import (
    FINAL_STATES,
    CommandPart,
    CommandRecord,
    CommandState,
    CommandTarget,
    Draft,
    DueCommand,
    ReleaseRecord,
)
from qlmdm_memory_store.database import Database, own, whole


class OutgoingPart:
    """The part of the store about what the server hands out."""

    _db: Database

    # --- releases -------------------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        with self._db.ready() as db:
            sha256 = hashlib.sha256(data).hexdigest()
            db.blobs[sha256] = bytes(data)
            return sha256

    def blob(self, sha256: str) -> bytes | None:
        with self._db.ready() as db:
            return db.blobs.get(sha256)

    def drop_blob(self, sha256: str) -> None:
        with self._db.ready() as db:
            db.blobs.pop(sha256, None)

    def put_release(self, release: ReleaseRecord) -> bool:
        with self._db.ready() as db:
            version = release.epoch, release.number
            if version in db.releases:
                return False
            db.releases[version] = replace(
                release,
                created_at=truncated(release.created_at),
                rollout=own(release.rollout),
                about=own(release.about),
            )
            return True

    def release(self, epoch: int, number: int) -> ReleaseRecord | None:
        with self._db.ready() as db:
            found = db.releases.get((epoch, number))
            return None if found is None else _own_release(found)

    def releases(self) -> Sequence[ReleaseRecord]:
        with self._db.ready() as db:
            return [_own_release(db.releases[version]) for version in sorted(db.releases)[::-1]]

    def update_release(self, release: ReleaseRecord) -> bool:
        with self._db.ready() as db:
            present = db.releases.get((release.epoch, release.number))
            if present is None or present.revision != release.revision:
                return False
            db.releases[release.epoch, release.number] = replace(
                present,
                status=release.status,
                note=release.note,
                rollout=own(release.rollout),
                revision=present.revision + 1,
            )
            return True

    def count_releases(self) -> Mapping[str | None, int]:
        with self._db.ready() as db:
            active = (row.client for row in db.rows.values() if row.client.status == "active")
            return dict(Counter(client.release for client in active))

    # --- commands -------------------------------------------------------------------------------

    def put_command(self, command: CommandRecord, parts: Sequence[CommandPart]) -> bool:
        progress.require_distinct(parts)
        with self._db.ready() as db:
            if command.command_id in db.commands:
                return False
            kept = replace(
                command,
                created_at=truncated(command.created_at),
                not_before=truncated(command.not_before),
                expires_at=truncated(command.expires_at),
                cancelled_at=whole(command.cancelled_at),
                about=own(command.about),
            )
            db.commands[command.command_id] = kept
            for part in parts:
                db.documents[command.command_id, part.part] = part.document
                for cid in part.hosts:
                    target = CommandTarget(
                        command_id=command.command_id,
                        cid=cid,
                        part=part.part,
                        state="pending",
                        updated_at=kept.created_at,
                    )
                    db.targets.setdefault(cid, {})[command.command_id] = target
            return True

    def command(self, command_id: str) -> CommandRecord | None:
        with self._db.ready() as db:
            found = db.commands.get(command_id)
            return None if found is None else _own_command(found)

    def commands(
        self, *, after: str | None = None, limit: int = 100, kind: str | None = None
    ) -> Sequence[CommandRecord]:
        with self._db.ready() as db:
            if after is not None and after not in db.commands:
                return []
            newest_first = sorted(db.commands.values(), key=_age, reverse=True)
            found = [
                _own_command(command)
                for command in newest_first
                if kind in (None, command.kind)
                and (after is None or _age(command) < _age(db.commands[after]))
            ]
            return found[:limit]

    def cancel_command(self, command_id: str, at: datetime) -> bool:
        with self._db.ready() as db:
            command = db.commands.get(command_id)
            if command is None:
                return False
            if command.cancelled_at is None:
                db.commands[command_id] = replace(command, cancelled_at=truncated(at))
            for target in _targets(db, command_id):
                if target.state == "pending":
                    _move(db, target, "cancelled", at)
            return True

    def due_commands(self, cid: str, now: datetime) -> Sequence[DueCommand]:
        with self._db.ready() as db:
            found = [
                DueCommand(
                    command=_own_command(db.commands[target.command_id]),
                    document=db.documents[target.command_id, target.part],
                    state=target.state,
                )
                for target in db.targets.get(cid, {}).values()
                if target.state not in FINAL_STATES
                and _is_given_out(db.commands[target.command_id], truncated(now))
            ]
            return sorted(found, key=lambda due: _age(due.command))

    def advance_target(
        self, command_id: str, cid: str, state: CommandState, at: datetime, result: JSON = None
    ) -> bool | None:
        progress.rank(state)
        with self._db.ready() as db:
            target = db.targets.get(cid, {}).get(command_id)
            if target is None:
                return None
            step = progress.step(target.state, state, has_result=result is not None)
            if step != "stays" and result is not None:
                target = replace(target, result=own(result))
                db.targets[cid][command_id] = target
            if step == "moves":
                _move(db, target, state, at)
            return step == "moves"

    def target(self, command_id: str, cid: str) -> CommandTarget | None:
        with self._db.ready() as db:
            found = db.targets.get(cid, {}).get(command_id)
            return None if found is None else _own_target(found)

    def targets(
        self,
        command_id: str,
        *,
        states: Sequence[CommandState] | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[CommandTarget]:
        with self._db.ready() as db:
            found = [
                _own_target(target)
                for target in _targets(db, command_id)
                if (states is None or target.state in states)
                and (after is None or target.cid > after)
            ]
            return found[:limit]

    def targets_of(self, cid: str, *, limit: int = 100) -> Sequence[CommandTarget]:
        with self._db.ready() as db:
            found = sorted(
                db.targets.get(cid, {}).values(),
                key=lambda target: (target.updated_at, _age(db.commands[target.command_id])),
                reverse=True,
            )
            return [_own_target(target) for target in found[:limit]]

    def count_targets(self, command_id: str) -> Mapping[str, int]:
        with self._db.ready() as db:
            return dict(Counter(target.state for target in _targets(db, command_id)))

    def expire_targets(self, now: datetime, limit: int = 1000) -> int:
        with self._db.ready() as db:
            found = [
                target
                for by_command in db.targets.values()
                for target in by_command.values()
                if target.state in progress.UNSTARTED
                and db.commands[target.command_id].expires_at <= truncated(now)
            ]
            for target in found[:limit]:
                _move(db, target, "expired", now)
            return len(found[:limit])

    # --- what waits for signatures --------------------------------------------------------------

    def put_draft(self, draft: Draft) -> bool:
        with self._db.ready() as db:
            if draft.name in db.drafts:
                return False
            db.drafts[draft.name] = replace(
                draft, created_at=truncated(draft.created_at), attach=own(draft.attach)
            )
            return True

    def draft(self, name: str) -> Draft | None:
        with self._db.ready() as db:
            found = db.drafts.get(name)
            return None if found is None else replace(found, attach=own(found.attach))

    def drafts(self) -> Sequence[Draft]:
        with self._db.ready() as db:
            return [replace(d, attach=own(d.attach)) for _, d in sorted(db.drafts.items())]

    def update_draft(self, draft: Draft) -> bool:
        with self._db.ready() as db:
            present = db.drafts.get(draft.name)
            if present is None or present.revision != draft.revision:
                return False
            db.drafts[draft.name] = replace(present, sigs=draft.sigs, revision=present.revision + 1)
            return True

    def drop_draft(self, name: str) -> bool:
        with self._db.ready() as db:
            return db.drafts.pop(name, None) is not None


# --- within -------------------------------------------------------------------------------------


def has_commands(db: Database, cid: str) -> bool:
    """Whether a command for this client is open."""
    return any(target.state not in FINAL_STATES for target in db.targets.get(cid, {}).values())


def _age(command: CommandRecord) -> tuple[datetime, str]:
    return command.created_at, command.command_id


def _is_given_out(command: CommandRecord, now: datetime) -> bool:
    return command.cancelled_at is None and command.not_before <= now < command.expires_at


def _targets(db: Database, command_id: str) -> list[CommandTarget]:
    """The targets of a command, by cid."""
    return [t[command_id] for _, t in sorted(db.targets.items()) if command_id in t]


def _move(db: Database, target: CommandTarget, state: CommandState, at: datetime) -> None:
    moved_at = truncated(at)
    db.targets[target.cid][target.command_id] = replace(
        target,
        state=state,
        updated_at=moved_at,
        delivered_at=moved_at if state == "delivered" else target.delivered_at,
        started_at=moved_at if state == "started" else target.started_at,
        finished_at=moved_at if state in FINAL_STATES else target.finished_at,
    )


def _own_release(release: ReleaseRecord) -> ReleaseRecord:
    return replace(release, rollout=own(release.rollout), about=own(release.about))


def _own_command(command: CommandRecord) -> CommandRecord:
    return replace(command, about=own(command.about))


def _own_target(target: CommandTarget) -> CommandTarget:
    return replace(target, result=own(target.result))
