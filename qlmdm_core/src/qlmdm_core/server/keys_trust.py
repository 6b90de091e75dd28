"""The actions of `qlmdm-keys` that change whom clients trust: each is a new root document."""

from __future__ import annotations

import argparse
from datetime import datetime

from qlmdm_core import cli, rootdoc
from qlmdm_core.errors import UsageError
from qlmdm_core.rootdoc import ROLES
from qlmdm_core.server import crypto, online_key
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Desk, describe, name_in
from qlmdm_core.server.keys_common import (
    add_yes,
    agreed,
    change_root,
    named_key,
    open_desk,
    read_document,
    read_public_key,
    role_argument,
    say,
)
from qlmdm_core.server.lookup import find_client
from qlmdm_core.server.root_changes import Changes, differences, publish
from qlmdm_core.signing import PublicKey, keys


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to the parser of `qlmdm-keys`."""
    add = cli.add_action(actions, "add", "give a role one more key")
    role_argument(add)
    operator = cli.add_action(actions, "add-operator", "let one more administrator sign commands")
    operator.add_argument("name", metavar="NAME", help="the administrator's name")
    rotate = cli.add_action(actions, "rotate", "replace a key of a role by a new one")
    role_argument(rotate)
    rotate.add_argument(
        "key", nargs="?", metavar="KEY", help="which one, if the role has several (or a name)"
    )
    rotate.add_argument(
        "--old",
        choices=("keep", "drop"),
        help="keep the old key beside the new one (default for online), or drop it (else)",
    )
    for parser, option in ((add, "--key"), (operator, "--key"), (rotate, "--new-key")):
        parser.add_argument(
            option,
            dest="file",
            metavar="FILE",
            help="a public key that was made elsewhere (else one is made here)",
        )
    revoke = cli.add_action(actions, "revoke", "take a key out of every role that it has")
    revoke.add_argument("key", metavar="KEY", help="fingerprint, its end, or a name")
    policy = cli.add_action(actions, "policy", "how many must sign; who is never wiped; the epoch")
    policy.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="ROLE=N",
        help="so many keys of the role must sign",
    )
    policy.add_argument(
        "--wipe-operators", type=int, metavar="N", help="so many operators must sign a wipe"
    )
    policy.add_argument(
        "--never-wipe", action="append", default=[], metavar="HOST", help="refuses every wipe"
    )
    policy.add_argument(
        "--may-wipe", action="append", default=[], metavar="HOST", help="takes --never-wipe back"
    )
    policy.add_argument(
        "--raise-epoch",
        action="store_true",
        help="let numbers of releases begin again, as after restoring an old backup",
    )
    renew = cli.add_action(actions, "renew", "the same root document once more, valid for longer")
    restore = cli.add_action(
        actions, "restore", "put newer root documents back, after an old backup was restored"
    )
    restore.add_argument("files", nargs="+", metavar="FILE", help="as GET /qlmdm/v1/root/N gave it")
    for parser in (add, operator, rotate, revoke, policy, renew, restore):
        add_yes(parser)


def _add(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        key = _new_key(args, desk, args.role, _name_in(desk, args.role))
        return change_root(args, desk, Changes(add=[(args.role, key)])) if key else 1


def _add_operator(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        for key in desk.root.public_keys("operator"):
            if name_in(key).lower() == args.name.lower():
                raise UsageError(f"there is an operator of that name already: {describe(key)}")
        made = _new_key(args, desk, "operator", args.name)
        return change_root(args, desk, Changes(add=[("operator", made)])) if made else 1


def _rotate(args: argparse.Namespace, context: Context, now: datetime) -> int:
    role = args.role
    with open_desk(context, now) as desk:
        old = _one_key(desk, role, args.key)
        key = _new_key(args, desk, role, name_in(old))
        if key is None:
            return 1
        drop = args.old == "drop" or (args.old is None and role != "online")
        remove = [(role, old.fingerprint)] if drop else []
        status = change_root(args, desk, Changes(add=[(role, key)], remove=remove))
        if status == 0:
            _say_what_is_left(desk, role, old, dropped=drop)
        return status


def _say_what_is_left(desk: Desk, role: str, old: PublicKey, *, dropped: bool) -> None:
    if not dropped:
        say(f"when nothing needs the old key any more: qlmdm-keys revoke {old.fingerprint}")
    elif old.fingerprint in desk.here(role):
        say(f"the old secret key is still here: qlmdm-keys forget {old.fingerprint}")
    if role == "release" and dropped:
        say(
            "clients install nothing more that only the old key signed: "
            "build a release (qlmdm-client-release build)"
        )


def _one_key(desk: Desk, role: str, name: str | None) -> PublicKey:
    public = {key.fingerprint: key for key in desk.root.public_keys(role)}
    if name is not None:
        return public[desk.find(role, name)]
    if len(public) > 1:
        known = "\n".join(f"  {describe(key)}" for key in public.values())
        raise UsageError(f"which of the {role} keys is to be replaced?\n{known}")
    return next(iter(public.values()))


def _new_key(args: argparse.Namespace, desk: Desk, role: str, name: str) -> PublicKey | None:
    """A key from a file or, if whoever sits here wants it, made in this server's keyring."""
    if args.file:
        if role == "online":
            raise UsageError("the server signs with the online key itself; it is made here")
        return read_public_key(args.file, desk.now)
    desk.check_free(f"root-{desk.root.version + 1}")  # before a key is made for nothing
    home = crypto.role_home(desk.settings, role)
    if not agreed(args, f"Make a new {role} key in {home}?"):
        return None
    key = keys.make_key(home, name or "qlmdm", comment=f"qlmdm {role} key")
    say(f"made {describe(key)}")
    return key


