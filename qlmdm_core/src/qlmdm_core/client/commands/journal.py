"""What became of each one-time command, on disk, so that none is carried out twice.

    commands/ID/document    the signed text, as it came
    commands/ID/about.json  what it is, and until when; written with the document
    commands/ID/claim       what was decided: "started", or an end without a start
    commands/ID/outcome     how it ended
    commands/ID/stages      how far a wipe got
    commands/ID/told        what the server has acknowledged last
    commands/ID/payload     the script or file, while it is being fetched and used
    commands/ID/run/        where a script runs; gone afterwards
    commands/ID/problem     why it still waits
    commands/past/ID        it is over, and the server knows; kept against being given it again

The claim is the one moment that counts. It is made by link(2), which fails if there is one, and
is on disk before anything happens: a command can be begun once, or called off, and never both. A
claim of "started" without an outcome means that whoever had begun is dead or still at work.

An id is forgotten only when the server's own signed time is far beyond the command's end, so
that no clock, set forward and back again, makes room for the command to be given anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from qlmdm_core.api import JSON
from qlmdm_core.client.disk import TEMPORARY, Directory
from qlmdm_core.commanddoc import Command
from qlmdm_core.errors import SpoolError

FOLDER = "commands"
PAST = "past"
STARTED = "started"
REMEMBERED_SECONDS = 30 * 86400.0
"""How long after its end a command's id is remembered."""
MAX_BYTES = 16 << 20
"""The most that one of these files may hold."""

_ID_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command that this client has accepted."""

    id: str
    kind: str
    path: str
    """Its folder."""
    issued_at: float
    expires_at: float

    @property
    def payload(self) -> str:
        """Where its payload is put."""
        return os.path.join(self.path, "payload")

    @property
    def run_folder(self) -> str:
        """Where its script runs."""
        return os.path.join(self.path, "run")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended."""

    state: str
    """As in `store.outgoing.FINAL_STATES`."""
    result: dict[str, JSON]


