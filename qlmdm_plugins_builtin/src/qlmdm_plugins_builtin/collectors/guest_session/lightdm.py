"""LightDM: the only display manager with guest sessions of its own.

A guest gets in where `allow-guest` is true and the script that makes guest accounts is
installed (seat.c: seat_get_allow_guest), or where guests are logged in by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from os.path import isabs

from qlmdm_core import JSON, Host

from .. import keyfile
from ..whole import read_whole

DEFAULT_SCRIPT = "guest-account"
ALL_SEATS = "Seat:*"
TIMEOUT = 5.0


class UnreadableError(Exception):
    """The configuration can't be read as LightDM reads it; the message is the reason."""


@dataclass
class Config:
    """LightDM's merged configuration, with the file that each value came from."""

    groups: dict[str, dict[str, str]] = field(default_factory=dict)
    sources: dict[tuple[str, str], str] = field(default_factory=dict)

    def load(self, entries: Iterable[keyfile.Entry], source: str) -> None:
        """Take over what a file says, over what is there."""
        for entry in entries:
            # configuration.c: the old name of the group is an alias of the new one.
            group = ALL_SEATS if entry.group == "SeatDefaults" else entry.group
            self.groups.setdefault(group, {})[entry.key] = entry.value
            self.sources[group, entry.key] = source

    def value(self, group: str, key: str) -> str | None:
        """A value as it stands."""
        return self.groups.get(group, {}).get(key)

    def of_seat(self, seat: str) -> dict[str, tuple[str, str]]:
        """What holds for a seat, each with its source: its own groups over that for all seats."""
        found: dict[str, tuple[str, str]] = {}
        names = [name for name in self.groups if name.startswith("Seat:") and name != ALL_SEATS]
        for name in [ALL_SEATS, *(n for n in names if _matches(n.removeprefix("Seat:"), seat))]:
            for key, value in self.groups.get(name, {}).items():
                found[key] = (value, self.sources.get((name, key), ""))
        return found

    def named_seats(self) -> set[str]:
        """Seats that groups name without a wildcard."""
        names = (name.removeprefix("Seat:") for name in self.groups if name.startswith("Seat:"))
        return {name for name in names if not re.search(r"[*?]", name)}


def _matches(pattern: str, seat: str) -> bool:
    # g_pattern_match_simple knows * and ?, not […].
    return fnmatchcase(seat, pattern.replace("[", "[[]"))


def is_true(value: str | None, default: bool) -> bool:
    """Exactly `true` is true; `True`, `yes` and `1` are not (configuration.c)."""
    return default if value is None else value.rstrip() == "true"


# --- reading --------------------------------------------------------------------------------


def read_config(host: Host, argv: tuple[str, ...], environ: Mapping[str, str]) -> Config:
    """The effective configuration. Raises `UnreadableError`.

    LightDM shows it itself; but it passes over files that it may not read, so they are read
    here first.
    """
    given = _config_argument(argv)
    by_files = _by_files(host, given, environ)
    words = ["lightdm", *(["--config", given] if given else []), "--show-config"]
    result = host.run(words, timeout=TIMEOUT)
    shown = parse_shown(result.stderr + "\n" + result.stdout) if result.ok else None
    return shown if shown is not None else by_files


def _config_argument(argv: tuple[str, ...]) -> str | None:
    for at, word in enumerate(argv):
        if word in ("-c", "--config") and at + 1 < len(argv):
            return argv[at + 1]
        if word.startswith("--config="):
            return word.partition("=")[2]
    return None


def parse_shown(text: str) -> Config | None:
    """The output of `lightdm --show-config`; None if it is something else.

    Before each entry stands the letter of its file, explained below `Sources:`.
    """
    body, mark, legend = text.partition("\nSources:")
    words = (line.split(None, 1) for line in legend.splitlines())
    letters = {pair[0]: pair[1].strip() for pair in words if len(pair) == 2}
    config = Config()
    group = None
    for line in body.splitlines():
        header = re.match(r"\[(.+)\]\Z", line.strip())
        entry = re.match(r"(?:([A-Z]+)\s+|\s+)([A-Za-z0-9-]+)=(.*)\Z", line)
        if header:
            group = header[1]
            config.groups.setdefault(group, {})
        elif entry and group is not None:
            source = letters.get(entry[1] or "", "")
            config.load([keyfile.Entry(group, entry[2], entry[3].strip())], source)
    return config if group is not None and mark else None


