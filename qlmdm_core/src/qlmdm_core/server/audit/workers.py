"""Judges the fleet in worker processes, so that a check that hangs or crashes costs itself only.

Each worker takes a range of client ids, page by page, and tells after each page how far it
is. Before it asks a check, it notes the check's number in memory that it shares with the
audit. When a worker falls silent or dies, that number names the check to blame: the check is
left out of the rest of this run (unknown for the clients it was not asked about) and another
worker goes on from the last page that was written.
"""

from __future__ import annotations

import mmap
import os
import selectors
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from qlmdm_core.api import ClientView
from qlmdm_core.errors import QlmdmError, StoreUnavailableError
from qlmdm_core.server.audit import children
from qlmdm_core.server.audit.judge import Judge
from qlmdm_core.server.audit.outgoing import Outgoing
from qlmdm_core.server.audit.rules import Rule
from qlmdm_core.store import Store

PAGE = 500
"""Clients that are read, judged and written together."""
RENEW_SECONDS = 10.0
_IDLE = 0xFFFF
_HEX = "0123456789abcdef"
_DONE = "\x7f"
"""Above every client id: what a worker says when its range is finished."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What to judge, and how."""

    open_store: Callable[[], Store]
    """Called once in each process: a database's connections do not survive a fork."""
    rules: Sequence[Rule]
    unknown_grace_period: float
    value_max_age: float
    now: datetime
    everything: bool
    only: frozenset[str] | None = None
    """Judge these clients only; None: all that are due."""
    patience: float = 60.0
    """Seconds a worker may take for one page."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Checks that are not to be asked, and why."""
    disabled: frozenset[str] | None = None
    """See `judge.Judge`."""
    outgoing: Outgoing = Outgoing()
    """What clients were given and should have by now."""
    renew: Callable[[], None] = lambda: None
    """Called every few seconds while judging goes on."""


@dataclass
class Tally:
    """What came of it."""

    judged: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    """Checks that were given up in this run, and why."""


def judge_fleet(fleet: Fleet, processes: int) -> Tally:
    """Judge what is due in the fleet. Raises `StoreUnavailableError` if a worker could not."""
    tally = Tally(broken=dict(fleet.broken))
    ranges = _ranges(processes)
    running = {_Worker(fleet, tally.broken, after, upto) for after, upto in ranges}
    try:
        while running:
            fleet.renew()
            _step(fleet, tally, running)
    finally:
        for worker in running:
            worker.kill()
    return tally


def _step(fleet: Fleet, tally: Tally, running: set[_Worker]) -> None:
    """Wait for the next news of any worker, and act on it."""
    with selectors.DefaultSelector() as selector:
        for worker in running:
            selector.register(worker.pipe, selectors.EVENT_READ, worker)
        wait = min(worker.deadline for worker in running) - time.monotonic()
        ready = [key.data for key, _ in selector.select(max(0.0, min(wait, RENEW_SECONDS)))]
    late = [w for w in running if w not in ready and w.deadline <= time.monotonic()]
    for worker in [*ready, *late]:
        if worker in ready and worker.read(tally) and worker.after != _DONE:
            continue
        running.discard(worker)
        blame = worker.kill()
        if worker.after == _DONE:
            continue
        if blame >= len(fleet.rules):
            raise worker.failure()
        why = "took too long" if worker in late else "crashed"
        name = fleet.rules[blame].name
        tally.broken[name] = f"the check itself {why}, so it is left out for now"
        running.add(_Worker(fleet, tally.broken, worker.after, worker.upto))


def _ranges(processes: int) -> list[tuple[str | None, str]]:
    """Client ids begin with a hexadecimal digit: cut the sixteen into equal parts."""
    starts = [_HEX[number * 16 // processes] for number in range(processes)]
    lower: list[str | None] = [None, *starts[1:]]
    return list(zip(lower, [*starts[1:], _DONE], strict=True))


class _Worker:
    """One process, judging the clients above `after` and below `upto`."""

    def __init__(self, fleet: Fleet, broken: dict[str, str], after: str | None, upto: str) -> None:
        self.after, self.upto = after, upto
        self._patience = fleet.patience
        self._error = ""
        self._asked = mmap.mmap(-1, 2)
        self._asked[:] = struct.pack("H", _IDLE)
        self._buffer = b""
        self.deadline = time.monotonic() + fleet.patience
        left_out = dict(broken)
        self._child = children.start(
            lambda pipe: _work(fleet, left_out, after, upto, self._asked, pipe)
        )
        self.pipe = self._child.pipe

    def read(self, tally: Tally) -> bool:
        """Take its news; False if it ended without having finished."""
        chunk = os.read(self.pipe, 1 << 16)
        if not chunk:
            return self.after == _DONE
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            kind, count, text = line.decode("utf-8", "replace").split(" ", 2)
            if kind == "error":
                self._error = text
            else:
                self.after = text
                tally.judged += int(count)
        self.deadline = time.monotonic() + self._patience
        return True

    def kill(self) -> int:
        """End it, and say which rule it was asking (none: a large number)."""
        self._child.kill()
        (asked,) = struct.unpack("H", self._asked[:])
        self._asked.close()
        return int(asked)

    def failure(self) -> Exception:
        """Why it ended, when no check is to blame."""
        return StoreUnavailableError(self._error or "a judging process ended without a word")


def _work(
    fleet: Fleet,
    broken: dict[str, str],
    after: str | None,
    upto: str,
    asked: mmap.mmap,
    pipe: int,
) -> None:
    """In the worker: judge its range. Pages are written before they are told of."""

    def watch(number: int) -> None:
        asked[0:2] = numbers[number]

    def complete(view: ClientView) -> ClientView:
        return fleet.outgoing.added_to(view, store, fleet.now)

    numbers = [struct.pack("H", number) for number in range(len(fleet.rules))]
    judge = Judge(
        rules=fleet.rules,
        unknown_grace_period=fleet.unknown_grace_period,
        value_max_age=fleet.value_max_age,
        broken=broken,
        disabled=fleet.disabled,
        watch=watch,
        complete=complete,
    )
    tell: Callable[[str, int, str], int] = lambda kind, count, text: os.write(  # noqa: E731
        pipe, f"{kind} {count} {text}\n".encode()
    )
    try:
        store = fleet.open_store()
        while True:
            targets = store.audit_targets(
                fleet.now, everything=fleet.everything, after=after, limit=PAGE
            )
            mine = [target for target in targets if target.client.cid < upto]
            if fleet.only is not None:
                mine = [target for target in mine if target.client.cid in fleet.only]
            judgements = [judge.judge(target, fleet.now) for target in mine]
            asked[:] = struct.pack("H", _IDLE)
            store.record_judgements(judgements)
            if len(targets) < PAGE or targets[-1].client.cid >= upto:
                tell("page", len(mine), _DONE)
                return
            after = targets[-1].client.cid
            tell("page", len(mine), after)
    except Exception as error:
        asked[:] = struct.pack("H", _IDLE)
        said = str(error) if isinstance(error, QlmdmError) else f"{type(error).__name__}: {error}"
        tell("error", 0, said.replace("\n", " ")[:2000])
        raise
