"""Finds, loads and calls plugins, one at a time, so that each can only fail for itself.

A plugin is what an entry point of the group `qlmdm_client` or `qlmdm_server` names. Whatever
goes wrong with it (no metadata, an error at import, a hook that is misspelt, an implementation
that raises, a descriptor that is none) becomes a `PluginFailure`: data to show and to report,
while everything else goes on. On a client this runs in a process for each distribution; on
the server, in the command itself.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

from qlmdm_core.api import SettingsSection
from qlmdm_core.errors import PluginError, QlmdmError
from qlmdm_core.hookspecs import CLIENT_GROUP, PROJECT, SERVER_GROUP, client, server
from qlmdm_core.plugins import descriptors
from qlmdm_core.plugins.claims import DistroChoice, Resolved, choose_distro, resolve_conflicts
from qlmdm_core.plugins.entries import TARGET, PluginEntry, discover, normalised
from qlmdm_core.plugins.guard import PluginFailure, failed, guarded, place_of
from qlmdm_core.settings import Loaded

__all__ = [
    "DistroChoice",
    "LoadedPlugin",
    "PluginEntry",
    "PluginFailure",
    "PluginSet",
    "Resolved",
    "call",
    "choose_distro",
    "discover",
    "failed",
    "guarded",
    "load",
    "load_all",
    "normalised",
    "register_section",
    "resolve_conflicts",
]


# --- loading one ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LoadedPlugin:
    """A plugin after the attempt to load it; without a manager, it failed."""

    entry: PluginEntry
    hooks: tuple[str, ...] = ()
    """The hooks that it implements."""
    seconds: float = 0.0
    """How long import and registration took."""
    failure: PluginFailure | None = None
    manager: pluggy.PluginManager | None = None
    """A manager of its own: one plugin's implementations can't disturb another's."""


def load(entry: PluginEntry, hookspec_module: ModuleType) -> LoadedPlugin:
    """Import one plugin and check its hooks against the specifications; never raises.

    (But for `KeyboardInterrupt`, when the person at the terminal interrupts.)
    """
    if entry.disabled:
        return LoadedPlugin(entry=entry)
    if entry.error:
        failure = PluginFailure(
            distribution=entry.distribution,
            entry_point=entry.name,
            stage="metadata",
            error=entry.error,
        )
        return LoadedPlugin(entry=entry, failure=failure)
    begun = time.perf_counter()
    plugin = guarded(entry, "import", _import, entry.target)
    if isinstance(plugin, PluginFailure):
        return LoadedPlugin(entry=entry, seconds=time.perf_counter() - begun, failure=plugin)
    registered = guarded(entry, "register", _register, plugin, entry, hookspec_module)
    seconds = time.perf_counter() - begun
    if isinstance(registered, PluginFailure):
        return LoadedPlugin(entry=entry, seconds=seconds, failure=registered)
    manager, hooks = registered
    return LoadedPlugin(entry=entry, hooks=hooks, seconds=seconds, manager=manager)


def _import(target: str) -> object:
    found = TARGET.match(target)
    if found is None:
        raise PluginError(f"not a module: {target!r}")
    plugin: object = importlib.import_module(found["module"])
    for part in (found["attribute"] or "").split("."):
        if part:
            plugin = getattr(plugin, part)
    if plugin is None:
        raise PluginError(f"{target} is None")
    return plugin


def _register(
    plugin: object, entry: PluginEntry, hookspec_module: ModuleType
) -> tuple[pluggy.PluginManager, tuple[str, ...]]:
    """A manager that holds this plugin alone; raises if a hook does not fit."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspec_module)
    known = {name for name in dir(hookspec_module) if name.startswith("qlmdm_")}
    for name in sorted(known & set(dir(plugin))):
        function = getattr(plugin, name)
        if manager.parse_hookimpl_opts(plugin, name) is None:
            raise PluginError(f"{name} is not marked with @hookimpl", place=place_of(function))
        _check_arguments(name, function, getattr(hookspec_module, name))
    manager.register(plugin, name=entry.owner)
    for caller in manager.get_hookcallers(plugin) or []:
        if not caller.has_spec() and not all(i.optionalhook for i in caller.get_hookimpls()):
            place = place_of(caller.get_hookimpls()[0].function)
            unknown = _unknown(caller.name, entry.group, known)
            raise PluginError(f"{caller.name}: {unknown}", place=place)
    manager.check_pending()
    hooks: list[str] = []
    for caller in manager.get_hookcallers(plugin) or []:
        for implementation in caller.get_hookimpls():
            _check_implementation(caller.name, implementation)
        if caller.name in known:
            hooks.append(caller.name)
    if not hooks:
        raise PluginError(f"implements no hook of {entry.group}; mark its functions with @hookimpl")
    return manager, tuple(sorted(hooks))


def _unknown(hook: str, group: str, known: Collection[str]) -> str:
    """What may have been meant by a hook that this side doesn't have."""
    for other, module in ((CLIENT_GROUP, client), (SERVER_GROUP, server)):
        if hasattr(module, hook):
            return f"a hook of {other}; put it in a module that an entry point of {other} names"
    near = difflib.get_close_matches(hook, known, 1)
    meant = f"did you mean {near[0]}?" if near else "there are: " + ", ".join(sorted(known))
    return f"unknown hook of {group}; {meant}"


