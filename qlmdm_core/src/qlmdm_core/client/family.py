"""The child processes of one process: forked, listened to, limited, and ended for certain.

Two kinds of process in a collect have such a family: the warden, whose children are workers,
and each worker, whose children are collectors. Neither trusts its children; whatever they do
arrives here as an `Event`, and `end` leaves nothing of them.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from qlmdm_core.client import limits as limit_module
from qlmdm_core.client import newborn, reaper
from qlmdm_core.client.cgroups import Group, RunGroup
from qlmdm_core.client.child import Birth, Child, Event
from qlmdm_core.client.frames import FrameError, FrameReader
from qlmdm_core.client.limits import Limits
from qlmdm_core.prctl import Prctl

WATCH_SECONDS = 0.25
"""How often it is checked whether a child breaks its limits."""
ENDING_SECONDS = 0.002
"""How soon to look again whether a process that closed its channel is gone."""
SWEEP_SECONDS = 0.01
LONGEST_SWEEP_SECONDS = 0.5
"""How soon, at first and at most, to look again for what was left behind."""
END_SECONDS = 3.0
"""How long to try to kill what can't be killed: a process that waits for a broken disk."""


class Family:
    """All children of this process. There may be only one family in a process."""

    def __init__(
        self,
        limits: Limits,
        prctl: Prctl,
        groups: RunGroup | None,
        settle: Callable[[int, int], object],
    ) -> None:
        """`settle(channel, noise)` is what a child does first, see `newborn`."""
        self.limits = limits
        self._settle = settle
        self.groups = groups
        self.children: dict[int, Child] = {}
        self._prctl = prctl
        # epoll itself, since `selectors` would cost as much as all the rest of an event.
        self._epoll = select.epoll()
        self._owners: dict[int, Child | None] = {}
        self._ending: set[Child] = set()
        """Those that have closed their channel, and must be about to exit."""
        self._strays: set[int] = set()
        self._sweep_due = False
        self._sweep_pause = SWEEP_SECONDS
        self._next_watch = time.monotonic() + WATCH_SECONDS
        self._tasks_before = limit_module.tasks_on_machine()
        self._emptied: list[Group] = []
        self.heard = False
        """Somebody else than a child has something to say, see `listen`."""
        prctl.become_subreaper()

    def listen(self, fd: int) -> None:
        """Wake up from `events` also when this descriptor can be read: `heard` is then set."""
        self._attend(fd, None)

    # --- a child begins ----------------------------------------------------------------------

    def prepare(
        self,
        name: str,
        main: Callable[[int], None],
        *,
        timeout: float | None,
        group_name: str,
        max_body: int,
        two_way: bool = False,
    ) -> Birth:
        """Get ready for a child that runs `main(channel)`, ends, and inherits nothing else.

        Raises `OSError` if the machine has no descriptor left.
        """
        fds: list[int] = []
        try:
            if two_way:
                ours, theirs = (end.detach() for end in socket.socketpair())
            else:
                ours, theirs = os.pipe()
            fds += [ours, theirs]
            noise, noise_end = os.pipe()
            fds += [noise, noise_end]
            os.set_blocking(ours, False)
            os.set_blocking(noise, False)
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
        child = Child(name, FrameReader(ours, max_body=max_body), noise, timeout)
        if self.groups is not None:
            child.group = self.groups.child(group_name, self.limits)
        return Birth(child, main, theirs, noise_end)

    def deliver(self, births: list[Birth]) -> list[tuple[Child, OSError]]:
        """Fork the children that were prepared; returns those that could not be, and why.

        All in a row: after each fork, both sides pay for every page of memory that they touch.
        """
        parent = os.getpid()
        failures: list[tuple[Child, OSError]] = []
        for birth in births:
            birth.child.started = time.monotonic()
            try:
                birth.child.pid = os.fork()
            except OSError as error:
                failures.append((birth.child, error))
                continue
            if birth.child.pid == 0:
                self._run_child(birth, parent)
        for birth in births:
            os.close(birth.channel)
            os.close(birth.noise)
            child = birth.child
            if child.pid:
                self.children[child.pid] = child
                self._attend(child.channel.fd, child)
                self._attend(child.noise, child)
            else:
                os.close(child.channel.fd)
                os.close(child.noise)
        return failures

    def _run_child(self, birth: Birth, parent: int) -> NoReturn:
        try:
            self._prctl.die_with_parent(parent)
            os.setsid()
            if birth.child.group is not None:
                with contextlib.suppress(OSError):  # the other limits hold all the same
                    birth.child.group.enter()
            kept = self._settle(birth.channel, birth.noise)
            self._prctl.name_process(f"qlmdm:{birth.child.name}")
            birth.main(newborn.CHANNEL)
            del kept  # not before
        except BaseException as error:  # noqa: BLE001 - nothing may return from here
            os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "replace"))
            newborn.leave(1)
        newborn.leave(0)

    # --- a child lives -----------------------------------------------------------------------

    def events(self, timeout: float | None = None) -> list[Event]:
        """Wait for something to happen, at most `timeout` seconds, and say what did."""
        events: list[Event] = []
        self.heard = False
        for fd, _ in self._epoll.poll(self._patience(timeout)):
            if fd not in self._owners:
                continue  # its child was buried a moment ago, in this very loop
            child = self._owners[fd]
            if child is None:
                self.heard = True
            elif fd == child.noise:
                events += self._listen_to_noise(child)
            else:
                events += self._read(child)
                if child.channel.ended:
                    # It is ending, or can say nothing more, which is the same to us.
                    self._forget(fd)
                    reaper.kill(child.pid)
                    self._ending.add(child)
        events += self._check_all()
        return events

    def _patience(self, timeout: float | None) -> float | None:
        now = time.monotonic()
        waits = [] if timeout is None else [timeout]
        for child in self.children.values():
            if child.timeout is not None and not child.doomed:
                waits.append(child.started + child.timeout - now)
        if self.children:
            waits.append(self._next_watch - now)
        if self._ending:
            waits.append(ENDING_SECONDS)
        if self._sweep_due:
            waits.append(self._sweep_pause if self._strays else 0.0)
        return max(0.0, min(waits)) if waits else None

    def _read(self, child: Child) -> list[Event]:
        try:
            frames = child.channel.read()
        except FrameError as error:
            child.channel.ended = True
            return [Event("broken", child, why=str(error))]
        return [Event("frame", child, frame) for frame in frames]

    def _listen_to_noise(self, child: Child) -> list[Event]:
        try:
            chunk = os.read(child.noise, 1 << 16)
        except OSError:
            return []
        if not chunk:
            self._forget(child.noise)
            return []
        before = child.noise_bytes
        child.hear(chunk)
        most = self.limits.output_bytes
        if before <= most < child.noise_bytes:
            return [Event("noisy", child, why=f"it printed more than {most} bytes")]
        return []

    def _ended(self, child: Child) -> list[Event]:
        """It has ended, if it has: what it said before that comes first."""
        if child.status is None:
            try:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = child.pid, 0
            if pid == 0:
                return []
            child.status = status
        events: list[Event] = []
        while not child.channel.ended and (said := self._read(child)):
            events += said
        heard = -1
        while heard < child.noise_bytes <= self.limits.output_bytes:
            heard = child.noise_bytes
            self._listen_to_noise(child)
        if not child.doomed and (why := self._exceeded(child, crowded=False)):
            events.append(Event("exceeded", child, why=why))
        self._bury(child)
        return [*events, Event("ended", child)]

    def _bury(self, child: Child) -> None:
        del self.children[child.pid]
        self._ending.discard(child)
        for fd in (child.channel.fd, child.noise):
            self._forget(fd)
            os.close(fd)
        if child.group is not None and not child.group.remove():
            child.group.kill()
            self._emptied.append(child.group)
        # What one that ended well left behind can wait for the next look around.
        self._sweep_due = self._sweep_due or child.doomed

    def _attend(self, fd: int, owner: Child | None) -> None:
        self._owners[fd] = owner
        self._epoll.register(fd, select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        if fd in self._owners:
            del self._owners[fd]
            self._epoll.unregister(fd)

    def _check_all(self) -> list[Event]:
        now = time.monotonic()
        events: list[Event] = []
        watch = now >= self._next_watch
        crowded = watch and (
            limit_module.tasks_on_machine() > self._tasks_before + self.limits.processes
        )
        for child in list(self.children.values()):
            # At each watch, since something that it left may hold its channel open.
            if watch or child in self._ending or child.status is not None:
                events += self._ended(child)
            if child.doomed or child.status is not None:
                continue
            if child.timeout is not None and now >= child.started + child.timeout:
                events.append(Event("overdue", child))
            elif watch and (why := self._exceeded(child, crowded=crowded)):
                events.append(Event("exceeded", child, why=why))
        if watch:
            self._next_watch = now + WATCH_SECONDS
        if self._sweep_due or watch:
            self._sweep()
        return events

    def _exceeded(self, child: Child, *, crowded: bool) -> str:
        """Which limit it broke, in words; empty if none."""
        if self.groups is not None and self.groups.limited and child.group is not None:
            return child.group.exceeded(self.limits)
        most = self.limits.processes
        if crowded and reaper.count_descendants(child.pid, stop_at=most + 1) > most:
            return f"it started more than {most} processes"
        return ""

    # --- a child's end -----------------------------------------------------------------------

    def kill(self, child: Child) -> None:
        """Kill a child and all that is still below it; its `ended` follows."""
        child.doomed = True
        if child.status is not None:
            return
        if child.group is not None:
            child.group.kill()
        reaper.kill_tree(child.pid)

    def _sweep(self) -> None:
        """Kill what dead children left; while something is left, `events` comes back soon."""
        reaper.reap(self._reaped)
        before, self._strays = self._strays, reaper.kill_strays(self.children)
        if not self._strays:
            self._sweep_due = False
        elif self._strays <= before:
            self._sweep_pause = min(self._sweep_pause * 1.5, LONGEST_SWEEP_SECONDS)
        else:
            self._sweep_due = True
            self._sweep_pause = SWEEP_SECONDS
            if before:
                self._hurry()
        self._emptied = [group for group in self._emptied if not group.remove()]

    def _reaped(self, pid: int, status: int) -> None:
        if pid in self.children:
            self.children[pid].status = status

    def _hurry(self) -> None:
        """Go before everything else: what is being killed may be forking as fast as it can."""
        limit_module.be_nice(-20)

    def end(self) -> list[str]:
        """Kill every child and all they left; returns what could not be killed, described."""
        for child in list(self.children.values()):
            self.kill(child)
        give_up = time.monotonic() + END_SECONDS
        survivors: list[str] = []
        while reaper.reap(self._reaped) or self.children:
            if time.monotonic() > give_up:
                survivors = [reaper.describe(pid) for pid in reaper.child_pids(os.getpid())]
                break
            self._sweep_due = True
            self.events(SWEEP_SECONDS)
        for group in self._emptied:
            group.remove()
        self._epoll.close()
        return survivors
