"""Invitations: made by `qlmdm-clients invite`, used by machines that enrol."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.errors import NotSetUpError, UsageError
from qlmdm_core.store import Store
from qlmdm_core.store.records import Invitation
from qlmdm_core.tokens import Token

MAX_USES = 100_000


def invite(
    store: Store,
    *,
    now: datetime,
    expires_at: datetime,
    uses: int = 1,
    tags: Sequence[str] = (),
    user_email: str | None = None,
    created_by: str = "",
) -> tuple[Invitation, Token]:
    """Make an invitation for `uses` machines until `expires_at`, and the token to hand out.

    The token names the newest root document. Raises `UsageError` and `NotSetUpError`.
    """
    if not 1 <= uses <= MAX_USES:
        raise UsageError(f"an invitation is for 1 to {MAX_USES} machines, not {uses}")
    if expires_at <= now:
        raise UsageError("an invitation must expire in the future")
    root = store.root()
    if root is None:
        raise NotSetUpError("there is no root document yet; run qlmdm-server-setup")
    invitation = Invitation(
        invitation_id=secrets.token_hex(8),
        secret=secrets.token_hex(32),
        created_at=now,
        expires_at=expires_at,
        uses=uses,
        created_by=created_by,
        tags=tuple(tags),
        user_email=user_email,
    )
    store.add_invitation(invitation)
    signed = signedtext.unpack(root.document, max_bytes=rootdoc.MAX_BYTES)
    token = Token(
        invitation_id=invitation.invitation_id,
        secret=invitation.secret,
        root_sha256=signed.sha256,
    )
    return invitation, token
