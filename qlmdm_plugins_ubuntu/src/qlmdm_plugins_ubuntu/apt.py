"""Reads what apt's programs print: which packages wait, and which of them mend security holes.

Everything here is text to value; asking the machine is `adapter`. apt promises stable output
for `apt-get` only (apt(8), "SCRIPT USAGE"), so the rest is read with care: a line that is not
understood is passed over, and the counts that apt prints itself are kept beside ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from qlmdm_plugins_ubuntu.summaries import parse_security_count


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """One installed package for which a newer version waits."""

    name: str
    installed: str
    available: str
    security: bool
    """Whether the new version comes (also) from a security archive."""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What a simulated upgrade (`apt-get -s dist-upgrade`) said it would do."""

    upgrades: tuple[Upgrade, ...] = ()
    upgraded: int | None = None
    """How many packages apt counted as upgraded itself; None: it did not say."""
    not_upgraded: int | None = None
    """How many newer versions apt left alone: held, kept back or phased."""
    named: tuple[str, ...] = ()
    """The packages that apt listed as "will be upgraded"."""
    kept_back: tuple[str, ...] = ()
    phased: tuple[str, ...] = ()
    """Not offered to this machine yet: the distribution hands them out in stages."""
    pro_only: tuple[str, ...] = ()
    """Security updates that only subscribers of Ubuntu Pro can install."""
    unfinished: int = 0
    """Packages that dpkg left half installed."""
    security: int | None = None
    """How many of the upgrades are for security, where the text counts them itself."""
    understood: bool = False
    """Something in the text shows that a simulation ran at all."""


MAX_LINE = 8000
"""Characters of a line that are read: no package has a longer one."""

_INST = re.compile(r"Inst (\S+) (?:\[([^\]]*)\] )?\(([^)]*)\)")
_COUNTS = re.compile(
    r"(\d{1,6}) upgraded, \d+ newly installed, (?:\d+ reinstalled, )?(?:\d+ downgraded, )?"
    r"\d+ to remove and (\d{1,6}) not upgraded"
)
# apt 3 (apt(8) with the newer output; apt-get keeps the old one).
_SUMMARY = re.compile(r"\s*Upgrading: (\d{1,6}), Installing: \d+,.* Not Upgrading: (\d{1,6})")
_UNFINISHED = re.compile(r"(\d{1,6}) not fully installed or removed")
_SECTIONS = {
    "the following packages will be upgraded:": "named",
    "upgrading:": "named",
    "the following packages have been kept back:": "kept_back",
    "not upgrading:": "kept_back",
    "the following upgrades have been deferred due to phasing:": "phased",
    "not upgrading yet due to phasing:": "phased",
}


def is_security_origin(origin: str) -> bool:
    """Whether one origin, as apt prints it (`Label:version/suite`), is a security archive.

    Debian's label says it (`Debian-Security:12/stable-security`), Ubuntu's suite does
    (`Ubuntu:24.04/noble-security`), and those of Ubuntu Pro do by their label
    (`UbuntuESM:…`, `UbuntuESMApps:…`).

    >>> is_security_origin("Ubuntu:24.04/noble-updates")
    False
    """
    lowered = origin.strip().lower()
    return "security" in lowered or lowered.startswith("ubuntuesm")


def parse_simulation(text: str) -> Simulation:
    """Read the output of `apt-get -s dist-upgrade`.

    `Inst NAME [OLD] (NEW ORIGIN, ORIGIN [ARCH]) [BROKEN]` announces a package. Without
    `[OLD]` it is a new one that an upgrade needs, which is not an update. A version that
    stands in several archives names all of them, and a security fix usually stands in
    -updates as well, so every origin counts. `Conf` and `Remv` lines add nothing.
    """
    upgrades: list[Upgrade] = []
    lists: dict[str, list[str]] = {"named": [], "kept_back": [], "phased": [], "pro_only": []}
    upgraded = not_upgraded = None
    unfinished = 0
    security: int | None = None
    understood = False
    section: list[str] | None = None
    for line in (line[:MAX_LINE] for line in text.splitlines()):
        if section is not None:
            if line.startswith(" "):
                section += line.split()
                continue
            section = None
        if line.startswith("Inst "):
            understood = True
            if upgrade := _upgrade(line):
                upgrades.append(upgrade)
        elif line.startswith(("Conf ", "NOTE: This is only a simulation")):
            understood = True
        elif counts := _COUNTS.match(line) or _SUMMARY.match(line):
            understood = True
            upgraded, not_upgraded = int(counts[1]), int(counts[2])
        elif found := _UNFINISHED.match(line):
            unfinished = int(found[1])
        elif (counted := parse_security_count(line)) is not None:
            security = counted
        else:
            section = _section(line, lists)
    return Simulation(
        upgrades=tuple(upgrades),
        upgraded=upgraded,
        not_upgraded=not_upgraded,
        named=tuple(lists["named"]),
        kept_back=tuple(lists["kept_back"]),
        phased=tuple(lists["phased"]),
        pro_only=tuple(lists["pro_only"]),
        unfinished=unfinished,
        security=security,
        understood=understood,
    )


