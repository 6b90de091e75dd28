"""After each poll: the server is told what is news, what is over is put away, runners started."""

from __future__ import annotations

import os
import sys
import time

from qlmdm_core.client.commands import lanes, shipped
from qlmdm_core.client.commands.journal import Entry, Journal
from qlmdm_core.client.commands.telling import tell
from qlmdm_core.client.link import CANT_ASK, Link
from qlmdm_core.errors import QlmdmError, SpoolError


def tend(link: Link, state_path: str, settings_file: str) -> None:
    """Do all of it. Raises nothing that this package knows: the cycle goes on."""
    journal = Journal(state_path)
    try:
        os.makedirs(journal.path, mode=0o700, exist_ok=True)
        entries = journal.entries()
        unfinished = [entry for entry in entries if journal.outcome(entry) is None]
        wanted = {lanes.lane_of(entry.kind) for entry in unfinished}
        if shipped.waiting(state_path, os.environ):
            wanted.add(lanes.WORK)
        for lane in lanes.LANES:
            if lane in wanted and lanes.is_free(state_path, lane):
                lanes.start(state_path, lane, settings_file)
        _tell_all(link, journal, entries)
        # By both clocks: neither who sets this one, nor who has the server's key, is enough.
        journal.forget(min(link.memory.server_at, time.time()))
    except (QlmdmError, OSError) as error:
        sys.stderr.write(f"qlmdm: commands: {error}\n")


def _tell_all(link: Link, journal: Journal, entries: list[Entry]) -> None:
    for entry in entries:
        try:
            if tell(link, journal, entry) and journal.outcome(entry) is not None:
                journal.retire(entry)
        except SpoolError:  # its runner has just retired it, or its disk is broken: not the others'
            continue
        except CANT_ASK:
            return  # the next cycle tries again, for as long as it takes
