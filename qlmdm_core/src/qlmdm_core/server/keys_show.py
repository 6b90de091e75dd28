"""The actions of `qlmdm-keys` that look: who may sign what, where the secrets are, what expires."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from qlmdm_core import cli, rootdoc, signedtext, strictjson
from qlmdm_core.api import JSON
from qlmdm_core.errors import TrustError, UsageError
from qlmdm_core.rootdoc import ROLES, Root
from qlmdm_core.server import online_key
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.keys_common import NotFoundError, named_key, open_desk, say
from qlmdm_core.server.keys_summary import summary
from qlmdm_core.server.tables import clean, print_table, when
from qlmdm_core.signing import keys
from qlmdm_core.units import parse_duration, say_duration

COLUMNS = ("role", "fingerprint", "user id", "secret key", "expires")


@dataclass(frozen=True, kw_only=True)
class KeyLine:
    """A key as it is listed."""

    role: str
    fingerprint: str
    user_id: str
    place: str
    """Where the secret part is: "here", "here, in use", "elsewhere"."""
    expires_at: datetime | None
    named: bool = True
    """Whether the root document names it; else its secret is merely still here."""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to the parser of `qlmdm-keys`."""
    cli.add_action(actions, "list", "the roles, their keys, and what waits to be signed", json=True)
    show = cli.add_action(actions, "show", "a key, a role, or the root document", json=True)
    show.add_argument("what", metavar="KEY|ROLE|root-document")
    show.add_argument("--version-of-root", type=int, metavar="N", help="an older root document")
    soon = cli.add_action(
        actions, "expire-soon", "what expires soon; exit status 1 if anything does", json=True
    )
    soon.add_argument("--within", default="30 days", help="how soon (30 days)")


def key_lines(desk: Desk) -> list[KeyLine]:
    """Every key that the root document names, and every other secret key that is here."""
    root, in_use = desk.root, online_key.in_file(desk.settings)
    public = [(role, key) for role in root.roles for key in root.public_keys(role)]
    public += [("keeper", key) for key in root.keeper_keys()]
    facts = keys.facts([key for _, key in public])
    lines = []
    for role, key in public:
        here = role in ROLES and key.fingerprint in desk.here(role)
        used = role == "online" and key.fingerprint == in_use
        lines.append(
            KeyLine(
                role=role,
                fingerprint=key.fingerprint,
                user_id=keys.user_id(key),
                place="here, in use" if used else "here" if here else "elsewhere",
                expires_at=facts[key.fingerprint].expires_at,
            )
        )
    return lines + list(_left_behind(desk))


def _left_behind(desk: Desk) -> Iterator[KeyLine]:
    for role in ROLES:
        for name in desk.here(role):
            if name not in desk.root.roles[role].fingerprints:
                yield KeyLine(
                    role=role,
                    fingerprint=name,
                    user_id=f"(not in root document {desk.root.version})",
                    place="here",
                    expires_at=None,
                    named=False,
                )


