"""`qlmdm-clients`: invite machines, and see the fleet."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

import orjson

from qlmdm_core import cli
from qlmdm_core.api import JSON
from qlmdm_core.errors import UsageError
from qlmdm_core.server import invitations
from qlmdm_core.server.context import open_context
from qlmdm_core.server.lookup import find_client
from qlmdm_core.server.tables import ago, clean, print_table, when
from qlmdm_core.store import Store
from qlmdm_core.store.records import Client
from qlmdm_core.units import parse_duration

EXAMPLES = """\
  qlmdm-clients invite --uses 20 --expires 2d --output token   for twenty machines
  qlmdm-clients invite --email ada@example.com --tag laptops   for one, with an owner
  qlmdm-clients list
  qlmdm-clients show laptop7"""


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-clients")


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(
        "qlmdm-clients", "Invite machines, and see the fleet.", EXAMPLES, json=True
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    invite = cli.add_action(actions, "invite", "make a token with which machines can enrol")
    invite.add_argument("--uses", type=int, default=1, help="how many machines (1)")
    invite.add_argument("--expires", default="1 day", help="how long it can be used (1 day)")
    invite.add_argument("--tag", action="append", default=[], help="a tag for these machines")
    invite.add_argument("--email", help="whose machines these are")
    invite.add_argument(
        "--output", metavar="FILE", help="write the token to a new file (0600), don't print it"
    )
    cli.add_action(actions, "list", "all clients, by hostname", json=True)
    show = cli.add_action(actions, "show", "one client: what it reported, what is wrong", json=True)
    show.add_argument("client", metavar="CLIENT", help="hostname or id")
    return parser


def _main(argv: Sequence[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.json and args.action == "invite":
        parser.error("--json goes with list and show")
    now = datetime.now(timezone.utc)
    with open_context(args.settings).store() as store:
        if args.action == "invite":
            return _invite(store, args, now)
        if args.action == "list":
            return _list(store, args, now)
        return _show(store, args, now)


def _invite(store: Store, args: argparse.Namespace, now: datetime) -> int:
    try:
        lifetime = parse_duration(args.expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
    if not 1 <= args.uses <= 1_000_000 or lifetime <= 0:
        raise UsageError("--uses and --expires: expected at least one use and some time")
    if args.output and os.path.lexists(args.output):
        raise UsageError(f"--output: {args.output} is there already; name a new file")
    _, token = invitations.invite(
        store,
        now=now,
        uses=args.uses,
        expires_at=now + timedelta(seconds=lifetime),
        created_by=getpass.getuser(),
        tags=tuple(args.tag),
        user_email=args.email,
    )
    if args.output:
        _write_new(args.output, f"{token}\n")
        until = when(now + timedelta(seconds=lifetime))
        machines = "1 machine" if args.uses == 1 else f"{args.uses} machines"
        print(f"{args.output}: good for {machines} until {until}", file=sys.stderr)
    else:
        print(token)
    return 0


def _write_new(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"--output: {path}: {error.strerror}") from None


def all_clients(store: Store) -> Iterator[Client]:
    """Every client, by hostname, read page by page."""
    after: str | None = None
    while True:
        page = store.clients(after=after)
        yield from page.clients
        after = page.after
        if after is None:
            return


def _list(store: Store, args: argparse.Namespace, now: datetime) -> int:
    wrong = _count_by_client(store)
    due = _due(store, now)
    if args.json:
        for client in all_clients(store):
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
        for client in all_clients(store)
    ]
    if not rows:
        print("no clients yet; invite some with: qlmdm-clients invite")
        return 0
    print_table(["client", "user", "os", "last seen", "verdicts"], rows)
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


def _show(store: Store, args: argparse.Namespace, now: datetime) -> int:
    client = find_client(store, args.client)
    report: dict[str, JSON] = orjson.loads(store.report(client.cid) or b"{}")
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
    for name, value in client.flags.items():
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
