"""Queueing a command for many clients, all or nothing, without transactions.

What belongs to one try to queue a command carries the try's own random name (`attempt`). It is
written in this order, and nothing of it is seen before the last write:

1. `attempts`: that there is such a try. Who finds one left behind knows what to sweep.
2. `parts`: the signed documents. 3. `targets`: one for each client.
4. A mark in the document of each client, `commands.ATTEMPT`, by which a poll learns, from the one
   document that it reads anyway, that there may be something for it.
5. `commands`: the command itself, which names the attempt. Its id is unique, so that one of
   several tries wins. The others, and those that were killed, are swept.

A mark is set after its target is there, and taken away after the target has ended. So a mark
without an open target is left over from a crash, and anybody may take it away (as
`commands.due_commands` does).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from secrets import token_hex
from typing import TypeVar

from pymongo.errors import DuplicateKeyError

from qlmdm_core.store import progress
from qlmdm_core.store.codec import dump_text, to_ms
from qlmdm_core.store.mongo.connection import Document, Mongo
from qlmdm_core.store.outgoing import CommandPart, CommandRecord

T = TypeVar("T")

PIECE = 5_000
"""So many documents go to the server at once."""


def put_command(db: Mongo, command: CommandRecord, parts: Sequence[CommandPart]) -> bool:
    """Queue a command for the clients that its parts name."""
    progress.require_distinct(parts)
    if db["commands"].find_one({"_id": command.command_id}, {"_id": 1}) is not None:
        return False
    attempt = token_hex(16)
    expires_ms = to_ms(command.expires_at)
    db["attempts"].insert_one(
        {"_id": attempt, "command_id": command.command_id, "expires_ms": expires_ms}
    )
    for part in parts:
        db["parts"].insert_one(
            {"_id": f"{attempt}:{part.part}", "attempt": attempt, "document": part.document}
        )
    for piece in in_pieces(_targets(command, parts, attempt)):
        db["targets"].insert_many(piece, ordered=False)
    for cids in in_pieces(cid for part in parts for cid in part.hosts):
        mark = {"$set": {f"commands.{attempt}": 1}}
        db["clients"].update_many({"_id": {"$in": cids}}, mark)
    try:
        db["commands"].insert_one(_command(command, attempt))
    except DuplicateKeyError:
        sweep(db, attempt)
        return False
    for other in list(db["attempts"].find({"command_id": command.command_id})):
        if other["_id"] != attempt:
            sweep(db, other["_id"])
    db["attempts"].delete_one({"_id": attempt})
    return True


def sweep(db: Mongo, attempt: str) -> None:
    """Delete what a try left behind that did not win. May be interrupted, and done again."""
    while True:
        found = list(db["targets"].find({"attempt": attempt}, {"cid": 1}).limit(PIECE))
        if not found:
            break
        unmark(db, attempt, [target["cid"] for target in found])
        db["targets"].delete_many({"_id": {"$in": [target["_id"] for target in found]}})
    db["parts"].delete_many({"attempt": attempt})
    db["attempts"].delete_one({"_id": attempt})


def sweep_expired(db: Mongo, now_ms: int) -> None:
    """Sweep tries that were interrupted and never made again, once the command has expired."""
    for left in list(db["attempts"].find({"expires_ms": {"$lte": now_ms}})):
        command = db["commands"].find_one({"_id": left["command_id"]}, {"attempt": 1})
        if command is not None and command["attempt"] == left["_id"]:
            db["attempts"].delete_one({"_id": left["_id"]})  # it won, and was killed just then
        else:
            sweep(db, left["_id"])


def unmark(db: Mongo, attempt: str, cids: Sequence[str]) -> None:
    """Take the marks of ended targets out of their clients' documents."""
    db["clients"].update_many({"_id": {"$in": cids}}, {"$unset": {f"commands.{attempt}": ""}})


def in_pieces(found: Iterable[T]) -> Iterator[list[T]]:
    """So many at once as go to the server well."""
    rest = iter(found)
    while piece := list(islice(rest, PIECE)):
        yield piece


def _targets(
    command: CommandRecord, parts: Sequence[CommandPart], attempt: str
) -> Iterator[Document]:
    updated_ms, expires_ms = to_ms(command.created_at), to_ms(command.expires_at)
    for part in parts:
        for cid in part.hosts:
            yield {
                "_id": f"{attempt}:{cid}",
                "attempt": attempt,
                "command_id": command.command_id,
                "cid": cid,
                "part": part.part,
                "state": "pending",
                "updated_ms": updated_ms,
                "open_cid": cid,
                "unstarted_until_ms": expires_ms,
            }


def _command(command: CommandRecord, attempt: str) -> Document:
    return {
        "_id": command.command_id,
        "command_id": command.command_id,
        "attempt": attempt,
        "kind": command.kind,
        "summary": command.summary,
        "created_ms": to_ms(command.created_at),
        "created_by": command.created_by,
        "not_before_ms": to_ms(command.not_before),
        "expires_ms": to_ms(command.expires_at),
        "hosts": command.hosts,
        "payload_sha256": command.payload_sha256,
        "cancelled_ms": to_ms(command.cancelled_at),
        "about": dump_text(command.about),
    }
