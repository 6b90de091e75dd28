"""Judges graphical sessions: that each locks by itself in time, and that no guest gets in.

A session passes only if it showed a lock and the seconds until then: a value that does not
say so, or contradicts itself, never passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.units import say_duration
from qlmdm_plugins_builtin.checks._values import not_understood, objects, text_in
from qlmdm_plugins_builtin.checks.session_mends import DESKTOPS, mend_guest, mend_lock
from qlmdm_plugins_builtin.policy import Policy

_NAMED = 2
"""So many sessions are named in a message; the evidence has up to ten."""
_SHOWN = 10


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    return [
        AuditCheck(
            name="screenlock-disabled",
            needs=("screenlock",),
            judge=partial(judge_screenlock, settings.screenlock_max_delay),
            help="The screen of everybody who is logged in locks by itself after "
            f"{say_duration(settings.screenlock_max_delay)} without input at the latest. If one "
            "does not: turn the lock on in the desktop's settings; under a window manager, run "
            "a locker such as swayidle, hypridle or xss-lock.",
        ),
        AuditCheck(
            name="guest-session-enabled",
            needs=("guest_session",),
            judge=judge_guest_session,
            help="Nobody can open a session without an account. If guests get in: set "
            "allow-guest=false under [Seat:*] in LightDM's configuration; remove the package "
            "xguest.",
        ),
    ]


# --- screenlock -----------------------------------------------------------------------------


def judge_screenlock(max_delay: float, client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether all sessions lock in time. The first row that fits decides.

    | what was reported                                           | verdict             |
    |-------------------------------------------------------------|---------------------|
    | no object, or a state that is none of the four              | unknown             |
    | a session is disabled, whatever the state                   | fail                |
    | a session's delay is longer than allowed, whatever the state| fail                |
    | state disabled                                              | fail                |
    | state unknown                                               | unknown, its reason |
    | state no_graphical_session, without sessions                | pass                |
    | state enabled, each session enabled with a delay in time    | pass                |
    | anything else: no sessions, one unknown, a delay missing    | unknown             |
    """
    value = client.report["screenlock"].get("value")
    states = ("enabled", "disabled", "no_graphical_session", "unknown")
    if not isinstance(value, dict) or value.get("state") not in states:
        return not_understood("screenlock")
    sessions = objects(value.get("sessions"))
    bad = [session for session in sessions if _is_bad(session, max_delay)]
    if bad or value["state"] == "disabled":
        return _unlocked(bad, max_delay)
    if value["state"] == "unknown":
        message = text_in(value, "reason") or "no reason was reported"
        return Verdict(state="unknown", message=message, evidence=_evidence(sessions))
    if value["state"] == "no_graphical_session" and not sessions:
        return PASS
    if value["state"] == "enabled" and sessions and all(map(_is_good, sessions)):
        return PASS
    message = f"screenlock is reported as {value['state']}, but not each of the sessions"
    return Verdict(state="unknown", message=message, evidence=_evidence(sessions))


def _delay(session: Mapping[str, JSON]) -> int | float | None:
    delay = session.get("delay")
    return delay if isinstance(delay, int | float) and not isinstance(delay, bool) else None


def _is_bad(session: Mapping[str, JSON], max_delay: float) -> bool:
    delay = _delay(session)
    return session.get("state") == "disabled" or (delay is not None and delay > max_delay)


def _is_good(session: Mapping[str, JSON]) -> bool:
    delay = _delay(session)
    return session.get("state") == "enabled" and delay is not None and delay >= 0


def _unlocked(bad: Sequence[Mapping[str, JSON]], max_delay: float) -> Verdict:
    said = [_say(session, max_delay) for session in bad[:_NAMED]]
    if len(bad) > _NAMED:
        said.append(f"So it is with {len(bad) - _NAMED} more sessions")
    return Verdict(
        state="fail",
        message=". ".join(said) or "the screen does not lock by itself",
        evidence=_evidence(bad),
    )


def _say(session: Mapping[str, JSON], max_delay: float) -> str:
    """One session: whose, what is wrong, and what to type."""
    user = text_in(session, "user") or "somebody"
    desktop = text_in(session, "desktop")
    whose = f"{user}'s {DESKTOPS.get(desktop, desktop) or 'graphical'} session"
    delay = _delay(session)
    if session.get("state") == "disabled" or delay is None:
        reason = text_in(session, "reason")
        wrong = "never locks by itself" + (f" ({reason})" if reason else "")
    else:
        wrong = f"locks after {_say_delay(delay)}, and {_say_delay(max_delay)} is allowed"
    mend = mend_lock(session, max_delay)
    return f"{whose} {wrong}" + (f". As {user}: {mend}" if mend else "")


def _say_delay(seconds: float) -> str:
    """Exact, where a rounded duration would hide the difference."""
    whole = seconds % 60 == 0 and (seconds < 3600 or seconds % 3600 == 0)
    return say_duration(seconds) if whole else f"{seconds:.0f} seconds"


def _evidence(sessions: Sequence[Mapping[str, JSON]]) -> JSON:
    keys = ("user", "desktop", "locker", "state", "delay", "reason", "settings")
    shown = [{key: s[key] for key in keys if key in s} for s in sessions[:_SHOWN]]
    return {"sessions": shown, "count": len(sessions)}


# --- guest_session --------------------------------------------------------------------------


def judge_guest_session(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether nobody gets in without an account. An automatic login is not judged here.

    | what was reported                                | verdict             |
    |--------------------------------------------------|---------------------|
    | no object, or a state that is none of the three  | unknown             |
    | state enabled                                    | fail                |
    | state unknown                                    | unknown, its reason |
    | state disabled                                   | pass                |
    """
    value = client.report["guest_session"].get("value")
    if not isinstance(value, dict) or value.get("state") not in ("enabled", "disabled", "unknown"):
        return not_understood("guest_session")
    keys = ("display_manager", "found_by", "guest_account", "guest_account_script", "seats")
    evidence = {key: value[key] for key in keys if key in value}
    if value["state"] == "enabled":
        return Verdict(state="fail", message=mend_guest(value), evidence=evidence)
    if value["state"] == "unknown":
        reason = text_in(value, "reason") or "no reason was reported"
        return Verdict(state="unknown", message=reason, evidence=evidence)
    return PASS
