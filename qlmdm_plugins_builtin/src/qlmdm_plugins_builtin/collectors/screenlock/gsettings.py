"""Effective settings of GSettings schemas (GNOME, MATE, Cinnamon, light-locker) for one user.

gsettings is asked first: it alone knows the user's values, the administrator's values and
locks, the distribution's defaults and those of the schema. Where it is missing, dconf knows
all but the defaults.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qlmdm_core import JSON, CommandResult

from .. import keyfile
from .gvariant import Value, parse
from .model import CannotTellError
from .place import Place

_VARYING = re.compile(r"\([\w-]{1,40}:\d+\): |\b\d\d:\d\d:\d\d\.\d{3}: ")
"""What GLib puts before a message: the process, and the time. A reason that has them would be
another one each time."""
OVERRIDES = "/usr/share/glib-2.0/schemas/*.gschema.override"


@dataclass(frozen=True)
class Key:
    """One setting: where it is, its type, and what its schema says when nobody set it."""

    schema: str
    name: str
    type: str
    default: bool | int | str
    path: str
    """The dconf directory of its schema, with a slash at both ends."""
    optional: bool = False
    """Some versions of the program do without it; where it is missing, it has its default."""

    def __str__(self) -> str:
        return f"{self.schema} {self.name}"


class MissingKeyError(CannotTellError):
    """This machine has no such schema, or no such key in it."""


class GSettings:
    """The settings of one session's user; what was asked is remembered as evidence."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._listed: dict[str, dict[str, str] | None] = {}
        self._dumped: dict[str, dict[str, str] | None] = {}
        self._answered = False
        self.seen: dict[str, JSON] = {}
        """What was read, by `schema key`."""

    def boolean(self, key: Key) -> bool:
        """The effective value. Raises `CannotTellError`."""
        return bool(self._value(key))

    def integer(self, key: Key) -> int:
        """The effective value. Raises `CannotTellError`."""
        return int(self._value(key))

    def string(self, key: Key) -> str:
        """The effective value. Raises `CannotTellError`."""
        return str(self._value(key))

    def _value(self, key: Key) -> bool | int | str:
        try:
            value = self._by_gsettings(key)
        except MissingKeyError:
            if not key.optional:
                raise
            value = key.default
        if value is None:
            value = self._by_dconf(key)
        self.seen[str(key)] = value
        return value

    # --- gsettings -----------------------------------------------------------------------

    def _by_gsettings(self, key: Key) -> bool | int | str | None:
        """The value, or None where gsettings is not there to ask."""
        result = self._place.ask("gsettings", "get", key.schema, key.name)
        if result.found:
            value = _converted(key, _trusted(result, key))
            self._answered = True
            return value
        for schema in (key.schema, ""):
            text = (self._list(schema, key) or {}).get(str(key))
            if text is not None:
                self._answered = True
                return _converted(key, text)
        if self._answered and key.optional:
            raise MissingKeyError(f"there is no setting {key}")
        return None

    def _list(self, schema: str, key: Key) -> dict[str, str] | None:
        """All settings of a schema (or of all schemas), by `schema key`; None: nobody to ask."""
        if schema not in self._listed:
            words = ["gsettings", "list-recursively", *([schema] if schema else [])]
            result = self._place.ask(*words)
            self._listed[schema] = _table(_trusted(result, key)) if result.found else None
        return self._listed[schema]

    # --- dconf ---------------------------------------------------------------------------

    def _by_dconf(self, key: Key) -> bool | int | str:
        result = self._place.ask("dconf", "read", key.path + key.name)
        if result.found:
            text = _trusted(result, key)
        else:
            dumped = self._dump_with(key.path)
            if dumped is None:
                raise CannotTellError(f"{key} can't be read: gsettings: {_why(result)}")
            text = dumped.get(key.path + key.name, "")
        value = parse(text)
        # A value of another type is not used, whatever it says (gsettings.c:
        # g_settings_read_from_backend falls back to the default).
        if value is None or value.type != key.type:
            return self._default(key)
        return value.value

    def _dump_with(self, path: str) -> dict[str, str] | None:
        """The settings by their full names, those under `path` among them.

        A live dconf dumps all. A recording may hold a part; the smallest that is asked for is
        the one that is wanted.
        """
        if self._place.host.which("dconf") is None:
            return None
        parts = path.strip("/").split("/")
        for length in range(len(parts) + 1):
            dumped = self._dump("/" + "".join(f"{part}/" for part in parts[:length]))
            if dumped is not None:
                return dumped
        return None

    def _dump(self, root: str) -> dict[str, str] | None:
        if root not in self._dumped:
            result = self._place.ask("dconf", "dump", root)
            self._dumped[root] = _dumped(result, root) if result.found else None
        return self._dumped[root]

    def _default(self, key: Key) -> bool | int | str:
        """What holds when nobody set it: the distribution's override, else the schema's default."""
        value = key.default
        host = self._place.host
        for path in host.glob(OVERRIDES):
            try:
                groups = keyfile.groups(self._place.text(path) or "")
            except keyfile.KeyFileError:
                continue  # glib-compile-schemas refuses the file
            for name in (key.schema, *self._override_groups(key)):
                found = parse(groups.get(name, {}).get(key.name, ""))
                if found is not None and type(found.value) is type(key.default):
                    value = found.value
        return value

    def _override_groups(self, key: Key) -> list[str]:
        """`[schema:Desktop]` holds for that desktop alone (glib-compile-schemas(1))."""
        desktops = self._place.environ.get("XDG_CURRENT_DESKTOP", "").split(":")
        return [f"{key.schema}:{desktop}" for desktop in reversed(desktops) if desktop]


