"""The two ways in which the server says no.

Whoever has not proved who he is gets one and the same answer, whatever was wrong: it teaches
nothing. A client that has proved it is told what to do, signed, so that nobody else can make
it do so.
"""

from __future__ import annotations

from qlmdm_core.api import JSON


class Forbidden(Exception):  # noqa: N818 - an outcome of the protocol, not a failure of ours
    """Steps 1 to 5: answered by an unsigned 403 that is always the same.

    The reason goes to the log only.
    """

    def __init__(self, reason: str, *, fingerprint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fingerprint = fingerprint


class Told(Exception):  # noqa: N818 - as above
    """Steps 6 to 11: answered by a signed status with what the client needs to go on."""

    def __init__(self, status: str, **details: JSON) -> None:
        super().__init__(status)
        self.status = status
        self.details = details


class TooMany(Exception):  # noqa: N818 - as above
    """A rate limit: answered by an unsigned 429, before anything was looked at."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