def _check_arguments(hook: str, implementation: object, spec: Callable[..., object]) -> None:
    """Say which argument a hook doesn't have, and which it has; pluggy names itself at length."""
    try:
        wanted = inspect.signature(implementation).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return  # not a function: pluggy says what is wrong with it
    given = inspect.signature(spec).parameters
    for name, argument in wanted.items():
        named = argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
        if named and argument.default is argument.empty and name not in (*given, "self"):
            there = ", ".join(given) or "none"
            message = f"{hook}: there is no argument {name!r}; there are: {there}"
            raise PluginError(message, place=place_of(implementation))


def _check_implementation(hook: str, implementation: pluggy.HookImpl) -> None:
    if implementation.wrapper or implementation.hookwrapper:
        raise PluginError(f"{hook}: wrappers are not supported")
    if implementation.kwargnames:
        # pluggy would never pass it, and the default would be used for ever.
        names = ", ".join(implementation.kwargnames)
        raise PluginError(f"{hook}: an argument must not have a default: {names}")


# --- calling one ------------------------------------------------------------------------------


def call(loaded: LoadedPlugin, hook: str, **kwargs: Any) -> list[Any] | PluginFailure:
    """Call one hook of one plugin: its checked descriptors, or what went wrong."""
    if loaded.manager is None or hook not in loaded.hooks:
        return []
    caller = getattr(loaded.manager.hook, hook)
    return guarded(loaded.entry, hook, lambda: _call(caller, hook, kwargs))


def _call(caller: Any, hook: str, kwargs: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for result in caller(**kwargs):
        # A generator runs here, inside the guard, and not at the first who looks at it.
        try:
            found += descriptors.checked(hook, result)
        except PluginError as error:
            error.place = error.place or place_of(caller.get_hookimpls()[0].function)
            raise
    return found


# --- all of them, in this process ----------------------------------------------------------------


def load_all(
    group: str, hookspec_module: ModuleType, disabled: Collection[str] = frozenset()
) -> PluginSet:
    """Find and load every plugin of a group, here and now."""
    loaded = [load(entry, hookspec_module) for entry in discover(group, disabled)]
    failures = [plugin.failure for plugin in loaded if plugin.failure is not None]
    return PluginSet(loaded=tuple(loaded), failures=failures)


@dataclass(frozen=True, kw_only=True)
class PluginSet:
    """The plugins of one side that were looked for, and everything that failed so far."""

    loaded: tuple[LoadedPlugin, ...]
    failures: list[PluginFailure] = field(default_factory=list)
    """Grows with each call."""

    def __iter__(self) -> Iterator[LoadedPlugin]:
        return iter(self.loaded)

    def call(self, hook: str, **kwargs: Any) -> list[tuple[PluginEntry, Any]]:
        """Call a hook of each plugin in turn: each descriptor, with whom it is from."""
        found: list[tuple[PluginEntry, Any]] = []
        for plugin in self.loaded:
            result = call(plugin, hook, **kwargs)
            if isinstance(result, PluginFailure):
                self.failures.append(result)
            else:
                found += [(plugin.entry, descriptor) for descriptor in result]
        return found

    def named(self, hook: str, kind: str, **kwargs: Any) -> list[tuple[PluginEntry, Any]]:
        """As `call`, without those whose name is claimed twice; `kind` is for the message."""
        resolved = resolve_conflicts(kind, self.call(hook, **kwargs))
        self.failures.extend(resolved.failures)
        return resolved.accepted

    def register_settings(self, settings: Loaded[Any]) -> None:
        """Make the plugins' sections known; raises `SettingsError` for what is set wrongly."""
        for entry, section in self.named("qlmdm_register_settings", "settings section"):
            failure = register_section(settings, entry, section)
            if failure is not None:
                self.failures.append(failure)


def register_section(
    settings: Loaded[Any], entry: PluginEntry, section: SettingsSection
) -> PluginFailure | None:
    """Parse one plugin's section. Raises `SettingsError` if the administrator is wrong."""

    def register() -> QlmdmError | None:
        try:
            settings.register([section])
        except QlmdmError as error:
            return error
        return None

    result = guarded(entry, "settings", register)  # the dataclass is a plugin's code
    if isinstance(result, QlmdmError):
        raise result
    return result
