"""GNOME and its relatives: GNOME Shell, Unity, Flashback, Budgie."""

from __future__ import annotations

from .gsettings import GSettings, Key
from .model import CannotTellError, Finding, disabled, enabled, unsure
from .place import Place

_SCREENSAVER = ("org.gnome.desktop.screensaver", "/org/gnome/desktop/screensaver/")
_SESSION = ("org.gnome.desktop.session", "/org/gnome/desktop/session/")
_LOCKDOWN = ("org.gnome.desktop.lockdown", "/org/gnome/desktop/lockdown/")

# gsettings-desktop-schemas: the types and defaults.
LOCK_ENABLED = Key(_SCREENSAVER[0], "lock-enabled", "b", True, _SCREENSAVER[1])
LOCK_DELAY = Key(_SCREENSAVER[0], "lock-delay", "u", 0, _SCREENSAVER[1], optional=True)
IDLE_ACTIVATION = Key(
    _SCREENSAVER[0], "idle-activation-enabled", "b", True, _SCREENSAVER[1], optional=True
)
IDLE_DELAY = Key(_SESSION[0], "idle-delay", "u", 300, _SESSION[1])
NO_LOCK_SCREEN = Key(_LOCKDOWN[0], "disable-lock-screen", "b", False, _LOCKDOWN[1], optional=True)


def judge(place: Place, locker: str, *, obeys_idle_activation: bool = False) -> Finding:
    """What the GNOME settings say. `idle-delay` 0 is never, and `lock-delay` comes on top.

    GNOME Shell and Unity do not look at idle-activation-enabled; gnome-screensaver and its
    child budgie-screensaver do (gs-monitor.c).
    """
    settings = GSettings(place)
    try:
        if not settings.boolean(LOCK_ENABLED):
            return disabled(locker, "lock-enabled is false", settings.seen)
        idle = settings.integer(IDLE_DELAY)
        if idle <= 0:
            return disabled(locker, "idle-delay is 0, which is never", settings.seen)
        delay = settings.integer(LOCK_DELAY)
        if settings.boolean(NO_LOCK_SCREEN):
            return disabled(locker, "disable-lock-screen is true", settings.seen)
        if obeys_idle_activation and not settings.boolean(IDLE_ACTIVATION):
            return disabled(locker, "idle-activation-enabled is false", settings.seen)
    except CannotTellError as error:
        return unsure(locker, str(error), settings.seen)
    return enabled(locker, idle + max(delay, 0), settings.seen)


def gnome_shell(place: Place) -> Finding:
    """GNOME Shell. It has a lock screen only where GDM runs (loginManager.js: canLock)."""
    finding = judge(place, "gnome-shell")
    service = place.session.service
    needs_gdm = finding.state == "enabled" and service and not service.startswith("gdm")
    if not needs_gdm or place.running_anywhere("gdm", "gdm3"):
        return finding
    reason = f"GNOME Shell locks only under GDM, and {service} opened this session"
    if place.all_in_sight:
        return disabled("gnome-shell", reason, finding.settings)
    return unsure("gnome-shell", reason, finding.settings)


def unity(place: Place) -> Finding:
    """Unity 7 has a lock screen of its own."""
    return judge(place, "unity")


def flashback(place: Place) -> Finding:
    """GNOME Flashback locks by itself, and has no need of GDM."""
    return judge(place, "gnome-flashback")


def screensaver_daemon(place: Place, locker: str) -> Finding:
    """gnome-screensaver and budgie-screensaver, where they run."""
    return judge(place, locker, obeys_idle_activation=True)
