"""Commands and their targets, after they were queued (see `queueing`).

A target moves by a compare-and-set on its state. `open_cid` is its client's id while it is open,
and `unstarted_until_ms` is there while it has not begun: otherwise neither field exists. A
command is cancelled by one write to its own document; from then on its pending targets are read as
cancelled, whether that was written into them yet or not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreUnavailableError
from qlmdm_core.store import progress
from qlmdm_core.store.codec import dump_text, from_ms, loads
from qlmdm_core.store.mongo.connection import WAIT_SECONDS, Document, Mongo
from qlmdm_core.store.mongo.queueing import PIECE, sweep_expired, unmark
from qlmdm_core.store.outgoing import (
    FINAL_STATES,
    STATE_RANK,
    CommandRecord,
    CommandState,
    CommandTarget,
    DueCommand,
)

# --- reading ----------------------------------------------------------------------------------


def command(db: Mongo, command_id: str) -> CommandRecord | None:
    """One command."""
    found = db["commands"].find_one({"_id": command_id})
    return _command(found) if found else None


def commands(db: Mongo, *, after: str | None, limit: int, kind: str | None) -> list[CommandRecord]:
    """Commands, newest first."""
    wanted: Document = {} if kind is None else {"kind": kind}
    if after is not None:
        last = db["commands"].find_one({"_id": after}, {"created_ms": 1})
        if last is None:
            return []
        wanted["$or"] = [
            {"created_ms": {"$lt": last["created_ms"]}},
            {"created_ms": last["created_ms"], "command_id": {"$lt": after}},
        ]
    found = db["commands"].find(wanted).sort([("created_ms", -1), ("command_id", -1)])
    return [_command(document) for document in found.limit(limit)]


def due_commands(db: Mongo, cid: str, now_ms: int) -> list[DueCommand]:
    """What a client may be given now, oldest first.

    Mends what crashes left behind: marks of targets that have ended, and pending targets of
    cancelled commands.
    """
    # First the marks: a mark that is there was set after its target.
    client = db["clients"].find_one({"_id": cid}, {"commands": 1})
    marks: Mapping[str, int] = (client or {}).get("commands") or {}
    found = list(db["targets"].find({"open_cid": cid}))
    for attempt in marks.keys() - {target["attempt"] for target in found}:
        unmark(db, attempt, [cid])
    named = _commands_of(db, found)
    due = []
    for target in found:
        command = named.get(target["attempt"])
        if command is None:
            continue
        if command["cancelled_ms"] is not None:
            if target["state"] == "pending":
                _end_pending(db, command, [target])
        elif command["not_before_ms"] <= now_ms < command["expires_ms"]:
            due.append((command["created_ms"], command["command_id"], command, target))
    due.sort(key=lambda found: found[:2])
    ids = [f"{target['attempt']}:{target['part']}" for *_, target in due]
    parts = {part["_id"]: part for part in db["parts"].find({"_id": {"$in": ids}})} if ids else {}
    return [
        DueCommand(
            command=_command(command),
            document=bytes(parts[part_id]["document"]),
            state=target["state"],
        )
        for part_id, (*_, command, target) in zip(ids, due, strict=True)
    ]


def target(db: Mongo, command_id: str, cid: str) -> CommandTarget | None:
    """One command on one client."""
    command = db["commands"].find_one({"_id": command_id})
    if command is None:
        return None
    found = db["targets"].find_one({"_id": f"{command['attempt']}:{cid}"})
    return _target(found, command) if found else None


def targets(
    db: Mongo,
    command_id: str,
    *,
    states: Sequence[CommandState] | None,
    after: str | None,
    limit: int,
) -> list[CommandTarget]:
    """The targets of a command in any of these states, by `cid`."""
    command = db["commands"].find_one({"_id": command_id})
    if command is None or states == []:
        return []
    wanted: Document = {"attempt": command["attempt"]}
    if states is not None:
        stored = set(states)
        if command["cancelled_ms"] is not None:  # what is pending there counts as cancelled
            stored.discard("pending")
            stored |= {"pending"} if "cancelled" in states else set()
        wanted["state"] = {"$in": sorted(stored)}
    if after is not None:
        wanted["cid"] = {"$gt": after}
    found = db["targets"].find(wanted).sort([("cid", 1)]).limit(limit)
    return [_target(document, command) for document in found]


def targets_of(db: Mongo, cid: str, limit: int) -> list[CommandTarget]:
    """The commands of one client, newest first. A client has few."""
    found = list(db["targets"].find({"cid": cid}, {"result": 0}).sort([("updated_ms", -1)]))
    named = _commands_of(db, found)
    kept = [
        (_target(document, named[document["attempt"]]), named[document["attempt"]], document["_id"])
        for document in found
        if document["attempt"] in named
    ]
    kept.sort(key=lambda k: (k[0].updated_at, k[1]["created_ms"], k[0].command_id), reverse=True)
    chosen = kept[:limit]
    whole = {
        document["_id"]: document
        for document in db["targets"].find({"_id": {"$in": [found_id for *_, found_id in chosen]}})
    }
    return [_target(whole[found_id], command) for _, command, found_id in chosen]


def count_targets(db: Mongo, command_id: str) -> dict[str, int]:
    """How many targets are in each state, counted by an index."""
    command = db["commands"].find_one({"_id": command_id}, {"attempt": 1, "cancelled_ms": 1})
    if command is None:
        return {}
    counts: dict[str, int] = {}
    for state in (*STATE_RANK, *sorted(FINAL_STATES)):
        count = db["targets"].count_documents({"attempt": command["attempt"], "state": state})
        seen = _seen(state, command)
        if count:
            counts[seen] = counts.get(seen, 0) + count
    return counts


# --- moving on --------------------------------------------------------------------------------


def cancel_command(db: Mongo, command_id: str, at_ms: int) -> bool:
    """Mark a command, then write the same into its pending targets; again goes on with that."""
    db["commands"].update_one(
        {"_id": command_id, "cancelled_ms": None}, {"$set": {"cancelled_ms": at_ms}}
    )
    command = db["commands"].find_one({"_id": command_id})
    if command is None:
        return False
    pending = {"attempt": command["attempt"], "state": "pending"}
    while found := list(db["targets"].find(pending, {"cid": 1, "attempt": 1}).limit(PIECE)):
        _end_pending(db, command, found)
    return True


def advance_target(
    db: Mongo, command_id: str, cid: str, state: CommandState, at_ms: int, result: JSON
) -> bool | None:
    """Move a target on, if it is not there yet or further."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        command = db["commands"].find_one({"_id": command_id}, {"attempt": 1, "cancelled_ms": 1})
        if command is None:
            return None
        target_id = f"{command['attempt']}:{cid}"
        found = db["targets"].find_one({"_id": target_id}, {"state": 1})
        if found is None:
            return None
        step = progress.step(_seen(found["state"], command), state, has_result=result is not None)
        if step == "stays":
            return False
        wanted = {"_id": target_id, "state": found["state"]}
        update = _move(state, at_ms) if step == "moves" else {"$set": {}}
        if result is not None:
            update["$set"]["result"] = dump_text(result)
        if db["targets"].update_one(wanted, update).matched_count:
            if step == "moves" and state in FINAL_STATES:
                unmark(db, command["attempt"], [cid])
            return step == "moves"
        if time.monotonic() > deadline:
            raise StoreUnavailableError(f"command {command_id} is told of by too many at once")


