"""How a command moves on at one client, and what may be queued: pure rules, for all engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias

from qlmdm_core.errors import StoreError
from qlmdm_core.store.outgoing import FINAL_STATES, STATE_RANK, CommandPart

UNSTARTED = ("pending", "delivered")
"""The states of a target that was not begun: it may still expire."""

Step: TypeAlias = Literal["moves", "tells", "stays"]


def rank(state: str) -> int:
    """How far a state is. Raises `StoreError` for a state that is none: it counts as nothing."""
    if state in FINAL_STATES:
        return 3
    if state not in STATE_RANK:
        raise StoreError(f"{state!r} is no state of a command")
    return STATE_RANK[state]


def step(present: str, wanted: str, *, has_result: bool) -> Step:
    """What a client's word does to its target: it moves it, it only tells more, or nothing.

    Who said "started" may say it again with another result: the stages of a wipe.
    """
    if rank(wanted) > rank(present):
        return "moves"
    return "tells" if present == wanted == "started" and has_result else "stays"


def time_of(state: str) -> str:
    """The name of the time that is set when a target comes to this state."""
    return "finished_at" if state in FINAL_STATES else f"{state}_at"


def require_distinct(parts: Sequence[CommandPart]) -> None:
    """Raise `StoreError` if a client, or a part's number, is there twice."""
    numbers = Counter(part.part for part in parts)
    hosts = Counter(cid for part in parts for cid in part.hosts)
    for what, counted in (("part", numbers), ("client", hosts)):
        twice = next((found for found, count in counted.items() if count > 1), None)
        if twice is not None:
            raise StoreError(f"{what} {twice} is in the command twice; nothing was queued")
