"""What swayidle and hypridle have been told: by their arguments and their configuration.

The running process decides, not the start script: /proc/PID/cmdline has the arguments as
they were given, without a shell's quoting.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os.path import dirname, isabs, join

from qlmdm_core import JSON, Process

from .commands import Effect, effect
from .idle import IdleDaemon, Rule
from .model import CannotTellError
from .place import Place
from .shell import simple_commands

MOST_RULES = 100
"""More than anybody writes by hand; the commands of more are not looked at."""
_NUMBER = re.compile(r"\d{1,9}\Z")


# --- swayidle -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """One event of swayidle(1): its name, for timeouts the seconds, and the command."""

    name: str
    command: str
    seconds: int = 0


def parse_events(words: Sequence[str]) -> list[Event]:
    """The events in swayidle's arguments, in their order; what is none is passed over.

    A command is one word: of `timeout 600 swaylock -f`, in a file, `-f` is not part of it
    (main.c: parse_command takes argv[0]).
    """
    found: list[Event] = []
    at = 0
    while at < len(words):
        # No more than four words follow a name: `timeout N COMMAND resume COMMAND`.
        name, rest = words[at], words[at + 1 : at + 5]
        if name == "timeout" and len(rest) >= 2:
            if _NUMBER.match(rest[0]):
                found.append(Event("timeout", rest[1], int(rest[0])))
            at += 5 if len(rest) >= 4 and rest[2] == "resume" else 3
        elif name in ("before-sleep", "after-resume", "lock", "unlock") and rest:
            found.append(Event(name, rest[0]))
            at += 2
        elif name == "idlehint" and rest:
            at += 2
        else:
            at += 1
    return found


def parse_swayidle_config(text: str) -> list[Event]:
    """The events in swayidle's configuration: one a line, with shell quoting (wordexp(3))."""
    found: list[Event] = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            found += parse_events((simple_commands(line) or [[]])[0])[:1]
    return found


