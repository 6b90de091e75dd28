"""Hands a wipe that was claimed over to `client.wipe`, and what it says to journal and server."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass

from qlmdm_core.client.commands.journal import Entry, Outcome
from qlmdm_core.client.commands.work import Worker
from qlmdm_core.client.wipe import act, power
from qlmdm_core.errors import SpoolError, TrustError
from qlmdm_core.host.real import RealHost


@dataclass(frozen=True, kw_only=True)
class Reporter:
    """`act.Reporter`: first the journal, then the server."""

    worker: Worker
    entry: Entry

    def started(self, stages: tuple[str, ...]) -> None:
        """It has begun, and got so far. Raises `SpoolError` if that could not be journaled."""
        self.worker.journal.note_stages(self.entry, stages)
        self.worker.tell(self.entry)

    def finished(self, outcome: act.Outcome) -> None:
        """It is over; the machine may go off right after."""
        with contextlib.suppress(SpoolError):  # what it is written on may have been wiped
            self.worker.journal.finish(self.entry, as_outcome(outcome))
        self.worker.tell(self.entry)


def wipe(worker: Worker, entry: Entry) -> Outcome:
    """Wipe this machine, if `client.wipe` finds that everything is as it was signed."""
    try:
        given, command, plan = power.from_order(
            worker.journal.document(entry),
            root=worker.root,
            verifier=worker.verifier,
            cid=worker.cid,
            now=worker.now(),
            journal=worker.journal,
            host=RealHost(),
            environ=os.environ,
        )
        reporter = Reporter(worker=worker, entry=entry)
        return as_outcome(act.carry_out(command, plan, given, reporter, cid=worker.cid))
    except (TrustError, power.NoPowerError) as error:
        return Outcome(state="refused", result={"reason": str(error)})


def as_outcome(outcome: act.Outcome) -> Outcome:
    """As the journal has it."""
    result = {**asdict(outcome), "stages": list(outcome.stages)}
    return Outcome(state=result.pop("state"), result=result)
