"""Who this client is: its id, its key, the server it belongs to, and whom that server trusts.

| name            | holds                                                        |
|-----------------|--------------------------------------------------------------|
| `identity.json` | the client's and the server's ids, the key's fingerprint     |
| `root.json`     | the newest root document that was verified, as it was signed |
| `gnupg…/`       | the client's own key; it never leaves                        |
| `rekey.json`    | the next key, while it is not known to count (see `rekey`)   |
| `rekey_wanted`  | there if the server asked for a new key                      |
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.client.state import State
from qlmdm_core.errors import NotSetUpError, SpoolError, TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.gpg import GpgVerifier

IDENTITY = "identity.json"
ROOT = "root.json"
GNUPG = "gnupg"
REKEY = "rekey.json"
REKEY_WANTED = "rekey_wanted"
EARLY = timedelta(days=30)
"""So long before it expires a key is replaced, or in the last third of a shorter life."""
ASKED_AGAIN = timedelta(hours=12)
"""A server that asks for a new key more often than this is not obeyed."""
REKEY_PAUSE = timedelta(days=1)
"""So long a server that refused the new key is left alone with it."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What enrolment gave this client."""

    cid: str
    server_id: str
    fingerprint: str
    mid: str
    hostname: str
    """A name given by hand; empty: the machine's own, which may change."""
    enrolled_at: str
    """ISO 8601, UTC."""
    keyring: str = GNUPG
    """The folder with the key that counts."""
    key_expires_at: str = ""
    """ISO 8601, UTC; empty: never."""
    key_days: str = ""
    """How long a key of this client lives; empty: for ever."""
    rekeyed_at: str = ""
    """When the key was replaced last, by the server's clock; ISO 8601, UTC."""


_KEYRING = re.compile(r"gnupg(-[0-9a-f]{8})?\Z")
_NEEDED = {"cid", "server_id", "fingerprint", "mid", "hostname", "enrolled_at"}


def load_identity(state: State) -> Identity:
    """This client's identity. Raises `NotSetUpError` before it is enrolled."""
    fields = state.read_json(IDENTITY)
    if fields is None:
        raise NotSetUpError(
            f"{state.path}: this machine is not enrolled; run qlmdm-client-setup first"
        )
    known = {name: str(fields[name]) for name in Identity.__dataclass_fields__ if name in fields}
    if not is_keyring(known.get("keyring", GNUPG)):
        raise SpoolError(f"{state.path}/{IDENTITY} is damaged: keyring is not a name of ours")
    try:
        return Identity(**known)
    except TypeError:
        missing = sorted(_NEEDED - set(known))
        raise SpoolError(f"{state.path}/{IDENTITY} is damaged: {missing} is missing") from None


def save_identity(state: State, identity: Identity) -> None:
    """Make it this client's identity, durably. Written last when enrolling: it marks the end."""
    state.write_json(IDENTITY, asdict(identity))


def is_rekey_due(state: State, identity: Identity, now: datetime) -> bool:
    """Whether the key should be replaced (see `rekey`), or its replacement is not finished.

    Here, since each cycle asks this, and few need the rest.
    """
    noted = state.read_json(REKEY)
    if noted is not None:
        retry_at = noted.get("retry_at")
        return not (retry_at and now < datetime.fromisoformat(retry_at) <= now + REKEY_PAUSE)
    if identity.key_expires_at:
        early = min(EARLY, timedelta(days=int(identity.key_days or 0)) / 3)
        if now >= datetime.fromisoformat(identity.key_expires_at) - early:
            return True
    if state.read(REKEY_WANTED) is None:
        return False
    rekeyed_at = datetime.fromisoformat(identity.rekeyed_at) if identity.rekeyed_at else None
    if rekeyed_at is not None and rekeyed_at <= now < rekeyed_at + ASKED_AGAIN:
        state.remove(REKEY_WANTED)
        return False
    return True


def load_root(state: State) -> Root:
    """The pinned root document. It is ours, so only its shape is looked at again."""
    data = state.read(ROOT)
    if data is None:
        raise NotSetUpError(f"{state.path}/{ROOT} is missing; run qlmdm-client-setup again")
    try:
        return rootdoc.parse(signedtext.unpack(data, max_bytes=rootdoc.MAX_BYTES).text)
    except TrustError as error:
        raise SpoolError(f"{state.path}/{ROOT} is damaged: {error}") from None


def gnupg_home(state: State, identity: Identity | None = None) -> str:
    """Where the client's key is; before it is enrolled, where its first one is made."""
    return os.path.join(state.path, identity.keyring if identity else GNUPG)


def is_keyring(name: str) -> bool:
    """Whether it is a name that a keyring of ours can have."""
    return _KEYRING.match(name) is not None


def drop_other_keyrings(state: State, keep: str) -> None:
    """Remove keyrings that no longer count, or never did: leave this one only."""
    import shutil

    for name in os.listdir(state.path):
        if is_keyring(name) and name != keep:
            shutil.rmtree(os.path.join(state.path, name), ignore_errors=True)


def machine_hash() -> str:
    """A hash that is this machine's own: of its machine-id(5) and its product UUID.

    The UUID is readable for root only; both are missing in some containers. A machine without
    either hashes nothing, like every other such machine, which can only hide that one is a copy.
    """
    parts = [_first_line("/etc/machine-id"), _first_line("/sys/class/dmi/id/product_uuid")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def boot_id() -> str:
    """The kernel's random id of this boot (random(4)), or "unknown"."""
    return _first_line("/proc/sys/kernel/random/boot_id") or "unknown"


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline(200).strip()
    except OSError:
        return ""


def verifier() -> GpgVerifier:
    """What checks the server's signatures on a client."""
    return GpgVerifier()
