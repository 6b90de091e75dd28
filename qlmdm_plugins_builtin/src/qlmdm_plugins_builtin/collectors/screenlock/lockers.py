"""Which lockers are in charge of a session, and what comes of them together.

A desktop may lock by itself (GNOME, Plasma) or rely on a program beside it; that program
counts only while it runs. If several are at work, the session is locked by the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core import Process

from . import gnome, x11
from .commands import SHELLS, Effect
from .desktops import BARE
from .idle import IdleDaemon, Listeners
from .idle import judge as judge_idle
from .kde import kde
from .mate import cinnamon, mate
from .model import Finding, disabled, unsure
from .place import Place
from .wayland import hypridle, swayidle
from .xfce import CHANNEL as XFCE_SCREENSAVER
from .xfce import xfce4_screensaver
from .xscreensaver import daemon_answers, xscreensaver

Reader = Callable[[Place], Finding]

BUILT_IN: Mapping[str, Reader] = {
    "gnome": gnome.gnome_shell,
    "gnome-flashback": gnome.flashback,
    "unity": gnome.unity,
    "kde": kde,
}
"""Desktops that lock by themselves."""

SCREEN_SAVERS: Mapping[str, Reader] = {
    "budgie-screensaver": lambda place: gnome.screensaver_daemon(place, "budgie-screensaver"),
    "cinnamon-screensaver": cinnamon,
    "gnome-screensaver": lambda place: gnome.screensaver_daemon(place, "gnome-screensaver"),
    "mate-screensaver": mate,
    XFCE_SCREENSAVER: xfce4_screensaver,
    "xscreensaver": xscreensaver,
}
"""Programs that lock on their own settings while they run."""

ITS_SCREEN_SAVER: Mapping[str, str] = {
    "budgie": "budgie-screensaver",
    "cinnamon": "cinnamon-screensaver",
    "mate": "mate-screensaver",
    "xfce": XFCE_SCREENSAVER,
}
"""The program that a desktop brings along for this."""

IDLE_DAEMONS: Mapping[str, Callable[[Place, Process], IdleDaemon]] = {
    "hypridle": hypridle,
    "swayidle": swayidle,
    "xautolock": x11.xautolock,
    "xidlehook": x11.xidlehook,
}

STRANGERS = (*sorted(SHELLS), "cosmic-idle", "dde-lock", "stasis", "ukui-screensaver", "wayidle")
"""Programs that may lock, whose settings nobody here reads."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What holds for the whole session."""

    finding: Finding
    others: Sequence[Finding] = ()
    """The lockers that did not decide."""


def judge(place: Place, desktop: str | None) -> Verdict:
    """When the session locks by itself, whatever does it."""
    findings = _running(place, desktop)
    own = _own(place, desktop, findings)
    if own is not None:
        findings.insert(0, own)
    return combine(findings)


def combine(findings: Sequence[Finding]) -> Verdict:
    """One lock that works is enough; without one, a doubt outweighs a certain no.

    A lock that we can vouch for is preferred to an earlier one that we can't.
    """

    def rank(finding: Finding) -> tuple[int, bool, int]:
        order = {"enabled": 0, "unknown": 1, "disabled": 2}
        return order[finding.state], not finding.verified, finding.delay or 0

    chosen = min(findings, key=rank)
    return Verdict(
        finding=chosen, others=tuple(finding for finding in findings if finding is not chosen)
    )


# --- what runs ------------------------------------------------------------------------------


def _running(place: Place, desktop: str | None) -> list[Finding]:
    """The findings of all lockers that run in the session."""
    findings = [
        read(place)
        for name, read in SCREEN_SAVERS.items()
        if name != "xscreensaver" and place.running(name)
    ]
    found_x11 = _x11(place)
    daemons = _idle_daemons(place)
    listeners = _listeners(place, desktop, found_x11, daemons)
    findings += [finding for _, finding in found_x11]
    findings += [judge_idle(daemon, listeners) for daemon in daemons]
    strangers = [name for name in STRANGERS if place.running(name)]
    if strangers:
        findings.append(unsure(strangers[0], f"{strangers[0]} may lock; its settings are not read"))
    if place.session.type == "wayland":
        findings = [_blind_to_wayland(finding) for finding in findings]
    return findings


