"""`GET /healthz`: this process answers. `GET /readyz`: and its database does, too."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import falcon

from qlmdm_core.errors import StoreError
from qlmdm_core.store import Store

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 2.0
"""A question of everybody's must not cost a write of the database each time."""


class Health:
    """The resource for who restarts processes."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:  # noqa: ARG002
        """Always 200."""
        resp.media = {"status": "ok"}


class Ready:
    """The resource for who sends requests to processes."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: tuple[float, bool] = (float("-inf"), False)
        self._lock = threading.Lock()

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:  # noqa: ARG002
        """200 if the database can be written, else 503."""
        with self._lock:
            if self._monotonic() - self._known[0] > REMEMBERED_SECONDS:
                self._known = (self._monotonic(), self._ping())
            ready = self._known[1]
        resp.media = {"status": "ok" if ready else "error"}
        if not ready:
            resp.status = falcon.HTTP_503

    def _ping(self) -> bool:
        try:
            self._store.ping()
        except StoreError as error:
            log.error("not ready: %s", error)  # noqa: TRY400 - the message has it all
            return False
        return True
