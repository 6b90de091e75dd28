"""What a command line does to the screen: locks it, asks logind to lock it, or neither.

Idle daemons run shell commands. A locker counts where it is run, not where it is named:
`pgrep swaylock && swaymsg output '*' dpms off` locks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from os.path import basename

from .shell import simple_commands


class Effect(IntEnum):
    """The effect of a command; of several in one line, the greatest counts."""

    NOTHING = 0
    """It is known not to lock (dims, blanks, suspends, plays, notifies)."""
    UNKNOWN = 1
    """Nobody knows this program."""
    ACTIVATES = 2
    """It starts the X screen saver, which locks if something listens (`xset s activate`)."""
    LOCKS_UNVERIFIED = 3
    """Something that is made to lock, whose inside we don't know: a script, a desktop shell."""
    SIGNALS = 4
    """It asks logind to lock the session, which locks if something listens."""
    LOCKS = 5
    """It runs a known screen locker."""


LOCKERS = frozenset(
    {
        "alock", "gtklock", "hyprlock", "i3lock", "i3lock-color", "i3lock-fancy",
        "i3lock-fancy-multimonitor", "i3lock-fancy-rapid", "i3lock-next", "i3lockr", "nwg-lock",
        "physlock", "pyxtrlock", "slimlock", "slock", "swaylock", "swaylock-effects",
        "swaylock-fancy", "swaylock-plugin", "sxlock", "vlock", "waylock", "xlock", "xsecurelock",
        "xtrlock",
    }
)  # fmt: skip
"""Programs that lock by being run."""

LOCKERS_BY_OPTION = {
    "betterlockscreen": ("-l", "--lock", "-s", "--suspend"),
    "multilockscreen": ("-l", "--lock", "-s", "--suspend"),
}
"""Lockers that do something else without such an option."""

DELEGATES = {
    "budgie-screensaver-command": ("-l", "--lock"),
    "cinnamon-screensaver-command": ("-l", "--lock"),
    "dm-tool": ("lock", "switch-to-greeter"),
    "gnome-screensaver-command": ("-l", "--lock"),
    "i3exit": ("lock",),
    "light-locker-command": ("-l", "--lock"),
    "lxlock": (),
    "lxqt-leave": ("--lockscreen",),
    "mate-screensaver-command": ("-l", "--lock"),
    "xdg-screensaver": ("lock",),
    "xflock4": (),
    "xfce4-screensaver-command": ("-l", "--lock"),
    "xscreensaver-command": ("-l", "-lock", "--lock"),
}
"""Programs that ask another program to lock, with the words that do (none: always)."""

SHELLS = frozenset(
    {"ags", "astal", "caelestia", "caelestia-shell", "dms", "noctalia", "noctalia-shell",
     "qs", "quickshell"}
)  # fmt: skip
"""Desktop shells with a lock screen of their own, reached by a message to them."""

HARMLESS = frozenset(
    {
        ".", ":", "[", "[[", "acpi", "amixer", "asusctl", "awk", "awww", "bc", "brightnessctl",
        "brillo", "busctl", "cat", "cd", "chayang", "convert", "cut", "date", "dbus-send",
        "ddcutil", "dunstctl", "echo", "exit", "export", "false", "fyi", "gammastep", "gdbus",
        "grep", "grim", "head", "hyprctl", "hyprshade", "hyprsunset", "i3-msg", "kill", "killall",
        "killall5", "light", "ln", "logger", "loginctl", "magick", "maim", "makoctl", "mkdir",
        "mpc", "mv", "niri", "nmcli", "notify-send", "openrgb", "pactl", "pamixer", "pgrep",
        "pidof", "pkill", "playerctl", "poweroff", "powerprofilesctl", "printf", "ps", "read",
        "reboot", "return", "rfkill", "riverctl", "rm", "scrot", "sed", "set", "shutdown", "sleep",
        "sort", "swaybg", "swaymsg", "swaync-client", "swww", "sync", "systemctl", "tail", "tee",
        "test", "touch", "tr", "true", "type", "unset", "wait", "which", "wl-gammarelay", "wlopm",
        "wlr-dpms", "wlr-randr", "wlsunset", "wpctl", "xbacklight", "xrandr", "xset", "zzz",
    }
)  # fmt: skip
"""Programs that are known not to lock, whatever their arguments say (but for those below)."""

CONDITIONS = frozenset({"[", "[[", "acpi", "grep", "on_ac_power", "systemd-ac-power", "test"})
"""Commands that are run for their answer; of another locker's process (pgrep), it is harmless."""

