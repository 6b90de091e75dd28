"""A fleet in a store, without keys or a server: for tests of checks, the audit and commands."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

from qlmdm_core.api import JSON
from qlmdm_core.store import Store
from qlmdm_core.store.records import (
    Acceptance,
    CollectorResult,
    Enrolled,
    Enrolment,
    Invitation,
    Submission,
)
from qlmdm_core.store.results import result_sha256, value_sha256
from qlmdm_core.testing.clock import START


class Fleet:
    """Enrols clients in a store and lets them report, at times that the test chooses."""

    def __init__(self, store: Store, now: datetime = START) -> None:
        self.store = store
        self.now = now
        self._numbers = itertools.count(1)
        self._seq: dict[str, int] = {}
        store.add_invitation(
            Invitation(
                invitation_id="testfleet",
                secret="0" * 64,
                created_at=now,
                expires_at=now + timedelta(days=36500),
                uses=1_000_000,
            )
        )

    def enrol(self, hostname: str, *, cid: str | None = None) -> str:
        """A new client that has not reported yet; its id."""
        number = next(self._numbers)
        outcome = self.store.enrol(
            Enrolment(
                invitation_id="testfleet",
                cid=cid or str(uuid.UUID(int=number << 64 | 0x4000 << 64)),
                fingerprint=f"{number:040X}",
                public_key="",
                hostname=hostname,
                mid=f"mid-{number}",
                enrolled_at=self.now,
            )
        )
        if not isinstance(outcome, Enrolled):
            raise TypeError(f"not enrolled: {outcome}")
        return outcome.cid

    def report(self, cid: str, values: Mapping[str, JSON]) -> Acceptance:
        """Let a client report, now: collector name to value, or to a `CollectorResult`."""
        client = self.store.client(cid)
        if client is None:
            raise LookupError(f"no client {cid}")
        self._seq[cid] = max(self._seq.get(cid, 0), client.seq) + 1
        results = {name: self._result(value) for name, value in values.items()}
        return self.store.accept(
            Submission(
                cid=cid,
                fingerprint=client.fingerprint,
                seq=self._seq[cid],
                rid=str(uuid.uuid4()),
                received_at=self.now,
                hostname=client.hostname,
                mid=client.mid,
                boot="boot",
                collectors=results,
            )
        )

    def _result(self, value: JSON) -> CollectorResult:
        if isinstance(value, CollectorResult):
            return value._replace(
                value_sha256=value.value_sha256 or result_sha256(value),
                collected_at=value.collected_at or self.now.isoformat(),
            )
        return CollectorResult(
            status="ok",
            value=value,
            value_sha256=value_sha256(value),
            collected_at=self.now.isoformat(),
        )

    def client(self, hostname: str, values: Mapping[str, JSON]) -> str:
        """A new client that reports at once; its id."""
        cid = self.enrol(hostname)
        self.report(cid, values)
        return cid
