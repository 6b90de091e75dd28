"""A site's keys for tests: made once, then in memory, with a root document that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from qlmdm_core import rootdoc
from qlmdm_core.rootdoc import Role, Root
from qlmdm_core.signedtext import SignedText
from qlmdm_core.signing import PublicKey, Signer, keys
from qlmdm_core.signing.sequoia import SequoiaSigner

SERVER_ID = "0123456789abcdef"


@dataclass(frozen=True, kw_only=True)
class Ring:
    """Signers by name, such as "operator" and "operator2", and their certificates."""

    signers: Mapping[str, Signer]
    public: Mapping[str, PublicKey]

    def root(self, *, now: datetime, **changes: Any) -> Root:
        """A root document in which each role has the key of its own name; `changes` are
        fields of `Root`, or a role's name with the names of its keys."""
        members: dict[str, Sequence[str]] = {
            name: changes.pop(name, (name,)) for name in rootdoc.ROLES
        }
        used = {name for names in members.values() for name in names}
        root = Root(
            version=1,
            server_id=SERVER_ID,
            issued_at=now,
            expires_at=now + timedelta(days=365),
            roles={
                role: Role(fingerprints=tuple(self.public[name].fingerprint for name in names))
                for role, names in members.items()
            },
            keys={key.fingerprint: key.armoured for n, key in self.public.items() if n in used},
        )
        return replace(root, **changes)

    def sign(self, text: str, *names: str) -> bytes:
        """The signed document, by those of these names."""
        sigs = tuple(self.signers[name].sign(text.encode()) for name in names)
        return SignedText(text=text, sigs=sigs).pack()


def make_ring(home: str, names: Sequence[str]) -> Ring:
    """Make one key for each name; gpg takes a moment for each."""
    made = {name: keys.make_key(home, name) for name in names}
    return Ring(
        signers={
            name: SequoiaSigner(keys.export_secret(home, key.fingerprint))
            for name, key in made.items()
        },
        public=made,
    )


def whole_second(at: datetime) -> datetime:
    """The time as signed documents have it."""
    return at.astimezone(timezone.utc).replace(microsecond=0)
