"""What lies where in the client's folder, and how its small state files are read and written.

    slots/1.7/            a release: exactly its manifest's files, and manifest.json, root.json
    slots/.stage-1.7/     one that is being written
    slots/.old-1.7/       one that is being taken away
    current               a link to the slot that is run
    release.json          the highest release ever tried, what turned out bad, the one before
    trial.json            a release that has to prove itself; absent: what runs is committed
    launchers/1.7/        a launcher; `launcher` is a link to the one that cron starts
    launcher_trial.json   the same for a launcher
    stamps/1.7            what the files of a verified slot looked like
    pycache/1.7/          bytecode of a slot's modules
    download/             what is being fetched

Each state file is replaced by a rename, after its data is on disk; a power cut leaves the old
one or the new one. A damaged one is an error, never the same as none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from qlmdm_core import strictjson
from qlmdm_core.api import JSON
from qlmdm_core.client.release.files import Files
from qlmdm_core.errors import SpoolError
from qlmdm_core.manifest import Version, read_version

SLOTS = "slots"
STAGE = ".stage-"
OLD = ".old-"
MANIFEST = "manifest.json"
ROOT_COPY = "root.json"
OWN_FILES = (MANIFEST, ROOT_COPY)
"""What a slot holds beside the files that its manifest names: the signed manifest itself, and
the root document whose keys vouched for it, since keys may change while it runs."""
CURRENT = "current"
RELEASE = "release.json"
TRIAL = "trial.json"
LAUNCHERS = "launchers"
LAUNCHER = "launcher"
LAUNCHER_TRIAL = "launcher_trial.json"
STAMPS = "stamps"
PYCACHE = "pycache"
DOWNLOAD = "download"
NEW = ".new-"
"""How the name of a state file begins while it is being written."""

MAX_STATE_BYTES = 64 << 10
MAX_BAD = 50
"""How many bad releases are remembered; older ones lie below the high-water mark anyway."""
MAX_REASON = 500
_VERSION = re.compile(r"[1-9][0-9]{0,8}\.[1-9][0-9]{0,8}\Z")


@dataclass(frozen=True, kw_only=True)
class ReleaseState:
    """What `release.json` holds."""

    high: Version | None = None
    """The highest release that was ever about to run here; nothing up to it is taken again."""
    bad: Mapping[str, str] = field(default_factory=dict)
    """Releases that failed their trial, and why."""
    previous: Version | None = None
    """The committed release before the present one."""
    bad_launchers: Mapping[str, str] = field(default_factory=dict)

    def is_bad(self, version: Version) -> bool:
        """Whether this release failed its trial."""
        return str(version) in self.bad


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What `trial.json` and `launcher_trial.json` hold."""

    slot: Version
    """What is tried."""
    previous: Version | None
    """What is gone back to."""
    tries_left: int


# --- paths --------------------------------------------------------------------------------------


def slot_path(version: Version) -> str:
    """A release's folder."""
    return f"{SLOTS}/{version}"


def stage_path(version: Version) -> str:
    """Where a release is written before it gets its name."""
    return f"{SLOTS}/{STAGE}{version}"


def old_path(version: Version) -> str:
    """Where a release is moved to be taken away."""
    return f"{SLOTS}/{OLD}{version}"


def slots(files: Files) -> list[Version]:
    """The releases that are there, lowest first."""
    return versions_in(files, SLOTS)


def versions_in(files: Files, folder: str) -> list[Version]:
    """Those names in a folder that are versions, lowest first; none if there is no folder."""
    try:
        names = files.names(folder)
    except FileNotFoundError:
        return []
    return sorted(read_version(name) for name in names if _VERSION.match(name))


def current(files: Files) -> Version | None:
    """The release that is run; None: this client was not installed by a release.

    Raises `SpoolError` for a link that leads elsewhere.
    """
    return pointed(files, CURRENT, SLOTS)


def pointed(files: Files, link: str, folder: str) -> Version | None:
    """Which version in `folder` a link of ours names."""
    found = files.stat(link)
    if found is None:
        return None
    try:
        if found.kind != "link":
            raise ValueError("not a link")
        head, _, name = files.readlink(link).rpartition("/")
        if head != folder:
            raise ValueError("it leads elsewhere")
        return read_version(name)
    except ValueError as error:
        raise SpoolError(f"{link} is damaged: {error}") from None


def point(files: Files, link: str, folder: str, version: Version) -> None:
    """Make a link name `folder/version`, durably and at once; the old or the new, never none."""
    temporary = NEW + link
    _unlink(files, temporary)
    files.symlink(f"{folder}/{version}", temporary)
    files.rename(temporary, link)
    files.fsync_dir("")


# --- small files --------------------------------------------------------------------------------


