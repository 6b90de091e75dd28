"""Xfce: xfce4-screensaver, whose settings are in the xfconf channel of its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import join
from xml.parsers import expat

from qlmdm_core import JSON

from .model import CannotTellError, Finding, disabled, enabled, unsure
from .place import Place

CHANNEL = "xfce4-screensaver"
LONGEST_MINUTES = 480
DEEPEST = 32
"""So deep may properties be nested; those that are read here are nested three times."""
# xfce4-screensaver, src/gs-prefs.h. Delays are minutes.
FLAGS = (
    "/saver/enabled",
    "/saver/idle-activation/enabled",
    "/lock/enabled",
    "/lock/saver-activation/enabled",
)
IDLE, LOCK = "/saver/idle-activation/delay", "/lock/saver-activation/delay"
DEFAULTS: Mapping[str, str] = {**dict.fromkeys(FLAGS, "true"), IDLE: "5", LOCK: "0"}


def judge(given: Mapping[str, str]) -> Finding:
    """The verdict on the properties that are set; any flag that is false means never."""
    values = {**DEFAULTS, **{key: given[key] for key in DEFAULTS if key in given}}
    settings: dict[str, JSON] = dict(values)
    for flag in FLAGS:
        if values[flag].lower() not in ("true", "1"):
            return disabled(CHANNEL, f"{flag} is false", settings)
    idle, lock = (_minutes(values[name]) for name in (IDLE, LOCK))
    if idle is None or lock is None:
        return unsure(CHANNEL, "a delay is no number", settings)
    # gs-prefs.c: less than a minute means ten; nothing is longer than eight hours.
    idle = min(idle if idle >= 1 else 10, LONGEST_MINUTES)
    return enabled(CHANNEL, 60 * (idle + min(max(lock, 0), LONGEST_MINUTES)), settings)


def _minutes(text: str) -> int | None:
    text = text.strip()
    return int(text) if re.match(r"-?\d{1,9}\Z", text) else None


def xfce4_screensaver(place: Place) -> Finding:
    """The effective settings: those of xfconf, else of the files that xfconfd reads."""
    try:
        given = _listed(place)
        if given is None:
            given = _queried(place)
        if given is None:
            given = _by_files(place)
        return judge(given)
    except CannotTellError as error:
        return unsure(CHANNEL, str(error))


# --- xfconf-query ---------------------------------------------------------------------------


def parse_listing(text: str) -> dict[str, str]:
    """The properties in the output of `xfconf-query -l -v`."""
    pairs = (line.split(None, 1) for line in text.splitlines() if line.startswith("/"))
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def _listed(place: Place) -> dict[str, str] | None:
    result = place.ask("xfconf-query", "-c", CHANNEL, "-l", "-v")
    if not result.found:
        return None
    if not result.ok:
        if "does not exist" in result.stderr:
            return {}
        raise CannotTellError(result.why)
    return parse_listing(result.stdout)


def _queried(place: Place) -> dict[str, str] | None:
    """One property at a time; None where xfconf-query is not there."""
    given: dict[str, str] = {}
    answered = False
    for name in DEFAULTS:
        result = place.ask("xfconf-query", "-c", CHANNEL, "-p", name)
        if not result.found:
            continue
        answered = True
        if result.ok:
            given[name] = result.stdout.strip()
        elif not _says_unset(result.returncode, result.stderr + result.stdout):
            raise CannotTellError(result.why)
    return given if answered else None


def _says_unset(returncode: int | None, said: str) -> bool:
    # xfconf-query/main.c: it fails the same way when it can't reach xfconfd, but says why.
    return returncode == 1 and (not said.strip() or "does not exist" in said)


# --- files ----------------------------------------------------------------------------------


@dataclass
class ChannelFile:
    """A channel's XML file: its properties, and which of them users may not change."""

    values: dict[str, str] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    all_locked: bool = False

    def locks(self, path: str) -> bool:
        """Whether the property, or what it is part of, is locked."""
        return self.all_locked or any(
            path == name or path.startswith(name + "/") for name in self.locked
        )


def parse_channel(text: str) -> ChannelFile:
    """Read a channel's file; raises `ValueError` for what is no such file."""
    parser = expat.ParserCreate()
    found = ChannelFile()
    path: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("entities are not part of this format")

    def start(tag: str, attributes: dict[str, str]) -> None:
        locks = bool(attributes.get("locked"))
        if tag == "channel":
            found.all_locked = locks
        elif tag == "property":
            if len(path) >= DEEPEST:
                raise ValueError("nested too deeply")
            path.append(attributes.get("name", ""))
            name = "/" + "/".join(path)
            if "value" in attributes:
                found.values[name] = attributes["value"]
            if locks:
                found.locked.add(name)

    def end(tag: str) -> None:
        if tag == "property":
            path.pop()

    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from None
    return found


def _by_files(place: Place) -> dict[str, str]:
    name = f"xfce4/xfconf/xfce-perchannel-xml/{CHANNEL}.xml"
    values: dict[str, str] = {}
    locked = ChannelFile()
    # The system's files are defaults, unless they lock a property (xfconf's
    # xfconf-backend-perchannel-xml.c).
    directories = [*reversed(place.config_dirs), place.config_home]
    for path in dict.fromkeys(join(directory, name) for directory in directories):
        text = place.text(path)
        if text is None:
            continue
        try:
            file = parse_channel(text)
        except ValueError as error:
            raise CannotTellError(f"{path}: {error}") from None
        values.update({key: text for key, text in file.values.items() if not locked.locks(key)})
        locked.locked |= file.locked
        locked.all_locked = locked.all_locked or file.all_locked
    return values
