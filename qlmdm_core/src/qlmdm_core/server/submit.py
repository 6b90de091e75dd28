"""`POST /qlmdm/v1/submit`: a report is stored, and a signed receipt says so.

The twelve steps of the protocol, in order; `gate` has the first eight and the last.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import falcon

from qlmdm_core import envelope
from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreError, StoreUnavailableError
from qlmdm_core.server.clones import FLAG, CloneWatch
from qlmdm_core.server.gate import Caller, Gate
from qlmdm_core.server.refusals import Told
from qlmdm_core.server.releases import progress
from qlmdm_core.server.report import MalformedError, Report, check_report
from qlmdm_core.server.urls import DeprecatedUrls
from qlmdm_core.store import Store
from qlmdm_core.store.codec import iso
from qlmdm_core.store.records import (
    Acceptance,
    Accepted,
    Behind,
    NotAllowed,
    Repeated,
    Submission,
)

log = logging.getLogger(__name__)

STORE_RETRY_SECONDS = 60


class Submit:
    """The resource."""

    def __init__(
        self, *, gate: Gate, store: Store, deprecated_urls: Sequence[str], clones: CloneWatch
    ) -> None:
        self._gate = gate
        self._store = store
        self._deprecated = DeprecatedUrls(deprecated_urls)
        self._clones = clones

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take one report. Raises `Forbidden` and `Told`, which the app answers."""
        caller = self._gate.admit(req, "submit", envelope.SUBMIT)  # 1 to 8
        report = self.well_formed(caller)  # 9
        self.may_report(caller)  # 10
        outcome = self.stored(caller, report, self._flags(req, caller, report))  # 11
        self.answered(resp, caller, outcome)  # 12

    def well_formed(self, caller: Caller) -> Report:
        """Step 9: the body is a report, and the record has an id and a number."""
        try:
            if caller.envelope.rid is None or caller.envelope.seq < 1:
                raise MalformedError("envelope: a record has an id (rid) and a number (seq)")
            return check_report(caller.message.body.get("report"))
        except MalformedError as error:
            log.warning("malformed report from %s: %s", caller.key.cid, error)
            raise Told(envelope.MALFORMED, reason=str(error)) from None

    def may_report(self, caller: Caller) -> None:
        """Step 10: this client may (still, already) report. Its report is all it touches."""
        if caller.key.status == "pending":
            raise Told(envelope.PENDING, retry_after=300)
        if caller.key.status != "active":
            raise Told(envelope.REFUSED, reason=caller.key.status)

    def stored(self, caller: Caller, report: Report, flags: Mapping[str, JSON]) -> Acceptance:
        """Step 11: one atomic, durable write, if number and id of the record are new."""
        sent = caller.envelope
        submission = Submission(
            cid=caller.key.cid,
            fingerprint=caller.key.fingerprint,
            seq=sent.seq,
            rid=sent.rid or "",
            received_at=caller.now,
            hostname=report.hostname,
            mid=sent.mid,
            boot=sent.boot,
            collectors=report.collectors,
            release=report.release,
            flags=flags,
        )
        try:
            return self._store.accept(submission)
        except StoreUnavailableError as error:
            log.error("report from %s not stored: %s", caller.key.cid, error)  # noqa: TRY400
            raise Told(envelope.RETRY_AFTER, retry_after=STORE_RETRY_SECONDS) from None
        except StoreError:
            log.exception("report from %s not stored", caller.key.cid)
            raise Told(envelope.RETRY_AFTER, retry_after=10 * STORE_RETRY_SECONDS) from None

    def answered(self, resp: falcon.Response, caller: Caller, outcome: Acceptance) -> None:
        """Step 12: the receipt, or why there is none."""
        if isinstance(outcome, Accepted):
            self._gate.answer(resp, caller, envelope.OK, accepted_at=iso(outcome.accepted_at))
        elif isinstance(outcome, Repeated):
            self._gate.answer(resp, caller, envelope.REPEATED, accepted_at=iso(outcome.accepted_at))
        elif isinstance(outcome, Behind):
            self._note_behind(caller)
            raise Told(envelope.BEHIND, last_seq=outcome.last_seq)
        elif isinstance(outcome, NotAllowed):
            raise Told(envelope.REFUSED, reason=outcome.reason)

    def _flags(self, req: falcon.Request, caller: Caller, report: Report) -> Mapping[str, JSON]:
        flags: dict[str, JSON] = {"deprecated_url": self._deprecated.match(req)}
        agent = report.collectors.get("agent")
        if agent is not None:
            flags[progress.FLAG] = progress.bad_releases(agent.value)
        clone = self._clones.by_machine(caller.envelope, caller.key)
        # Only set, never cleared by a message: the original would clear what the copy set.
        return {**flags, FLAG: clone} if clone else flags

    def _note_behind(self, caller: Caller) -> None:
        clone = self._clones.by_counting(caller.envelope, caller.key, caller.now.timestamp())
        if clone is None:
            return
        log.warning("client %s: %s", caller.key.cid, clone["reason"])
        known = self._store.client(caller.key.cid)
        if known is not None and FLAG not in known.flags:
            self._store.set_client(caller.key.cid, flags={**known.flags, FLAG: clone})