def split_swayidle_arguments(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file named by -C, and the words that are events (getopt(3) string `C:hdwS:`)."""
    config: str | None = None
    events: list[str] = []
    rest = deque(arguments)
    while rest:
        word = rest.popleft()
        if word == "--":
            return config, [*events, *rest]
        option = re.match(r"-([hdw]*)(?:([CS])(.*))?\Z", word, re.DOTALL) if len(word) > 1 else None
        if option is None:
            events.append(word)
            continue
        if option[2]:
            value = option[3] or (rest.popleft() if rest else "")
            config = value if option[2] == "C" else config
    return config, events


def swayidle(place: Place, process: Process) -> IdleDaemon:
    """A running swayidle: arguments and configuration both apply."""
    named, words = split_swayidle_arguments((process.argv or ())[1:])
    events = parse_events(words)
    settings: dict[str, JSON] = {}
    # What its configuration says holds all the same, most likely.
    doubt = "" if process.argv is not None else "the arguments of swayidle can't be read"
    try:
        path, text = _swayidle_config(place, named, process)
        if text is not None:
            events += parse_swayidle_config(text)
            settings["config"] = path
    except CannotTellError as error:
        doubt = str(error)
    classify = _classifier(place)
    rules = [
        Rule(event.seconds, event.command, classify(event.command, False))
        for event in events[:MOST_RULES]
        if event.name == "timeout" and event.seconds > 0  # 0: never (build_timeout_cmd)
    ]
    on_lock = [event.command for event in events if event.name == "lock"][-1:]
    return IdleDaemon(
        name="swayidle",
        rules=rules,
        on_lock_signal=classify(on_lock[0], True) if on_lock else Effect.NOTHING,
        doubt=doubt,
        settings=settings,
    )


def _config_home(place: Place, process: Process) -> str:
    """Where this process looks for configuration: some are started with a home of their own."""
    own = (process.environ or {}).get("XDG_CONFIG_HOME", "")
    return own if isabs(own) else place.config_home


def _swayidle_config(place: Place, named: str | None, process: Process) -> tuple[str, str | None]:
    """The configuration in use, and its text (main.c: get_config_path)."""
    if named is not None:
        path = place.expand(named)
        return path, place.text(path)
    for path in (
        join(_config_home(place, process), "swayidle/config"),
        join(place.home, ".swayidle/config"),
        "/etc/swayidle/config",
        "/etc/xdg/swayidle/config",
    ):
        text = place.text(path)
        if text is not None:
            return path, text
    return "", None


def _classifier(place: Place) -> Callable[[str, bool], Effect]:
    def classify(command: str, is_locker: bool) -> Effect:
        return effect(command, read_script=place.script, is_locker=is_locker)

    return classify


# --- hypridle -------------------------------------------------------------------------------


@dataclass
class HypridleConfig:
    """What hypridle.conf says, `source` not yet followed."""

    general: dict[str, str] = field(default_factory=dict)
    listeners: list[dict[str, str]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def parse_hypridle(text: str, variables: dict[str, str] | None = None) -> HypridleConfig:
    """The sections and variables of hyprlang; later values of `general` win.

    `variables` is filled: a file that is sourced may use what was set before.
    """
    config = HypridleConfig()
    known = variables if variables is not None else {}
    section: dict[str, str] | None = None
    for raw in text.splitlines():
        line = _without_comment(raw).strip()
        # Braces may stand on the line of an entry, too: `listener { timeout = 5 }`.
        opened = re.match(r"(\w+)\s*\{(.*)\Z", line)
        if opened:
            section = config.general if opened[1] == "general" else {}
            if opened[1] == "listener":
                config.listeners.append(section)
            line = opened[2].strip()
        closes = section is not None and (line == "}" or line.endswith(" }"))
        key, equals, value = line.removesuffix("}" if closes else "").partition("=")
        if equals:
            _entry(config, section, known, key.strip(), value.strip())
        if closes:
            section = None
    return config


def _entry(
    config: HypridleConfig,
    section: dict[str, str] | None,
    variables: dict[str, str],
    key: str,
    value: str,
) -> None:
    value = _expanded(value, variables)
    if key.startswith("$"):
        if len(key) > 1 and len(variables) < MOST_RULES:
            variables[key[1:]] = value
    elif key == "source":
        config.sources.append(value)
    elif section is not None:
        section[key] = value
    elif key.startswith("general:"):
        config.general[key.removeprefix("general:")] = value


def _expanded(value: str, variables: dict[str, str]) -> str:
    # The longest name that fits.
    for name in sorted(variables, key=len, reverse=True) if "$" in value else ():
        value = value.replace("$" + name, variables[name])
        if len(value) > 16 << 10:
            return value[: 16 << 10]
    return value


def _without_comment(line: str) -> str:
    """The line up to its `#`; `##` is a `#` that begins no comment (hyprlang)."""
    parts = line.split("##")
    for number, part in enumerate(parts):
        before, mark, _ = part.partition("#")
        if mark:
            return "#".join([*parts[:number], before])
    return "#".join(parts)


def hypridle(place: Place, process: Process) -> IdleDaemon:
    """A running hypridle: its configuration, with what that includes."""
    classify = _classifier(place)
    try:
        path = _hypridle_path(place, process)
        config = HypridleConfig()
        for part in _with_sources(place, path):
            config.general.update(part.general)
            config.listeners += part.listeners
    except CannotTellError as error:
        return IdleDaemon(name="hypridle", doubt=str(error))
    rules = [
        Rule(int(rule["timeout"]), rule.get("on-timeout", ""), classify(rule["on-timeout"], False))
        for rule in config.listeners[:MOST_RULES]
        if _NUMBER.match(rule.get("timeout", ""))
        and int(rule["timeout"]) > 0
        and rule.get("on-timeout")
        and rule.get("state") not in ("1", "true", "locked")  # that one waits for a lock
    ]
    lock_command = config.general.get("lock_cmd", "")
    return IdleDaemon(
        name="hypridle",
        rules=rules,
        on_lock_signal=classify(lock_command, True) if lock_command else Effect.NOTHING,
        doubt="" if process.argv is not None else "the arguments of hypridle can't be read",
        settings={"config": path, "lock_cmd": lock_command[:200] or None},
    )


def _hypridle_path(place: Place, process: Process) -> str:
    """The configuration in use (main.cpp; hyprutils path/Path.cpp: findConfig)."""
    for option, value in pairwise(process.argv or ()):
        if option in ("-c", "--config"):
            return place.expand(value)
    candidates = [
        join(_config_home(place, process), "hypr/hypridle.conf"),
        join(place.home, ".config/hypr/hypridle.conf"),
        *(join(directory, "hypr/hypridle.conf") for directory in place.config_dirs),
        "/etc/xdg/hypr/hypridle.conf",
    ]
    for path in candidates:
        if place.text(path) is not None:
            return path
    raise CannotTellError("hypridle runs, but its configuration was not found")


def _with_sources(place: Place, path: str) -> Iterator[HypridleConfig]:
    """The parts of a configuration: each file once, included ones after what includes them."""
    variables: dict[str, str] = {}
    waiting, seen = [path], {path}
    while waiting and len(seen) < 50:
        where = waiting.pop(0)
        text = place.text(where)
        if text is None:
            raise CannotTellError(f"{where}: no such file")
        part = parse_hypridle(text, variables)
        yield part
        for source in part.sources:
            wanted = place.expand(source, base=dirname(where))
            names = place.host.glob(wanted) if isabs(wanted) else []
            waiting += [name for name in names if name not in seen]
            seen.update(names)
