"""The process between the client and the plugins: it starts the workers and leaves nothing of them.

The client itself may not be the one that does this: to be sure that nothing is left, one has
to kill every child that one does not know, and the client may have children of its own. The
warden runs no plugin's code, so it always answers; when the client goes away, whatever the
reason, it sees the end of its channel, kills everything, and goes too.
"""

from __future__ import annotations

import gc
import os
import signal
import time
import traceback
from dataclasses import asdict
from functools import partial

from qlmdm_core.api import JSON
from qlmdm_core.client import frames, limits, newborn
from qlmdm_core.client.branch import Branch
from qlmdm_core.client.cgroups import RunGroup
from qlmdm_core.client.child import Event
from qlmdm_core.client.claims import Claims
from qlmdm_core.client.family import Family
from qlmdm_core.client.frames import Frame, FrameReader
from qlmdm_core.client.plan import Descriptor, Plan
from qlmdm_core.client.slots import Slots
from qlmdm_core.client.worker import Worker
from qlmdm_core.plugins import PluginFailure
from qlmdm_core.prctl import Prctl

REGISTRATION_SECONDS = 1.0
"""How long collectors wait for other distributions to register, which may claim their names."""


class _StopError(BaseException):
    """Somebody told this process to end (SIGTERM)."""


class Warden:
    """One collect, seen from the process that is responsible for it."""

    def __init__(self, plan: Plan, prctl: Prctl, channel: int) -> None:
        self._plan = plan
        self._prctl = prctl
        self._client = FrameReader(channel)
        self._groups = RunGroup.create() if plan.use_cgroups else None
        self._family = Family(plan.limits, prctl, self._groups, self._settle)
        self._branches = [Branch(i, entries) for i, entries in enumerate(plan.distributions)]
        self._slots = Slots(plan.slots)
        self._begun = time.monotonic()
        self._claims = Claims()
        self._failures: list[PluginFailure] = []

    # --- the course of it --------------------------------------------------------------------

    def run(self) -> None:
        """Do it all. Whatever happens, no process is left when this returns."""
        try:
            self._family.listen(self._client.fd)
            while not all(branch.over for branch in self._branches):
                self._proceed()
                for event in self._family.events(self._patience()):
                    self._handle(event)
                if self._family.heard:
                    return  # the client never speaks: it is gone
                if time.monotonic() > self._begun + self._plan.deadline:
                    self._give_up()
                    break
            self._decide()  # what registered with its last breath
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this is the end already
            survivors = self._family.end()
            self._clear_groups()
        if survivors:
            self._leftover("", survivors)
        self._send({"type": "done", "failures": [asdict(failure) for failure in self._failures]})

    def _proceed(self) -> None:
        """Start and stop what can be started and stopped by now."""
        for branch in self._branches:
            if branch.child is None and not branch.over:
                self._start_worker(branch)
        if self._may_start():
            self._decide()
            for branch in self._branches:
                self._start_collectors(branch)
        for branch in self._branches:
            idle = branch.registered and not branch.queue and not branch.running
            if idle and self._may_start() and branch.child and not branch.stopping:
                branch.stopping = True
                # From now on, it is nothing but in the way.
                if not branch.child.send({"type": "stop"}):
                    self._family.kill(branch.child)
                branch.child.timeout = branch.child.seconds() + self._plan.slack

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [self._begun + self._plan.deadline - now]
        if not self._may_start():
            waits.append(self._begun + REGISTRATION_SECONDS - now)
        if any(branch.queue or not branch.child for branch in self._branches if not branch.over):
            waits.append(self._slots.wait(now))
        return max(0.001, min(waits))

    def _may_start(self) -> bool:
        """Whether enough is known of who claims which name."""
        if all(branch.registered or branch.over for branch in self._branches):
            return True
        late = time.monotonic() >= self._begun + REGISTRATION_SECONDS
        return late and self._plan.only is None

    def _start_worker(self, branch: Branch) -> None:
        if not self._slots.take(branch.distribution, time.monotonic()):
            return
        main = partial(self._work, branch.index)
        try:
            birth = self._family.prepare(
                branch.distribution,
                main,
                timeout=self._plan.import_timeout,
                group_name=f"worker-{branch.index}",
                max_body=frames.MAX_BODY,
                two_way=True,
            )
            for _, failure in self._family.deliver([birth]):
                raise failure
        except OSError as error:
            branch.over = True
            self._slots.give_back(branch.distribution)
            self._failures.append(
                branch.failure("import", f"no process could be started: {error.strerror}")
            )
        else:
            branch.child = birth.child

    def _settle(self, channel: int, noise: int) -> object:
        """The first thing that a worker does; its collectors inherit the limits."""
        kept = newborn.settle_in(channel, noise)
        limits.apply(self._plan.limits)
        limits.be_nice(0)
        return kept

    def _work(self, index: int, channel: int) -> None:
        """In the worker's process, from here on."""
        Worker(self._plan, index, self._prctl, self._groups, channel).run()

    # --- who runs ----------------------------------------------------------------------------

    def _decide(self) -> None:
        """Queue what is to be run, of all that is known by now and was not known before."""
        news = self._claims.settle([offer for branch in self._branches for offer in branch.offers])
        if news is None:
            return
        only = self._plan.only
        self._failures += news.failures
        known = [descriptor.to_dict() for _, descriptor in news.accepted]
        self._send({"type": "known", "collectors": known, "names": sorted(news.names)})
        for descriptor, error in news.conflicts:
            self._unqueue(descriptor.name)
            if only is None or descriptor.name in only:
                self._outcome(descriptor, "conflict", error)
        if only is not None and not only <= news.names:
            return  # nothing runs: somebody mistyped
        for entry, descriptor in news.accepted:
            chosen = descriptor.name in only if only is not None else self._plan.due(descriptor)
            if chosen:
                branch = next(b for b in self._branches if entry in b.entries)
                branch.queue.append(descriptor)
        for branch in self._branches:
            branch.queue.sort(key=lambda descriptor: -descriptor.timeout)
            if branch.over:
                self._drop_queue(branch)

    def _unqueue(self, name: str) -> None:
        for branch in self._branches:
            branch.queue = [queued for queued in branch.queue if queued.name != name]

    def _start_collectors(self, branch: Branch) -> None:
        """Start what is queued, as far as there are slots."""
        now = time.monotonic()
        names: list[str] = []
        while branch.queue and self._slots.take(f"{branch.queue[0].name}:", now):
            descriptor = branch.queue.pop(0)
            until = now + descriptor.timeout + self._plan.slack
            branch.running[descriptor.name] = (descriptor, until)
            names.append(descriptor.name)
        if branch.child is None or not names:
            return
        adapters = [owner for other in self._branches for owner in other.adapters]
        if not branch.child.send({"type": "start", "names": names, "adapters": adapters}):
            self._condemn(branch, "it did not listen any more")
        self._watch(branch)

    def _watch(self, branch: Branch) -> None:
        """Set the moment at which a worker has not done its part."""
        if branch.child is not None and not branch.stopping:
            until = min((until for _, until in branch.running.values()), default=None)
            branch.child.timeout = None if until is None else until - branch.child.started

    # --- what happens ------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        branch = next(branch for branch in self._branches if branch.child is event.child)
        if event.kind == "frame" and event.frame is not None:
            if not branch.babbles and not self._understand(branch, event.frame):
                branch.babbles = True
                self._condemn(branch, "its process wrote what is no message")
        elif event.kind == "ended":
            self._bury(branch)
        elif event.kind == "overdue" and not branch.registered:
            seconds = self._plan.import_timeout
            self._condemn(branch, f"it took longer than {seconds:g} seconds to import")
        elif event.kind == "overdue":
            self._condemn(branch, "its process did not end a collector in time")
        elif event.kind == "broken":
            self._condemn(branch, f"its process wrote what is no message: {event.why}")
        elif event.kind == "noisy":
            self._condemn(branch, event.why)
        elif not branch.registered or self._limited():
            # Afterwards its collectors count too, and those are the worker's to judge.
            self._condemn(branch, event.why)

    def _limited(self) -> bool:
        return self._groups is not None and self._groups.limited

    def _condemn(self, branch: Branch, verdict: str) -> None:
        branch.verdict = branch.verdict or verdict
        if branch.child is not None:
            self._family.kill(branch.child)

    def _understand(self, branch: Branch, frame: Frame) -> bool:
        """Do what a worker's message asks for; False if it makes no sense."""
        try:
            kind = frame.header["type"]
            if kind == "registered" and not branch.registered:
                self._register(branch, frame.header)
            elif kind == "result":
                self._result(branch, frame)
            elif kind == "left":
                self._leftover(branch.distribution, [str(p) for p in frame.header["processes"]])
            else:
                return False
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        return True

    def _register(self, branch: Branch, header: dict[str, JSON]) -> None:
        entries = {entry.name: entry for entry in branch.entries}
        offers = [Descriptor(**fields) for fields in header["collectors"]]
        failures = [
            PluginFailure(**{**fields, "trace": tuple(fields["trace"])})
            for fields in header["failures"]
        ]
        branch.offers = [(entries[offer.entry_point], offer) for offer in offers]
        branch.adapters = [str(owner) for owner in header["adapters"]]
        self._failures += failures
        branch.registered = True
        self._slots.give_back(branch.distribution)
        self._watch(branch)

    def _result(self, branch: Branch, frame: Frame) -> None:
        header = frame.header
        descriptor, _ = branch.running.pop(header["name"])
        self._slots.give_back(f"{descriptor.name}:")
        self._watch(branch)
        if descriptor.name not in self._claims.contested:
            self._send({**header, **_identity(descriptor), "type": "outcome"}, frame.body)

    def _bury(self, branch: Branch) -> None:
        """A worker has ended: as it was told to, or taking its collectors with it."""
        branch.over = True
        self._slots.give_back(branch.distribution)
        child = branch.child
        if child is None or (branch.stopping and not branch.running):
            return
        how = branch.verdict or f"its process {child.ending()}"
        if not branch.registered:
            self._failures.append(branch.failure("import", how, child.evidence()))
            return
        self._failures.append(branch.failure("worker", how, child.evidence()))
        branch.verdict = how
        now = time.monotonic()
        for descriptor, until in branch.running.values():
            status = "timeout" if now >= until else "crashed"
            self._outcome(descriptor, status, f"{branch.distribution}: {how}")
            self._slots.give_back(f"{descriptor.name}:")
        branch.running.clear()
        self._drop_queue(branch)

    def _drop_queue(self, branch: Branch) -> None:
        """What was to run in a worker that is no more."""
        for descriptor in branch.queue:
            error = f"not started; {branch.distribution}: {branch.verdict}"
            self._outcome(descriptor, "crashed", error)
        branch.queue.clear()

    def _give_up(self) -> None:
        """The time for everything together has passed."""
        why = f"the collect as a whole took longer than {self._plan.deadline:g} seconds"
        self._decide()
        for branch in self._branches:
            if branch.over:
                continue
            if not branch.registered:
                self._failures.append(branch.failure("import", why))
            for descriptor, _ in branch.running.values():
                self._outcome(descriptor, "timeout", why)
            for descriptor in branch.queue:
                self._outcome(descriptor, "timeout", f"not started: {why}")

    # --- what is told ------------------------------------------------------------------------

    def _outcome(self, descriptor: Descriptor, status: str, error: str) -> None:
        self._send(
            {
                "type": "outcome",
                "status": status,
                "error": error,
                "started_at": time.time(),
                "seconds": 0.0,
                "printed": "",
                **_identity(descriptor),
            }
        )

    def _leftover(self, distribution: str, processes: list[str]) -> None:
        error = "could not be killed: " + ", ".join(processes)
        self._failures.append(
            PluginFailure(distribution=distribution, entry_point="", stage="kill", error=error)
        )

    def _send(self, header: dict[str, JSON], body: bytes = b"") -> None:
        frames.send(self._client.fd, header, body)

    def _clear_groups(self) -> None:
        if self._groups is not None and not self._groups.remove():
            self._groups.kill()
            self._groups.remove()


