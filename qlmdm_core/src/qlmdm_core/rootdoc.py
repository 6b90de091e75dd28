"""The root document: which keys may do what, and how one version hands over to the next.

Everything that a client believes starts here. It pins the first document by a hash that came
with its invitation. From then on it takes only version N+1, signed by as many keys of N's root
role as N asks for, and of N+1's as N+1 asks for; so neither a thief of old keys nor a typing
mistake in the new list can take over. Thresholds count distinct keys, not signatures.

An expired document stops new releases and commands (their code asks `is_expired`), but its
successor is taken all the same, and reporting goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from qlmdm_core import signedtext, strictjson
from qlmdm_core.api import JSON
from qlmdm_core.errors import SignatureError, TrustError
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing import packets
from qlmdm_core.signing.interface import PublicKey, Verifier

ROLES = ("root", "release", "operator", "online")
MAX_BYTES = 512 << 10


@dataclass(frozen=True, kw_only=True)
class Role:
    """The keys of one role, and how many of them must sign."""

    fingerprints: tuple[str, ...]
    threshold: int = 1


@dataclass(frozen=True, kw_only=True)
class Root:
    """One version of the root document."""

    version: int
    server_id: str
    issued_at: datetime
    expires_at: datetime
    roles: Mapping[str, Role]
    keys: Mapping[str, str]
    """Each fingerprint's certificate, ASCII-armoured."""
    keepers: tuple[str, ...] = ()
    """The keys of the secret-keepers: what is private is encrypted to all of them on the client,
    and they are named here because a server that was broken into would name its own."""
    epoch: int = 1
    """Releases are of one epoch, then of a number: raising it, as after restoring an old backup,
    lets numbers begin again without making any older release acceptable."""
    wipe_threshold: int = 1
    """How many different operators must sign a wipe; never fewer than sign a command."""
    never_wipe: tuple[str, ...] = ()
    """The ids of clients that refuse every wipe."""
    extra: Mapping[str, JSON] = field(default_factory=dict)
    """Fields that this version of the program doesn't know."""

    def public_keys(self, role: str) -> Sequence[PublicKey]:
        """The keys of a role."""
        return [
            PublicKey(fingerprint=fingerprint, armoured=self.keys[fingerprint])
            for fingerprint in self.roles[role].fingerprints
        ]

    def keeper_keys(self) -> Sequence[PublicKey]:
        """The keys of the secret-keepers; none if the site has none."""
        return [PublicKey(fingerprint=name, armoured=self.keys[name]) for name in self.keepers]

    def is_expired(self, now: datetime) -> bool:
        """Whether it may no longer be relied on for releases and commands."""
        return now >= self.expires_at


