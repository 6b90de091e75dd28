"""`qlmdm-issues`: what the audit found, and what is put off for a while."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from qlmdm_core import cli
from qlmdm_core.errors import UsageError
from qlmdm_core.server.context import open_context
from qlmdm_core.server.lookup import NoSuchClientError, every_issue, find_client
from qlmdm_core.server.tables import ago, clean, print_table, when
from qlmdm_core.store import Store
from qlmdm_core.store.records import Issue
from qlmdm_core.units import parse_duration, say_duration

EXAMPLES = """\
  qlmdm-issues list                                   all open issues
  qlmdm-issues list --client laptop7 --closed         what was wrong with a machine before
  qlmdm-issues show laptop7 firewall-disabled         one issue with its evidence
  qlmdm-issues snooze laptop7 firewall-disabled --for 2d --reason "new disk ordered"
  qlmdm-issues unsnooze laptop7 firewall-disabled"""
DEFAULT_SNOOZE = "7 days"


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-issues")


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(
        "qlmdm-issues", "Show what qlmdm-audit found, and put issues off.", EXAMPLES, json=True
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = cli.add_action(actions, "list", "open issues, by client", json=True)
    listing.add_argument("--client", metavar="NAME", help="only this client's (hostname or id)")
    listing.add_argument("--check", help="only this check's")
    listing.add_argument("--closed", action="store_true", help="closed ones instead")
    show = cli.add_action(actions, "show", "one issue, with its evidence", json=True)
    snooze = cli.add_action(actions, "snooze", "say nothing about an issue for a while")
    unsnooze = cli.add_action(actions, "unsnooze", "take a snooze back")
    for action in (show, snooze, unsnooze):
        action.add_argument("client", metavar="CLIENT", help="hostname or id")
        action.add_argument("check", metavar="CHECK")
    snooze.add_argument(
        "--for", dest="duration", default=DEFAULT_SNOOZE, help=f"how long ({DEFAULT_SNOOZE})"
    )
    snooze.add_argument("--reason", default="", help="why; kept and shown")
    return parser


def _main(argv: Sequence[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.json and args.action not in ("list", "show"):
        parser.error("--json goes with list and show")
    now = datetime.now(timezone.utc)
    with open_context(args.settings).store() as store:
        if args.action == "list":
            return _list(store, args, now)
        issue = _find(store, args.client, args.check)
        if args.action == "show":
            return _show(store, issue, args, now)
        if args.action == "snooze":
            return _snooze(store, issue, args, now)
        return _unsnooze(store, issue)


def _all(store: Store, args: argparse.Namespace) -> list[Issue]:
    cid = find_client(store, args.client).cid if args.client else None
    return list(every_issue(store, is_open=not args.closed, cid=cid, check=args.check))


def _list(store: Store, args: argparse.Namespace, now: datetime) -> int:
    found = _all(store, args)
    clients = {cid: store.client(cid) for cid in {issue.cid for issue in found}}
    names = {cid: client.hostname if client else cid for cid, client in clients.items()}
    found.sort(key=lambda issue: (names[issue.cid], issue.check, issue.opened_at))
    if args.json:
        print(json.dumps([as_json(issue, names[issue.cid]) for issue in found], indent=2))
        return 0
    if not found:
        print("no open issues" if not args.closed else "no closed issues")
        return 0
    rows = [
        [
            names[issue.cid],
            issue.check,
            issue.state,
            ago(issue.opened_at, now),
            when(issue.snoozed_until) if (issue.snoozed_until or now) > now else "",
            " ".join(issue.message.split()),
        ]
        for issue in found
    ]
    print_table(["client", "check", "state", "opened", "snoozed until", "message"], rows)
    return 0


def as_json(issue: Issue, hostname: str) -> dict[str, object]:
    """An issue as `--json` prints it: the stored fields, times in ISO 8601, and the hostname."""
    fields = dataclasses.asdict(issue)
    fields["hostname"] = hostname
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
        if name != "notified"
    }


def _find(store: Store, name: str, check: str) -> Issue:
    client = find_client(store, name)
    found = store.issues(cid=client.cid, check=check, limit=1)
    if found:
        return found[0]
    others = sorted(issue.check for issue in store.issues(cid=client.cid))
    hint = f"; open are: {', '.join(others)}" if others else "; it has no open issues"
    raise NoSuchClientError(f"{name} has no open issue {check!r}{hint}")


def _show(store: Store, issue: Issue, args: argparse.Namespace, now: datetime) -> int:
    client = store.client(issue.cid)
    name = client.hostname if client else issue.cid
    if args.json:
        print(json.dumps(as_json(issue, name), indent=2))
        return 0
    print(f"{issue.check} on {clean(name)} ({issue.cid})")
    print(
        f"  state     {issue.state}, opened {when(issue.opened_at)} ({ago(issue.opened_at, now)})"
    )
    print(f"  message   {clean(issue.message)}")
    print(f"  alerted   {when(issue.alerted_at)}; due {when(issue.alert_due_at)}")
    if issue.snoozed_until and issue.snoozed_until > now:
        by = f" by {clean(issue.snoozed_by)}" if issue.snoozed_by else ""
        why = f": {clean(issue.snooze_reason)}" if issue.snooze_reason else ""
        print(f"  snoozed   until {when(issue.snoozed_until)}{by}{why}")
    if issue.evidence is not None:
        print("  evidence  " + json.dumps(issue.evidence, indent=2).replace("\n", "\n            "))
    return 0


def _snooze(store: Store, issue: Issue, args: argparse.Namespace, now: datetime) -> int:
    try:
        seconds = parse_duration(args.duration)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from None
    if seconds <= 0:
        raise UsageError("--for: expected more than nothing; to end a snooze, use unsnooze")
    until = now + timedelta(seconds=seconds)
    snoozed = dataclasses.replace(
        issue,
        snoozed_until=until,
        snooze_reason=args.reason,
        snoozed_by=getpass.getuser(),
    )
    if not store.update_issues([snoozed]):
        raise UsageError("the issue was closed in the meantime")
    print(f"snoozed for {say_duration(seconds)}, until {when(until)}")
    return 0


def _unsnooze(store: Store, issue: Issue) -> int:
    if issue.snoozed_until is None:
        print("it was not snoozed")
        return 0
    woken = dataclasses.replace(issue, snoozed_until=None, snooze_reason="", snoozed_by="")
    if not store.update_issues([woken]):
        raise UsageError("the issue was closed in the meantime")
    print(f"no longer snoozed; the next alert is due {when(issue.alert_due_at)}")
    return 0
