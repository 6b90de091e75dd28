"""What the server hands out: the part of the store about releases, commands and drafts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from qlmdm_core.api import JSON
from qlmdm_core.store import progress
from qlmdm_core.store.codec import to_ms
from qlmdm_core.store.outgoing import (
    CommandPart,
    CommandRecord,
    CommandState,
    CommandTarget,
    Draft,
    DueCommand,
    ReleaseRecord,
)
from qlmdm_core.store.sqlite import commands, drafts, releases
from qlmdm_core.store.sqlite.database import Database

PIECE = 1000
"""So many targets expire at once: reports wait meanwhile."""


class OutgoingPart:
    """Releases, commands and drafts of `qlmdm_core.store.Store`."""

    _db: Database

    # --- releases ---------------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self._db.write(lambda db: releases.put_blob(db, sha256, data))
        return sha256

    def blob(self, sha256: str) -> bytes | None:
        return self._db.read(lambda db: releases.blob(db, sha256))

    def drop_blob(self, sha256: str) -> None:
        self._db.write(lambda db: releases.drop_blob(db, sha256))

    def put_release(self, release: ReleaseRecord) -> bool:
        return self._db.write(lambda db: releases.put_release(db, release))

    def release(self, epoch: int, number: int) -> ReleaseRecord | None:
        return self._db.read(lambda db: releases.release(db, epoch, number))

    def releases(self) -> Sequence[ReleaseRecord]:
        return self._db.read(releases.releases)

    def update_release(self, release: ReleaseRecord) -> bool:
        return self._db.write(lambda db: releases.update_release(db, release))

    def count_releases(self) -> Mapping[str | None, int]:
        return self._db.read(releases.count_releases)

    # --- commands ---------------------------------------------------------------------------

    def put_command(self, command: CommandRecord, parts: Sequence[CommandPart]) -> bool:
        return self._db.write(commands.prepare(command, parts))

    def command(self, command_id: str) -> CommandRecord | None:
        return self._db.read(lambda db: commands.command(db, command_id))

    def commands(
        self, *, after: str | None = None, limit: int = 100, kind: str | None = None
    ) -> Sequence[CommandRecord]:
        return self._db.read(partial(commands.commands, after=after, limit=limit, kind=kind))

    def cancel_command(self, command_id: str, at: datetime) -> bool:
        return self._db.write(lambda db: commands.cancel_command(db, command_id, to_ms(at)))

    def due_commands(self, cid: str, now: datetime) -> Sequence[DueCommand]:
        return self._db.read(lambda db: commands.due_commands(db, cid, to_ms(now)))

    def advance_target(
        self, command_id: str, cid: str, state: CommandState, at: datetime, result: JSON = None
    ) -> bool | None:
        progress.rank(state)
        advance = commands.Advance(command_id, cid, state, to_ms(at), result)
        # Read first: what is said again, as often as a client likes, waits for no writer.
        found = self._db.read(advance.step)
        if found is None:
            return None
        return False if found[1] == "stays" else self._db.write(advance.write)

    def target(self, command_id: str, cid: str) -> CommandTarget | None:
        return self._db.read(lambda db: commands.target(db, command_id, cid))

    def targets(
        self,
        command_id: str,
        *,
        states: Sequence[CommandState] | None = None,
        after: str | None = None,
        limit: int = 1000,
    ) -> Sequence[CommandTarget]:
        work = partial(
            commands.targets, command_id=command_id, states=states, after=after, limit=limit
        )
        return self._db.read_together(work)

    def targets_of(self, cid: str, *, limit: int = 100) -> Sequence[CommandTarget]:
        return self._db.read(lambda db: commands.targets_of(db, cid, limit))

    def count_targets(self, command_id: str) -> Mapping[str, int]:
        return self._db.read(lambda db: commands.count_targets(db, command_id))

    def expire_targets(self, now: datetime, limit: int = 1000) -> int:
        expired = 0
        while expired < limit:
            piece = min(PIECE, limit - expired)
            work = partial(commands.expire_targets, now_ms=to_ms(now), limit=piece)
            count = self._db.write(work)
            expired += count
            if count < piece:
                break
        return expired

    # --- what waits for signatures ------------------------------------------------------------

    def put_draft(self, draft: Draft) -> bool:
        return self._db.write(lambda db: drafts.put_draft(db, draft))

    def draft(self, name: str) -> Draft | None:
        return self._db.read(lambda db: drafts.draft(db, name))

    def drafts(self) -> Sequence[Draft]:
        return self._db.read(drafts.drafts)

    def update_draft(self, draft: Draft) -> bool:
        return self._db.write(lambda db: drafts.update_draft(db, draft))

    def drop_draft(self, name: str) -> bool:
        return self._db.write(lambda db: drafts.drop_draft(db, name))
