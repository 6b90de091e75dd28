"""Carries out the commands of one lane, one after the other, and ends when none is left.

A process of its own, started by a cycle and outliving it: `main([STATE, LANE, SETTINGS])`. It
may be killed at any moment. The next one finds in the journal what was begun, and says so.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence

from qlmdm_core import settings
from qlmdm_core.api import JSON
from qlmdm_core.client import identity as identities
from qlmdm_core.client.commands import lanes, shipped
from qlmdm_core.client.commands.journal import STARTED, Entry, Journal, Outcome
from qlmdm_core.client.commands.telling import tell
from qlmdm_core.client.commands.way import SideLink, open_side_link
from qlmdm_core.client.commands.work import Worker, end, later
from qlmdm_core.client.link import CANT_ASK, load_link
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.errors import BusyError, QlmdmError, SpoolError

URGENT_TIMEOUT_SECONDS = 5.0
"""For each step of the network: a wipe does not wait for it."""
CUT_OFF = "it was begun, and cut off before its end was noted; it is not carried out again"


def main(argv: Sequence[str]) -> int:
    """The process."""
    state_path, lane, settings_file = argv
    os.umask(0o077)
    with contextlib.suppress(PermissionError):
        os.setsid()
    os.chdir("/")
    try:
        with State(state_path, create=False) as state, lanes.held(state_path, lane):
            run_lane(state, lane, settings_file)
    except BusyError:
        return BusyError.exit_status
    except QlmdmError as error:
        _say(str(error))
        return error.exit_status
    return 0


def run_lane(state: State, lane: str, settings_file: str) -> None:
    """Do what waits in a lane. The caller holds its lock."""
    core = settings.load(settings_file, ClientSettings).core
    journal = Journal(state.path)
    link = open_side_link(
        state, core, timeout=URGENT_TIMEOUT_SECONDS if lane == lanes.URGENT else None
    )
    try:
        _recover(journal, lane, link)
        if lane == lanes.WORK:
            shipped.run_all(state.path, os.environ, _say)
        _carry_out_all(state, journal, lane, link)
    finally:
        link.close(state)


def _worker(state: State, journal: Journal, link: SideLink) -> Worker:
    """By the root document and the time of now: this process may have waited for a day until
    another command was over, and cycles went on meanwhile."""
    heard_at = load_link(state).server_at

    def wipe(worker: Worker, entry: Entry) -> Outcome:
        from qlmdm_core.client.commands import wiping  # loaded for a wipe only

        return wiping.wipe(worker, entry)

    return Worker(
        journal=journal,
        state_path=state.path,
        cid=link.cid,
        root=identities.load_root(state),
        verifier=identities.verifier(),
        now=lambda: later(time.time(), max(heard_at, link.memory.server_at)),
        source=link,
        wipe=wipe,
        tell=lambda entry: _tell(link, journal, entry),
    )


def _in_lane(journal: Journal, lane: str) -> list[Entry]:
    found = [entry for entry in journal.entries() if lanes.lane_of(entry.kind) == lane]
    return sorted(found, key=lambda entry: entry.kind != "cancel")  # stable: those come first


def _recover(journal: Journal, lane: str, link: SideLink) -> None:
    """What was begun and has no end: whoever began it is dead, since we hold the lane's lock."""
    for entry in _in_lane(journal, lane):
        with _alone(entry):
            claim = journal.claimed(entry)
            if claim is None or journal.outcome(entry) is not None:
                continue
            state = "indeterminate" if claim == STARTED else claim
            result: dict[str, JSON] = {"reason": CUT_OFF} if claim == STARTED else {}
            if stages := journal.stages(entry):
                result["stages"] = stages
            end(journal, entry, Outcome(state=state, result=result))
            _tell(link, journal, entry)


def _carry_out_all(state: State, journal: Journal, lane: str, link: SideLink) -> None:
    """Each once in this process; what can't be done now is left to the next runner."""
    tried: set[str] = set()
    while True:
        waiting = [e for e in _in_lane(journal, lane) if e.id not in tried]
        if not waiting:
            return
        entry = waiting[0]
        tried.add(entry.id)
        with _alone(entry):
            if journal.outcome(entry) is not None:
                continue
            if _worker(state, journal, link).carry_out(entry) is not None:
                _tell(link, journal, entry)


def _tell(link: SideLink, journal: Journal, entry: Entry) -> None:
    """At once, if the network is there; else a cycle will."""
    with contextlib.suppress(*CANT_ASK, SpoolError):
        tell(link, journal, entry)


@contextlib.contextmanager
def _alone(entry: Entry) -> Iterator[None]:
    """What goes wrong with one command holds up no other."""
    try:
        yield
    except (SpoolError, OSError) as error:
        _say(f"{entry.id}: {error}")


def _say(text: str) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stderr.write(f"{at} {text}\n")
