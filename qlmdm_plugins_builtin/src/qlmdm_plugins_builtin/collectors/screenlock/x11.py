"""Lockers of X11: light-locker, xss-lock, xautolock, xidlehook, and the X screen saver's timer."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from qlmdm_core import JSON, Process

from .commands import Effect, effect, effect_of_words
from .gsettings import GSettings, Key
from .idle import IdleDaemon, Rule
from .model import CannotTellError, Finding, disabled, enabled, unsure
from .place import Place

PROGRAMS = ("light-locker", "xss-lock", "xautolock", "xidlehook", "xscreensaver")
"""These see the input of X clients alone: under Wayland they lock nothing."""


@dataclass(frozen=True)
class XTimer:
    """The X server's screen saver, as `xset s TIMEOUT CYCLE` sets it. Seconds; 0 is never."""

    timeout: int
    cycle: int


def parse_xset(text: str) -> XTimer | None:
    """The timer in the output of `xset q`; None if it is not there."""
    match = re.search(r"\btimeout:\s*(\d{1,9})\s+cycle:\s*(\d{1,9})", text)
    return XTimer(int(match[1]), int(match[2])) if match else None


def x_timer(place: Place) -> XTimer:
    """The timer in effect. Raises `CannotTellError`."""
    result = place.ask("xset", "q")
    if not result.found:
        result = place.ask("xset", "-q")  # the same (xset.c); a recording may have it so
    timer = parse_xset(result.stdout) if result.ok else None
    if timer is None:
        why = result.why if not result.ok else "xset q does not tell it"
        raise CannotTellError(f"the time until the X screen saver starts is not known: {why}")
    return timer


