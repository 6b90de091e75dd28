"""`POST /qlmdm/v1/rekey`: a client replaces its key, which may have expired meanwhile.

Both keys speak: the old one signs the message, the new one a text that names both
(`qlmdm_core.rekeying`). The client keeps its id, its number and its history. Answers get lost,
so the old key may ask the same again, and nothing else. Its body::

    {"rekey": {"public_key": ARMOUR, "proof": ARMOUR}}

Who is asked to do so is in the store's `rekey_wanted`; see `RekeyWanted`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone

import falcon

from qlmdm_core import envelope, rekeying
from qlmdm_core.api import JSON
from qlmdm_core.errors import BusyError, SignatureError, StoreUnavailableError
from qlmdm_core.server.gate import Caller, Gate
from qlmdm_core.server.refusals import Told
from qlmdm_core.signing import PublicKey, packets
from qlmdm_core.store import Store
from qlmdm_core.store.records import ClientKey, Rekeying

log = logging.getLogger(__name__)

MAX_BYTES = 16 << 10
WANTED = "rekey_wanted"
"""The name in the store's small values: `{"cids": […], "made_before": Unix time or null}`."""
MOST_NAMED = 1000
"""So many clients can be named; whoever means more means all."""
LEASE_SECONDS = 5.0
LOOK_SECONDS = 30.0
"""So old may this process's idea of who is asked be."""


class Rekey:
    """The resource."""

    def __init__(self, *, gate: Gate, store: Store, wanted: RekeyWanted) -> None:
        self._gate = gate
        self._store = store
        self._wanted = wanted

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Replace one key. Raises `Forbidden` and `Told`, which the app answers."""
        caller = self._gate.admit(req, "rekey", envelope.REKEY, any_age=True)  # 1 to 8
        new = self.well_formed(caller)  # 9
        if caller.key.status not in ("active", "pending"):  # 10
            raise Told(envelope.REFUSED, reason=caller.key.status)
        self.replaced(caller, new)  # 11
        self._gate.answer(resp, caller, envelope.OK, fingerprint=new.fingerprint)  # 12

    def well_formed(self, caller: Caller) -> PublicKey:
        """Step 9: the new key, which vouches for this very message."""
        armoured, proof = _fields(caller.message.body.get("rekey"))
        try:
            new = PublicKey(
                fingerprint=packets.check_client_certificate(armoured), armoured=armoured
            )
        except SignatureError as error:
            raise Told(envelope.MALFORMED, reason=f"rekey.public_key: {error}") from None
        text = rekeying.proof_text(
            self._gate.server_id,
            caller.key.cid,
            caller.key.fingerprint,
            new.fingerprint,
            caller.envelope.nonce,
        )
        try:
            signature = self._gate.vouched(text, proof, new)
        except SignatureError as error:
            log.warning("client %s: no proof of its next key: %s", caller.key.cid, error)
            raise Told(envelope.REFUSED, reason="proof") from None
        if signature.key_expired_at is not None:
            raise Told(envelope.REFUSED, reason="key_expired")
        return new

    def replaced(self, caller: Caller, new: PublicKey) -> None:
        """Step 11: one atomic, durable write; the same again is answered the same."""
        change = Rekeying(
            cid=caller.key.cid,
            old_fingerprint=caller.key.fingerprint,
            new_fingerprint=new.fingerprint,
            public_key=new.armoured,
            at=caller.now,
        )
        try:
            outcome = self._store.rekey(change)
        except StoreUnavailableError as error:
            log.error("rekeying not stored: %s", error)  # noqa: TRY400 - the message has it all
            raise Told(envelope.RETRY_AFTER, retry_after=60) from None
        if outcome not in ("replaced", "again"):
            raise Told(envelope.REFUSED, reason=outcome)
        log.info("client %s: new key %s (%s)", change.cid, new.fingerprint, outcome)
        self._wanted.done(change.cid)


def _fields(value: JSON) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise Told(envelope.MALFORMED, reason="rekey: expected an object")
    for name in ("public_key", "proof"):
        part = value.get(name)
        if not isinstance(part, str) or not 1 <= len(part) <= MAX_BYTES:
            raise Told(envelope.MALFORMED, reason=f"rekey.{name}: expected text")
    return value["public_key"], value["proof"]


# --- who is asked to ----------------------------------------------------------------------------


class RekeyWanted:
    """Which clients the administrator wants to replace their keys (`qlmdm-clients rekey`).

    The store is asked twice a minute and not for each question of a client.
    """

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: tuple[float, frozenset[str], float | None] | None = None

    def asks(self, key: ClientKey) -> bool:
        """Whether this client is to replace this key."""
        _, cids, made_before = self._look()
        if key.cid in cids:
            return True
        return made_before is not None and made_at(key.public_key) < made_before

    def done(self, cid: str) -> None:
        """A client has a new key."""
        _, cids, _ = self._look()
        if cid in cids:
            try:
                change_wanted(self._store, remove=[cid])
            except BusyError as error:  # then it is asked again, and this is tried again
                log.warning("client %s stays named: %s", cid, error)
            self._known = None

    def _look(self) -> tuple[float, frozenset[str], float | None]:
        known, now = self._known, self._monotonic()
        if known is None or now - known[0] > LOOK_SECONDS:
            cids, made_before = wanted(self._store)
            known = self._known = (now, frozenset(cids), made_before)
        return known


def wanted(store: Store) -> tuple[list[str], float | None]:
    """The clients that are named, and the time before which a key is too old."""
    value = store.meta(WANTED)
    if not isinstance(value, dict):
        return [], None
    return [str(cid) for cid in value.get("cids") or ()], value.get("made_before")


def change_wanted(
    store: Store,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    all_now: datetime | None = None,
) -> None:
    """Name clients, or all whose keys were made before `all_now`.

    One at a time, since it is read and written again. Raises `BusyError`.
    """
    with _alone(store):
        cids, made_before = wanted(store)
        kept = [cid for cid in dict.fromkeys([*cids, *add]) if cid not in set(remove)]
        if all_now is not None:
            made_before = all_now.timestamp()
        store.set_meta(WANTED, {"cids": kept[-MOST_NAMED:], "made_before": made_before})


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    """For the time of a `with` statement nobody else changes who is wanted."""
    owner, end = secrets.token_hex(8), time.monotonic() + 2 * LEASE_SECONDS
    while not store.take_lease(WANTED, owner, datetime.now(timezone.utc), LEASE_SECONDS):
        if time.monotonic() > end:
            raise BusyError("others keep changing who is to replace their keys; try again")
        time.sleep(0.02)
    try:
        yield
    finally:
        store.drop_lease(WANTED, owner)


def made_at(public_key: str) -> float:
    """When a key was made (Unix time); 0 if that can't be told."""
    try:
        certificate = packets.dearmour(public_key, "PUBLIC KEY BLOCK")
        return packets.key_created_at(certificate).timestamp()
    except SignatureError:
        return 0.0
