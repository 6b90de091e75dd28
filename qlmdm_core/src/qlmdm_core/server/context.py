"""What every server command starts from: the settings, the plugins, the database."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from qlmdm_core import plugins, settings
from qlmdm_core.api import AuditCheck, Notifier, StoreBackend
from qlmdm_core.errors import SettingsError
from qlmdm_core.hookspecs import SERVER_GROUP
from qlmdm_core.hookspecs import server as hookspecs
from qlmdm_core.plugins import PluginSet
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.settings import Loaded
from qlmdm_core.store import Store
from qlmdm_core.store.open import BUILT_IN, open_store


@dataclass(frozen=True, kw_only=True)
class Context:
    """The settings that a command runs with, and what they lead to."""

    loaded: Loaded[ServerSettings]

    @property
    def settings(self) -> ServerSettings:
        """Core's own part of the settings."""
        return self.loaded.core

    @cached_property
    def plugins(self) -> PluginSet:
        """The server's plugins, loaded on first use, their settings checked.

        Raises `SettingsError` for a plugin's section that is wrong or that nobody has.
        """
        found = plugins.load_all(SERVER_GROUP, hookspecs, frozenset(self.settings.plugins_off))
        found.register_settings(self.loaded)
        if not found.failures:  # a plugin that failed may be the one whose section it is
            self.loaded.check_sections()
        return found

    def checks(self) -> list[tuple[str, AuditCheck]]:
        """The audit checks of all plugins, each with its distribution and version."""
        found = self.plugins.named(
            "qlmdm_register_audit_checks", "audit check", settings=self.loaded
        )
        return [(f"{entry.distribution} {entry.version}", check) for entry, check in found]

    def notifiers(self) -> list[Notifier]:
        """The notifiers of all plugins."""
        found = self.plugins.named("qlmdm_register_notifiers", "notifier", settings=self.loaded)
        return [notifier for _, notifier in found]

    def backends(self) -> dict[str, StoreBackend]:
        """The database engines of all plugins, by scheme."""
        found = self.plugins.named("qlmdm_register_stores", "store scheme")
        return {backend.scheme: backend for _, backend in found}

    def open_store(self) -> Store:
        """The database, proved to be there and whole; the caller closes it.

        Plugins are loaded only for a scheme that core does not know.
        """
        url = self.settings.store
        known = url.partition("://")[0] in BUILT_IN
        store = open_store(url) if known else open_store(url, self.backends())
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
    return Context(loaded=load_private(settings.find_file("server", settings_file)))


def load_private(path: str) -> Loaded[ServerSettings]:
    """Read the server's settings; raises `SettingsError` if others can read a password in them."""
    loaded = settings.load(path, ServerSettings)
    if _has_password(loaded.core.store) and os.stat(path).st_mode & 0o077:
        raise SettingsError(
            f"has a password, and others than the owner may read this file; run: chmod 600 {path}",
            file=path,
            key="store",
        )
    return loaded


def _has_password(url: str) -> bool:
    """Whether a store's URL has one: as in USER:PASSWORD@HOST, or as an option behind the ?."""
    _, _, rest = url.partition("://")
    userinfo, at, _ = rest.rpartition("@")
    in_authority = bool(at) and ":" in userinfo and not rest.startswith("/")
    return in_authority or "password=" in rest.partition("?")[2].lower()