def _list(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        lines, drafts = key_lines(desk), draft_lines(desk)
    root = desk.root
    if args.json:
        print_json(
            {
                "root": {
                    "version": root.version,
                    "issued_at": rootdoc.write_time(root.issued_at),
                    "expires_at": rootdoc.write_time(root.expires_at),
                    "expired": root.is_expired(now),
                    "epoch": root.epoch,
                    "wipe_threshold": root.wipe_threshold,
                    "never_wipe": list(root.never_wipe),
                    "thresholds": {name: role.threshold for name, role in root.roles.items()},
                },
                "keys": [_as_json(line) for line in lines],
                "drafts": [{"name": name, "waits_for": said} for name, said in drafts],
            }
        )
        return 0
    left = (root.expires_at - now).total_seconds()
    said = f"expires in {say_duration(left)}" if left > 0 else "EXPIRED: qlmdm-keys renew"
    say(f"root document {root.version}, valid until {when(root.expires_at)} ({said})")
    say("")
    rows = [
        [_role_cell(root, line), line.fingerprint, line.user_id, line.place, _expiry(line)]
        for line in lines
    ]
    print_table(COLUMNS, rows)
    if drafts:
        say("")
        print_table(["draft", "waits for"], [list(draft) for draft in drafts])
    return 0


def _role_cell(root: Root, line: KeyLine) -> str:
    role = root.roles.get(line.role)
    if role is None or not line.named:
        return line.role
    return f"{line.role} ({role.threshold} of {len(role.fingerprints)})"


def _expiry(line: KeyLine) -> str:
    return when(line.expires_at) if line.expires_at else "never"


def draft_lines(desk: Desk) -> list[tuple[str, str]]:
    """Each draft, and what it waits for."""
    found = []
    for draft in desk.store.drafts():
        if desk.published(draft):
            said = f"nothing: it was published; end it with qlmdm-keys sign {draft.name}"
        else:
            try:
                said = ", ".join(desk.standing(draft).missing) or "its last step"
            except TrustError as error:
                said = str(error)
        found.append((draft.name, said))
    return found


def _as_json(line: KeyLine) -> dict[str, JSON]:
    expires = rootdoc.write_time(line.expires_at) if line.expires_at else None
    return {
        "role": line.role,
        "fingerprint": line.fingerprint,
        "user_id": line.user_id,
        "secret": line.place,
        "expires_at": expires,
        "in_root_document": line.named,
    }


def print_json(value: JSON) -> None:
    """JSON on standard output."""
    print(json.dumps(value, indent=2))  # noqa: T201 - what --json prints


# --- show -----------------------------------------------------------------------------------


def _show(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        if args.what == "root-document":
            return _show_root(args, desk)
        if args.version_of_root is not None:
            raise UsageError("--version-of-root goes with: show root-document")
        lines = key_lines(desk)
        if args.what in {*ROLES, "keeper"}:
            lines = [line for line in lines if line.role == args.what]
        else:
            key, _ = named_key(desk.root, args.what)
            lines = [line for line in lines if line.fingerprint == key.fingerprint]
    if args.json:
        print_json([_as_json(line) for line in lines])
        return 0
    for line in lines:
        say(f"{line.role}: {line.fingerprint}")
        say(f"  user id     {clean(line.user_id)}")
        say(f"  secret key  {line.place}")
        say(f"  expires     {_expiry(line)}")
    return 0


def _show_root(args: argparse.Namespace, desk: Desk) -> int:
    found = desk.store.root(args.version_of_root)
    if found is None:
        raise NotFoundError(f"there is no root document {args.version_of_root}")
    signed = signedtext.unpack(found.document, max_bytes=rootdoc.MAX_BYTES)
    if args.json:
        print_json(strictjson.parse(signed.text.encode(), max_bytes=rootdoc.MAX_BYTES))
        return 0
    shown = rootdoc.parse(signed.text)
    for line in summary(signed.text, None):
        say(line)
    by = signedtext.signers(signed, shown.public_keys("root"), desk.verifier)
    for fingerprint in sorted(by):
        say(f"signed by {fingerprint}")
    return 0


# --- expire-soon ----------------------------------------------------------------------------


def _expire_soon(args: argparse.Namespace, context: Context, now: datetime) -> int:
    try:
        until = now + timedelta(seconds=parse_duration(args.within))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--within: {error}") from None
    with open_desk(context, now) as desk:
        lines = key_lines(desk)
    expiring = [("root document", desk.root.expires_at, "qlmdm-keys renew")]
    expiring += [
        (f"{line.role} key {line.fingerprint}", line.expires_at, f"qlmdm-keys rotate {line.role}")
        for line in lines
        if line.named and line.expires_at is not None
    ]
    found = sorted((at, what, to_do) for what, at, to_do in expiring if at <= until)
    if args.json:
        print_json([{"what": what, "expires_at": rootdoc.write_time(at)} for at, what, _ in found])
    else:
        for at, what, to_do in found:
            say(f"{what}: {'expired' if at <= now else 'expires'} at {when(at)}; {to_do}")
    return 1 if found else 0


ACTIONS = {"list": _list, "show": _show, "expire-soon": _expire_soon}
