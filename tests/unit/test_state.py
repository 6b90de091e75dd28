"""The state directory is private, durable, and changed by one cycle at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qlmdm_core.client.state import DEFAULT, LOCK, State, state_path
from qlmdm_core.errors import BusyError, SpoolError


def test_the_environment_moves_the_directory() -> None:
    assert state_path({}) == DEFAULT
    assert state_path({"QLMDM_STATE_DIR": ""}) == DEFAULT
    assert state_path({"QLMDM_STATE_DIR": "/srv/x/../qlmdm"}) == "/srv/qlmdm"


def test_it_is_made_private_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with State.open({"QLMDM_STATE_DIR": str(path)}) as state:
        state.write("file", b"content")
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "file").stat().st_mode & 0o777 == 0o600


def test_without_create_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="No such file"):
        State(str(tmp_path / "none"), create=False)


def test_it_may_not_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(SpoolError, match="symbolic link"):
        State(str(tmp_path / "link"))


def test_it_may_not_be_writable_by_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(SpoolError, match="can be written by others"):
        State(str(tmp_path))


def test_it_is_closed_to_readers(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    State(str(tmp_path)).close()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to give a directory away")
def test_it_may_not_be_somebody_elses(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(SpoolError, match="belongs to uid 12345"):
        State(str(tmp_path))


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="Not a directory"):
        State(str(tmp_path / "file"))
    with pytest.raises(SpoolError, match="Not a directory"):
        State(str(tmp_path / "file" / "below"))


def test_json_comes_back(tmp_path: Path) -> None:
    with State(str(tmp_path)) as state:
        assert state.read_json("x.json") is None
        state.write_json("x.json", {"name": "Zoë", "n": 3})
        state.write_json("x.json", {"name": "Zoë", "n": 4})
        assert state.read_json("x.json") == {"name": "Zoë", "n": 4}
        state.remove("x.json")
        state.remove("x.json")
        assert state.read_json("x.json") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with State(str(tmp_path)) as state, pytest.raises(SpoolError, match=r"x\.json is damaged"):
        state.read_json("x.json")


def test_files_are_not_reached_through_links(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    (tmp_path / "secret").write_text("{}")
    with State(str(state_dir)) as state:
        (state_dir / "x.json").symlink_to(tmp_path / "secret")
        (state_dir / LOCK).symlink_to(tmp_path / "secret")
        with pytest.raises(SpoolError):
            state.read_json("x.json")
        with pytest.raises(SpoolError), state.lock():
            pass
        state.write_json("x.json", {"n": 1})
    assert (tmp_path / "secret").read_text() == "{}"


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.json")
    with State(str(tmp_path)) as state, pytest.raises(SpoolError, match="not a regular file"):
        state.read_json("x.json")


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    with State(str(tmp_path)) as state:
        key = state.secret("private.key")
        assert len(key) == 32
        assert state.secret("private.key") == key
        state.write("private.key", b"cut short")
        assert len(state.secret("private.key")) == 32


def test_the_lock_admits_one_and_names_it_to_others(tmp_path: Path) -> None:
    with State(str(tmp_path)) as state, State(str(tmp_path)) as other:
        held = pytest.raises(BusyError, match=f"pid {os.getpid()}")
        with state.lock(), held, other.lock():
            pass
        with other.lock():
            pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with State(str(tmp_path)) as state:
        ready, say = os.pipe()
        pid = os.fork()
        if pid == 0:
            with state.lock():
                os.write(say, b"x")
                os.kill(os.getpid(), 9)
        assert os.read(ready, 1) == b"x"
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(say)
        with state.lock():
            pass
