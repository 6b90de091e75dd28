"""The model of a file system answers as the real one does, errors included."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qlmdm_core.client.release.files import Files
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.testing.powercut import ModelFiles

NAMES = ("a", "b", "c")
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
ODD = st.sampled_from(["", ".", "..", "a/../b", "/a", "a//b", "a/"])
ANY = st.one_of(PATHS, PATHS, PATHS, ODD)
MODES = st.sampled_from([0o600, 0o644, 0o755])
STEPS = st.one_of(
    st.tuples(st.just("mkdir"), PATHS),
    st.tuples(st.just("put"), PATHS, MODES, st.binary(max_size=40)),
    st.tuples(st.just("rename"), ANY, ANY),
    st.tuples(st.just("symlink"), ANY, ANY),
    st.tuples(st.just("unlink"), ANY),
    st.tuples(st.just("rmdir"), ANY),
    st.tuples(st.just("fsync_dir"), ANY),
    st.tuples(st.just("read"), ANY, st.integers(0, 40)),
    st.tuples(st.just("names"), ANY),
    st.tuples(st.just("stat"), ANY),
    st.tuples(st.just("readlink"), ANY),
)
Step = tuple[Any, ...]


def put(files: Files, path: str, mode: int, data: bytes) -> None:
    handle = files.create(path, mode)
    files.write(handle, data)
    files.fsync(handle)
    files.write(handle, data)
    files.close(handle)


def outcome(files: Files, step: Step) -> object:
    """What a step gives, or the number of its error."""
    name, *arguments = step
    act: Callable[..., object] = getattr(files, name, None) or (lambda *a: put(files, *a))
    try:
        result = act(*arguments)
    except OSError as error:
        return error.errno
    if name == "stat" and result is not None:
        found: Any = result
        return (found.kind, found.mode, found.size if found.kind != "dir" else None)
    return result


def tree(files: Files, path: str = "") -> dict[str, object]:
    """All that is there."""
    found: dict[str, object] = {}
    for name in files.names(path):
        below = f"{path}/{name}" if path else name
        stat = files.stat(below)
        assert stat is not None
        if stat.kind == "dir":
            found[below] = ("dir", stat.mode)
            found |= tree(files, below)
        elif stat.kind == "link":
            found[below] = ("link", files.readlink(below))
        else:
            found[below] = ("file", stat.mode, files.read(below, 1 << 20))
    return found


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=25))
@example([("mkdir", "a"), ("put", "a/b", 0o644, b"x"), ("rename", "a/b", "a")])
@example([("mkdir", "a"), ("mkdir", "b"), ("put", "b/c", 0o600, b""), ("rename", "a", "b")])
@example([("mkdir", "a"), ("rename", "a", "a/b"), ("rename", "a", "a")])
@example([("symlink", "b", "a"), ("mkdir", "b"), ("stat", "a/c"), ("names", "a"), ("read", "a", 9)])
@example([("put", "a", 0o600, b"x"), ("mkdir", "b"), ("rename", "a", "b"), ("rename", "b", "a")])
def test_the_model_answers_as_the_real_file_system(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory(prefix="qlmdm-") as folder, RealFiles(folder) as real:
        model = ModelFiles()
        for n, step in enumerate(steps):
            assert outcome(model, step) == outcome(real, step), (n, step)
        assert tree(model) == tree(real)


@pytest.mark.parametrize("way", ["write", "names", "rename"])
def test_both_change_the_times_by_which_a_change_is_noticed(way: str, tmp_path: Path) -> None:
    """The stamps of a verified release rely on it: a file's times tell of its bytes, a
    folder's of its names, and the change time also of a file that was put in its place."""
    model = ModelFiles()
    with RealFiles(str(tmp_path)) as real:
        for files in (real, model):
            files.mkdir("folder")
            put(files, "folder/file", 0o600, b"x")
            watched = "folder" if way == "names" else "folder/file"
            before = files.stat(watched)
            if way == "write":
                files.rename("folder/file", "moved")
                put(files, "folder/file", 0o600, b"y")
            elif way == "names":
                files.unlink("folder/file")
                put(files, "folder/file", 0o600, b"x")
            else:
                put(files, "folder/other", 0o600, b"x")
                files.rename("folder/other", "folder/file")
            assert files.stat(watched) != before
