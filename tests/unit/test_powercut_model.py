"""The model of a file system forgets what a real one may forget, and nothing else."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from qlmdm_core.testing.powercut import Fault, ModelFiles, Stopped
from qlmdm_core.testing.powercut_disk import SECTOR

SEEDS = range(300)
TEXT = b"what was written before the power failed: " * 3


def put(files: ModelFiles, path: str, data: bytes, *, sync: bool = True) -> None:
    handle = files.create(path, 0o600)
    files.write(handle, data)
    if sync:
        files.fsync(handle)
    files.close(handle)


def found(work: Callable[[ModelFiles], None], path: str) -> set[bytes | None]:
    """All that may be at `path` when the power fails after this work."""
    seen: set[bytes | None] = set()
    for seed in SEEDS:
        files = ModelFiles()
        work(files)
        files.restart(seed=seed)
        seen.add(files.read(path, 1 << 20) if files.stat(path) else None)
    return seen


def test_what_was_fsynced_under_a_name_that_was_fsynced_is_there() -> None:
    def work(files: ModelFiles) -> None:
        files.mkdir("folder")
        files.fsync_dir("")
        put(files, "folder/file", TEXT)
        files.symlink("folder/file", "link")
        files.fsync_dir("folder")
        files.fsync_dir("")

    assert found(work, "folder/file") == {TEXT}
    files = ModelFiles()
    work(files)
    files.restart(seed=1)
    assert files.readlink("link") == "folder/file"
    assert files.names("") == ["folder", "link"]


def test_data_that_was_not_fsynced_is_lost_cut_or_garbage() -> None:
    def work(files: ModelFiles) -> None:
        put(files, "file", TEXT, sync=False)
        files.fsync_dir("")

    seen = found(work, "file")
    assert {b"", TEXT} <= seen
    assert None not in seen
    texts = [text for text in seen if text]
    assert any(text != TEXT and TEXT.startswith(text) for text in texts), "a prefix"
    assert any(len(text) == len(TEXT) and text.endswith(bytes(9)) for text in texts), "grown"
    assert any(bytes(SECTOR) in text.rstrip(b"\0") for text in texts if len(text) == len(TEXT)), (
        "a sector amid others that never arrived"
    )
    assert any(len(text) == len(TEXT) and text != TEXT and b"\0\0" not in text for text in texts), (
        "what the blocks held before"
    )


def test_only_what_was_written_after_the_fsync_is_in_danger() -> None:
    def work(files: ModelFiles) -> None:
        handle = files.create("file", 0o600)
        files.write(handle, TEXT)
        files.fsync(handle)
        files.write(handle, TEXT)
        files.fsync_dir("")

    seen = found(work, "file")
    assert all(text and text.startswith(TEXT) for text in seen)
    assert len(seen) > 10


def test_a_file_that_lost_its_data_may_look_as_it_did() -> None:
    files = ModelFiles()
    put(files, "file", TEXT, sync=False)
    files.fsync_dir("")
    before = files.stat("file")
    for seed in SEEDS:
        again = ModelFiles(files.disk)
        again.restart(seed=seed)
        if again.stat("file") == before and again.read("file", 1 << 20) != TEXT:
            return
    pytest.fail("size and times always tell; on a real disk they do not")


def test_a_name_that_was_not_fsynced_is_there_or_not() -> None:
    assert found(lambda files: put(files, "file", TEXT), "file") == {TEXT, None}


def test_a_removal_that_was_not_fsynced_has_happened_or_not() -> None:
    def work(files: ModelFiles) -> None:
        put(files, "file", TEXT)
        files.fsync_dir("")
        files.unlink("file")

    assert found(work, "file") == {TEXT, None}


def test_a_file_is_replaced_whole_or_not_at_all() -> None:
    def work(files: ModelFiles) -> None:
        put(files, "file", b"old")
        files.fsync_dir("")
        put(files, "new", b"new")
        files.rename("new", "file")

    assert found(work, "file") == {b"old", b"new"}


def test_a_file_renamed_before_its_data_was_fsynced_may_be_empty() -> None:
    def work(files: ModelFiles) -> None:
        put(files, "file", b"old")
        files.fsync_dir("")
        put(files, "new", b"new", sync=False)
        files.rename("new", "file")
        files.fsync_dir("")

    seen = found(work, "file")
    assert b"" in seen
    assert b"old" not in seen


def test_a_move_between_folders_may_show_both_names_or_none() -> None:
    def work(files: ModelFiles) -> None:
        files.mkdir("a")
        files.mkdir("b")
        put(files, "a/file", TEXT)
        files.fsync_dir("a")
        files.fsync_dir("")
        files.rename("a/file", "b/file")

    seen = set()
    for seed in SEEDS:
        files = ModelFiles()
        work(files)
        files.restart(seed=seed)
        seen.add((*files.names("a"), "|", *files.names("b")))
    assert seen == {("file", "|"), ("|", "file"), ("file", "|", "file"), ("|",)}


def test_a_folder_never_has_two_names() -> None:
    for seed in SEEDS:
        files = ModelFiles()
        files.mkdir("a")
        put(files, "a/file", TEXT)
        files.fsync_dir("a")
        files.fsync_dir("")
        files.rename("a", "b")
        files.restart(seed=seed)
        assert len(files.names("")) <= 1
        for name in files.names(""):
            assert files.read(f"{name}/file", 1 << 20) == TEXT


def test_a_folder_without_its_name_takes_all_in_it_along() -> None:
    def work(files: ModelFiles) -> None:
        files.mkdir("folder")
        put(files, "folder/file", TEXT)
        files.fsync_dir("folder")

    assert found(work, "folder/file") == {TEXT, None}


def test_one_name_never_goes_back_in_time() -> None:
    def work(files: ModelFiles) -> None:
        put(files, "file", b"1")
        files.fsync_dir("")
        for text in (b"2", b"3"):
            put(files, "new", text)
            files.rename("new", "file")
            if text == b"2":
                files.fsync_dir("")

    assert found(work, "file") == {b"2", b"3"}


def test_an_fsync_that_failed_is_not_made_good_by_the_next() -> None:
    def work(files: ModelFiles) -> None:
        files.fault = Fault("I/O error", 3)
        handle = files.create("file", 0o600)
        files.write(handle, TEXT)
        with pytest.raises(OSError, match="Input/output error"):
            files.fsync(handle)
        files.fsync(handle)
        files.fsync_dir("")

    assert found(work, "file") == {TEXT, bytes(len(TEXT))}


def test_a_kill_loses_nothing_and_the_power_cut_after_it_does() -> None:
    files = ModelFiles(fault=Fault("kill", 3))
    with pytest.raises(Stopped):
        put(files, "file", TEXT)
    files.restart()
    assert files.read("file", 1 << 20) == TEXT
    seen = set()
    for seed in SEEDS:
        again = ModelFiles(files.disk)
        again.restart(seed=seed)
        seen.add(again.stat("file") is None)
    assert seen == {True, False}


@pytest.mark.parametrize("kind", ["kill", "power cut", "torn write"])
def test_a_process_that_ended_does_nothing_more(kind: str) -> None:
    files = ModelFiles(fault=Fault(kind, 2))  # type: ignore[arg-type]

    def work() -> None:
        try:
            put(files, "file", TEXT)
        finally:
            with pytest.raises(Stopped):
                files.unlink("file")

    with pytest.raises(Stopped):
        work()
    files.restart()
    assert files.names("") == ["file"]


def test_a_full_disk_stays_full_but_lets_go_of_files() -> None:
    files = ModelFiles()
    put(files, "old", TEXT)
    files.fault = Fault("disk full", files.calls + 2)
    with pytest.raises(OSError, match="No space left") as raised:
        put(files, "file", TEXT)
    assert raised.value.errno == errno.ENOSPC
    assert files.read("file", 1 << 20) == TEXT[: len(TEXT) // 2]
    with pytest.raises(OSError, match="No space left"):
        files.mkdir("folder")
    files.unlink("old")
    files.restart()
    files.mkdir("folder")


def test_a_torn_write_stops_in_the_middle_of_it() -> None:
    files = ModelFiles(fault=Fault("torn write", 2))
    with pytest.raises(Stopped):
        put(files, "file", TEXT)
    files.restart()
    assert files.read("file", 1 << 20) == TEXT[: len(TEXT) // 2]


def test_the_same_seed_forgets_the_same() -> None:
    def after(seed: int) -> tuple[bytes | None, ...]:
        files = ModelFiles()
        for name in "abcdef":
            put(files, name, TEXT, sync=False)
        files.restart(seed=seed)
        return tuple(files.read(n, 1 << 20) if files.stat(n) else None for n in "abcdef")

    assert after(5) == after(5)
    assert len({after(seed) for seed in range(20)}) > 10
