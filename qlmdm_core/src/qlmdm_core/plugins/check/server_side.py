"""In a fresh interpreter: loads a distribution's server plugins, and judges made-up reports."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qlmdm_core import settings
from qlmdm_core.api import AuditCheck, StoreBackend
from qlmdm_core.hookspecs import SERVER_GROUP
from qlmdm_core.hookspecs import server as hookspec_module
from qlmdm_core.plugins import LoadedPlugin, PluginFailure, call
from qlmdm_core.plugins.check.findings import Finding, failed, not_checked, ok
from qlmdm_core.plugins.check.inspected import Notes, begin, sides
from qlmdm_core.plugins.check.judging import judge_edges
from qlmdm_core.plugins.check.sideload import helps, load_side
from qlmdm_core.plugins.guard import say
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.settings import Loaded, setting

FORBIDDEN = ("qlmdm_core.client",)
"""What runs on clients only: as root, and without a server's settings."""


@dataclass(frozen=True, kw_only=True)
class _Defaults(ServerSettings):
    """For a machine that is no server."""

    url: str = setting("https://not-set-up.invalid", "Not used.")


def main() -> None:
    """`argv`: where to write, and `{"distribution", "settings"}` as JSON."""
    notes, arguments = begin(sys.argv)
    distribution: str = arguments["distribution"]
    file = arguments["settings"]
    loaded: Loaded[Any] = (
        settings.load(file, ServerSettings) if file else settings.defaults(_Defaults)
    )
    before = set(sys.modules)
    needs: dict[str, list[str]] = {}
    for entry, plugin in load_side(notes, distribution, SERVER_GROUP, hookspec_module, loaded):
        for check in _ask(plugin, "qlmdm_register_audit_checks", settings=loaded):
            needs[check.name] = list(check.needs)
            _try_check(notes, check)
        for backend in _ask(plugin, "qlmdm_register_stores"):
            notes.add(_store(backend))
        if "qlmdm_register_routes" in plugin.hooks:
            notes.doing(f"{entry.owner}: routes")
            for finding in _routes(plugin, loaded):
                notes.add(finding)
    notes.fact("needs", needs)
    sides(notes, distribution, FORBIDDEN, before, "client")
    notes.add(ok("sides", "server"))
    notes.doing("")
    os._exit(0)  # threads and exit handlers of a plugin are no concern any more


def _ask(plugin: LoadedPlugin, hook: str, **arguments: Any) -> list[Any]:
    found = call(plugin, hook, **arguments)
    return [] if isinstance(found, PluginFailure) else found


def _try_check(notes: Notes, check: AuditCheck) -> None:
    notes.add(helps("check", check.name, check.help, "administrators: what it asks for, and why"))
    notes.doing(f"check {check.name}, judging")
    for finding in judge_edges(check):
        notes.add(finding)


def _store(backend: StoreBackend) -> Finding:
    why = f"{backend.scheme}:// is tried out by tests of its own, which need an empty database"
    todo = "Derive them from qlmdm_core.testing.store_contract.StoreContract"
    return not_checked("stores", why, todo)


def _routes(plugin: LoadedPlugin, loaded: Loaded[Any]) -> Iterator[Finding]:
    """Register the routes with a database that is empty, and look at each."""
    try:
        import falcon

        from qlmdm_core.server.plugin_routes import PREFIX, check_route
        from qlmdm_core.store.open import open_store
    except ModuleNotFoundError as error:
        todo = "Install qlmdm-core[server]"
        yield not_checked("routes", f"{error.name} is not installed here", todo)
        return
    with tempfile.TemporaryDirectory(prefix="qlmdm-check-") as folder:
        store = open_store(f"sqlite://{folder}/store.db")
        store.setup()
        services = {"store": store, "settings": loaded}
        found = call(plugin, "qlmdm_register_routes", services=services)
        store.close()
    if isinstance(found, PluginFailure):
        yield failed("routes", plugin.entry.owner, str(found))
        return
    app = falcon.App()
    distribution = plugin.entry.distribution
    for route in found:
        address = f"{PREFIX}{distribution}/{route.path}"
        try:
            check_route(distribution, route)
            app.add_route(address, route.resource)
        except Exception as error:  # noqa: BLE001 - whatever Falcon finds wrong with it
            yield failed("routes", f"{plugin.entry.owner}: {route.path}", say(error))
        else:
            note = " (open to everybody)" if route.auth == "none" else ""
            yield ok("routes", f"{address}{note}")
