"""Loads every plugin in a process of its own, to say what it gives or how it fails.

For `qlmdm-plugins`: the command survives a plugin that hangs, exits or crashes the
interpreter, and can show which one it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any

from qlmdm_core.api import JSON, SubCommand
from qlmdm_core.client import frames, limits, newborn
from qlmdm_core.client.child import Child
from qlmdm_core.client.family import Family
from qlmdm_core.client.limits import Limits
from qlmdm_core.errors import QlmdmError
from qlmdm_core.plugins import LoadedPlugin, call, load, register_section
from qlmdm_core.plugins.claims import resolve_conflicts
from qlmdm_core.plugins.descriptors import name_of
from qlmdm_core.plugins.entries import PluginEntry
from qlmdm_core.plugins.guard import PluginFailure, failed
from qlmdm_core.prctl import Prctl
from qlmdm_core.settings import Loaded

LIMITS = Limits()
LOAD_SECONDS = 15.0
"""How long a plugin may take to be imported and to register."""

KINDS: Mapping[str, str] = {
    "qlmdm_register_settings": "settings",
    "qlmdm_register_collectors": "collectors",
    "qlmdm_register_distros": "distros",
    "qlmdm_register_audit_checks": "checks",
    "qlmdm_register_notifiers": "notifiers",
    "qlmdm_register_stores": "stores",
    "qlmdm_register_commands": "commands",
}
"""The hooks that are called, settings first, and what they give. (The others need a server, or
do something.)"""

_SINGULAR = {
    "settings": "settings section",
    "checks": "audit check",
    "distros": "distro adapter",
    "stores": "store scheme",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of loading one plugin."""

    entry: PluginEntry
    hooks: tuple[str, ...] = ()
    seconds: float | None = None
    """How long import and registration took; None: not loaded."""
    gives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each of `KINDS`: names."""
    targets: Mapping[str, str] = field(default_factory=dict)
    """For each command: `module:function`."""
    failures: tuple[PluginFailure, ...] = ()


def probe(
    entries: Iterable[PluginEntry],
    hookspec_module: ModuleType,
    settings: Loaded[Any],
    *,
    timeout: float = LOAD_SECONDS,
) -> list[Report]:
    """Load these plugins of one side, one after the other, and report on each.

    Only for a process without other children: those would be taken for what a plugin left
    behind, and killed.
    """
    reports = [_probe(entry, hookspec_module, settings, timeout) for entry in entries]
    for kind in KINDS.values():
        claims = [(report.entry, name) for report in reports for name in report.gives.get(kind, ())]
        label = _SINGULAR.get(kind, kind.removesuffix("s"))
        conflicts = resolve_conflicts(label, claims, name=str).failures
        reports = [_with_conflicts(report, conflicts) for report in reports]
    return reports


def _with_conflicts(report: Report, conflicts: list[PluginFailure]) -> Report:
    owner = report.entry.distribution, report.entry.name
    own = [c for c in conflicts if (c.distribution, c.entry_point) == owner]
    return replace(report, failures=(*report.failures, *own))


def _probe(
    entry: PluginEntry, hookspec_module: ModuleType, settings: Loaded[Any], timeout: float
) -> Report:
    if entry.disabled:
        return Report(entry=entry)
    if entry.error:
        return Report(entry=entry, failures=(_failure(entry, "metadata", entry.error),))
    family = Family(LIMITS, Prctl(), None, _settle)
    main = partial(_load_and_tell, entry, hookspec_module, settings)
    try:
        birth = family.prepare(
            entry.name, main, timeout=timeout, group_name="plugin", max_body=1 << 20
        )
        for _, error in family.deliver([birth]):
            raise error
        return _listen(entry, family, birth.child, timeout)
    except OSError as error:
        return Report(entry=entry, failures=(failed(entry, "import", error),))
    finally:
        family.end()


def _listen(entry: PluginEntry, family: Family, child: Child, timeout: float) -> Report:
    """Until the child has ended; what it said, or what befell it."""
    answer: dict[str, JSON] | None = None
    why = ""
    while True:
        for event in family.events():
            if event.kind == "frame" and event.frame is not None:
                answer = answer or event.frame.header
            elif event.kind == "ended":
                if answer is not None and not why:
                    return _report(entry, answer)
                ending = why or f"its process {child.ending()}"
                words = child.evidence().splitlines()
                said = f"; it said: {words[-1][:200]}" if words else ""
                return Report(entry=entry, failures=(_failure(entry, "import", ending + said),))
            else:
                late = f"it did not load within {timeout:g} seconds"
                why = why or (late if event.kind == "overdue" else event.why)
                family.kill(child)


def _settle(channel: int, noise: int) -> object:
    kept = newborn.settle_in(channel, noise)
    limits.apply(LIMITS)
    return kept


def _failure(entry: PluginEntry, stage: str, error: str) -> PluginFailure:
    return PluginFailure(
        distribution=entry.distribution, entry_point=entry.name, stage=stage, error=error
    )


# --- in the plugin's process --------------------------------------------------------------------


def _load_and_tell(
    entry: PluginEntry, hookspec_module: ModuleType, settings: Loaded[Any], channel: int
) -> None:
    plugin = load(entry, hookspec_module)
    failures = [plugin.failure] if plugin.failure is not None else []
    gives: dict[str, list[str]] = {}
    targets: dict[str, str] = {}
    for hook, kind in KINDS.items():
        found = _ask(plugin, hook, hookspec_module, settings)
        if isinstance(found, PluginFailure):
            failures.append(found)
            continue
        gives[kind] = [name_of(descriptor) for descriptor in found]
        for descriptor in found:
            if isinstance(descriptor, SubCommand):
                targets[descriptor.name] = descriptor.target
        if kind == "settings":
            failures += _register(entry, found, settings)
    told = [[failure.stage, failure.error, list(failure.trace)] for failure in failures]
    answer = {
        "hooks": list(plugin.hooks),
        "seconds": plugin.seconds,
        "gives": gives,
        "targets": targets,
        "failures": told,
    }
    frames.send(channel, answer)


def _ask(
    plugin: LoadedPlugin, hook: str, hookspec_module: ModuleType, settings: Loaded[Any]
) -> list[Any] | PluginFailure:
    specification = getattr(hookspec_module, hook, None)
    if specification is None:
        return []
    takes_settings = "settings" in inspect.signature(specification).parameters
    return call(plugin, hook, **({"settings": settings} if takes_settings else {}))


def _register(
    entry: PluginEntry, sections: list[Any], settings: Loaded[Any]
) -> list[PluginFailure]:
    failures: list[PluginFailure] = []
    for section in sections:
        try:
            failure = register_section(settings, entry, section)
        except QlmdmError as error:  # the administrator's mistake: file, line, key
            failure = failed(entry, "settings", error)
        if failure is not None:
            failures.append(failure)
    return failures


# --- what it told, which a plugin may have forged -------------------------------------------------


def _report(entry: PluginEntry, answer: Mapping[str, JSON]) -> Report:
    try:
        return Report(
            entry=entry,
            hooks=tuple(map(str, answer["hooks"])),
            seconds=float(answer["seconds"]),
            gives={str(kind): tuple(map(str, names)) for kind, names in answer["gives"].items()},
            targets={str(name): str(target) for name, target in answer["targets"].items()},
            failures=tuple(
                PluginFailure(
                    distribution=entry.distribution,
                    entry_point=entry.name,
                    stage=str(stage),
                    error=str(error),
                    trace=tuple(map(str, trace)),
                )
                for stage, error, trace in answer["failures"]
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return Report(entry=entry, failures=(_failure(entry, "import", "it wrote nonsense"),))
