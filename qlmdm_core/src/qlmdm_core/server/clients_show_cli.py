"""`qlmdm-clients list` and `show`: the fleet, and one client."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from qlmdm_core.api import JSON
from qlmdm_core.server.copies import COPIES, COPY_OF
from qlmdm_core.server.lookup import all_clients, find_client
from qlmdm_core.server.tables import ago, clean, print_table, when
from qlmdm_core.store import Store
from qlmdm_core.store.records import Client


def show_list(store: Store, args: argparse.Namespace, now: datetime) -> int:
    if args.unattributed:
        return _list_unattributed(store, args, now)
    wrong = _count_by_client(store)
    due = _due(store, now)
    chosen = [
        client for client in all_clients(store) if not args.status or client.status == args.status
    ]
    if args.json:
        for client in chosen:
            shown = {**as_json(client), "verdicts": wrong.get(client.cid, {})}
            print(json.dumps({**shown, "due": client.cid in due}))
        return 0
    rows = [
        [
            client.hostname + ("" if client.status == "active" else f" ({client.status})"),
            client.user_email or "",
            _os(client),
            ago(client.last_seen_at, now),
            _verdicts(client, wrong.get(client.cid, {}), due=client.cid in due),
        ]
        for client in chosen
    ]
    if not rows and args.status:
        print(f"no client is {args.status}")
        return 0
    if not rows:
        print("no clients yet; invite some with: qlmdm-clients invite")
        return 0
    print_table(["client", "user", "os", "last seen", "verdicts"], rows)
    return 0


def _list_unattributed(store: Store, args: argparse.Namespace, now: datetime) -> int:
    """What was sent by the key that the original's clients share: somebody said it."""
    reports = store.unattributed()
    if args.json:
        for report in reports:
            shown = {"hostname": report.hostname, "received_at": report.received_at.isoformat()}
            print(json.dumps({**shown, "report": json.loads(report.report)}))
        return 0
    print("unattributed: signed by a key that many machines share: any of them said it")
    rows = [
        [report.hostname, ago(report.received_at, now), f"{len(report.report)} bytes"]
        for report in reports
    ]
    print_table(["called", "received", "size"], rows)
    return 0


def _count_by_client(store: Store) -> dict[str, Counter[str]]:
    """For each client, how many checks fail and how many are unknown."""
    counts: dict[str, Counter[str]] = {}
    after: str | None = None
    while True:
        page = store.verdicts(after=after)
        for record in page:
            counts.setdefault(record.cid, Counter())[record.state] += 1
        if len(page) < 1000:
            return counts
        after = f"{page[-1].check}:{page[-1].cid}"


def _due(store: Store, now: datetime) -> set[str]:
    """The clients that the next audit judges: they changed since the last one, or it is time."""
    found: set[str] = set()
    while page := store.audit_targets(now, everything=False, after=max(found, default=None)):
        found.update(target.client.cid for target in page)
    return found


def _os(client: Client) -> str:
    facts = client.facts
    words = [facts.get("os_info.id"), facts.get("os_info.version_id")]
    return " ".join(str(word) for word in words if word)


def _verdicts(client: Client, counts: Mapping[str, int], *, due: bool) -> str:
    """How many checks fail and how many are unknown.

    A verdict that passes is not stored: without any, nothing is wrong only if the client reported
    and was judged since.
    """
    texts = [f"{counts[state]} {state}" for state in ("fail", "unknown") if counts.get(state)]
    if texts or not client.reported_at or client.status != "active":
        return ", ".join(texts)
    return "not judged yet" if due else "all pass"


def as_json(client: Client) -> dict[str, JSON]:
    """A client as `--json` prints it: the stored fields, times in ISO 8601, without the key."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in dataclasses.asdict(client).items()
        if name != "public_key"
    }


def show_client(store: Store, args: argparse.Namespace, now: datetime) -> int:
    client = find_client(store, args.client)
    report: dict[str, JSON] = json.loads(store.report(client.cid) or b"{}")
    verdicts = store.verdicts(cid=client.cid)
    if args.json:
        wrong = [
            {"check": v.check, "state": v.state, "since_at": v.since_at.isoformat()}
            | {"message": v.message, "evidence": v.evidence}
            for v in verdicts
        ]
        print(json.dumps({**as_json(client), "report": report, "verdicts": wrong}, indent=2))
        return 0
    print(f"{clean(client.hostname)} ({client.cid})")
    print(f"  user       {clean(client.user_email or 'not known')}")
    print(f"  tags       {clean(', '.join(client.tags) or 'none')}")
    print(f"  status     {client.status}, enrolled {when(client.enrolled_at)}")
    print(f"  last seen  {when(client.last_seen_at)} ({ago(client.last_seen_at, now)})")
    print(f"  key        {client.fingerprint}")
    for line in _relations(store, client):
        print(f"  {line}")
    for name, value in client.flags.items():
        if name in (COPIES, COPY_OF):
            continue
        print(f"  flag       {clean(name)}: {json.dumps(value)}")
    print()
    print_table(["collector", "status", "collected", "changed", "state"], _collector_rows(report))
    if verdicts:
        print()
        rows = [
            [v.check, v.state, ago(v.since_at, now), " ".join(v.message.split())] for v in verdicts
        ]
        print_table(["check", "verdict", "since", "message"], rows)
    elif told := _verdicts(client, {}, due=client.cid in _due(store, now)):
        print(f"\nverdicts: {told}" + (" (qlmdm-audit does it)" if told != "all pass" else ""))
    return 0


def _relations(store: Store, client: Client) -> list[str]:
    """Other clients that may be the same machine, or a copy of it; people decide.

    A hash of the machine is what the client says of itself: whoever has an invitation could say
    that of another machine. So nothing is merged by it.
    """
    lines = []
    for name, what in ((COPY_OF, "a copy of"), (COPIES, "has a copy")):
        found = client.flags.get(name) or ()
        for cid in [found] if isinstance(found, str) else found:
            other = store.client(str(cid))
            if other is not None:
                lines.append(f"copy       {what} {clean(other.hostname)} ({cid}, {other.status})")
    for other in all_clients(store):
        if other.mid != client.mid or other.cid == client.cid:
            continue
        if other.enrolled_at < client.enrolled_at:
            lines.append(
                f"before     the same machine, as it says, was {clean(other.hostname)} "
                f"({other.cid}, {other.status}, last seen {when(other.last_seen_at)})"
                + (f"; to retire it: qlmdm-clients retire {other.cid}" if _lives(other) else "")
            )
        else:
            lines.append(
                f"after      the same machine, as it says, enrolled again as "
                f"{clean(other.hostname)} ({other.cid}, {other.status})"
            )
    return lines


def _lives(client: Client) -> bool:
    return client.status in ("active", "pending")


def _collector_rows(report: Mapping[str, Mapping[str, JSON]]) -> list[list[str]]:
    rows = []
    for name, result in sorted(report.items()):
        value = result.get("value")
        state = value.get("state") if isinstance(value, dict) else result.get("error")
        reason = value.get("reason") if isinstance(value, dict) else None
        rows.append(
            [
                name,
                str(result.get("status")),
                str(result.get("collected_at", ""))[:19],
                str(result.get("changed_at", ""))[:19],
                # Last, since it may be long.
                " ".join(f"{state}: {reason}".split()) if reason else " ".join(str(state).split()),
            ]
        )
    return rows
