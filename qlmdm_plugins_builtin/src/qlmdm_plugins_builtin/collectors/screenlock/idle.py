"""Judges idle daemons: programs that run commands after some time without input.

swayidle, hypridle, xautolock and xidlehook differ in how they are told, not in what follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qlmdm_core import JSON

from .commands import Effect
from .model import Finding, disabled, enabled, unsure

SHOWN = 20
"""So many rules are given as evidence."""


@dataclass(frozen=True)
class Rule:
    """After `seconds` without input, run `command`."""

    seconds: int
    command: str
    effect: Effect


@dataclass(frozen=True, kw_only=True)
class IdleDaemon:
    """What one running idle daemon has been told."""

    name: str
    rules: Sequence[Rule] = ()
    on_lock_signal: Effect = Effect.NOTHING
    """What it does when logind asks to lock the session."""
    doubt: str = ""
    """Why it may have been told more than this."""
    settings: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True)
class Listeners:
    """What follows in this session when something else asks for a lock."""

    lock_signal: Effect = Effect.NOTHING
    """The best answer to logind's signal that any program gives."""
    screen_saver: Effect = Effect.NOTHING
    """What follows when the X screen saver is started."""


def judge(daemon: IdleDaemon, listeners: Listeners) -> Finding:
    """When the first of its rules that locks does so.

    A lock that we can vouch for is preferred to an earlier one that we can't.
    """
    effects = [(rule, _in_the_end(rule.effect, listeners)) for rule in daemon.rules]
    told: JSON = [{"seconds": r.seconds, "command": r.command[:200]} for r in daemon.rules[:SHOWN]]
    settings = {**daemon.settings, "timeouts": told}
    for wanted in (Effect.LOCKS, Effect.LOCKS_UNVERIFIED):
        delays = [rule.seconds for rule, effect in effects if effect == wanted]
        if delays:
            return enabled(daemon.name, min(delays), settings, verified=wanted == Effect.LOCKS)
    if daemon.doubt:
        return unsure(daemon.name, daemon.doubt, settings)
    strange = [rule.command for rule, effect in effects if effect == Effect.UNKNOWN]
    if strange:
        return unsure(
            daemon.name, f"it can't be told whether {strange[0][:80]!r} locks the screen", settings
        )
    if any(rule.effect == Effect.SIGNALS for rule in daemon.rules):
        reason = f"{daemon.name} asks logind to lock, and nothing in the session listens"
    else:
        reason = f"{daemon.name} runs, but nothing that it is told to do locks the screen"
    return disabled(daemon.name, reason, settings)


def _in_the_end(effect: Effect, listeners: Listeners) -> Effect:
    """The effect with what it sets off."""
    if effect == Effect.SIGNALS:
        return listeners.lock_signal
    if effect == Effect.ACTIVATES:
        return listeners.screen_saver
    return effect
