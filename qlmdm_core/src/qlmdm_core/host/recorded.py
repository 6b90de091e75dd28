"""Reads and checks the JSON files of a recorded machine (docs/recordings.md has the format).

A recording may come from a stranger: everything in it is checked here, once, and trusted
afterwards. What is wrong is a `RecordingError` that names the file and the place in it.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from qlmdm_core.api import JSON, FileStat, Process
from qlmdm_core.errors import RecordingError

FORMAT = 1
MAX_JSON_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class RecordedCommand:
    """One command that was asked, and what came of it."""

    argv: tuple[str, ...]
    user: str | None = None
    env: Mapping[str, str] | None = None
    stdin: str | None = None
    stdout: str = ""
    stderr: str = ""
    returncode: int | None = 0
    timed_out: bool = False
    # What follows is written by our recorder only, for answers that the others can't tell.
    found: bool = True
    truncated: bool = False
    error: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments that are no options, by which a similar command is recognised."""
        return tuple(word for word in self.argv[1:] if not word.startswith("-"))


@dataclass(frozen=True, kw_only=True)
class RecordedHttp:
    """One request to the network, and its answer."""

    method: str
    url: str
    request: JSON = None
    status: int = 0
    body: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """All that a recording says, but for its files."""

    recorded_at: datetime
    root: bool
    note: str = ""
    unreadable: tuple[str, ...] = ()
    not_read: tuple[str, ...] = ()
    """Files that were seen by our recorder, and whose content nobody asked for."""
    stat: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """For each path: those of mode, uid, size, mtime, rdev that are known."""
    commands: tuple[RecordedCommand, ...] = ()
    processes: tuple[Process, ...] = ()
    http: tuple[RecordedHttp, ...] = ()


def read_recording(directory: str) -> Recording:
    """Read the JSON files of a recording; raises `RecordingError`."""
    machine = _Place(os.path.join(directory, "machine.json"))
    top = machine.mapping(_load(machine.where, required=True))
    if machine.at("format").integer(top.get("format")) != FORMAT:
        raise machine.at("format").error(
            f"expected {FORMAT}; a newer qlmdm may be able to read this recording"
        )
    stats = machine.at("stat").mapping(top.get("stat", {}))
    unreadable = machine.at("unreadable").sequence(top.get("unreadable", []))
    not_read = machine.at("not_read").sequence(top.get("not_read", []))
    return Recording(
        recorded_at=machine.at("recorded_at").time(top.get("recorded_at")),
        root=machine.at("root").boolean(top.get("root", True)),
        note=machine.at("note").text(top.get("note") or ""),
        unreadable=tuple(place.path(path) for place, path in unreadable),
        not_read=tuple(place.path(path) for place, path in not_read),
        stat={
            machine.at("stat").path(path): _stat(machine.at("stat").at(path), entry)
            for path, entry in stats.items()
        },
        commands=tuple(_command(*entry) for entry in _entries(directory, "commands.json")),
        processes=tuple(_process(*entry) for entry in _entries(directory, "processes.json")),
        http=tuple(_http(*entry) for entry in _entries(directory, "http.json")),
    )


