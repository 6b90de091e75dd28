"""What the audit says about the root document: that it expires soon, or has."""

from __future__ import annotations

from datetime import datetime, timedelta

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.errors import StoreError, TrustError
from qlmdm_core.server.context import Context
from qlmdm_core.server.tables import when

TOLD_BEFORE = timedelta(days=14)


def trust_notes(context: Context, now: datetime) -> list[str]:
    """A line for whoever reads the audit's mail; none while all is well.

    A database that is away is the audit's own to tell.
    """
    try:
        with context.store() as store:
            found = store.root()
    except StoreError:
        return []
    if found is None:
        return []
    try:
        root = rootdoc.parse(signedtext.unpack(found.document, max_bytes=rootdoc.MAX_BYTES).text)
    except TrustError as error:
        return [f"root document {found.version} can't be read: {error}; restore a backup"]
    at = when(root.expires_at)
    if root.is_expired(now):
        what = f"expired at {at}: clients take no release and no command until it is renewed"
    elif root.is_expired(now + TOLD_BEFORE):
        what = f"expires at {at}; renew it"
    else:
        return []
    return [f"root document {root.version} {what} (qlmdm-keys renew)"]
