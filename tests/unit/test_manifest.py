"""The manifest of a release: what it may name, who must have signed it, when it may be taken."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import manifest as manifests
from qlmdm_core import rootdoc
from qlmdm_core.errors import TrustError
from qlmdm_core.manifest import File, Manifest, Version
from qlmdm_core.signing.sequoia import SequoiaVerifier
from qlmdm_core.testing.trust import SERVER_ID, Ring, make_ring

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
VERIFIER = SequoiaVerifier()
HASH = "ab" * 32


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    home = str(tmp_path_factory.mktemp("k") / "h")
    return make_ring(home, ["root", "release", "release2", "operator", "online", "client"])


def file(path: str, **changes: Any) -> File:
    return File(path, HASH, 3, 0o644)._replace(**changes)


def release(*paths: str, **changes: Any) -> Manifest:
    made = Manifest(
        server_id=SERVER_ID,
        version=Version(1, 7),
        issued_at=NOW,
        expires_at=NOW + timedelta(days=180),
        tar_sha256=HASH,
        tar_size=10240,
        files=tuple(file(path) for path in paths or ("lib/a.py", "settings.yml")),
    )
    return replace(made, **changes)


def test_what_is_built_is_what_is_read() -> None:
    made = release("commands/hello", "files/acme/ca.pem", "lib/x-1.0.dist-info/METADATA")
    assert manifests.parse(manifests.build(made)) == made


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "lib/../../etc/passwd",
        "../lib/a.py",
        "lib/./a.py",
        "lib//a.py",
        "lib/a.py/",
        "lib",
        "settings.yml/x",
        "elsewhere/a.py",
        "manifest.json",
        "lib/a\0b",
        "lib/a\nb",
        "lib/ a",
        "lib/é.py",
        "lib/" + "a" * 300,
        "lib/" + "a/" * 30 + "b",
        "",
    ],
)
def test_a_path_that_leads_anywhere_else_is_refused(path: str) -> None:
    assert not manifests.is_safe_path(path)
    with pytest.raises(TrustError, match="may not have a file at"):
        manifests.build(release(path))


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ((file("lib/b"), file("lib/a")), "in order"),
        ((file("lib/a"), file("lib/a")), "in order"),
        ((file("lib/a"), file("lib/a/b")), "a file and a folder"),
        ((file("lib/a", mode=0o4755),), "mode"),
        ((file("lib/a", mode=0o666),), "mode"),
        ((file("lib/a", sha256="ab"),), "hash or size"),
        ((file("lib/a", size=-1),), "hash or size"),
        ((file("lib/a", size=manifests.MAX_FILE_BYTES + 1),), "hash or size"),
        (
            tuple(file(f"lib/{n}", size=manifests.MAX_FILE_BYTES) for n in range(9)),
            "more than a release",
        ),
    ],
)
def test_a_list_of_files_that_no_release_may_have(files: tuple[File, ...], why: str) -> None:
    with pytest.raises(TrustError, match=why):
        manifests.build(release(files=files))


def test_only_the_release_keys_can_sign_one(ring: Ring) -> None:
    root = ring.root(now=NOW)
    text = manifests.build(release())
    assert manifests.verify(ring.sign(text, "release"), root, VERIFIER) == release()
    for names in ((), ("client",), ("operator",), ("online",), ("root",), ("release2",)):
        with pytest.raises(TrustError, match="0 of the 1 release keys"):
            manifests.verify(ring.sign(text, *names), root, VERIFIER)


def test_two_signatures_by_one_key_are_one(ring: Ring) -> None:
    root = ring.root(now=NOW, release=("release", "release2"))
    roles = dict(root.roles)
    roles["release"] = replace(roles["release"], threshold=2)
    root = replace(root, roles=roles)
    text = manifests.build(release())
    with pytest.raises(TrustError, match="1 of the 2 release keys"):
        manifests.verify(ring.sign(text, "release", "release"), root, VERIFIER)
    assert manifests.verify(ring.sign(text, "release", "release2"), root, VERIFIER)


def test_another_servers_release_is_refused(ring: Ring) -> None:
    text = manifests.build(release(server_id="fedcba9876543210"))
    with pytest.raises(TrustError, match="another server's"):
        manifests.verify(ring.sign(text, "release"), ring.root(now=NOW), VERIFIER)


@pytest.mark.parametrize(
    ("version", "above", "why"),
    [
        (Version(1, 7), Version(1, 7), "not newer"),
        (Version(1, 6), Version(1, 7), "not newer"),
        (Version(2, 1), None, "not of epoch 1"),
    ],
)
def test_a_number_that_is_not_above_the_high_water_mark(
    ring: Ring, version: Version, above: Version | None, why: str
) -> None:
    with pytest.raises(TrustError, match=why):
        manifests.check_installable(
            release(version=version), ring.root(now=NOW), now=NOW, above=above
        )


def test_a_new_epoch_lets_numbers_begin_again(ring: Ring) -> None:
    root = ring.root(now=NOW, epoch=2)
    manifests.check_installable(
        release(version=Version(2, 1)), root, now=NOW, above=Version(1, 900)
    )
    with pytest.raises(TrustError, match="not of epoch 2"):
        manifests.check_installable(
            release(version=Version(1, 901)), root, now=NOW, above=Version(1, 900)
        )


def test_expiry_of_the_release_and_of_the_root_document(ring: Ring) -> None:
    root = ring.root(now=NOW)
    with pytest.raises(TrustError, match="expired on"):
        manifests.check_installable(release(), root, now=NOW + timedelta(days=180), above=None)
    with pytest.raises(TrustError, match="root document 1 has expired"):
        manifests.check_installable(release(), root, now=NOW + timedelta(days=365), above=None)


@pytest.mark.parametrize("text", ["1.7", "1.10", "999999999.1"])
def test_versions_are_written_and_read(text: str) -> None:
    assert str(manifests.read_version(text)) == text


@pytest.mark.parametrize("text", ["", "1", "1.", "0.1", "1.0", "1.07", "-1.2", "1.7 ", "١.٧", 1.7])
def test_what_is_no_version(text: object) -> None:
    with pytest.raises(ValueError, match=r"EPOCH\.NUMBER"):
        manifests.read_version(text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.data())
def test_any_change_of_a_field_gives_a_manifest_or_trust_error(data: st.DataObject) -> None:
    value = json.loads(manifests.build(release()))
    place = value
    key: Any = data.draw(st.sampled_from(sorted(value)))
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
    place[key] = data.draw(JSON_VALUES)
    try:
        read = manifests.parse(json.dumps(value))
    except TrustError:
        return
    assert all(manifests.is_safe_path(part.path) for part in read.files)
    assert rootdoc.whole(read.version.number)


@given(st.text() | JSON_VALUES.map(json.dumps))
def test_any_text_gives_a_manifest_or_trust_error(text: str) -> None:
    with pytest.raises(TrustError):
        manifests.parse(text)


def test_the_name_of_a_module_is_a_path_like_any_other(tmp_path: Path) -> None:
    assert manifests.is_safe_path("lib/yaml/__init__.py")
    assert manifests.is_safe_path("settings.yml")
    assert manifests.is_safe_path("launcher/lib/qlmdm_core/errors.py")
