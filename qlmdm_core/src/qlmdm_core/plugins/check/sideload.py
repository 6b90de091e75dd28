"""Loads a distribution's plugins of one side, in the interpreter in which they are inspected."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from qlmdm_core.errors import QlmdmError
from qlmdm_core.plugins import (
    LoadedPlugin,
    PluginEntry,
    PluginFailure,
    call,
    discover,
    load,
    normalised,
    register_section,
)
from qlmdm_core.plugins.check.findings import Finding, failed, not_checked, ok
from qlmdm_core.plugins.check.inspected import Notes
from qlmdm_core.settings import Loaded
from qlmdm_core.units import Duration, Size


def load_side(
    notes: Notes, distribution: str, group: str, hookspec_module: ModuleType, settings: Loaded[Any]
) -> Iterator[tuple[PluginEntry, LoadedPlugin]]:
    """Each plugin that could be loaded and given its settings. Failures to load are told by the
    rule "loading", which every plugin is loaded for before."""
    for entry in discover(group):
        if normalised(entry.distribution) != normalised(distribution):
            continue
        notes.doing(f"{entry.owner}: import and registration")
        plugin = load(entry, hookspec_module)
        sections = call(plugin, "qlmdm_register_settings")
        if plugin.failure is not None or isinstance(sections, PluginFailure):
            continue
        wrong = False
        for section in sections:
            for finding in _section(entry, section, settings):
                notes.add(finding)
                wrong = wrong or finding.state == "not_checked"
        if not wrong:
            yield entry, plugin


def _section(entry: PluginEntry, section: Any, settings: Loaded[Any]) -> Iterator[Finding]:
    try:
        failure = register_section(settings, entry, section)
    except QlmdmError as error:  # a key without a default, most likely
        todo = f"Try again with --settings FILE, in which plugins: {section.name}: is set"
        yield not_checked("settings", str(error), todo)
        return
    if failure is not None:
        return  # told by the rule "loading"
    silent = list(_silent(section.schema, section.name))
    for key in silent:
        todo = 'Declare it by setting(DEFAULT, "What it means."): it is shown to administrators'
        yield failed("settings", f"{entry.owner}: {key}", "no help text", todo)
    misfits = list(_misfits(section.schema, section.name))
    for key, what in misfits:
        todo = "Give a default of the type that is declared: nobody else checks it"
        yield failed("settings", f"{entry.owner}: {key}", what, todo)
    if not silent and not misfits:
        yield ok("settings", section.name)


def _silent(schema: Any, prefix: str) -> Iterator[str]:
    """The keys that nothing explains, those of nested sections included."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from _silent(kind, f"{prefix}.{field.name}")
        elif not str(field.metadata.get("help") or "").strip():
            yield f"{prefix}.{field.name}"


def _misfits(schema: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """The keys whose default is of another type than what a file may say, and how."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        key = f"{prefix}.{field.name}"
        if dataclasses.is_dataclass(kind):
            yield from _misfits(kind, key)
        elif field.default is not dataclasses.MISSING and not _fits(kind, field.default):
            name = getattr(kind, "__name__", str(kind))
            yield key, f"its default {field.default!r:.60} is no {name}"


def _fits(kind: Any, value: object) -> bool:
    """Whether `value` is what the settings reader would make of a right entry of this type."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return value is None or any(_fits(arg, value) for arg in args if arg is not type(None))
    if origin is typing.Literal:
        return value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(args[0], item) for item in value)
    if kind in (Duration, Size, int, float):
        whole = kind in (int, Size)
        return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if kind is Any or origin is not None:
        return True
    return not isinstance(kind, type) or isinstance(value, kind)


def helps(kind: str, name: str, text: str, reader: str) -> Finding:
    """Whether a descriptor's help is there and short enough to be shown."""
    where = f"{kind} {name}"
    if not text.strip():
        return failed("help", where, "no help text", f"Set help= to a sentence for {reader}")
    if "\n" in text or len(text) > 1000:
        return failed("help", where, "its help text is no short sentence", "Put it in one line")
    return ok("help", name)
