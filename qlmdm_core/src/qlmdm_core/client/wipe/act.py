"""Carries out a wipe that `power` was given for: `carry_out(command, plan, power, …)`.

The caller has journaled the command as started. Each stage is reported as it is reached, before
the next begins; the report before the machine goes off is the last that it sends.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal, Protocol

from qlmdm_core.client.wipe import match, methods
from qlmdm_core.client.wipe.hands import Hands
from qlmdm_core.client.wipe.plan import Plan
from qlmdm_core.client.wipe.power import NoPowerError, Power
from qlmdm_core.commanddoc import Command

MAX_STAGES = 64
MAX_STAGE_CHARACTERS = 1000


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it: the acknowledgement's state, reason and stages."""

    state: Literal["done", "failed"]
    reason: str
    stages: tuple[str, ...]


class Reporter(Protocol):
    """Where it is told. Each call journals first, then tries to send, and returns within
    seconds whether the network is there or not; neither raises for the network's sake."""

    def started(self, stages: tuple[str, ...]) -> None:
        """It has begun, and got so far. Raises if that could not be journaled."""

    def finished(self, outcome: Outcome) -> None:
        """It is over; the machine may go off right after."""


def carry_out(
    command: Command,
    plan: Plan,
    power: Power,
    reporter: Reporter,
    *,
    cid: str,
    dry_run: bool = False,
) -> Outcome:
    """Wipe this machine as ordered. Raises `NoPowerError` if it is not the one that is meant."""
    order = command.wipe
    if order is None or (reasons := match.refusals(command, plan, cid=cid)):
        raise NoPowerError("; ".join(reasons) if order is not None else "the command is no wipe")
    hands = Hands(power, dry_run=dry_run)
    stages: list[str] = []

    def say(stage: str) -> None:
        if len(stages) < MAX_STAGES:
            stages.append(stage[:MAX_STAGE_CHARACTERS])
        # What has begun is not stopped half-way because it can't be told (a full disk, say).
        with contextlib.suppress(Exception):
            reporter.started(tuple(stages))

    stages.append(
        f"this is the machine that was signed{' (dry run)' if dry_run else ''}: {_told(plan)}"
    )
    reporter.started(tuple(stages))  # if this can't be journaled, nothing is done
    if order.method == "accounts":
        whole = methods.accounts(hands, plan, say)
        reason = "" if whole else "something is left: see the stages"
        outcome = Outcome(state="done" if whole else "failed", reason=reason, stages=tuple(stages))
        reporter.finished(outcome)
        return outcome
    erased = methods.erase(hands, plan, say)
    if erased is None:
        outcome = Outcome(
            state="failed", reason="no LUKS header could be erased", stages=tuple(stages)
        )
        reporter.finished(outcome)
        return outcome
    outcome = Outcome(
        state="done" if erased else "failed",
        reason="" if erased else "some LUKS headers could not be erased",
        stages=(*stages, "switching off"),
    )
    try:
        reporter.finished(outcome)
    finally:  # whatever happens to the report
        hands.switch_off()
    return outcome


def _told(plan: Plan) -> str:
    """What is here besides what was signed: it holds nothing up."""
    accounts = ", ".join(f"{a.name} ({a.home})" for a in plan.accounts) or "none"
    parts = [f"accounts {accounts}"]
    for what, found in (
        ("homes of others", plan.other_homes),
        ("disks left alone", plan.left_alone),
        ("homes in the network, left alone", plan.network_homes),
        ("not encrypted", plan.not_encrypted),
    ):
        if found:
            parts.append(f"{what}: {', '.join(found)}")
    return "; ".join(parts)
