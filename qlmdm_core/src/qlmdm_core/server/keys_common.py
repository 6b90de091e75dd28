"""What the actions of `qlmdm-keys` share: the desk, asking, keys from files and by name."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeAlias

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.errors import KeyringError, SettingsError, SignatureError, TrustError, UsageError
from qlmdm_core.rootdoc import ROLES, Root
from qlmdm_core.server import crypto, root_changes
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Desk, describe, matching
from qlmdm_core.server.root_changes import Changes
from qlmdm_core.server.tables import clean
from qlmdm_core.signing import PublicKey, keys, packets
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import Draft

Action: TypeAlias = Callable[[argparse.Namespace, Context, datetime], int]
"""What an action is: its arguments, the settings, the time; its exit status."""

MAX_KEY_FILE_BYTES = 1 << 20


class NotFoundError(UsageError):
    """No such key, role or version."""

    exit_status = 1


@contextlib.contextmanager
def open_desk(context: Context, now: datetime) -> Iterator[Desk]:
    """A desk on the newest root document, for the time of a `with` statement."""
    verifier = crypto.verifier_of(crypto.best_engine())
    with context.store() as store:
        yield Desk(context.settings, store, verifier, now=now)


def add_yes(parser: argparse.ArgumentParser) -> None:
    """The option of all actions that ask first."""
    parser.add_argument("--yes", action="store_true", help="don't ask (for scripts)")


def agreed(args: argparse.Namespace, question: str) -> bool:
    """Whether whoever sits here wants it. Raises `UsageError` if nobody can be asked."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here; give --yes if that is what you want")
    print(f"{question} (yes/no) ", end="", flush=True)  # noqa: T201 - a dialogue
    if sys.stdin.readline().strip().lower() == "yes":
        return True
    print("nothing was changed")  # noqa: T201 - a dialogue
    return False


def change_root(args: argparse.Namespace, desk: Desk, changes: Changes) -> int:
    """Show what would change, ask, and issue the next root document, or a draft of it."""
    following = root_changes.following(
        desk.root,
        changes,
        now=desk.now,
        lifetime_seconds=desk.settings.root_expires_after,
    )
    say(f"root document {following.version} would follow {desk.root.version}:")
    for line in root_changes.differences(desk.root, following):
        say(f"  {line}")
    if not agreed(args, "Issue it?"):
        return 1
    made = root_changes.issue(desk, following, created_by=getpass.getuser())
    if isinstance(made, Draft):
        say_waits(desk, made)
    else:
        for line in made:
            say(line)
    return 0


def say_waits(desk: Desk, draft: Draft) -> None:
    """Tell what a draft lacks, and what to type."""
    say(f"{draft.name} waits: {', '.join(desk.standing(draft).missing)} are missing")
    say(f"  qlmdm-keys sign {draft.name} --export DIR    the texts, to be signed elsewhere")
    say("  gpg --armor --detach-sign --local-user FINGERPRINT! FILE    there")
    say(f"  qlmdm-keys sign {draft.name} --import FILE.asc    here")


def say(line: str) -> None:
    """A line of what was done."""
    print(clean(line), flush=True)  # noqa: T201 - what the actions say


def named_key(root: Root, name: str) -> tuple[PublicKey, list[str]]:
    """The one key that is meant, and the roles that it has ("keeper" is one here).

    Raises `NotFoundError`, or `UsageError` if there are several.
    """
    by_role = {role: list(root.public_keys(role)) for role in root.roles}
    by_role["keeper"] = list(root.keeper_keys())
    everything = {key.fingerprint: key for among in by_role.values() for key in among}
    found = matching(list(everything.values()), name)
    if not found:
        raise NotFoundError(f"root document {root.version} names no key {name!r}; see: list")
    if len(found) > 1:
        lines = "\n".join(f"  {describe(key)}" for key in found)
        raise UsageError(f"{len(found)} keys are called {name!r}:\n{lines}")
    return found[0], [role for role, among in by_role.items() if found[0] in among]


def read_public_key(path: str, now: datetime) -> PublicKey:
    """A key from a file, made elsewhere or on a smart card, that can serve in a role.

    Raises `SettingsError`, which names the file.
    """
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise SettingsError(f"can't be read: {error.strerror}", file=path) from None
    if "PRIVATE KEY" in text:
        raise SettingsError(
            "is a secret key; give the public one, as gpg --armor --export prints it", file=path
        )
    try:
        key = keys.minimal(text)
        packets.primary_fingerprint(packets.dearmour(key.armoured, "PUBLIC KEY BLOCK"))
        found = keys.facts([key])[key.fingerprint]
    except (KeyringError, SignatureError) as error:
        raise SettingsError(f"is no public key that can be used: {error}", file=path) from None
    if found.revoked or (found.expires_at is not None and found.expires_at <= now):
        raise SettingsError(f"the key {key.fingerprint} is expired or revoked", file=path)
    if not found.signs:
        raise SettingsError(
            f"the primary key {key.fingerprint} can't sign, and signatures by subkeys don't count",
            file=path,
        )
    return key


def read_document(path: str) -> tuple[int, bytes]:
    """A signed root document from a file, and its version; nothing about it is believed yet.

    Raises `SettingsError`, which names the file.
    """
    try:
        with open(path, "rb") as file:
            document = file.read(rootdoc.MAX_BYTES + 1)
        text = signedtext.unpack(document, max_bytes=rootdoc.MAX_BYTES).text
        return rootdoc.parse(text).version, document
    except OSError as error:
        raise SettingsError(f"can't be read: {error.strerror}", file=path) from None
    except TrustError as error:
        raise SettingsError(str(error), file=path) from None


def hostname_of(store: Store) -> Callable[[str], str]:
    """Gives the hostname of a client id; the id itself for one that is not known."""

    def name(cid: str) -> str:
        client = store.client(cid)
        return client.hostname if client is not None else cid

    return name


def role_argument(parser: argparse.ArgumentParser) -> None:
    """The role that an action is about."""
    parser.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
