"""`qlmdm-clients approve|reject|retire|revoke|rekey`: what an administrator decides of clients."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from qlmdm_core.errors import UsageError
from qlmdm_core.server import rekey
from qlmdm_core.server.clones import FLAG
from qlmdm_core.server.copies import COPY_OF
from qlmdm_core.server.lookup import find_client
from qlmdm_core.server.tables import clean
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import FINAL_STATES
from qlmdm_core.store.records import Client, ClientStatus


class NotNowError(UsageError):
    """The client is not in a state for this."""

    exit_status = 1


def approve(store: Store, args: argparse.Namespace, now: datetime) -> int:  # noqa: ARG001
    """A machine that waits becomes a client."""
    for client in _named(store, args.client, "pending"):
        store.set_client(client.cid, status="active")
        print(f"{_name(client)}: approved; it reports at its next try, within the hour")
        for line in _settle(store, client):
            print(line)
    return 0


def reject(store: Store, args: argparse.Namespace, now: datetime) -> int:  # noqa: ARG001
    """A machine that waits does not become a client, and its key never will."""
    for client in _named(store, args.client, "pending"):
        store.set_client(client.cid, status="revoked")
        print(f"{_name(client)}: rejected; its key is refused from now on")
        for line in _settle(store, client):
            print(line)
    return 0


def retire(store: Store, args: argparse.Namespace, now: datetime) -> int:  # noqa: ARG001
    """A machine that is gone: it is kept for its history, and judged no more."""
    for client in _named(store, args.client, "active", "pending"):
        store.set_client(client.cid, status="retired")
        print(f"{_name(client)}: retired; it is told so if it asks")
    return 0


def revoke(store: Store, args: argparse.Namespace, now: datetime) -> int:
    """A key that somebody else may have: nothing that it signs counts, from now on."""
    clients = _named(store, args.client, "active", "pending", "retired")
    for client in clients:
        waiting = waiting_wipe(store, client, now)
        if waiting and not args.anyway:
            raise NotNowError(
                f"{_name(client)}: the wipe {waiting} waits for it, and would never reach it: a "
                "revoked client is given nothing. Let it come first (qlmdm-client-wipe show), or "
                "say --anyway. Nothing was revoked"
            )
    for client in clients:
        store.set_client(client.cid, status="revoked")
        print(
            f"{_name(client)}: revoked; the server takes nothing from its key and gives it "
            "nothing. What it reported is kept. It can only come back by a new invitation"
        )
    return 0


def ask_to_rekey(store: Store, args: argparse.Namespace, now: datetime) -> int:
    """Clients are to replace their keys."""
    if args.all == bool(args.client):
        raise UsageError("name clients, or say --all")
    if args.all:
        # Keys are dated to the second, by clocks that may be slow.
        rekey.change_wanted(store, all_now=now + timedelta(seconds=1))
        print("all clients replace keys that were made until now, each at its next contact")
        return 0
    if len(args.client) > rekey.MOST_NAMED:
        raise UsageError(f"at most {rekey.MOST_NAMED} clients can be named; say --all")
    found = _named(store, args.client, "active", "pending")
    rekey.change_wanted(store, add=[client.cid for client in found])
    for client in found:
        print(f"{_name(client)}: replaces its key at its next contact")
    return 0


def settle(store: Store, args: argparse.Namespace, now: datetime) -> int:  # noqa: ARG001
    """The administrator has seen to a duplicate: the mark is taken away."""
    for client in _named(store, args.client, "active", "pending", "retired"):
        if FLAG not in client.flags:
            raise NotNowError(f"{_name(client)}: is not marked as a duplicate")
        store.set_client(client.cid, flags={FLAG: None})
        print(f"{_name(client)}: no longer marked as a duplicate")
    return 0


ACTIONS: Mapping[str, Callable[[Store, argparse.Namespace, datetime], int]] = {
    "approve": approve,
    "reject": reject,
    "retire": retire,
    "revoke": revoke,
    "rekey": ask_to_rekey,
    "settle": settle,
}


def waiting_wipe(store: Store, client: Client, now: datetime) -> str | None:
    """The id of a wipe that this client has still to be given, or to finish."""
    for target in store.targets_of(client.cid):
        command = store.command(target.command_id)
        if (
            command is not None
            and command.kind == "wipe"
            and target.state not in FINAL_STATES
            and command.cancelled_at is None
            and now < command.expires_at
        ):
            return target.command_id
    return None


def _named(store: Store, names: list[str], *statuses: ClientStatus) -> list[Client]:
    """All clients meant, each in a state for it; nothing is done if one is not."""
    found = [_find(store, name, statuses) for name in dict.fromkeys(names)]
    for client in found:
        if client.status not in statuses:
            raise NotNowError(
                f"{_name(client)}: it is {client.status}, not {' or '.join(statuses)}; "
                "nothing was done"
            )
    return found


def _find(store: Store, name: str, statuses: tuple[ClientStatus, ...]) -> Client:
    """By id or hostname; of several of one name, the only one that can be meant."""
    if "pending" in statuses and len(statuses) == 1 and store.client(name) is None:
        waiting = [found for found in store.clients_named(name) if found.status == "pending"]
        if len(waiting) == 1:
            return waiting[0]
    return find_client(store, name)


def _name(client: Client) -> str:
    return f"{clean(client.hostname)} ({client.cid})"


def _settle(store: Store, client: Client) -> list[str]:
    """Whoever decides about a copy has seen the duplicate; say how to take away the mark."""
    original = client.flags.get(COPY_OF)
    if not isinstance(original, str) or store.client(original) is None:
        return []
    return [f"  once the two are told apart: qlmdm-clients settle {original}"]
