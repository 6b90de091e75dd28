"""The real file system below one folder: what is done there, and that nothing leads out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlmdm_core.client.release import layout
from qlmdm_core.client.release.real_files import RealFiles


@pytest.fixture
def files(tmp_path: Path) -> Iterator[RealFiles]:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    with RealFiles(str(tmp_path / "root")) as files:
        yield files


@pytest.mark.parametrize("path", ["../outside/secret", "/etc/passwd", "a/../../x", "a//b", "."])
def test_no_name_leads_out(files: RealFiles, path: str) -> None:
    with pytest.raises(OSError, match="not a path below the root"):
        files.read(path, 100)
    with pytest.raises(OSError, match="not a path below the root"):
        files.create(path, 0o600)


def test_no_link_is_followed_on_the_way(files: RealFiles, tmp_path: Path) -> None:
    os.symlink(tmp_path / "outside", tmp_path / "root/way")
    for action in (
        lambda: files.read("way/secret", 100),
        lambda: files.create("way/new", 0o600),
        lambda: files.unlink("way/secret"),
        lambda: files.mkdir("way/folder"),
        lambda: files.names("way"),
        lambda: files.rename("way/secret", "stolen"),
        lambda: files.symlink("x", "way/link"),
        lambda: files.fsync_dir("way"),
    ):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            action()
    assert os.listdir(tmp_path / "outside") == ["secret"]


def test_a_link_itself_is_no_file(files: RealFiles, tmp_path: Path) -> None:
    os.symlink(tmp_path / "outside/secret", tmp_path / "root/link")
    with pytest.raises(OSError, match="Too many levels"):
        files.read("link", 100)
    with pytest.raises(FileExistsError):
        files.create("link", 0o600)
    found = files.stat("link")
    assert found is not None
    assert found.kind == "link"
    files.unlink("link")
    assert (tmp_path / "outside/secret").exists()


def test_a_pipe_is_no_file_and_holds_nobody_up(files: RealFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/pipe")
    with pytest.raises(OSError, match="not a regular file"):
        files.read("pipe", 100)


def test_a_file_that_is_longer_than_it_may_be(files: RealFiles) -> None:
    layout.write_file(files, "a", b"12345")
    assert files.read("a", 5) == b"12345"
    with pytest.raises(OSError, match="larger") as caught:
        files.read("a", 4)
    assert caught.value.errno == errno.EFBIG


def test_modes_are_what_was_asked_for_whatever_the_umask(files: RealFiles, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        files.close(files.create("a", 0o755))
    finally:
        os.umask(before)
    assert (tmp_path / "root/a").stat().st_mode & 0o7777 == 0o755


def test_a_tree_is_taken_away_without_following_links(files: RealFiles, tmp_path: Path) -> None:
    (tmp_path / "root/tree/deep").mkdir(parents=True)
    (tmp_path / "root/tree/deep/file").write_text("x")
    os.symlink(tmp_path / "outside", tmp_path / "root/tree/link")
    layout.remove_tree(files, "tree")
    assert os.listdir(tmp_path / "root") == []
    assert (tmp_path / "outside/secret").exists()
