"""`qlmdm-client-wipe`: wipe one machine, after a look at what that means."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import cast, get_args

from qlmdm_core import cli
from qlmdm_core.commanddoc import Method
from qlmdm_core.errors import UsageError
from qlmdm_core.server.context import open_context
from qlmdm_core.server.lookup import find_client
from qlmdm_core.server.tables import ago, clean, print_table, when
from qlmdm_core.server.wipe import reported, showing, states
from qlmdm_core.server.wipe.ordering import Office
from qlmdm_core.server.wipe.reported import Reported, WipeRefusedError
from qlmdm_core.server.wipe.states import Wipe
from qlmdm_core.store.outgoing import Draft
from qlmdm_core.store.records import Client

PROG = "qlmdm-client-wipe"
EXAMPLES = """\
  qlmdm-client-wipe laptop7                     the plan: nothing is done
  qlmdm-client-wipe laptop7 --method erase      asks for the hostname, signs, queues
  qlmdm-client-wipe --approve command-0f3a…     as the second operator, where two are asked for
  qlmdm-client-wipe --status laptop7            how far it is
  qlmdm-client-wipe --cancel laptop7

exit status: 0 done, 1 refused or failed, 2 usage, settings or not confirmed, 3 not now, or
signatures are missing (--status: it is not over)"""
WAITING = 3


def main() -> int:
    """The command."""
    return cli.run(_main, PROG)


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(
        PROG, "Wipe a machine that was lost or leaves the company.", EXAMPLES, json=True
    )
    parser.add_argument("host", nargs="?", metavar="HOST", help="hostname, or the client's id")
    parser.add_argument("--method", choices=get_args(Method), help="how; none: show the plan")
    parser.add_argument("--operator", metavar="KEY", help="whose key signs, if several are here")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--approve", metavar="NAME", help="sign a wipe that waits for you")
    what.add_argument("--cancel", metavar="HOST", help="call a wipe off; or its id")
    what.add_argument(
        "--status", nargs="?", const="", metavar="HOST", help="of one client's wipes, or all"
    )
    return parser


def _main(argv: Sequence[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    others = (args.approve, args.cancel, args.status)
    if (args.host is None) == all(other is None for other in others):
        parser.error("expected HOST, or --approve, --cancel or --status")
    if args.method and args.host is None:
        parser.error("--method goes with HOST")
    if args.json and (args.method or args.approve or args.cancel):
        parser.error("--json goes with the plan and --status")
    context = open_context(args.settings)
    with context.store() as store:
        # To the second, as times in what is signed are.
        now = datetime.now(timezone.utc).replace(microsecond=0)
        office = Office(context=context, store=store, now=now)
        if args.status is not None:
            return _status(office, args.status, as_json=args.json)
        if args.cancel is not None:
            return _cancel(office, args)
        if args.approve is not None:
            return _approve(office, args)
        return _wipe(office, args)


# --- the plan, and the order ---------------------------------------------------------------------


def _wipe(office: Office, args: argparse.Namespace) -> int:
    found = reported.read(office.store, find_client(office.store, args.host))
    desk = office.desk
    reasons = reported.refusals(found.client, office.context.settings.wipe, desk.root)
    methods: tuple[Method, ...] = (args.method,) if args.method else get_args(Method)
    unfit = {method: reported.unfit(found, method) for method in methods}
    if args.json:
        _print_json(found, reasons, unfit)
        return 1 if reasons else 0
    _say(*showing.lines(found, office.now))
    for method in methods:
        _say("", *showing.method_lines(method), *(f"  NOT POSSIBLE: {w}" for w in unfit[method]))
    if reasons or (args.method and unfit[args.method]):
        why = "; ".join([*reasons, *(unfit[args.method] if args.method else [])])
        raise WipeRefusedError(f"{found.client.hostname} can't be wiped: {why}")
    operators = office.operators(desk.root)
    expires_at = office.now.timestamp() + office.lifetime_seconds()
    _say(
        "",
        *showing.when_lines(
            now=office.now,
            not_before=office.not_before,
            expires_at=datetime.fromtimestamp(expires_at, timezone.utc),
            operators=operators,
        ),
    )
    if not args.method:
        _say("", f"nothing was done; to wipe it: {PROG} {args.host} --method METHOD")
        return 0
    office.only(desk, args.operator)  # whoever has no say is not asked
    _confirm(found.client, args.method)
    return _ordered(office, found, args.method, args.operator)


def _ordered(office: Office, found: Reported, method: Method, operator: str | None) -> int:
    made = office.order(found, method, operator)
    if isinstance(made, Draft):
        _say(
            f"{made.name} lacks {', '.join(office.desk.standing(made).missing)}; where a key is:",
            f"  {PROG} --approve {made.name}",
            f"  qlmdm-keys sign {made.name} --export DIR    to have it signed elsewhere",
        )
        return WAITING
    _say(
        f"wipe {made.command.id} is held until {when(made.command.not_before)}",
        f"to call it off: {PROG} --cancel {made.command.id}",
    )
    return 0


def _confirm(client: Client, method: Method) -> None:
    """Let them type the hostname. Raises `UsageError` unless it is typed.

    Or the id: what a thief calls the machine need not be on any keyboard.
    """
    print(f"\nType the hostname to have it wiped by {method}: ", end="", flush=True)
    typed = sys.stdin.readline().strip()
    print()
    if typed not in (client.hostname, client.cid):
        raise UsageError(
            f"that is not its hostname (its id, {client.cid}, will do as well); nothing was done"
        )


def _approve(office: Office, args: argparse.Namespace) -> int:
    desk = office.desk
    draft = desk.get(args.approve)
    command = states.of_draft(draft)
    if command is None or command.wipe is None:
        raise UsageError(f"{draft.name} is no wipe; see qlmdm-keys sign")
    # What is shown is what is signed, and what the client says now; not what lies beside it.
    client = find_client(office.store, command.hosts[0])
    found = reported.read(office.store, client)
    _say(*showing.lines(found, office.now), "", *showing.method_lines(command.wipe.method))
    reasons = reported.refusals(found.client, office.context.settings.wipe, desk.root)
    if found.plan.order(command.wipe.method) != command.wipe:
        reasons.append("it reports other disks, headers or machine-id than the order names")
    if reasons:
        raise WipeRefusedError(f"{client.hostname} can't be wiped: {'; '.join(reasons)}")
    _say(
        "",
        f"ordered by {clean(command.requested_by)} at {when(command.issued_at)}, not before "
        f"{when(command.not_before)}, until {when(command.expires_at)}",
    )
    office.only(desk, args.operator)
    _confirm(client, command.wipe.method)
    _say(*office.approve(draft, args.operator))
    return 0 if office.store.draft(draft.name) is None else WAITING


# --- what became of it ----------------------------------------------------------------------------


def _cancel(office: Office, args: argparse.Namespace) -> int:
    found = [
        wipe
        for wipe in states.wipes(office.store, office.now)
        if wipe.id == args.cancel or (wipe.is_open and _names(office, wipe, args.cancel))
    ]
    if len(found) != 1:
        ids = "".join(f"\n  {wipe.id}  {wipe.state}" for wipe in found)
        raise WipeRefusedError(f"{len(found)} wipes of {args.cancel} can be called off{ids}")
    _say(*office.cancel(found[0], args.operator))
    return 0


def _names(office: Office, wipe: Wipe, name: str) -> bool:
    return name in (wipe.cid, _hostname(office, wipe.cid))


def _hostname(office: Office, cid: str) -> str:
    client = office.store.client(cid)
    return client.hostname if client is not None else cid


def _status(office: Office, host: str, *, as_json: bool) -> int:
    found = [
        wipe
        for wipe in states.wipes(office.store, office.now)
        if not host or wipe.id == host or _names(office, wipe, host)
    ]
    if as_json:
        for wipe in found:
            print(json.dumps(states.as_json(wipe, _hostname(office, wipe.cid))))
    elif not found:
        print("no wipe was ordered")
    elif not host:
        rows = [
            [_hostname(office, w.cid), w.method, w.state, ago(w.times[0][1], office.now), w.id]
            for w in found
        ]
        print_table(["client", "method", "state", "ordered", "id"], rows)
    else:
        for wipe in found:
            _say_wipe(office, wipe)
    newest = found[0].state if host and found else ""
    if newest in ("failed", "refused", "expired", "indeterminate"):
        return 1
    return WAITING if newest and found[0].is_open else 0


def _say_wipe(office: Office, wipe: Wipe) -> None:
    _say(f"{_hostname(office, wipe.cid)}: {wipe.state}, by {wipe.method}, wipe {wipe.id}")
    _say(*(f"  {name:<12} {when(at)}" for name, at in wipe.times))
    _say(f"  {'ordered by':<12} {wipe.created_by}")
    if wipe.reason:
        _say(f"  {'because':<12} {wipe.reason}")
    _say(*(f"  {number:>2}. {stage}" for number, stage in enumerate(wipe.stages, 1)))
    if wipe.state == "silent" and wipe.method == "erase":
        _say(
            "  It said nothing since. A machine that is switched off by erase says nothing more;",
            "  so does one that was switched off before.",
        )


def _print_json(found: Reported, reasons: Sequence[str], unfit: dict[Method, list[str]]) -> None:
    from qlmdm_core.client.wipe import plan

    collected_at = found.collected_at.isoformat() if found.collected_at else None
    value = {
        "cid": found.client.cid,
        "hostname": found.client.hostname,
        "user_email": found.client.user_email,
        "collected_at": collected_at,
        "refused": list(reasons),
        "not_possible": cast("dict[str, list[str]]", unfit),
        "plan": plan.to_json(found.plan),
    }
    print(json.dumps(value, indent=2))


def _say(*lines: str) -> None:
    for line in lines:
        print(clean(line), flush=True)
