"""What the suite has to know about an engine, and the fixtures that all its parts share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pytest

from qlmdm_core.store import Store
from qlmdm_core.store.records import Enrolment
from qlmdm_core.testing.store_contract import samples


class Seed(Protocol):
    """Adds many enrolled clients faster than one by one."""

    def __call__(self, store: Store, enrolments: Sequence[Enrolment]) -> None:
        """Leave the store as if each had been enrolled by the sample invitation."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One empty database of the engine under test."""

    open: Callable[[], Store]
    """Open the database once more: what another process of the server would do."""
    url: str | None = None
    """What another process can open it by; None: it lives in this process only."""
    one_process: str = ""
    """Why there is no `url`, for an engine that promises less than the interface asks for: what
    it does not do, in a sentence. The tests that need other processes (and what a kill leaves
    behind) are skipped with it, so that a run of the suite says what was not shown."""
    opener: str = "qlmdm_core.store.open:open_store"
    """`module:function` that opens `url` in another process."""
    seed: Seed | None = None
    """None: clients are enrolled one by one."""
    many: int = 1_000
    """How many clients make a long list."""
    compares_nul: bool = True
    """False: text ends at a NUL when this engine (an emulator) compares it. It is kept whole."""
    crash: Callable[[], None] | None = None
    """Kill the database's own processes and start them again; None: it has none."""

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start `actor` on this database in a process of its own."""
        assert self.url is not None  # noqa: S101 - a test that forgot `needs_processes`
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "qlmdm_core.testing.store_contract.actor"),
                *(self.opener, self.url, *argv),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ.copy(),
        )


class StoreFixtures:
    """The fixtures of each part of the suite. Derived classes give `engine`."""

    @pytest.fixture
    def engine(self) -> Engine:
        """An empty database. A subclass overrides this."""
        raise NotImplementedError("a subclass of StoreContract gives the fixture `engine`")

    @pytest.fixture
    def store(self, engine: Engine) -> Iterator[Store]:
        """The database, set up and open."""
        store = engine.open()
        store.setup()
        yield store
        store.close()

    @pytest.fixture
    def other(self, engine: Engine, store: Store) -> Iterator[Store]:
        """The same database, opened once more, as by another process of the server."""
        assert store is not None  # noqa: S101 - set up first
        other = engine.open()
        yield other
        other.close()

    @pytest.fixture
    def processes(self, engine: Engine) -> Engine:
        """The engine, for a test that needs other processes; skipped where there are none."""
        if engine.url is None:
            pytest.skip(engine.one_process or "this engine's database lives in one process")
        return engine

    @pytest.fixture
    def cid(self, store: Store) -> str:
        """An enrolled client."""
        return samples.enrolled(store)
