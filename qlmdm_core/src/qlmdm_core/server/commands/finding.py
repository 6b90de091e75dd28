"""Finds the command that an administrator means, and who its clients are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qlmdm_core.errors import UsageError
from qlmdm_core.server.tables import clean
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import CommandRecord, CommandState, CommandTarget

SEARCHED = 1000
"""How many of the newest commands the beginning of an id is looked up in."""
PAGE = 1000
SHORTEST = 4


class NoSuchCommandError(UsageError):
    """Nothing by that id."""

    exit_status = 1


def find_command(store: Store, name: str) -> CommandRecord:
    """The command with this id, or the one newer one whose id begins so."""
    found = store.command(name)
    if found is not None:
        return found
    if len(name) >= SHORTEST:
        near = [c for c in store.commands(limit=SEARCHED) if c.command_id.startswith(name)]
        if len(near) == 1:
            return near[0]
        if near:
            raise UsageError(f"{len(near)} commands begin with {name!r}; say more of the id")
    raise NoSuchCommandError(f"no command has the id {name!r}; see qlmdm-client-command list")


def all_targets(
    store: Store, command_id: str, states: Sequence[CommandState] | None = None
) -> Iterator[CommandTarget]:
    """All targets of a command, read page by page."""
    after: str | None = None
    while True:
        page = store.targets(command_id, states=states, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].cid


def host_of(store: Store, cid: str) -> str:
    """What a client is called; its id if it is gone."""
    client = store.client(cid)
    return clean(client.hostname) if client is not None else cid
