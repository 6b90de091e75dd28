"""`qlmdm-audit`: run by cron each minute; says what should be fixed, and nothing else."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from types import FrameType

from qlmdm_core import cli
from qlmdm_core.api import Alert
from qlmdm_core.errors import UsageError
from qlmdm_core.server.audit import alerts as say
from qlmdm_core.server.audit.rules import Rule, rules
from qlmdm_core.server.audit.run import Audit, Outcome, client_alerts, is_snoozed
from qlmdm_core.server.context import Context, open_context
from qlmdm_core.server.lookup import every_issue, find_client
from qlmdm_core.server.trust_notes import trust_notes
from qlmdm_core.store import Store
from qlmdm_core.store.records import Client, Issue
from qlmdm_core.units import say_duration

EXAMPLES = """\
  * * * * * qlmdm qlmdm-audit       in /etc/cron.d; cron mails what it prints
  qlmdm-audit --all                 judge everybody anew; print all that is open, due or not
  qlmdm-audit --client laptop7      the same for one machine
  qlmdm-audit --explain             what the checks are, and how each is mended
  qlmdm-audit --explain firewall-disabled

exit status: 0 nothing to say, 1 something was said, 2 settings or usage, 3 not done"""


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-audit")


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(
        "qlmdm-audit",
        "Judge what clients reported and print, tersely, what should be fixed.",
        EXAMPLES,
        json=True,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--all", action="store_true", help="judge all clients anew, print every open issue"
    )
    what.add_argument("--client", metavar="NAME", help="the same for one client (hostname or id)")
    what.add_argument(
        "--explain", nargs="?", const="", metavar="CHECK", help="describe the checks, judge nothing"
    )
    return parser


def _main(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    context = open_context(args.settings)
    checks, notifiers = context.checks(), context.notifiers()
    complete = not context.plugins.failures
    made = rules(checks, context.settings.audit, context.loaded.file, complete=complete)
    notes = [f"left out: {failure}" for failure in context.plugins.failures]
    if args.explain is not None:
        for note in notes:
            print(f"qlmdm-audit: {note}", file=sys.stderr)
        return _explain(made, args.explain, args.json)
    if not made:
        notes.append("no checks: no plugin is installed that has any")
    now = datetime.now(timezone.utc)
    notes += trust_notes(context, now)
    off = {name for name, check in context.settings.audit.checks.items() if not check.enabled}
    audit = Audit(
        open_store=context.open_store,
        rules=made,
        notifiers=notifiers,
        unknown_grace_period=context.settings.audit.unknown_grace_period,
        value_max_age=context.settings.audit.value_max_age,
        changes_kept=context.settings.changes_kept,
        disabled=None if complete else frozenset(off),
        notes=notes,
    )
    signal.signal(signal.SIGTERM, _terminated)
    if args.all or args.client:
        return _everything(context, audit, args, now)
    outcome = audit.run(now, lambda alerts: _print(alerts, args.json))
    return _status(outcome, bool(outcome.alerts))


def _everything(context: Context, audit: Audit, args: argparse.Namespace, now: datetime) -> int:
    """Judge anew; then print all open issues. Looking is not telling: what is due stays due."""
    with context.store() as store:
        only = frozenset([find_client(store, args.client).cid]) if args.client else None
    outcome = audit.run(now, None, everything=True, only=only)
    with context.store() as store:
        alerts = _open_alerts(store, only, now)
    _print(alerts, args.json)
    return _status(outcome, bool(alerts))


def _open_alerts(store: Store, only: frozenset[str] | None, now: datetime) -> list[Alert]:
    by_client: dict[str, list[Issue]] = {}
    for issue in every_issue(store, cid=next(iter(only)) if only else None):
        by_client.setdefault(issue.cid, []).append(issue)
    clients = [(store.client(cid), issues) for cid, issues in by_client.items()]
    alerts = [
        alert
        for client, issues in clients
        if client is not None and client.status == "active"
        for alert in _client_lines(client, issues, now)
    ]
    return sorted(alerts, key=lambda alert: (alert.hostname, alert.cid, alert.check))


def _client_lines(client: Client, issues: Sequence[Issue], now: datetime) -> list[Alert]:
    awake = [issue for issue in issues if not is_snoozed(issue, now)]
    return client_alerts(awake, client, now)


def _print(alerts: Sequence[Alert], as_json: bool) -> None:
    """Printed and flushed before the audit remembers that it was said."""
    if as_json:
        for alert in alerts:
            print(json.dumps(_as_json(alert)))
    else:
        for line in say.lines(alerts):
            print(line)
    sys.stdout.flush()


def _as_json(alert: Alert) -> dict[str, object]:
    return {
        "cid": alert.cid,
        "hostname": alert.hostname,
        "user_email": alert.user_email,
        "tags": list(alert.tags),
        "check": alert.check,
        "state": alert.state,
        "message": alert.message,
        "opened_at": alert.opened_at.isoformat(),
        "evidence": alert.evidence,
    }


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """SIGTERM: give the lease back and end the judging processes on the way out."""
    raise SystemExit(128 + number)


def _status(outcome: Outcome, said: bool) -> int:
    """The exit status; the audit's own troubles are told once an hour, as issues are."""
    for note in outcome.notes if sys.stderr.isatty() else outcome.news:
        print(f"qlmdm-audit: {note}", file=sys.stderr)
    if outcome.notifier_failures:
        return 3
    return 1 if said else 0


def _explain(made: Sequence[Rule], name: str, as_json: bool) -> int:
    chosen = [rule for rule in made if not name or rule.name == name]
    if not chosen:
        known = ", ".join(rule.name for rule in made)
        raise UsageError(f"there is no check {name!r}; there are: {known or 'none'}")
    if as_json:
        for rule in chosen:
            described = {
                "check": rule.name,
                "from": rule.owner,
                "needs": list(rule.check.needs),
                "grace_period": rule.grace_period,
                "alert_frequency": rule.alert_frequency,
                "help": rule.check.help,
            }
            print(json.dumps(described))
        return 0
    for rule in chosen:
        needs = ", ".join(rule.check.needs) or "no collector"
        print(f"{rule.name}  ({rule.owner}; needs {needs})")
        print(f"  {rule.check.help or 'no description'}")
        grace = say_duration(rule.grace_period) if rule.grace_period else "at once"
        again = say_duration(rule.alert_frequency)
        print(f"  told after {grace}, then every {again}".replace("after at once", "at once"))
    return 0
