"""Which clients an administrator means, shown to them, and asked about where there are many."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from qlmdm_core.errors import UsageError
from qlmdm_core.server.lookup import active_clients, find_client
from qlmdm_core.server.tables import clean
from qlmdm_core.store import Store
from qlmdm_core.store.records import Client

SHOWN = 12
"""So many names are shown; of more, how many there are."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say for whom something is."""
    group = parser.add_argument_group("for whom")
    group.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="a hostname or id; repeatable"
    )
    group.add_argument(
        "--tag", action="append", default=[], help="all clients with this tag; repeatable"
    )
    group.add_argument("--all", action="store_true", help="all active clients")
    group.add_argument("--yes", action="store_true", help="do not ask")


def chosen(store: Store, args: argparse.Namespace) -> list[Client]:
    """The active clients that the options name, each once, by hostname.

    Raises `UsageError` if that is nobody, or somebody who can't be meant.
    """
    if args.all and (args.host or args.tag):
        raise UsageError("--all is everybody: leave out --host and --tag")
    if not (args.all or args.host or args.tag):
        raise UsageError("say for whom: --host NAME, --tag TAG or --all")
    found = {client.cid: client for client in _named(store, args.host)}
    if args.all or args.tag:
        wanted = set(args.tag)
        found |= {c.cid: c for c in active_clients(store) if args.all or wanted & set(c.tags)}
    if not found:
        raise UsageError("there is no active client " + ("yet" if args.all else "with this tag"))
    return sorted(found.values(), key=lambda client: (client.hostname, client.cid))


def _named(store: Store, names: Sequence[str]) -> Iterator[Client]:
    for name in names:
        client = find_client(store, name, prefer_active=True)
        if client.status != "active":
            raise UsageError(f"{name} is {client.status}: only active clients get commands")
        yield client


def confirm(clients: Sequence[Client], what: str, args: argparse.Namespace) -> None:
    """Say for whom it is, and ask if that is more than one client. Raises `UsageError` for no."""
    names = [clean(client.hostname) for client in clients[:SHOWN]]
    more = f" and {len(clients) - SHOWN} more" if len(clients) > SHOWN else ""
    count = "1 client" if len(clients) == 1 else f"{len(clients)} clients"
    sys.stderr.write(f"{clean(what)}\nfor {count}: {', '.join(names)}{more}\n")
    if args.yes or (len(clients) == 1 and not args.all):
        return
    if not sys.stdin.isatty():
        raise UsageError(f"this is for {count}: say --yes if that is meant")
    sys.stderr.write(f"Go on? Type the number of clients ({len(clients)}): ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != str(len(clients)):
        raise UsageError("nothing was done")
