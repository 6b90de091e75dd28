"""One line of the table: a figure, its budget, and what it was made from."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A ratio (or a plain number) against its budget."""

    what: str
    values: tuple[float, ...]
    """One for each round; the median counts, the range is shown."""
    budget: float | None = None
    better: Literal["low", "high"] = "low"
    unit: str = "×"
    detail: str = ""
    """The absolute figures behind it."""

    @property
    def median(self) -> float:
        """The value that is held against the budget."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Whether the budget is kept."""
        if self.budget is None:
            return ""
        kept = self.median <= self.budget if self.better == "low" else self.median >= self.budget
        return "ok" if kept else "MISSED"

    def cells(self) -> tuple[str, ...]:
        """The line's columns."""
        low, high = min(self.values), max(self.values)
        spread = f" ({number(low)} to {number(high)})" if len(self.values) > 1 else ""
        sign = "≤" if self.better == "low" else "≥"
        budget = f"{sign} {number(self.budget)}{self.unit}" if self.budget is not None else ""
        value = f"{number(self.median)}{self.unit}{spread}"
        return self.what, value, budget, self.verdict, self.detail


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table."""
    rows = [("what", "measured", "budget", "", "behind it"), *(f.cells() for f in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