def expire_targets(db: Mongo, now_ms: int, limit: int) -> int:
    """Close at most `limit` targets that were never begun, of commands that expired."""
    sweep_expired(db, now_ms)
    expired = 0
    due = {"unstarted_until_ms": {"$lte": now_ms}}
    while expired < limit:
        # (Results are left away; few have one before they have ended.)
        piece = db["targets"].find(due, {"result": 0}).limit(min(PIECE, limit - expired))
        found = list(piece)
        if not found:
            break
        named = _commands_of(db, found)
        for target in found:
            command = named.get(target["attempt"])
            if command is not None and _seen(target["state"], command) == "cancelled":
                _end_pending(db, command, [target])
        wanted = {
            "_id": {"$in": [target["_id"] for target in found]},
            "state": {"$in": list(progress.UNSTARTED)},
        }
        expired += db["targets"].update_many(wanted, _move("expired", now_ms)).modified_count
        _unmark_ended(db, found)
    return expired


def _end_pending(db: Mongo, command: Document, found: Sequence[Document]) -> None:
    """Write into pending targets that their command was cancelled, unless they moved."""
    wanted = {"_id": {"$in": [target["_id"] for target in found]}, "state": "pending"}
    db["targets"].update_many(wanted, _move("cancelled", command["cancelled_ms"]))
    _unmark_ended(db, found)


