"""Reads what dnf prints, in its fourth and fifth generation, and yum before them.

Everything here is text to value; asking the machine is `pending`. Only what is understood
counts: a line that is no row of a table is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from qlmdm_core.api import JSON
from qlmdm_fedora.versions import Package, normal_version, parse_nevra, split_arch


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """One installed package for which a newer build waits."""

    package: Package
    repository: str
    """The id of the repository that has it; dnf may cut a long one."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What `dnf check-update` (dnf5: `check-upgrade`) said."""

    upgrades: tuple[Upgrade, ...] = ()
    replacements: tuple[str, ...] = ()
    """Packages that would take the place of others which are installed. They are printed below
    "Obsoleting Packages", some of them a second time: no updates, and not counted."""
    age_seconds: int | None = None
    """How old dnf said the oldest of its lists is."""


_VERSION = re.compile(r"(?:[0-9]+:)?[^\s:-]+-[^\s:-]+")
_AGE = re.compile(
    r"Last metadata expiration check: (?:(\d{1,5}) days?, )?(\d{1,3}):(\d\d):(\d\d) ago"
)


def parse_check(text: str) -> Check:
    """Read the table of updates: name with architecture, version, repository.

    yum puts the rest of a row on a second, indented line if the name is long. In the section of
    obsoleting packages, an indented line names the package that goes.
    """
    rows: dict[tuple[str, str], Upgrade] = {}
    replacements: list[str] = []
    age = None
    obsoleting = False
    cells: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if line.strip().lower().startswith("obsoleting packages"):
            obsoleting = True
        if found := _AGE.match(line):
            days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
            age = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        if not line[:1].isspace():
            cells = words if words and split_arch(words[0]) else []
        elif cells and not obsoleting:
            cells = [*cells, *words]
        else:
            continue
        upgrade = _upgrade(cells)
        if upgrade is None:
            continue
        cells = []
        if obsoleting:
            replacements.append(upgrade.package.name)
        else:
            rows[upgrade.package.name, upgrade.package.arch] = upgrade
    return Check(
        upgrades=tuple(rows.values()),
        replacements=tuple(dict.fromkeys(replacements)),
        age_seconds=age,
    )


def _upgrade(cells: list[str]) -> Upgrade | None:
    if len(cells) != 3:
        return None
    split = split_arch(cells[0])
    if split is None or not _VERSION.fullmatch(cells[1]):
        return None
    package = Package(name=split[0], arch=split[1], version=normal_version(cells[1]))
    return Upgrade(package=package, repository=cells[2])


_NO_CACHE = re.compile(r"no cache for (?:repository )?['\"]([^'\"]{1,200})['\"]")
_IGNORED = re.compile(r"(?m)^Ignoring repositories: (.{1,2000})$")
_FAILED = re.compile(r"Failed to download metadata for repo '([^']{1,200})'")


def repositories_left_out(stderr: str) -> tuple[str, ...]:
    """The repositories that dnf answered without, because it has no lists of them.

    That is not an error to dnf: with none at all it still says that nothing waits, and exits 0.
    """
    names = [*_NO_CACHE.findall(stderr), *_FAILED.findall(stderr)]
    for line in _IGNORED.findall(stderr):
        names += [name.strip() for name in line.split(",")]
    return tuple(name for name in dict.fromkeys(names) if name)


def says_unregistered(output: str) -> bool:
    """Whether Red Hat's plugin said that this machine has no subscription."""
    lowered = output.lower()
    return "system is not registered" in lowered or "not registered with an entitlement" in lowered


# --- advisories ---------------------------------------------------------------------------


def parse_advisories(text: str) -> frozenset[Package] | None:
    """The builds that mend a security hole, by a list of advisories; None if it is no list.

    dnf 4 and yum print `FEDORA-2026-1a2b3c Moderate/Sec. curl-8.9.1-3.fc42.x86_64`, with `i`
    before what is installed. dnf5 prints a table with a heading, or the same as JSON.
    """
    if text.lstrip().startswith("["):
        return _json_advisories(text)
    found = (_advisory(line.split()) for line in text.splitlines() if line.strip())
    return frozenset(package for package in found if package is not None)


def _json_advisories(text: str) -> frozenset[Package] | None:
    try:
        rows: JSON = json.loads(text)
    except (ValueError, RecursionError):
        return None
    packages = set()
    for row in rows:
        if not isinstance(row, dict) or row.get("type", "security") != "security":
            continue
        nevra = row.get("nevra")
        if isinstance(nevra, str) and (package := parse_nevra(nevra)):
            packages.add(package)
    return frozenset(packages)


def _advisory(words: list[str]) -> Package | None:
    if len(words) < 3 or words[0] == "i":
        return None
    kind = words[1].lower()
    if kind != "security" and not kind.endswith("/sec."):
        return None
    found = (parse_nevra(word) for word in words[2:5])
    return next((package for package in found if package is not None), None)


# --- what the owner holds back ------------------------------------------------------------


def parse_versionlock(text: str) -> tuple[str, ...]:
    """The names in versionlock.list: `bash-0:5.1.8-9.el9.*`, or `!…` for a build to leave out."""
    names = []
    for line in text.splitlines():
        entry = line.split("#", 1)[0].strip().removeprefix("!")
        if not entry:
            continue
        epoch, colon, rest = entry.partition(":")
        if colon and epoch.isdecimal():  # as yum writes it, `0:bash-4.2.46-35.el7_9.*`
            entry = rest
        parts = entry.rsplit("-", 2)
        names.append(parts[0] if len(parts) == 3 and parts[0] else entry)
    return tuple(dict.fromkeys(names))


_TOML_NAME = re.compile(r"""^\s*name\s*=\s*(["'])([^"']{1,200})\1""")


def parse_versionlock_toml(text: str) -> tuple[str, ...]:
    """The names in dnf5's versionlock.toml, of which only the lines `name = "…"` matter."""
    found = map(_TOML_NAME.match, text.splitlines())
    return tuple(dict.fromkeys(match[2] for match in found if match))


# --- restart ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Restart:
    """What `dnf needs-restarting -r` said."""

    required: bool | None
    packages: tuple[str, ...] = ()


_REASON = re.compile(r"\s+(?:\* )?([A-Za-z0-9][\w.+-]{0,199})(?: -> \S+)?\s*\Z")


def parse_restart(text: str) -> Restart:
    """Read the hint. Its exit status is 1 both for "restart" and for any error, so words count."""
    if "Reboot should not be necessary" in text:
        return Restart(required=False)
    if "Reboot is required" not in text:
        return Restart(required=None)
    names = (match[1] for match in map(_REASON.match, _listed(text)) if match)
    return Restart(required=True, packages=tuple(dict.fromkeys(names)))


def _listed(text: str) -> Iterable[str]:
    """The lines below the heading that ends in a colon, up to the next empty line."""
    inside = False
    for line in text.splitlines():
        if not line.strip():
            inside = False
        elif inside:
            yield line
        elif line.rstrip().endswith(":") and "updated" in line:
            inside = True
