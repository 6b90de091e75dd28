"""Makes the next root document out of this one, and hands it to the clients.

Version N+1 is signed by as many keys of N's root role as N asks for, and of its own. Whoever
makes a change sees each difference first (`differences`); it is published only after the very
check that every client makes (`rootdoc.advance`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.errors import (
    BusyError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from qlmdm_core.rootdoc import Role, Root
from qlmdm_core.server import crypto
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Completed, Desk, describe
from qlmdm_core.server.online_key import settle_online
from qlmdm_core.server.root_pin import trusted_root
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.tables import clean
from qlmdm_core.signing import PublicKey, Verifier
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import Draft
from qlmdm_core.store.records import RootDocument
from qlmdm_core.units import say_duration


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is to be different in the next root document; without any, only its dates."""

    add: Sequence[tuple[str, PublicKey]] = ()
    """Roles, each with a key that it gets: behind those that it has."""
    remove: Sequence[tuple[str, str]] = ()
    """Roles, each with the fingerprint of a key that it loses."""
    thresholds: Mapping[str, int] = field(default_factory=dict)
    """By role."""
    keepers: Sequence[PublicKey] | None = None
    """All of the secret-keepers."""
    raise_epoch: bool = False
    wipe_threshold: int | None = None
    never_wipe: Sequence[str] | None = None
    """All of the clients that are never to be wiped, by id."""


def following(root: Root, changes: Changes, *, now: datetime, lifetime_seconds: float) -> Root:
    """The next root document, not signed yet.

    Raises `UsageError` for changes that can't be meant, `TrustError` for a document that
    clients would refuse.
    """
    keys = dict(root.keys)
    members = {name: list(role.fingerprints) for name, role in root.roles.items()}
    for role, key in changes.add:
        if key.fingerprint in members[role]:
            raise UsageError(f"{key.fingerprint} is a key of the role {role} already")
        members[role].append(key.fingerprint)
        keys[key.fingerprint] = key.armoured
    for role, fingerprint in changes.remove:
        if fingerprint not in members[role]:
            raise UsageError(f"{fingerprint} is no key of the role {role}")
        members[role].remove(fingerprint)
    roles = {
        name: Role(
            fingerprints=tuple(members[name]),
            threshold=changes.thresholds.get(name, role.threshold),
        )
        for name, role in root.roles.items()
    }
    _check_enough(roles, changes)
    keepers = root.keepers
    if changes.keepers is not None:
        keepers = tuple(key.fingerprint for key in changes.keepers)
        keys.update({key.fingerprint: key.armoured for key in changes.keepers})
    never_wipe = root.never_wipe if changes.never_wipe is None else tuple(changes.never_wipe)
    used = {*keepers, *(name for role in roles.values() for name in role.fingerprints)}
    issued_at = max(now.replace(microsecond=0), root.issued_at)
    made = replace(
        root,
        version=root.version + 1,
        issued_at=issued_at,
        expires_at=issued_at + timedelta(seconds=lifetime_seconds),
        roles=roles,
        keys={name: text for name, text in keys.items() if name in used},
        keepers=keepers,
        epoch=root.epoch + changes.raise_epoch,
        wipe_threshold=changes.wipe_threshold or root.wipe_threshold,
        never_wipe=never_wipe,
    )
    rootdoc.build(made)  # raises whatever clients would
    return made


def _check_enough(roles: Mapping[str, Role], changes: Changes) -> None:
    if roles["online"].threshold != 1:
        raise UsageError("one online key signs each answer: the threshold of that role is 1")
    for name, role in roles.items():
        there = len(role.fingerprints)
        if not 1 <= role.threshold <= there:
            hint = (
                "add another key first, or lower the threshold (qlmdm-keys policy)"
                if any(removed == name for removed, _ in changes.remove)
                else "name a threshold from 1 to the number of its keys"
            )
            raise UsageError(
                f"the role {name} would ask for {role.threshold} signatures and have {there} "
                f"keys: {hint}"
            )


