"""Which commands a client is given with the answer to its poll."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from qlmdm_core.errors import StoreError
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import DueCommand
from qlmdm_core.store.records import ClientKey

MAX_COMMANDS = 16
MAX_BYTES = 1 << 20
"""Of one answer, all commands together."""
URGENT = ("cancel", "wipe")
GIVEN = ("delivered", "started")
"""The states of what a client was given and has not ended."""


def for_client(store: Store, key: ClientKey, now: datetime) -> list[str]:
    """The signed documents that this client has to be given now, at most so many of them.

    Those that are new to it are marked as delivered first; one that can't be marked is not
    given. A client without open commands costs nothing beyond its key, which was read already.
    """
    if not key.has_commands or key.status != "active":
        return []
    texts: list[str] = []
    size = 0
    for due in _in_order(store.due_commands(key.cid, now)):
        if len(texts) == MAX_COMMANDS or size + len(due.document) > MAX_BYTES:
            break
        if due.state == "pending" and not _mark(store, due, key.cid, now):
            continue
        texts.append(due.document.decode("ascii"))
        size += len(due.document)
    return texts


def _in_order(due: Sequence[DueCommand]) -> list[DueCommand]:
    """What can't wait comes first, then what is new; so a client that never gets round to some
    commands is given the others all the same. What has started is with the client already."""
    return sorted(
        (one for one in due if one.state != "started"),
        key=lambda one: (one.command.kind not in URGENT, one.state != "pending"),
    )


def _mark(store: Store, due: DueCommand, cid: str, now: datetime) -> bool:
    command_id = due.command.command_id
    try:
        if store.advance_target(command_id, cid, "delivered", now):
            return True
        # In this very moment another worker gave it, or it was cancelled, or its client deleted.
        target = store.target(command_id, cid)
    except StoreError:
        return False  # with the next poll, then
    return target is not None and target.state in GIVEN
