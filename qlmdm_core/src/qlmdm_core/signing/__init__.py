"""Detached OpenPGP signatures, made and checked by one of two implementations.

`interface` says what is promised, `packets` reads signatures without any cryptography, `gpg`
starts the system's gpg and gpgv (clients), `sequoia` works in the same process (the server),
`keys` makes keys. Clients need no pysequoia.
"""

from __future__ import annotations

from qlmdm_core.signing.interface import PublicKey, Signature, Signer, Verifier

__all__ = ["PublicKey", "Signature", "Signer", "Verifier"]
