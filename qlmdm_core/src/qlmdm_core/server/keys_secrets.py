"""The actions of `qlmdm-keys` that move keys: public ones anywhere, secret ones off the server."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime

from qlmdm_core import cli
from qlmdm_core.errors import UsageError
from qlmdm_core.rootdoc import ROLES
from qlmdm_core.server import crypto, private_files
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.keys_common import NotFoundError, add_yes, agreed, named_key, open_desk, say
from qlmdm_core.signing import PublicKey, keys


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to the parser of `qlmdm-keys`."""
    export = cli.add_action(actions, "export", "the public keys of a role, or a secret key")
    forget = cli.add_action(actions, "forget", "delete a secret key from this server")
    for parser in (export, forget):
        parser.add_argument("what", metavar="KEY|ROLE", help="fingerprint, its end, name or role")
        add_yes(parser)
    export.add_argument("--output", metavar="FILE", help="a new file (else standard output)")
    export.add_argument(
        "--secret",
        action="store_true",
        help="the secret key, without a passphrase, into the file (0600) that --output names",
    )
    export.add_argument(
        "--remove", action="store_true", help="with --secret: then delete it here, after asking"
    )


def _export(args: argparse.Namespace, context: Context, now: datetime) -> int:
    if args.remove and not args.secret:
        raise UsageError("--remove goes with --secret")
    if args.secret and not args.output:
        raise UsageError("--secret needs --output FILE: a secret key is never printed")
    if args.output and os.path.lexists(args.output):
        raise UsageError(f"--output: {args.output} is there already; name a new file")
    with open_desk(context, now) as desk:
        if args.secret:
            return _export_secret(args, desk)
        text = "".join(key.armoured.rstrip("\n") + "\n" for key in _public(desk, args.what))
    if args.output:
        private_files.write_new(args.output, text, 0o644)
        say(f"{args.output}: written")
    else:
        sys.stdout.write(text)
    return 0


def _public(desk: Desk, what: str) -> list[PublicKey]:
    if what in desk.root.roles:
        return list(desk.root.public_keys(what))
    return [named_key(desk.root, what)[0]]


def _export_secret(args: argparse.Namespace, desk: Desk) -> int:
    role, fingerprint = secret_here(desk, args.what)
    home = crypto.role_home(desk.settings, role)
    if args.remove:
        _check_can_go(role)
    private_files.write_new(args.output, keys.export_secret(home, fingerprint))
    say(f"{args.output}: the secret {role} key {fingerprint}, without a passphrase")
    say("where it is to be used: gpg --import FILE, then gpg --edit-key (keytocard, passwd)")
    return _forget_key(args, desk, role, fingerprint) if args.remove else 0


def _forget(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        role, fingerprint = secret_here(desk, args.what)
        return _forget_key(args, desk, role, fingerprint)


def _forget_key(args: argparse.Namespace, desk: Desk, role: str, fingerprint: str) -> int:
    if fingerprint in desk.root.roles[role].fingerprints:
        _check_can_go(role)
        say(f"{fingerprint} is a {role} key that clients trust, and is not kept anywhere else here")
    if not agreed(args, "Is it safe elsewhere, and to be deleted here?"):
        return 1
    keys.delete_secret(crypto.role_home(desk.settings, role), fingerprint)
    say(f"{role} key {fingerprint}: deleted here")
    say("a disk may keep what was deleted; a key that was made elsewhere was never on it")
    return 0


def _check_can_go(role: str) -> None:
    if role == "online":
        raise UsageError("the server signs each answer with the online key; it stays")


def secret_here(desk: Desk, what: str) -> tuple[str, str]:
    """The role and fingerprint of the one secret key that is meant and lies here."""
    digits = what.replace(" ", "").upper()
    found = [
        (role, name)
        for role in ROLES
        for name in desk.here(role)
        if what == role or (len(digits) >= 8 and name.endswith(digits))
    ]
    if not found and what not in ROLES:
        key, _ = named_key(desk.root, what)
        found = [(role, key.fingerprint) for role in ROLES if key.fingerprint in desk.here(role)]
    if not found:
        raise NotFoundError(f"the secret key of {what!r} is not on this server")
    if len(found) > 1:
        lines = "\n".join(f"  {name}  {role}" for role, name in found)
        raise UsageError(
            f"{len(found)} secret keys are here; name one by its fingerprint:\n{lines}"
        )
    return found[0]


ACTIONS = {"export": _export, "forget": _forget}
