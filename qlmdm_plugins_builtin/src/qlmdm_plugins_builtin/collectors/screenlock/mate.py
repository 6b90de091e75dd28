"""MATE and Cinnamon, whose screen savers are relatives of gnome-screensaver."""

from __future__ import annotations

from .commands import Effect, effect
from .gsettings import GSettings, Key
from .model import CannotTellError, Finding, disabled, enabled, unsure
from .place import Place

LONGEST_MINUTES = 480
"""mate-screensaver cuts its delays there (gs-prefs.c)."""

_MATE = "org.mate.screensaver"
MATE_LOCK = Key(_MATE, "lock-enabled", "b", True, "/org/mate/screensaver/")
MATE_ACTIVATION = Key(_MATE, "idle-activation-enabled", "b", True, "/org/mate/screensaver/")
MATE_LOCK_DELAY = Key(_MATE, "lock-delay", "i", 0, "/org/mate/screensaver/", optional=True)
# The schema is org.mate.session, its path is /org/mate/desktop/session/.
MATE_IDLE_DELAY = Key("org.mate.session", "idle-delay", "i", 5, "/org/mate/desktop/session/")
MATE_NO_LOCK = Key(
    "org.mate.lockdown", "disable-lock-screen", "b", False, "/org/mate/desktop/lockdown/",
    optional=True,
)  # fmt: skip

_CINNAMON = "org.cinnamon.desktop.screensaver"
_CINNAMON_PATH = "/org/cinnamon/desktop/screensaver/"
CINNAMON_LOCK = Key(_CINNAMON, "lock-enabled", "b", True, _CINNAMON_PATH)
CINNAMON_LOCK_DELAY = Key(_CINNAMON, "lock-delay", "u", 0, _CINNAMON_PATH, optional=True)
CINNAMON_CUSTOM = Key(
    _CINNAMON, "custom-screensaver-command", "s", "", _CINNAMON_PATH, optional=True
)
CINNAMON_IDLE_DELAY = Key(
    "org.cinnamon.desktop.session", "idle-delay", "u", 900, "/org/cinnamon/desktop/session/"
)
CINNAMON_NO_LOCK = Key(
    "org.cinnamon.desktop.lockdown", "disable-lock-screen", "b", False,
    "/org/cinnamon/desktop/lockdown/", optional=True,
)  # fmt: skip


def mate(place: Place) -> Finding:
    """MATE. All delays are minutes."""
    locker = "mate-screensaver"
    settings = GSettings(place)
    try:
        if not settings.boolean(MATE_LOCK):
            return disabled(locker, "lock-enabled is false", settings.seen)
        if not settings.boolean(MATE_ACTIVATION):
            return disabled(locker, "idle-activation-enabled is false", settings.seen)
        idle = settings.integer(MATE_IDLE_DELAY)
        if idle <= 0:
            return disabled(locker, "idle-delay is 0, which is never", settings.seen)
        delay = min(max(settings.integer(MATE_LOCK_DELAY), 0), LONGEST_MINUTES)
        if settings.boolean(MATE_NO_LOCK):
            return disabled(locker, "disable-lock-screen is true", settings.seen)
    except CannotTellError as error:
        return unsure(locker, str(error), settings.seen)
    return enabled(locker, 60 * (idle + delay), settings.seen)


def cinnamon(place: Place) -> Finding:
    """Cinnamon. All delays are seconds. The GNOME keys of the same user do not matter."""
    locker = "cinnamon-screensaver"
    settings = GSettings(place)
    try:
        if not settings.boolean(CINNAMON_LOCK):
            return disabled(locker, "lock-enabled is false", settings.seen)
        idle = settings.integer(CINNAMON_IDLE_DELAY)
        if idle <= 0:
            return disabled(locker, "idle-delay is 0, which is never", settings.seen)
        delay = max(settings.integer(CINNAMON_LOCK_DELAY), 0)
        if settings.boolean(CINNAMON_NO_LOCK):
            return disabled(locker, "disable-lock-screen is true", settings.seen)
        custom = settings.string(CINNAMON_CUSTOM).strip()
    except CannotTellError as error:
        return unsure(locker, str(error), settings.seen)
    if custom and effect(custom, read_script=place.script) < Effect.LOCKS_UNVERIFIED:
        return unsure(
            locker, "a custom screen saver is set, and it can't be told if it locks", settings.seen
        )
    return enabled(locker, idle + delay, settings.seen, verified=not custom)
