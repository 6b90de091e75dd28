"""KDE Plasma 5 and 6: kscreenlocker, which lives in ksmserver or kwin."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from os.path import join

from qlmdm_core import JSON

from .model import CannotTellError, Finding, disabled, enabled, unsure
from .place import Place

FILE = "kscreenlockerrc"
# kscreenlocker, settings/kscreenlockersettings.kcfg. Timeout is minutes, LockGrace seconds.
DEFAULTS = {
    "Autolock": "true",
    "Timeout": "5",
    "Lock": "true",
    "LockGrace": "5",
    "RequirePassword": "true",
}
TOOLS = ("kreadconfig6", "kreadconfig5", "kreadconfig")
GRACE_NOT_COUNTED = 5
"""Seconds; Plasma's own default, in which a touched mouse undoes the lock. A longer grace
is time without a password, and counts."""


@dataclass(frozen=True)
class Setting:
    """A value in a file, and whether files that come later may not change it (`[$i]`)."""

    value: str
    immutable: bool = False


def parse_daemon(text: str) -> dict[str, Setting]:
    """The entries of `[Daemon]` in a kscreenlockerrc.

    Groups may be nested, `[Greeter][Wallpaper]`; options of an entry or group stand in
    brackets, `Autolock[$i]=false` (KConfigIniBackend).
    """
    found: dict[str, Setting] = {}
    in_group, file_fixed, group_fixed = False, False, False
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            parts = re.findall(r"\[([^\[\]]*)\]", line)
            options = [part for part in parts if part.startswith("$") and part != "$Version"]
            groups = [part for part in parts if part not in options]
            fixed = any("i" in option for option in options)
            file_fixed = file_fixed or (fixed and not groups)
            in_group, group_fixed = groups == ["Daemon"], fixed
            continue
        key, equals, value = line.partition("=")
        name, _, option = key.partition("[")
        if in_group and equals and name.strip():
            fixed = file_fixed or group_fixed or (option.startswith("$") and "i" in option)
            found[name.strip()] = Setting(value.strip(), fixed)
    return found


def merge(files: Iterable[dict[str, Setting]]) -> dict[str, str]:
    """The effective values: later files win, but for what is immutable."""
    merged: dict[str, Setting] = {}
    for file in files:
        for key, setting in file.items():
            if not (key in merged and merged[key].immutable):
                merged[key] = setting
    return {key: setting.value for key, setting in merged.items() if key in DEFAULTS}


def judge(given: dict[str, str]) -> Finding:
    """The verdict on the values that are set."""
    locker = "kscreenlocker"
    values = {**DEFAULTS, **{key: value for key, value in given.items() if value}}
    settings: dict[str, JSON] = dict(values)
    if not _is_true(values["Autolock"]):
        return disabled(locker, "Autolock is false", settings)
    timeout, grace = _number(values["Timeout"]), _number(values["LockGrace"])
    if timeout is None or grace is None:
        return unsure(locker, "Timeout or LockGrace is no number", settings)
    if timeout <= 0:
        return disabled(locker, "Timeout is 0, which is never", settings)
    for key in ("RequirePassword", "Lock"):
        if not _is_true(values[key]):
            return disabled(locker, f"{key} is false: it unlocks without a password", settings)
    if grace < 0:
        # ksldapp.cpp: no timer ends a grace time below 0.
        return disabled(locker, "LockGrace is negative: no password is ever asked for", settings)
    longer = int(grace) if grace > GRACE_NOT_COUNTED else 0
    return enabled(locker, max(int(timeout * 60), 1) + longer, settings)


def _is_true(value: str) -> bool:
    # kconfiggroup.cpp: what is none of these is true.
    return value.strip().lower() not in ("false", "no", "off", "0")


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if re.match(r"-?\d{1,7}(?:\.\d{1,9})?\Z", text) else None


def kde(place: Place) -> Finding:
    """The effective settings, as kreadconfig tells them, else from the files in KConfig's order."""
    try:
        given = _by_tool(place)
        return judge(given if given is not None else _by_files(place))
    except CannotTellError as error:
        return unsure("kscreenlocker", str(error))


def _by_tool(place: Place) -> dict[str, str] | None:
    """What kreadconfig says; None where there is none that answers."""
    for tool in TOOLS:
        given: dict[str, str] = {}
        for key, default in DEFAULTS.items():
            words = (tool, "--file", FILE, "--group", "Daemon", "--key", key)
            result = place.ask(*words, "--default", default)
            if not result.found:
                result = place.ask(*words)
            if not result.found:
                continue
            if not result.ok:
                raise CannotTellError(result.why)
            given[key] = result.stdout.strip()
        if given:
            return given
    return None


def _by_files(place: Place) -> dict[str, str]:
    paths = [join(directory, FILE) for directory in reversed(place.config_dirs)]
    # Plasma puts its own defaults before the system's, and the user's file wins.
    paths += [join(place.config_home, "kdedefaults", FILE), join(place.config_home, FILE)]
    texts = [place.text(path) for path in dict.fromkeys(paths)]
    return merge(parse_daemon(text) for text in texts if text is not None)
