"""Who this client is: its id, its key, the server it belongs to, and whom that server trusts.

| name            | holds                                                        |
|-----------------|--------------------------------------------------------------|
| `identity.json` | the client's and the server's ids, the key's fingerprint     |
| `root.json`     | the newest root document that was verified, as it was signed |
| `gnupg/`        | the client's own key; it never leaves                        |
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass

from qlmdm_core import rootdoc, signedtext
from qlmdm_core.client.state import State
from qlmdm_core.errors import NotSetUpError, SpoolError, TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.gpg import GpgVerifier

IDENTITY = "identity.json"
ROOT = "root.json"
GNUPG = "gnupg"


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


def load_identity(state: State) -> Identity:
    """This client's identity. Raises `NotSetUpError` before it is enrolled."""
    fields = state.read_json(IDENTITY)
    if fields is None:
        raise NotSetUpError(
            f"{state.path}: this machine is not enrolled; run qlmdm-client-setup first"
        )
    try:
        return Identity(**{name: str(fields[name]) for name in Identity.__dataclass_fields__})
    except KeyError as error:
        raise SpoolError(f"{state.path}/{IDENTITY} is damaged: {error} is missing") from None


def save_identity(state: State, identity: Identity) -> None:
    """Make it this client's identity, durably. Written last when enrolling: it marks the end."""
    state.write_json(IDENTITY, asdict(identity))


def load_root(state: State) -> Root:
    """The pinned root document. It is ours, so only its shape is looked at again."""
    data = state.read(ROOT)
    if data is None:
        raise NotSetUpError(f"{state.path}/{ROOT} is missing; run qlmdm-client-setup again")
    try:
        return rootdoc.parse(signedtext.unpack(data, max_bytes=rootdoc.MAX_BYTES).text)
    except TrustError as error:
        raise SpoolError(f"{state.path}/{ROOT} is damaged: {error}") from None


def gnupg_home(state: State) -> str:
    """Where the client's key is."""
    return os.path.join(state.path, GNUPG)


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
