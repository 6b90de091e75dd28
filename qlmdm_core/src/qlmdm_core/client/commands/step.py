"""What the agent's cycle does about commands: it takes them in, and tells what became of them.

Called after each poll, so what is imported at the top is next to nothing; the rest is loaded
only if there is a command. Carrying them out is for runners in processes of their own (`lanes`).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qlmdm_core.api import JSON
    from qlmdm_core.client.link import Link
    from qlmdm_core.client.spool import Spool
    from qlmdm_core.client.state import State
    from qlmdm_core.rootdoc import Root

FOLDER = "commands"


def take(link: Link, state: State, root: Root, documents: JSON) -> None:
    """Take in the commands of an answer; raises nothing: commands never hold up the cycle."""
    if not documents:
        return
    from qlmdm_core.client.commands.accept import accept

    accept(link, state.path, root, documents)


def report(link: Link, state: State, settings_file: str) -> None:
    """Tell the server what it has not acknowledged, and have carried out what waits."""
    folder = os.path.join(state.path, FOLDER)
    if not os.path.isdir(folder) and "QLMDM_SLOT" not in os.environ:
        return
    from qlmdm_core.client.commands.tending import tend

    tend(link, state.path, settings_file)


def add_news(state: State, spool: Spool) -> None:
    """Put what scripts of the release said into the spool, if there is news."""
    if os.path.isdir(os.path.join(state.path, FOLDER, "shipped")):
        from qlmdm_core.client.commands.shipped import add_news as add

        add(state.path, spool)
