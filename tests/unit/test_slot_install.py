"""A release onto the disk, and whether it is still there as it was signed."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import manifest as manifests
from qlmdm_core import rootdoc
from qlmdm_core.client.release import install, layout, tarreader, verify
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.errors import TrustError
from qlmdm_core.manifest import Version
from qlmdm_core.signing.sequoia import SequoiaVerifier
from qlmdm_core.testing import releases
from qlmdm_core.testing.releases import Built
from qlmdm_core.testing.trust import Ring, make_ring

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
VERIFIER = SequoiaVerifier()
CONTENT = {"lib/a.py": b"a = 1\n", "lib/deep/b.py": b"", "settings.yml": b"x: 1\n"}
VERSION = Version(1, 7)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    home = str(tmp_path_factory.mktemp("k") / "h")
    return make_ring(home, ["root", "release", "release2", "operator", "online", "client"])


@pytest.fixture
def files(tmp_path: Path) -> Iterator[RealFiles]:
    (tmp_path / "c").mkdir()
    with RealFiles(str(tmp_path / "c")) as files:
        yield files


def put(files: RealFiles, ring: Ring, built: Built, **changes: Any) -> None:
    given: dict[str, Any] = {
        "manifest": built.manifest,
        "document": built.document,
        "root_document": releases.sign_root(ring, ring.root(now=NOW)),
        "tar": io.BytesIO(built.tar),
        **changes,
    }
    install.install(files, **given)


def test_a_slot_holds_exactly_what_was_signed(files: RealFiles, ring: Ring, tmp_path: Path) -> None:
    built = releases.build(ring, "1.7", CONTENT, now=NOW, executable=frozenset({"lib/a.py"}))
    put(files, ring, built)
    slot = tmp_path / "c/slots/1.7"
    found = {str(p.relative_to(slot)) for p in slot.rglob("*") if p.is_file()}
    assert found == {*CONTENT, "manifest.json", "root.json"}
    assert os.stat(slot / "lib/a.py").st_mode & 0o7777 == 0o755
    assert os.stat(slot / "settings.yml").st_mode & 0o7777 == 0o644
    verify.check(files, VERSION, ring.root(now=NOW), VERIFIER, now=1.0)


def test_a_slot_that_is_whole_is_not_written_again(files: RealFiles, ring: Ring) -> None:
    built = releases.build(ring, "1.7", CONTENT, now=NOW)
    put(files, ring, built)
    before = files.stat("slots/1.7/lib/a.py")
    put(files, ring, built, tar=io.BytesIO(b""))
    assert files.stat("slots/1.7/lib/a.py") == before


def test_a_spoilt_slot_is_written_anew(files: RealFiles, ring: Ring, tmp_path: Path) -> None:
    built = releases.build(ring, "1.7", CONTENT, now=NOW)
    put(files, ring, built)
    (tmp_path / "c/slots/1.7/lib/a.py").write_bytes(b"owned")
    put(files, ring, built)
    assert (tmp_path / "c/slots/1.7/lib/a.py").read_bytes() == CONTENT["lib/a.py"]


TARS: dict[str, Callable[[bytes], bytes]] = {
    "a file left out": lambda _: releases.pack({"lib/a.py": CONTENT["lib/a.py"]}),
    "a file added": lambda _: releases.pack({**CONTENT, "lib/z.py": b""}),
    "a file twice": lambda tar: releases.close(
        releases.member("lib/a.py", CONTENT["lib/a.py"]) + tar.rstrip(b"\0")
    ),
    "other content": lambda tar: tar.replace(b"a = 1", b"a = 2"),
    "a link chain": lambda _: releases.close(
        releases.member("lib/a.py", b"", type=b"2", link=b"/etc")
        + releases.member("lib/a.py/passwd", b"x")
    ),
}


@pytest.mark.parametrize("name", TARS)
def test_a_tar_that_is_not_the_manifests_leaves_no_slot(
    files: RealFiles, ring: Ring, name: str
) -> None:
    """Even signed: the tar's hash is right, what is in it is not."""
    built = releases.build(ring, "1.7", CONTENT, now=NOW, tar=TARS[name])
    with pytest.raises(TrustError):
        put(files, ring, built)
    assert files.stat("slots/1.7") is None


