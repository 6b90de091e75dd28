"""One audit: judge what changed, then say what is due. Run each minute, usually in silence."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from qlmdm_core.api import Alert, Notifier
from qlmdm_core.errors import BusyError
from qlmdm_core.server.audit import alerts as say
from qlmdm_core.server.audit.judge import BROKEN_SECONDS
from qlmdm_core.server.audit.outgoing import MARK, read_outgoing
from qlmdm_core.server.audit.rules import Rule, version
from qlmdm_core.server.audit.workers import Fleet, Tally, judge_fleet
from qlmdm_core.server.commands.closing import sweep
from qlmdm_core.server.lookup import every_issue
from qlmdm_core.server.releases import progress
from qlmdm_core.store import Store
from qlmdm_core.store.records import AuditTarget, Client, Issue

LEASE = "audit"
LEASE_SECONDS = 120.0
"""Renewed while an audit is at work; so long does one that was killed hold up the next."""
RULES_VERSION = "audit.rules_version"
BACKLOG = "audit.backlog."
BROKEN = "audit.broken"
NOTES = "audit.notes"
NOTE_SECONDS = 3600.0
"""So often, at most, is the same trouble of the audit's own told."""
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
    disabled: frozenset[str] | None = None
    """See `judge.Judge`."""
    notes: Sequence[str] = ()
    """What is wrong with the audit itself, as far as it is known before it runs."""
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
        begun = time.monotonic()

        def lease() -> bool:
            at = now + timedelta(seconds=time.monotonic() - begun)
            return store.take_lease(LEASE, owner, at, LEASE_SECONDS)

        if not lease():
            store.close()
            raise BusyError("another qlmdm-audit is at work; nothing was done")
        try:
            tally = self._judge(store, now, lease, everything=everything, only=only)
            self._tidy(store, now)
            trouble = [*_broken_notes(tally), *progress.stopped(store)]
            if tell is None:
                notes = [*self.notes, *trouble]
                return Outcome(tally=tally, notes=notes, news=notes)
            due, alerts = self._due(store, now)
            if alerts:
                tell(alerts)
            failures = self._notify(store, now, alerts)
            self._remember(store, due, now)
            notes = [*self.notes, *trouble, *_notifier_notes(failures)]
            news = _news(store, notes, now)
        finally:
            store.drop_lease(LEASE, owner)
            store.close()
        return Outcome(
            tally=tally, alerts=alerts, notifier_failures=failures, notes=notes, news=news
        )

    def _judge(
        self,
        store: Store,
        now: datetime,
        lease: Callable[[], bool],
        *,
        everything: bool,
        only: frozenset[str] | None,
    ) -> Tally:
        wanted = version(self.rules, self.unknown_grace_period, self.value_max_age)
        new_rules = store.meta(RULES_VERSION) != wanted
        given = read_outgoing(store, now)
        new_given = store.meta(MARK) != given.mark
        fleet = Fleet(
            open_store=self.open_store,
            rules=self.rules,
            unknown_grace_period=self.unknown_grace_period,
            value_max_age=self.value_max_age,
            now=now,
            everything=everything or new_rules or new_given or only is not None,
            only=only,
            patience=self.patience,
            broken=_still_broken(store, wanted, now),
            disabled=self.disabled,
            outgoing=given,
            renew=lambda: _keep(lease),
        )
        if not fleet.everything:
            first = store.audit_targets(now, everything=False, limit=SAMPLE)
            if not first:
                return Tally()
            tally = judge_fleet(fleet, self.processes if _are_many(first) else 1)
        else:
            tally = judge_fleet(fleet, self.processes)
        if new_rules and only is None:
            store.set_meta(RULES_VERSION, wanted)
        if new_given and only is None:
            store.set_meta(MARK, given.mark)
        _remember_broken(store, wanted, fleet.broken, tally.broken, now)
        return tally

    def _tidy(self, store: Store, now: datetime) -> None:
        """What nobody else is regularly there to do: the history, what no client will ever tell
        about, roll-outs that grow."""
        for _ in range(SETTLE_AT_MOST):
            if store.settle_changes(PAGE) < PAGE:
                break
        store.forget_changes(now - timedelta(seconds=self.changes_kept))
        sweep(store, now)
        progress.advance(store, now)

    def _due(self, store: Store, now: datetime) -> tuple[list[Issue], list[Alert]]:
        """The issues to tell of now, and how."""
        due = [issue for issue in every_issue(store, due_by=now) if not is_snoozed(issue, now)]
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