class _Place:
    """A place in a JSON file, which can check the value that stands there."""

    def __init__(self, where: str) -> None:
        self.where = where

    def at(self, key: str | int) -> _Place:
        """The place below this one."""
        return _Place(f"{self.where}: {key}" if isinstance(key, str) else f"{self.where}[{key}]")

    def error(self, message: str) -> RecordingError:
        """The error that says what is wrong here."""
        text = f"{self.where}: {message}"[:1000]
        return RecordingError(text.encode("utf-8", "backslashreplace").decode())

    def mapping(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error("expected a JSON object")
        return value

    def sequence(self, value: Any) -> list[tuple[_Place, Any]]:
        if not isinstance(value, list):
            raise self.error("expected a JSON list")
        return [(self.at(number), item) for number, item in enumerate(value)]

    def text(self, value: Any, errors: str = "strict") -> str:
        if not isinstance(value, str):
            raise self.error("expected text")
        try:
            value.encode("utf-8", errors)
        except UnicodeEncodeError:
            raise self.error("not valid Unicode") from None
        return value

    def name(self, value: Any) -> str:
        # Bytes of a file name that are not UTF-8 travel as surrogates, as os.fsdecode has them.
        if "\0" in self.text(value, "surrogateescape"):
            raise self.error("holds a NUL")
        return str(value)

    def path(self, value: Any) -> str:
        if not self.name(value).startswith("/"):
            raise self.error(f"expected an absolute path, not {value!r}")
        return str(value)

    def boolean(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self.error("expected true or false")
        return value

    def integer(self, value: Any, *, minimum: int = -(2**63)) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < 2**64:
            raise self.error("expected a whole number")
        return value

    def number(self, value: Any) -> float:
        if isinstance(value, float) and math.isfinite(value):
            return value
        return float(self.integer(value))

    def time(self, value: Any) -> datetime:
        text = self.text(value)
        try:
            # Python 3.10 does not read "Z".
            moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone.utc)
            return moment.astimezone(timezone.utc)
        except (ValueError, OverflowError):
            raise self.error("expected a time such as 2026-11-01T12:00:00+00:00") from None

    def texts(self, value: Any) -> dict[str, str]:
        """An object that holds nothing but texts, such as an environment."""
        return {
            self.name(key): self.at(key).text(inner) for key, inner in self.mapping(value).items()
        }

    def words(self, value: Any) -> tuple[str, ...]:
        return tuple(place.name(word) for place, word in self.sequence(value))


def _load(path: str, *, required: bool = False) -> Any:
    """The JSON in a regular file, or None if there is no such file."""
    try:
        # Not a link: a recording must not show what lies elsewhere on the reader's machine.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if required:
            raise RecordingError(f"{path}: not there; this is not a recorded machine") from None
        return None
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: can't be read: {error}") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RecordingError(f"{path}: not a regular file")
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise RecordingError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MiB")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise RecordingError(f"{path}: not UTF-8") from None
    except RecursionError:
        raise RecordingError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise RecordingError(f"{path}: not JSON: {error}") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _entries(directory: str, name: str) -> list[tuple[_Place, dict[str, Any]]]:
    place = _Place(os.path.join(directory, name))
    value = _load(place.where)
    if value is None:
        return []
    return [(inner, inner.mapping(entry)) for inner, entry in place.sequence(value)]


def _stat(place: _Place, value: Any) -> dict[str, float]:
    known: dict[str, float] = {}
    for key, entry in place.mapping(value).items():
        if key == "mtime":
            known[key] = place.at(key).number(entry)
        elif key in ("mode", "uid", "size", "rdev"):
            known[key] = place.at(key).integer(entry, minimum=0)
    if known.get("mode", 0) >= 2**32:
        raise place.at("mode").error("expected type and permission bits")
    return known


def file_stat(known: Mapping[str, float], plain: FileStat) -> FileStat:
    """A `FileStat` of what is recorded, and for the rest what a plain file or folder has."""
    mode = int(known.get("mode", plain.mode))
    return FileStat(
        mode=mode if stat.S_IFMT(mode) else mode | stat.S_IFMT(plain.mode),
        uid=int(known.get("uid", plain.uid)),
        size=int(known.get("size", plain.size)),
        mtime=float(known.get("mtime", plain.mtime)),
        rdev=int(known.get("rdev", plain.rdev)),
    )


def _optional(value: Any, check: Any, default: Any = None) -> Any:
    return default if value is None else check(value)


def _command(place: _Place, entry: dict[str, Any]) -> RecordedCommand:
    argv = place.at("argv").words(entry.get("argv"))
    if not argv or not argv[0]:
        raise place.at("argv").error("expected at least the program")
    timed_out = _optional(entry.get("timed_out"), place.at("timed_out").boolean, False)
    returncode = entry.get("returncode", None if timed_out else 0)
    return RecordedCommand(
        argv=argv,
        user=_optional(entry.get("user"), place.at("user").name),
        env=_optional(entry.get("env"), place.at("env").texts),
        stdin=_optional(entry.get("stdin"), place.at("stdin").text),
        stdout=place.at("stdout").text(entry.get("stdout")),
        stderr=_optional(entry.get("stderr"), place.at("stderr").text, ""),
        returncode=_optional(returncode, place.at("returncode").integer),
        timed_out=timed_out,
        found=_optional(entry.get("found"), place.at("found").boolean, True),
        truncated=_optional(entry.get("truncated"), place.at("truncated").boolean, False),
        error=_optional(entry.get("error"), place.at("error").text, ""),
    )


def _process(place: _Place, entry: dict[str, Any]) -> Process:
    return Process(
        pid=place.at("pid").integer(entry.get("pid"), minimum=0),
        ppid=_optional(entry.get("ppid"), place.at("ppid").integer),
        uid=_optional(entry.get("uid"), place.at("uid").integer),
        user=_optional(entry.get("user"), place.at("user").text),
        comm=_optional(entry.get("comm"), place.at("comm").text),
        argv=_optional(entry.get("argv"), place.at("argv").words),
        exe=_optional(entry.get("exe"), place.at("exe").text),
        environ=_optional(entry.get("environ"), place.at("environ").texts),
    )


def _http(place: _Place, entry: dict[str, Any]) -> RecordedHttp:
    return RecordedHttp(
        method=place.at("method").text(entry.get("method")).upper(),
        url=place.at("url").text(entry.get("url")),
        request=entry.get("request"),
        status=place.at("status").integer(entry.get("status"), minimum=0),
        body=_optional(entry.get("body"), place.at("body").text, ""),
        error=_optional(entry.get("error"), place.at("error").text, ""),
    )
