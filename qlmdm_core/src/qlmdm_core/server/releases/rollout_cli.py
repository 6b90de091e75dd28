"""`qlmdm-client-release rollout`, and the invitation that goes into a bootstrap tar."""

from __future__ import annotations

import argparse
import getpass
from datetime import datetime, timedelta

from qlmdm_core import cli, rootdoc, signedtext, tokens
from qlmdm_core.errors import UsageError
from qlmdm_core.server import invitations
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.lookup import find_client
from qlmdm_core.server.releases import progress, publish, rollout
from qlmdm_core.server.releases.rollout import Growth, Rollout
from qlmdm_core.store import Store
from qlmdm_core.units import parse_duration


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The action and its options."""
    parser = cli.add_action(actions, "rollout", "who is offered a release")
    parser.add_argument("version", metavar="VERSION", nargs="?")
    parser.add_argument(
        "--to", metavar="HOST", action="append", default=[], help="this client, too"
    )
    parser.add_argument(
        "--tag", metavar="TAG", action="append", default=[], help="clients that have it, too"
    )
    share = parser.add_mutually_exclusive_group()
    share.add_argument("--percent", metavar="N", type=float, help="this share of all clients, too")
    share.add_argument("--all", action="store_true", help="everybody")
    parser.add_argument(
        "--grow", metavar="N", type=float, help="then N%% more, again and again, while all is well"
    )
    parser.add_argument("--every", default="4h", help="how long each step is given (4h)")
    parser.add_argument(
        "--healthy-above",
        metavar="N",
        default="95",
        help="stop unless so many percent of those that were reached come back well (95)",
    )
    parser.add_argument(
        "--deadline",
        default="3 days",
        help="so long may a client that was offered it be silent, and not count as lost (3 days)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--pause", action="store_true", help="nobody else gets it, for now")
    what.add_argument("--resume", action="store_true", help="go on, after a pause or a stop")
    what.add_argument(
        "--advance",
        action="store_true",
        help="let roll-outs that grow take their next step (qlmdm-audit does it, too)",
    )


def roll_out(args: argparse.Namespace, context: Context, now: datetime) -> int:
    """The action."""
    widening = bool(args.to or args.tag or args.all or args.percent is not None)
    with context.store() as store:
        if args.advance:
            if args.version or widening:
                raise UsageError("--advance goes alone: it is for all roll-outs that grow")
            for line in progress.advance(store, now):
                print(line)
            return 0
        if args.version is None:
            raise UsageError("say which VERSION; see qlmdm-client-release list")
        if args.pause and widening:
            raise UsageError("--pause goes alone")
        if not (widening or args.pause or args.resume):
            raise UsageError(
                "say who gets it: --to HOST, --tag TAG, --percent N, --all; or --pause, --resume"
            )
        record = publish.find(store, args.version)
        if record.status == "withdrawn":
            raise UsageError(f"release {args.version} was withdrawn; build a newer one")
        planned = rollout.load(record.rollout, record.created_at)
        planned = _changed(args, store, planned, now.replace(microsecond=0))
        publish.change(store, record, rollout=rollout.dump(planned))
    print(f"release {args.version}: {progress.described(planned)}")
    return 0


def _changed(args: argparse.Namespace, store: Store, planned: Rollout, now: datetime) -> Rollout:
    if args.pause:
        return rollout.pause(planned, f"by {getpass.getuser()}")
    percent = rollout.WHOLE if args.all else args.percent
    if percent is not None and not 0 < percent <= rollout.WHOLE:
        raise UsageError("--percent: expected more than 0, at most 100")
    if percent is not None and percent < planned.percent:
        raise UsageError(
            f"{planned.percent:g}% are offered it already, and a roll-out is only ever widened; "
            "stop it with --pause"
        )
    return rollout.widen(
        planned,
        now,
        hosts=[find_client(store, name, prefer_active=True).cid for name in args.to],
        tags=args.tag,
        percent=percent,
        growth=_growth(args) if args.grow is not None else None,
    )


def _growth(args: argparse.Namespace) -> Growth:
    try:
        every, deadline = parse_duration(args.every), parse_duration(args.deadline)
        limit = float(args.healthy_above.removesuffix("%"))
    except ValueError as error:
        raise UsageError(f"--every, --deadline, --healthy-above: {error}") from None
    if args.percent is None:
        raise UsageError("--grow needs --percent N: the share to begin with")
    if not 0 < args.grow <= rollout.WHOLE or not 0 < limit <= rollout.WHOLE:
        raise UsageError("--grow and --healthy-above: expected more than 0, at most 100")
    if every <= 0 or deadline <= 0:
        raise UsageError("--every and --deadline: expected some time")
    return Growth(step=args.grow, every=every, healthy_above=limit, deadline=deadline)


def token_for(args: argparse.Namespace, desk: Desk, now: datetime) -> str | None:
    """The invitation that a bootstrap tar is to hold: from a file, a new one, or none."""
    if args.token_file:
        return _from_file(args.token_file, desk)
    if args.invite is None:
        return None
    try:
        lifetime = parse_duration(args.expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
    _, token = invitations.invite(
        desk.store,
        now=now,
        expires_at=now + timedelta(seconds=lifetime),
        uses=args.invite,
        tags=tuple(args.tag),
        created_by=getpass.getuser(),
    )
    return str(token)


def _from_file(path: str, desk: Desk) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            token = tokens.parse(file.read(4096))
    except OSError as error:
        raise UsageError(f"--token-file: {path}: {error.strerror}") from None
    newest = desk.store.root()
    if (
        newest is None
        or token.root_sha256
        != signedtext.unpack(newest.document, max_bytes=rootdoc.MAX_BYTES).sha256
    ):
        raise UsageError(
            f"--token-file: {path}: this invitation names another root document than the newest, "
            "which goes into the tar; make a new one (--invite N)"
        )
    return str(token)
