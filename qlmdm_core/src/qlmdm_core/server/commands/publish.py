"""Queues a command that all its operators have signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

from qlmdm_core import commanddoc, signedtext
from qlmdm_core.api import JSON
from qlmdm_core.commanddoc import Command
from qlmdm_core.errors import BusyError, TrustError
from qlmdm_core.server import crypto
from qlmdm_core.server.commands.making import Order
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Completed, Desk
from qlmdm_core.server.root_pin import trusted_root
from qlmdm_core.server.wipe import reported
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import CommandPart, CommandRecord, Draft


def sign(
    desk: Desk,
    order: Order,
    *,
    texts: Sequence[str],
    by: str,
    only: Sequence[str],
    threshold: int | None = None,
) -> CommandRecord | Draft:
    """Have an order signed by operators, and queue it if that is enough; else the draft waits.

    `texts` are the order's, `only` and `threshold` as for `Desk.sign`.
    """
    signed = desk.sign(
        name=order.name,
        kind="command",
        role="operator",
        texts=texts,
        attach=order.attach(by),
        created_by=by,
        threshold=threshold,
        only=only,
    )
    if not isinstance(signed, Completed):
        return signed
    return publish(desk.store, signed.documents, attach=order.attach(by), now=desk.now)


def finish(
    context: Context,
    store: Store,
    draft: Draft,
    documents: Sequence[bytes],
) -> list[str]:
    """Queue the command of a draft whose last signature has come; what to tell people.

    The same again changes nothing.
    """
    known = store.command(_read(documents[0]).id) if documents else None
    if known is not None:
        return [said(known)]
    _check_wipes(context, store, documents)
    attach = draft.attach if isinstance(draft.attach, dict) else {}
    now = datetime.now(timezone.utc)
    record = publish(
        store,
        documents,
        attach={"created_by": draft.created_by, **attach},
        now=now,
        # The window begins with the last signature: before it, there was nothing to call off.
        wipe_held_until=now + timedelta(seconds=context.settings.wipe.cancel_window),
    )
    return [said(record)]


def _check_wipes(context: Context, store: Store, documents: Sequence[bytes]) -> None:
    """The last signature may come long after the order, and by another command than the one
    that looks at these. Raises `TrustError` for a machine that is not to be wiped (any more).
    """
    wipes = [command for command in map(_read, documents) if command.kind == "wipe"]
    if not wipes:
        return
    verifier = crypto.verifier_of(crypto.best_engine())
    root = trusted_root(context.settings, store, verifier)
    for cid in (cid for command in wipes for cid in command.hosts):
        client = store.client(cid)
        if client is None:
            raise TrustError(f"there is no client {cid}; nothing was queued")
        reasons = reported.refusals(client, context.settings.wipe, root)
        if reasons:
            raise TrustError(f"{client.hostname}: {'; '.join(reasons)}; nothing was queued")


def publish(
    store: Store,
    documents: Sequence[bytes],
    *,
    attach: Mapping[str, JSON],
    now: datetime,
    wipe_held_until: datetime | None = None,
) -> CommandRecord:
    """Queue a command for its clients, all of them or nothing.

    A wipe is not given to its client before `wipe_held_until`, nor before what is signed says.
    `attach`: `summary`, `about` and `created_by`, for lists. All else is read from the signed
    texts themselves. Raises `TrustError` if they don't belong together, or came too late.
    """
    commands = [_read(document) for document in documents]
    if not commands:
        raise TrustError("a command without a document")
    first = commands[0]
    hosts = [cid for command in commands for cid in command.hosts]
    _check(commands, hosts, now)
    held = wipe_held_until if first.kind == "wipe" else None
    record = CommandRecord(
        command_id=first.id,
        kind=first.kind,
        summary=str(attach.get("summary") or first.kind),
        created_at=now,
        created_by=str(attach.get("created_by") or ""),
        not_before=max(first.not_before, held or first.not_before),
        expires_at=first.expires_at,
        hosts=len(hosts),
        payload_sha256=first.payload_sha256,
        about=attach.get("about"),
    )
    parts = [
        CommandPart(part=command.part, document=document, hosts=command.hosts)
        for command, document in zip(commands, documents, strict=True)
    ]
    if not store.put_command(record, parts):
        raise BusyError(f"the command {first.id} is queued already")
    if first.cancels is not None:
        store.cancel_command(first.cancels, now)
    return record


def _read(document: bytes) -> Command:
    signed = signedtext.unpack(document, max_bytes=2 * commanddoc.MAX_BYTES)
    return commanddoc.parse(signed.text)


def _check(commands: Sequence[Command], hosts: Sequence[str], now: datetime) -> None:
    first = commands[0]

    def shared(command: Command) -> tuple[object, ...]:
        return (command.id, command.kind, command.expires_at, command.not_before, command.cancels)

    if any(shared(command) != shared(first) for command in commands):
        raise TrustError("these documents are not the parts of one command")
    if [command.part for command in commands] != list(range(1, len(commands) + 1)):
        raise TrustError("a part of the command is missing, or is there twice")
    if len(set(hosts)) != len(hosts):
        raise TrustError("a client is named in two parts of the command")
    if now >= first.expires_at:
        raise TrustError("the last signature came after the command had expired; make it anew")


def said(record: CommandRecord) -> str:
    """That it is queued, for a person."""
    clients = "1 client" if record.hosts == 1 else f"{record.hosts} clients"
    return f"command {record.command_id} is queued for {clients}"