class Journal:
    """The commands of one client. Raises `SpoolError` when the disk does not do what it must."""

    def __init__(self, state_path: str) -> None:
        self.path = os.path.join(state_path, FOLDER)
        self._past = os.path.join(self.path, PAST)

    # --- which there are ------------------------------------------------------------------------

    def knows(self, command_id: str) -> bool:
        """Whether this id was ever accepted here. What can't be looked up is an error, not a no."""
        with _explained(self.path):
            return any(
                _exists(os.path.join(folder, command_id)) for folder in (self.path, self._past)
            )

    def entries(self) -> list[Entry]:
        """The commands that are not over yet, or that the server has still to be told about."""
        with _explained(self.path):
            names = os.listdir(self.path) if _exists(self.path) else []
        found = []
        for name in names:
            # One that is damaged, or was just retired by another process, holds up no other.
            with contextlib.suppress(SpoolError):
                if _is_id(name):
                    found.append(self.entry(name))
        return sorted(found, key=lambda entry: (entry.issued_at, entry.id))

    def entry(self, command_id: str) -> Entry:
        """One of them. Raises `SpoolError` if it is damaged."""
        path = os.path.join(self.path, command_id)
        try:
            about = json.loads(_read(path, "about.json") or b"")
            return Entry(
                id=command_id,
                kind=str(about["kind"]),
                path=path,
                issued_at=float(about["issued_at"]),
                expires_at=float(about["expires_at"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise SpoolError(f"{path}/about.json is damaged; look at it, then delete it") from None

    # --- a command begins -----------------------------------------------------------------------

    def add(self, command: Command, document: bytes) -> bool:
        """Accept a command, durably and as a whole; False if its id is known already."""
        about = _about(command.kind, command.issued_at, command.expires_at)
        return self._add(command.id, {"document": document, "about.json": about})

    def call_off(self, command_id: str, until: datetime) -> bool:
        """Cancel a command before it ever came: it will be known, and over, until then."""
        claim = {"about.json": _about("unknown", until, until), "claim": b"cancelled"}
        outcome = json.dumps({"state": "cancelled", "result": {"reason": "before it came"}})
        return self._add(command_id, {**claim, "outcome": outcome.encode("ascii")})

    def _add(self, command_id: str, files: dict[str, bytes]) -> bool:
        if self.knows(command_id):
            return False
        made = os.path.join(self.path, f"{TEMPORARY}{command_id}-{os.getpid()}")
        with Directory(self.path) as journal, _explained(made):
            shutil.rmtree(made, ignore_errors=True)
            try:
                with Directory(made) as folder:
                    for name, data in files.items():
                        folder.write(name, data)
                # Fails if somebody was faster, since what is there is a folder with files in it.
                journal.rename(os.path.basename(made), command_id)
            except OSError:
                shutil.rmtree(made, ignore_errors=True)
                if self.knows(command_id):
                    return False
                raise
            journal.sync()
        return True

    def document(self, entry: Entry) -> bytes:
        """The signed text of a command."""
        with _explained(entry.path):
            return _read(entry.path, "document") or b""

    def claim(self, entry: Entry, word: str) -> bool:
        """Decide what becomes of a command, durably; False if it was decided before."""
        temporary = f"{TEMPORARY}claim-{os.getpid()}"
        with Directory(entry.path, create=False) as folder, _explained(entry.path):
            folder.write(temporary, word.encode("ascii"))
            try:
                os.link(os.path.join(entry.path, temporary), os.path.join(entry.path, "claim"))
            except FileExistsError:
                return False
            finally:
                folder.unlink(temporary)
            folder.sync()
        return True

    def claimed(self, entry: Entry) -> str | None:
        """What was decided; None: nothing yet."""
        return self._word(entry, "claim")

    def is_started(self, command_id: str) -> bool:
        """Whether it is on disk that this command was begun, and not that it is finished."""
        entry = self.entry(command_id)
        return self.claimed(entry) == STARTED and self.outcome(entry) is None

    def note_stages(self, entry: Entry, stages: Sequence[str]) -> None:
        """How far it got, durably."""
        self._write(entry, "stages", json.dumps(list(stages)).encode("ascii"))

    def stages(self, entry: Entry) -> list[str]:
        """How far it got."""
        with _explained(entry.path):
            data = _read(entry.path, "stages")
        try:
            return [str(stage) for stage in json.loads(data or b"[]")]
        except (ValueError, TypeError, RecursionError):
            return ["the note of its stages is damaged"]

    # --- a command ends -------------------------------------------------------------------------

    def finish(self, entry: Entry, outcome: Outcome) -> None:
        """Write down how it ended, durably."""
        value = {"state": outcome.state, "result": outcome.result}
        self._write(entry, "outcome", json.dumps(value).encode("ascii"))

    def outcome(self, entry: Entry) -> Outcome | None:
        """How it ended; None: it did not yet. What can't be read is `indeterminate`."""
        with _explained(entry.path):
            data = _read(entry.path, "outcome")
        if data is None:
            return None
        try:
            value = json.loads(data)
            return Outcome(state=str(value["state"]), result=dict(value["result"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return Outcome(state="indeterminate", result={"reason": "its outcome is damaged"})

    def told(self, entry: Entry) -> str | None:
        """What the server has acknowledged last, as `note_told` was given it."""
        return self._word(entry, "told")

    def note_told(self, entry: Entry, what: str) -> None:
        """The server has acknowledged this."""
        self._write(entry, "told", what.encode("ascii"))

    def problem(self, entry: Entry) -> str | None:
        """Why it still waits."""
        return self._word(entry, "problem")

    def note_problem(self, entry: Entry, why: str) -> None:
        """Write down why it still waits, if that is news."""
        if self.problem(entry) != why:
            self._write(entry, "problem", why.encode("ascii", "backslashreplace"))

    def retire(self, entry: Entry) -> str:
        """It is over and the server knows: keep its id, and nothing that may be secret.

        Says what could not be taken away; the folder then stays, for the next try.
        """
        with Directory(self._past) as past, _explained(self._past):
            past.write(entry.id, b"%d\n" % entry.expires_at)
        return clear(entry.path)

    def forget(self, server_at: float) -> int:
        """Forget ids that can't come back, by the latest signed time of the server; how many."""
        forgotten = 0
        with _explained(self._past):
            if not _exists(self._past):
                return 0
            with Directory(self._past) as past:
                for name in past.names():
                    until = past.read(name, 100).strip()
                    if until.isdigit() and server_at > int(until) + REMEMBERED_SECONDS:
                        forgotten += past.unlink(name)
        return forgotten

    def _word(self, entry: Entry, name: str) -> str | None:
        with _explained(entry.path):
            data = _read(entry.path, name)
        return None if data is None else data.decode("ascii", "replace")

    def _write(self, entry: Entry, name: str, data: bytes) -> None:
        # Its folder may be gone: another process retired it.
        with Directory(entry.path, create=False) as folder, _explained(entry.path):
            folder.write(name, data)


def clear(path: str) -> str:
    """Take a folder away with all that is in it; says why not, if it is still there.

    Never where something is mounted in it: a script may have mounted somebody's home there.
    No link is followed (`shutil.rmtree` goes by descriptors).
    """
    inside = mounted_below(path)
    if inside:
        return f"{inside} is mounted there, so it was left as it is"
    shutil.rmtree(path, ignore_errors=True)
    return f"{path} can't be taken away" if _exists(path) else ""


def mounted_below(path: str) -> str | None:
    """The first mount point at or below `path`: proc_pid_mountinfo(5)."""
    real = os.path.realpath(path)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return "something that can't be seen (/proc)"
    for line in lines:
        fields = line.split(" ")
        point = _unescape(fields[4]) if len(fields) > 4 else ""
        if point == real or point.startswith(real + "/"):
            return point
    return None


def _unescape(text: str) -> str:
    for code, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, char)
    return text


def _about(kind: str, issued_at: datetime, expires_at: datetime) -> bytes:
    moments = {"issued_at": issued_at.timestamp(), "expires_at": expires_at.timestamp()}
    return json.dumps({"kind": kind, **moments}).encode("ascii")


def moment(seconds: float) -> datetime:
    """Unix time as an aware time, UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def _is_id(name: str) -> bool:
    return len(name) == _ID_LENGTH and all(char in "0123456789abcdef" for char in name)


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _read(folder: str, name: str) -> bytes | None:
    try:
        with Directory(folder, create=False) as directory:
            return directory.read(name, MAX_BYTES)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn an error of the system into one that says where."""
    try:
        yield
    except OSError as error:
        raise SpoolError(f"{error.filename or path}: {error.strerror or error}") from None
