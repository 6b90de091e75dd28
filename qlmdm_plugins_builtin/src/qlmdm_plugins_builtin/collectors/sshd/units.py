"""Reads what systemd says of the units that start sshd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NAMES = ("sshd.service", "ssh.service", "sshd.socket", "ssh.socket")
"""Fedora, Arch and openSUSE; Debian and Ubuntu; and the same for socket activation.

`sshd-unix-local.socket` and `sshd@….service` of systemd's own ssh generator are left out:
they are no way in from the network.
"""


@dataclass(frozen=True)
class Unit:
    """The state of one unit."""

    name: str
    load: str = ""
    """loaded, masked, not-found."""
    enabled: str = ""
    active: str = ""
    sub: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is such a unit that could be started."""
        return self.load not in ("not-found", "masked", "")

    @property
    def up(self) -> bool:
        """Whether it runs, or systemd tries to make it run."""
        return self.active in ("active", "reloading", "activating", "refreshing")


def parse(text: str) -> list[Unit]:
    """The units in what `systemctl show` printed: blocks of `Name=value`. Never raises."""
    units: list[Unit] = []
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id"):
            units.append(_unit(values))
    return list({unit.name: unit for unit in units}.values())


def _unit(values: Mapping[str, str]) -> Unit:
    return Unit(
        name=values["Id"].strip(),
        load=values.get("LoadState", "").strip(),
        enabled=values.get("UnitFileState", "").strip(),
        active=values.get("ActiveState", "").strip(),
        sub=values.get("SubState", "").strip(),
    )