def resources(place: Place) -> dict[str, str]:
    """The X server's resource database, by full name; empty where it can't be asked."""
    result = place.ask("xrdb", "-query")
    pairs = (line.partition(":") for line in result.stdout.splitlines()) if result.ok else ()
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def parse_options(
    arguments: Sequence[str], valued: Sequence[str], *, stop_at_operand: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Options with their values (`-x V`, `--x V`, `--x=V`; flags have none), and the operands."""
    options: dict[str, str] = {}
    rest = deque(arguments)
    operands: list[str] = []
    while rest:
        word = rest.popleft()
        if word == "--":
            return options, [*operands, *rest]
        if not word.startswith("-") or word == "-":
            operands.append(word)
            if stop_at_operand:
                return options, [*operands, *rest]
            continue
        name, equals, value = word.partition("=")
        if equals:
            options[name] = value
        elif word in valued and rest:
            options[word] = rest.popleft()
        else:
            options[word] = ""
    return options, operands


# --- light-locker ---------------------------------------------------------------------------

LIGHT_LOCKER = "/apps/light-locker/"
AFTER_SCREENSAVER = Key(
    "apps.light-locker", "lock-after-screensaver", "u", 5, LIGHT_LOCKER, optional=True
)


def light_locker(place: Place, process: Process) -> Finding:
    """light-locker(1): locks some seconds after the X screen saver has started.

    With late-locking the password is asked for when the screen saver ends, which is no later.
    """
    name = "light-locker"
    service = place.session.service
    if service and not service.startswith("lightdm") and not place.running_anywhere("lightdm"):
        return unsure(name, f"light-locker needs LightDM; {service} opened this session")
    given, _ = parse_options(process.argv or (), ("--lock-after-screensaver",))
    settings: dict[str, JSON] = {}
    try:
        stored = GSettings(place)
        text = given.get("--lock-after-screensaver", "")
        after = int(text) if re.match(r"\d{1,9}\Z", text) else stored.integer(AFTER_SCREENSAVER)
        settings = {**stored.seen, "lock-after-screensaver": after}
        if after == 0:
            return disabled(name, "lock-after-screensaver is 0, which is never", settings)
        timer = x_timer(place)
    except CannotTellError as error:
        return unsure(name, str(error), settings)
    settings["xset s timeout"] = timer.timeout
    if timer.timeout == 0:
        return disabled(name, "the X screen saver never starts (xset s off)", settings)
    return enabled(name, timer.timeout + after, settings)


# --- xss-lock -------------------------------------------------------------------------------


@dataclass(frozen=True)
class XssLock:
    """A running xss-lock(1): what it runs, and whether something warns before."""

    locker: tuple[str, ...]
    notifies: bool
    effect: Effect
    settings: dict[str, JSON] = field(default_factory=dict)


def xss_lock(place: Place, process: Process) -> XssLock:
    """What an xss-lock has been told."""
    options, operands = parse_options(
        (process.argv or ())[1:], ("-n", "--notifier", "-s", "--session"), stop_at_operand=True
    )
    notifies = any(re.match(r"(?:-n|--notifier\Z)", option) for option in options)
    does = effect_of_words(operands, read_script=place.script, is_locker=True)
    return XssLock(tuple(operands), notifies, does, {"locker": " ".join(operands)[:200]})


def judge_xss_lock(place: Place, told: XssLock) -> Finding:
    """The locker runs at TIMEOUT of the X screen saver, with a notifier one CYCLE later."""
    name = "xss-lock"
    if not told.locker:
        return unsure(name, "the arguments of xss-lock can't be read")
    if told.effect < Effect.LOCKS_UNVERIFIED:
        return disabled(name, "what xss-lock runs does not lock the screen", told.settings)
    try:
        timer = x_timer(place)
    except CannotTellError as error:
        return unsure(name, str(error), told.settings)
    settings = {
        **told.settings,
        "notifier": told.notifies,
        "xset s timeout": timer.timeout,
        "xset s cycle": timer.cycle,
    }
    if timer.timeout == 0 or (told.notifies and timer.cycle == 0):
        return disabled(name, "the X screen saver never starts (xset s off)", settings)
    delay = timer.timeout + (timer.cycle if told.notifies else 0)
    return enabled(name, delay, settings, verified=told.effect == Effect.LOCKS)


# --- xautolock, xidlehook -------------------------------------------------------------------

_XAUTOLOCK_VALUED = (
    "-time", "-locker", "-killtime", "-killer", "-notify", "-notifier", "-bell", "-corners",
    "-cornerdelay", "-cornerredelay", "-cornersize", "-nowlocker",
)  # fmt: skip


def xautolock(place: Place, process: Process) -> IdleDaemon:
    """xautolock(1): minutes in `-time` (10 unless told), the locker in `-locker` (xlock)."""
    if process.argv is None:
        return IdleDaemon(name="xautolock", doubt="the arguments of xautolock can't be read")
    options, _ = parse_options(process.argv[1:], _XAUTOLOCK_VALUED)
    if "-time" not in options or "-locker" not in options:
        stored = resources(place)
        for option in ("time", "locker"):
            value = stored.get(f"xautolock.{option}") or stored.get(f"Xautolock.{option}")
            if value:
                options.setdefault(f"-{option}", value)
    time, locker = options.get("-time", "10"), options.get("-locker", "xlock")
    settings: dict[str, JSON] = {"time": time, "locker": locker[:200]}
    if not re.match(r"\d{1,4}\Z", time):
        return IdleDaemon(
            name="xautolock", doubt=f"xautolock -time {time[:20]}: no number", settings=settings
        )
    # The man page: at least a minute, at most an hour.
    minutes = min(max(int(time), 1), 60)
    does = effect(locker, read_script=place.script, is_locker=True)
    return IdleDaemon(name="xautolock", rules=[Rule(minutes * 60, locker, does)], settings=settings)


def xidlehook(place: Place, process: Process) -> IdleDaemon:
    """xidlehook: `--timer SECONDS COMMAND CANCELLER`, each counted from the one before."""
    if process.argv is None:
        return IdleDaemon(name="xidlehook", doubt="the arguments of xidlehook can't be read")
    # Before 0.7, a kind of timer stood before the seconds.
    words = [word for word in process.argv[1:] if word not in ("primary", "normal")]
    rules: list[Rule] = []
    total = 0
    for at, word in enumerate(words):
        if word != "--timer" or len(words) < at + 3:
            continue
        if not re.match(r"\d{1,9}\Z", words[at + 1]):
            return IdleDaemon(name="xidlehook", doubt="xidlehook --timer has no number of seconds")
        total += int(words[at + 1])
        command = words[at + 2]
        rules.append(Rule(total, command, effect(command, read_script=place.script)))
    return IdleDaemon(name="xidlehook", rules=rules)
