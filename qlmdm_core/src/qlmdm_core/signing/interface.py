"""What signing and verifying mean here, whichever program does the arithmetic.

The rules (all of them hold for every `Verifier`):

- Exactly one signature, over exactly these bytes, and nothing before or after it.
- A signature over a binary document (class 0x00), with SHA-256, SHA-384 or SHA-512.
- Made by one of the allowed primary keys itself, not by a subkey of one.
- That key is not revoked. Whether it has expired is told (`key_expired_at`), not judged, and
  neither is a signature from the future: an honest client with a wrong clock, or an old key,
  can then be told what to do. The caller compares `created_at` with its own clock.
- The signature carries no expiry of its own; how long a message is good is said in it.

Exit statuses, user IDs and trust databases prove nothing and are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from qlmdm_core.signing.packets import SignatureFacts

Armour: TypeAlias = str | bytes | SignatureFacts
"""A signature, ASCII-armoured, or as `packets.read_signature` read it before."""


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """One OpenPGP certificate and the fingerprint that it is known by."""

    fingerprint: str
    """Of the primary key: 40 upper-case hex digits."""
    armoured: str
    """The certificate, ASCII-armoured. Verifiers check that it has this fingerprint."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a good signature says."""

    fingerprint: str
    """The primary key that made it; one of those that were allowed."""
    created_at: datetime
    """When it says it was made, by the signer's clock."""
    hash: str
    """"SHA256", "SHA384" or "SHA512"."""
    key_expired_at: datetime | None = None
    """When the key expired; None: it has not, by the clock of who verifies."""


class Signer(Protocol):
    """Something that holds one secret key."""

    @property
    def fingerprint(self) -> str:
        """Of the key that signs: 40 upper-case hex digits."""

    def sign(self, data: bytes) -> str:
        """A detached, ASCII-armoured signature. Raises `KeyringError`."""


class Verifier(Protocol):
    """Something that checks signatures, by the rules above."""

    def verify(self, data: bytes, signature: Armour, allowed: Sequence[PublicKey]) -> Signature:
        """The signature's facts. Raises `SignatureError` that says what is wrong with it."""
