"""Whether the screens of this machine lock by themselves, for everybody who is logged in.

Each graphical session is asked for itself, as its user and in its environment: which locker
is in charge, and after how many seconds of idleness it wants a password. All sessions must
lock for the machine's state to be `enabled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qlmdm_core import JSON, Host, Process, unknown

from .desktops import PROCESSES, desktop_of
from .model import Finding, Session
from .patience import Patience
from .place import Place
from .sessions import find_sessions

if TYPE_CHECKING:
    from . import lockers

__all__ = ["collect"]


def collect(host: Host) -> JSON:
    """The value of the collector `screenlock`.

    `state` is `disabled` if a session never locks, `unknown` if one can't be judged,
    `no_graphical_session` if nobody is logged in graphically. `delay_seconds` is the longest
    of all, where all lock. Delays of `sessions` are seconds, too.
    """
    processes = host.processes()
    patience = Patience(host)
    found = find_sessions(host, processes, patience)
    if found.reason:
        return unknown(found.reason, delay_seconds=None, sessions=[])
    if not found.sessions:
        return {"state": "no_graphical_session", "delay_seconds": None, "sessions": []}
    judged = [(session, *_judge(host, session, processes, patience)) for session in found.sessions]
    findings = [verdict.finding for _, _, verdict in judged]
    sessions = [_told(*entry) for entry in judged]
    worst = [finding for finding in findings if finding.state != "enabled"]
    if not worst:
        longest = max(finding.delay or 0 for finding in findings)
        return {"state": "enabled", "delay_seconds": longest, "sessions": sessions}
    if any(finding.state == "disabled" for finding in worst):
        return {"state": "disabled", "delay_seconds": None, "sessions": sessions}
    return unknown(_reason(sessions), delay_seconds=None, sessions=sessions)


def _judge(
    host: Host, session: Session, processes: Sequence[Process], patience: Patience
) -> tuple[str | None, lockers.Verdict]:
    from . import lockers  # half of what this package holds: not needed while nobody is logged in

    desktop = desktop_of(Place(host, session, processes))
    # The programs of the desktop have the environment in which its settings are read.
    first = [name for known, names in PROCESSES if known == desktop for name in names]
    place = Place(host, session, processes, first=first, patience=patience)
    return desktop, lockers.judge(place, desktop)


def _told(session: Session, desktop: str | None, verdict: lockers.Verdict) -> dict[str, JSON]:
    """One session, as it is reported."""
    finding = verdict.finding
    told: dict[str, JSON] = {
        "user": session.user,
        "session": session.id or None,
        "type": session.type or None,
        "desktop": desktop,
        "locker": finding.locker,
        "state": finding.state,
        "delay": finding.delay,
        "verified": finding.verified,
        "settings": dict(finding.settings),
    }
    if finding.reason:
        told["reason"] = finding.reason
    if verdict.others:
        told["others"] = [_other(other) for other in verdict.others]
    return told


def _other(finding: Finding) -> dict[str, JSON]:
    told: dict[str, JSON] = {"locker": finding.locker, "state": finding.state}
    if finding.delay is not None:
        told["delay"] = finding.delay
    if finding.reason:
        told["reason"] = finding.reason
    return told


def _reason(sessions: Sequence[dict[str, JSON]]) -> str:
    """One clause for all sessions that can't be judged. It names nobody: names may be private."""
    unsure = [session for session in sessions if session["state"] == "unknown"]
    reasons = dict.fromkeys(
        f"session {session['session'] or 'of a user'}: {session.get('reason', '')}"
        for session in unsure
    )
    more = len(reasons) - 1
    return next(iter(reasons)) + (f" (and {more} more)" if more > 0 else "")
