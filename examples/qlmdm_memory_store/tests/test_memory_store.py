"""The engine passes the suite that every database engine passes, and says what it leaves out."""

from __future__ import annotations

import os
from datetime import datetime, timezone

import pytest

from qlmdm_core.errors import NotSetUpError, SettingsError, StoreUnavailableError
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.pytest_plugin import LoadServerPlugin
from qlmdm_core.testing.store_contract import Engine, StoreContract
from qlmdm_memory_store.store import Memory, MemoryStore

NOT_DONE = "memory:// lives and dies with one process: nothing survives it, and no other sees it"


class TestMemoryStore(StoreContract):
    """What is skipped, with the words of NOT_DONE, is what this engine does not do."""

    @pytest.fixture
    def engine(self) -> Engine:
        memory = Memory()
        return Engine(open=lambda: memory.open("memory://fleet"), one_process=NOT_DONE)


def test_the_scheme_is_registered(server_plugin: LoadServerPlugin) -> None:
    backends = server_plugin("qlmdm_memory_store").stores
    first, again = (open_store("memory://fleet", backends) for _ in range(2))
    other = open_store("memory://other", backends)
    first.setup()
    again.check()
    with pytest.raises(NotSetUpError):
        other.check()


@pytest.mark.parametrize("url", ["memory://", "memory:///x", "memory:x", "sqlite:///x"])
def test_a_url_that_names_no_fleet_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="expected memory://NAME"):
        Memory().open(url)


def test_another_process_is_told_rather_than_given_a_copy() -> None:
    store = Memory().open("memory://fleet")
    store.setup()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            store.set_meta("lost", True)
            os.write(writing, b"written")
        except StoreUnavailableError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert "keeps a fleet in one process, and this is another" in said
    assert store.meta("lost") is None


def test_nobody_changes_what_is_kept_by_changing_what_was_given() -> None:
    store: MemoryStore = Memory().open("memory://fleet")
    store.setup()
    value = {"list": [1]}
    store.set_meta("x", value)
    value["list"].append(2)
    store.meta("x")["list"].append(3)
    assert store.meta("x") == {"list": [1]}


def test_a_lease_lapses() -> None:
    store = Memory().open("memory://fleet")
    store.setup()
    now = datetime(2026, 11, 1, tzinfo=timezone.utc)
    assert store.take_lease("audit", "a", now, 0)
    assert store.take_lease("audit", "b", now, 1)