FEW = 500
"""Clients that one process judges about as soon as two, which must be started."""

SAMPLE = 50
"""So many of those that are due are read to guess how many there are."""


def _are_many(first: Sequence[AuditTarget]) -> bool:
    """Whether more than `FEW` are due, guessed from the first `SAMPLE` by cid.

    Client ids are random: if the first 50 reach to a tenth of all ids, some 500 are due.
    """
    if len(first) < SAMPLE:
        return False
    try:
        reached = int(first[-1].client.cid[:8], 16) / (1 << 32)
    except ValueError:  # no ids of ours: a test's
        return False
    return reached * FEW < SAMPLE


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an audit did and said."""

    tally: Tally
    alerts: Sequence[Alert] = ()
    notifier_failures: dict[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    """All that is wrong with the audit itself."""
    news: Sequence[str] = ()
    """Those notes that were not told within the last hour."""


def client_alerts(issues: Sequence[Issue], client: Client, now: datetime) -> list[Alert]:
    """The alerts for some of a client's issues."""
    failed = [say.alert(issue, client, now) for issue in issues if issue.state != "unknown"]
    doubtful = [issue for issue in issues if issue.state == "unknown"]
    return failed + say.unknown_alerts(doubtful, client, now)


# --- what is wrong with the audit itself ----------------------------------------------------


def _keep(lease: Callable[[], bool]) -> None:
    if not lease():
        raise BusyError("the audit was held up for so long that another one took over")


def _broken_notes(tally: Tally) -> list[str]:
    return [f"check {name}: {why}" for name, why in tally.broken.items()]


def _notifier_notes(failures: Mapping[str, str]) -> list[str]:
    return [f"notifier {name} failed, will be tried again: {why}" for name, why in failures.items()]


def _news(store: Store, notes: Sequence[str], now: datetime) -> list[str]:
    """The notes that are new, or old enough to be told again; remembers that they were told."""
    told: dict[str, float] = store.meta(NOTES) or {}
    limit = now.timestamp() - NOTE_SECONDS
    kept = {digest: at for digest, at in told.items() if at > limit}
    digests = {hashlib.sha256(note.encode()).hexdigest()[:16]: note for note in notes}
    news = {digest: note for digest, note in digests.items() if digest not in kept}
    kept.update(dict.fromkeys(news, now.timestamp()))
    if kept != told:
        store.set_meta(NOTES, kept or None)
    return list(news.values())


def _still_broken(store: Store, rules_version: str, now: datetime) -> dict[str, str]:
    """The checks that hung or crashed within the last hour, under the same rules."""
    stored = store.meta(BROKEN) or {}
    if stored.get("rules") != rules_version:
        return {}
    checks: Mapping[str, tuple[float, str]] = stored["checks"]
    return {name: why for name, (until, why) in checks.items() if until > now.timestamp()}


def _remember_broken(
    store: Store,
    rules_version: str,
    before: Mapping[str, str],
    after: Mapping[str, str],
    now: datetime,
) -> None:
    """Leave a check that broke just now in peace for an hour: it costs each run a minute."""
    if set(after) == set(before):
        return
    stored = (store.meta(BROKEN) or {}).get("checks", {})
    until = now.timestamp() + BROKEN_SECONDS
    checks = {name: stored[name] if name in before else [until, why] for name, why in after.items()}
    store.set_meta(BROKEN, {"rules": rules_version, "checks": checks})


def is_snoozed(issue: Issue, now: datetime) -> bool:
    """Whether an administrator put the issue off until later."""
    return issue.snoozed_until is not None and issue.snoozed_until > now
