"""`POST /qlmdm/v1/acknowledge_patch`: a client says what became of a command.

Only of one that it was given; and a state only moves forward, so that nothing is gained by
saying something again, or late, or in another order.
"""

from __future__ import annotations

import logging
import re
from typing import cast, get_args

import falcon

from qlmdm_core import commanddoc, envelope
from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreError, StoreUnavailableError
from qlmdm_core.server.gate import Caller, Gate
from qlmdm_core.server.refusals import Told
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import CommandState

log = logging.getLogger(__name__)

STATES = frozenset(get_args(CommandState)) - {"pending", "delivered"}
"""What a client can say; the others are the server's own."""
MAX_OUTPUT = commanddoc.MAX_OUTPUT_BYTES
MAX_REASON = 2000
MAX_STAGES = 64
MAX_STAGE = 1000
STORE_RETRY_SECONDS = 60
UNKNOWN = "unknown_command"

_ID = re.compile(r"[0-9a-f]{32}\Z")


class Acknowledge:
    """The resource."""

    def __init__(self, *, gate: Gate, store: Store) -> None:
        self._gate = gate
        self._store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take one acknowledgement. Raises `Forbidden` and `Told`, which the app answers."""
        caller = self._gate.admit(req, "ack", envelope.ACK)
        command_id, state, result = self.well_formed(caller)
        may_have_commands(caller)
        self.noted(caller, command_id, state, result)
        self._gate.answer(resp, caller, envelope.OK)

    def well_formed(self, caller: Caller) -> tuple[str, CommandState, dict[str, JSON]]:
        """The command, its state and its result, bounded."""
        body = caller.message.body.get("ack")
        if not isinstance(body, dict):
            raise Told(envelope.MALFORMED, reason="ack: expected an object")
        command_id, state = body.get("command"), body.get("state")
        if not isinstance(command_id, str) or not _ID.match(command_id):
            raise Told(envelope.MALFORMED, reason="ack.command: expected 32 hex digits")
        if state not in STATES:
            raise Told(envelope.MALFORMED, reason=f"ack.state: one of {', '.join(sorted(STATES))}")
        return command_id, cast("CommandState", state), bounded(body.get("result"))

    def noted(
        self, caller: Caller, command_id: str, state: CommandState, result: dict[str, JSON]
    ) -> None:
        """Move the state of the command on this client forward."""
        cid = caller.key.cid
        try:
            given_to(self._store, command_id, cid)
            moved = self._store.advance_target(command_id, cid, state, caller.now, result or None)
        except StoreUnavailableError as error:
            log.error("acknowledgement from %s not stored: %s", cid, error)  # noqa: TRY400
            raise Told(envelope.RETRY_AFTER, retry_after=STORE_RETRY_SECONDS) from None
        except StoreError:
            log.exception("acknowledgement from %s not stored", cid)
            raise Told(envelope.RETRY_AFTER, retry_after=10 * STORE_RETRY_SECONDS) from None
        if moved is None:
            raise Told(envelope.REFUSED, reason=UNKNOWN)


def may_have_commands(caller: Caller) -> None:
    """Raise `Told` unless this is a client that can be given commands."""
    if caller.key.status == "pending":
        raise Told(envelope.PENDING, retry_after=300)
    if caller.key.status != "active":
        raise Told(envelope.REFUSED, reason=caller.key.status)


def given_to(store: Store, command_id: str, cid: str) -> str:
    """The state of a command on a client that was given it; else raises `Told`.

    What it was never given (a wipe that is held back, say) it can know nothing about; and
    whether there is a command for somebody else is not its business.
    """
    target = store.target(command_id, cid)
    if target is None or target.state == "pending":
        raise Told(envelope.REFUSED, reason=UNKNOWN)
    return target.state


def bounded(result: JSON) -> dict[str, JSON]:
    """What is kept of a result: known fields of the right type, no longer than they may be."""
    if not isinstance(result, dict):
        return {}
    kept: dict[str, JSON] = {}
    status, seconds = result.get("exit_status"), result.get("seconds")
    if type(status) is int and abs(status) < 1 << 31:
        kept["exit_status"] = status
    if isinstance(seconds, (int, float)) and seconds is not True and 0 <= seconds < 1e9:
        kept["seconds"] = seconds
    left = MAX_OUTPUT
    for name in ("stdout", "stderr"):
        text = result.get(name)
        if isinstance(text, str) and text:
            kept[name] = text[:left]
            left -= len(kept[name])
            if len(kept[name]) < len(text):
                kept["truncated"] = True
    if result.get("truncated") is True:
        kept["truncated"] = True
    reason, stages = result.get("reason"), result.get("stages")
    if isinstance(reason, str) and reason:
        kept["reason"] = reason[:MAX_REASON]
    if isinstance(stages, list):
        kept["stages"] = [
            stage[:MAX_STAGE] for stage in stages[:MAX_STAGES] if isinstance(stage, str)
        ]
    return kept
