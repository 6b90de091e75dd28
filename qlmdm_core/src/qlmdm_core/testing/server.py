"""A server for tests: really set up, on SQLite, with a clock that stands still until moved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from qlmdm_core import settings as settings_files
from qlmdm_core.server import crypto
from qlmdm_core.server.app import create_app
from qlmdm_core.server.invitations import invite
from qlmdm_core.server.plugin_routes import PluginRoute
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.server.setup import Answers, set_up
from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.client import Send, through_app
from qlmdm_core.tokens import Token


@dataclass
class Clock:
    """A clock that tests move by hand. It starts at the present: signatures have real times."""

    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **duration: float) -> None:
        """Move it, as by `forward(minutes=5)`."""
        self.now += timedelta(**duration)


@dataclass(kw_only=True)
class SimulatedServer:
    """A server without a socket, and everything behind it."""

    folder: Path
    settings_file: str
    settings: ServerSettings
    store: Store
    clock: Clock
    crypto: crypto.Crypto
    app: Any

    @property
    def send(self) -> Send:
        """The way into it, for `SimulatedClient`."""
        return through_app(self.app)

    def invite(self, *, uses: int = 1, days: float = 1.0, **details: Any) -> Token:
        """An invitation's token."""
        now = self.clock()
        _, token = invite(
            self.store, now=now, expires_at=now + timedelta(days=days), uses=uses, **details
        )
        return token


@contextlib.contextmanager
def simulated_server(
    folder: Path, *, engine: crypto.Engine = "pysequoia", routes: tuple[PluginRoute, ...] = ()
) -> Iterator[SimulatedServer]:
    """Set up a server in `folder` and make its application; closes it at the end."""
    clock = Clock()
    settings_file = str(folder / "settings.yml")
    answers = Answers(url="https://qlmdm.example.com", directory=str(folder / "server"))
    set_up(answers, settings_file, now=clock(), say=lambda _: None)
    settings = settings_files.load(settings_file, ServerSettings).core
    store = open_store(settings.store)
    opened = crypto.open_crypto(settings, engine)
    app = create_app(
        store,
        settings,
        signer=opened.signer,
        verifier=opened.verifier,
        clock=clock,
        routes=routes,
    )
    try:
        yield SimulatedServer(
            folder=folder,
            settings_file=settings_file,
            settings=settings,
            store=store,
            clock=clock,
            crypto=opened,
            app=app,
        )
    finally:
        opened.close()
        store.close()
