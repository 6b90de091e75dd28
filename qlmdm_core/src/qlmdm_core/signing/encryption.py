"""Encrypts to OpenPGP keys by the system's gpg, as clients do with what only people may read.

gpg gets an empty home of its own for each call and no keyring but the certificates it is given.
Sources: gpg(1), `--recipient-file`; GnuPG's doc/DETAILS for the status lines.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence

from qlmdm_core.errors import KeyringError, SignatureError
from qlmdm_core.signing import packets
from qlmdm_core.signing.gpg import QUIET, anonymous, content_of, program, run_program
from qlmdm_core.signing.interface import PublicKey


def encrypt(data: bytes, recipients: Sequence[PublicKey], gpg: str | None = None) -> str:
    """The data, ASCII-armoured, readable for each of these keys and for nobody else.

    Raises `KeyringError` if it can't be encrypted to all of them: a key that has expired, that
    is revoked, or that is made for signing only.
    """
    if not recipients:
        raise KeyringError("there is nobody to encrypt to")
    binary = gpg or program("gpg")
    if binary is None:
        raise KeyringError("gpg is not installed; install GnuPG")
    try:
        code, said, message = _run(binary, data, recipients)
    except SignatureError as error:
        raise KeyringError(f"a secret-keeper's key can't be read: {error}") from None
    except OSError as error:  # no room for the empty home, for instance
        where = f" ({error.filename})" if error.filename else ""
        raise KeyringError(f"gpg can't be run: {error.strerror or error}{where}") from None
    if code != 0 or not message.startswith(b"-----BEGIN PGP MESSAGE-----"):
        raise KeyringError(f"gpg could not encrypt to all secret-keepers: {said}")
    return message.decode("ascii")


def _run(binary: str, data: bytes, recipients: Sequence[PublicKey]) -> tuple[int, str, bytes]:
    """Exit status, gpg's last words, and the message."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="qlmdm-gpg-"))
        argv = [binary, "--homedir", home, *QUIET, "--no-keyring", "--lock-never"]
        argv += ["--trust-model", "always", "--no-encrypt-to", "--no-auto-check-trustdb"]
        argv += ["--compress-algo", "none", "--no-emit-version", "--no-comments"]
        keep: list[int] = []
        for key in recipients:
            certificate = packets.dearmour(key.armoured, "PUBLIC KEY BLOCK")
            if packets.primary_fingerprint(certificate) != key.fingerprint:
                raise KeyringError(f"the certificate for {key.fingerprint} is another key's")
            keep.append(stack.enter_context(anonymous(certificate)))
            argv += ["--recipient-file", f"/proc/self/fd/{keep[-1]}"]
        source, out = stack.enter_context(anonymous(data)), stack.enter_context(anonymous(b""))
        argv += ["--armor", "--encrypt", "--output", "-", "--", "-"]
        code, said = run_program(argv, source, tuple(keep), stdout=out)
        return code, said, content_of(out)
