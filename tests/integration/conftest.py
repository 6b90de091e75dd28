"""What most of these tests begin with: a server that is set up, and clients' keys.

Making keys takes a second each, so a process of the suite makes them once. A server of a test is
a copy, and whatever else it is told stays in its own folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qlmdm_core.testing.client import KeyPair, make_key_pair
from qlmdm_core.testing.server import SimulatedServer, prepare_server, simulated_server

PAIRS = 8


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server in its folder, to be copied; see `prepare_server`."""
    return prepare_server(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[KeyPair]:
    """Keys of clients that did not enrol anywhere yet."""
    folder = tmp_path_factory.mktemp("pairs")
    return [make_key_pair(str(folder / str(number))) for number in range(PAIRS)]


@pytest.fixture
def server(tmp_path: Path, prepared: Path) -> Iterator[SimulatedServer]:
    """A server of this test's own."""
    with simulated_server(tmp_path, prepared=prepared) as server:
        yield server
