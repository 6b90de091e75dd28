"""What one client may cost: so many requests a minute, and so many at once.

A client that has gone mad, or is somebody's, must not keep the others waiting. Each request
that was proved to be a client's counts against that client *at that address*; once its share
is used up, further messages that name its key, from there, are answered before anything costly
is done with them. By the address too, because a name alone is not proved yet then: whoever
only replays a client's messages from elsewhere uses up nothing of what it may ask.
"""

from __future__ import annotations

import threading
from collections import Counter

import falcon

from qlmdm_core.server.limits import Buckets
from qlmdm_core.server.refusals import TooMany
from qlmdm_core.server.urls import Addresses

BUSY_SECONDS = 5.0
"""When to try again after too many at once."""


class FairShare:
    """The count of one server process. Falcon calls `process_response` at each request's end."""

    def __init__(self, *, proved: Buckets, at_once: int, addresses: Addresses) -> None:
        """`proved` has the requests a minute, `at_once` how many may be under way."""
        self._proved = proved
        self._at_once = at_once
        self._addresses = addresses
        self._under_way: Counter[str] = Counter()
        self._lock = threading.Lock()

    def begin(self, req: falcon.Request, fingerprint: str) -> None:
        """Before the signature is verified. Raises `TooMany`."""
        name = f"{fingerprint} at {self._addresses.neighbourhood(req)}"
        self._proved.check(name)
        with self._lock:
            if self._under_way[name] >= self._at_once:
                raise TooMany(f"too much at once by {name}", retry_after=BUSY_SECONDS)
            self._under_way[name] += 1
        req.context.share = name

    def prove(self, req: falcon.Request) -> None:
        """After it was verified: only now does it count. Raises `TooMany`."""
        self._proved.take(req.context.share)

    def process_response(
        self,
        req: falcon.Request,
        _resp: falcon.Response,
        _resource: object,
        _succeeded: bool,
    ) -> None:
        """The request is over, however it ended."""
        name = getattr(req.context, "share", None)
        if name is None:
            return
        with self._lock:
            self._under_way[name] -= 1
            if self._under_way[name] <= 0:
                del self._under_way[name]
