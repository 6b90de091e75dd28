"""`POST /qlmdm/v1/update`: a client asks whether there is anything new for it.

The answer is bound to the nonce, so a replayed question tells nobody anything, and nothing is
written but, at most once in five minutes for each client, when it was last seen.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import falcon

from qlmdm_core import envelope
from qlmdm_core.errors import StoreError
from qlmdm_core.server.commands.delivery import for_client
from qlmdm_core.server.gate import Caller, Gate
from qlmdm_core.server.refusals import Told
from qlmdm_core.server.rekey import RekeyWanted
from qlmdm_core.server.releases.offers import Offers
from qlmdm_core.server.roots import Roots
from qlmdm_core.store import Store

PENDING_RETRY_SECONDS = 300
SEEN_SECONDS = 300.0
_TRACKED = 100_000


class Update:
    """The resource."""

    def __init__(
        self, *, gate: Gate, store: Store, roots: Roots, rekeys: RekeyWanted, offers: Offers
    ) -> None:
        self._offers = offers
        self._rekeys = rekeys
        self._gate = gate
        self._store = store
        self._roots = roots
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer one question. Raises `Forbidden` and `Told`, which the app answers."""
        caller = self._gate.admit(req, "update", envelope.UPDATE)
        if caller.key.status not in ("active", "pending"):
            raise Told(envelope.REFUSED, reason=caller.key.status)
        self._note_seen(caller)
        if caller.key.status == "pending":  # it follows the root document, and gets nothing else
            root = self._roots.newest_version()
            raise Told(envelope.PENDING, retry_after=PENDING_RETRY_SECONDS, root=root)
        self._gate.answer(
            resp,
            caller,
            envelope.OK,
            root=self._roots.newest_version(),
            release=self._offers.for_client(
                caller.key, caller.message.body.get("update"), caller.now
            ),
            commands=for_client(self._store, caller.key, caller.now),
            **({"rekey": True} if self._rekeys.asks(caller.key) else {}),
        )

    def _note_seen(self, caller: Caller) -> None:
        """Write down that the client lives, if this process did not do so lately."""
        cid, now = caller.key.cid, caller.now.timestamp()
        with self._lock:
            if now - self._seen.get(cid, -SEEN_SECONDS) < SEEN_SECONDS:
                return
            self._seen[cid] = now
            self._seen.move_to_end(cid)
            while len(self._seen) > _TRACKED:
                self._seen.popitem(last=False)
        try:
            self._store.seen(cid, caller.now)
        except StoreError:
            with self._lock:  # next time, then: the client needs its answer more
                self._seen.pop(cid, None)