def _x11(place: Place) -> list[tuple[Effect, Finding]]:
    """X11's lockers, with what each does when the X screen saver is started or logind asks."""
    found: list[tuple[Effect, Finding]] = []
    for process in place.running("light-locker")[:1]:
        found.append((Effect.LOCKS, x11.light_locker(place, process)))
    for process in place.running("xss-lock")[:1]:
        told = x11.xss_lock(place, process)
        found.append((told.effect, x11.judge_xss_lock(place, told)))
    if place.running("xscreensaver") or (not place.processes and daemon_answers(place)):
        found.append((Effect.NOTHING, xscreensaver(place)))
    return found


def _idle_daemons(place: Place) -> list[IdleDaemon]:
    return [
        read(place, process)
        for name, read in IDLE_DAEMONS.items()
        for process in place.running(name)[:4]
    ]


def _listeners(
    place: Place,
    desktop: str | None,
    found_x11: Sequence[tuple[Effect, Finding]],
    daemons: Sequence[IdleDaemon],
) -> Listeners:
    """What follows when an idle daemon asks others to lock."""
    sees_input = place.session.type != "wayland"
    by_x11 = [effect for effect, _ in found_x11] if sees_input else []
    answers = [*by_x11, *(daemon.on_lock_signal for daemon in daemons)]
    if desktop in BUILT_IN:
        answers.append(Effect.LOCKS)
    if any(place.running(name) for name in STRANGERS):
        answers.append(Effect.UNKNOWN)
    # To answer the signal by asking others again is no answer.
    final = [answer for answer in answers if answer not in (Effect.SIGNALS, Effect.ACTIVATES)]
    return Listeners(
        lock_signal=max(final, default=Effect.NOTHING),
        screen_saver=max(by_x11, default=Effect.NOTHING),
    )


def _blind_to_wayland(finding: Finding) -> Finding:
    if finding.locker not in x11.PROGRAMS or finding.state != "enabled":
        return finding
    reason = f"{finding.locker} sees X11 programs alone, and this is a Wayland session"
    return unsure(finding.locker, reason, finding.settings)


# --- the desktop itself ---------------------------------------------------------------------


def _own(place: Place, desktop: str | None, running: Sequence[Finding]) -> Finding | None:
    """What the desktop does without help; None where what runs says all."""
    built_in = BUILT_IN.get(desktop or "")
    if built_in is not None:
        return built_in(place)
    brought = ITS_SCREEN_SAVER.get(desktop or "")
    if brought is not None:
        return None if running else _without_its_screen_saver(place, desktop or "", brought)
    if desktop in BARE:
        return None if running else _nothing_runs(place, desktop or "")
    what = f"the desktop {desktop}" if desktop else "the desktop of this session"
    return unsure(None, f"there is no reader for {what}")


def _without_its_screen_saver(place: Place, desktop: str, brought: str) -> Finding:
    """A desktop whose screen saver was not seen running."""
    reason = f"{brought} does not run, nor another locker"
    # Cinnamon 6.7 and Budgie 10.10 lock by other means, which nobody here reads.
    if place.all_in_sight and place.processes and desktop in ("mate", "xfce"):
        return disabled(brought, reason, {})
    told = SCREEN_SAVERS[brought](place)
    if told.state == "disabled" and not place.hides_processes:
        return told  # It does not lock when it runs, either.
    # Root sees process 1; a list without it is a part of one, as somebody wrote it down.
    in_part = place.host.is_root and not place.all_in_sight
    if (not place.processes or in_part) and desktop in ("budgie", "cinnamon", "mate"):
        # What was not seen may run: the desktop starts its own by default.
        return told
    return unsure(brought, reason if place.processes else f"can't see whether {brought} runs")


def _nothing_runs(place: Place, desktop: str) -> Finding:
    """A window manager or compositor, and no locker beside it."""
    if place.all_in_sight and place.processes:
        return disabled(None, f"nothing runs beside {desktop} that locks the screen", {})
    return unsure(None, f"{desktop} does not lock by itself, and not all processes are in sight")
