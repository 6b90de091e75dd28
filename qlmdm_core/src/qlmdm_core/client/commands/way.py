"""How the runner of commands reaches the server, beside a cycle that may do so at the same time.

Both sign with the same key, whose agent the cycle ends when it ends; and `link.json` is the
cycle's alone. So what the runner learns it keeps to itself, it tries again when the agent went
away under it, and it ends an agent only while no cycle is at work.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from qlmdm_core import commanddoc, envelope, rootdoc
from qlmdm_core.api import JSON
from qlmdm_core.client import identity as identities
from qlmdm_core.client.link import Link, UnsignedAnswerError
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.envelope import Answer
from qlmdm_core.errors import BusyError, KeyringError
from qlmdm_core.signing.gpg import GpgSigner

SIGNING_TRIES = 4


class PatientSigner(GpgSigner):
    """Signs although somebody else may end the agent in the middle of it."""

    def sign(self, data: bytes) -> str:
        """As `GpgSigner`."""
        for _ in range(SIGNING_TRIES - 1):
            with contextlib.suppress(KeyringError):
                return super().sign(data)
        return super().sign(data)


class SideLink(Link):
    """A `Link` that writes nothing to disk, and can fetch payloads."""

    def remember(self, **changes: JSON) -> None:
        """Only until this process ends."""
        self.memory = dataclasses.replace(self.memory, **changes)

    def _step(self, document: bytes) -> None:
        """Go by the next root document, to believe an answer; to keep it is for the cycle."""
        self._root = rootdoc.advance(self._root, document, self._verifier)

    def fetch(self, command_id: str, *, to: int, max_bytes: int) -> Answer | None:
        """Fetch a command's payload into the descriptor `to`; an answer says why it did not come.

        Nothing vouches for the bytes: the caller compares them with what was signed. Raises
        what `Link.ask` does, and `OSError` if they can't be written.
        """
        max_bytes = min(max_bytes, commanddoc.MAX_PAYLOAD_BYTES)
        request = self._envelope("payload", None, 0)
        data = envelope.build(request, {"payload": {"command": command_id}})
        answer = self._transport.download_signed(
            request.ep, data, self._sign(data), to=to, max_bytes=max_bytes
        )
        if answer.status != 200:
            raise UnsignedAnswerError(
                f"the payload did not come: HTTP {answer.status}", answer.status
            )
        if not answer.body:
            return None
        opened = self._open(answer.body, request, data)
        self._note_time(opened)
        return opened

    def close(self, state: State) -> None:
        """End the agent, unless a cycle is at work, which does so when it ends."""
        with contextlib.suppress(BusyError), state.lock():
            self._signer.close()


def open_side_link(state: State, core: ClientSettings, *, timeout: float | None = None) -> SideLink:
    """The runner's way to the server. Raises `NotSetUpError` where nobody is enrolled.

    `timeout` (seconds for each step) makes it less patient than the settings say.
    """
    timeout = min(timeout or core.network_timeout, core.network_timeout)
    identity = identities.load_identity(state)
    return SideLink(
        state,
        identity=identity,
        root=identities.load_root(state),
        transport=Transport(core.server_url, ca_file=core.ca_file, timeout=timeout),
        signer=PatientSigner(identities.gnupg_home(state, identity), identity.fingerprint),
        verifier=identities.verifier(),
    )


def acknowledge(
    link: Link, command_id: str, state: str, result: Mapping[str, JSON] | None = None
) -> Answer:
    """Tell the server what became of a command. Raises what `Link.ask` does."""
    body = {"command": command_id, "state": state, "result": dict(result or {})}
    return link.ask("ack", {"ack": body})
