"""Carries out one accepted command: looks at it once more, claims it, does it, notes the end.

Between the claim and the outcome lies everything that can't be undone. So all that can fail
harmlessly comes before: fetching, hashing, having room on the disk for the outcome.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TypeAlias

from qlmdm_core import commanddoc
from qlmdm_core.client.commands import payload, places, script
from qlmdm_core.client.commands.journal import STARTED, Entry, Journal, Outcome, clear, moment
from qlmdm_core.client.link import CANT_ASK
from qlmdm_core.commanddoc import Command, NotYetError, TooLateError
from qlmdm_core.errors import SpoolError, TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.interface import Verifier

RESERVE = "reserve"
RESERVE_BYTES = 64 << 10
"""Kept free for the outcome, beside the output, before anything is begun."""

Wipe: TypeAlias = Callable[["Worker", Entry], Outcome]
"""Carries out a wipe that was claimed, see `wiping.wipe`."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Everything that a command is carried out with."""

    journal: Journal
    state_path: str
    cid: str
    root: Root
    verifier: Verifier
    now: Callable[[], datetime]
    """The later of the clock and the latest time that the server has signed."""
    source: payload.Source
    wipe: Wipe
    tell: Callable[[Entry], None]
    """Tells the server at once what is news about a command; no harm done if it can't be."""

    def carry_out(self, entry: Entry) -> Outcome | None:
        """Carry out a command that nobody has claimed; None: it goes on waiting, see `problem`.

        Raises `SpoolError` if the journal can't be written: then nothing was begun, or what was
        begun will be called indeterminate.
        """
        try:
            command = self._sound(entry)
            if command.payload_sha256 is not None:
                payload.fetch(self.source, command, entry.payload)
            self._reserve(entry, command)
        except TooLateError as error:
            waited = self.journal.problem(entry)
            return self._not_begun(entry, "expired", f"{error}; {waited}" if waited else str(error))
        except (NotYetError, payload.NotFetchedError, *_CANT_YET) as error:
            self.journal.note_problem(entry, str(error))
            return None
        except TrustError as error:
            return self._not_begun(entry, "refused", str(error))
        except OSError as error:
            self.journal.note_problem(entry, f"{entry.path}: {error.strerror}")
            return None
        if not self.journal.claim(entry, STARTED):
            return None  # it was called off in this very moment
        outcome = self._do(command, entry)
        return end(self.journal, entry, outcome)

    def _sound(self, entry: Entry) -> Command:
        """The command, verified again: its operator may have been revoked since it came."""
        command = commanddoc.verify(self.journal.document(entry), self.root, self.verifier)
        if command.id != entry.id:
            raise TrustError("the journal holds another command under this id")
        commanddoc.check_acceptable(command, self.root, cid=self.cid, now=self.now())
        return command

    def _not_begun(self, entry: Entry, state: str, reason: str) -> Outcome | None:
        if not self.journal.claim(entry, state):
            return None
        return end(self.journal, entry, Outcome(state=state, result={"reason": reason}))

    def _reserve(self, entry: Entry, command: Command) -> None:
        """Take the room that the outcome will need: after a script has filled the disk there
        would be none, and nobody would learn how it ended."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(os.path.join(entry.path, RESERVE), flags, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES + 2 * command.output_max_bytes)
        finally:
            os.close(fd)

    def _do(self, command: Command, entry: Entry) -> Outcome:
        try:
            return self._by_kind(command, entry)
        except SpoolError as error:
            return Outcome(state="failed", result={"reason": str(error)})
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return Outcome(state="failed", result={"reason": f"{where}{error.strerror or error}"})

    def _by_kind(self, command: Command, entry: Entry) -> Outcome:
        if command.kind == "script":
            return self._run(command, entry)
        if command.kind == "file":
            places.put(self.state_path, command.path or "", entry.payload, command.mode)
            return Outcome(state="done", result={})
        if command.kind == "remove":
            was_there = places.remove(self.state_path, command.path or "")
            return Outcome(state="done", result={} if was_there else {"reason": "it was not there"})
        if command.kind == "cancel":
            return self._cancel(command)
        return self.wipe(self, entry)

    def _run(self, command: Command, entry: Entry) -> Outcome:
        if why := clear(entry.run_folder):
            return Outcome(state="failed", result={"reason": why})
        os.mkdir(entry.run_folder, 0o700)
        os.chmod(entry.payload, 0o700)  # for an interpreter that executes it (/usr/bin/env)
        ran = script.run(
            script.Job(
                script=entry.payload,
                interpreter=command.interpreter,
                folder=entry.run_folder,
                timeout=command.timeout_seconds,
                output_max=command.output_max_bytes,
            )
        )
        return Outcome(state="done" if ran.exit_status == 0 else "failed", result=asdict(ran))

    def _cancel(self, command: Command) -> Outcome:
        cancelled = command.cancels or ""
        if self.journal.call_off(cancelled, command.issued_at + commanddoc.MAX_LIFETIME):
            return Outcome(state="done", result={})
        try:
            entry = self.journal.entry(cancelled)
            called_off = self.journal.claim(entry, "cancelled")
        except SpoolError:  # it is past, or damaged: not to be carried out either way
            called_off = False
        if not called_off:
            return Outcome(state="failed", result={"reason": "it had begun, or was over"})
        end(self.journal, entry, Outcome(state="cancelled", result={}))
        self.tell(entry)
        return Outcome(state="done", result={})


def end(journal: Journal, entry: Entry, outcome: Outcome) -> Outcome:
    """Note how a command ended, and leave nothing of what it was done with."""
    if why := clear(entry.run_folder):
        outcome.result["reason"] = "; ".join(filter(None, (outcome.result.get("reason"), why)))
    for path in (entry.payload, os.path.join(entry.path, RESERVE)):
        with contextlib.suppress(OSError):
            os.unlink(path)
    try:
        journal.finish(entry, outcome)
    except SpoolError:
        # The disk is full in spite of everything: how it ended matters more than its words.
        bare = {name: outcome.result.get(name) for name in ("exit_status", "seconds", "reason")}
        journal.finish(entry, Outcome(state=outcome.state, result=bare))
    return outcome


_CANT_YET = tuple(kind for kind in CANT_ASK if kind is not TrustError)


def later(clock: float, server_at: float) -> datetime:
    """The time by which everything is judged: a clock that was set back gains nothing."""
    return moment(max(clock, server_at))