def differences(old: Root, new: Root) -> list[str]:
    """Each thing in which two root documents differ, on a line for people; none is left out."""
    lines = []
    for name in sorted({*old.roles, *new.roles}):
        lines += _role_differences(name, old, new)
    lines += _list_differences("secret-keepers", old.keepers, new.keepers, old, new)
    lines += _certificates(old, new)
    lines += [
        f"{what}: {clean(str(after))} (was {clean(str(before))})"
        for what, before, after in (
            ("server", old.server_id, new.server_id),
            ("epoch of releases", old.epoch, new.epoch),
            ("operators who must sign a wipe", old.wipe_threshold, new.wipe_threshold),
        )
        if before != after
    ]
    lines += [f"never to be wiped: + {clean(c)}" for c in new.never_wipe if c not in old.never_wipe]
    lines += [f"may be wiped again: {clean(c)}" for c in old.never_wipe if c not in new.never_wipe]
    for name in sorted({*old.extra, *new.extra}):
        if old.extra.get(name) != new.extra.get(name):
            value = json.dumps(new.extra.get(name), ensure_ascii=True)
            lines.append(f"{clean(name)} (not known to this program): {value[:500]}")
    valid = (new.expires_at - new.issued_at).total_seconds()
    lines.append(
        f"expires at {rootdoc.write_time(new.expires_at)}, {say_duration(valid)} after it is made "
        f"(was {rootdoc.write_time(old.expires_at)})"
    )
    return lines


def _role_differences(name: str, old: Root, new: Root) -> list[str]:
    none = Role(fingerprints=(), threshold=0)
    before, after = old.roles.get(name, none), new.roles.get(name, none)
    lines = _list_differences(name, before.fingerprints, after.fingerprints, old, new)
    if lines or before.threshold != after.threshold:
        lines.append(
            f"{clean(name)}: {after.threshold} of {len(after.fingerprints)} keys must sign "
            f"(was {before.threshold} of {len(before.fingerprints)})"
        )
    return lines


def _list_differences(
    name: str, before: Sequence[str], after: Sequence[str], old: Root, new: Root
) -> list[str]:
    lines = [f"{clean(name)}: + {_named(key, new)}" for key in after if key not in before]
    return lines + [f"{clean(name)}: - {_named(key, old)}" for key in before if key not in after]


def _certificates(old: Root, new: Root) -> list[str]:
    return [
        f"another certificate of {_named(name, new)}"
        for name in new.keys
        if name in old.keys and old.keys[name] != new.keys[name]
    ]


def _named(fingerprint: str, root: Root) -> str:
    return describe(PublicKey(fingerprint=fingerprint, armoured=root.keys[fingerprint]))


def issue(desk: Desk, root: Root, *, created_by: str) -> list[str] | Draft:
    """Sign a root document with the root keys that are here, and publish it; or a draft of it.

    `root` is what `following` made of the desk's. Raises what `Desk.sign` and `publish` do.
    """
    made = desk.sign(
        name=f"root-{root.version}",
        kind="root",
        role="root",
        texts=[rootdoc.build(root)],
        attach=None,
        created_by=created_by,
    )
    if not isinstance(made, Completed):
        return made
    return publish(desk.settings, desk.store, desk.verifier, made.documents[0])


def publish(
    settings: ServerSettings, store: Store, verifier: Verifier, document: bytes
) -> list[str]:
    """Make a signed root document the newest one, if every client would take it; what was done.

    The same document again changes nothing. Raises `TrustError` for one that clients would
    refuse, and `BusyError` if somebody else published another one of this version meanwhile.
    """
    current = trusted_root(settings, store, verifier)
    signed = signedtext.unpack(document, max_bytes=rootdoc.MAX_BYTES)
    if rootdoc.parse(signed.text) == current:
        root = current
    else:
        root = rootdoc.advance(current, document, verifier)
        _put(store, RootDocument(version=root.version, document=document))
        trusted_root(settings, store, verifier)  # which remembers it
    return [
        f"root document: version {root.version}, valid until {rootdoc.write_time(root.expires_at)}",
        *settle_online(settings, root),
    ]


def _put(store: Store, root: RootDocument) -> None:
    try:
        store.put_root(root)
    except (StoreUnavailableError, StoreCorruptError):
        raise
    except StoreError:
        raise BusyError(
            f"somebody else published root document {root.version} meanwhile; nothing was "
            "changed: look at it (qlmdm-keys list) and try again"
        ) from None


def finish(
    context: Context,
    store: Store,
    draft: Draft,  # noqa: ARG001 - what all kinds are called with
    documents: Sequence[bytes],
) -> list[str]:
    """What the desk calls when a drafted root document has all of its signatures."""
    verifier = crypto.verifier_of(crypto.best_engine())
    return publish(context.settings, store, verifier, documents[0])
