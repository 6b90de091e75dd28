"""Fixtures for the tests of a plugin. A distribution asks for them in its pyproject.toml::

    [tool.pytest.ini_options]
    addopts = "-p qlmdm_core.testing.pytest_plugin"

(or, in the conftest.py of the folder in which pytest is started,
`pytest_plugins = ["qlmdm_core.testing.pytest_plugin"]`). Needs `qlmdm-core[testing]`.

| fixture | gives |
|---|---|
| `machine` | a machine to compose: `machine.file("/etc/x", "…").command(["id"], "…").host()` |
| `recorded_machine` | `recorded_machine("machines/laptop7")`: the host of a recorded folder |
| `clock` | a clock that stands still; `clock.forward(days=3)` |
| `store` | a new database (SQLite) |
| `audit` | `audit({"collector": {…}}, checks=[…])`: verdicts and lines of a real audit |
| `client_plugin`, `server_plugin` | `server_plugin("my.server")`: what a plugin's hooks offer |
| `simulated_server` | `simulated_server("my.server")`: a server with the plugin's routes |
| `simulated_client` | `simulated_client(server)`: an enrolled client that signs what it sends |

It is named and not found by an entry point: see docs/adr/0070. What a fixture needs is imported
when it is used.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from qlmdm_core.api import JSON
    from qlmdm_core.host.common import DistroSource
    from qlmdm_core.host.replay import ReplayHost
    from qlmdm_core.store import Store
    from qlmdm_core.testing.audit import Auditor
    from qlmdm_core.testing.client import KeyPair, SimulatedClient
    from qlmdm_core.testing.clock import Clock
    from qlmdm_core.testing.machine import RecordedMachine
    from qlmdm_core.testing.plugin import ClientPlugin, ServerPlugin
    from qlmdm_core.testing.server import SimulatedServer


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Look for no tests in a recorded machine: its links may lead round in circles, as /sys's."""
    return True if (collection_path / "machine.json").is_file() else None


class OpenRecorded(Protocol):
    """The fixture `recorded_machine`."""

    def __call__(self, folder: str | Path, *, distro: DistroSource = None) -> ReplayHost:
        """The host of a recorded machine; a relative path begins at the test's file."""


class LoadClientPlugin(Protocol):
    """The fixture `client_plugin`."""

    def __call__(
        self, target: str | ModuleType, settings: Mapping[str, JSON] | None = None
    ) -> ClientPlugin:
        """See `qlmdm_core.testing.load_client_plugin`."""


class LoadServerPlugin(Protocol):
    """The fixture `server_plugin`."""

    def __call__(
        self, target: str | ModuleType, settings: Mapping[str, JSON] | None = None
    ) -> ServerPlugin:
        """See `qlmdm_core.testing.load_server_plugin`."""


class StartServer(Protocol):
    """The fixture `simulated_server`."""

    def __call__(
        self,
        target: str | ModuleType | None = None,
        settings: Mapping[str, JSON] | None = None,
        *,
        distribution: str = "tested",
    ) -> SimulatedServer:
        """A server in this process, on SQLite, with a clock of its own.

        With a `target` it has the routes of that plugin, with these settings, below
        `/qlmdm/v1/x/DISTRIBUTION/`.
        """


class EnrolClient(Protocol):
    """The fixture `simulated_client`."""

    def __call__(
        self, server: SimulatedServer, hostname: str = "laptop1", *, enrol: bool = True
    ) -> SimulatedClient:
        """A client with a key of its own, already enrolled unless that is to be tried."""


# --- a machine ------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> RecordedMachine:
    """A recorded machine to compose: files, links, commands, processes; then `.host()`."""
    from qlmdm_core.testing.machine import RecordedMachine

    return RecordedMachine(tmp_path / "machine")


