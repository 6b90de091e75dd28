"""The actions of `qlmdm-keys` about what waits for signatures: sign it here, or elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from qlmdm_core import cli, rootdoc, signedtext
from qlmdm_core.errors import SignatureError, TrustError, UsageError
from qlmdm_core.server import private_files
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Desk
from qlmdm_core.server.keys_common import (
    add_yes,
    agreed,
    hostname_of,
    open_desk,
    say,
    say_waits,
)
from qlmdm_core.server.keys_show import draft_lines, print_json
from qlmdm_core.server.keys_summary import summary
from qlmdm_core.server.tables import clean, print_table, when
from qlmdm_core.signing import packets
from qlmdm_core.store.outgoing import Draft

MAX_TEXT_BYTES = 16 << 20


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add them to the parser of `qlmdm-keys`."""
    sign = cli.add_action(actions, "sign", "sign a draft, or bring signatures from elsewhere")
    sign.add_argument("name", nargs="?", metavar="NAME", help="the draft (if several wait)")
    way = sign.add_mutually_exclusive_group()
    way.add_argument("--export", metavar="DIR", help="write the texts, to be signed elsewhere")
    way.add_argument(
        "--import", dest="files", nargs="+", metavar="FILE", help="signatures made elsewhere"
    )
    sign.add_argument(
        "--operator", metavar="NAME", help="whose key is to sign here, if several are here"
    )
    cli.add_action(actions, "drafts", "what waits for signatures", json=True)
    discard = cli.add_action(actions, "discard", "drop a draft")
    discard.add_argument("name", metavar="NAME")
    for parser in (sign, discard):
        add_yes(parser)
    read = cli.add_action(actions, "read", "say what an exported text means (needs no server)")
    read.add_argument("file", metavar="FILE", help="what sign --export wrote")
    read.add_argument(
        "--current", metavar="FILE", help="the root document that is in force, to compare with"
    )


