"""`qlmdm-client-command`: one-time commands for clients, and what became of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from qlmdm_core import cli, commanddoc
from qlmdm_core.errors import UsageError
from qlmdm_core.server.commands import sending, show_cli, waiting, whom
from qlmdm_core.server.commands.sending import Queued, Sender
from qlmdm_core.server.context import open_context
from qlmdm_core.server.lookup import active_clients
from qlmdm_core.store import Store
from qlmdm_core.units import parse_duration

PROG = "qlmdm-client-command"
EXAMPLES = """\
  qlmdm-client-command run 'systemctl restart cups' --host laptop7 --wait
  qlmdm-client-command run --script fix.sh --tag berlin --expires 2d --reason "ticket 812"
  qlmdm-client-command run - --host laptop7 < secret.sh    what it says is shown nowhere
  qlmdm-client-command put badge.conf acme/badge.conf --all
  qlmdm-client-command list
  qlmdm-client-command output 3f9c laptop7
  qlmdm-client-command cancel 3f9c

exit status: 0 done, 1 it failed on some clients, 2 usage, settings or not confirmed, 3 not over
yet (--wait) or waiting for signatures"""
WAITING = 3


def main() -> int:
    """The command."""
    return cli.run(_main, PROG)


def _parser() -> argparse.ArgumentParser:
    parser = cli.base_parser(
        PROG,
        "Have clients run a script, or put a file, once; see what became of it.",
        EXAMPLES,
        json=True,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = cli.add_action(actions, "run", "run a shell command or a script")
    run.add_argument("shell", nargs="?", metavar="SHELL", help="a shell command; -: standard input")
    run.add_argument("--script", metavar="FILE", help="a script instead; its first line counts")
    run.add_argument("--interpreter", metavar="PATH", help="what runs it, if not its first line")
    run.add_argument("--timeout", metavar="TIME", help="how long it may run (settings: commands)")
    run.add_argument(
        "--output-max",
        type=int,
        default=64 << 10,
        metavar="BYTES",
        help="how much of its output comes back (65536)",
    )
    put = cli.add_action(actions, "put", "put a file below the client's folder for files")
    put.add_argument("file", metavar="FILE")
    put.add_argument("path", metavar="PATH", help="where, as in acme/badge.conf")
    put.add_argument("--mode", type=_mode, default=0o600, help="600 (the default), 644, 700, 755")
    remove = cli.add_action(actions, "remove", "remove a file that was put")
    remove.add_argument("path", metavar="PATH")
    for action in (run, put, remove):
        whom.add_options(action)
    cancel = cli.add_action(actions, "cancel", "call off what has not begun")
    cancel.add_argument("id", metavar="ID")
    for action in (run, put, remove, cancel):
        _add_signing(action)
    listing = cli.add_action(actions, "list", "the newest commands", json=True)
    listing.add_argument("--count", type=int, default=show_cli.LISTED, help="how many (50)")
    listing.add_argument("--release", action="store_true", help="scripts that came with releases")
    show = cli.add_action(actions, "show", "one command, on each client", json=True)
    output = cli.add_action(actions, "output", "what it printed", json=True)
    for action in (show, output):
        action.add_argument("id", metavar="ID", help="or its beginning")
    output.add_argument("host", nargs="?", metavar="HOST", help="on this client only")
    return parser


def _add_signing(action: argparse.ArgumentParser) -> None:
    action.add_argument("--expires", metavar="TIME", help="how long it waits (settings: commands)")
    action.add_argument("--operator", metavar="KEY", help="whose key signs, if several are here")
    action.add_argument("--reason", help="why, for those who read it later")
    action.add_argument("--wait", action="store_true", help="show how far it is, until it is over")
    action.add_argument(
        "--timeout-wait", metavar="TIME", help="wait no longer than this, then exit with 3"
    )


def _mode(text: str) -> int:
    modes = {"600": 0o600, "700": 0o700, "644": 0o644, "755": 0o755}
    try:
        return modes[text.lstrip("0")]
    except KeyError:
        raise argparse.ArgumentTypeError("expected 600, 644, 700 or 755") from None


def _main(argv: Sequence[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.json and args.action not in ("list", "show", "output"):
        parser.error("--json goes with list, show and output")
    context = open_context(args.settings)
    with context.store() as store:
        now = sending.now()
        if args.action == "list":
            if args.release:
                return show_cli.list_shipped(store, active_clients(store), as_json=args.json)
            return show_cli.list_commands(store, now=now, count=args.count, as_json=args.json)
        if args.action == "show":
            return show_cli.show(store, args.id, now=now, as_json=args.json)
        if args.action == "output":
            return show_cli.output(store, args.id, args.host, as_json=args.json)
        sender = Sender(context=context, store=store, now=now)
        if args.action == "cancel":
            return _cancel(sender, args)
        if args.action == "run" and not 0 <= args.output_max <= commanddoc.MAX_OUTPUT_BYTES:
            raise UsageError(f"--output-max: expected 0 to {commanddoc.MAX_OUTPUT_BYTES}")
        send = {"run": sender.run, "put": sender.put, "remove": sender.remove}[args.action]
        return _told(store, send(args), args)


def _cancel(sender: Sender, args: argparse.Namespace) -> int:
    before, queued = sender.cancel(args)
    print(f"{before} clients had not been given it, and won't be")
    if queued is None:
        print("no client has it that has not finished")
        return 0
    print("the others are told by a command of its own:")
    return _told(sender.store, queued, args)


def _told(store: Store, queued: Queued, args: argparse.Namespace) -> int:
    for line in sending.said(queued):
        print(line, flush=True)
    if queued.waits_for is not None:
        return WAITING
    if not args.wait:
        return 0
    timeout = None
    if args.timeout_wait is not None:
        try:
            timeout = parse_duration(args.timeout_wait)
        except ValueError as error:
            raise UsageError(f"--timeout-wait: {error}") from None
    return waiting.wait(store, queued.command_id, timeout=timeout)
