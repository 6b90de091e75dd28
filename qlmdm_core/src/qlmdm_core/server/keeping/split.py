"""Splits the secret keys of a role among keepers, puts them together again, splits them anew.

A new random key encrypts the secret keys; its shares go to the keepers, the encrypted file
stays where it is needed. Before anything is written, the file is opened once by shares, so that
what is handed out is known to work. Then the plain keys can go from the server.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from qlmdm_core import rootdoc
from qlmdm_core.errors import KeyringError, UsageError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server.keeping import bundle as bundles
from qlmdm_core.server.keeping import words
from qlmdm_core.server.keeping.bundle import Bundle
from qlmdm_core.server.keeping.words import MARK, ReadShare, ShareError
from qlmdm_core.signing import keys
from qlmdm_core.signing.encryption import encrypt
from qlmdm_core.signing.interface import PublicKey


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """What is to be handed out, and kept."""

    bundle: Bundle
    shares: tuple[str, ...]
    """The words for each keeper."""


def split(
    home: str, role: str, keepers: int, threshold: int, now: datetime, named: Sequence[str]
) -> Splitting:
    """Split the secret keys in a role's home that are `named` (by the root document).

    Raises `KeyringError` and `UsageError`.
    """
    words.check_numbers(keepers, threshold)
    found = [key.fingerprint for key in keys.list_keys(home) if key.fingerprint in named]
    if not found:
        raise KeyringError(
            f"{home}: there is no secret key of the role {role} here; it was moved away or is "
            "split already (then: qlmdm-keys reshare)"
        )
    secret_keys = [keys.export_secret(home, fingerprint) for fingerprint in found]
    return _split(role, found, secret_keys, keepers, threshold, now)


def opened(bundle: Bundle, shares: Sequence[ReadShare]) -> list[str]:
    """The secret keys in a bundle, ASCII-armoured. Raises `ShareError`."""
    return bundles.unlock(words.combine(shares, bundle.set_id), bundle.message)


def combine(home: str, bundle: Bundle, shares: Sequence[ReadShare], root: Root) -> list[str]:
    """Put the keys back into the role's home; their fingerprints.

    Nothing is put there that the root document does not name for this role. Raises
    `ShareError` and `KeyringError`.
    """
    if bundle.role not in rootdoc.ROLES:
        raise ShareError(f"the file is for a role {bundle.role!r}, which there is not")
    armoured = opened(bundle, shares)
    os.makedirs(os.path.dirname(home), mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".c-", dir=os.path.dirname(home)) as trial:
        # Its fingerprint is what gpg makes of it, not what the file says.
        found = [
            keys.import_secret(os.path.join(trial, str(at)), text)
            for at, text in enumerate(armoured)
        ]
    named = root.roles[bundle.role].fingerprints
    foreign = [fingerprint for fingerprint in found if fingerprint not in named]
    if foreign or not found:
        raise ShareError(
            f"root document {root.version} does not name {', '.join(foreign) or 'any of these'} "
            f"as a key of the role {bundle.role} (any more); nothing was restored"
        )
    for text in armoured:
        keys.import_secret(home, text)
    return found


def reshare(
    bundle: Bundle, shares: Sequence[ReadShare], keepers: int, threshold: int, now: datetime
) -> Splitting:
    """The same secret keys under a new random key: the old shares don't open the new bundle."""
    words.check_numbers(keepers, threshold)
    armoured = opened(bundle, shares)
    return _split(bundle.role, bundle.fingerprints, armoured, keepers, threshold, now)


def _split(
    role: str,
    fingerprints: Sequence[str],
    secret_keys: Sequence[str],
    keepers: int,
    threshold: int,
    now: datetime,
) -> Splitting:
    key = secrets.token_bytes(words.KEY_BYTES)
    set_id, shares = words.split_key(key, keepers, threshold)
    bundle = Bundle(
        role=role,
        fingerprints=tuple(fingerprints),
        set_id=set_id,
        keepers=keepers,
        threshold=threshold,
        made_at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        message=bundles.lock(key, secret_keys),
    )
    # The last ones: whatever is wrong with them would not be found by the first.
    read = [words.read_share(text, f"share {at}") for at, text in enumerate(shares, 1)]
    if [text.strip() for text in opened(bundle, read[-threshold:])] != [
        text.strip() for text in secret_keys
    ]:
        raise KeyringError("the split keys could not be put together again; nothing was written")
    return Splitting(bundle=bundle, shares=tuple(shares))


# --- files ------------------------------------------------------------------------------------


def write(
    splitting: Splitting, folder: str, bundle_file: str, to: Sequence[PublicKey] = ()
) -> list[str]:
    """Write the shares into a new folder and the bundle beside them and to `bundle_file`.

    With `to`, each share is encrypted to its keeper's own key. What was at `bundle_file` is
    replaced, last of all. Returns the paths of the shares. Raises `UsageError`.
    """
    made = splitting.bundle
    if to and len(to) != made.keepers:
        raise UsageError(f"{made.keepers} keepers, but {len(to)} keys to encrypt their shares to")
    texts = [_share_text(made, at, text) for at, text in enumerate(splitting.shares, 1)]
    if to:
        texts = [encrypt(text.encode(), [key]) for text, key in zip(texts, to, strict=True)]
    ending = "asc" if to else "txt"
    try:
        os.mkdir(folder, 0o700)
    except OSError as error:
        raise UsageError(f"--output: {folder}: {error.strerror}; name a new folder") from None
    paths = [
        os.path.join(folder, f"{made.role}-share-{at}-of-{made.keepers}.{ending}")
        for at in range(1, made.keepers + 1)
    ]
    for path, text in zip(paths, texts, strict=True):
        _write(path, text)
    _write(os.path.join(folder, f"{made.role}.split.json"), bundles.pack(made))
    os.makedirs(os.path.dirname(bundle_file), mode=0o700, exist_ok=True)
    _write(bundle_file + ".new", bundles.pack(made))
    os.replace(bundle_file + ".new", bundle_file)
    _sync_folder(os.path.dirname(bundle_file))
    return paths


def _share_text(made: Bundle, number: int, share: str) -> str:
    lines = share.split()
    grouped = "\n".join(" ".join(lines[at : at + 6]) for at in range(0, len(lines), 6))
    return (
        f"qlmdm: share {number} of {made.keepers}; any {made.threshold} of them restore the "
        f"{made.role} key.\n"
        f"Set {made.set_id}, made {made.made_at}. Keys: {', '.join(made.fingerprints)}\n"
        "Keep it away from the other shares and from the server; on paper is good.\n"
        f"It is used by: qlmdm-keys combine {made.role}\n"
        f"\n{MARK}\n{grouped}\n"
    )


def _write(path: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror}") from None


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_plain(home: str, say: Callable[[str], None]) -> None:
    """Take the plain keys from the server. What a disk or a backup remembers stays there."""
    shutil.rmtree(home)
    say(
        f"{home}: removed. Copies may be left in backups, and in blocks that the disk has not "
        "overwritten: if that matters, rotate the key after moving it (qlmdm-keys rotate)"
    )


def read_file(path: str) -> str:
    """A share's or a bundle's text. Raises `UsageError`."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(bundles.MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from None
