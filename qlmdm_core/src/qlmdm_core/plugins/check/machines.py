"""The machines on which collectors are tried, beside the present or a recorded one."""

from __future__ import annotations

import os
from collections.abc import Iterator

from qlmdm_core.testing.machine import RecordedMachine

EMPTY = "an empty machine"
REFUSED = "a machine without root"
HARD = (EMPTY, REFUSED)
"""Those that tell nothing."""
_FOLDERS = ("boot", "dev", "etc", "home", "opt", "proc", "root", "run", "sys", "usr", "var")


def hard_machines(folder: str) -> Iterator[tuple[str, str]]:
    """(what it is, its folder) of machines that tell nothing, written below `folder`.

    On the first there is no file and no program; on the second one is not root and everything
    that exists is refused.
    """
    empty = RecordedMachine(os.path.join(folder, "empty"), note=EMPTY)
    yield EMPTY, str(empty.write())
    refused = RecordedMachine(os.path.join(folder, "refused"), root=False, note=REFUSED)
    for name in _FOLDERS:
        refused.unreadable(f"/{name}")
    yield REFUSED, str(refused.write())
