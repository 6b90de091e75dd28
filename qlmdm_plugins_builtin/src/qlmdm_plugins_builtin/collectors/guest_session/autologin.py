"""Who is logged in without being asked, by display managers that know no guests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core import Host

from .. import keyfile
from ..whole import read_whole


@dataclass(frozen=True)
class Autologin:
    """What a display manager's configuration says of autologin."""

    user: str | None = None
    source: str = ""
    """The file that says so."""
    reason: str = ""
    """Why it can't be told."""


class UnreadableError(Exception):
    """A configuration is there and can't be read."""


def _text(host: Host, path: str) -> str | None:
    try:
        return read_whole(host, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror or error}") from None


def _drop_ins(host: Host, directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in sorted(host.listdir(directory))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UnreadableError(f"{directory}: {error.strerror or error}") from None


def loose_groups(text: str) -> dict[str, dict[str, str]]:
    """Groups of `key=value` lines; what is none of these is passed over (Qt, lxdm and ly do so)."""
    found: dict[str, dict[str, str]] = {}
    group = found.setdefault("", {})
    for raw in text.splitlines():
        line = raw.strip()
        header = re.match(r"\[([^\]]+)\]", line)
        if not line or line[0] in "#;":
            continue
        if header:
            group = found.setdefault(header[1].strip(), {})
        elif "=" in line:
            key, _, value = line.partition("=")
            group[key.strip()] = value.strip()
    return found


# --- GDM ------------------------------------------------------------------------------------

# Ubuntu, Debian, the others; then what is set until the next boot (gdm-settings.c).
GDM_FILES = (
    "/etc/gdm3/custom.conf",
    "/etc/gdm3/daemon.conf",
    "/etc/gdm/custom.conf",
    "/run/gdm3/custom.conf",
    "/run/gdm/custom.conf",
)


def gdm_user(text: str) -> str | None:
    """The user that GDM logs in, at once or after a while. Raises `keyfile.KeyFileError`.

    Groups of one name are merged. True is `true` in any case, or `1` (gdm-settings-utils.c).
    """
    daemon = keyfile.groups(text).get("daemon", {})
    for switch, name in (
        ("AutomaticLoginEnable", "AutomaticLogin"),
        ("TimedLoginEnable", "TimedLogin"),
    ):
        if daemon.get(switch, "").lower() in ("true", "1") and daemon.get(name):
            return daemon[name]
    return None


def _gdm(host: Host, _argv: Sequence[str]) -> Autologin:
    for path in GDM_FILES:
        text = _text(host, path)
        if text is None:
            continue
        try:
            user = gdm_user(text)
        except keyfile.KeyFileError as error:
            return Autologin(reason=f"{path}: {error}")
        if user is not None:
            return Autologin(user, path)
    return Autologin()


# --- SDDM and its child, Plasma Login Manager -----------------------------------------------


def _like_sddm(name: str) -> Callable[[Host, Sequence[str]], Autologin]:
    def read(host: Host, _argv: Sequence[str]) -> Autologin:
        # sddm.conf(5): the directories first, the file last; what comes later wins.
        paths = [
            *_drop_ins(host, f"/usr/lib/{name}/{name}.conf.d"),
            *_drop_ins(host, f"/etc/{name}.conf.d"),
            f"/etc/{name}.conf",
        ]
        user, source = "", ""
        for path in paths:
            group = loose_groups(_text(host, path) or "").get("Autologin", {})
            if "User" in group:
                user, source = group["User"], path
        return Autologin(user or None, source if user else "")

    return read


# --- greetd ---------------------------------------------------------------------------------


def toml_string(text: str, table: str, key: str) -> str | None:
    """A string of a table in a TOML file, as far as greetd needs it.

    `[initial_session]` may also be written as one line: `initial_session = { user = "ada" }`.
    """
    inline = re.compile(rf"{re.escape(table)}\s*=\s*\{{(.*)\}}")
    dotted = re.compile(rf"{re.escape(table)}\s*\.\s*(.*)\Z")
    entry = re.compile(
        rf"(?:^|[{{,\s])[\"']?{re.escape(key)}[\"']?\s{{0,99}}=\s*(?:\"([^\"]*)\"|'([^']*)')"
    )
    current = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        header = re.match(r"\[\s*[\"']?([\w.-]+)[\"']?\s*\]\s*(?:#.*)?\Z", line)
        if header:
            current = header[1]
            continue
        where = line if current == table else ""
        if not current:
            top = inline.match(line) or dotted.match(line)
            where = top[1] if top else ""
        found = entry.search(where)
        if found:
            return found[1] if found[1] is not None else found[2]
    return None


UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)


