"""In a fresh interpreter: loads a distribution's client plugins, and calls them directly.

Here nothing is isolated from anything, so that what a collector does beside its host, and what
it imports when it runs, can be seen. Its value, its size and its time are judged elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from qlmdm_core import settings
from qlmdm_core.api import Collector, DistroAdapter, Host
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.hookspecs import client as hookspec_module
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.plugins import LoadedPlugin, PluginFailure, call
from qlmdm_core.plugins.check.adapters import answer, judge_answer, judge_match, questions
from qlmdm_core.plugins.check.detours import Watch
from qlmdm_core.plugins.check.findings import failed, ok
from qlmdm_core.plugins.check.inspected import Notes, attempt, begin, sides
from qlmdm_core.plugins.check.machines import HARD
from qlmdm_core.plugins.check.sideload import helps, load_side

FORBIDDEN = (
    *("qlmdm_core.server", "qlmdm_core.store", "falcon", "gunicorn", "pymongo", "bson"),
    *("orjson", "pysequoia", "rich"),
)
"""What no client has: the server's part of core, and what only that needs."""


def main() -> None:
    """`argv`: where to write, and `{"distribution", "settings", "machines"}` as JSON."""
    notes, arguments = begin(sys.argv)
    distribution: str = arguments["distribution"]
    file = arguments["settings"]
    loaded = (
        settings.load(file, StandaloneSettings) if file else settings.defaults(StandaloneSettings)
    )
    hosts: list[tuple[str, str]] = [(what, path) for what, path in arguments["machines"]]
    before = set(sys.modules)
    watch = Watch([os.path.realpath(path) for _, path in hosts])
    collectors: list[Collector] = []
    adapters: list[DistroAdapter] = []
    for entry, plugin in load_side(notes, distribution, CLIENT_GROUP, hookspec_module, loaded):
        watch.allow(entry.target.partition(":")[0].strip())
        collectors += _ask(plugin, "qlmdm_register_collectors", loaded)
        adapters += _ask(plugin, "qlmdm_register_distros", loaded)
    notes.fact("collectors", [collector.name for collector in collectors])
    for collector in collectors:
        notes.add(helps("collector", collector.name, collector.help, "the person at the machine"))
        _try_private(notes, collector)
        for what, path in hosts:
            notes.doing(f"collector {collector.name}, on {what}")
            distro = adapters[0] if adapters else None
            _try_collector(notes, watch, collector, what, ReplayHost(path, distro=distro))
    for adapter in adapters:
        for finding in judge_match(adapter):
            notes.add(finding)
        for what, path in hosts:
            _try_adapter(notes, watch, adapter, what, ReplayHost(path))
        notes.add(ok("adapters", adapter.name))
    asked = [*(c.name for c in collectors), *(a.name for a in adapters)]
    if asked:
        notes.add(ok("host", ", ".join(asked)))
    sides(notes, distribution, FORBIDDEN, before, "server")
    notes.add(ok("sides", "client"))
    notes.doing("")
    os._exit(0)  # threads and exit handlers of a plugin are no concern any more


def _ask(plugin: LoadedPlugin, hook: str, loaded: object) -> list[Any]:
    found = call(plugin, hook, settings=loaded)
    return [] if isinstance(found, PluginFailure) else found


def _try_private(notes: Notes, collector: Collector) -> None:
    """A path that leads nowhere keeps nothing private."""
    for path in collector.private_paths:
        if path.partition(".")[0] not in collector.fields:
            todo = "Correct the path, or explain the field in fields="
            where = f"collector {collector.name}"
            notes.add(failed("private", where, f"{path!r} begins with no field of its own", todo))
    if collector.private_paths:
        notes.add(ok("private", f"{collector.name}: {', '.join(collector.private_paths)}"))


def _try_collector(notes: Notes, watch: Watch, collector: Collector, what: str, host: Host) -> None:
    # What it raises is told by the rule "values", which runs it as a client does.
    detours = watch.during(partial(attempt, partial(collector.run, host)))
    _tell_detours(notes, f"collector {collector.name}, on {what}", detours)


def _tell_detours(notes: Notes, where: str, detours: Sequence[str]) -> None:
    for detour in detours[:3]:
        todo = "Ask the host: host.read, host.run, host.http, …"
        notes.add(failed("host", where, f"it {detour} by itself", todo))


def _try_adapter(notes: Notes, watch: Watch, adapter: DistroAdapter, what: str, host: Host) -> None:
    for method, question in questions(adapter, host).items():
        where = f"adapter {adapter.name}, {method}() on {what}"
        notes.doing(where)
        answers: list[tuple[object, str | None]] = []
        _tell_detours(notes, where, watch.during(partial(_keep_answer, answers, question)))
        for said, raised in answers:
            # Methods may raise: what can't be found out is then a collector's error, and no lie.
            if raised is None:
                for finding in judge_answer(where, method, said, told_nothing=what in HARD):
                    notes.add(finding)


def _keep_answer(answers: list[tuple[object, str | None]], question: Callable[[], object]) -> None:
    answers.append(answer(question))
