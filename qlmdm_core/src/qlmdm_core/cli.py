"""What all commands share: common options, one way to report an error, one way to end.

Exit status: 0 done; 1 the thing asked about is wrong; 2 usage or settings; 3 could not be
done now. Ctrl-C is 130, as from a shell.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO, TypeVar

from qlmdm_core._version import __version__
from qlmdm_core.errors import QlmdmError

T = TypeVar("T")


def base_parser(
    prog: str, description: str, examples: str = "", *, settings: bool = True, json: bool = False
) -> argparse.ArgumentParser:
    """A parser with `--help` (ending in examples), `--version`, `--settings` and `--json`."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{prog} {__version__}")
    _add_common(parser, settings=settings, json=json)
    return parser


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help: str,
    *,
    json: bool = False,
) -> argparse.ArgumentParser:
    """The parser of an action (`qlmdm-clients list`): common options may follow the action, too."""
    parser = actions.add_parser(name, help=help, allow_abbrev=False)
    # What is not given here must not undo what was given before the action.
    _add_common(parser, settings=True, json=json, default=argparse.SUPPRESS)
    return parser


def _add_common(
    parser: argparse.ArgumentParser, *, settings: bool, json: bool, default: str | None = None
) -> None:
    if settings:
        parser.add_argument(
            "--settings",
            metavar="FILE",
            default=default,
            help="the settings file (else QLMDM_SETTINGS, else the installed place)",
        )
    if json:
        parser.add_argument(
            "--json",
            action="store_true",
            default=default or False,
            help="print JSON instead of text",
        )


def run(main: Callable[[Sequence[str]], int], prog: str, argv: Sequence[str] | None = None) -> int:
    """Call a command's `main(argv)` and turn what it raises into a message and an exit status."""
    _open_what_is_closed()
    output = _Output(sys.stdout)
    try:
        with contextlib.redirect_stdout(output):
            return _status(main, output, prog, sys.argv[1:] if argv is None else argv)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough.
        _give_up_output()
        return 0
    except OSError as error:
        if error is not output.error:
            raise  # a bug: whoever opens a file must say what is wrong with it
        _give_up_output()
        print(f"{prog}: can't write the output: {error.strerror or error}", file=sys.stderr)
        return 3


def _status(
    main: Callable[[Sequence[str]], int], output: _Output, prog: str, argv: Sequence[str]
) -> int:
    try:
        status = main(argv)
    except QlmdmError as error:
        print(f"{prog}: {visible(str(error))}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    except SystemExit:  # argparse's own, after --help for instance
        output.flush()
        if output.error is not None:  # argparse ignores it
            raise output.error from None
        raise
    output.flush()
    return status


def visible(text: str) -> str:
    """Lines without what could move a terminal's cursor: a client may have chosen a word."""
    return "".join(char if char.isprintable() or char == "\n" else "·" for char in text)


class _Output:
    """Standard output that remembers which error was its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        return self._noting(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._noting(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _noting(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except OSError as error:
            self.error = error
            raise


def _give_up_output() -> None:
    """Let what is still buffered go nowhere: Python would complain once more at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _open_what_is_closed() -> None:
    """Give a command that was started without some standard stream (`>&-`) one that is empty.

    The next file that is opened would take its number. Output that is not wanted at all can't
    be written: that is said, as other programs do. Errors have no place to be said, then.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            mode = "r" if name == "stdin" else "w"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - kept
            setattr(sys, name, stream)
