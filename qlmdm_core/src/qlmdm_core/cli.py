"""What all commands share: common options, one way to report an error, one way to end.

Exit status: 0 done; 1 the thing asked about is wrong; 2 usage or settings; 3 could not be
done now. Ctrl-C is 130, as from a shell.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from qlmdm_core._version import __version__
from qlmdm_core.errors import QlmdmError


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
    if settings:
        parser.add_argument(
            "--settings",
            metavar="FILE",
            help="the settings file (else QLMDM_SETTINGS, else the installed place)",
        )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def run(main: Callable[[Sequence[str]], int], prog: str, argv: Sequence[str] | None = None) -> int:
    """Call a command's `main(argv)` and turn what it raises into a message and an exit status."""
    try:
        status = main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except QlmdmError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return status
