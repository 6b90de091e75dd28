"""Loads a plugin in a fresh interpreter, where what it does is seen, and reads what was found.

The interpreter appends JSON to a file, a line at a time: what is found, and what it is about to
do, so that a plugin which hangs or crashes it is named, and costs nothing that was found before.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from qlmdm_core.api import JSON
from qlmdm_core.plugins.check.findings import Finding, failed
from qlmdm_core.plugins.guard import failed as as_failure

SECONDS = 120.0
"""For all of one side; each collector and check is tried a few times."""


ATTEMPT_SECONDS = 10.0
"""For one call of a plugin. A collector's own timeout is judged elsewhere."""


@dataclass(kw_only=True)
class Inspected:
    """What one interpreter found."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, JSON] = field(default_factory=dict)
    doing: str = ""
    """What it was about to do when it ended; empty: it came to its end."""


def inspect(side: str, arguments: Mapping[str, JSON], *, seconds: float = SECONDS) -> Inspected:
    """Run `client_side` or `server_side` with these arguments."""
    module = f"qlmdm_core.plugins.check.{side}_side"
    with tempfile.TemporaryDirectory(prefix="qlmdm-check-") as folder:
        path = os.path.join(folder, "found")
        code = f"from {module} import main; main()"
        command = [sys.executable, "-c", code, path, json.dumps(arguments)]
        status, said = _run(command, seconds)
        inspected = _read(path)
    if inspected.doing:
        ended = f"it took longer than {seconds:g} seconds" if status is None else _ending(status)
        words = f"; it said: {said[:300]}" if said and status is not None else ""
        inspected.findings.append(failed("loading", inspected.doing, ended + words))
    return inspected


def _run(command: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """The exit status (None: too late, and killed), and the last line on standard error."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - 4096))
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return status, lines[-1] if lines else ""


def _ending(status: int) -> str:
    return f"its process was killed by signal {-status}" if status < 0 else f"it exited {status}"


def _read(path: str) -> Inspected:
    inspected = Inspected(doing="the interpreter itself")
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return inspected
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            break  # its writer was killed meanwhile
        if "doing" in event:
            inspected.doing = event["doing"]
        elif "finding" in event:
            inspected.findings.append(Finding(**event["finding"]))
        else:
            inspected.facts.update(event.get("facts", {}))
    return inspected


# --- in the interpreter -----------------------------------------------------------------------


class Notes:
    """Where an interpreter writes down what it finds."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def doing(self, what: str) -> None:
        """What is done next; nothing, once all is done."""
        self._write({"doing": what})

    def add(self, finding: Finding) -> None:
        """One more finding."""
        self._write({"finding": finding.to_dict()})

    def fact(self, name: str, value: JSON) -> None:
        """Something that the command itself has to know."""
        self._write({"facts": {name: value}})

    def _write(self, event: Mapping[str, JSON]) -> None:
        os.write(self._fd, json.dumps(event).encode("ascii") + b"\n")


def begin(argv: Sequence[str]) -> tuple[Notes, dict[str, JSON]]:
    """What an interpreter was started with. What is in the present folder is not imported."""
    sys.path[:] = [folder for folder in sys.path if folder]
    sys.stdout = sys.stderr  # a plugin's prints
    return Notes(argv[1]), json.loads(argv[2])


def crossing(forbidden: Sequence[str]) -> Iterator[str]:
    """The modules of these packages that are loaded."""
    for name in sorted(sys.modules):
        if any(name == package or name.startswith(f"{package}.") for package in forbidden):
            yield name


def sides(
    notes: Notes, distribution: str, forbidden: Sequence[str], before: set[str], other: str
) -> None:
    """Judge what was imported since `before` was noted."""
    found = [name for name in crossing(forbidden) if name not in before]
    packages = sorted({_package(name) for name in found})
    for package in packages:
        todo = f"Only the {other} has it: import it in the {other}'s modules, or on use there"
        here = "client" if other == "server" else "server"
        notes.add(failed("sides", distribution, f"what runs on a {here} imports {package}", todo))


def _package(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "qlmdm_core" else parts[0]


class _TooSlowError(BaseException):
    """Not an Exception: whatever a plugin catches, it must not go on."""


def attempt(function: Callable[[], object], seconds: float = ATTEMPT_SECONDS) -> str | None:
    """Call a plugin's code, for some seconds: None, or what it raised and where, in one line."""

    class Origin:
        distribution = name = ""

    def too_slow(*_: object) -> None:
        raise _TooSlowError(f"still at it after {seconds:g} seconds")

    signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - a plugin's SystemExit, too, is its failure
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        failure = as_failure(Origin, "", error)
        where = f" ({failure.trace[-1]})" if failure.trace else ""
        return failure.error + where
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    return None
