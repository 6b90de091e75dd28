"""The server's one private key and its verifier, by whichever program is there.

pysequoia does it in this process; where it can't be imported (no wheel for this platform), gpg
does the same, some seventy times more slowly, and `qlmdm-server` says so when it starts.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from qlmdm_core import rootdoc
from qlmdm_core.errors import KeyringError, NotSetUpError, StoreCorruptError, TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.server.online_signer import FollowingSigner
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.signing import Signer, Verifier
from qlmdm_core.signing.gpg import GpgSigner, GpgVerifier
from qlmdm_core.store import Store

Engine = Literal["pysequoia", "gpg"]


@dataclass(frozen=True, kw_only=True)
class Crypto:
    """What a server process signs and verifies with."""

    engine: Engine
    signer: Signer
    verifier: Verifier
    homes: tuple[GpgHomes, ...] = ()
    """Where gpg holds the online key, if gpg signs."""

    def close(self) -> None:
        """Leave no agent and no copy of the key behind."""
        for homes in self.homes:
            homes.close()


class GpgHomes:
    """Makes a gpg home for each online key that there is in the life of a process."""

    def __init__(self) -> None:
        # Not a name below /tmp that could get too long for the agent's socket
        self._folder = tempfile.TemporaryDirectory(prefix="qlmdm-online-")
        self._signers: list[GpgSigner] = []

    def signer(self, secret: str) -> Signer:
        """A signer with this key. Raises `KeyringError`."""
        from qlmdm_core.signing.keys import import_secret

        home = os.path.join(self._folder.name, str(len(self._signers)))
        signer = GpgSigner(home, import_secret(home, secret))
        self._signers.append(signer)
        return signer

    def close(self) -> None:
        """Leave no agent and no copy of a key behind."""
        for signer in self._signers:
            signer.close()
        self._folder.cleanup()


def best_engine() -> Engine:
    """What can be used here."""
    if find_spec("pysequoia") is None:
        return "gpg"
    try:
        import qlmdm_core.signing.sequoia  # noqa: F401
    except ImportError:  # a wheel for another C library, say
        return "gpg"
    return "pysequoia"


def verifier_of(engine: Engine) -> Verifier:
    """The verifier alone."""
    if engine == "gpg":
        return GpgVerifier()
    from qlmdm_core.signing.sequoia import SequoiaVerifier

    return SequoiaVerifier(late=GpgVerifier())


def open_crypto(settings: ServerSettings, engine: Engine) -> Crypto:
    """Load the online key. Raises `KeyringError` and `NotSetUpError`."""
    path = online_key_path(settings)
    verifier = verifier_of(engine)
    if engine == "pysequoia":
        from qlmdm_core.signing.sequoia import SequoiaSigner

        signer = FollowingSigner(path, lambda: SequoiaSigner(read_online_key(path)))
        return Crypto(engine=engine, signer=signer, verifier=verifier)
    homes = GpgHomes()
    try:
        signer = FollowingSigner(path, lambda: homes.signer(read_online_key(path)))
    except BaseException:
        homes.close()
        raise
    return Crypto(engine=engine, signer=signer, verifier=verifier, homes=(homes,))


def role_home(settings: ServerSettings, role: str) -> str:
    """The gpg home that holds the secret keys of a role, as far as they are on this machine."""
    return os.path.join(settings.keys, role)


def online_key_path(settings: ServerSettings) -> str:
    """Where the online private key is."""
    return settings.online_key or os.path.join(settings.keys, "online.key")


def read_online_key(path: str) -> str:
    """The armoured secret key; refused if others may read it."""
    try:
        with open(path, encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(64 << 10)
    except FileNotFoundError:
        raise NotSetUpError(
            f"{path}: the online key is missing; run qlmdm-server-setup, which exports it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyringError(f"{path}: the online key can't be read: {error}") from None
    if mode & 0o077:
        raise KeyringError(f"{path}: others may read the online key; run: chmod 600 {path}")
    return text


def newest_root(store: Store, verifier: Verifier) -> Root:
    """The newest root document, checked. Raises `NotSetUpError` or `StoreCorruptError`."""
    found = store.root()
    if found is None:
        raise NotSetUpError("there is no root document yet; run qlmdm-server-setup")
    try:
        return rootdoc.load(found.document, verifier)
    except TrustError as error:
        raise StoreCorruptError(f"root document {found.version}: {error}") from None


def check_online_key(root: Root, signer: Signer) -> None:
    """Raise `KeyringError` if clients would refuse what this key signs."""
    online = root.roles["online"].fingerprints
    if signer.fingerprint not in online:
        raise KeyringError(
            f"the online key {signer.fingerprint} is not in root document {root.version}, "
            f"which names {', '.join(online)}; clients would refuse every answer"
        )
