"""Whatever a tree looks like: it is gone, and nothing else is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlmdm_core.client.wipe import trees
from qlmdm_core.client.wipe.power import Power

NAMES = st.text("ab .\n-*é", min_size=1, max_size=3).filter(lambda n: n not in (".", ".."))
KINDS = st.sampled_from(["file", "up", "out", "out_file", "hard", "fifo", "loop"])
TREES = st.recursive(KINDS, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12)
BASE = Path("/srv/base")
KEPT = Path("/srv/outside")


def make(path: Path, tree: object) -> None:
    if isinstance(tree, dict):
        path.mkdir()
        for name, inner in tree.items():
            make(path / name, inner)
    elif tree == "file":
        path.write_text("x")
    elif tree == "hard":
        os.link(KEPT / "file", path)
    elif tree == "fifo":
        os.mkfifo(path)
    else:
        targets = {"up": Path("../.."), "out": KEPT, "out_file": KEPT / "file", "loop": path}
        path.symlink_to(targets[str(tree)])


@given(TREES)
@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_tree_goes_whole_and_what_it_points_at_stays(own_power: Power, tree: object) -> None:
    own_power.prove()
    for folder in (BASE, KEPT):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (KEPT / "file").write_text("kept")
    (BASE / "beside").write_text("kept")
    make(BASE / "top", tree)
    parent = os.open(BASE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = trees.remove_tree(parent, "top", f"{BASE}/top", mounted=())
    finally:
        os.close(parent)
    assert done.left == []
    assert os.listdir(BASE) == ["beside"]
    assert (KEPT / "file").read_text() == "kept"
    assert os.stat(KEPT / "file").st_nlink == 1


def test_a_folder_that_is_moved_away_meanwhile_ends_it(
    own_power: Power, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody might who waits for the moment, to have the way up lead elsewhere."""
    own_power.prove()
    for folder in (BASE, KEPT):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (KEPT / "file").write_text("kept")
    (BASE / "top" / "a").mkdir(parents=True)
    moved = False
    real = os.listdir

    def moving(path: object = ".") -> list[str]:
        nonlocal moved
        names = real(path)  # type: ignore[call-overload]
        if not moved and (BASE / "top" / "a").exists() and path != f"{BASE}/top":
            moved = os.fstat(path).st_ino == os.stat(BASE / "top" / "a").st_ino  # type: ignore[arg-type]
            if moved:
                os.rename(BASE / "top" / "a", KEPT / "a")
        return list(names)

    monkeypatch.setattr(os, "listdir", moving)
    parent = os.open(BASE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = trees.remove_tree(parent, "top", f"{BASE}/top", mounted=())
    finally:
        os.close(parent)
    assert moved
    assert "moved away" in done.left[0]
    assert (KEPT / "file").read_text() == "kept"
    assert (KEPT / "a").exists()
