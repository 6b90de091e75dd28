"""What a collector remembers: kept between runs, private to root, and never a cause of failure."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.host.memory import MAX_BYTES, Memory
from qlmdm_core.host.real import RealHost
from qlmdm_core.host.recording import RecordingHost


def test_a_later_run_recalls_what_an_earlier_one_remembered(tmp_path: Path) -> None:
    path = tmp_path / "badge.json"
    assert RealHost(memory=str(path)).recall() is None
    RealHost(memory=str(path)).remember({"number": 4711})
    assert RealHost(memory=str(path)).recall() == {"number": 4711}
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["badge.json"]


def test_without_a_place_nothing_is_remembered() -> None:
    host = RealHost()
    host.remember(1)
    assert host.recall() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 50_000, b"\xff", b" " * (MAX_BYTES + 1)])
def test_a_damaged_memory_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    assert Memory(str(path)).recall() is None


def test_a_memory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("1")
    (tmp_path / "m.json").symlink_to("secret.json")
    assert Memory(str(tmp_path / "m.json")).recall() is None
    Memory(str(tmp_path / "m.json")).remember(2)
    assert (tmp_path / "secret.json").read_text() == "1"


@pytest.mark.parametrize("value", ["x" * MAX_BYTES, "kept", float("nan"), {1, 2}, {(1, 2): 3}])
def test_what_can_not_be_kept_is_forgotten_without_an_error(tmp_path: Path, value: JSON) -> None:
    folder = tmp_path / "gone"
    Memory(str(folder / "m.json")).remember(value)
    assert not folder.exists()


def test_what_is_too_large_leaves_the_old_value(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path / "m.json"))
    memory.remember(1)
    for value in ("x" * MAX_BYTES, float("inf"), {"a": object()}):
        memory.remember(value)
        assert memory.recall() == 1


def test_what_a_killed_collector_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "m.json.new").write_text("{")
    memory = Memory(str(tmp_path / "m.json"))
    memory.remember(1)
    assert memory.recall() == 1
    assert os.listdir(tmp_path) == ["m.json"]


def test_a_link_in_the_place_of_the_new_value_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "m.json.new").symlink_to("elsewhere")
    Memory(str(tmp_path / "m.json")).remember(1)
    assert os.listdir(tmp_path) == ["m.json"]
    assert not (tmp_path / "m.json").is_symlink()


def test_threads_that_remember_at_once_leave_one_whole_value(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path / "m.json"))
    values = [str(number) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=memory.remember, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.recall() in values
    assert [name for name in os.listdir(tmp_path) if name != "m.json"] in ([], ["m.json.new"])


def test_while_recording_nothing_is_recalled(tmp_path: Path) -> None:
    """Else the recording would lack what was not asked again."""
    inner = RealHost(memory=str(tmp_path / "m.json"))
    inner.remember(1)
    host = RecordingHost(inner, str(tmp_path / "recorded"))
    assert host.recall() is None
    host.remember(2)
    assert inner.recall() == 1