def _sign(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        if args.files:
            return _import(args, context, desk)
        draft = _the_draft(desk, args.name)
        if desk.published(draft):
            return _finish(desk, context, draft)
        desk.standing(draft)  # what can't be completed is not worth looking at
        _say_summary(desk, draft)
        if args.export:
            return _export(args, desk, draft)
        only = [desk.find("operator", args.operator)] if args.operator else []
        if not desk.standing(draft).complete:
            if not agreed(args, "Sign it?"):
                return 1
            before = desk.standing(draft).signed_by
            draft = desk.sign_draft(draft, only)
            if desk.standing(draft).signed_by == before:
                say("no secret key that could sign it is here")
        return _finish_if_complete(desk, context, draft)


def _the_draft(desk: Desk, name: str | None) -> Draft:
    if name is not None:
        return desk.get(name)
    waiting = desk.store.drafts()
    if len(waiting) != 1:
        names = ", ".join(draft.name for draft in waiting) or "nothing waits"
        raise UsageError(f"name the draft: {names}")
    return waiting[0]


def _say_summary(desk: Desk, draft: Draft) -> None:
    name_of = hostname_of(desk.store)
    say(f"{draft.name}, made by {clean(draft.created_by)} at {when(draft.created_at)}:")
    for text in draft.texts:
        for line in summary(text, desk.root, name_of):
            say(f"  {line}")


def _finish_if_complete(desk: Desk, context: Context, draft: Draft) -> int:
    if desk.standing(draft).complete:
        return _finish(desk, context, draft)
    say_waits(desk, draft)
    return 0


def _finish(desk: Desk, context: Context, draft: Draft) -> int:
    for line in desk.finish(context, draft):
        say(line)
    return 0


# --- signed elsewhere -------------------------------------------------------------------------


def _export(args: argparse.Namespace, desk: Desk, draft: Draft) -> int:
    paths = []
    for number, text in enumerate(draft.texts, 1):
        part = f".{number}" if len(draft.texts) > 1 else ""
        path = os.path.join(args.export, f"{draft.name}{part}.json")
        private_files.replace(path, text)
        paths.append(path)
        say(f"{path}: written")
    say("Where a key is, look at it (qlmdm-keys read FILE), then sign it:")
    for fingerprint in sorted(desk.standing(draft).useful):
        for path in paths:
            name = os.path.basename(path)
            say(f"  gpg --armor --detach-sign --local-user {fingerprint}! {name}")
    return 0


def _import(args: argparse.Namespace, context: Context, desk: Desk) -> int:
    waiting = [desk.get(args.name)] if args.name else list(desk.store.drafts())
    waiting = [draft for draft in waiting if not desk.published(draft)]
    signed: dict[str, Draft] = {}
    for path in args.files:
        sig = _read(path, packets.MAX_SIGNATURE_BYTES)
        draft, text, by = _belongs_to(desk, waiting, path, sig)
        draft = signed.get(draft.name, draft)
        if by in desk.standing(draft).sigs[text]:
            say(f"{path}: {by} signed {draft.name} already")
        else:
            say(f"{path}: {draft.name} is signed by {by}")
        sigs = [list(found) for found in draft.sigs]
        sigs[text].append(sig)
        signed[draft.name] = replace(draft, sigs=tuple(map(tuple, sigs)))
    for draft in signed.values():
        _finish_if_complete(desk, context, desk.keep(draft))
    return 0


def _belongs_to(
    desk: Desk, waiting: Sequence[Draft], path: str, sig: str
) -> tuple[Draft, int, str]:
    """Which text of which draft a signature is for, and whose it is.

    Raises `SignatureError` if it counts for none.
    """
    try:
        issuer = packets.read_signature(sig).issuer
    except SignatureError as error:
        raise SignatureError(
            f"{path}: {error}; make it with gpg --armor --detach-sign; nothing was imported"
        ) from None
    reasons = []
    for draft in waiting:
        for text in range(len(draft.texts)):
            try:
                return draft, text, desk.whose(draft, text, sig)
            except TrustError as error:
                reasons.append(f"\n  {draft.name}: {error}")
    said = "".join(dict.fromkeys(reasons)) or " (no draft waits)"
    raise SignatureError(
        f"{path}: the signature by {issuer} counts for nothing that waits; nothing was "
        f"imported:{said}"
    )


# --- lists ------------------------------------------------------------------------------------


def _drafts(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        waits = dict(draft_lines(desk))
        drafts = desk.store.drafts()
    if args.json:
        print_json(
            [
                {
                    "name": draft.name,
                    "kind": draft.kind,
                    "role": draft.role,
                    "created_at": draft.created_at.isoformat(),
                    "created_by": draft.created_by,
                    "waits_for": waits[draft.name],
                }
                for draft in drafts
                if draft.name in waits
            ]
        )
        return 0
    rows = [
        [draft.name, when(draft.created_at), draft.created_by, waits.get(draft.name, "")]
        for draft in drafts
    ]
    if rows:
        print_table(["draft", "made", "by", "waits for"], rows)
    else:
        say("nothing waits for signatures")
    return 0


def _discard(args: argparse.Namespace, context: Context, now: datetime) -> int:
    with open_desk(context, now) as desk:
        draft = desk.get(args.name)
        say(f"{draft.name}, made by {clean(draft.created_by)} at {when(draft.created_at)}")
        if not agreed(args, "Drop it, and the signatures that it has?"):
            return 1
        desk.store.drop_draft(draft.name)
        say(f"{draft.name}: dropped")
        return 0


def read_text(args: argparse.Namespace) -> int:
    """`qlmdm-keys read`: on the machine where the key is, without settings or database."""
    current = None
    if args.current:
        document = _read(args.current, rootdoc.MAX_BYTES)
        with contextlib.suppress(TrustError):  # else the bare text, as sign --export writes it
            document = signedtext.unpack(document.encode(), max_bytes=rootdoc.MAX_BYTES).text
        current = rootdoc.parse(document)
    for line in summary(_read(args.file, MAX_TEXT_BYTES), current):
        say(line)
    return 0


def _read(path: str, limit: int) -> str:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read(limit + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise UsageError(f"{path}: can't be read: {reason}") from None
    if len(text) > limit:
        raise UsageError(f"{path}: is too large")
    return text


ACTIONS = {"sign": _sign, "drafts": _drafts, "discard": _discard}
