"""Records this machine for somebody else: with other names, and shown before it is written.

The recording is made in a private folder first. A copy with other names (see
`qlmdm_core.host.redaction`) is replayed, to see that collectors still conclude the same; only
when the person agrees is it moved to where it was asked for.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

from qlmdm_core.client.collect import check_names, host_maker
from qlmdm_core.client.isolation import Outcome
from qlmdm_core.client.plan import HostFactory
from qlmdm_core.errors import UsageError
from qlmdm_core.host.journal import Journal, NotRecordedError
from qlmdm_core.host.redaction.rewrite import move, rewrite
from qlmdm_core.host.redaction.show import everything, summary
from qlmdm_core.people import is_persons

Collect: TypeAlias = "Callable[[HostFactory], Outcome]"


def record(
    directory: str,
    collect: Collect,
    *,
    replay: str | None,
    renamed: bool,
    agreed: Callable[[str], bool],
    say: Callable[[str], None],
) -> tuple[Outcome, bool]:
    """Record into `directory`, which must be new or empty; what was collected, and if it was kept.

    `collect` collects from the hosts that it is given. `agreed` gets the folder with what would
    be written, and asks the person. Raises `NotRecordedError`, `UsageError`.
    """
    with _tidy_when_ended(), _Place(directory) as place, _private_folder() as folder:
        shown = raw = os.path.join(folder, "raw")
        outcome = collect(host_maker(replay, raw))
        check_names(outcome)
        _check_recorded(raw, outcome)
        counts = None
        with _naming(folder):
            if renamed:
                shown = os.path.join(folder, "renamed")
                counts = rewrite(raw, shown, () if replay else _own_names()).counts
            for line in summary(shown, counts):
                say(line)
        if renamed:
            for line in _differences(outcome, collect(host_maker(shown))):
                say(line)
        with _naming(folder):
            if not agreed(shown):
                return outcome, False
        with _naming(directory):
            move(shown, directory)
        place.keep()
    return outcome, True


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """A folder that only we can look into, gone in the end with all that is in it."""
    with contextlib.ExitStack() as stack:
        try:
            made = tempfile.TemporaryDirectory(prefix="qlmdm-record-")
        except OSError as error:
            raise NotRecordedError(
                f"there is no folder for what is not shown yet (TMPDIR): {error.strerror}"
            ) from None
        yield stack.enter_context(made)


@contextlib.contextmanager
def _naming(folder: str) -> Iterator[None]:
    """Errors of writing there, told with the place."""
    try:
        yield
    except (OSError, shutil.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise NotRecordedError(f"{folder}: can't be recorded into: {why}") from None


@contextlib.contextmanager
def _tidy_when_ended() -> Iterator[None]:
    """A terminal that is closed, or kill(1), ends us like Ctrl-C: what was found out with the real
    names does not stay behind."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    ours = os.getpid()

    def end(number: int, _frame: object) -> None:
        if os.getpid() == ours:  # a collector's process inherits this
            raise SystemExit(128 + number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    try:
        for number in numbers:
            if before[number] is not signal.SIG_IGN:  # as nohup(1) sets it
                signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Place:
    """The folder to write to: there before anything is asked, gone if nothing is written."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._made = False
        self._kept = False

    def __enter__(self) -> _Place:
        there = os.path.lexists(self._directory)
        if there and (not os.path.isdir(self._directory) or os.listdir(self._directory)):
            raise UsageError(
                f"{self._directory} is there already; --record needs a new or empty folder"
            )
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            self._made = not there
            # Being allowed to write is found out by writing: root may, and a full disk may not.
            with tempfile.TemporaryFile(dir=self._directory):
                pass
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise NotRecordedError(f"{self._directory}: can't be recorded into: {why}") from None
        return self

    def keep(self) -> None:
        """What is in it stays."""
        self._kept = True

    def __exit__(self, *_: object) -> None:
        if self._kept:
            return
        # Half of a recording is none. (Somebody may have taken the folder away meanwhile.)
        with contextlib.suppress(OSError):
            for name in os.listdir(self._directory):
                path = os.path.join(self._directory, name)
                is_folder = os.path.isdir(path) and not os.path.islink(path)
                shutil.rmtree(path) if is_folder else os.unlink(path)
            if self._made:
                os.rmdir(self._directory)


def _check_recorded(directory: str, outcome: Outcome) -> None:
    """Raise `NotRecordedError` if the recording is not there, or lacks something."""
    Journal(directory).check()
    for result in outcome.results.values():
        if NotRecordedError.__name__ in (result.error or ""):
            raise NotRecordedError(f"{directory} is not complete: {result.name}: {result.error}")


def _differences(here: Outcome, there: Outcome) -> list[str]:
    """What collectors conclude otherwise from the recording than from the machine."""

    def state(outcome: Outcome, name: str) -> str:
        result = outcome.results.get(name)
        if result is None or result.status != "ok":
            return result.status if result else "nothing"
        return str(result.value["state"])

    changed = [
        f"{name} says {state(there, name)} by this recording, and {state(here, name)} here: "
        "the other names made a difference; --keep-names records without them"
        for name in sorted(here.results)
        if state(here, name) != state(there, name)
    ]
    return changed or ["collectors conclude the same from it as from this machine"]


def _own_names() -> Iterator[tuple[str, str]]:
    """What this machine and its people are called, also if no collector asked for it."""
    name = socket.gethostname()
    yield from (("host", name), ("host", name.split(".")[0]))
    for account in pwd.getpwall():
        if is_persons(str(account.pw_uid)):
            yield "user", account.pw_name
            yield "person", account.pw_gecos.split(",")[0]


# --- asking the person --------------------------------------------------------------------------


def agree(shown: str, directory: str, *, answered: bool) -> bool:
    """Ask the person at the terminal, who may look through all of it first.

    Where there is nobody to ask, what was said before is all there is to it.
    """
    if answered or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    while True:
        sys.stderr.write(f"[v]iew all of it, [w]rite it to {directory}, or [n]othing? ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip().lower()
        if answer in ("w", "write"):
            return True
        if answer in ("v", "view"):
            _view(shown)
        elif answer in ("", "n", "no", "nothing"):
            return False


def _view(shown: str) -> None:
    with tempfile.NamedTemporaryFile("w", prefix="qlmdm-", errors="replace") as file:
        file.writelines(everything(shown))
        file.flush()
        pager = shutil.which("less", path="/usr/bin:/bin") or shutil.which("more", path="/usr/bin")
        # less(1), LESSSECURE: no shell and no other file from within it, as root.
        environ = {"PATH": "/usr/bin:/bin", "LESSSECURE": "1", "TERM": os.environ.get("TERM", "")}
        # Ctrl-C is the pager's here: it ends a search in it, and not us. (A handler, unlike being
        # ignored, is not inherited by the program.)
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            subprocess.run([pager or "/bin/cat", file.name], env=environ, check=False)
        finally:
            signal.signal(signal.SIGINT, before)
