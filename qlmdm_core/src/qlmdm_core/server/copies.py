"""A machine that says it is a copy of a client: its disk was cloned, or it was made of an image.

It has the original's key, as its copy, and shows that by a signature; so it needs no invitation.
It becomes a client of its own that waits for approval, whatever the settings say, and the
original is marked as a duplicate. Neither is touched otherwise: which of the two is which, only
people know.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from qlmdm_core import envelope, rekeying
from qlmdm_core.errors import SignatureError, StoreError
from qlmdm_core.server.clones import FLAG
from qlmdm_core.server.gate import Caller, Gate
from qlmdm_core.server.refusals import Forbidden, Told
from qlmdm_core.signing import PublicKey
from qlmdm_core.store import Store
from qlmdm_core.store.records import Client, Invitation

COPY_OF = "copy_of"
"""The mark on the copy: the original's id."""
COPIES = "copies"
"""The mark on the original: the ids of its copies."""
LEASE_SECONDS = 10
MOST_COPIES = 8
"""That wait or live at a time: a stolen key must not fill the list of clients."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyRequest:
    """What a copy says about itself, beside its own new key and hostname."""

    original: str
    old_key: str
    proof: str
    """By the old key: `rekeying.copy_text`."""


class Copies:
    """Checks and remembers who is a copy of whom."""

    def __init__(self, *, gate: Gate, store: Store) -> None:
        self._gate = gate
        self._store = store

    def vouched(self, caller: Caller, request: CopyRequest) -> Client:
        """The original, whose key vouches for the copy. Raises `Forbidden`, as for strangers."""
        old = self._store.key(request.old_key)
        fingerprint = caller.key.fingerprint
        if old is None or old.cid != request.original or old.status == "revoked":
            raise Forbidden("no such client to be a copy of", fingerprint=fingerprint)
        text = rekeying.copy_text(
            self._gate.server_id,
            old.cid,
            old.fingerprint,
            fingerprint,
            caller.envelope.nonce,
        )
        public = PublicKey(fingerprint=old.fingerprint, armoured=old.public_key)
        try:
            self._gate.vouched(text, request.proof, public)
        except SignatureError as error:
            raise Forbidden(f"no proof of being a copy: {error}", fingerprint=fingerprint) from None
        original = self._store.client(old.cid)
        if original is None:
            raise Forbidden("the original is gone", fingerprint=fingerprint)
        return original

    @contextlib.contextmanager
    def alone(self, caller: Caller, original: Client) -> Iterator[Client]:
        """One copy of a client at a time, whoever serves it; the original as it is now.

        Else many that ask at once would all find room.
        """
        name, owner = f"copies:{original.cid}", secrets.token_hex(8)
        if not self._store.take_lease(name, owner, caller.now, LEASE_SECONDS):
            raise Told(envelope.RETRY_AFTER, retry_after=LEASE_SECONDS)
        try:
            yield self._store.client(original.cid) or original
        finally:
            self._store.drop_lease(name, owner)

    def invitation_for(self, caller: Caller, original: Client) -> str:
        """The id of an invitation for this one copy; the same for the same key."""
        words = f"{original.cid}\n{caller.key.fingerprint}"
        name = "copy" + hashlib.sha256(words.encode()).hexdigest()[:28]
        if self._store.invitation(name) is not None:
            return name
        if original.status == "pending" and COPY_OF in original.flags:
            # Else each of them could have as many again.
            raise Told(envelope.REFUSED, reason="too_many_copies")
        living = [
            cid
            for cid in original.flags.get(COPIES) or ()
            if (copy := self._store.client(str(cid))) and copy.status in ("active", "pending")
        ]
        if len(living) >= MOST_COPIES:
            raise Told(envelope.REFUSED, reason="too_many_copies")
        try:
            self._store.add_invitation(
                Invitation(
                    invitation_id=name,
                    # Never told to anybody, and no token has an id like this one.
                    secret=hashlib.sha256(f"{words}\n{caller.envelope.nonce}".encode()).hexdigest(),
                    created_at=caller.now,
                    expires_at=caller.now + timedelta(minutes=5),
                    uses=1,
                    created_by=f"copy of {original.cid}",
                )
            )
        except StoreError:  # the same request, at the same moment
            if self._store.invitation(name) is None:
                raise
        return name

    def remember(self, cid: str, original: Client) -> None:
        """Mark both; doing it again changes nothing."""
        self._store.set_client(cid, flags={COPY_OF: original.cid})
        copies = list(dict.fromkeys([*(original.flags.get(COPIES) or ()), cid]))
        mark = {"reason": "a machine asked to be enrolled as its copy", "copies": copies}
        self._store.set_client(
            original.cid, flags={COPIES: copies, FLAG: original.flags.get(FLAG) or mark}
        )
