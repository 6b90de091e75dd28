"""Tells the server what became of commands, until it says that it knows."""

from __future__ import annotations

from qlmdm_core import envelope
from qlmdm_core.api import JSON
from qlmdm_core.client.commands.journal import STARTED, Entry, Journal, Outcome
from qlmdm_core.client.commands.way import acknowledge
from qlmdm_core.client.link import Link, UnsignedAnswerError

TOO_LARGE = 413
SHORT = 2000
"""Characters of each stream that go where everything was too large for the server."""
KNOWN_ENOUGH = (envelope.OK, envelope.REPEATED, envelope.REFUSED, envelope.MALFORMED)
"""After these answers there is no point in saying it again."""


def tell(link: Link, journal: Journal, entry: Entry) -> bool:
    """Say what is news about a command; False if the server did not take it now.

    Raises what `Link.ask` does: the server can't be asked at all.
    """
    outcome = journal.outcome(entry)
    if outcome is not None:
        what = outcome.state
    elif journal.claimed(entry) == STARTED:
        stages = journal.stages(entry)
        what = f"{STARTED} {len(stages)}"
        outcome = Outcome(state=STARTED, result={"stages": stages} if stages else {})
    else:
        return True
    if journal.told(entry) == what:
        return True
    if not tell_outcome(link, entry.id, outcome):
        return False
    journal.note_told(entry, what)
    return True


def tell_outcome(link: Link, command_id: str, outcome: Outcome) -> bool:
    """Say it, in short if it is too long for the server; False: not taken now."""
    try:
        answer = acknowledge(link, command_id, outcome.state, outcome.result)
    except UnsignedAnswerError as error:
        if error.status != TOO_LARGE:
            raise
        answer = acknowledge(link, command_id, outcome.state, shortened(outcome.result))
    if answer.status == envelope.STALE:  # our clock was wrong; `ask` has corrected it
        answer = acknowledge(link, command_id, outcome.state, shortened(outcome.result))
    return answer.status in KNOWN_ENOUGH


def shortened(result: dict[str, JSON]) -> dict[str, JSON]:
    """A result with the ends of its output only."""
    short = dict(result)
    for name in ("stdout", "stderr"):
        text = short.get(name)
        if isinstance(text, str) and len(text) > SHORT:
            short[name] = "[...]\n" + text[-SHORT:]
            short["truncated"] = True
    return short
