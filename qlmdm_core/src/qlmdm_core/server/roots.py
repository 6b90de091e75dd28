"""`GET /qlmdm/v1/root/N`: every version of the root document, for everybody.

It is public and signed: whoever gets it checks it. A client that slept through three versions
walks the chain.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import falcon

from qlmdm_core.store import Store

NEWEST_SECONDS = 30.0
"""So old may this process's idea of the newest version be."""
CHAIN = 16
"""So many versions at most are sent along with an enrolment."""


class Roots:
    """The resource, and the newest version for those who only need its number."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._newest: tuple[float, int] | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response, version: str) -> None:  # noqa: ARG002
        """One version, as it was signed; 404 if there is none (yet)."""
        # One spelling for each, as caches see it: no zeros before it, no other script's digits.
        spelt = re.fullmatch("[1-9][0-9]{0,8}", version)
        found = self._store.root(int(version)) if spelt else None
        if found is None:
            raise falcon.HTTPNotFound
        resp.data = found.document
        resp.content_type = falcon.MEDIA_JSON
        resp.set_header("Cache-Control", "public, max-age=86400, immutable")

    def newest_version(self) -> int:
        """The number of the newest version; 0 if there is none."""
        known, now = self._newest, self._monotonic()
        if known is None or now - known[0] > NEWEST_SECONDS:
            found = self._store.root()
            known = self._newest = (now, found.version if found else 0)
        return known[1]

    def chain(self) -> list[str]:
        """The last versions, oldest first, each as the text of its document."""
        newest = self._store.root()
        if newest is None:
            return []
        first = max(1, newest.version - CHAIN + 1)
        older = [self._store.root(version) for version in range(first, newest.version)]
        documents = [*(root for root in older if root is not None), newest]
        return [root.document.decode("utf-8") for root in documents]
