"""Which signatures a draft needs, and which of those it has count.

Nothing that was stored is trusted here: what is needed is read in the signed text and in the
newest root document, and each signature is verified over the very text. So a draft that somebody
changed in the database has lost its signatures, and a key that was revoked counts no more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qlmdm_core import commanddoc, rootdoc
from qlmdm_core.errors import SignatureError, TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing import PublicKey, Verifier
from qlmdm_core.store.outgoing import Draft

ROLES_OF_KINDS = {"root": "root", "release": "release", "command": "operator"}
"""Whose keys sign what."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True, kw_only=True)
class Need:
    """So many different keys, out of these."""

    what: str
    """For people: whose keys."""
    keys: Sequence[PublicKey]
    threshold: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a draft is."""

    sigs: tuple[dict[str, str], ...]
    """For each text, who signed it, and how: only what counts, each key once."""
    missing: tuple[str, ...]
    """For people: how many signatures of whom are missing; empty if none is."""
    useful: frozenset[str]
    """The keys whose signature would bring it nearer to its end."""

    @property
    def complete(self) -> bool:
        """Whether all signatures are there."""
        return not self.missing

    @property
    def signed_by(self) -> frozenset[str]:
        """The keys that signed all of its texts."""
        return frozenset(self.sigs[0]).intersection(*self.sigs) if self.sigs else frozenset()


def needs_of(draft: Draft, root: Root) -> list[Need]:
    """Whose signatures a draft needs. Raises `TrustError` if it can't be completed any more."""
    _check_shape(draft)
    if draft.kind == "root":
        return _root_needs(draft, root)
    role = root.roles[draft.role]
    public = root.public_keys(draft.role)
    wanted = max(role.threshold, _own_threshold(draft, root))
    if wanted > len(public):
        raise TrustError(
            f"{wanted} {draft.role} keys must sign {draft.name}, and there are {len(public)}; "
            f"add one first (qlmdm-keys add {draft.role})"
        )
    return [Need(what=draft.role, keys=public, threshold=wanted)]


def standing_of(draft: Draft, needs: Sequence[Need], verifier: Verifier) -> Standing:
    """Which signatures of a draft count, and what is missing."""
    sigs = tuple(
        counting(text, found, needs, verifier)
        for text, found in zip(draft.texts, draft.sigs, strict=True)
    )
    missing: dict[str, int] = {}
    useful: set[str] = set()
    for need in needs:
        wanted = {key.fingerprint for key in need.keys}
        for found in sigs:
            lacking = need.threshold - len(wanted & set(found))
            if lacking > 0:
                missing[need.what] = max(lacking, missing.get(need.what, 0))
                useful |= wanted - set(found)
    return Standing(
        sigs=sigs,
        missing=tuple(f"{count} by {what} keys" for what, count in missing.items()),
        useful=frozenset(useful),
    )


def counting(
    text: str, sigs: Sequence[str], needs: Sequence[Need], verifier: Verifier
) -> dict[str, str]:
    """For each key whose signature of this text counts, the first one by it."""
    allowed = [key for need in needs for key in need.keys]
    found: dict[str, str] = {}
    for sig in sigs:
        try:
            by = verifier.verify(text.encode("utf-8"), sig, allowed).fingerprint
        except SignatureError:
            continue
        found.setdefault(by, sig)
    return found


def documents_of(draft: Draft, standing: Standing) -> list[bytes]:
    """The signed documents, as clients get them. Raises `TrustError` if signatures are missing."""
    if not standing.complete:
        raise TrustError(f"{draft.name} lacks signatures: {', '.join(standing.missing)}")
    return [
        SignedText(text=text, sigs=tuple(sigs.values())).pack()
        for text, sigs in zip(draft.texts, standing.sigs, strict=True)
    ]


def _check_shape(draft: Draft) -> None:
    """It is what this program would have stored: names become file names, kinds choose keys."""
    if not _NAME.match(draft.name):
        raise TrustError(f"{draft.name[:100]!r} is no name of a draft")
    if ROLES_OF_KINDS.get(draft.kind) != draft.role:
        raise TrustError(f"{draft.name} is of kind {draft.kind!r}, signed by {draft.role!r}")
    if not draft.texts or len(draft.texts) != len(draft.sigs):
        raise TrustError(f"{draft.name} is damaged; drop it (qlmdm-keys discard)")


def _own_threshold(draft: Draft, root: Root) -> int:
    """What a draft asks for beyond its role.

    A wipe's is read in what is signed, too: what lies beside it may have been changed.
    """
    asked = draft.attach.get("threshold") if isinstance(draft.attach, dict) else None
    wanted: int = asked if type(asked) is int else 1
    if draft.kind == "command" and any(
        commanddoc.parse(text).kind == "wipe" for text in draft.texts
    ):
        return max(wanted, root.wipe_threshold)
    return wanted


def _root_needs(draft: Draft, root: Root) -> list[Need]:
    """A root document is signed by the thresholds of the one before it, and by its own."""
    if len(draft.texts) != 1:
        raise TrustError(f"{draft.name} is not one root document")
    following = rootdoc.parse(draft.texts[0])
    if following.version != root.version + 1:
        raise TrustError(
            f"{draft.name} was to follow root document {following.version - 1}, and the newest "
            f"is {root.version}; drop it (qlmdm-keys discard {draft.name}) and make it anew"
        )
    return [
        Need(
            what=f"root (of version {of.version})",
            keys=of.public_keys("root"),
            threshold=of.roles["root"].threshold,
        )
        for of in (root, following)
    ]