def _by_files(host: Host, given: str | None, environ: Mapping[str, str]) -> Config:
    """Read the files in LightDM's own order; what comes later wins (lightdm.c)."""
    data = _directories(environ.get("XDG_DATA_DIRS"), ("/usr/local/share", "/usr/share"))
    conf = _directories(environ.get("XDG_CONFIG_DIRS"), ("/etc/xdg",))
    directories = [f"{path}/lightdm/lightdm.conf.d" for path in (*reversed(data), *reversed(conf))]
    if given is None:
        directories.append("/etc/lightdm/lightdm.conf.d")
    paths = [path for directory in directories for path in _drop_ins(host, directory)]
    paths.append(given or "/etc/lightdm/lightdm.conf")
    config = Config()
    for path in paths:
        try:
            config.load(list(keyfile.entries(read_whole(host, path))), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UnreadableError(f"{path}: {error.strerror or error}") from None
        except keyfile.KeyFileError as error:
            raise UnreadableError(f"{path}: {error}") from None
    return config


def _directories(named: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(path.rstrip("/") for path in (named or "").split(":") if isabs(path))
    return found or usual


def _drop_ins(host: Host, directory: str) -> list[str]:
    try:
        names = host.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UnreadableError(f"{directory}: {error.strerror or error}") from None
    return [f"{directory}/{name}" for name in sorted(names) if name.endswith(".conf")]


# --- judging --------------------------------------------------------------------------------


@dataclass(frozen=True)
class SeatVerdict:
    """Whether a guest gets in at one seat."""

    seat: str
    guest: bool
    autologin: str | None
    settings: Mapping[str, JSON]


def judge_seat(config: Config, seat: str, *, script_installed: bool) -> SeatVerdict:
    """The verdict on one seat. `greeter-allow-guest` only hides the button, and `guest-session`
    only names the kind of session: neither counts."""
    values = config.of_seat(seat)
    text = {key: value for key, (value, _) in values.items()}
    allows = is_true(text.get("allow-guest"), True)
    by_itself = is_true(text.get("autologin-guest"), False)
    settings: dict[str, JSON] = {}
    for key in ("allow-guest", "autologin-guest", "autologin-user", "greeter-allow-guest"):
        if key in values:
            settings[key] = {"value": values[key][0], "source": values[key][1]}
    user = text.get("autologin-user", "").strip() or None
    return SeatVerdict(
        seat=seat,
        guest=script_installed and (allows or by_itself),
        autologin=None if by_itself and script_installed else user,
        settings=settings,
    )


def remote_logins(config: Config) -> list[str]:
    """The ways in which LightDM shows its login screen over the network."""
    groups = {"XDMCPServer": "xdmcp", "VNCServer": "vnc"}
    return [
        name for group, name in groups.items() if is_true(config.value(group, "enabled"), False)
    ]


def guest_script(host: Host, config: Config) -> tuple[str, bool]:
    """The script that makes guest accounts, and whether it is installed (guest-account.c)."""
    named = config.value("LightDM", "guest-account-script")
    script = DEFAULT_SCRIPT if named is None else named.strip()
    if not script:
        return "", False
    return script, host.exists(script) if isabs(script) else host.which(script) is not None


def seats(host: Host) -> list[str] | None:
    """The machine's seats; None where nobody tells."""
    result = host.run(["loginctl", "list-seats", "--no-legend", "--no-pager"], timeout=TIMEOUT)
    if not result.ok:
        return None
    words = [line.strip() for line in result.stdout.splitlines()]
    return [word for word in words if re.match(r"seat[\w-]*\Z", word)] or None
