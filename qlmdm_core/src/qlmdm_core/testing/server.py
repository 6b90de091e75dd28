"""A server for tests: really set up, on SQLite, with a clock that stands still until moved."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
from qlmdm_core.testing.clock import Clock
from qlmdm_core.tokens import Token


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


def prepare_server(folder: Path, **more: Any) -> Path:
    """Set up a server in `folder`, for `simulated_server` to copy: making keys takes a while.

    `more` are other answers to the setup's questions.
    """
    answers = Answers(url="https://qlmdm.example.com", directory=str(folder / "server"), **more)
    now = datetime.now(timezone.utc)
    set_up(answers, str(folder / "settings.yml"), now=now, say=lambda _: None)
    return folder


@contextlib.contextmanager
def simulated_server(
    folder: Path,
    *,
    prepared: Path | None = None,
    engine: crypto.Engine = "pysequoia",
    routes: tuple[PluginRoute, ...] | Callable[[Store], tuple[PluginRoute, ...]] = (),
    **changes: Any,
) -> Iterator[SimulatedServer]:
    """A server in `folder`, newly set up or a copy of a prepared one; closed at the end.

    `routes` are those of plugins, or are made for the server's store. `changes` are of the
    settings.
    """
    clock = Clock()
    settings_file = str(folder / "settings.yml")
    if prepared is None:
        prepare_server(folder)
    else:
        shutil.copytree(prepared, folder, dirs_exist_ok=True)
        text = (prepared / "settings.yml").read_text()
        Path(settings_file).write_text(text.replace(str(prepared), str(folder)))
    settings = replace(settings_files.load(settings_file, ServerSettings).core, **changes)
    store = open_store(settings.store)
    opened = crypto.open_crypto(settings, engine)
    app = create_app(
        store,
        settings,
        signer=opened.signer,
        verifier=opened.verifier,
        clock=clock,
        routes=routes(store) if callable(routes) else routes,
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
