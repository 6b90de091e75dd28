"""Where signatures of a role are made, or waited for.

A document that clients obey is signed by the keys of a role, as many as the root document asks
for. Those whose secret keys lie on this machine sign at once. If that is not enough, the text
waits as a draft until the other signatures have been made elsewhere and brought here. Which
signatures count is in `needs`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from typing import Any, Literal, TypeAlias

from qlmdm_core import rootdoc
from qlmdm_core.api import JSON
from qlmdm_core.errors import BusyError, TrustError, UsageError
from qlmdm_core.server import crypto
from qlmdm_core.server.context import Context
from qlmdm_core.server.needs import Standing, documents_of, needs_of, standing_of
from qlmdm_core.server.private_files import alone
from qlmdm_core.server.root_pin import trusted_root
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.tables import clean
from qlmdm_core.signing import PublicKey, Verifier, keys
from qlmdm_core.signing.gpg import GpgSigner
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import Draft

Kind: TypeAlias = Literal["root", "release", "command"]

FINISHERS = {
    "root": "qlmdm_core.server.root_changes",
    "release": "qlmdm_core.server.releases.publish",
    "command": "qlmdm_core.server.commands.publish",
}
"""Where the `finish(context, store, draft, documents)` of each kind is: imported when needed."""
TRIES = 20
"""So often a draft is read and written again when somebody else writes to it, too."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """All signatures are there."""

    documents: list[bytes]
    """Each text with its signatures, as clients get it."""


class NoSuchDraftError(UsageError):
    """Nothing by that name waits."""

    exit_status = 1


class Desk:
    """Signs for the roles of one root document: the newest one when the desk was made."""

    def __init__(
        self, settings: ServerSettings, store: Store, verifier: Verifier, *, now: datetime
    ) -> None:
        """Raises `NotSetUpError` or `StoreCorruptError` without a root document."""
        self.root = trusted_root(settings, store, verifier)
        self.settings = settings
        self.store = store
        self.verifier = verifier
        self.now = now
        self._here: dict[str, list[str]] = {}

    # --- whose keys ---------------------------------------------------------------------------

    def here(self, role: str) -> list[str]:
        """The keys whose secret part lies in this machine's keyring of the role."""
        if role not in self._here:
            home = crypto.role_home(self.settings, role)
            self._here[role] = []
            if os.path.isdir(home):
                with _undisturbed(home):
                    self._here[role] = [key.fingerprint for key in keys.list_keys(home)]
        return self._here[role]

    def find(self, role: str, name: str) -> str:
        """The one key of a role that has this fingerprint, or its end, or such a user id.

        Raises `UsageError` if there is none, or more than one.
        """
        public = self.root.public_keys(role)
        found = matching(public, name)
        if len(found) == 1:
            return found[0].fingerprint
        known = "\n".join(f"  {describe(key)}" for key in found or public)
        said = f"{len(found)} {role} keys are" if found else f"no {role} key is"
        raise UsageError(f"{said} called {name!r}; these are known:\n{known}")

    # --- signing ------------------------------------------------------------------------------

    def sign(
        self,
        *,
        name: str,
        kind: Kind,
        role: str,
        texts: Sequence[str],
        attach: JSON,
        created_by: str,
        threshold: int | None = None,
        only: Sequence[str] = (),
    ) -> Completed | Draft:
        """Sign with the keys that are here: all signatures, or a draft that waits for others.

        `threshold` asks for more keys than the role does. `only`: the keys of this machine that
        may be used; needed for operators if several have their keys here, since each signs in
        their own name. `attach` is what the kind's own `finish` will want (see `attached`).

        Raises `TrustError` if clients would refuse it whoever signed, `UsageError` for keys that
        can't be meant, and `BusyError` if a draft of that name waits already.
        """
        draft = Draft(
            name=name,
            kind=kind,
            role=role,
            texts=tuple(texts),
            sigs=tuple(() for _ in texts),
            created_at=self.now,
            created_by=created_by,
            attach={"threshold": threshold or 1, "attach": attach},
        )
        self.check_free(name)
        draft = self._signed_here(draft, only)
        standing = self.standing(draft)
        if standing.complete:
            return Completed(documents=documents_of(draft, standing))
        if not self.store.put_draft(draft):
            raise BusyError(_waits(draft))
        return draft

    def check_free(self, name: str) -> None:
        """Raise `BusyError` if a draft of that name waits already."""
        waiting = self.store.draft(name)
        if waiting is not None:
            raise BusyError(_waits(waiting))

    def sign_draft(self, draft: Draft, only: Sequence[str] = ()) -> Draft:
        """Add the signatures of the keys that are here, and store them."""
        return self.keep(self._signed_here(draft, only))

    def whose(self, draft: Draft, text: int, signature: str) -> str:
        """The key that made a signature of text number `text` (from 0) of a draft.

        Raises `SignatureError` unless it is one of those that may sign it. Stores nothing.
        """
        allowed = [key for need in needs_of(draft, self.root) for key in need.keys]
        return self.verifier.verify(
            draft.texts[text].encode("utf-8"), signature, allowed
        ).fingerprint

    def keep(self, signed: Draft) -> Draft:
        """Store the signatures of a draft beside those that were stored meanwhile.

        Only those that count are kept, each key once. Raises `NoSuchDraftError`, and
        `TrustError` if the draft's text is not what was signed.
        """
        for _ in range(TRIES):
            stored = self.get(signed.name)
            if stored.texts != signed.texts:
                raise TrustError(f"{signed.name} says something else now; look at it again")
            both = tuple((*old, *new) for old, new in zip(stored.sigs, signed.sigs, strict=True))
            standing = self.standing(replace(stored, sigs=both))
            sigs = tuple(tuple(found.values()) for found in standing.sigs)
            if sigs == stored.sigs:
                return stored
            if self.store.update_draft(replace(stored, sigs=sigs)):
                return self.get(signed.name)
        raise BusyError(f"{signed.name}: somebody else keeps writing to it; try again")

    # --- drafts -------------------------------------------------------------------------------

    def get(self, name: str) -> Draft:
        """A draft. Raises `NoSuchDraftError`."""
        found = self.store.draft(name)
        if found is None:
            raise NoSuchDraftError(f"no draft is called {name!r}; see qlmdm-keys drafts")
        return found

    def standing(self, draft: Draft) -> Standing:
        """How far a draft is. Raises `TrustError` if it can't be completed any more."""
        return standing_of(draft, needs_of(draft, self.root), self.verifier)

    def published(self, draft: Draft) -> bytes | None:
        """The newest root document, if it is what a draft says: it was interrupted at its end."""
        newest = self.store.root() if draft.kind == "root" and draft.texts else None
        if newest is None or rootdoc.parse(draft.texts[0]) != self.root:
            return None
        return newest.document

    def finish(self, context: Context, draft: Draft) -> list[str]:
        """Do what a draft was made for, now that all have signed it; lines to print.

        Safe to repeat: the draft goes away only when all is done. Raises `TrustError` if
        signatures are missing.
        """
        self._check_usable(draft.kind)
        published = self.published(draft)
        documents = [published] if published else documents_of(draft, self.standing(draft))
        finisher: Any = import_module(FINISHERS[draft.kind])
        lines: list[str] = finisher.finish(context, self.store, attached(draft), documents)
        self.store.drop_draft(draft.name)
        return lines

    # --- how ----------------------------------------------------------------------------------

    def _check_usable(self, kind: str) -> None:
        """An expired root document stands behind nothing but its own successor."""
        if kind != "root" and self.root.is_expired(self.now):
            raise TrustError(
                f"root document {self.root.version} expired at "
                f"{rootdoc.write_time(self.root.expires_at)}: clients take no release and no "
                "command any more; renew it first (qlmdm-keys renew)"
            )

    def _signed_here(self, draft: Draft, only: Sequence[str]) -> Draft:
        """With signatures by keys of this machine, no more of them than are missing."""
        self._check_usable(draft.kind)
        needs = needs_of(draft, self.root)
        able = {key.fingerprint: key for need in needs for key in need.keys}
        for name in only:
            if name not in able:
                raise UsageError(f"{name} is none of the keys that can sign {draft.name}")
        usable = [name for name in self.here(draft.role) if name in able]
        if only:
            usable = [name for name in usable if name in only]
        elif draft.role == "operator" and len(usable) > 1:
            names = "\n".join(f"  {describe(able[name])}" for name in usable)
            raise UsageError(f"say with --operator in whose name you sign:\n{names}")
        for name in usable:
            if name in standing_of(draft, needs, self.verifier).useful:
                draft = self._signed_by(draft, name)
        return draft

    def _signed_by(self, draft: Draft, fingerprint: str) -> Draft:
        home = crypto.role_home(self.settings, draft.role)
        with _undisturbed(home), GpgSigner(home, fingerprint) as signer:
            sigs = tuple(
                (*old, signer.sign(text.encode("utf-8")))
                for text, old in zip(draft.texts, draft.sigs, strict=True)
            )
        return replace(draft, sigs=sigs)