def test_what_is_read_back_is_compared_even_if_the_reader_were_fooled(
    files: RealFiles, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = releases.build(ring, "1.7", CONTENT, now=NOW)
    monkeypatch.setattr(tarreader, "members", _fooled)
    with pytest.raises(TrustError, match=r"lib/a\.py"):
        put(files, ring, built)
    monkeypatch.setattr(verify, "compare", lambda *_: ([], []))
    layout.remove_tree(files, "slots/1.7")
    put(files, ring, built)
    assert files.read("slots/1.7/lib/a.py", 100) == b"owned"


def _fooled(stream: object, listed: Any) -> Iterator[tuple[Any, list[bytes]]]:
    del stream
    for file in listed:
        yield file, [b"owned"]


# --- who may sign, and when ---------------------------------------------------------------------


@pytest.mark.parametrize("by", [(), ("client",), ("operator",), ("online",), ("release2",)])
def test_only_release_keys_make_a_release(
    ring: Ring, by: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = releases.build(ring, "1.7", CONTENT, now=NOW, by=by)
    with pytest.raises(TrustError, match="signed by 0 of the 1 release keys"):
        manifests.verify(built.document, ring.root(now=NOW), VERIFIER)
    monkeypatch.setattr(rootdoc, "require", lambda *_, **__: set())
    assert manifests.verify(built.document, ring.root(now=NOW), VERIFIER) == built.manifest


def test_two_signatures_by_one_key_are_one(ring: Ring) -> None:
    root = ring.root(now=NOW, release=("release", "release2"))
    role = replace(root.roles["release"], threshold=2)
    root = replace(root, roles={**root.roles, "release": role})
    twice = releases.build(ring, "1.7", CONTENT, now=NOW, by=("release", "release"))
    with pytest.raises(TrustError, match="signed by 1 of the 2"):
        manifests.verify(twice.document, root, VERIFIER)
    both = releases.build(ring, "1.7", CONTENT, now=NOW, by=("release", "release2"))
    assert manifests.verify(both.document, root, VERIFIER) == both.manifest


@pytest.mark.parametrize(
    ("python", "machine", "changes", "fits"),
    [
        ((3, 10), "x86_64", {}, True),
        ((3, 9), "x86_64", {}, False),
        ((3, 14), "x86_64", {"python_below": "3.14"}, False),
        ((3, 13), "x86_64", {"python_below": "3.14"}, True),
        ((3, 12), "aarch64", {"machines": ("x86_64",)}, False),
        ((3, 12), "x86_64", {"machines": ("aarch64", "x86_64")}, True),
    ],
)
def test_a_release_is_for_some_machines(
    ring: Ring, python: tuple[int, int], machine: str, changes: dict[str, Any], fits: bool
) -> None:
    built = releases.build(ring, "1.7", CONTENT, now=NOW, **changes)
    try:
        install.check_fits(built.manifest, python=python, machine=machine)
    except TrustError:
        assert not fits
    else:
        assert fits


# --- verification -------------------------------------------------------------------------------


def spoil_content(slot: Path) -> None:
    (slot / "lib/a.py").write_bytes(b"a = 2\n")


def spoil_mode(slot: Path) -> None:
    (slot / "lib/a.py").chmod(0o4755)


def spoil_link(slot: Path) -> None:
    (slot / "lib/a.py").unlink()
    (slot / "lib/a.py").symlink_to("/etc/passwd")


def spoil_folder(slot: Path) -> None:
    (slot / "lib/deep/b.py").unlink()
    (slot / "lib/deep").rmdir()
    (slot / "lib/deep").symlink_to("/etc")


def add_file(slot: Path) -> None:
    (slot / "lib/c.py").write_bytes(b"")


def add_folder(slot: Path) -> None:
    (slot / "lib/more").mkdir()


def add_link(slot: Path) -> None:
    (slot / "lib/more").symlink_to("/tmp")


def lose_file(slot: Path) -> None:
    (slot / "settings.yml").unlink()


def lose_manifest(slot: Path) -> None:
    (slot / "manifest.json").unlink()


def spoil_manifest(slot: Path) -> None:
    text = (slot / "manifest.json").read_text()
    (slot / "manifest.json").write_text(text.replace("lib/a.py", "lib/x.py"))


SPOILERS = [
    *(spoil_content, spoil_mode, spoil_link, spoil_folder, add_file, add_folder, add_link),
    *(lose_file, lose_manifest, spoil_manifest),
]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_slot_that_differs_is_told_and_its_stamps_forgotten(
    files: RealFiles, ring: Ring, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    put(files, ring, releases.build(ring, "1.7", CONTENT, now=NOW))
    root = ring.root(now=NOW)
    verify.check(files, VERSION, root, VERIFIER, now=1.0)
    assert files.stat("stamps/1.7") is not None
    spoil(tmp_path / "c/slots/1.7")
    with pytest.raises(verify.SlotError, match=r"release 1\.7 is not what was signed"):
        verify.check(files, VERSION, root, VERIFIER, now=2.0)
    assert files.stat("stamps/1.7") is None


def test_another_releases_manifest_in_its_place_is_told(files: RealFiles, ring: Ring) -> None:
    other = releases.build(ring, "1.6", CONTENT, now=NOW)
    put(files, ring, other)
    files.rename("slots/1.6", "slots/1.7")
    with pytest.raises(verify.SlotError, match=r"that of release 1\.6"):
        verify.inspect(files, VERSION, ring.root(now=NOW), VERIFIER)


def test_bytecode_is_thrown_away_by_a_full_pass(files: RealFiles, ring: Ring) -> None:
    put(files, ring, releases.build(ring, "1.7", CONTENT, now=NOW))
    files.mkdir("pycache")
    files.mkdir("pycache/1.7")
    layout.write_file(files, "pycache/1.7/a.pyc", b"owned")
    verify.check(files, VERSION, ring.root(now=NOW), VERIFIER, now=1.0)
    assert files.names("pycache") == []


def test_a_slot_is_still_what_was_signed_after_its_key_was_replaced(
    files: RealFiles, ring: Ring
) -> None:
    put(files, ring, releases.build(ring, "1.7", CONTENT, now=NOW))
    later = ring.root(now=NOW + timedelta(days=1), release=("release2",), version=2)
    verify.check(files, VERSION, later, VERIFIER, now=1.0)
    # But no copy of a root document may speak for today's or tomorrow's keys.
    with pytest.raises(verify.SlotError, match="signed by 0"):
        verify.check(files, VERSION, replace(later, version=1), VERIFIER, now=1.0)


def test_a_full_disk_keeps_no_whole_slot_from_running(
    files: RealFiles, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(files, ring, releases.build(ring, "1.7", CONTENT, now=NOW))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(verify, "write_stamps", full)
    verify.check(files, VERSION, ring.root(now=NOW), VERIFIER, now=1.0)
