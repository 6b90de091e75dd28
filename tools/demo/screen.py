"""What the demo shows: for a person on a terminal, plain lines in a pipe."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence


def show(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def bold(text: str) -> str:
    """Stands out on a terminal (unless https://no-color.org/)."""
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() and not os.getenv("NO_COLOR") else text


def show_indented(lines: Iterable[str]) -> None:
    """What a command printed, below the command."""
    for line in lines:
        show(f"      {line}".rstrip())


def show_issues(lines: Sequence[str]) -> None:
    """One paragraph for each machine. In a pipe, one line for each issue, as it is."""
    width = min(shutil.get_terminal_size().columns, 110) if sys.stdout.isatty() else 0
    before = ""
    for line in lines:
        who, _, rest = line.partition(": ")
        if who != before:
            show("")
        before = who
        show(wrapped(line, f"{who}: {rest.partition(': ')[0]}", width) if width else line)


def wrapped(line: str, heading: str, width: int) -> str:
    """An issue for a terminal; commands that are to be copied are not cut inside a word."""
    text = textwrap.fill(
        line,
        width,
        initial_indent="    ",
        subsequent_indent="        ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return text.replace(heading, bold(heading), 1)
