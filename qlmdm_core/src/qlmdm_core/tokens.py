"""The text by which a machine shows that it was invited, and whom it may trust.

`qlmdm1.ID.SECRET.SHA256`: the invitation, the key of a proof, and the hash of the signed text
of the root document that was newest when the machine was invited. With the hash, the first
contact need not trust the network; the secret itself is never sent.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from qlmdm_core.errors import UsageError

_TOKEN = re.compile(r"qlmdm1\.([0-9a-z]{8,40})\.([0-9a-f]{64})\.([0-9a-f]{64})\Z")


@dataclass(frozen=True, kw_only=True)
class Token:
    """An invitation, as it is handed to a machine."""

    invitation_id: str
    secret: str = field(repr=False)
    """64 hex digits."""
    root_sha256: str
    """Of the root document's signed text, hex."""

    def __str__(self) -> str:
        return f"qlmdm1.{self.invitation_id}.{self.secret}.{self.root_sha256}"


def parse(text: str) -> Token:
    """The token in a text (spaces around it don't matter). Raises `UsageError`.

    The message never repeats the text: a mistyped token may still hold the secret.
    """
    found = _TOKEN.match(text.strip())
    if found is None:
        raise UsageError(
            "this is not an invitation token; one looks like qlmdm1.ID.SECRET.HASH "
            "and comes from `qlmdm-clients invite`"
        )
    return Token(invitation_id=found.group(1), secret=found.group(2), root_sha256=found.group(3))


def proof(secret: str, *, server_id: str, fingerprint: str, nonce: str) -> str:
    """The HMAC-SHA256 (hex) that shows, for this key and message only, that `secret` is known."""
    message = "\n".join(("qlmdm-enroll", server_id, fingerprint, nonce))
    return hmac.new(secret.encode("ascii"), message.encode("utf-8"), hashlib.sha256).hexdigest()


def proof_is_right(
    given: str, secret: str, *, server_id: str, fingerprint: str, nonce: str
) -> bool:
    """Whether `given` is that proof; takes the same time whatever differs."""
    right = proof(secret, server_id=server_id, fingerprint=fingerprint, nonce=nonce)
    return hmac.compare_digest(right.encode(), given.encode("utf-8", "replace"))
