"""The process in which one distribution's plugins are imported; their collectors are its children.

It tells the warden what its plugins offer, starts the collectors that it is told to start, and
passes their answers on. A plugin's module runs in this very process, so the warden believes
nothing that comes from here, and does not need it to behave.
"""

from __future__ import annotations

import gc
import time
import warnings
from dataclasses import asdict
from functools import partial

from qlmdm_core.api import JSON, Collector, DistroAdapter
from qlmdm_core.client import collecting, frames, newborn
from qlmdm_core.client.cgroups import RunGroup
from qlmdm_core.client.child import Birth, Child, Event
from qlmdm_core.client.family import Family
from qlmdm_core.client.frames import Frame, FrameError, FrameReader
from qlmdm_core.client.limits import be_nice
from qlmdm_core.client.plan import Descriptor, Plan
from qlmdm_core.plugins import LoadedPlugin, PluginEntry, PluginFailure, call, failed
from qlmdm_core.prctl import Prctl

ANSWERS = ("ok", "error", "invalid", "too_big")
"""What a collector's own process may say of itself; anything else is told by its end."""


class Worker:
    """One distribution's process, from its import to the end of its last collector."""

    def __init__(
        self, plan: Plan, index: int, prctl: Prctl, groups: RunGroup | None, channel: int
    ) -> None:
        self._plan = plan
        self._index = index
        self._prctl = prctl
        self._channel = channel
        self._commands = FrameReader(channel)
        settle = partial(newborn.settle_again, below=plan.limits.open_files)
        self._family = Family(plan.limits, prctl, groups, settle)
        self._plugins: list[LoadedPlugin] = []
        self._offers: list[tuple[PluginEntry, Collector]] = []
        self._collectors: dict[str, tuple[PluginEntry, Collector]] = {}
        self._answers: dict[int, Frame] = {}
        self._verdicts: dict[int, tuple[str, str]] = {}

    def run(self) -> None:
        """Do it all; returns when nothing is left of any collector."""
        frames.send(self._channel, self._register())
        gc.freeze()  # what the collectors share with us is not copied to be looked through
        # A plugin may have left threads here, of which Python 3.12 warns before it forks. They
        # do not exist in the child, and what they held is that plugin's own loss.
        be_nice(-5)  # if it may: it has to keep up with whatever its collectors do
        warnings.simplefilter("ignore", DeprecationWarning)
        self._family.listen(self._channel)
        while self._obey():
            for event in self._family.events():
                self._handle(event)
        survivors = self._family.end()
        if survivors:
            frames.send(self._channel, {"type": "left", "processes": survivors[:20]})

    # --- what there is -----------------------------------------------------------------------

    def _register(self) -> dict[str, JSON]:
        """Import this distribution's plugins, and say what they offer."""
        failures: list[PluginFailure] = []
        adapters: list[str] = []
        for entry in self._plan.distributions[self._index]:
            try:
                plugin, found = self._load(entry)
                failures += found
            except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt, even
                failures.append(failed(entry, "import", error))
                continue
            self._plugins.append(plugin)
            if "qlmdm_register_distros" in plugin.hooks:
                adapters.append(entry.owner)
        # Names that are there twice do not matter: the warden starts none of those.
        self._collectors = {collector.name: (e, collector) for e, collector in self._offers}
        return {
            "type": "registered",
            "collectors": [
                Descriptor.of(collector, entry).to_dict() for entry, collector in self._offers
            ],
            "failures": [asdict(failure) for failure in failures],
            "adapters": adapters,
        }

    def _load(self, entry: PluginEntry) -> tuple[LoadedPlugin, list[PluginFailure]]:
        plugin, failures = collecting.prepare(entry, self._plan)
        if failures:
            return plugin, failures
        collectors = call(plugin, "qlmdm_register_collectors", settings=self._plan.settings)
        if isinstance(collectors, PluginFailure):
            return plugin, [collectors]
        self._offers += [(entry, collector) for collector in collectors]
        return plugin, failures

    # --- what is to be done --------------------------------------------------------------------

    def _obey(self) -> bool:
        """Follow what the warden says; False when it says stop, or is gone."""
        if not self._family.heard:
            return True
        try:
            commands = self._commands.read()
        except FrameError:
            return False
        for command in commands:
            if command.header.get("type") == "stop":
                return False
            self._start(command.header["names"], command.header["adapters"])
        return not self._commands.ended

    def _start(self, names: list[str], owners: list[str]) -> None:
        known = [e for group in self._plan.distributions for e in group if e.owner in owners]
        births: list[Birth] = []
        for name in names:
            entry, collector = self._collectors[name]
            try:
                birth = self._family.prepare(
                    name,
                    partial(self._collect, entry, collector, known),
                    timeout=collector.timeout,
                    group_name=f"collector-{self._index}-{name}",
                    max_body=collector.max_bytes,
                )
            except OSError as error:
                self._not_started(name, error)
            else:
                births.append(birth)
        for child, failure in self._family.deliver(births):
            self._not_started(child.name, failure)

    def _not_started(self, name: str, error: OSError) -> None:
        self._tell(name, "error", f"it could not be started: {error.strerror}", 0.0)

    def _collect(
        self, entry: PluginEntry, collector: Collector, known: list[PluginEntry], channel: int
    ) -> None:
        """In the collector's process, from here on."""
        # What its commands leave behind stays below it while it lives: it may be waiting for
        # a program that put itself in the background.
        self._prctl.become_subreaper()
        be_nice(self._plan.limits.niceness)

        def find_adapters() -> list[tuple[PluginEntry, DistroAdapter]]:
            return collecting.load_adapters(known, self._plugins, self._plan)

        collecting.answer(entry, collector, self._plan, find_adapters, channel)

    # --- what comes of it ------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        child = event.child
        if event.kind == "frame" and event.frame is not None:
            self._answers.setdefault(child.pid, event.frame)
        elif event.kind == "ended":
            self._conclude(child)
        else:
            self._condemn(child, event)

    def _condemn(self, child: Child, event: Event) -> None:
        _, collector = self._collectors[child.name]
        verdict = {
            "broken": ("invalid", f"its process wrote what is no answer: {event.why}"),
            "noisy": ("too_big", event.why),
            "overdue": ("timeout", f"it took longer than {collector.timeout:g} seconds"),
            "exceeded": ("limit", event.why),
        }[event.kind]
        self._verdicts.setdefault(child.pid, verdict)
        self._family.kill(child)

    def _conclude(self, child: Child) -> None:
        verdict = self._verdicts.pop(child.pid, None)
        frame = self._answers.pop(child.pid, None)
        body = b""
        if frame is not None and frame.header.get("status") in ANSWERS:
            status, error, body = frame.header["status"], str(frame.header.get("error")), frame.body
        elif verdict is not None:
            status, error = verdict
        else:
            status, error = "crashed", f"its process {child.ending()}, without an answer"
        printed = "" if status == "ok" else child.evidence()
        self._tell(child.name, status, error, child.seconds(), printed, body)

    def _tell(
        self,
        name: str,
        status: str,
        error: str,
        seconds: float,
        printed: str = "",
        body: bytes = b"",
    ) -> None:
        header: dict[str, JSON] = {
            "type": "result",
            "name": name,
            "status": status,
            "error": error[:1000],
            "started_at": time.time() - seconds,
            "seconds": round(seconds, 3),
            "printed": printed,
        }
        frames.send(self._channel, header, body)
