"""Makes this machine a client: pins the root document, makes a key, asks to be enrolled.

Each step leaves something that the next run goes on from, so it may be cut off anywhere: the
key is made once, and the same key with the same token gets the same answer. `identity.json` is
written last; without it the machine is not enrolled.
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import datetime, timezone

from qlmdm_core import envelope, rootdoc, tokens
from qlmdm_core.client import identity as identities
from qlmdm_core.client.identity import Identity
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


def enrol(state: State, transport: Transport, token: Token, hostname: str) -> Identity:
    """Enrol this machine; an empty `hostname` is its own.

    Raises `TransportError`, `TrustError`, or `UsageError` (the server refused).
    """
    if state.read_json(identities.IDENTITY) is not None:
        known = identities.load_identity(state)
        raise UsageError(
            f"this machine is enrolled already, as {known.cid}; "
            f"to start afresh, remove {state.path}"
        )
    verifier = identities.verifier()
    root, document = pin_root(transport, token)
    state.write(identities.ROOT, document)
    key = _own_key(state)
    request, data = _request(root, key, token, hostname)
    with GpgSigner(identities.gnupg_home(state), key.fingerprint) as signer:
        for _ in range(2):  # the second time by the server's clock, if ours is wrong
            got = transport.post_signed(request.ep, data, signer.sign(data))
            if got.status != 200:
                raise TrustError(
                    f"the server refused (HTTP {got.status}): the token may be another "
                    "server's, mistyped, or no longer known there; its log says why"
                )
            answer = envelope.open_answer(
                got.body,
                request=request,
                sha256=envelope.sha256_hex(data),
                online=root.public_keys("online"),
                verifier=verifier,
            )
            if answer.status != envelope.STALE:
                break
            signer.clock_offset = answer.at - time.time()
            request, data = _request(root, key, token, hostname, signer.clock_offset)
    return _accept(state, root, key, hostname, answer)


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


def _own_key(state: State) -> PublicKey:
    """This machine's key; one that an earlier try made is used again."""
    home = identities.gnupg_home(state)
    made = keys.list_keys(home)
    if made:
        return keys.export_public(home, made[0].fingerprint)
    return keys.make_key(home, "qlmdm client")


def _request(
    root: Root, key: PublicKey, token: Token, hostname: str, clock_offset: float = 0.0
) -> tuple[Envelope, bytes]:
    now = int(time.time() + clock_offset)
    nonce = secrets.token_hex(16)
    request = Envelope(
        typ="enroll",
        srv=root.server_id,
        ep=envelope.ENROLL,
        kid=key.fingerprint,
        mid=identities.machine_hash(),
        boot=identities.boot_id(),
        nonce=nonce,
        iat=now,
        exp=now + envelope.LIFETIME_SECONDS,
    )
    proof = tokens.proof(
        token.secret, server_id=root.server_id, fingerprint=key.fingerprint, nonce=nonce
    )
    body = {
        "invitation": token.invitation_id,
        "proof": proof,
        "public_key": key.armoured,
        "hostname": hostname or os.uname().nodename,
    }
    return request, envelope.build(request, {"enroll": body})


def _accept(state: State, root: Root, key: PublicKey, hostname: str, answer: Answer) -> Identity:
    if answer.status != envelope.OK or not answer.cid:
        what = _REASONS.get(answer.reason, answer.reason or f"it answered {answer.status!r}")
        raise UsageError(f"the server did not enrol this machine: {what}")
    identity = Identity(
        cid=answer.cid,
        server_id=root.server_id,
        fingerprint=key.fingerprint,
        mid=identities.machine_hash(),
        hostname=hostname,
        enrolled_at=datetime.fromtimestamp(answer.at, timezone.utc).isoformat(),
    )
    identities.save_identity(state, identity)
    return identity


_REASONS = {
    "expired": "the token has expired; ask for a new one (qlmdm-clients invite)",
    "used_up": "the token was used as often as it may be; ask for a new one",
    "key_in_use": "this machine's key came with another token; remove the state directory",
}