def _unmark_ended(db: Mongo, found: Sequence[Document]) -> None:
    """Take away the marks of those of these targets that have ended."""
    ids = [target["_id"] for target in found]
    still_open = {
        target["_id"]
        for target in db["targets"].find({"_id": {"$in": ids}}, {"open_cid": 1})
        if "open_cid" in target
    }
    by_attempt: dict[str, list[str]] = {}
    for target in found:
        if target["_id"] not in still_open:
            by_attempt.setdefault(target["attempt"], []).append(target["cid"])
    for attempt, cids in by_attempt.items():
        unmark(db, attempt, cids)


def _move(state: str, at_ms: int) -> Document:
    """The update by which a target comes to a state."""
    name = progress.time_of(state).removesuffix("_at")
    update: Document = {"$set": {"state": state, "updated_ms": at_ms, f"{name}_ms": at_ms}}
    gone = ["open_cid"] if state in FINAL_STATES else []
    gone += [] if state in progress.UNSTARTED else ["unstarted_until_ms"]
    if gone:
        update["$unset"] = dict.fromkeys(gone, "")
    return update


# --- within -----------------------------------------------------------------------------------


def _commands_of(db: Mongo, found: Sequence[Document]) -> dict[str, Document]:
    """By attempt, the commands of targets; a try that did not win (yet) has none."""
    ids = sorted({target["command_id"] for target in found})
    named = db["commands"].find({"_id": {"$in": ids}}) if ids else ()
    return {command["attempt"]: command for command in named}


def _seen(state: str, command: Document) -> str:
    return "cancelled" if state == "pending" and command["cancelled_ms"] is not None else state


def _command(found: Document) -> CommandRecord:
    return CommandRecord(
        command_id=found["_id"],
        kind=found["kind"],
        summary=found["summary"],
        created_at=from_ms(found["created_ms"]),
        created_by=found["created_by"],
        not_before=from_ms(found["not_before_ms"]),
        expires_at=from_ms(found["expires_ms"]),
        hosts=found["hosts"],
        payload_sha256=found["payload_sha256"],
        cancelled_at=from_ms(found["cancelled_ms"]),
        about=loads(found["about"]),
    )


def _target(found: Document, command: Document) -> CommandTarget:
    result = found.get("result")
    if _seen(found["state"], command) != found["state"]:
        cancelled_ms = command["cancelled_ms"]
        found = {
            **found,
            "state": "cancelled",
            "updated_ms": cancelled_ms,
            "finished_ms": cancelled_ms,
        }
    return CommandTarget(
        command_id=found["command_id"],
        cid=found["cid"],
        part=found["part"],
        state=found["state"],
        updated_at=from_ms(found["updated_ms"]),
        delivered_at=from_ms(found.get("delivered_ms")),
        started_at=from_ms(found.get("started_ms")),
        finished_at=from_ms(found.get("finished_ms")),
        result=None if result is None else loads(result),
    )
