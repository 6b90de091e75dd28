"""Replaces this client's key by a new one, without losing itself on the way.

It can be cut off anywhere. The new key is made in a keyring of its own and noted in `rekey.json`
before the server hears of it; the old one stays in force until the server's signed answer says
that the new one counts; then `identity.json` names the new keyring, in one write, and the old
one goes. Whoever finds `rekey.json` asks the same again: the server gives the same answer.

A key that has expired may ask for this, and for nothing else. gpg refuses to sign with it, so
its expiry is taken back in our own keyring; the server goes by the certificate that it has.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone

from qlmdm_core import envelope, rekeying, rootdoc
from qlmdm_core.api import JSON
from qlmdm_core.client import identity as identities
from qlmdm_core.client.identity import Identity
from qlmdm_core.client.link import (
    CANT_ASK,
    MAX_ROOT_STEPS,
    keep_root,
    load_link,
    question,
    verified,
)
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.envelope import Answer
from qlmdm_core.errors import (
    KeyringError,
    SpoolError,
    TransportError,
    TrustError,
    UsageError,
)
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing import keys
from qlmdm_core.signing.gpg import (
    QUIET,
    GpgSigner,
    anonymous,
    check_home,
    program,
    run_program,
    stop_agent,
)
from qlmdm_core.signing.interface import PublicKey

PENDING = identities.REKEY
"""`{"keyring": NAME, "fingerprint": …, "days": n}`: a next key, that may count already."""
_FINAL = frozenset({"key_in_use", "proof", "key_expired"})
"""Reasons of the server after which this next key is of no use."""


def try_to(state: State, transport: Transport, identity: Identity, root: Root) -> Identity:
    """Replace the key if that can be done now; else the identity as it is, and later again."""
    now = datetime.now(timezone.utc)
    if load_link(state).backoff.waits(now.timestamp()):
        return identity  # the server is away
    try:
        return rekey(state, transport, identity, root)
    except (*CANT_ASK, UsageError, SpoolError) as error:
        # Not the end of the cycle: with the old key it may still report, or is told why not.
        later = (now + identities.REKEY_PAUSE).isoformat()
        noted = state.read_json(PENDING) or {}
        if isinstance(error, UsageError):
            state.write_json(PENDING, {**noted, "retry_at": later})
        sys.stderr.write(f"qlmdm-client-cron: this client's key was not replaced: {error}\n")
        return identity


def rekey(state: State, transport: Transport, identity: Identity, root: Root) -> Identity:
    """Replace the key; the identity with the new one.

    Raises `TransportError` and `TrustError` (nothing is lost, ask again), `KeyringError`, or
    `UsageError` (the server refused, and the old key stays).
    """
    noted = state.read_json(PENDING)
    if noted is not None and noted.get("keyring") == identity.keyring:
        _tidy(state, identity)  # cut off when all but this was done
        return identity
    root = newest_root(state, transport, root)
    key, keyring, days = _next_key(state, identity, noted)
    answer = _ask(state, transport, identity, root, key, keyring)
    if answer.status != envelope.OK:
        if answer.status == envelope.REFUSED and answer.reason in _FINAL:
            state.remove(PENDING)
            identities.drop_other_keyrings(state, identity.keyring)
        raise UsageError(
            f"the server did not take the new key: it answered {answer.status!r}"
            + (f" ({answer.reason})" if answer.reason else "")
            + "; the old one stays"
        )
    now = datetime.fromtimestamp(answer.at, timezone.utc)
    renewed = replace(
        identity,
        fingerprint=key.fingerprint,
        keyring=keyring,
        key_expires_at=expiry_of(os.path.join(state.path, keyring), key.fingerprint),
        key_days=str(days) if days else "",
        rekeyed_at=now.isoformat(),
    )
    identities.save_identity(state, renewed)  # from here on the new key is ours
    _tidy(state, renewed)
    return renewed


def newest_root(state: State, transport: Transport, root: Root) -> Root:
    """The newest root document that ours leads to: the answer may be signed by a newer key.

    Without one that can be had and believed, the one we have.
    """
    verifier = identities.verifier()
    with contextlib.suppress(TransportError, TrustError):
        for _ in range(MAX_ROOT_STEPS):
            got = transport.get(f"/qlmdm/v1/root/{root.version + 1}")
            if got.status != 200:
                break
            following = rootdoc.advance(root, got.body, verifier)
            keep_root(state, root, following, got.body)
            root = following
    return root


def _next_key(
    state: State, identity: Identity, noted: dict[str, JSON] | None
) -> tuple[PublicKey, str, int]:
    """The key that was made before and may count already, or a new one; durable, and noted."""
    if noted is not None:
        keyring = str(noted.get("keyring"))
        home = os.path.join(state.path, keyring)
        if identities.is_keyring(keyring) and os.path.isdir(home):
            key = keys.export_public(home, str(noted.get("fingerprint")))
            return key, keyring, int(noted.get("days") or 0)
    identities.drop_other_keyrings(state, identity.keyring)
    keyring = f"{identities.GNUPG}-{secrets.token_hex(4)}"
    home = os.path.join(state.path, keyring)
    days = int(identity.key_days or 0)
    key = keys.make_key(home, "qlmdm client", expires_days=days)
    sync_folder(home)
    state.directory.sync()
    state.write_json(PENDING, {"keyring": keyring, "fingerprint": key.fingerprint, "days": days})
    return key, keyring, days


def _ask(
    state: State,
    transport: Transport,
    identity: Identity,
    root: Root,
    key: PublicKey,
    keyring: str,
) -> Answer:
    old_home = os.path.join(state.path, identity.keyring)
    if identity.key_expires_at:
        never_expires(old_home, identity.fingerprint)
    with (
        GpgSigner(old_home, identity.fingerprint) as old,
        GpgSigner(os.path.join(state.path, keyring), key.fingerprint) as new,
    ):
        offset = 0.0
        for _ in range(2):  # the second time by the server's clock, if ours is wrong
            request = question(
                "rekey",
                srv=identity.server_id,
                cid=identity.cid,
                kid=identity.fingerprint,
                mid=identities.machine_hash(),
                boot=identities.boot_id(),
                at=time.time() + offset,
            )
            text = rekeying.proof_text(
                request.srv, identity.cid, identity.fingerprint, key.fingerprint, request.nonce
            )
            body = {"public_key": key.armoured, "proof": new.sign(text)}
            data = envelope.build(request, {"rekey": body})
            got = transport.post_signed(request.ep, data, old.sign(data))
            if got.status != 200:
                raise TransportError(
                    f"the server did not take the new key (HTTP {got.status}); asked again later"
                )
            answer = verified(got.body, request, data, root, identities.verifier())
            if answer.status != envelope.STALE:
                return answer
            offset = old.clock_offset = answer.at - time.time()
    raise TrustError("the server calls our clock wrong, even after it was corrected by its own")


def _tidy(state: State, identity: Identity) -> None:
    """Forget what led here; what is left over after a power cut harms nobody."""
    state.remove(PENDING)
    state.remove(identities.REKEY_WANTED)
    identities.drop_other_keyrings(state, identity.keyring)


def expiry_of(home: str, fingerprint: str) -> str:
    """When a key of ours expires, ISO 8601; empty: never."""
    found = [key for key in keys.list_keys(home) if key.fingerprint == fingerprint]
    expires_at = found[0].expires_at if found else None
    return expires_at.isoformat() if expires_at else ""


def never_expires(home: str, fingerprint: str) -> None:
    """Take back the expiry of a key in our own keyring, so that gpg still signs with it."""
    binary = program("gpg")
    if binary is None:
        raise KeyringError("gpg is not installed; install GnuPG")
    check_home(home)
    argv = [binary, "--homedir", home, *QUIET, "--pinentry-mode", "error"]
    with anonymous(b"") as nothing:
        code, said = run_program([*argv, "--quick-set-expire", fingerprint, "0"], nothing, ())
    stop_agent(home)
    if code != 0:
        raise KeyringError(f"gpg can't use the expired key {fingerprint}: {said}")


def sync_folder(path: str) -> None:
    """Make a keyring's files and folders durable: gpg does not."""
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if folder == path and name.startswith("private")]
        for name in [*files, "."]:
            full = os.path.join(folder, name)
            if os.path.islink(full) or not (os.path.isfile(full) or name == "."):
                continue  # a socket of gpg's agent
            fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
