"""Finds the client that an administrator means by a hostname or an id."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from qlmdm_core.errors import UsageError
from qlmdm_core.server.tables import when
from qlmdm_core.store import Store
from qlmdm_core.store.records import Client, Issue

PAGE = 1000


class NoSuchClientError(UsageError):
    """Nothing by that name."""

    exit_status = 1


def find_client(store: Store, name: str, *, prefer_active: bool = False) -> Client:
    """The one client with this id or hostname; raises `UsageError` if there is not just one.

    `prefer_active` passes over others of that hostname, such as what a machine was before it was
    installed anew. Who wipes must not guess: there, any two are too many.
    """
    client = store.client(name)
    if client is not None:
        return client
    named = store.clients_named(name)
    if prefer_active:
        named = [one for one in named if one.status == "active"] or named
    if len(named) == 1:
        return named[0]
    if not named:
        raise NoSuchClientError(f"no client is called {name!r}; see qlmdm-clients list")
    ids = "\n".join(f"  {c.cid}  {c.status}, last seen {when(c.last_seen_at)}" for c in named)
    raise UsageError(f"{len(named)} clients are called {name!r}; use the id instead:\n{ids}")


def all_clients(store: Store) -> Iterator[Client]:
    """Every client, by hostname, read page by page."""
    after: str | None = None
    while True:
        page = store.clients(after=after)
        yield from page.clients
        after = page.after
        if after is None:
            return


def active_clients(store: Store) -> Iterator[Client]:
    """Every active client, by hostname, read page by page."""
    return (client for client in all_clients(store) if client.status == "active")


def every_issue(
    store: Store,
    *,
    is_open: bool | None = True,
    cid: str | None = None,
    check: str | None = None,
    due_by: datetime | None = None,
) -> Iterator[Issue]:
    """All issues that `Store.issues` would give in pages."""
    after: str | None = None
    while True:
        page = store.issues(
            is_open=is_open, cid=cid, check=check, due_by=due_by, after=after, limit=PAGE
        )
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].issue_id
