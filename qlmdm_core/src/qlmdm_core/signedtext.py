"""A text with its signatures: `{"signed": TEXT, "sigs": [ARMOUR, …]}`.

The signed JSON travels as a string, so that what is verified is what is parsed: no program on
the way can write it differently and break the signature, or mean something else by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from qlmdm_core import strictjson
from qlmdm_core.errors import SignatureError, TrustError
from qlmdm_core.signing.interface import PublicKey, Verifier

MAX_SIGNATURES = 16


@dataclass(frozen=True, kw_only=True)
class SignedText:
    """What was received, before anything about it is believed."""

    text: str
    sigs: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the signed text, hex."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()

    def pack(self) -> bytes:
        """The bytes to send or store."""
        value = {"signed": self.text, "sigs": list(self.sigs)}
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def unpack(data: bytes, *, max_bytes: int) -> SignedText:
    """Read what `pack` wrote; unknown fields are ignored, since nothing vouches for them.

    Raises `TrustError`.
    """
    try:
        value = strictjson.parse(data, max_bytes=max_bytes)
    except strictjson.JsonError as error:
        raise TrustError(f"not a signed text: {error}") from None
    text, sigs = (value.get("signed"), value.get("sigs")) if isinstance(value, dict) else (None, 0)
    if not isinstance(text, str) or not isinstance(sigs, list):
        raise TrustError("not a signed text: `signed` and `sigs` are missing")
    if len(sigs) > MAX_SIGNATURES or not all(isinstance(sig, str) for sig in sigs):
        raise TrustError(f"not a signed text: expected at most {MAX_SIGNATURES} signatures")
    return SignedText(text=text, sigs=tuple(sigs))


def signers(signed: SignedText, allowed: Sequence[PublicKey], verifier: Verifier) -> set[str]:
    """The distinct fingerprints, of those allowed, that really signed the text.

    Two signatures by one key count once. Signatures by others prove nothing and are passed
    over: a document may be signed by two roles.
    """
    data = signed.text.encode("utf-8")
    found = set()
    for sig in signed.sigs:
        try:
            found.add(verifier.verify(data, sig, allowed).fingerprint)
        except SignatureError:
            continue
    return found
