"""Loads a plugin as qlmdm does, and says what it offers: for tests of a plugin's own hooks.

Example::

    def test_the_check_is_offered():
        plugin = load_server_plugin("qlmdm_acme.server", settings={"acme": {"log_file": "/x"}})
        assert plugin.checks["acme-badge-missing"].needs == ("acme_badge",)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import yaml

from qlmdm_core import settings as settings_files
from qlmdm_core.api import (
    JSON,
    AuditCheck,
    Collector,
    DistroAdapter,
    Notifier,
    Route,
    Settings,
    StoreBackend,
    SubCommand,
)
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.errors import PluginError
from qlmdm_core.hookspecs import CLIENT_GROUP, SERVER_GROUP, client, server
from qlmdm_core.plugins import LoadedPlugin, PluginEntry, PluginFailure, call, load
from qlmdm_core.plugins.descriptors import name_of
from qlmdm_core.settings import Loaded

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ClientPlugin:
    """What a plugin offers to a client."""

    hooks: tuple[str, ...]
    """The hooks that it implements."""
    settings: Settings
    collectors: Mapping[str, Collector]
    distros: Mapping[str, DistroAdapter]
    commands: Mapping[str, SubCommand]


@dataclass(frozen=True, kw_only=True)
class ServerPlugin:
    """What a plugin offers to the server."""

    hooks: tuple[str, ...]
    """The hooks that it implements."""
    settings: Settings
    checks: Mapping[str, AuditCheck]
    notifiers: Mapping[str, Notifier]
    stores: Mapping[str, StoreBackend]
    """By scheme."""
    commands: Mapping[str, SubCommand]
    loaded: LoadedPlugin

    def routes(self, store: Any) -> list[Route]:
        """The addresses that it adds to a server with this store."""
        services = {"store": store, "settings": self.settings}
        return _ask(self.loaded, "qlmdm_register_routes", services=services)


def load_client_plugin(
    target: str | ModuleType, settings: Mapping[str, JSON] | None = None
) -> ClientPlugin:
    """What the module (or the `"module:object"`) of a client's entry point offers.

    `settings` is what would stand below `plugins:` in the client's settings file. Raises
    `PluginError` for what a client would report as the plugin's failure, and `SettingsError`
    for settings that the plugin does not take.
    """
    loaded, read = _load(target, CLIENT_GROUP, settings)
    return ClientPlugin(
        hooks=loaded.hooks,
        settings=read,
        collectors=_by_name(_ask(loaded, "qlmdm_register_collectors", settings=read)),
        distros=_by_name(_ask(loaded, "qlmdm_register_distros", settings=read)),
        commands=_by_name(_ask(loaded, "qlmdm_register_commands")),
    )


def load_server_plugin(
    target: str | ModuleType, settings: Mapping[str, JSON] | None = None
) -> ServerPlugin:
    """What the module (or the `"module:object"`) of a server's entry point offers.

    `settings` is what would stand below `plugins:` in the server's settings file. Raises as
    `load_client_plugin` does.
    """
    loaded, read = _load(target, SERVER_GROUP, settings)
    return ServerPlugin(
        hooks=loaded.hooks,
        settings=read,
        checks=_by_name(_ask(loaded, "qlmdm_register_audit_checks", settings=read)),
        notifiers=_by_name(_ask(loaded, "qlmdm_register_notifiers", settings=read)),
        stores=_by_name(_ask(loaded, "qlmdm_register_stores")),
        commands=_by_name(_ask(loaded, "qlmdm_register_commands")),
        loaded=loaded,
    )


def _load(
    target: str | ModuleType, group: str, settings: Mapping[str, JSON] | None
) -> tuple[LoadedPlugin, Loaded[Any]]:
    name = target if isinstance(target, str) else target.__name__
    entry = PluginEntry(distribution="tested", name="tested", target=name, group=group)
    loaded = load(entry, client if group == CLIENT_GROUP else server)
    if loaded.failure is not None:
        raise PluginError(str(loaded.failure))
    text = yaml.safe_dump({"plugins": dict(settings or {})})
    # Core's own part is the same for both sides: nothing is set, and no plugin reads it.
    read = settings_files.parse(text, StandaloneSettings, "the test's settings")
    read.register(_ask(loaded, "qlmdm_register_settings"))
    read.check_sections()
    return loaded, read


def _ask(loaded: LoadedPlugin, hook: str, **arguments: Any) -> list[Any]:
    found = call(loaded, hook, **arguments)
    if isinstance(found, PluginFailure):
        raise PluginError(str(found))
    return found


def _by_name(descriptors: list[T]) -> dict[str, T]:
    return {name_of(descriptor): descriptor for descriptor in descriptors}
