"""`POST /qlmdm/v1/payload`: the script or file of a command, for those that were given it.

Payloads may hold secrets. So they are not among the blobs that anybody may fetch.
"""

from __future__ import annotations

import re

import falcon

from qlmdm_core import envelope
from qlmdm_core.client.transport import BYTES
from qlmdm_core.server.commands.ack import UNKNOWN, given_to, may_have_commands
from qlmdm_core.server.gate import Caller, Gate
from qlmdm_core.server.refusals import Told
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import FINAL_STATES

_ID = re.compile(r"[0-9a-f]{32}\Z")


class Payload:
    """The resource."""

    def __init__(self, *, gate: Gate, store: Store) -> None:
        self._gate = gate
        self._store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Give the bytes. Raises `Forbidden` and `Told`, which the app answers."""
        caller = self._gate.admit(req, "payload", envelope.PAYLOAD)
        command_id = self.well_formed(caller)
        may_have_commands(caller)
        resp.data = self.bytes_for(caller, command_id)
        resp.content_type = BYTES

    def well_formed(self, caller: Caller) -> str:
        """Which command it is about."""
        body = caller.message.body.get("payload")
        command_id = body.get("command") if isinstance(body, dict) else None
        if not isinstance(command_id, str) or not _ID.match(command_id):
            raise Told(envelope.MALFORMED, reason="payload.command: expected 32 hex digits")
        return command_id

    def bytes_for(self, caller: Caller, command_id: str) -> bytes:
        """The payload, if the command is open for this client."""
        state = given_to(self._store, command_id, caller.key.cid)
        command = self._store.command(command_id)
        if command is None or command.payload_sha256 is None:
            raise Told(envelope.REFUSED, reason=UNKNOWN)
        if state in FINAL_STATES or command.cancelled_at is not None:
            raise Told(envelope.REFUSED, reason="closed")
        if caller.now >= command.expires_at:
            raise Told(envelope.REFUSED, reason="expired")
        data = self._store.blob(command.payload_sha256)
        if data is None:
            raise Told(envelope.REFUSED, reason="payload_missing")
        return data