def build(root: Root) -> str:
    """The JSON text to be signed. Raises `TrustError` if the document would be refused."""
    value = {
        **root.extra,
        "v": 1,
        "typ": "root",
        "version": root.version,
        "server_id": root.server_id,
        "issued_at": write_time(root.issued_at),
        "expires_at": write_time(root.expires_at),
        "roles": {
            name: {"fingerprints": list(role.fingerprints), "threshold": role.threshold}
            for name, role in root.roles.items()
        },
        "keys": dict(root.keys),
        **({"keepers": list(root.keepers)} if root.keepers else {}),
        # Left out where they are what they are without: documents of version 1 had none.
        **({"epoch": root.epoch} if root.epoch != 1 else {}),
        **({"wipe_threshold": root.wipe_threshold} if root.wipe_threshold != 1 else {}),
        **({"never_wipe": list(root.never_wipe)} if root.never_wipe else {}),
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    parse(text)
    return text


def parse(text: str) -> Root:
    """The document in a signed text; its signatures are not looked at. Raises `TrustError`."""
    try:
        value = strictjson.parse(text.encode("utf-8"), max_bytes=MAX_BYTES)
        return _root(value)
    except (strictjson.JsonError, SignatureError, UnicodeEncodeError) as error:
        raise TrustError(f"not a root document: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TrustError(f"not a root document: {type(error).__name__}: {error}") from None


def pin(document: bytes, sha256: str, verifier: Verifier) -> Root:
    """The first document: its text has the hash we were given, and it is signed by itself.

    Raises `TrustError`.
    """
    signed = signedtext.unpack(document, max_bytes=MAX_BYTES)
    if signed.sha256 != sha256:
        raise TrustError("this is not the root document that the invitation named")
    root = parse(signed.text)
    require(signed, root, "root", verifier)
    return root


def advance(current: Root, document: bytes, verifier: Verifier) -> Root:
    """The next version, if `current` and itself vouch for it. Raises `TrustError`."""
    signed = signedtext.unpack(document, max_bytes=MAX_BYTES)
    # The old keys first: what they did not sign is not worth reading.
    require(signed, current, "root", verifier)
    root = parse(signed.text)
    if root.version != current.version + 1:
        raise TrustError(f"root document {root.version} can't follow {current.version}")
    if root.server_id != current.server_id:
        raise TrustError("the next root document is another server's")
    if root.epoch < current.epoch:
        raise TrustError(f"the epoch of releases can't go back from {current.epoch}")
    require(signed, root, "root", verifier)
    return root


def load(document: bytes, verifier: Verifier) -> Root:
    """A document that we stored ourselves: signed by itself. Raises `TrustError`."""
    signed = signedtext.unpack(document, max_bytes=MAX_BYTES)
    root = parse(signed.text)
    require(signed, root, "root", verifier)
    return root


def require(
    signed: SignedText, root: Root, role: str, verifier: Verifier, *, threshold: int | None = None
) -> set[str]:
    """The keys of a role that signed this text: at least as many as the role asks for.

    A higher `threshold` is that of what is signed, such as a wipe. Raises `TrustError`.
    """
    wanted = max(root.roles[role].threshold, threshold or 1)
    found = signedtext.signers(signed, root.public_keys(role), verifier)
    if len(found) < wanted:
        raise TrustError(
            f"signed by {len(found)} of the {wanted} {role} keys that root document "
            f"{root.version} asks for"
        )
    return found


def _root(value: JSON) -> Root:
    if value["typ"] != "root" or value["v"] != 1:
        raise TrustError("not a root document of this format")
    roles = {
        str(name): Role(
            fingerprints=tuple(role["fingerprints"]), threshold=whole(role["threshold"])
        )
        for name, role in value["roles"].items()
    }
    root = Root(
        version=whole(value["version"]),
        server_id=value["server_id"],
        issued_at=read_time(value["issued_at"]),
        expires_at=read_time(value["expires_at"]),
        roles=roles,
        keys=dict(value["keys"]),
        keepers=tuple(value.get("keepers", ())),
        epoch=whole(value.get("epoch", 1)),
        wipe_threshold=whole(value.get("wipe_threshold", 1)),
        never_wipe=tuple(map(str, value.get("never_wipe", ()))),
        extra={name: part for name, part in value.items() if name not in _KNOWN},
    )
    _check(root)
    return root


_KNOWN = frozenset(
    {
        *("v", "typ", "version", "server_id", "issued_at", "expires_at", "roles", "keys"),
        *("keepers", "epoch", "wipe_threshold", "never_wipe"),
    }
)


def _check(root: Root) -> None:
    if not isinstance(root.server_id, str) or not 8 <= len(root.server_id) <= 64:
        raise TrustError("a root document names the server's id")
    missing = [name for name in ROLES if name not in root.roles]
    if missing:
        raise TrustError(f"a root document has the roles {', '.join(ROLES)}; missing: {missing}")
    for name, role in root.roles.items():
        if len(set(role.fingerprints)) != len(role.fingerprints):
            raise TrustError(f"the role {name} names a key twice")
        if not 1 <= role.threshold <= len(role.fingerprints):
            raise TrustError(
                f"the role {name} asks for {role.threshold} of {len(role.fingerprints)} keys"
            )
        for fingerprint in role.fingerprints:
            _check_key(root, fingerprint)
    if root.wipe_threshold > len(root.roles["operator"].fingerprints):
        raise TrustError(f"a wipe asks for {root.wipe_threshold} operators; there are fewer")
    if len(set(root.keepers)) != len(root.keepers):
        raise TrustError("a secret-keeper's key is named twice")
    for fingerprint in root.keepers:
        _check_key(root, fingerprint)
    # The online key lies on the server, readable by its process: it must not also be able
    # to sign what a stolen server must not be able to sign.
    online = set(root.roles["online"].fingerprints)
    for name, role in root.roles.items():
        if name != "online" and online & set(role.fingerprints):
            raise TrustError(f"the online key may not serve as a key of the role {name} too")
    if online & set(root.keepers):
        raise TrustError("the online key may not be a secret-keeper's: the server would read all")


def _check_key(root: Root, fingerprint: str) -> None:
    certificate = packets.dearmour(root.keys[fingerprint], "PUBLIC KEY BLOCK")
    if packets.primary_fingerprint(certificate) != fingerprint:
        raise TrustError(f"the key given for {fingerprint} is another one")


def whole(value: JSON) -> int:
    """A whole number from 1, as signed documents have them. Raises `ValueError`."""
    if type(value) is not int or value < 1:
        raise ValueError(f"expected a whole number from 1, not {value!r}")
    return value


def write_time(at: datetime) -> str:
    """A time as signed documents write it: "2026-01-31T23:59:59Z"."""
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: str) -> datetime:
    """What `write_time` wrote. Raises `ValueError`."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
