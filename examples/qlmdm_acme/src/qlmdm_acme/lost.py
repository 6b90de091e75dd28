"""An address of ACME's server, by which a laptop says that its badge is lost (or found again)."""

from __future__ import annotations

import falcon

from qlmdm_core.store import Store

FLAG = "acme_badge_lost"
"""The mark on a client, which the check reads; its value is the badge's number."""


class Lost:
    """`POST /qlmdm/v1/x/qlmdm-acme/lost` with `{"badge": "4711"}`, or null once it is found.

    Only enrolled clients get here: qlmdm has verified the message. It may arrive twice, so what
    is done must be harmless when it is done again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Mark the client that asks."""
        badge = req.context.body.get("badge")
        if badge is not None and not (isinstance(badge, str) and 0 < len(badge) <= 40):
            resp.status = falcon.HTTP_400
            resp.media = {"error": "badge: expected the number of a badge, or null"}
            return
        self._store.set_client(req.context.envelope.cid, flags={FLAG: badge})
        resp.media = {"lost": badge}
