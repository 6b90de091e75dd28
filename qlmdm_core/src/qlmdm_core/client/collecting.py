"""What runs in a collector's own process: the collector, and a check of what it returned.

Nothing here is believed by the worker that reads the answer; the check is made here because
only this process has to pay for a value that is endless.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from qlmdm_core import osrelease
from qlmdm_core.api import Collector, DistroAdapter, Host
from qlmdm_core.client import frames, newborn
from qlmdm_core.client.plan import Plan
from qlmdm_core.errors import PluginError, QlmdmError
from qlmdm_core.hookspecs import client as hookspec_module
from qlmdm_core.plugins import (
    LoadedPlugin,
    PluginEntry,
    PluginFailure,
    call,
    choose_distro,
    failed,
    load,
    register_section,
)

_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

FindAdapters: TypeAlias = "Callable[[], list[tuple[PluginEntry, DistroAdapter]]]"


def answer(
    entry: PluginEntry,
    collector: Collector,
    plan: Plan,
    find_adapters: FindAdapters,
    channel: int,
) -> NoReturn:
    """Run one collector, write one message (its value, or why there is none), and exit."""
    try:
        status, error, body = _run(collector, plan, find_adapters)
    except BaseException as caught:  # noqa: BLE001 - SystemExit and all: it costs only itself
        failure = failed(entry, "collect", caught)
        where = f" ({failure.trace[-1]})" if failure.trace else ""
        status, error, body = "error", failure.error + where, b""
    frames.send(channel, {"status": status, "error": error}, body)
    newborn.leave(0)  # now: no exit handler, and no thread that it left, may hold it up


def _run(collector: Collector, plan: Plan, find_adapters: FindAdapters) -> tuple[str, str, bytes]:
    hosts: list[Host] = []

    def find_distro() -> DistroAdapter | None:
        return _choose(find_adapters(), hosts[0])

    hosts.append(plan.host_factory(collector.name, find_distro))
    return encode_value(collector.run(hosts[0]), collector.max_bytes)


def encode_value(value: object, max_bytes: int) -> tuple[str, str, bytes]:
    """A value as JSON, with the status "ok"; or another status, the reason, and nothing.

    That the JSON is strict is checked by the client, who would not believe it anyway.
    """
    if not isinstance(value, dict) or not isinstance(value.get("state"), str):
        what = "an object without a state" if isinstance(value, dict) else type(value).__name__
        return "invalid", f"it returned {what}; expected an object with a state", b""
    try:
        data = _encode(value).encode("ascii")
        if len(data) > max_bytes:
            return "too_big", f"its value takes {len(data)} bytes; {max_bytes} are allowed", b""
    except (ValueError, TypeError, RecursionError) as error:
        return "invalid", f"its value is not JSON: {error}"[:500], b""
    return "ok", "", data


def _choose(adapters: list[tuple[PluginEntry, DistroAdapter]], host: Host) -> DistroAdapter | None:
    choice = choose_distro(adapters, osrelease.read(host))
    if choice.adapter is None and choice.failures:
        raise PluginError("; ".join(str(failure) for failure in choice.failures)[:500])
    return choice.adapter


def load_adapters(
    entries: list[PluginEntry], own: list[LoadedPlugin], plan: Plan
) -> list[tuple[PluginEntry, DistroAdapter]]:
    """The adapters of these plugins, imported here and now unless they are our own."""
    have = {plugin.entry.owner: plugin for plugin in own}
    adapters: list[tuple[PluginEntry, DistroAdapter]] = []
    for entry in entries:
        plugin = have.get(entry.owner) or prepare(entry, plan)[0]
        found = call(plugin, "qlmdm_register_distros", settings=plan.settings)
        if not isinstance(found, PluginFailure):
            adapters += [(entry, adapter) for adapter in found]
    return adapters


def prepare(entry: PluginEntry, plan: Plan) -> tuple[LoadedPlugin, list[PluginFailure]]:
    """Import a plugin and make its settings known; with what failed of that."""
    plugin = load(entry, hookspec_module)
    if plugin.failure is not None:
        return plugin, [plugin.failure]
    sections = call(plugin, "qlmdm_register_settings")
    if isinstance(sections, PluginFailure):
        return plugin, [sections]
    failures: list[PluginFailure] = []
    for section in sections:
        try:
            failure = register_section(plan.settings, entry, section)
        except QlmdmError as error:  # the administrator's mistake: file, line, key
            failure = failed(entry, "settings", error)
        if failure is not None:
            failures.append(failure)
    return plugin, failures
