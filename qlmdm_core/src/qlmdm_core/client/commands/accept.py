"""Takes commands in: whose they are, for whom, and whether they are new. Nothing is done yet."""

from __future__ import annotations

import contextlib
import sys
import time

from qlmdm_core import commanddoc, signedtext
from qlmdm_core.api import JSON
from qlmdm_core.client import identity
from qlmdm_core.client.commands.journal import Journal, Outcome
from qlmdm_core.client.commands.telling import tell_outcome
from qlmdm_core.client.commands.work import later
from qlmdm_core.client.link import CANT_ASK, Link
from qlmdm_core.commanddoc import NotYetError, TooLateError
from qlmdm_core.errors import QlmdmError, TrustError
from qlmdm_core.rootdoc import Root

MAX_COMMANDS = 16
"""Of one answer."""


def accept(link: Link, state_path: str, root: Root, documents: JSON) -> None:
    """Look at each document alone: what is wrong with one holds up no other."""
    if not isinstance(documents, list):
        return
    journal = Journal(state_path)
    for text in documents[:MAX_COMMANDS]:
        try:
            _accept(link, journal, root, text)
        except QlmdmError as error:
            sys.stderr.write(f"qlmdm: a command was not taken: {error}\n")


def _accept(link: Link, journal: Journal, root: Root, text: JSON) -> None:
    if not isinstance(text, str):
        return
    document = text.encode("utf-8", "backslashreplace")
    claimed_id = _claimed_id(document)
    if claimed_id is None or journal.knows(claimed_id):
        return  # it is given to us until we have told how it ended
    try:
        command = commanddoc.verify(document, root, identity.verifier())
        commanddoc.check_acceptable(
            command, root, cid=link.cid, now=later(time.time(), link.memory.server_at)
        )
    except NotYetError:
        return  # it will be given to us again
    except TrustError as error:
        # Nothing vouches for the id, so nothing is written down under it: whoever forged this
        # could make us refuse the real command of that id. The server may know what it gave us.
        state = "expired" if isinstance(error, TooLateError) else "refused"
        with contextlib.suppress(*CANT_ASK):
            tell_outcome(link, claimed_id, Outcome(state=state, result={"reason": str(error)}))
        return
    journal.add(command, document)


def _claimed_id(document: bytes) -> str | None:
    """The id in a document of which nothing was verified; None: it is no command at all."""
    try:
        signed = signedtext.unpack(document, max_bytes=2 * commanddoc.MAX_BYTES)
        return commanddoc.parse(signed.text).id
    except TrustError:
        return None
