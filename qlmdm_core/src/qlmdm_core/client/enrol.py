"""Makes this machine a client: pins the root document, makes a key, asks to be enrolled.

Each step leaves something that the next run goes on from, so it may be cut off anywhere: the
key is made once, and the same key with the same token gets the same answer. `identity.json` is
written last; without it the machine is not enrolled. Where an administrator must approve, it is
written all the same: the client goes on asking, and what it collects meanwhile waits here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timezone

from qlmdm_core import envelope, rootdoc, tokens
from qlmdm_core.api import JSON
from qlmdm_core.client import identity as identities
from qlmdm_core.client.identity import Identity
from qlmdm_core.client.link import question, verified
from qlmdm_core.client.rekey import expiry_of, sync_folder
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.envelope import Answer, Envelope
from qlmdm_core.errors import TransportError, TrustError, UsageError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing import keys
from qlmdm_core.signing.gpg import GpgSigner
from qlmdm_core.signing.interface import PublicKey
from qlmdm_core.tokens import Token

MAX_ROOTS = 1000


def enrol(
    state: State, transport: Transport, token: Token, hostname: str, *, key_days: int = 0
) -> Identity:
    """Enrol this machine; an empty `hostname` is its own. See `enrol_and_tell`."""
    return enrol_and_tell(state, transport, token, hostname, key_days=key_days)[0]


def enrol_and_tell(
    state: State, transport: Transport, token: Token, hostname: str, *, key_days: int = 0
) -> tuple[Identity, bool]:
    """Enrol this machine, with a key that lives `key_days` (0: for ever); whether it must wait
    until an administrator approves it.

    Raises `TransportError`, `TrustError`, or `UsageError` (the server refused).
    """
    if state.read_json(identities.IDENTITY) is not None:
        known = identities.load_identity(state)
        raise UsageError(
            f"this machine is enrolled already, as {known.cid}; "
            f"to start afresh, remove {state.path}"
        )
    root, document = pin_root(transport, token)
    state.write(identities.ROOT, document)
    home = identities.gnupg_home(state)
    key = own_key(home, key_days)
    name = hostname or os.uname().nodename

    def body(request: Envelope) -> dict[str, JSON]:
        proof = tokens.proof(
            token.secret,
            server_id=root.server_id,
            fingerprint=key.fingerprint,
            nonce=request.nonce,
        )
        return {"invitation": token.invitation_id, "proof": proof, "hostname": name}

    with GpgSigner(home, key.fingerprint) as signer:
        answer = ask(transport, root, key, signer, body)
    identity = Identity(
        cid=accepted(answer),
        server_id=root.server_id,
        fingerprint=key.fingerprint,
        mid=identities.machine_hash(),
        hostname=hostname,
        enrolled_at=datetime.fromtimestamp(answer.at, timezone.utc).isoformat(),
        key_expires_at=expiry_of(home, key.fingerprint),
        key_days=str(key_days) if key_days else "",
    )
    identities.save_identity(state, identity)
    return identity, answer.status == envelope.PENDING


def pin_root(transport: Transport, token: Token) -> tuple[Root, bytes]:
    """The root document that the token names, found among the versions that the server has."""
    verifier = identities.verifier()
    for version in range(1, MAX_ROOTS):
        got = transport.get(f"/qlmdm/v1/root/{version}")
        if got.status == 404 and version > 1:
            break
        if got.status != 200:
            raise TransportError(
                f"no root document there (HTTP {got.status}); is this the server's address?"
            )
        try:
            return rootdoc.pin(got.body, token.root_sha256, verifier), got.body
        except TrustError:
            continue  # an older version, or somebody else's server: the hash decides
    raise TrustError(
        "this server has no root document like the one that the token names: the token is "
        "another server's, or somebody stands between"
    )


def own_key(home: str, key_days: int = 0) -> PublicKey:
    """This machine's key; one that an earlier try made is used again."""
    made = keys.list_keys(home)
    if made:
        return keys.export_public(home, made[0].fingerprint)
    key = keys.make_key(home, "qlmdm client", expires_days=key_days)
    sync_folder(home)
    return key


def ask(
    transport: Transport,
    root: Root,
    key: PublicKey,
    signer: GpgSigner,
    body: Callable[[Envelope], dict[str, JSON]],
) -> Answer:
    """Ask to be enrolled: the server's verified answer. `body` is made for each message."""
    for _ in range(2):  # the second time by the server's clock, if ours is wrong
        request = question(
            "enroll",
            srv=root.server_id,
            kid=key.fingerprint,
            mid=identities.machine_hash(),
            boot=identities.boot_id(),
            at=time.time() + signer.clock_offset,
        )
        enrolment = {**body(request), "public_key": key.armoured}
        data = envelope.build(request, {"enroll": enrolment})
        got = transport.post_signed(request.ep, data, signer.sign(data))
        if got.status == 429:
            raise TransportError("the server is asked by too many at the moment; try again soon")
        if got.status != 200:
            raise TrustError(
                f"the server refused (HTTP {got.status}): the token may be another "
                "server's, mistyped, or no longer known there; its log says why"
            )
        answer = verified(got.body, request, data, root, identities.verifier())
        if answer.status != envelope.STALE:
            break
        signer.clock_offset = answer.at - time.time()
    return answer


def accepted(answer: Answer) -> str:
    """The id that the server gave this machine. Raises `UsageError` if it gave none."""
    if answer.status not in (envelope.OK, envelope.PENDING) or not answer.cid:
        what = _REASONS.get(answer.reason, answer.reason or f"it answered {answer.status!r}")
        raise UsageError(f"the server did not enrol this machine: {what}")
    return answer.cid


_REASONS = {
    "expired": "the token has expired; ask for a new one (qlmdm-clients invite)",
    "used_up": "the token was used as often as it may be; ask for a new one",
    "key_in_use": "this machine's key came with another token; remove the state directory",
    "too_many_copies": "it has too many copies already; see qlmdm-clients list on the server",
}