def _identity(descriptor: Descriptor) -> dict[str, JSON]:
    return {
        "name": descriptor.name,
        "distribution": descriptor.distribution,
        "interval": descriptor.interval,
        "private": descriptor.private,
        "private_paths": descriptor.private_paths,
        "volatile": descriptor.volatile,
        "max_bytes": descriptor.max_bytes,
    }


def run_warden(plan: Plan, prctl: Prctl, channel: int) -> None:
    """The whole life of the warden's process, straight after fork; it does not return."""
    try:
        nothing = os.open("/dev/null", os.O_RDWR)
        former = newborn.settle_in(channel, nothing)
        prctl.name_process("qlmdm:warden")
        os.setsid()
        signal.signal(signal.SIGTERM, _stop)
        gc.freeze()  # nothing of the client's is copied just to be looked through
        limits.be_nice(-10)
        try:
            Warden(plan, prctl, newborn.CHANNEL).run()
        except (_StopError, BrokenPipeError, ConnectionError):
            pass  # everything was ended on the way here
        except Exception:  # noqa: BLE001 - a mistake of ours; the client reports it
            frames.send(newborn.CHANNEL, {"type": "crash", "error": traceback.format_exc()})
        del former
    finally:
        newborn.leave(0)


def _stop(*_: object) -> None:
    raise _StopError