@pytest.fixture
def recorded_machine(request: pytest.FixtureRequest) -> OpenRecorded:
    """Opens a folder that `qlmdm-collect --record` (or `RecordedMachine.write`) wrote."""
    from qlmdm_core.host.replay import ReplayHost

    beside = Path(request.path).parent

    def open_recorded(folder: str | Path, *, distro: DistroSource = None) -> ReplayHost:
        return ReplayHost(beside / folder, distro=distro)

    return open_recorded


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at noon of 2026-11-01, UTC, until it is moved."""
    from qlmdm_core.testing.clock import START, Clock

    return Clock(START)


# --- the server's side ----------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new, empty database on SQLite, set up.

    The tests of a database engine of one's own derive from `StoreContract`
    (`qlmdm_core.testing.store_contract`), which has a fixture `store` of its own.
    """
    from qlmdm_core.store.open import open_store

    opened = open_store(f"sqlite://{tmp_path}/store.db")
    opened.setup()
    yield opened
    opened.close()


@pytest.fixture
def audit(tmp_path: Path, clock: Clock) -> Iterator[Auditor]:
    """Audits hand-written reports: see `qlmdm_core.testing.audit.Auditor.__call__`."""
    from qlmdm_core.store.open import open_store
    from qlmdm_core.testing.audit import Auditor

    url = f"sqlite://{tmp_path}/audit.db"
    first = open_store(url)
    first.setup()
    first.close()
    auditor = Auditor(lambda: open_store(url), clock)
    yield auditor
    auditor.close()


@pytest.fixture
def client_plugin() -> LoadClientPlugin:
    """Loads a plugin as a client does, and gives what its hooks offer."""
    from qlmdm_core.testing.plugin import load_client_plugin

    return load_client_plugin


@pytest.fixture
def server_plugin() -> LoadServerPlugin:
    """Loads a plugin as the server does, and gives what its hooks offer."""
    from qlmdm_core.testing.plugin import load_server_plugin

    return load_server_plugin


@pytest.fixture(scope="session")
def _keys() -> Iterator[Callable[[int], KeyPair]]:
    """Keys for clients; each takes gpg a while, so each is made once a session."""
    from qlmdm_core.testing.client import make_key_pair

    made: list[KeyPair] = []
    with short_folder() as folder:

        def key(number: int) -> KeyPair:
            while len(made) <= number:
                made.append(make_key_pair(str(folder / str(len(made)))))
            return made[number]

        yield key


@pytest.fixture(scope="session")
def _prepared() -> Iterator[Path]:
    """A server that is set up, to be copied."""
    from qlmdm_core.testing.server import prepare_server

    with short_folder() as folder:
        yield prepare_server(folder)


@pytest.fixture
def simulated_server(_prepared: Path) -> Iterator[StartServer]:
    """Starts servers that are real in all but the socket; `.send`, `.store`, `.clock`."""
    from qlmdm_core.server.plugin_routes import PluginRoute
    from qlmdm_core.testing import server as servers
    from qlmdm_core.testing.plugin import load_server_plugin

    with contextlib.ExitStack() as stack:

        def start(
            target: str | ModuleType | None = None,
            settings: Mapping[str, JSON] | None = None,
            *,
            distribution: str = "tested",
        ) -> SimulatedServer:
            def routes(store: Any) -> tuple[PluginRoute, ...]:
                if target is None:
                    return ()
                offered = load_server_plugin(target, settings).routes(store)
                return tuple(PluginRoute(distribution, route) for route in offered)

            folder = stack.enter_context(short_folder())
            server = servers.simulated_server(folder, prepared=_prepared, routes=routes)
            return stack.enter_context(server)

        yield start


@pytest.fixture
def simulated_client(_keys: Callable[[int], KeyPair]) -> EnrolClient:
    """Makes clients of a simulated server, each with a key of its own."""
    from qlmdm_core.testing.client import SimulatedClient

    count = 0

    def make(
        server: SimulatedServer, hostname: str = "laptop1", *, enrol: bool = True
    ) -> SimulatedClient:
        nonlocal count
        client = SimulatedClient(server.send, _keys(count), hostname=hostname, clock=server.clock)
        count += 1
        if enrol:
            client.enrol(server.invite())
        return client

    return make


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for gpg: the path of its agent's socket has 107 bytes at most (unix(7)), and
    pytest's own folders are too long for that."""
    with tempfile.TemporaryDirectory(prefix="qlmdm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
