"""The file that a split key opens: the secret keys of one role, encrypted with AES-256 by gpg.

It is JSON about an OpenPGP message whose passphrase is the split key in hex, so that it can be
opened without this program, too: any SLIP-39 tool gives the key, `gpg --decrypt` the rest. Not
secret itself: without enough shares it is of no use. What it says about itself is believed for
messages only; what is inside is compared with the root document.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qlmdm_core import strictjson
from qlmdm_core.errors import KeyringError
from qlmdm_core.server.keeping.words import ShareError
from qlmdm_core.signing.gpg import QUIET, anonymous, content_of, program, run_program, stop_agent

MAX_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What the file holds."""

    role: str
    fingerprints: tuple[str, ...]
    set_id: int
    """Of the shares that open it."""
    keepers: int
    threshold: int
    made_at: str
    """ISO 8601, UTC."""
    message: str
    """OpenPGP, ASCII-armoured: the secret keys, one armoured block after the other."""


def pack(bundle: Bundle) -> str:
    """The text of the file."""
    return json.dumps({"v": 1, "typ": "split-key", **asdict(bundle)}, indent=1) + "\n"


def unpack(text: str, where: str) -> Bundle:
    """What `pack` wrote. Raises `ShareError`."""
    try:
        value: Any = strictjson.parse(text.encode("utf-8", "replace"), max_bytes=MAX_BYTES)
        if value["v"] != 1 or value["typ"] != "split-key":
            raise ValueError("not a bundle of this version")
        kinds: dict[str, type] = {"role": str, "made_at": str, "message": str}
        kinds |= {"set_id": int, "keepers": int, "threshold": int, "fingerprints": list}
        for name, kind in kinds.items():
            if type(value[name]) is not kind:
                raise ValueError(f"{name} is malformed")
        found = {name: value[name] for name in kinds}
        found["fingerprints"] = tuple(map(str, value["fingerprints"]))
        return Bundle(**found)
    except (strictjson.JsonError, KeyError, TypeError, ValueError) as error:
        raise ShareError(
            f"{where}: not the file of a split key ({error}); qlmdm-keys split wrote one"
        ) from None


def lock(key: bytes, secret_keys: Sequence[str]) -> str:
    """The secret keys, encrypted."""
    data = "\n".join(secret_keys).encode("ascii")
    argv = ["--cipher-algo", "AES256", "--s2k-digest-algo", "SHA512", "--compress-algo", "none"]
    argv += ["--no-emit-version", "--no-comments", "--armor", "--symmetric"]
    code, said, message = _gpg(key, argv, data)
    if code != 0 or not message.startswith(b"-----BEGIN PGP MESSAGE-----"):
        raise KeyringError(f"gpg could not encrypt the secret keys: {said}")
    return message.decode("ascii")


def unlock(key: bytes, message: str) -> list[str]:
    """The secret keys, each ASCII-armoured. Raises `ShareError`: another key, or damaged."""
    code, said, data = _gpg(key, ["--decrypt"], message.encode("ascii", "replace"))
    if code != 0:
        raise ShareError(
            f"the shares fit together but do not open this file: it is damaged, or another one "
            f"({said}); take another copy of it"
        )
    end = "-----END PGP PRIVATE KEY BLOCK-----"
    blocks = data.decode("ascii", "replace").split(end)[:-1]
    return [block.strip() + "\n" + end + "\n" for block in blocks]


def _gpg(key: bytes, argv: Sequence[str], data: bytes) -> tuple[int, str, bytes]:
    """Exit status, gpg's last words, and the output. The key goes by a descriptor."""
    binary = program("gpg")
    if binary is None:
        raise KeyringError("gpg is not installed; install GnuPG")
    with (
        tempfile.TemporaryDirectory(prefix="qlmdm-gpg-") as home,
        anonymous(key.hex().encode() + b"\n") as passphrase,
        anonymous(data) as source,
        anonymous(b"") as out,
    ):
        whole = [binary, "--homedir", home, *QUIET, "--no-keyring", "--lock-never"]
        whole += ["--pinentry-mode", "loopback", "--passphrase-fd", str(passphrase)]
        whole += ["--no-symkey-cache", "--output", "-", *argv, "--", "-"]
        try:
            code, said = run_program(whole, source, (passphrase,), stdout=out)
        finally:
            stop_agent(home)
        return code, said, content_of(out)
