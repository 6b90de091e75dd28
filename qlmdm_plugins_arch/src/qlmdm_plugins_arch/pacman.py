"""Reads what pacman and its companions print: pending updates, security advisories, versions.

Everything here is text to value; asking the machine is `adapter`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """One installed package for which a newer version waits."""

    name: str
    installed: str
    available: str
    ignored: bool = False
    """The owner told pacman to leave it alone (IgnorePkg, IgnoreGroup)."""


_UPGRADE = re.compile(
    r"([a-z0-9@_+][a-z0-9@._+-]*) (\S+) -> (\S+)( \[[^\]]*\])?\s*\Z", re.IGNORECASE
)

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def parse_upgrades(text: str) -> tuple[Upgrade, ...]:
    """Read `pacman -Qu` or `checkupdates`: `NAME OLD -> NEW`, with ` [ignored]` by pacman."""
    return tuple(
        Upgrade(name=match[1], installed=match[2], available=match[3], ignored=bool(match[4]))
        for match in map(_UPGRADE.match, _COLOUR.sub("", text).splitlines())
        if match is not None
    )


# `pacman -Qu` says this of packages that are newer than the repository's, or replaced.
_HARMLESS = re.compile(r"warning: \S+: (local \(|ignoring package)")


def complaint(stderr: str) -> str:
    """The first line of pacman's standard error that may mean that its answer is incomplete.

    A database that was never fetched is only a warning to pacman ("database file for 'core'
    does not exist"), and its answer is then the same as if nothing waited.
    """
    for line in stderr.splitlines():
        if line.strip() and not _HARMLESS.match(line.strip()):
            return line.strip()[:160]
    return ""


MAX_LINE = 4000
"""Characters of a line of arch-audit that are read."""
_ADVISORY = re.compile(r"(?:Package )?`?([^\s`|]+)`? is affected by ")
_UPGRADABLE = re.compile(r"([^\s`|>=]+)(?:>=\S+|\|CVE-[\d-]+(?:, ?CVE-[\d-]+)*)\s*\Z")


def parse_advisories(text: str) -> frozenset[str]:
    """The packages whose fix can be installed now, by the output of `arch-audit -u`.

    `curl is affected by CVE-2016-9594. High risk! Update to 7.52.1-1!`; without "Update to"
    nobody has a fix yet, and one "from testing repos" is not for this machine. What `-u` shows
    in a shorter form (`curl>=7.52.1-1`, `curl|CVE-2016-9594`) has one.
    """
    found: set[str] = set()
    for line in _COLOUR.sub("", text).splitlines():
        line = line[:MAX_LINE]
        if advisory := _ADVISORY.match(line):
            _, update, version = line.rpartition("Update to ")
            if update and "testing" not in version:
                found.add(advisory[1])
        elif short := _UPGRADABLE.match(line):
            found.add(short[1])
    return frozenset(found)


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """What the owner told pacman to leave alone."""

    packages: tuple[str, ...] = ()
    """Names, or patterns of them (pacman.conf(5))."""
    groups: tuple[str, ...] = ()


def parse_ignored(text: str) -> Ignored:
    """Read `IgnorePkg` and `IgnoreGroup` of a pacman.conf; each may be given many times."""
    found: dict[str, list[str]] = {"IgnorePkg": [], "IgnoreGroup": []}
    for line in text.splitlines():
        key, equals, value = line.partition("#")[0].partition("=")
        if equals and key.strip() in found:
            found[key.strip()] += value.split()
    return Ignored(packages=tuple(found["IgnorePkg"]), groups=tuple(found["IgnoreGroup"]))


def parse_version(text: str, name: str) -> str | None:
    """The version in the answer of `pacman -Q NAME`: `NAME VERSION`."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name:
            return words[1]
    return None
