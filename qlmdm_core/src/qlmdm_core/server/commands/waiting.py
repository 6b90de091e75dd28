"""`--wait`: how far a command is, live, until no client has it open any more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from qlmdm_core.server.commands.finding import all_targets, host_of
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import FINAL_STATES, CommandTarget

OPEN = ("pending", "delivered", "started")
ORDER = (*OPEN, "done", "failed", "refused", "expired", "indeterminate", "cancelled")
PAUSE_SECONDS = 1.0
MOST_ROWS = 20
"""How many clients the table on a terminal shows one by one: those that are at work first."""


def progress(counts: Mapping[str, int]) -> str:
    """A line such as "2 of 5 over: 2 done, 3 pending"."""
    over = sum(counts.get(state, 0) for state in FINAL_STATES)
    states = ", ".join(f"{counts[state]} {state}" for state in ORDER if counts.get(state))
    return f"{over} of {sum(counts.values())} over: {states}"


def verdict(counts: Mapping[str, int]) -> int:
    """The exit status: 0 all done, 1 some ended otherwise, 3 some are open."""
    if any(counts.get(state) for state in OPEN):
        return 3
    return 0 if {state for state, count in counts.items() if count} <= {"done"} else 1


def wait(
    store: Store,
    command_id: str,
    *,
    timeout: float | None,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    out: TextIO | None = None,
) -> int:
    """Show how far it is until it is over, or `timeout` seconds have passed; the exit status."""
    out = out or sys.stdout
    steps = _steps(store, command_id, timeout, sleep, clock)
    counts: Mapping[str, int] = {}
    try:
        if out.isatty():
            counts = _live(store, command_id, steps)
        else:
            for counts in _changes(steps):
                out.write(progress(counts) + "\n")
                out.flush()
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\n{command_id} stays queued; look at it with: qlmdm-client-command show "
            f"{command_id[:8]}\n"
        )
        return 130
    return verdict(counts)


def _steps(
    store: Store,
    command_id: str,
    timeout: float | None,
    sleep: Callable[[float], object],
    clock: Callable[[], float],
) -> Iterator[Mapping[str, int]]:
    """How many clients are in each state, looked at again and again until it is over."""
    end = None if timeout is None else clock() + timeout
    while True:
        counts = store.count_targets(command_id)
        yield counts
        if verdict(counts) != 3 or (end is not None and clock() >= end):
            return
        sleep(PAUSE_SECONDS)


def _changes(steps: Iterator[Mapping[str, int]]) -> Iterator[Mapping[str, int]]:
    before: Mapping[str, int] | None = None
    for counts in steps:
        if counts != before:
            yield counts
        before = counts


def _live(store: Store, command_id: str, steps: Iterator[Mapping[str, int]]) -> Mapping[str, int]:
    from rich.console import Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts: Mapping[str, int] = {}
    names: dict[str, str] = {}
    with Live(refresh_per_second=4) as live:
        for counts in steps:
            table = Table(box=None, pad_edge=False)
            for column in ("client", "state", "status", "seconds", "why"):
                table.add_column(column, overflow="fold")
            for target in _interesting(store, command_id):
                name = names.setdefault(target.cid, host_of(store, target.cid))
                table.add_row(*map(Text, row(name, target)))
            over = sum(counts.get(state, 0) for state in FINAL_STATES)
            bar = ProgressBar(total=max(1, sum(counts.values())), completed=over, width=40)
            live.update(Group(bar, Text(progress(counts)), table))
    return counts


def _interesting(store: Store, command_id: str) -> Sequence[CommandTarget]:
    """A few clients: those at work, then those where it went wrong, then the rest."""
    found: list[CommandTarget] = []
    for states in (("started",), ("failed", "refused", "indeterminate"), ("done",), ("delivered",)):
        room = MOST_ROWS - len(found)
        if room > 0:
            found += store.targets(command_id, states=states, limit=room)
    return found


def row(name: str, target: CommandTarget) -> list[str]:
    """One client in a table."""
    result = target.result if isinstance(target.result, dict) else {}
    status, seconds = result.get("exit_status"), result.get("seconds")
    why = result.get("reason") or (result.get("stages") or [""])[-1]
    return [
        name,
        target.state,
        "" if status is None else str(status),
        "" if seconds is None else f"{seconds:.1f}",
        " ".join(str(why).split())[:200],
    ]


def failed(store: Store, command_id: str) -> Iterator[CommandTarget]:
    """The clients on which it ended otherwise than it should."""
    return all_targets(store, command_id, ("failed", "refused", "expired", "indeterminate"))