def write_file(files: Files, path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace a file durably: after a power cut it holds the old content or the new."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/{NEW}{name}" if folder else NEW + name
    _unlink(files, temporary)
    write_new(files, temporary, (data,), mode)
    files.rename(temporary, path)
    files.fsync_dir(folder)


def write_new(files: Files, path: str, chunks: Iterable[bytes], mode: int) -> None:
    """Write a file that is not there yet, and make its content durable, though not its name."""
    handle = files.create(path, mode)
    try:
        for chunk in chunks:
            files.write(handle, chunk)
        files.fsync(handle)
    finally:
        files.close(handle)


def remove_file(files: Files, path: str) -> None:
    """Take a file away, durably; no error if it is not there."""
    _unlink(files, path)
    files.fsync_dir(path.rpartition("/")[0])


def make_folder(files: Files, path: str) -> None:
    """Make a folder at the top, durably; no error if it is there."""
    found = files.stat(path)
    if found is None:
        files.mkdir(path)
    elif found.kind != "dir":
        raise SpoolError(f"{path} is in the way: expected a folder")
    # Even if it was there: who made it may have been cut off before this.
    files.fsync_dir("")


def remove_tree(files: Files, path: str) -> None:
    """Take a file or a folder with all that is in it away; no error if it is not there.

    No link is followed. Cut off in the middle, the rest is taken away the next time.
    """
    found = files.stat(path)
    if found is None:
        return
    if found.kind != "dir":
        files.unlink(path)
        return
    for name in files.names(path):
        remove_tree(files, f"{path}/{name}")
    files.rmdir(path)


def _unlink(files: Files, path: str) -> None:
    if files.stat(path) is not None:
        files.unlink(path)


# --- release.json -------------------------------------------------------------------------------


def read_release(files: Files) -> ReleaseState:
    """What was remembered of releases; nothing, if there is no such file.

    The highest release is never below the one that is run, so that a lost file opens no door.
    Raises `SpoolError` if the file is damaged.
    """
    value = _read_json(files, RELEASE)
    try:
        state = _release(value) if value is not None else ReleaseState()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpoolError(f"{RELEASE} is damaged: {error}; delete it to go on") from None
    # Not those that merely lie there: one may have been cut off before it was to be tried.
    seen = [version for version in (state.high, current(files)) if version is not None]
    return replace(state, high=max(seen, default=None))


def _release(value: Mapping[str, JSON]) -> ReleaseState:
    return ReleaseState(
        high=_optional(value["high"]),
        bad=_reasons(value["bad"]),
        previous=_optional(value["previous"]),
        bad_launchers=_reasons(value.get("bad_launchers", {})),
    )


def write_release(files: Files, state: ReleaseState) -> None:
    """Remember it, durably."""
    value = {
        "high": _text(state.high),
        "bad": _newest(state.bad),
        "previous": _text(state.previous),
    }
    if state.bad_launchers:
        value["bad_launchers"] = _newest(state.bad_launchers)
    _write_json(files, RELEASE, value)


def _reasons(value: JSON) -> dict[str, str]:
    if not all(isinstance(reason, str) for reason in value.values()):
        raise TypeError("a bad release has a reason")
    return {str(read_version(name)): reason for name, reason in value.items()}


def _newest(reasons: Mapping[str, str]) -> dict[str, str]:
    names = sorted(reasons, key=read_version)[-MAX_BAD:]
    return {name: reasons[name][:MAX_REASON] for name in names}


# --- trial.json ---------------------------------------------------------------------------------


def read_trial(files: Files, path: str = TRIAL) -> Trial | None:
    """What is on trial; None: nothing. Raises `SpoolError` if the file is damaged."""
    value = _read_json(files, path)
    if value is None:
        return None
    try:
        tries_left = value["tries_left"]
        if type(tries_left) is not int or not 0 <= tries_left <= 1000:
            raise ValueError(f"tries_left: {tries_left!r}")
        return Trial(
            slot=read_version(value["slot"]),
            previous=_optional(value["previous"]),
            tries_left=tries_left,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SpoolError(f"{path} is damaged: {error}; delete it to go on") from None


def write_trial(files: Files, trial: Trial, path: str = TRIAL) -> None:
    """Remember it, durably."""
    value = {
        "slot": str(trial.slot),
        "previous": _text(trial.previous),
        "tries_left": trial.tries_left,
    }
    _write_json(files, path, value)


# --- JSON ---------------------------------------------------------------------------------------


def _read_json(files: Files, path: str) -> dict[str, JSON] | None:
    try:
        data = files.read(path, MAX_STATE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpoolError(f"{path} can't be read: {error.strerror}") from None
    try:
        value = strictjson.parse(data, max_bytes=MAX_STATE_BYTES)
    except strictjson.JsonError as error:
        raise SpoolError(f"{path} is damaged: {error}; delete it to go on") from None
    if not isinstance(value, dict):
        raise SpoolError(f"{path} is damaged: not an object; delete it to go on")
    return value


def _write_json(files: Files, path: str, value: Mapping[str, JSON]) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    write_file(files, path, text.encode("ascii") + b"\n")


def _optional(value: JSON) -> Version | None:
    return None if value is None else read_version(value)


def _text(version: Version | None) -> str | None:
    return None if version is None else str(version)
