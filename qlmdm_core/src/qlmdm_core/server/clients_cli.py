"""`qlmdm-clients`: invite machines, see the fleet, decide who belongs to it."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from qlmdm_core import cli
from qlmdm_core.errors import UsageError
from qlmdm_core.server import clients_reveal_cli
from qlmdm_core.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qlmdm_core.store import Store

EXAMPLES = """\
  qlmdm-clients invite --uses 20 --expires 2d --output token   for twenty machines
  qlmdm-clients invite --email ada@example.com --tag laptops   for one, with an owner
  qlmdm-clients list --status pending                          who waits for approval
  qlmdm-clients approve laptop7
  qlmdm-clients show laptop7
  qlmdm-clients revoke laptop7                                 it was stolen
  qlmdm-clients rekey --all                                    each client gets a new key
  qlmdm-clients reveal laptop7 --export laptop7.json           then, on a keeper's machine:
  qlmdm-clients reveal --file laptop7.json"""

CHANGES = {
    "approve": "let machines in that wait for approval",
    "reject": "refuse machines that wait for approval, for good",
    "retire": "machines that are gone: kept for their history, judged no more",
    "revoke": "keys that others may have: they are refused from now on",
    "settle": "take away the mark of a duplicate that was seen to",
    "rekey": "have clients replace their keys",
}


def main() -> int:
    """The command."""
    return cli.run(_main, "qlmdm-clients")


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(
        "qlmdm-clients",
        "Invite machines, see the fleet, decide who belongs to it.",
        EXAMPLES,
        json=True,
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
    listed = cli.add_action(actions, "list", "all clients, by hostname", json=True)
    listed.add_argument(
        "--status", choices=("active", "pending", "revoked", "retired"), help="only these"
    )
    listed.add_argument(
        "--unattributed",
        action="store_true",
        help="what was sent with the key that the original's clients share",
    )
    show = cli.add_action(actions, "show", "one client: what it reported, what is wrong", json=True)
    show.add_argument("client", metavar="CLIENT", help="hostname or id")
    for name, what in CHANGES.items():
        change = cli.add_action(actions, name, what)
        few = "*" if name == "rekey" else "+"
        change.add_argument("client", metavar="CLIENT", nargs=few, help="hostnames or ids")
        if name == "rekey":
            change.add_argument("--all", action="store_true", help="all clients")
        if name == "revoke":
            change.add_argument(
                "--anyway", action="store_true", help="even if a wipe waits, which it never gets"
            )
    clients_reveal_cli.add_arguments(
        cli.add_action(
            actions, "reveal", "what is sealed for the secret-keepers, opened by one", json=True
        )
    )
    return parser


def _main(argv: Sequence[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.json and args.action not in ("list", "show", "reveal"):
        parser.error("--json goes with list, show and reveal")
    now = datetime.now(timezone.utc)
    if args.action == "reveal":
        if args.file:
            return clients_reveal_cli.from_file(args)
        return clients_reveal_cli.from_server(args, now)
    # A keeper's machine has none of what these need.
    from qlmdm_core.server import clients_change_cli, clients_show_cli
    from qlmdm_core.server.context import open_context

    with open_context(args.settings).store() as store:
        if args.action == "invite":
            return _invite(store, args, now)
        if args.action == "list":
            return clients_show_cli.show_list(store, args, now)
        if args.action == "show":
            return clients_show_cli.show_client(store, args, now)
        return clients_change_cli.ACTIONS[args.action](store, args, now)


def _invite(store: Store, args: argparse.Namespace, now: datetime) -> int:
    try:
        lifetime = parse_duration(args.expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
    if not 1 <= args.uses <= 1_000_000 or lifetime <= 0:
        raise UsageError("--uses and --expires: expected at least one use and some time")
    if args.output and os.path.lexists(args.output):
        raise UsageError(f"--output: {args.output} is there already; name a new file")
    from qlmdm_core.server import invitations
    from qlmdm_core.server.tables import when

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