def _undisturbed(home: str) -> contextlib.AbstractContextManager[None]:
    """Whoever is done with a gpg home ends its agent, and another one, in the middle of a
    signature, would seem to have no key: so one process at a time."""
    return alone(f"{home}.lock")


def attached(draft: Draft) -> Draft:
    """The draft as its maker gave it: without what the desk keeps beside `attach`."""
    inner = draft.attach.get("attach") if isinstance(draft.attach, dict) else None
    return replace(draft, attach=inner)


def matching(among: Sequence[PublicKey], name: str) -> list[PublicKey]:
    """The keys whose fingerprint ends in this, or that are called so, or else nearly so."""
    digits = name.replace(" ", "").upper()
    if len(digits) >= 8 and all(char in "0123456789ABCDEF" for char in digits):
        return [key for key in among if key.fingerprint.endswith(digits)]
    exact = [key for key in among if name and name.lower() == name_in(key).lower()]
    return exact or [key for key in among if name and name.lower() in _names(key)]


def name_in(key: PublicKey) -> str:
    """The name in a key's user id, without its comment and address."""
    return keys.user_id(key).partition(" (")[0].partition(" <")[0]


def _names(key: PublicKey) -> str:
    return keys.user_id(key).replace(f"<{keys.NO_ADDRESS}>", "").lower()


def describe(key: PublicKey) -> str:
    """A key on one line, for people."""
    return clean(f"{key.fingerprint}  {keys.user_id(key)}".rstrip())


def _waits(draft: Draft) -> str:
    who = f" by {draft.created_by}" if draft.created_by else ""
    return (
        f"a draft {draft.name}{who} waits for signatures already: sign it "
        f"(qlmdm-keys sign {draft.name}) or drop it (qlmdm-keys discard {draft.name})"
    )
