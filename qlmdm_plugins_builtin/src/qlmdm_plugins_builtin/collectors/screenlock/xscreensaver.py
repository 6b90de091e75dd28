"""xscreensaver: the user's file over the X resources over the app-defaults file."""

from __future__ import annotations

import re
from os.path import join

from qlmdm_core import JSON

from .model import CannotTellError, Finding, disabled, enabled, unsure
from .place import Place

APP_DEFAULTS = (
    "/etc/X11/app-defaults/XScreenSaver",
    "/usr/share/X11/app-defaults/XScreenSaver",
    "/usr/lib/X11/app-defaults/XScreenSaver",
    "/usr/lib64/X11/app-defaults/XScreenSaver",
)
# driver/XScreenSaver.ad.in: what is compiled in.
DEFAULTS = {"timeout": "0:10:00", "lock": "False", "locktimeout": "0:00:00", "mode": "random"}

_KEY = re.compile(r"(?:xscreensaver[.*]|\*|\.)?(\w+)\Z", re.IGNORECASE)


def parse(text: str) -> dict[str, str]:
    """The settings in a preferences or app-defaults file, or of `xrdb -query`, in lower case.

    Lines that go on in the next one (the list of programs) hold no settings.
    """
    found: dict[str, str] = {}
    continued = False
    for line in text.splitlines():
        was_continued, continued = continued, line.rstrip().endswith("\\")
        if was_continued or line.lstrip().startswith(("#", "!")):
            continue
        key, colon, value = line.partition(":")
        match = _KEY.match(key.strip())
        if colon and match and match[1].lower() in DEFAULTS:
            found[match[1].lower()] = value.strip()
    return found


def seconds(text: str) -> int | None:
    """A duration: `H:MM:SS`, `M:SS`, or minutes alone (resources.c: parse_time)."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 3 or not all(re.match(r"\d{1,6}\Z", part) for part in parts):
        return None
    numbers = [int(part) for part in parts]
    if len(numbers) == 1:
        return numbers[0] * 60
    total = 0
    for number in numbers:
        total = total * 60 + number
    return total


def judge(settings: dict[str, str]) -> Finding:
    """The verdict on settings, defaults included."""
    name = "xscreensaver"
    known: dict[str, JSON] = {**DEFAULTS, **settings}
    values = {**DEFAULTS, **settings}
    if values["mode"].lower() == "off":
        return disabled(name, "mode is off: the screen saver never starts", known)
    if values["lock"].lower() not in ("true", "yes", "on"):
        return disabled(name, "lock is not True: the saver ends without a password", known)
    timeout, lock_timeout = seconds(values["timeout"]), seconds(values["locktimeout"])
    if not timeout or lock_timeout is None:
        return unsure(name, "timeout or lockTimeout can't be understood", known)
    return enabled(name, timeout + lock_timeout, known)


def xscreensaver(place: Place) -> Finding:
    """The effective settings of a running daemon."""
    settings: dict[str, str] = {}
    try:
        system = (place.text(path) for path in APP_DEFAULTS)
        settings.update(parse(next((text for text in system if text is not None), "")))
        result = place.ask("xrdb", "-query")
        if result.ok:
            settings.update(parse(result.stdout))
        settings.update(parse(place.text(join(place.home, ".xscreensaver")) or ""))
    except CannotTellError as error:
        return unsure("xscreensaver", str(error))
    return judge(settings)


def daemon_answers(place: Place) -> bool:
    """Whether the daemon says that it runs; for when processes can't be seen."""
    result = place.ask("xscreensaver-command", "-time")
    return result.ok and result.stdout.lstrip().startswith("XScreenSaver")
