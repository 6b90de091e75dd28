"""What every server command starts from: the settings, the plugins, the database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from qlmdm_core import settings as settings_files
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.settings import Loaded
from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store


@dataclass(frozen=True, kw_only=True)
class Context:
    """The settings that a command runs with, and the way to the database."""

    loaded: Loaded[ServerSettings]

    @property
    def settings(self) -> ServerSettings:
        """Core's own part of the settings."""
        return self.loaded.core

    def open_store(self) -> Store:
        """The database, proved to be there and whole; the caller closes it."""
        store = open_store(self.settings.store)
        try:
            store.check()
        except BaseException:
            store.close()
            raise
        return store

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """The database, for the time of a `with` statement."""
        store = self.open_store()
        try:
            yield store
        finally:
            store.close()


def open_context(settings_file: str | None) -> Context:
    """Read the settings that `--settings`, the environment or the installed place name."""
    path = settings_files.find_file("server", settings_file)
    return Context(loaded=settings_files.load(path, ServerSettings))
