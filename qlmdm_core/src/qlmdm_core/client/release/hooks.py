"""Asks plugins about a release: each distribution in a process of its own, which can only
fail for itself.

    client ── overseer ─┬─ distribution A
                        └─ distribution B

The overseer leaves nothing of them, as the warden of a collect does (docs/adr/0020): whatever
a plugin starts ends with its process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from qlmdm_core.api import JSON, Objection
from qlmdm_core.client import frames, limits, newborn
from qlmdm_core.client.collect import host_maker
from qlmdm_core.client.collecting import prepare
from qlmdm_core.client.entries import find_entries
from qlmdm_core.client.family import Family
from qlmdm_core.client.frames import FrameError, FrameReader
from qlmdm_core.client.limits import Limits
from qlmdm_core.client.plan import HostFactory, Plan
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.plugins import PluginEntry, PluginFailure, call
from qlmdm_core.prctl import Prctl
from qlmdm_core.settings import Loaded

OBJECTIONS = "qlmdm_release_objections"
INSTALLED = "qlmdm_release_installed"
TIMEOUT_SECONDS = 120.0
"""For one distribution's import and answer."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one distribution said, or what befell it."""

    distribution: str
    objections: tuple[str, ...] = ()
    failure: str = ""


def objections(loaded: Loaded[ClientSettings], release: Mapping[str, JSON]) -> list[str]:
    """Why plugins object to installing a release; one that fails objects by that."""
    replies = ask(loaded, OBJECTIONS, {"release": dict(release), "stage": "install"})
    return [f"{reply.distribution}: {why}" for reply in replies for why in reply.objections] + [
        f"{reply.distribution}: {reply.failure}" for reply in replies if reply.failure
    ]


def installed(loaded: Loaded[ClientSettings], update: Mapping[str, JSON]) -> list[str]:
    """Tell plugins that a release is in place; why it may not be committed, if not."""
    replies = ask(loaded, INSTALLED, {"update": dict(update)})
    return [f"{reply.distribution}: {reply.failure}" for reply in replies if reply.failure]


def ask(
    loaded: Loaded[ClientSettings],
    hook: str,
    arguments: Mapping[str, JSON],
    *,
    make_host: HostFactory | None = None,
    entries: Sequence[PluginEntry] | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> list[Reply]:
    """Call one hook of every distribution that has it. Never raises what a plugin raises.

    One that can't even be imported has no say: the release may be what mends it.
    """
    found = find_entries(loaded.core.plugins_off) if entries is None else entries
    groups: dict[str, list[PluginEntry]] = {}
    for entry in found:
        if not entry.error and not entry.disabled:
            groups.setdefault(entry.distribution, []).append(entry)
    plan = Plan(
        distributions=tuple(tuple(group) for group in groups.values()),
        settings=loaded,
        host_factory=make_host or host_maker(),
    )
    return _oversee(plan, hook, arguments, timeout) if groups else []


def _oversee(plan: Plan, hook: str, arguments: Mapping[str, JSON], timeout: float) -> list[Reply]:
    """Fork the overseer, and take down what it says."""
    prctl = Prctl()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            nothing = os.open("/dev/null", os.O_RDWR)
            kept = newborn.settle_in(writing, nothing)
            _Overseer(plan, prctl, hook, arguments, timeout).run(newborn.CHANNEL)
            del kept
        finally:
            newborn.leave(0)
    os.close(writing)
    reader = FrameReader(reading)
    said: dict[str, Reply] = {}
    try:
        while not reader.ended:
            for frame in reader.read():
                reply = Reply(
                    distribution=frame.header["distribution"],
                    objections=tuple(frame.header["objections"]),
                    failure=frame.header["failure"],
                )
                said[reply.distribution] = reply
    finally:
        os.close(reading)
        os.waitpid(pid, 0)
    silent = "its process could not be started, or said nothing"
    return [
        said.get(name) or Reply(distribution=name, failure=silent)
        for name in (group[0].distribution for group in plan.distributions)
    ]


class _Overseer:
    """The process between the client and the plugins."""

    def __init__(
        self,
        plan: Plan,
        prctl: Prctl,
        hook: str,
        arguments: Mapping[str, JSON],
        timeout: float,
    ) -> None:
        self._plan = plan
        self._hook = hook
        self._arguments = arguments
        self._timeout = timeout
        self._family = Family(Limits(), prctl, None, self._settle)

    def _settle(self, channel: int, noise: int) -> object:
        kept = newborn.settle_in(channel, noise)
        limits.apply(self._plan.limits)
        return kept

    def run(self, channel: int) -> None:
        """Ask all at once; returns when nothing is left of any."""
        asked: set[str] = set()
        answers: dict[str, dict[str, JSON]] = {}
        verdicts: dict[str, str] = {}
        births = [
            self._family.prepare(
                group[0].distribution,
                partial(self._ask, group),
                timeout=self._timeout,
                group_name=f"hook-{number}",
                max_body=0,
            )
            for number, group in enumerate(self._plan.distributions)
        ]
        for child, error in self._family.deliver(births):
            verdicts[child.name] = f"it could not be started: {error.strerror}"
        while self._family.children:
            for event in self._family.events():
                name = event.child.name
                if event.kind == "frame" and event.frame is not None:
                    if event.frame.header.get("asked") is True and name not in asked:
                        asked.add(name)
                        continue
                    answers.setdefault(name, event.frame.header)
                elif event.kind == "ended":
                    verdicts.setdefault(name, f"its process {event.child.ending()}")
                else:
                    if event.kind == "broken":
                        # What came with it, such as that it was asked, is lost.
                        asked.add(name)
                    verdicts[name] = event.why or f"it took longer than {self._timeout:g} seconds"
                    self._family.kill(event.child)
        self._family.end()
        for group in self._plan.distributions:
            name = group[0].distribution
            if name in asked:
                reply = _reply(name, answers.get(name), verdicts.get(name, ""))
            else:
                reply = {"distribution": name, "objections": [], "failure": ""}
            frames.send(channel, reply)

    def _ask(self, group: Sequence[PluginEntry], channel: int) -> None:
        """In the distribution's own process, from here on."""
        plugins = [prepare(entry, self._plan)[0] for entry in group]
        plugins = [plugin for plugin in plugins if self._hook in plugin.hooks]
        if not plugins:
            return
        frames.send(channel, {"asked": True})
        arguments = dict(self._arguments)
        if self._hook == INSTALLED:
            arguments["host"] = self._plan.host_factory("release", lambda: None)
        reasons: list[str] = []
        failure = ""
        for plugin in plugins:
            found = call(plugin, self._hook, **arguments)
            if isinstance(found, PluginFailure):
                failure = failure or found.error
            else:
                reasons += [o.reason for o in found if isinstance(o, Objection)]
        frames.send(channel, {"objections": reasons, "failure": failure})


def _reply(name: str, answer: dict[str, JSON] | None, verdict: str) -> dict[str, JSON]:
    """What a plugin's process said, as far as it is what it should be."""
    try:
        if answer is None:
            raise FrameError(verdict or "it said nothing")
        reasons, failure = answer["objections"], answer["failure"]
        if not isinstance(failure, str) or not all(isinstance(why, str) for why in reasons):
            raise FrameError("its answer makes no sense")
    except (FrameError, KeyError, TypeError) as error:
        reasons, failure = [], str(error) or "its answer makes no sense"
    return {
        "distribution": name,
        "objections": [why[:500] for why in reasons[:20]],
        "failure": failure[:500],
    }