def _name_in(desk: Desk, role: str) -> str:
    return name_in(next(iter(desk.root.public_keys(role))))


def _revoke(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        digits = args.key.replace(" ", "").upper()
        client = desk.store.key(digits)
        if client is not None:
            raise UsageError(
                f"that is the key of client {client.cid}: qlmdm-clients revoke {client.cid}"
            )
        key, roles = named_key(desk.root, args.key)
        if "online" in roles:
            _check_online_can_go(desk, key)
        keepers = None
        if "keeper" in roles:
            keepers = [k for k in desk.root.keeper_keys() if k != key]
        remove = [(role, key.fingerprint) for role in roles if role != "keeper"]
        return change_root(args, desk, Changes(remove=remove, keepers=keepers))


def _check_online_can_go(desk: Desk, key: PublicKey) -> None:
    """The server must go on with a key that clients believe."""
    others = set(desk.root.roles["online"].fingerprints) - {key.fingerprint}
    usable = others & {*desk.here("online"), online_key.in_file(desk.settings)}
    if not usable:
        raise UsageError(
            "that is the only online key that this server can sign with; make another one "
            "first: qlmdm-keys rotate online"
        )


def _policy(args: argparse.Namespace, context: Context, now: datetime) -> int:
    if args.wipe_operators is not None and args.wipe_operators < 1:
        raise UsageError("--wipe-operators: expected a number from 1")
    with open_desk(context, now) as desk:
        never = list(desk.root.never_wipe)
        for host in args.never_wipe:
            cid = find_client(desk.store, host).cid
            never += [] if cid in never else [cid]
        for host in args.may_wipe:
            cid = host if host in never else find_client(desk.store, host).cid
            if cid not in never:
                raise UsageError(f"{host} is not among those never to be wiped")
            never.remove(cid)
        changes = Changes(
            thresholds=_thresholds(args.threshold),
            wipe_threshold=args.wipe_operators,
            never_wipe=never if never != list(desk.root.never_wipe) else None,
            raise_epoch=args.raise_epoch,
        )
        if changes == Changes():
            return _show_policy(desk)
        return change_root(args, desk, changes)


def _thresholds(given: list[str]) -> dict[str, int]:
    found = {}
    for text in given:
        role, _, number = text.partition("=")
        if role not in ROLES or not (number.isascii() and number.isdigit()) or number == "0":
            raise UsageError(f"--threshold: expected ROLE=N, as in release=2, not {text!r}")
        found[role] = int(number)
    return found


def _show_policy(desk: Desk) -> int:
    root = desk.root
    for name, role in root.roles.items():
        say(f"{name}: {role.threshold} of {len(role.fingerprints)} keys must sign")
    say(f"a wipe: {max(root.wipe_threshold, root.roles['operator'].threshold)} operators must sign")
    for cid in root.never_wipe:
        client = desk.store.client(cid)
        say(f"never to be wiped: {client.hostname if client else 'no such client'} ({cid})")
    say(f"epoch of releases: {root.epoch}")
    return 0


def _renew(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        return change_root(args, desk, Changes())


def _restore(args: argparse.Namespace, context: Context, now: datetime) -> int:
    """Documents that clients have, and the database has not: each follows the one before."""
    documents = sorted((read_document(path) for path in args.files), key=lambda each: each[0])
    with open_desk(context, now) as desk:
        current = desk.root
        missing = []
        for version, document in documents:
            if version > current.version:
                following = rootdoc.advance(current, document, desk.verifier)
                say(f"root document {version} follows {current.version}:")
                for line in differences(current, following):
                    say(f"  {line}")
                missing.append(document)
                current = following
        if not missing:
            say(f"nothing is missing: the newest root document is {current.version}")
            return 0
        if not agreed(args, "Put them back?"):
            return 1
        for document in missing:
            for line in publish(desk.settings, desk.store, desk.verifier, document):
                say(line)
    return 0


ACTIONS = {
    "restore": _restore,
    "add": _add,
    "add-operator": _add_operator,
    "rotate": _rotate,
    "revoke": _revoke,
    "policy": _policy,
    "renew": _renew,
}