def _dumped(result: CommandResult, root: str) -> dict[str, str]:
    """What `dconf dump` printed. The groups are below what was dumped; `[/]` is that itself."""
    try:
        entries = list(keyfile.entries(_trusted(result)))
    except keyfile.KeyFileError as error:
        raise CannotTellError(f"dconf dump: {error}") from None
    groups = ((e.group.strip("/"), e) for e in entries)
    return {f"{root}{group}{'/' if group else ''}{e.key}": e.value for group, e in groups}


_LINE = re.compile(r"(\S+) (\S+) (.*)\Z")


def _table(text: str) -> dict[str, str]:
    """The lines `schema key value` of `gsettings list-recursively`."""
    matches = (_LINE.match(line) for line in text.splitlines())
    return {f"{match[1]} {match[2]}": match[3] for match in matches if match}


def _converted(key: Key, text: str) -> bool | int | str:
    value = parse(text)
    if value is None or not _fits(value, key):
        raise CannotTellError(f"{key} can't be understood: {text[:60]!r}")
    return value.value


def _fits(value: Value, key: Key) -> bool:
    # gsettings prints no value of another type; "300" for "uint32 300" is the same number.
    return type(value.value) is type(key.default)


def _trusted(result: CommandResult, key: Key | None = None) -> str:
    """What a settings tool printed, if it looked into the user's settings to find it.

    Without the user's bus, runtime directory or profile these tools print the schema's
    defaults, exit 0, and complain on stderr only.
    """
    if not result.ok:
        text = result.stderr
        if key is not None and ("No such schema" in text or "No such key" in text):
            raise MissingKeyError(f"there is no setting {key}: {text.strip()[:80]}")
        raise CannotTellError(result.why)
    for line in result.stderr.splitlines():
        if _complains(line):
            said = _VARYING.sub("", line).strip()[:160]
            raise CannotTellError(f"{result.argv[0]} did not see the user's settings: {said}")
    return result.stdout.strip()


def _complains(line: str) -> bool:
    # "expect degraded performance": a system database of the profile is not there; what the
    # session itself sees is the same (dconf-engine-source-system.c).
    if "expect degraded performance" in line:
        return False
    return "'memory' GSettings backend" in line or (
        "dconf" in line and ("WARNING" in line or "CRITICAL" in line)
    )


def _why(result: CommandResult) -> str:
    return result.error or "not installed"
