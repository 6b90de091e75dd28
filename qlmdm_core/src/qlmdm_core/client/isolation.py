"""Runs collectors so that each can only fail for itself, and no process is left afterwards.

    client ── warden ─┬─ worker of distribution A ─┬─ collector
                      │                            └─ collector
                      └─ worker of distribution B ─── collector

All of them are forks of the client, which has imported what they share and never imports a
plugin. See docs/adr/0020-process-model.md for why each level is there.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

# Loaded here, so that every process forked below has them without importing them again.
from qlmdm_core import strictjson
from qlmdm_core.api import JSON
from qlmdm_core.client import reaper
from qlmdm_core.client.frames import Frame, FrameError, FrameReader
from qlmdm_core.client.limits import Limits
from qlmdm_core.client.plan import VALUE_DEPTH, Descriptor, HostFactory, Plan
from qlmdm_core.client.warden import run_warden
from qlmdm_core.plugins import PluginEntry, PluginFailure
from qlmdm_core.prctl import Prctl
from qlmdm_core.settings import Loaded

GRACE_SECONDS = 15.0
"""How long after its deadline the warden may take to end everything; then it is killed."""


@dataclass(frozen=True, kw_only=True)
class CollectorOutcome:
    """What came of one collector that was to run."""

    name: str
    distribution: str
    status: str
    """"ok"; else "error" (it raised), "timeout", "crashed", "invalid" (not a JSON object),
    "too_big" (its value, or what it printed), "limit" (memory, processes), "conflict"."""
    value: JSON = None
    error: str = ""
    """Why there is no value, for a person."""
    started_at: float
    """Seconds since 1970, UTC."""
    seconds: float
    private: bool = False
    private_paths: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()
    interval: float | None = None
    printed: str = ""
    """What it printed (the beginning and the end of it), if it failed."""

    @property
    def lasting(self) -> dict[str, JSON]:
        """The value without what changes all the time: what a change of it is told by."""
        return {name: part for name, part in self.value.items() if name not in self.volatile}


@dataclass(kw_only=True)
class Outcome:
    """What came of a collect."""

    results: dict[str, CollectorOutcome] = field(default_factory=dict)
    failures: list[PluginFailure] = field(default_factory=list)
    """What befell plugins, rather than a collector of theirs."""
    known: dict[str, Descriptor] = field(default_factory=dict)
    """Every collector that could be run, by name, whether it was to run or not."""
    names: set[str] = field(default_factory=set)
    """Every name, also of those that two plugins claim."""
    unknown: set[str] = field(default_factory=set)
    """Names that were asked for and do not exist; nothing was run then."""


def run_collectors(
    entries: Iterable[PluginEntry],
    *,
    settings: Loaded[Any],
    host_factory: HostFactory,
    only: Collection[str] | None = None,
    due: Callable[[Descriptor], bool] = lambda _: True,
    deadline: float = 300.0,
    import_timeout: float = 30.0,
    slack: float = 10.0,
    limits: Limits | None = None,
    use_cgroups: bool = True,
) -> Outcome:
    """Run the collectors of these plugins that are due, or those in `only`, side by side.

    `host_factory(name, find_distro)` makes the host for a collector, in that collector's
    process. `deadline` is in seconds and holds for everything together. Disabled entries are
    passed over.

    Whatever plugins do is in the outcome; this raises only what interrupts the client itself
    (`KeyboardInterrupt`), and even then leaves no process.
    """
    outcome = Outcome()
    distributions: dict[str, list[PluginEntry]] = {}
    for entry in entries:
        if entry.error:
            outcome.failures.append(
                PluginFailure(
                    distribution=entry.distribution,
                    entry_point=entry.name,
                    stage="metadata",
                    error=entry.error,
                )
            )
        elif not entry.disabled:
            distributions.setdefault(entry.distribution, []).append(entry)
    if distributions:
        plan = Plan(
            distributions=tuple(tuple(group) for group in distributions.values()),
            settings=settings,
            host_factory=host_factory,
            only=None if only is None else frozenset(only),
            due=due,
            deadline=deadline,
            import_timeout=import_timeout,
            slack=slack,
            limits=limits or Limits(),
            use_cgroups=use_cgroups,
        )
        _Conversation(plan, outcome).hold()
    if only is not None:
        outcome.unknown = set(only) - outcome.names
    return outcome


class _Conversation:
    """The client's side: starts a warden, takes down what it says, and sees it end."""

    def __init__(self, plan: Plan, outcome: Outcome) -> None:
        self._plan = plan
        self._outcome = outcome
        self._done = False
        self._crash = ""

    def hold(self) -> None:
        """From the warden's start to its end."""
        prctl = Prctl()
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            run_warden(self._plan, prctl, theirs.fileno())
        theirs.close()
        try:
            self._listen(FrameReader(ours.fileno()), time.monotonic() + self._plan.deadline)
        finally:
            ours.close()  # should we be interrupted: by this it knows that it has to end
            self._see_off(pid)
        if not self._done:
            why = self._crash or "the process that watches over plugins ended unexpectedly"
            self._outcome.failures.append(
                PluginFailure(distribution="", entry_point="", stage="warden", error=why)
            )

    def _listen(self, reader: FrameReader, deadline: float) -> None:
        poll = select.poll()
        poll.register(reader.fd, select.POLLIN)
        while not reader.ended:
            left = deadline + GRACE_SECONDS - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return
            try:
                frames = reader.read()
            except FrameError:
                return
            for frame in frames:
                self._take_down(frame)

    def _take_down(self, frame: Frame) -> None:
        header = frame.header
        if header["type"] == "outcome":
            result = _outcome(frame)
            self._outcome.results[result.name] = result
            if result.status == "conflict":
                self._outcome.known.pop(result.name, None)
        elif header["type"] == "known":
            self._outcome.names.update(header["names"])
            for fields in header["collectors"]:
                self._outcome.known[fields["name"]] = Descriptor(**fields)
        elif header["type"] == "crash":
            self._crash = header["error"]
        elif header["type"] == "done":
            self._done = True
            self._outcome.failures += [
                PluginFailure(**{**fields, "trace": tuple(fields["trace"])})
                for fields in header["failures"]
            ]

    def _see_off(self, pid: int) -> None:
        """Wait for the warden; if it does not end, end it, and what is below it."""
        try:
            if not _ends_within(pid, GRACE_SECONDS):
                reaper.kill_tree(pid)
        finally:
            with contextlib.suppress(ChildProcessError):  # the client ignores SIGCHLD
                os.waitpid(pid, 0)


def _ends_within(pid: int, seconds: float) -> bool:
    """Whether a child ends in time; it stays to be waited for."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # before Linux 5.3
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
            time.sleep(0.02)
        return False
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)


def _outcome(frame: Frame) -> CollectorOutcome:
    """What the warden passed on; the value itself is looked at here for the first time."""
    header = frame.header
    status, error, value = header["status"], header["error"], None
    if status == "ok":
        try:
            value = strictjson.parse(
                frame.body, max_bytes=header["max_bytes"], max_depth=VALUE_DEPTH
            )
            if not isinstance(value, dict) or not isinstance(value.get("state"), str):
                raise strictjson.JsonError("expected an object with a state")
        except strictjson.JsonError as wrong:
            status, error, value = "invalid", f"its value is not JSON: {wrong}", None
    return CollectorOutcome(
        name=header["name"],
        distribution=header["distribution"],
        status=status,
        value=value,
        error="" if status == "ok" else error,
        started_at=float(header["started_at"]),
        seconds=float(header["seconds"]),
        private=header["private"],
        private_paths=tuple(header["private_paths"]),
        volatile=tuple(header["volatile"]),
        interval=header["interval"],
        printed=header["printed"],
    )
