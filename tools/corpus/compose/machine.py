"""A composed machine under construction, and what the recipes of all families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from qlmdm_core.testing import RecordedMachine

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=timezone.utc)
"""When all composed machines were "recorded"."""


def ago(*, days: float = 0, hours: float = 0) -> float:
    """A file's time, in seconds since 1970: this long before `NOW`."""
    return NOW.timestamp() - days * 86400 - hours * 3600


class Machine(RecordedMachine):
    """A recorded machine that remembers what its parts want to know of each other."""

    def __init__(self, path: Path, *, note: str, root: bool) -> None:
        super().__init__(path, root=root, recorded_at=NOW.isoformat(), note=note)
        self.root = root
        self.systemd = True
        """Whether systemd runs there: parts then answer for systemctl and loginctl."""
        self._pid = 900

    def command(self, argv: Sequence[str], stdout: str = "", **how: Any) -> Machine:
        """A command that answers, in the place of an earlier answer to the same question."""
        asked = [list(argv), how.get("user")]
        self._commands = [e for e in self._commands if [e["argv"], e["user"]] != asked]
        super().command(argv, stdout, **how)
        return self

    def pid(self) -> int:
        """A process id that no other process of the machine has."""
        self._pid += 37
        return self._pid

    def program(self, path: str) -> Machine:
        """A program that is installed, and which nobody runs."""
        self.stat(path, mode=0o100755)
        return self

    def daemon(self, path: str, *words: str, comm: str = "", uid: int = 0, user: str = "") -> int:
        """A process of the system; its pid."""
        pid = 1 if comm == "init" else self.pid()
        self.process(
            pid=pid,
            ppid=0 if pid == 1 else 1,
            uid=uid,
            user=user or ("root" if uid == 0 else f"user{uid}"),
            comm=(comm or path.rsplit("/", 1)[-1])[:15],
            argv=[path, *words],
            # Others' executables can be read by root only (proc(5)).
            exe=path if self.root else None,
        )
        return pid

    def refused(self, *argv: str, stderr: str, returncode: int = 1) -> Machine:
        """A command that fails, as for somebody who is not root."""
        self.command(argv, stderr=stderr + "\n", returncode=returncode)
        return self


@dataclass(frozen=True)
class Recipe:
    """How one machine is made."""

    name: str
    what: str
    """What it is, for the note."""
    source: str
    """The documentation that its answers were written after."""
    build: Callable[[Machine], None]
    root: bool = True
    settings: str = ""
    """The client's settings for it, if they are not the usual ones."""

    def make(self, folder: Path) -> Path:
        """Write the machine into a folder of its name; the folder."""
        note = f"composed: {self.what}; after {self.source}"
        machine = Machine(folder / self.name, note=note, root=self.root)
        self.build(machine)
        path = machine.write()
        if self.settings:
            (path / "settings.yml").write_text(self.settings, encoding="utf-8")
        return path
