"""Reads the secret-keepers' public keys, and makes sure that they can be encrypted to."""

from __future__ import annotations

from collections.abc import Sequence

from qlmdm_core.errors import KeyringError, SettingsError, SignatureError
from qlmdm_core.signing import packets
from qlmdm_core.signing.encryption import encrypt
from qlmdm_core.signing.interface import PublicKey

MAX_BYTES = 64 << 10
"""A key without other people's signatures and photographs takes a tenth of it."""


def read_keepers(paths: Sequence[str]) -> list[PublicKey]:
    """The keys in these files, one in each. Raises `SettingsError`, which names the file.

    A key that nothing can be encrypted to is refused here, and not found out on the clients.
    """
    return [_read(path) for path in paths]


def _read(path: str) -> PublicKey:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"can't be read: {error.strerror}", file=path, key="keepers") from None
    if "PRIVATE KEY" in text:
        raise SettingsError(
            "is a secret key, which must not come near the server; give the public key, as "
            "gpg --armor --export prints it",
            file=path,
            key="keepers",
        )
    if len(text) > MAX_BYTES:
        raise SettingsError(
            "is too large; use: gpg --armor --export-options export-minimal --export",
            file=path,
            key="keepers",
        )
    try:
        certificate = packets.dearmour(text, "PUBLIC KEY BLOCK")
        key = PublicKey(fingerprint=packets.primary_fingerprint(certificate), armoured=text)
        encrypt(b"a trial", [key])
    except (SignatureError, KeyringError) as error:
        raise SettingsError(
            f"is no key that can be encrypted to: {error}", file=path, key="keepers"
        ) from None
    return key
