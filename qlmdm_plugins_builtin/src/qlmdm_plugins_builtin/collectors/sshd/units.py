"""Reads what systemd says of the units that start sshd."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core import Host

NAMES = ("sshd.service", "ssh.service", "sshd.socket", "ssh.socket")
"""Fedora, Arch and openSUSE; Debian and Ubuntu; and the same for socket activation.

`sshd-unix-local.socket` and `sshd@….service` of systemd's own ssh generator are left out:
they are no way in from the network.
"""

_SHOW = ("systemctl", "show", "-p", "Id,LoadState,UnitFileState,ActiveState,SubState")
_FORMS = (
    ("show",),
    ("show", "-p", "ActiveState"),
    ("show", "-p", "ActiveState,SubState"),
    ("status",),
    ("is-active",),
)
"""Other ways to ask for a unit. A live systemd answers `_SHOW`; a recording may hold another."""
_TOGETHER = (
    ("ssh.socket", "ssh.service"), ("ssh.service", "ssh.socket"),
    ("sshd.socket", "sshd.service"), ("sshd.service", "sshd.socket"),
)  # fmt: skip
"""Units that somebody who wants to know looks at in one command."""
_ALIASES = {"sshd": "sshd.service", "ssh": "ssh.service"}
_STATES = ("active", "reloading", "inactive", "failed", "activating", "deactivating")
_HEAD = re.compile(r"^(?:\S )?(\S+\.(?:service|socket)) - ", re.MULTILINE)
_LOADED = re.compile(r"^ *Loaded: ([\w-]+)(?: \([^;)]*; ([\w-]+))?", re.MULTILINE)
_ACTIVE = re.compile(r"^ *Active: (\w+)(?: \(([\w-]+)\))?", re.MULTILINE)
_TRIGGERED_BY = re.compile(r"^ *TriggeredBy:(.*)", re.MULTILINE)


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


def ask(host: Host) -> tuple[Unit, ...] | None:
    """The units of sshd, as far as systemd tells of them; None if it does not."""
    answer = host.run([*_SHOW, *NAMES], timeout=5.0)
    if answer.found:
        return tuple(parse(answer.stdout)) or None if answer.ok else None
    if host.which("systemctl") is None:
        return None
    found: dict[str, Unit] = {}
    sockets: set[str] = set()
    for names in (*_TOGETHER, *((name,) for name in (*NAMES, *_ALIASES))):
        for unit, triggers in _ask_otherwise(host, names):
            found.setdefault(unit.name, unit)
            sockets |= triggers
    # A service that is down says little while the socket that starts it was not asked for.
    if sockets - set(found) and not any(unit.up for unit in found.values()):
        return None
    return tuple(found.values()) or None


def _ask_otherwise(host: Host, names: Sequence[str]) -> list[tuple[Unit, set[str]]]:
    """What systemd says of these units in another form, each with the sockets that start it."""
    for form in _FORMS if len(names) == 1 else (("status",),):
        answer = host.run(["systemctl", *form, *names], timeout=5.0)
        if not answer.found:
            continue
        if form == ("status",):
            return parse_status(answer.stdout)
        name = _ALIASES.get(names[0], names[0])
        if form == ("is-active",) and answer.stdout.strip() in _STATES:
            return [(Unit(name, active=answer.stdout.strip()), set())]
        if form[0] == "show":
            values = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
            if answer.stdout.strip() in _STATES:  # by --value
                values["ActiveState"] = answer.stdout
            if values.get("ActiveState"):
                return [(_unit({"Id": name, **values}), set())]
    return []


def parse_status(text: str) -> list[tuple[Unit, set[str]]]:
    """The units in what `systemctl status` printed, each with the sockets that start it.

    Never raises.
    """
    heads = list(_HEAD.finditer(text))
    found: list[tuple[Unit, set[str]]] = []
    for at, head in enumerate(heads):
        end = heads[at + 1].start() if at + 1 < len(heads) else len(text)
        part = text[head.end() : end]
        active, loaded = _ACTIVE.search(part), _LOADED.search(part)
        if active is None or head[1] not in NAMES:
            continue
        unit = Unit(
            name=head[1],
            load=loaded[1] if loaded else "",
            enabled=(loaded[2] or "") if loaded else "",
            active=active[1],
            sub=active[2] or "",
        )
        by = _TRIGGERED_BY.search(part)
        words = by[1].split() if by else []
        found.append((unit, {word for word in words if word.endswith(".socket")}))
    return found
