"""Remembers, outside of the database, which root documents were in force.

What clients trust is pinned on each of them. The tools of the server read the root document in
the database; whoever can write there could exchange it for one of their own making, which is
signed by their own keys and so is whole in itself. The next document that an administrator makes
from it would carry the thief's keys to the clients, signed by the real root key. So each version
lies in the folder of keys, too: what is in the database must be the same, or follow from it as
clients would follow.
"""

from __future__ import annotations

import contextlib
import os
import re

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.errors import NotSetUpError, SettingsError, StoreCorruptError, TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server import private_files
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.signing import Verifier
from qlmdm_core.store import Store

_NAME = re.compile(r"([1-9][0-9]{0,8})\.json\Z")


def trusted_root(settings: ServerSettings, store: Store, verifier: Verifier) -> Root:
    """The newest root document, if it is or follows from what this machine has seen.

    Raises `NotSetUpError`, `StoreCorruptError` and `SettingsError`. On a machine that has seen
    none, it is believed, as on first contact.
    """
    found = store.root()
    if found is None:
        raise NotSetUpError("there is no root document yet; run qlmdm-server-setup")
    folder = os.path.join(settings.keys, "roots")
    seen = _seen(folder)
    try:
        newest = rootdoc.load(found.document, verifier)
        if not seen:
            _remember(folder, newest.version, found.document)
        elif newest.version <= seen[-1]:  # an older one: the database is an old backup
            _same(folder, newest, seen, verifier)
        else:
            current = _load(folder, seen[-1], verifier)
            for version in range(current.version + 1, newest.version + 1):
                step = store.root(version)
                if step is None:
                    raise TrustError(f"version {version} is missing")
                current = rootdoc.advance(current, step.document, verifier)
                _remember(folder, version, step.document)
            if current != newest:
                raise TrustError("it says another version than it is stored as")
    except TrustError as error:
        raise StoreCorruptError(
            f"root document {found.version} in the database: {error}. Clients would not follow "
            f"it; nothing was done. Compare it with {folder}: somebody may have changed the "
            "database"
        ) from None
    return newest


def _same(folder: str, newest: Root, seen: list[int], verifier: Verifier) -> None:
    if newest.version not in seen:
        raise TrustError(f"this machine has seen {seen[-1]}, and never this one")
    if _load(folder, newest.version, verifier) != newest:
        raise TrustError("it is not the one of that version that this machine has seen")


def _seen(folder: str) -> list[int]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsError(f"can't be read: {error.strerror}", file=folder) from None
    return sorted(int(found[1]) for name in names if (found := _NAME.match(name)))


def _load(folder: str, version: int, verifier: Verifier) -> Root:
    path = os.path.join(folder, f"{version}.json")
    try:
        with open(path, "rb") as file:
            document = file.read(rootdoc.MAX_BYTES + 1)
    except OSError as error:
        raise TrustError(f"{path}: {error.strerror}") from None
    return rootdoc.load(document, verifier)


def _remember(folder: str, version: int, document: bytes) -> None:
    text = signedtext.unpack(document, max_bytes=rootdoc.MAX_BYTES).pack().decode("ascii")
    # Who may only read the keys still compares; somebody else will remember.
    with contextlib.suppress(SettingsError):
        private_files.replace(os.path.join(folder, f"{version}.json"), text)
