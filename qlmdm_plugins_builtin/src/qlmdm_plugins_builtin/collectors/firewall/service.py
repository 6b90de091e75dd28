"""Tells what firewalld does by its service and its files, where it can't be asked itself.

What firewalld was told since it started, and which zone NetworkManager put an interface in, is
not in its files: this is the weakest of all answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qlmdm_core import Host
from qlmdm_plugins_builtin.collectors.firewall.frontends import Zone
from qlmdm_plugins_builtin.collectors.firewall.interfaces import external
from qlmdm_plugins_builtin.collectors.firewall.walk import Finding

_CONFIGURATION = "/etc/firewalld/firewalld.conf"
_ZONES = ("/etc/firewalld/zones", "/usr/lib/firewalld/zones")
_FALLBACK_ZONE = "public"
"""The default zone where none is configured (firewalld.conf(5))."""
_CLOSED_ZONES = {
    "block", "dmz", "drop", "external", "home", "internal", "public", "work",
    "FedoraServer", "FedoraWorkstation",
}  # fmt: skip
"""Zones that firewalld and Fedora deliver, and whose target is not ACCEPT (firewalld.zones(5))."""
_QUESTIONS = (
    ("--no-pager", "-n0", "status", "firewalld.service"),
    ("--no-pager", "-n0", "status", "firewalld"),
    ("is-active", "firewalld.service"),
    ("is-active", "firewalld"),
)
"""A live systemd answers the first one; a recording may hold another."""
_ACTIVE = re.compile(r"^[ \t]*Active: (\w+)", re.MULTILINE)
_DEFAULT_ZONE = re.compile(r"^DefaultZone=[ \t]*(\S+)", re.MULTILINE)
_TARGET = re.compile(r"""\btarget=["']([^"']*)["']""")
_INTERFACE = re.compile(r"""<interface name=["']([^"'<>]{1,15})["']""")


@dataclass(frozen=True)
class FrontEnd:
    """What a front end says of both families, if it is there."""

    name: str
    ipv4: Finding | None = None
    ipv6: Finding | None = None
    active: bool = False
    zone: str | None = None
    notes: list[str] = field(default_factory=list)


def ask_firewalld(host: Host) -> FrontEnd | None:
    """What systemd and files say of firewalld; None if it is not installed."""
    running = _runs(host)
    if running is None:
        return None
    if not running:
        off = Finding("off", "firewalld is not running, by systemd")
        return FrontEnd("firewalld", off, off)
    return by_its_files(host)


def by_its_files(host: Host) -> FrontEnd:
    """What firewalld, which runs, was configured to do."""
    try:
        zones = list(_configured(host))
    except OSError as error:
        note = f"firewalld runs, but its zones can't be read ({error.strerror or 'no access'})"
        return FrontEnd("firewalld", active=True, notes=[note])
    finding, names = judge_zones(zones, external(host, [n for z in zones for n in z.interfaces]))
    return FrontEnd("firewalld", finding, finding, active=True, zone=", ".join(names) or None)


def _runs(host: Host) -> bool | None:
    """Whether systemd runs firewalld; None if it does not know it."""
    for words in _QUESTIONS:
        answer = host.run(("systemctl", *words), timeout=5.0)
        if answer.found:
            return parse_status(answer.stdout)
    return None


def parse_status(text: str) -> bool | None:
    """Whether a service runs, by `systemctl status` or `is-active`; None if that can't be told.

    A service that is enabled need not run, nor the other way about.
    """
    found = _ACTIVE.search(text)
    state = found[1] if found else text.strip()
    if state in ("active", "reloading"):
        return True
    # `is-active` says "inactive" also of a service that does not exist.
    return False if found and state in ("inactive", "failed", "deactivating") else None


def _configured(host: Host) -> Iterator[Zone]:
    """The default zone, and those that files give interfaces to. Raises OSError if refused."""
    try:
        chosen = _DEFAULT_ZONE.search(host.read(_CONFIGURATION))
    except FileNotFoundError:
        chosen = None
    default = chosen[1] if chosen else _FALLBACK_ZONE
    changed = (path.rsplit("/", 1)[-1] for path in host.glob(f"{_ZONES[0]}/*.xml"))
    for name in sorted({default, *(file.removesuffix(".xml") for file in changed)}):
        target, interfaces = _zone_of_file(host, name)
        yield Zone(
            name,
            default=name == default,
            active=bool(interfaces),
            target=target,
            interfaces=interfaces,
        )


def _zone_of_file(host: Host, name: str) -> tuple[str | None, tuple[str, ...]]:
    """The target of a zone, None if not known, and the interfaces that its file gives to it."""
    for folder in _ZONES:
        try:
            return parse_zone(host.read(f"{folder}/{name}.xml", max_bytes=65536))
        except FileNotFoundError:
            continue
    return "default" if name in _CLOSED_ZONES else None, ()


def parse_zone(text: str) -> tuple[str, tuple[str, ...]]:
    """Target and interfaces in a zone's XML. Not by an XML parser: it may be anything."""
    _, _, rest = text.partition("<zone")
    target = _TARGET.search(rest.partition(">")[0])
    return target[1] if target else "default", tuple(_INTERFACE.findall(rest))


def judge_zones(zones: Sequence[Zone], outside: Sequence[str]) -> tuple[Finding, list[str]]:
    """Whether the zones of the interfaces that lead outside are closed, and their names.

    The default zone counts too: an interface that is in no zone is in that one.
    """
    used = [zone for zone in zones if zone.active and set(zone.interfaces) & set(outside)]
    default = [zone for zone in zones if zone.default]
    names = [zone.name for zone in used or default]
    judged = [*used, *(zone for zone in default if zone not in used)]
    opened = [zone.name for zone in judged if zone.closed is False]
    if opened:
        return Finding("off", f"firewalld's zone {opened[0]} lets everything in"), names
    if not judged or any(zone.closed is None for zone in judged):
        return Finding("unknown", "firewalld runs, but does not tell its zones' targets"), names
    return Finding("on", f"firewalld runs, and its zone {judged[0].name} refuses the rest"), names
