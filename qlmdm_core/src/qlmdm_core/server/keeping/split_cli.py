"""The actions `split`, `combine` and `reshare` of `qlmdm-keys`."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from qlmdm_core import cli, rootdoc
from qlmdm_core.errors import UsageError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server import crypto
from qlmdm_core.server.context import Context
from qlmdm_core.server.keepers import read_keepers
from qlmdm_core.server.keeping import bundle as bundles
from qlmdm_core.server.keeping import split as splits
from qlmdm_core.server.keeping import words
from qlmdm_core.server.keeping.bundle import Bundle
from qlmdm_core.server.keeping.words import ReadShare
from qlmdm_core.server.root_pin import trusted_root

EXAMPLES = """\
  qlmdm-keys split root --keepers 5 --threshold 3 --output /media/stick/shares --remove
  qlmdm-keys combine root share-1.txt share-4.txt -     the third one is typed
  qlmdm-keys reshare root share-*.txt --keepers 4 --threshold 2 --output shares2"""

Action = Callable[[argparse.Namespace, Context, datetime], int]


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to the parser of `qlmdm-keys`."""
    split = cli.add_action(actions, "split", "put the secret keys of a role under M of N people")
    _add_role(split)
    _add_numbers(split)
    split.add_argument(
        "--remove", action="store_true", help="then remove the plain secret keys from this server"
    )
    combine = cli.add_action(actions, "combine", "restore split keys from enough shares")
    reshare = cli.add_action(actions, "reshare", "split split keys anew, for other people")
    for parser in (combine, reshare):
        _add_role(parser)
        parser.add_argument(
            "share", nargs="*", metavar="SHARE", help="a share's file; '-' (or none): it is typed"
        )
        parser.add_argument("--bundle", metavar="FILE", help="the split key (else the server's)")
    _add_numbers(reshare)


def _add_role(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", choices=rootdoc.ROLES, metavar="ROLE", help="root, release, …")


def _add_numbers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keepers", type=int, metavar="N", help="how many people get a share")
    parser.add_argument(
        "--threshold", type=int, required=True, metavar="M", help="how many are needed together"
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="a new folder for the shares"
    )
    parser.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="FILE",
        help="a keeper's public key: encrypt their share to it (once for each keeper)",
    )


def split(args: argparse.Namespace, context: Context, now: datetime) -> int:
    """`qlmdm-keys split`."""
    if args.remove and args.role == "online":
        raise UsageError("--remove: the server signs each answer with the online key; it stays")
    to = read_keepers(args.to)
    home = crypto.role_home(context.settings, args.role)
    named = _root(context).roles[args.role].fingerprints
    made = splits.split(home, args.role, _keepers(args), args.threshold, now, named)
    paths = splits.write(made, args.output, bundle_path(context, args.role), to)
    _tell(paths, made.bundle, bundle_path(context, args.role))
    if args.remove:
        splits.remove_plain(home, print)
    else:
        print(f"The plain keys are still in {home}; --remove takes them away.")
    return 0


def combine(args: argparse.Namespace, context: Context, now: datetime) -> int:  # noqa: ARG001
    """`qlmdm-keys combine`."""
    found = _bundle(args, context)
    root = _root(context)
    home = crypto.role_home(context.settings, args.role)
    for fingerprint in splits.combine(home, found, _shares(args.share, found), root):
        print(f"{home}: restored {fingerprint}")
    print("The plain keys are on this machine now; qlmdm-keys split --remove takes them away.")
    return 0


def reshare(args: argparse.Namespace, context: Context, now: datetime) -> int:
    """`qlmdm-keys reshare`."""
    to = read_keepers(args.to)
    found = _bundle(args, context)
    keepers = _keepers(args)
    words.check_numbers(keepers, args.threshold)
    made = splits.reshare(found, _shares(args.share, found), keepers, args.threshold, now)
    kept = args.bundle or bundle_path(context, args.role)
    paths = splits.write(made, args.output, kept, to)
    _tell(paths, made.bundle, kept)
    print(
        f"Shares of set {found.set_id} don't open it. They open copies of the old file as ever: "
        "destroy those, and the old shares. If they may have been seen, rotate the key."
    )
    return 0


ACTIONS: Mapping[str, Action] = {"split": split, "combine": combine, "reshare": reshare}


def bundle_path(context: Context, role: str) -> str:
    """Where the server keeps the split keys of a role."""
    return os.path.join(context.settings.keys, "split", f"{role}.json")


def _root(context: Context) -> Root:
    with context.store() as store:
        verifier = crypto.verifier_of(crypto.best_engine())
        return trusted_root(context.settings, store, verifier)


def _keepers(args: argparse.Namespace) -> int:
    number = args.keepers if args.keepers is not None else len(args.to)
    if not number:
        raise UsageError("--keepers N is needed (or --to FILE for each of them)")
    return int(number)


def _bundle(args: argparse.Namespace, context: Context) -> Bundle:
    path = args.bundle or bundle_path(context, args.role)
    found = bundles.unpack(splits.read_file(path), path)
    if found.role != args.role:
        raise UsageError(f"{path}: the keys of the role {found.role}, not {args.role}")
    return found


def _shares(paths: Sequence[str], found: Bundle) -> list[ReadShare]:
    """Read from files, or typed one after the other; a typed one that is wrong is asked again."""
    read: list[ReadShare] = []
    for at, path in enumerate(paths or ["-"] * found.threshold, 1):
        if path != "-":
            read.append(words.read_share(splits.read_file(path), path))
        else:
            read.append(_typed(f"share {at}"))
    return read


def _typed(where: str) -> ReadShare:
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return words.read_share(line, f"{where} (standard input)")
    while True:
        try:
            return words.read_share(getpass.getpass(f"The words of {where}: "), where)
        except words.ShareError as error:
            print(error, file=sys.stderr)


def _tell(paths: Sequence[str], made: Bundle, kept: str) -> None:
    for path in paths:
        print(path)
    print(
        f"Give each to its keeper and leave none here; any {made.threshold} of the {made.keepers} "
        f"restore the {made.role} key, together with {kept} (not secret; keep copies)."
    )
