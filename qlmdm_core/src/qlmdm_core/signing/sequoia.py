"""Signing and verifying in this process, by pysequoia: what the server does.

It is about seventy times faster than starting gpg. Facts about pysequoia that this module
makes up for: `Sig.from_bytes` takes the first of two signatures and ignores what follows (so
`packets` looks first, and hands on the bytes it looked at); `verify` is content with any one
certificate and with subkeys; it judges keys as of the time of the signature, and refuses
expired keys and signatures from the future without saying which it was.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

# anyhow, a part of pysequoia, records a backtrace with each error when RUST_BACKTRACE is set;
# that costs more than the verification.
os.environ["RUST_LIB_BACKTRACE"] = "0"

import pysequoia

from qlmdm_core.errors import KeyringError, SignatureError
from qlmdm_core.signing import packets
from qlmdm_core.signing.interface import Armour, PublicKey, Signature, Verifier


class SequoiaSigner:
    """Signs with one unprotected secret key that it holds in memory."""

    def __init__(self, secret_key: str | bytes) -> None:
        """`secret_key` is ASCII-armoured. Raises `KeyringError`."""
        data = secret_key.encode("ascii") if isinstance(secret_key, str) else secret_key
        try:
            tsk = pysequoia.Tsk.from_bytes(data)
            self._signer = tsk.signer()
            self._fingerprint = tsk.extract_certificate().fingerprint.upper()
        # pysequoia raises RuntimeError or TypeError for whatever its Rust side objects to
        except (RuntimeError, TypeError, ValueError) as error:
            raise KeyringError(f"not a usable secret key: {_first_line(error)}") from None
        issuer = packets.read_signature(self.sign(b"")).issuer
        if issuer != self._fingerprint:
            raise KeyringError("this key signs with a subkey; make one without subkeys")

    @property
    def fingerprint(self) -> str:
        """Of the key that signs."""
        return self._fingerprint

    def sign(self, data: bytes) -> str:
        """A detached, ASCII-armoured signature."""
        mode = pysequoia.SignatureMode.DETACHED
        return pysequoia.sign(self._signer, data, mode=mode).decode("ascii")


@dataclass(frozen=True)
class _Certificate:
    cert: pysequoia.Cert
    revoked: bool
    expires_at: datetime | None
    created_at: datetime


class SequoiaVerifier:
    """Verifies in this process. See `interface` for the rules.

    `late`: asked about signatures that pysequoia refuses and that have something odd about
    their times, so that a client with a wrong clock is not taken for a forger; None refuses
    them. At most `late_at_once` such questions run at a time; more are refused.
    """

    def __init__(
        self,
        *,
        late: Verifier | None = None,
        late_at_once: int = 2,
        cached_keys: int = 4096,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._late = late
        self._slots = threading.BoundedSemaphore(late_at_once)
        self._now = now
        self._cached_keys = cached_keys
        self._cache: OrderedDict[str, _Certificate] = OrderedDict()
        self._lock = threading.Lock()

    def verify(self, data: bytes, signature: Armour, allowed: Sequence[PublicKey]) -> Signature:
        """The signature's facts. Raises `SignatureError`."""
        facts = packets.facts_of(signature)
        key = next((key for key in allowed if key.fingerprint == facts.issuer), None)
        if key is None:
            raise SignatureError(f"signed by {facts.issuer}, which is not an allowed key")
        certificate = self._certificate(key)
        if certificate.revoked:
            raise SignatureError(f"signed by {facts.issuer}, which is revoked")
        try:
            found = pysequoia.verify(
                bytes=data,
                store=lambda _: [certificate.cert],
                signature=pysequoia.Sig.from_bytes(facts.raw),
            ).valid_sigs
        # pysequoia raises RuntimeError or TypeError for whatever its Rust side objects to
        except (RuntimeError, TypeError, ValueError) as error:
            return self._ask_late(data, key, certificate, facts, _first_line(error))
        if len(found) != 1:
            raise SignatureError(f"expected one good signature, found {len(found)}")
        made_by = found[0].signing_key.upper()
        if made_by != facts.issuer or found[0].certificate.upper() != facts.issuer:
            raise SignatureError("made by a subkey, not by the key itself")
        expires_at = certificate.expires_at
        return Signature(
            fingerprint=facts.issuer,
            created_at=facts.created_at,
            hash=facts.hash,
            key_expired_at=expires_at if expires_at and expires_at <= self._now() else None,
        )

    def _ask_late(
        self,
        data: bytes,
        key: PublicKey,
        certificate: _Certificate,
        facts: packets.SignatureFacts,
        reason: str,
    ) -> Signature:
        """Ask the other verifier, if time could be the reason why pysequoia refused."""
        at, expires_at = facts.created_at, certificate.expires_at
        odd = (
            at > self._now()
            or at < certificate.created_at
            or (expires_at is not None and at >= expires_at)
        )
        if self._late is None or not odd:
            raise SignatureError(f"not a good signature by {facts.issuer}: {reason}")
        if not self._slots.acquire(blocking=False):
            raise SignatureError(f"signature by {facts.issuer} not checked: too many odd times")
        try:
            return self._late.verify(data, facts, [key])
        finally:
            self._slots.release()

    def _certificate(self, key: PublicKey) -> _Certificate:
        """The parsed certificate. Cached by its text: what was parsed once never changes."""
        with self._lock:
            cached = self._cache.get(key.armoured)
            if cached is not None:
                self._cache.move_to_end(key.armoured)
        if cached is None:
            cached = _parse(key)
            with self._lock:
                self._cache[key.armoured] = cached
                while len(self._cache) > self._cached_keys:
                    self._cache.popitem(last=False)
        if cached.cert.fingerprint.upper() != key.fingerprint:
            raise SignatureError(f"the certificate for {key.fingerprint} is another key's")
        return cached


def _parse(key: PublicKey) -> _Certificate:
    raw = packets.dearmour(key.armoured, "PUBLIC KEY BLOCK")
    fingerprint = packets.primary_fingerprint(raw)
    try:
        cert = pysequoia.Cert.from_bytes(raw)
        if cert.fingerprint.upper() != fingerprint:
            raise SignatureError("pysequoia and we disagree about a key's fingerprint")
        return _Certificate(
            cert=cert,
            revoked=cert.is_revoked,
            expires_at=cert.expiration,
            created_at=packets.key_created_at(raw),
        )
    # pysequoia raises RuntimeError or TypeError for whatever its Rust side objects to
    except (RuntimeError, TypeError, ValueError) as error:
        raise SignatureError(f"the key {fingerprint} can't be used: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
