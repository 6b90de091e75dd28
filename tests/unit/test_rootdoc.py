"""The root document: the first pin, and the step from one version to the next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import rootdoc
from qlmdm_core.errors import TrustError
from qlmdm_core.rootdoc import Role, Root
from qlmdm_core.signedtext import MAX_SIGNATURES, SignedText
from qlmdm_core.signing import Signer, keys
from qlmdm_core.signing.sequoia import SequoiaSigner, SequoiaVerifier

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
VERIFIER = SequoiaVerifier()


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Signer, str]]:
    """Seven signers and their certificates: three for root, one for each other role, a thief."""
    home = str(tmp_path_factory.mktemp("k") / "h")
    made = [keys.make_key(home, f"key {number}") for number in range(7)]
    return [
        (SequoiaSigner(keys.export_secret(home, key.fingerprint)), key.armoured) for key in made
    ]


def root_of(ring: list[tuple[Signer, str]], roots: Sequence[int], threshold: int = 1) -> Root:
    numbers = {"root": tuple(roots), "release": (3,), "operator": (4,), "online": (5,)}
    roles = {
        name: Role(fingerprints=tuple(ring[number][0].fingerprint for number in members))
        for name, members in numbers.items()
    }
    roles["root"] = replace(roles["root"], threshold=threshold)
    return Root(
        version=1,
        server_id="0123456789abcdef",
        issued_at=NOW,
        expires_at=NOW + timedelta(days=365),
        roles=roles,
        keys={signer.fingerprint: armoured for signer, armoured in ring[:6]},
    )


def signed(root: Root, *signers: Signer) -> bytes:
    text = rootdoc.build(root)
    sigs = tuple(signer.sign(text.encode()) for signer in signers)
    return SignedText(text=text, sigs=sigs).pack()


def hash_of(root: Root) -> str:
    return SignedText(text=rootdoc.build(root), sigs=()).sha256


def test_the_first_document_is_pinned_by_its_hash(ring: list[tuple[Signer, str]]) -> None:
    root = root_of(ring, [0])
    document = signed(root, ring[0][0])
    assert rootdoc.pin(document, hash_of(root), VERIFIER) == root
    assert rootdoc.load(document, VERIFIER) == root
    (online,) = root.public_keys("online")
    assert online.fingerprint == ring[5][0].fingerprint
    with pytest.raises(TrustError, match="not the root document"):
        rootdoc.pin(document, "0" * 64, VERIFIER)
    with pytest.raises(TrustError, match="0 of the 1"):
        rootdoc.pin(signed(root), hash_of(root), VERIFIER)
    with pytest.raises(TrustError, match="0 of the 1"):
        rootdoc.pin(signed(root, ring[6][0], ring[3][0]), hash_of(root), VERIFIER)


def test_the_next_version_needs_both_the_old_and_the_new_keys(
    ring: list[tuple[Signer, str]],
) -> None:
    old = root_of(ring, [0])
    new = replace(root_of(ring, [1]), version=2)
    both = signed(new, ring[0][0], ring[1][0])
    assert rootdoc.advance(old, both, VERIFIER) == new
    for only in (ring[0][0], ring[1][0], ring[6][0]):
        with pytest.raises(TrustError, match="0 of the 1"):
            rootdoc.advance(old, signed(new, only), VERIFIER)


def test_a_threshold_counts_keys_not_signatures(ring: list[tuple[Signer, str]]) -> None:
    old = root_of(ring, [0, 1, 2], threshold=2)
    new = replace(old, version=2)
    assert rootdoc.advance(old, signed(new, ring[2][0], ring[0][0]), VERIFIER) == new
    with pytest.raises(TrustError, match="1 of the 2"):
        rootdoc.advance(old, signed(new, ring[0][0], ring[0][0]), VERIFIER)
    with pytest.raises(TrustError, match="1 of the 2"):
        rootdoc.pin(signed(old, ring[0][0], ring[0][0]), hash_of(old), VERIFIER)


@pytest.mark.parametrize("version", [1, 3])
def test_only_the_very_next_version_is_taken(ring: list[tuple[Signer, str]], version: int) -> None:
    old = root_of(ring, [0])
    other = replace(old, version=version)
    with pytest.raises(TrustError, match="can't follow"):
        rootdoc.advance(old, signed(other, ring[0][0]), VERIFIER)


def test_another_servers_document_is_refused(ring: list[tuple[Signer, str]]) -> None:
    old = root_of(ring, [0])
    other = replace(old, version=2, server_id="another-server")
    with pytest.raises(TrustError, match="another server"):
        rootdoc.advance(old, signed(other, ring[0][0]), VERIFIER)


def test_a_changed_byte_is_noticed(ring: list[tuple[Signer, str]]) -> None:
    old = root_of(ring, [0])
    text = rootdoc.build(replace(old, version=2))
    sig = ring[0][0].sign(text.encode())
    changed = SignedText(text=text.replace("2027", "2097"), sigs=(sig,)).pack()
    with pytest.raises(TrustError, match="0 of the 1"):
        rootdoc.advance(old, changed, VERIFIER)


def test_an_expired_document_says_so_and_is_succeeded(ring: list[tuple[Signer, str]]) -> None:
    old = root_of(ring, [0])
    assert not old.is_expired(NOW)
    assert old.is_expired(NOW + timedelta(days=365))
    new = replace(old, version=2, expires_at=NOW + timedelta(days=700))
    assert rootdoc.advance(old, signed(new, ring[0][0]), VERIFIER) == new


def broken(ring: list[tuple[Signer, str]], change: str) -> Root:
    root = root_of(ring, [0, 1])
    prints = [signer.fingerprint for signer, _ in ring]
    roles = dict(root.roles)
    keys_ = dict(root.keys)
    if change == "names a key twice":
        roles["root"] = Role(fingerprints=(prints[0], prints[0]))
    elif change == "asks for 2 of 1":
        roles["release"] = Role(fingerprints=(prints[3],), threshold=2)
    elif change == "expected a whole number":
        roles["release"] = Role(fingerprints=(prints[3],), threshold=0)
    elif change == "missing: .'online'":
        del roles["online"]
    elif change == "is another one":
        keys_[prints[3]] = keys_[prints[4]]
    elif change == "KeyError":
        del keys_[prints[3]]
    elif change == "online key may not":
        roles["operator"] = roles["online"]
    return replace(root, roles=roles, keys=keys_)


@pytest.mark.parametrize(
    "change",
    [
        "names a key twice",
        "asks for 2 of 1",
        "expected a whole number",
        "missing: .'online'",
        "is another one",
        "KeyError",
        "online key may not",
    ],
)
def test_a_document_that_contradicts_itself_is_neither_built_nor_read(
    ring: list[tuple[Signer, str]], change: str
) -> None:
    with pytest.raises(TrustError, match=change):
        rootdoc.build(broken(ring, change))


def test_unknown_fields_and_roles_are_kept(ring: list[tuple[Signer, str]]) -> None:
    root = root_of(ring, [0])
    roles = {**root.roles, "keeper": Role(fingerprints=(ring[2][0].fingerprint,))}
    root = replace(root, roles=roles, extra={"note": "x"})
    assert rootdoc.parse(rootdoc.build(root)) == root


def test_too_many_signatures_are_not_even_tried(ring: list[tuple[Signer, str]]) -> None:
    root = root_of(ring, [0])
    document = signed(root, *[ring[0][0]] * (MAX_SIGNATURES + 1))
    with pytest.raises(TrustError, match="at most"):
        rootdoc.load(document, VERIFIER)


@given(st.text(max_size=100))
def test_any_text_is_a_document_or_a_trust_error(text: str) -> None:
    with pytest.raises(TrustError):
        rootdoc.parse(text)


@given(
    st.dictionaries(
        st.sampled_from(["typ", "v", "version", "server_id", "issued_at", "roles", "keys"]),
        st.none() | st.integers() | st.text() | st.lists(st.none()) | st.just({"root": [1]}),
    )
)
def test_any_fields_are_a_document_or_a_trust_error(changes: dict[str, Any]) -> None:
    base = {
        "typ": "root", "v": 1, "version": 1, "server_id": "0123456789",
        "issued_at": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z",
        "roles": {"root": {"fingerprints": [[]], "threshold": 1}}, "keys": {"A": 1},
    }  # fmt: skip
    with pytest.raises(TrustError):
        rootdoc.parse(json.dumps({**base, **changes}))


def test_what_was_written_once_can_be_read_for_ever(tmp_path: Path) -> None:
    # The fields and their names are a promise to every client in the field.
    home = str(tmp_path / "h")
    made = {name: keys.make_key(home, name) for name in rootdoc.ROLES}
    text = json.dumps(
        {
            "typ": "root", "v": 1, "version": 4, "server_id": "0123456789",
            "issued_at": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z",
            "roles": {
                name: {"fingerprints": [key.fingerprint], "threshold": 1}
                for name, key in made.items()
            },
            "keys": {key.fingerprint: key.armoured for key in made.values()},
        }
    )  # fmt: skip
    root = rootdoc.parse(text)
    assert root.version == 4
    assert root.issued_at == datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert root.roles["root"].fingerprints == (made["root"].fingerprint,)
