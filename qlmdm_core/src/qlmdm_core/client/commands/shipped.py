"""Scripts that came with a release, `slots/N/commands/NAME`: each runs once on each client.

Once for its name and its content, however many releases bring it, and whether it succeeds or
not. What it said goes into the report, as the value `release_commands`. They were signed with
the release and verified with it; while a release is on trial none is run, since it may be taken
back and what they did may not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from qlmdm_core import signedtext, strictjson
from qlmdm_core.api import JSON
from qlmdm_core.client.commands import script
from qlmdm_core.client.commands.journal import FOLDER, clear
from qlmdm_core.client.disk import Directory
from qlmdm_core.client.spool import Spool
from qlmdm_core.errors import SpoolError

SHIPPED = "shipped"
NEWS = "news-"
RUN_FOLDER = "shipped-run"
COLLECTOR = "release_commands"
TIMEOUT_SECONDS = 3600.0
OUTPUT_BYTES = 8 << 10
MAX_SCRIPT_BYTES = 64 << 20
MAX_SCRIPTS = 64
"""Of one release; further ones, by name, are not run."""
_MAX_NOTE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Script:
    """One script of the release that runs."""

    name: str
    path: str
    release: str
    sha256: str

    @property
    def key(self) -> str:
        """By its name and its content."""
        return hashlib.sha256(f"{self.name}\0{self.sha256}".encode()).hexdigest()


def scripts(state_path: str, environ: Mapping[str, str]) -> list[Script]:
    """The scripts of the release that runs, by name; none on trial, or without a release.

    Only those that the slot's manifest names, with the hash that it says.
    """
    slot = environ.get("QLMDM_SLOT", "")
    folder = os.path.join(state_path, "slots", slot)
    if (
        not slot
        or "/" in slot
        or environ.get("QLMDM_TRIAL")
        or not os.path.isdir(os.path.join(folder, "commands"))
    ):
        return []
    found = [
        Script(name=path.removeprefix("commands/"), path=path, release=slot, sha256=sha256)
        for path, sha256 in _manifest_files(folder)
        if path.startswith("commands/") and path.count("/") == 1
    ]
    return sorted(found, key=lambda one: one.name)[:MAX_SCRIPTS]


def _manifest_files(folder: str) -> list[tuple[str, str]]:
    from qlmdm_core import manifest

    with Directory(folder, create=False) as slot:
        try:
            document = slot.read("manifest.json", manifest.MAX_BYTES)
        except OSError as error:
            raise SpoolError(f"{folder}/manifest.json: {error.strerror}") from None
    signed = signedtext.unpack(document, max_bytes=manifest.MAX_BYTES)
    return [(file.path, file.sha256) for file in manifest.parse(signed.text).files]


def waiting(state_path: str, environ: Mapping[str, str]) -> bool:
    """Whether a script has still to be run, or to be called indeterminate."""
    found = scripts(state_path, environ)
    if not found:
        return False
    with _notes(state_path) as notes:
        return any(_state(notes, one) in (None, "started") for one in found)


def run_all(state_path: str, environ: Mapping[str, str], say: Callable[[str], object]) -> None:
    """Run those that never ran here. The caller holds the lock of the lane."""
    for one in scripts(state_path, environ):
        try:
            _run_once(state_path, one)
        except (SpoolError, OSError) as error:
            say(f"{one.name}: {error}")


def _run_once(state_path: str, one: Script) -> None:
    with _notes(state_path) as notes:
        state = _state(notes, one)
        if state == "started":
            _note(notes, one, "indeterminate", reason="it was cut off; it is not run again")
        elif state is None:
            content = _content(state_path, one)
            _note(notes, one, "started")
            _note(notes, one, **_run(state_path, content))


def _content(state_path: str, one: Script) -> bytes:
    """Raises `SpoolError` if it is not what the manifest says."""
    path = os.path.join(state_path, "slots", one.release, "commands")
    with Directory(path, create=False) as folder:
        content = folder.read(one.name, MAX_SCRIPT_BYTES)
    if hashlib.sha256(content).hexdigest() != one.sha256:
        raise SpoolError(f"{path}/{one.name} is not what the release's manifest names")
    return content


def _run(state_path: str, content: bytes) -> dict[str, JSON]:
    """Run a copy, so that what is run is what was hashed."""
    folder = os.path.join(state_path, FOLDER, RUN_FOLDER)
    if why := clear(folder):
        return {"state": "failed", "reason": why}
    os.mkdir(folder, 0o700)
    os.mkdir(f"{folder}/home", 0o700)
    with Directory(folder) as private:
        private.write("script", content)
    os.chmod(f"{folder}/script", 0o700)
    direct = content.startswith(b"#!")
    ran = script.run(
        script.Job(
            script=f"{folder}/script",
            interpreter="/usr/bin/env" if direct else "/bin/sh",
            folder=f"{folder}/home",
            timeout=TIMEOUT_SECONDS,
            output_max=OUTPUT_BYTES,
        )
    )
    result = asdict(ran)
    result["reason"] = "; ".join(filter(None, (ran.reason, clear(folder))))
    return {"state": "done" if ran.exit_status == 0 else "failed", **result}


def _notes(state_path: str) -> Directory:
    return Directory(os.path.join(state_path, FOLDER, SHIPPED))


def _state(notes: Directory, one: Script) -> str | None:
    """What became of it; None: nothing yet."""
    note = _read(notes, one)
    return None if note is None else str(note.get("state"))


def _read(notes: Directory, one: Script) -> dict[str, JSON] | None:
    try:
        value = json.loads(notes.read(one.key, _MAX_NOTE_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpoolError(f"{notes.path}/{one.key}: {error.strerror}") from None
    except ValueError:
        value = None
    # A damaged note says at least that it was there: such a script is not run.
    return value if isinstance(value, dict) else {"state": "indeterminate", "reason": "damaged"}


def _note(notes: Directory, one: Script, state: str, **more: JSON) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    note = {"sha256": one.sha256, "release": one.release, "at": at, "state": state, **more}
    try:
        notes.write(one.key, json.dumps(note).encode("ascii"))
        if state != "started":
            notes.write(NEWS + one.key, one.name.encode())
    except OSError as error:
        raise SpoolError(f"{notes.path}/{one.key}: {error.strerror}") from None


def add_news(state_path: str, spool: Spool, environ: Mapping[str, str] = os.environ) -> None:
    """Put a record into the spool that says how the scripts of this release ended, if news."""
    with _notes(state_path) as notes:
        news = [name for name in notes.names() if name.startswith(NEWS)]
        if not news:
            return
        found = {one.name: _read(notes, one) for one in scripts(state_path, environ)}
        value: dict[str, JSON] = {"state": "available"}
        value["commands"] = {name: note for name, note in found.items() if note is not None}
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        result = {
            "status": "ok",
            "value": value,
            "value_sha256": hashlib.sha256(strictjson.canonical(value)).hexdigest(),
            "collected_at": at,
            "seconds": 0.0,
        }
        spool.put(
            {
                "rid": str(uuid.uuid4()),
                "collected_at": at,
                "collectors": {COLLECTOR: result},
                "partial": True,
            }
        )
        for name in news:
            with contextlib.suppress(OSError):  # then it is said twice
                notes.remove(name)