GREETD_FILE = "/etc/greetd/config.toml"
COSMIC_FILE = "/etc/greetd/cosmic-greeter.toml"
"""What COSMIC's login screen, which is greetd, is started with."""


def _greetd_path(host: Host, argv: Sequence[str]) -> str:
    """The configuration: named on the command line, in the unit, or the usual one."""
    named = _config_word(argv)
    if named is None:
        for directory in UNITS:
            for unit in ("greetd.service", "cosmic-greeter.service", "display-manager.service"):
                text = _text(host, f"{directory}/{unit}")
                line = re.search(r"^ExecStart=(.*greetd.*)$", text or "", re.MULTILINE)
                named = named or (_config_word(line[1].split()) if line else None)
    if named is None and not host.exists(GREETD_FILE) and host.exists(COSMIC_FILE):
        return COSMIC_FILE
    return named or GREETD_FILE


def _config_word(argv: Sequence[str]) -> str | None:
    for at, word in enumerate(argv):
        if word in ("-c", "--config") and at + 1 < len(argv):
            return argv[at + 1]
        if word.startswith("--config="):
            return word.partition("=")[2]
    return None


def _greetd(host: Host, argv: Sequence[str]) -> Autologin:
    path = _greetd_path(host, argv)
    text = _text(host, path) or ""
    user = toml_string(text, "initial_session", "user") or _without_a_greeter(text)
    return Autologin(user or None, path if user else "")


def _without_a_greeter(text: str) -> str | None:
    """The user of `default_session`, where that is no login screen but a desktop.

    Login screens have an account of their own, which is called greeter or so.
    """
    user = toml_string(text, "default_session", "user") or ""
    command = toml_string(text, "default_session", "command") or ""
    shows_login = re.search(r"greet|hello|login|getty", f"{user} {command}", re.IGNORECASE)
    return user if user and command and not shows_login else None


# --- the small ones -------------------------------------------------------------------------


def _lxdm(host: Host, _argv: Sequence[str]) -> Autologin:
    for path in ("/etc/lxdm/lxdm.conf", "/etc/lxdm/default.conf"):
        text = _text(host, path)
        if text is not None:
            user = loose_groups(text).get("base", {}).get("autologin", "")
            return Autologin(user or None, path if user else "")
    return Autologin()


def _ly(host: Host, _argv: Sequence[str]) -> Autologin:
    path = "/etc/ly/config.ini"
    user = loose_groups(_text(host, path) or "").get("", {}).get("auto_login_user", "")
    return Autologin(user, path) if user and user != "null" else Autologin()


def _slim(host: Host, _argv: Sequence[str]) -> Autologin:
    path = "/etc/slim.conf"
    words = dict(re.findall(r"^[ \t]*(\w+)[ \t]+(\S+)", _text(host, path) or "", re.MULTILINE))
    user = words.get("default_user")
    return Autologin(user, path) if user and words.get("auto_login") == "yes" else Autologin()


READERS: Mapping[str, Callable[[Host, Sequence[str]], Autologin]] = {
    "gdm": _gdm,
    "greetd": _greetd,
    "lxdm": _lxdm,
    "ly": _ly,
    "plasmalogin": _like_sddm("plasmalogin"),
    "sddm": _like_sddm("sddm"),
    "slim": _slim,
}

WITHOUT_GUESTS = frozenset({*READERS, "emptty", "kdm", "lemurs", "mdm", "nodm", "wdm", "xdm"})
"""Display managers that have no guest session."""


def read(host: Host, manager: str, argv: Sequence[str]) -> Autologin:
    """Who is logged in by itself, as far as there is a reader for this display manager."""
    reader = READERS.get(manager)
    if reader is None:
        return Autologin(reason=f"the configuration of {manager} is not read")
    try:
        return reader(host, argv)
    except UnreadableError as error:
        return Autologin(reason=str(error))
