"""Prints lists: a table on a terminal, aligned plain lines in a pipe or under cron."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from qlmdm_core.units import say_duration

STYLES: Mapping[str, str] = {"fail": "red", "unknown": "yellow", "pass": "green"}


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows of text under their headings; nothing but the headings if there are none.

    Nothing is cut off: on a terminal long text is folded, elsewhere a row is one line.
    """
    rows = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, rows)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in [[column.upper() for column in columns], *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())  # noqa: T201


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell.split(" ")[0], "")) for cell in row))
    Console().print(table)


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago something was, for a column."""
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    return f"{say_duration(seconds)} ago" if seconds >= 1 else "now"


def when(at: datetime | None) -> str:
    """A time for a person and for sorting: UTC, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%S") + "Z" if at is not None else "never"


def clean(text: str) -> str:
    """Without what could move a terminal's cursor: clients choose some of these words."""
    return "".join(char if char.isprintable() else "·" for char in text)
