"""Makes a machine that finds out that it is a copy of another one a client of its own.

A disk was cloned, or an image made of an enrolled machine: two machines have one key. The copy
is the one whose hash of the machine is not that in `identity.json`. It makes a key of its own
and asks to be enrolled as a copy, which its old key vouches for; an administrator must approve
it. Until the server knows it under its own id it sends nothing, least of all in the other's
name. What was copied of the other's state (records that wait, numbers, keys) goes.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime, timezone

from qlmdm_core import rekeying
from qlmdm_core.api import JSON
from qlmdm_core.client import enrol, schedule
from qlmdm_core.client import identity as identities
from qlmdm_core.client import rekey as rekeys
from qlmdm_core.client.backoff import Backoff
from qlmdm_core.client.identity import Identity
from qlmdm_core.client.spool import Spool
from qlmdm_core.client.state import COLLECTED, PRIVATE_KEY, SEALED_BEFORE, State
from qlmdm_core.client.transport import Transport
from qlmdm_core.envelope import Envelope
from qlmdm_core.errors import BusyError, QlmdmError, TransportError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.gpg import GpgSigner

LINK = "link.json"
COPIED = "copied.json"
"""`{"mid": HASH, "keyring": NAME, "backoff": {…}}`, while it is not enrolled yet."""
BACKOFF_MAX = 3600.0


def become_a_client(state: State, transport: Transport, identity: Identity, root: Root) -> Identity:
    """Enrol this machine as a copy; its new identity.

    Raises `TransportError` when that can't be done now, and `BusyError` when it was tried a
    moment ago and is not tried yet again.
    """
    now = time.time()
    noted = _noted(state)
    backoff = Backoff(**noted.get("backoff", {}))
    if backoff.waits(now):
        raise BusyError(f"this machine is a copy of client {identity.cid}; it asks again later")
    try:
        renewed = _enrol(state, transport, identity, root, str(noted["keyring"]))
    except QlmdmError as error:
        failed = backoff.failed(now, BACKOFF_MAX)
        state.write_json(COPIED, {**noted, "backoff": vars(failed)})
        raise TransportError(
            f"this machine is a copy of client {identity.cid}, and could not be enrolled as such: "
            f"{error}"
        ) from None
    return renewed


def _noted(state: State) -> dict[str, JSON]:
    """What is known of this machine's own enrolment, begun here if it was not."""
    noted = state.read_json(COPIED)
    mid = identities.machine_hash()
    if noted is None or noted.get("mid") != mid or not identities.is_keyring(noted["keyring"]):
        noted = {"mid": mid, "keyring": f"{identities.GNUPG}-{os.urandom(4).hex()}"}
        state.write_json(COPIED, noted)
    return noted


def _enrol(
    state: State, transport: Transport, identity: Identity, root: Root, keyring: str
) -> Identity:
    root = rekeys.newest_root(state, transport, root)
    home = os.path.join(state.path, keyring)
    key = enrol.own_key(home, int(identity.key_days or 0))
    old_home = identities.gnupg_home(state, identity)
    if identity.key_expires_at:
        rekeys.never_expires(old_home, identity.fingerprint)
    with (
        GpgSigner(home, key.fingerprint) as signer,
        GpgSigner(old_home, identity.fingerprint) as old,
    ):

        def body(request: Envelope) -> dict[str, JSON]:
            text = rekeying.copy_text(
                root.server_id, identity.cid, identity.fingerprint, key.fingerprint, request.nonce
            )
            return {
                "clone_of": identity.cid,
                "old_key": identity.fingerprint,
                "proof": old.sign(text),
                "hostname": identity.hostname or os.uname().nodename,
            }

        answer = enrol.ask(transport, root, key, signer, body)
    renewed = replace(
        identity,
        cid=enrol.accepted(answer),
        fingerprint=key.fingerprint,
        mid=identities.machine_hash(),
        enrolled_at=datetime.fromtimestamp(answer.at, timezone.utc).isoformat(),
        keyring=keyring,
        key_expires_at=rekeys.expiry_of(home, key.fingerprint),
        rekeyed_at="",
    )
    _forget_the_original(state)
    identities.save_identity(state, renewed)
    state.remove(COPIED)
    identities.drop_other_keyrings(state, keyring)
    return renewed


def _forget_the_original(state: State) -> None:
    """What was collected there is not ours to send, and its secrets are not ours to keep."""
    if os.path.isdir(state.spool_path):
        with Spool(state.spool_path, max_bytes=1 << 40, max_age=1e12) as spool:
            for entry in spool.pending():
                spool.remove(entry)
    for name in (
        LINK,
        COLLECTED,
        PRIVATE_KEY,
        SEALED_BEFORE,
        identities.REKEY,
        identities.REKEY_WANTED,
        schedule.DUE_FILE,
    ):
        state.remove(name)
