"""One audit: judge what changed, then say what is due. Run each minute, usually in silence."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from qlmdm_core.api import Alert, Notifier
from qlmdm_core.errors import BusyError
from qlmdm_core.server.audit import alerts as say
from qlmdm_core.server.audit.rules import Rule, version
from qlmdm_core.server.audit.workers import Fleet, Tally, judge_fleet
from qlmdm_core.store import Store
from qlmdm_core.store.records import Client, Issue

LEASE = "audit"
LEASE_SECONDS = 900.0
RULES_VERSION = "audit.rules_version"
BACKLOG = "audit.backlog."
MAX_BACKLOG = 10_000
PAGE = 1000
SETTLE_AT_MOST = 50
"""Pages of history that one audit moves; more wait for the next one."""


@dataclass(kw_only=True)
class Audit:
    """What an audit works with. Times in seconds."""

    open_store: Callable[[], Store]
    rules: Sequence[Rule]
    notifiers: Sequence[Notifier]
    unknown_grace_period: float
    value_max_age: float = 3 * 86400.0
    changes_kept: float = 400 * 86400.0
    processes: int = field(default_factory=lambda: min(8, os.cpu_count() or 1))
    patience: float = 60.0

    def run(
        self,
        now: datetime,
        tell: Callable[[Sequence[Alert]], None] | None,
        *,
        everything: bool = False,
        only: frozenset[str] | None = None,
    ) -> Outcome:
        """Judge, then `tell` what is due, then remember that it was told.

        In this order, so that an audit that is killed says a thing twice rather than never.
        Without `tell` it only judges: what is due stays due.
        Raises `BusyError` while another audit is at work.
        """
        store = self.open_store()
        owner = f"{os.uname().nodename}:{os.getpid()}:{os.urandom(4).hex()}"
        if not store.take_lease(LEASE, owner, now, LEASE_SECONDS):
            raise BusyError("another qlmdm-audit is at work; nothing was done")
        try:
            tally = self._judge(store, now, everything=everything, only=only)
            self._tidy(store, now)
            if tell is None:
                return Outcome(tally=tally)
            due, alerts = self._due(store, now)
            if alerts:
                tell(alerts)
            failures = self._notify(store, now, alerts)
            self._remember(store, due, now)
        finally:
            store.drop_lease(LEASE, owner)
            store.close()
        return Outcome(tally=tally, alerts=alerts, notifier_failures=failures)

    def _judge(
        self, store: Store, now: datetime, *, everything: bool, only: frozenset[str] | None
    ) -> Tally:
        wanted = version(self.rules, self.unknown_grace_period, self.value_max_age)
        new_rules = store.meta(RULES_VERSION) != wanted
        fleet = Fleet(
            open_store=self.open_store,
            rules=self.rules,
            unknown_grace_period=self.unknown_grace_period,
            value_max_age=self.value_max_age,
            now=now,
            everything=everything or new_rules or only is not None,
            only=only,
            patience=self.patience,
        )
        if not fleet.everything:
            first = store.audit_targets(now, everything=False, limit=FEW + 1)
            if not first:
                return Tally()
            tally = judge_fleet(fleet, self.processes if len(first) > FEW else 1)
        else:
            tally = judge_fleet(fleet, self.processes)
        if new_rules and only is None:
            store.set_meta(RULES_VERSION, wanted)
        return tally

    def _tidy(self, store: Store, now: datetime) -> None:
        """The history's housekeeping, which nobody else is regularly there to do."""
        for _ in range(SETTLE_AT_MOST):
            if store.settle_changes(PAGE) < PAGE:
                break
        store.forget_changes(now - timedelta(seconds=self.changes_kept))

    def _due(self, store: Store, now: datetime) -> tuple[list[Issue], list[Alert]]:
        """The issues to tell of now, and how."""
        due = [issue for issue in _all_due(store, now) if not is_snoozed(issue, now)]
        by_client: dict[str, list[Issue]] = {}
        for issue in due:
            by_client.setdefault(issue.cid, []).append(issue)
        alerts: list[Alert] = []
        told: list[Issue] = []
        for cid, issues in by_client.items():
            client = store.client(cid)
            if client is None or client.status != "active":
                store.update_issues([replace(issue, closed_at=now) for issue in issues])
                continue
            told += issues
            alerts += client_alerts(issues, client, now)
        alerts.sort(key=lambda alert: (alert.hostname, alert.cid, alert.check))
        return told, alerts

    def _notify(self, store: Store, now: datetime, alerts: Sequence[Alert]) -> dict[str, str]:
        """Give each notifier what is due now and what it failed to take before."""
        pending = {n.name: [*self._backlog(store, n.name, now), *alerts] for n in self.notifiers}
        failures = say.notify(self.notifiers, pending)
        for notifier in self.notifiers:
            key = BACKLOG + notifier.name
            if notifier.name in failures:
                kept = [[a.cid, a.check] for a in pending[notifier.name]][-MAX_BACKLOG:]
                store.set_meta(key, kept)
            elif store.meta(key) is not None:
                store.set_meta(key, None)
        return failures

    def _backlog(self, store: Store, name: str, now: datetime) -> list[Alert]:
        """What this notifier failed to take before and what is still so."""
        found: list[Alert] = []
        for cid, check in store.meta(BACKLOG + name) or []:
            client = store.client(cid)
            issues = store.issues(cid=cid, check=check, limit=1)
            if client is not None and issues:
                found += client_alerts(issues, client, now)
        return found

    def _remember(self, store: Store, due: Sequence[Issue], now: datetime) -> None:
        frequency = {rule.name: rule.alert_frequency for rule in self.rules}
        for start in range(0, len(due), PAGE):
            store.update_issues(
                [
                    replace(
                        issue,
                        alerted_at=now,
                        alert_due_at=now + timedelta(seconds=frequency.get(issue.check, 3600.0)),
                    )
                    for issue in due[start : start + PAGE]
                ]
            )


FEW = 2000
"""Clients that one process judges sooner than two processes start."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an audit did and said."""

    tally: Tally
    alerts: Sequence[Alert] = ()
    notifier_failures: dict[str, str] = field(default_factory=dict)


def client_alerts(issues: Sequence[Issue], client: Client, now: datetime) -> list[Alert]:
    """The alerts for some of a client's issues."""
    failed = [say.alert(issue, client, now) for issue in issues if issue.state != "unknown"]
    doubtful = [issue for issue in issues if issue.state == "unknown"]
    return failed + say.unknown_alerts(doubtful, client, now)


def is_snoozed(issue: Issue, now: datetime) -> bool:
    """Whether an administrator put the issue off until later."""
    return issue.snoozed_until is not None and issue.snoozed_until > now


def _all_due(store: Store, now: datetime) -> list[Issue]:
    due: list[Issue] = []
    while True:
        after = due[-1].issue_id if due else None
        page = store.issues(due_by=now, after=after, limit=PAGE)
        due += page
        if len(page) < PAGE:
            return due
