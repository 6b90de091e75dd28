"""An audit of one made-up client, by the real audit over a real store.

Example::

    def test_a_laptop_without_a_badge_is_told(audit):
        found = audit({"acme_badge": {"state": "absent"}}, checks=[CHECK])
        assert found["acme-badge-missing"].state == "fail"
        assert "Ask the front desk" in found.lines[0]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core.api import JSON, PASS, Alert, AuditCheck, Notifier, Verdict
from qlmdm_core.server.audit import alerts as say
from qlmdm_core.server.audit.rules import Rule
from qlmdm_core.server.audit.run import Audit
from qlmdm_core.store import Store
from qlmdm_core.store.records import CollectorResult
from qlmdm_core.testing.clock import Clock
from qlmdm_core.testing.fleet import Fleet

WEEK = 7 * 86400.0
"""How long an unknown verdict may last before anybody is told, unless settings say."""


def failure(error: str, status: str = "error") -> CollectorResult:
    """A collector that failed, to stand in a report in place of a value.

    `status` is "error", "timeout", "crashed", "invalid", "too_big" or "limit".
    """
    return CollectorResult(status=status, error=error)


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What an audit concluded about the client, and what it said."""

    verdicts: Mapping[str, Verdict]
    """For each check, as it was stored: without `valid_until`."""
    alerts: Sequence[Alert]
    lines: Sequence[str]
    """What `qlmdm-audit` would have printed."""
    notes: Sequence[str]
    """What was wrong with the audit itself: a check that hung, a notifier that failed."""

    def __getitem__(self, check: str) -> Verdict:
        return self.verdicts[check]


class Auditor:
    """Lets clients report and audits them. `open_store` opens one database again and again."""

    def __init__(self, open_store: Callable[[], Store], clock: Clock) -> None:
        self._open_store = open_store
        self._clock = clock
        self._store = open_store()
        self.fleet = Fleet(self._store, clock())
        """The clients, for a test that needs more than one report of each."""
        self._cids: dict[str, str] = {}

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def __call__(
        self,
        report: Mapping[str, JSON] | None = None,
        *,
        checks: Sequence[AuditCheck],
        notifiers: Sequence[Notifier] = (),
        hostname: str = "laptop1",
        grace_period: float | None = 0.0,
    ) -> Audited:
        """Let the client `hostname` report (if there is a report), and audit the fleet, now.

        `report` maps a collector's name to its value, or to `failure(…)`. What a report does
        not name stays as it was. All failures are told at once; `grace_period=None` waits as
        long as each check says, and a week for what is unknown. As on a server, a line is said
        again only when the check's `alert_frequency` has passed: `clock.forward(hours=1)`.
        Checks and notifiers run in processes of their own: what they append to a list of the
        test is not seen here.
        """
        self.fleet.now = self._clock()
        if hostname not in self._cids:
            self._cids[hostname] = self.fleet.enrol(hostname)
        cid = self._cids[hostname]
        if report is not None:
            self.fleet.report(cid, report)
        run = Audit(
            open_store=self._open_store,
            rules=[_rule(check, grace_period) for check in checks],
            notifiers=notifiers,
            unknown_grace_period=WEEK if grace_period is None else grace_period,
            processes=1,
        )
        lines: list[str] = []
        outcome = run.run(self._clock(), lambda alerts: lines.extend(say.lines(alerts)))
        return Audited(
            verdicts={**dict.fromkeys((check.name for check in checks), PASS), **self._found(cid)},
            alerts=outcome.alerts,
            lines=lines,
            notes=outcome.notes,
        )

    def _found(self, cid: str) -> dict[str, Verdict]:
        return {
            record.check: Verdict(
                state=record.state, message=record.message, evidence=record.evidence
            )
            for record in self._store.verdicts(cid=cid)
        }


def _rule(check: AuditCheck, grace_period: float | None) -> Rule:
    return Rule(
        check=check,
        owner="test",
        grace_period=check.grace_period if grace_period is None else grace_period,
        alert_frequency=check.alert_frequency,
    )
