"""Writes tests/machines/README.md: the machines of the corpus in a table, for readers."""

from __future__ import annotations

import difflib
import textwrap
from pathlib import Path

import traits

from qlmdm_core.testing import corpus

HEAD = """\
# Machines with the report expected of them

Each folder is a recorded machine ([docs/recordings.md](../../docs/recordings.md)); its
`expected.json` is the whole report that `qlmdm-collect --replay` has to give. What each stands
for is told by its `note`, below; the table is read out of the expected reports.

A machine whose note begins with "recorded" answers as a real system did, one that begins with
"composed" was written from the documentation that it names: no such machine exists. Those are
made by `tools/corpus/compose`, from which `python tools/corpus/compose` writes them again.

This page is written by `python tools/corpus/expect.py --index`.
"""


def update(folder: Path, *, check: bool) -> int:
    """Write the index, or say how the one that is there differs; the exit status."""
    path = folder / "README.md"
    text = render([m for m in corpus.machines(folder) if (m.path / corpus.EXPECTED).exists()])
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if not check:
        path.write_text(text, encoding="utf-8")
        return 0
    for line in difflib.unified_diff(
        old.splitlines(), text.splitlines(), "stored", "now", "", "", 0
    ):
        print(line)
    return 0 if old == text else 1


def render(machines: list[corpus.Machine]) -> str:
    """The page."""
    rows = ["\n", "| machine | distribution | desktop | storage | firewall | root |\n"]
    rows.append("|---|---|---|---|---|---|\n")
    notes = ["\n"]
    for machine in machines:
        its = traits.of(machine)
        cells = [
            f"[{machine}]({machine})",
            its.distribution,
            "; ".join(its.desktops) or "no session",
            its.storage,
            its.firewall,
            "yes" if its.root else "no",
        ]
        rows.append(f"| {' | '.join(cells)} |\n")
        note = textwrap.fill(machine.note, 92, break_on_hyphens=False, break_long_words=False)
        notes.append(f"- **{machine}**: {note}\n".replace("\n", "\n  ").rstrip(" "))
    return "".join([HEAD, *rows, *notes])
