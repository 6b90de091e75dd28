"""Makes, lists and exports the keys of people and machines, with python-gnupg.

Only setup commands do this; signing and verifying need neither this module nor python-gnupg.
A key is an Ed25519 primary key that signs, without subkeys (nothing can sign in its place)
and without a passphrase (machines use it unattended): its home is the protection.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import gnupg

from qlmdm_core.errors import KeyringError
from qlmdm_core.signing import packets
from qlmdm_core.signing.gpg import check_home, program, stop_agent
from qlmdm_core.signing.interface import PublicKey

NO_ADDRESS = "nobody@qlmdm.invalid"
"""Stands in the names of keys that were made here."""


@dataclass(frozen=True, kw_only=True)
class KeyInfo:
    """A secret key in a home."""

    fingerprint: str
    user_id: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class KeyFacts:
    """What a certificate says about its primary key."""

    fingerprint: str
    user_ids: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked: bool
    signs: bool
    """Whether the primary key itself may sign: signatures by subkeys count nowhere."""


def make_key(home: str, name: str, *, comment: str = "", expires_days: int = 0) -> PublicKey:
    """Make a signing key in `home` (created with mode 0700 if missing); 0 days: no expiry.

    Raises `KeyringError`. The agent that gpg needs for it has ended on return.
    """
    os.makedirs(home, mode=0o700, exist_ok=True)
    with _open(home) as gpg:
        made = gpg.gen_key(
            gpg.gen_key_input(
                key_type="EDDSA",
                key_curve="ed25519",
                key_usage="sign",
                name_real=_plain(name),
                name_comment=_plain(comment),
                # Left out, python-gnupg writes the user's and the host's name there.
                name_email=NO_ADDRESS,
                expire_date=f"{expires_days}d" if expires_days else "0",
                no_protection=True,
            )
        )
        if not made.fingerprint:
            raise KeyringError(f"{home}: gpg could not make a key: {_last(made.stderr)}")
        return _public(gpg, home, made.fingerprint)


def list_keys(home: str) -> list[KeyInfo]:
    """The secret keys in `home`, oldest first; none if there is no such folder."""
    if not os.path.isdir(home):
        return []
    with _open(home) as gpg:
        found = [
            KeyInfo(
                fingerprint=key["fingerprint"],
                user_id=(key["uids"] or [""])[0],
                created_at=_time(key["date"]),
                expires_at=_time(key["expires"]) if key["expires"] else None,
            )
            for key in gpg.list_keys(secret=True)
            # GnuPG's doc/DETAILS, field 15: "#" for a secret key that is not here (any more)
            if key["token"] != "#"  # noqa: S105 - no password
        ]
    return sorted(found, key=lambda key: key.created_at)


def user_id(key: PublicKey) -> str:
    """The first name in a certificate, as its maker typed it; "" if it has none."""
    for packet in packets.split(packets.dearmour(key.armoured, "PUBLIC KEY BLOCK")):
        if packet.tag == packets.TAG_USER_ID:
            return packet.body.decode("utf-8", "replace")
    return ""


def export_public(home: str, fingerprint: str) -> PublicKey:
    """The public part of a key in `home`. Raises `KeyringError` if there is none."""
    with _open(home) as gpg:
        return _public(gpg, home, fingerprint)


def export_secret(home: str, fingerprint: str) -> str:
    """The secret key, ASCII-armoured and unprotected. Raises `KeyringError`."""
    with _open(home) as gpg:
        text = gpg.export_keys(fingerprint, secret=True, expect_passphrase=False)
    if "PRIVATE KEY" not in text:
        raise KeyringError(f"{home}: gpg could not export the secret key {fingerprint}")
    return str(text)


def facts(keys: Sequence[PublicKey]) -> dict[str, KeyFacts]:
    """What these certificates say, by fingerprint. Raises `KeyringError`."""
    if not keys:
        return {}
    with tempfile.TemporaryDirectory(prefix="qlmdm-keys-") as home, _open(home) as gpg:
        found = gpg.scan_keys_mem("\n".join(key.armoured for key in keys))
    known = {
        key["fingerprint"]: KeyFacts(
            fingerprint=key["fingerprint"],
            user_ids=tuple(key["uids"]),
            created_at=_time(key["date"]),
            expires_at=_time(key["expires"]) if key["expires"] else None,
            revoked=key["trust"] == "r",
            # GnuPG's doc/DETAILS, field 12: small letters are the key's own, capitals those
            # of the whole certificate.
            signs="s" in key["cap"],
        )
        for key in found
    }
    missing = [key.fingerprint for key in keys if key.fingerprint not in known]
    if missing:
        raise KeyringError(f"gpg can't read the key {missing[0]}")
    return known


def minimal(armoured: str) -> PublicKey:
    """The one key in an ASCII-armoured text, without other people's signatures.

    Raises `KeyringError`.
    """
    with tempfile.TemporaryDirectory(prefix="qlmdm-keys-") as home, _open(home) as gpg:
        found = sorted(set(gpg.import_keys(armoured).fingerprints))
        if len(found) != 1:
            raise KeyringError(f"expected one public key, found {len(found)}")
        return _public(gpg, home, found[0])


def delete_secret(home: str, fingerprint: str) -> None:
    """Take a secret key away; its public part stays. Raises `KeyringError`."""
    with _open(home) as gpg:
        gpg.delete_keys(fingerprint, secret=True, expect_passphrase=False)
    if any(key.fingerprint == fingerprint for key in list_keys(home)):
        raise KeyringError(f"{home}: gpg could not delete the secret key {fingerprint}")


def import_secret(home: str, armoured: str) -> str:
    """Put a secret key into `home` (created if missing); its fingerprint."""
    os.makedirs(home, mode=0o700, exist_ok=True)
    with _open(home) as gpg:
        result = gpg.import_keys(armoured)
        found = sorted(set(result.fingerprints))
    if len(found) != 1 or not result.sec_imported + result.sec_dups:
        raise KeyringError(f"{home}: expected exactly one secret key to import")
    return str(found[0])


@contextlib.contextmanager
def _open(home: str) -> Iterator[gnupg.GPG]:
    check_home(home)
    binary = program("gpg")
    if binary is None:
        raise KeyringError("gpg is not installed; install GnuPG")
    try:
        gpg = gnupg.GPG(
            gpgbinary=binary,
            gnupghome=home,
            options=["--no-options", "--pinentry-mode", "loopback"],
        )
    except (OSError, ValueError) as error:
        raise KeyringError(f"{home}: {error}") from None
    try:
        yield gpg
    finally:
        stop_agent(home)


def _public(gpg: gnupg.GPG, home: str, fingerprint: str) -> PublicKey:
    text = gpg.export_keys(fingerprint, minimal=True)
    if "PUBLIC KEY" not in text:
        raise KeyringError(f"{home}: there is no key {fingerprint}")
    return PublicKey(fingerprint=fingerprint, armoured=text)


def _time(seconds: str) -> datetime:
    return datetime.fromtimestamp(int(seconds), timezone.utc)


def _plain(text: str) -> str:
    """What gpg's key parameters can take on one line, without marks of its own."""
    return "".join(char for char in text if char.isprintable() and char not in "<>()")[:60]


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("[GNUPG:]")]
    return lines[-1][:200] if lines else "no reason given"
