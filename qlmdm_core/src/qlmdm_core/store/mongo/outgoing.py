"""What the server hands out: the part of the store about releases, commands and drafts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from qlmdm_core.api import JSON
from qlmdm_core.store import progress
from qlmdm_core.store.codec import to_ms
from qlmdm_core.store.mongo import commands, drafts, queueing, releases
from qlmdm_core.store.mongo.connection import Connection
from qlmdm_core.store.outgoing import (
    CommandPart,
    CommandRecord,
    CommandState,
    CommandTarget,
    Draft,
    DueCommand,
    ReleaseRecord,
)


class OutgoingPart:
    """Releases, commands and drafts of `qlmdm_core.store.Store`."""

    _connection: Connection

    # --- releases ---------------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        with self._connection.use() as db:
            return releases.put_blob(db, data)

    def blob(self, sha256: str) -> bytes | None:
        with self._connection.use() as db:
            return releases.blob(db, sha256)

    def drop_blob(self, sha256: str) -> None:
        with self._connection.use() as db:
            releases.drop_blob(db, sha256)

    def put_release(self, release: ReleaseRecord) -> bool:
        with self._connection.use() as db:
            return releases.put_release(db, release)

    def release(self, epoch: int, number: int) -> ReleaseRecord | None:
        with self._connection.use() as db:
            return releases.release(db, epoch, number)

    def releases(self) -> Sequence[ReleaseRecord]:
        with self._connection.use() as db:
            return releases.releases(db)

    def update_release(self, release: ReleaseRecord) -> bool:
        with self._connection.use() as db:
            return releases.update_release(db, release)

    def count_releases(self) -> Mapping[str | None, int]:
        with self._connection.use() as db:
            return releases.count_releases(db)

    # --- commands ---------------------------------------------------------------------------

    def put_command(self, command: CommandRecord, parts: Sequence[CommandPart]) -> bool:
        with self._connection.use() as db:
            return queueing.put_command(db, command, parts)

    def command(self, command_id: str) -> CommandRecord | None:
        with self._connection.use() as db:
            return commands.command(db, command_id)

    def commands(
        self, *, after: str | None = None, limit: int = 100, kind: str | None = None
    ) -> Sequence[CommandRecord]:
        with self._connection.use() as db:
            return commands.commands(db, after=after, limit=limit, kind=kind)

    def cancel_command(self, command_id: str, at: datetime) -> bool:
        with self._connection.use() as db:
            return commands.cancel_command(db, command_id, to_ms(at))

    def due_commands(self, cid: str, now: datetime) -> Sequence[DueCommand]:
        with self._connection.use() as db:
            return commands.due_commands(db, cid, to_ms(now))

    def advance_target(
        self, command_id: str, cid: str, state: CommandState, at: datetime, result: JSON = None
    ) -> bool | None:
        progress.rank(state)
        with self._connection.use() as db:
            return commands.advance_target(db, command_id, cid, state, to_ms(at), result)

    def target(self, command_id: str, cid: str) -> CommandTarget | None:
        with self._connection.use() as db:
            return commands.target(db, command_id, cid)

    def targets(
        self,
        command_id: str,
        *,
        states: Sequence[CommandState] | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[CommandTarget]:
        with self._connection.use() as db:
            return commands.targets(db, command_id, states=states, after=after, limit=limit)

    def targets_of(self, cid: str, *, limit: int = 100) -> Sequence[CommandTarget]:
        with self._connection.use() as db:
            return commands.targets_of(db, cid, limit)

    def count_targets(self, command_id: str) -> Mapping[str, int]:
        with self._connection.use() as db:
            return commands.count_targets(db, command_id)

    def expire_targets(self, now: datetime, limit: int = 1000) -> int:
        with self._connection.use() as db:
            return commands.expire_targets(db, to_ms(now), limit)

    # --- what waits for signatures ------------------------------------------------------------

    def put_draft(self, draft: Draft) -> bool:
        with self._connection.use() as db:
            return drafts.put_draft(db, draft)

    def draft(self, name: str) -> Draft | None:
        with self._connection.use() as db:
            return drafts.draft(db, name)

    def drafts(self) -> Sequence[Draft]:
        with self._connection.use() as db:
            return drafts.drafts(db)

    def update_draft(self, draft: Draft) -> bool:
        with self._connection.use() as db:
            return drafts.update_draft(db, draft)

    def drop_draft(self, name: str) -> bool:
        with self._connection.use() as db:
            return drafts.drop_draft(db, name)