_WRAPPERS = frozenset(
    {"app2unit", "builtin", "chrt", "command", "dbus-run-session", "dbus-launch", "doas", "env",
     "exec", "flatpak-spawn", "flock", "ionice", "nice", "nohup", "runapp", "setsid", "stdbuf",
     "sudo", "systemd-cat", "systemd-inhibit", "systemd-run", "time", "timeout", "uwsm",
     "uwsm-app", "uwsm-terminal", "xargs"}
)  # fmt: skip
_VALUED = frozenset(
    {"-a", "-b", "-c", "-g", "-i", "-k", "-n", "-o", "-p", "-s", "-t", "-u", "-C", "--unit",
     "--slice", "--property", "--user-unit"}
)  # fmt: skip
"""Options of wrappers whose next word is their value (other options stand alone)."""
_SHELL_PROGRAMS = frozenset({"ash", "bash", "dash", "fish", "ksh", "sh", "zsh"})
_LANGUAGES = frozenset({"bun", "lua", "node", "perl", "python", "python3", "ruby"})
"""Interpreters: the first argument that is no option names the program."""
_COMPOSITORS = {
    "hyprctl": ("dispatch", "exec"),
    "i3-msg": ("exec",),
    "niri": ("msg", "action", "spawn"),
    "riverctl": ("spawn",),
    "swaymsg": ("exec",),
}
"""How a compositor is told to run a program."""
_LOCKING_NAME = re.compile(r"(?<!un)(?<!un-)(?<!un_)(?<!num)(?<!caps)(?<![cfb])lock", re.IGNORECASE)
MAX_DEPTH = 4
MAX_WORDS = 400

ReadScript = Callable[[str], "str | None"]
"""Gives the text of a program that the user wrote, or None."""


def effect(
    command: str, *, read_script: ReadScript | None = None, is_locker: bool = False
) -> Effect:
    """What a shell command line does.

    `is_locker` says that it stands where a locker belongs (`xautolock -locker`, hypridle's
    `lock_cmd`): a program that nobody knows is then a locker that nobody knows.
    """
    return _line(command, read_script, is_locker, MAX_DEPTH)


def effect_of_words(
    words: list[str], *, read_script: ReadScript | None = None, is_locker: bool = False
) -> Effect:
    """The same, of an argument list that no shell takes apart."""
    return _words(words[:MAX_WORDS], read_script, is_locker, MAX_DEPTH)


def _line(command: str, read: ReadScript | None, is_locker: bool, depth: int) -> Effect:
    if depth <= 0:
        return Effect.UNKNOWN
    commands = simple_commands(command)
    effects = {_words(words[:MAX_WORDS], read, is_locker, depth) for words in commands}
    found = max(effects, default=Effect.NOTHING)
    if found == Effect.SIGNALS and Effect.LOCKS_UNVERIFIED in effects:
        return Effect.LOCKS_UNVERIFIED  # Whether anything listens to the signal or not.
    if found == Effect.LOCKS and any(basename(words[0]) in CONDITIONS for words in commands):
        return Effect.LOCKS_UNVERIFIED  # It may lock on battery only, or not while music plays.
    return found


def _words(words: list[str], read: ReadScript | None, is_locker: bool, depth: int) -> Effect:
    """The effect of one simple command."""
    while words and _is_assignment(words[0]):
        words = words[1:]
    if not words or depth <= 0:
        return Effect.NOTHING if not words else Effect.UNKNOWN
    name, arguments = basename(words[0]), words[1:]
    if name in _SHELL_PROGRAMS:
        return _shell(arguments, read, is_locker, depth)
    if name in _LANGUAGES:
        script = next((word for word in arguments if not word.startswith("-")), "")
        if script and "-c" not in arguments and "-e" not in arguments:
            return _stranger(script, basename(script), None, is_locker, depth)
    if name in ("command", "type") and arguments[:1] in (["-v"], ["-V"]):
        return Effect.NOTHING
    if name in _WRAPPERS:
        return _words(_wrapped(name, arguments), read, is_locker, depth - 1)
    for known in (_compositor, _locker, _asks_logind):
        result = known(name, arguments, read, is_locker, depth)
        if result is not None:
            return result
    if name in HARMLESS:
        return Effect.NOTHING
    return _stranger(words[0], name, read, is_locker, depth)


def _is_assignment(word: str) -> bool:
    return re.match(r"[A-Za-z_][A-Za-z0-9_]*\+?=", word) is not None


def _shell(arguments: list[str], read: ReadScript | None, is_locker: bool, depth: int) -> Effect:
    """`sh -c COMMAND`, or `sh SCRIPT`."""
    for position, word in enumerate(arguments):
        if re.match(r"-[a-z]*c\Z", word):
            rest = arguments[position + 1 :]
            return _line(rest[0], read, is_locker, depth - 1) if rest else Effect.NOTHING
        if not word.startswith("-"):
            return _stranger(word, basename(word), read, is_locker, depth)
    return Effect.UNKNOWN