def _upgrade(line: str) -> Upgrade | None:
    match = _INST.match(line)
    if match is None or match[2] is None:
        return None
    available, _, rest = match[3].partition(" ")
    if not available:
        return None
    origins = rest.rsplit(" [", 1)[0]  # the architecture stands last, in brackets
    return Upgrade(
        name=match[1],
        installed=match[2],
        available=available,
        security=any(map(is_security_origin, origins.split(","))),
    )


def _section(line: str, lists: Mapping[str, list[str]]) -> list[str] | None:
    """The list that the following, indented lines belong to, if this line is a heading."""
    lowered = line.strip().lower()
    if not lowered.endswith(":"):
        return None
    # Printed by ubuntu-pro-client's hook in apt: "Get more security updates through Ubuntu
    # Pro with 'esm-apps' enabled:" and "The following security updates require Ubuntu Pro with
    # 'esm-infra' enabled:", or the same of one update.
    if "ubuntu pro" in lowered and "security update" in lowered:
        return lists["pro_only"]
    name = _SECTIONS.get(lowered)
    return lists[name] if name else None


# `apt list --upgradable`: NAME/SUITE,SUITE VERSION ARCH [upgradable from: OLD]
_UPGRADABLE = re.compile(r"([^\s/]+)/(\S+) (\S+) (\S+) \[[^\]:]*: ([^\]\s]+)\]\s*\Z")


def parse_upgradable(text: str) -> tuple[Upgrade, ...]:
    """Read the output of `apt list --upgradable`, where phased updates are listed as well."""
    return tuple(
        Upgrade(
            name=match[1],
            installed=match[5],
            available=match[3],
            security=any(map(is_security_origin, match[2].split(","))),
        )
        for match in map(_UPGRADABLE.match, text.splitlines())
        if match is not None
    )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What `apt-cache policy` says about one package."""

    installed: str | None = None
    candidate: str | None = None
    phased: bool = False
    """The candidate is being handed out in stages."""
    security: bool = False
    """A version from a security archive lies above the installed one and up to the candidate.

    The candidate itself need not come from there: once -updates has a later version, the
    security archive's own is hidden behind it, but its fix is missing all the same.
    """


@dataclass
class _Table:
    installed: str | None = None
    candidate: str | None = None
    versions: list[tuple[str, bool]] = field(default_factory=list)
    security: set[str] = field(default_factory=set)
    current: str | None = None


_VERSION = re.compile(r" (\*\*\*|   ) (\S+)(?: -?\d+)?(?: \(phased (\d{1,3})%\))?\s*\Z")
_SOURCE = re.compile(r" {8,}-?\d+ (\S+) (\S+)")


def parse_policy(text: str) -> dict[str, Policy]:
    """Read the output of `apt-cache policy NAME…` into one entry for each package."""
    tables: dict[str, _Table] = {}
    table = _Table()
    for line in text.splitlines():
        if line and not line[0].isspace() and line.endswith(":"):
            table = tables[line[:-1]] = _Table()
        elif line.startswith("  Installed: "):
            table.installed = _version(line)
        elif line.startswith("  Candidate: "):
            table.candidate = _version(line)
        elif version := _VERSION.match(line):
            table.current = version[2]
            table.versions.append((version[2], version[3] is not None and int(version[3]) < 100))
        elif table.current is not None and _is_security_source(line):
            table.security.add(table.current)
    return {name: _policy(table) for name, table in tables.items()}


def _version(line: str) -> str | None:
    version = line.split(": ", 1)[1].strip()
    return None if version == "(none)" or not version else version


def _is_security_source(line: str) -> bool:
    """Whether a line of the version table, `500 URL SUITE/COMPONENT …`, is such an archive."""
    source = _SOURCE.match(line)
    if source is None:
        return False
    url, suite = source[1], source[2]
    # "http://security.debian.org buster/updates/main" is how Debian named it up to 10.
    return (
        "security" in suite
        or "://security." in url
        or "debian-security" in url
        or url.startswith("https://esm.ubuntu.com")
    )


def _policy(table: _Table) -> Policy:
    phased = security = False
    inside = False
    for version, is_phased in table.versions:  # the newest first
        if version == table.candidate:
            inside = True
            phased = is_phased
        if version == table.installed:
            break
        security = security or (inside and version in table.security)
    return Policy(
        installed=table.installed,
        candidate=table.candidate,
        phased=phased,
        security=security and table.installed is not None,
    )
