"""Runs a plugin's code so that whatever goes wrong there is data, and nobody else's concern."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Protocol, TypeVar

import pluggy

from qlmdm_core.errors import PluginError

T = TypeVar("T")


class Origin(Protocol):
    """Whose code it is: a `PluginEntry`."""

    @property
    def distribution(self) -> str:
        """The distribution's name."""

    @property
    def name(self) -> str:
        """The entry point's name."""


@dataclass(frozen=True, kw_only=True)
class PluginFailure:
    """What one plugin failed to do. It has cost nothing but that."""

    distribution: str
    entry_point: str
    stage: str
    """"metadata", "import", "register", "conflict", "settings", or the hook that was called."""
    error: str
    """One line for a person."""
    trace: tuple[str, ...] = ()
    """The last places in the plugin's own code, innermost last: `file:line in function`."""

    def __str__(self) -> str:
        where = f" ({self.trace[-1]})" if self.trace else ""
        return f"{self.distribution}:{self.entry_point}: {self.stage}: {self.error}{where}"


def guarded(entry: Origin, stage: str, function: Callable[..., T], *args: Any) -> T | PluginFailure:
    """Run a plugin's code: its result, or its failure. Python's prints go to standard error.

    Catches `SystemExit` and its like, too: a plugin must not end the command that loads it.
    `KeyboardInterrupt` is raised only if the person at the terminal did interrupt (SIGINT), and
    then whatever the plugin made of that.
    """
    with _interrupts() as interrupted:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                result: T | PluginFailure = function(*args)
        except BaseException as error:  # noqa: BLE001 - see the docstring
            result = failed(entry, stage, error)
    if interrupted():
        raise KeyboardInterrupt
    return result


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGINT arrived meanwhile. Python's own handler is put back at the end.

    In other threads, and with other handlers, SIGINT does not become a KeyboardInterrupt.
    """
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        signal.default_int_handler(number, frame)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(arrived)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def failed(entry: Origin, stage: str, error: BaseException) -> PluginFailure:
    """An exception of a plugin as data."""
    return PluginFailure(
        distribution=entry.distribution,
        entry_point=entry.name,
        stage=stage,
        error=say(error),
        trace=_tail(error),
    )


def say(error: BaseException) -> str:
    """An exception in one line, even if it can't say so itself."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - __str__ is a plugin's code as well
        text = "(it can't be printed)"
    if isinstance(error, PluginError):
        return text[:500]
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


def say_where(error: BaseException) -> str:
    """As `say`, with the place in the plugin's own code, if that is known."""
    places = _tail(error)
    return say(error) + (f" ({places[-1]})" if places else "")


def place_of(function: object) -> str | None:
    """Where a function of a plugin begins: `file:line in function`; None if it has no code."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    return f"{code.co_filename}:{code.co_firstlineno} in {code.co_name}"


def _tail(error: BaseException, most: int = 3) -> tuple[str, ...]:
    """The innermost places outside of core, pluggy and Python's import."""
    core = os.path.dirname(os.path.dirname(__file__))
    machinery = (os.path.join(core, ""), os.path.dirname(pluggy.__file__), "<frozen ")
    if isinstance(error, PluginError) and error.place:
        return (error.place,)
    try:
        frames = traceback.extract_tb(error.__traceback__)
    except Exception:  # noqa: BLE001 - reads source files, which may be anything
        return ()
    own = [frame for frame in frames if not frame.filename.startswith(machinery)]
    own = [frame for frame in own if not frame.filename.endswith("importlib/__init__.py")]
    places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in own]
    if isinstance(error, SyntaxError) and error.filename:
        places.append(f"{error.filename}:{error.lineno}")
    return tuple(places[-most:])