def _wrapped(name: str, arguments: list[str]) -> list[str]:
    """The command that a wrapper runs: what follows its options (and the operands it takes)."""
    rest = list(arguments)
    operands = 1 if name in ("timeout", "flock", "chrt") else 0
    if name == "uwsm" and rest[:1] == ["app"]:
        rest = rest[1:]
    while rest:
        word = rest[0]
        if word == "--":
            return rest[1:]
        if word.startswith("-") and len(word) > 1:
            skip = 2 if word in _VALUED and not (name == "sudo" and word == "-b") else 1
            if name in ("env", "setsid", "exec", "nohup") and word in ("-i", "-c", "-s", "-g"):
                skip = 1
            if name == "flock" and word in ("-n", "-o", "-s", "-u"):
                skip = 1
            rest = rest[skip:]
        elif name == "env" and _is_assignment(word):
            rest = rest[1:]
        elif operands:
            operands -= 1
            rest = rest[1:]
        else:
            break
    return rest


def _compositor(
    name: str, arguments: list[str], read: ReadScript | None, is_locker: bool, depth: int
) -> Effect | None:
    """`hyprctl dispatch exec hyprlock` and its like; None for anything else."""
    wanted = _COMPOSITORS.get(name)
    if wanted is None:
        return None
    # i3 and sway take the whole command as one word, too.
    rest = [part for word in arguments if word != "--" for part in _split_once(word, wanted)]
    rest = [word for word in rest if not word.startswith("-")]
    heads = [word.removesuffix("-sh") for word in rest[: len(wanted)]]
    if tuple(heads) != wanted or len(rest) == len(wanted):
        return None
    return _line(" ".join(rest[len(wanted) :]), read, is_locker, depth - 1)


def _split_once(word: str, wanted: tuple[str, ...]) -> list[str]:
    first, blank, rest = word.partition(" ")
    return [first, rest] if blank and first in wanted else [word]


def _locker(
    name: str, arguments: list[str], _read: ReadScript | None, _is_locker: bool, _depth: int
) -> Effect | None:
    """A program that locks, or has another one lock; None for anything else."""
    if name in LOCKERS:
        return Effect.LOCKS
    if name in LOCKERS_BY_OPTION:
        locks = any(word in LOCKERS_BY_OPTION[name] for word in arguments)
        return Effect.LOCKS if locks else Effect.NOTHING
    if name in DELEGATES:
        locks = not DELEGATES[name] or any(word in DELEGATES[name] for word in arguments)
        return Effect.LOCKS_UNVERIFIED if locks else Effect.NOTHING
    if name in SHELLS:
        locks = any(re.match(r"lock", word, re.IGNORECASE) for word in arguments)
        return Effect.LOCKS_UNVERIFIED if locks else Effect.UNKNOWN
    if name == "xset" and arguments[:2] == ["s", "activate"]:
        return Effect.ACTIVATES
    return None


def _asks_logind(
    name: str, arguments: list[str], _read: ReadScript | None, _is_locker: bool, _depth: int
) -> Effect | None:
    """logind's lock signal, the screen saver's method, or a unit that locks."""
    operands = [word for word in arguments if not word.startswith("-")]
    if name == "loginctl" and operands[:1] in (["lock-session"], ["lock-sessions"]):
        return Effect.SIGNALS
    if name in ("dbus-send", "busctl", "gdbus", "qdbus", "qdbus6"):
        said = " ".join(arguments)
        if not re.search(r"(?:\.|\s|^)Lock(?:Session|Sessions)?(?:\s|\Z|:)", said):
            return Effect.NOTHING
        if "login1" in said:
            return Effect.SIGNALS
        return Effect.LOCKS_UNVERIFIED if "ScreenSaver" in said else Effect.UNKNOWN
    if name == "systemctl" and operands[:1] in (["start"], ["restart"], ["isolate"]):
        locks = any(_LOCKING_NAME.search(unit) for unit in operands[1:])
        return Effect.LOCKS_UNVERIFIED if locks else Effect.UNKNOWN
    return None


def _stranger(
    program: str, name: str, read: ReadScript | None, is_locker: bool, depth: int
) -> Effect:
    """A program of the user's own: what its text does, else what its name and place promise."""
    text = read(program) if read is not None and not program.startswith("$") else None
    inside = Effect.UNKNOWN
    if text is not None and depth > 1:
        inside = _line(text, None, False, depth - 1)
    if is_locker or _LOCKING_NAME.search(name) or inside >= Effect.LOCKS_UNVERIFIED:
        # Conditions inside a script are not followed: that it always locks is not shown.
        return Effect.LOCKS_UNVERIFIED if inside != Effect.SIGNALS else Effect.SIGNALS
    return max(inside, Effect.UNKNOWN)
