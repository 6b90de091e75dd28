"""Knows the releases of Ubuntu and Debian: which came when, and until when each gets updates.

The dates are those of the package distro-info-data, which lies on most machines as
/usr/share/distro-info/{ubuntu,debian}.csv; a short table here stands in where it doesn't.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from qlmdm_core.api import ReleaseUpgrade

POINT_RELEASE = timedelta(days=130)
"""How long after a new LTS Ubuntu offers it to those who run the one before: from its first
point release on, which came 126 days later at most (20.04.1, 22.04.1, 24.04.1)."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release of a distribution. A date that is not known is None."""

    version: str
    """As `24.04` or `12`; empty for those that have no number (sid)."""
    series: str
    """The code name, as in os-release: `noble`, `bookworm`."""
    lts: bool = False
    released: date | None = None
    supported_until: date | None = None
    """The last day with updates for everybody. For Debian that includes its long-term
    support, whose updates come from the same archive without being asked for."""
    paid_until: date | None = None
    """The last day with updates for subscribers (Ubuntu Pro; Freexian's ELTS for Debian)."""


# series, version, released, supported until, paid until
_UBUNTU = """
lucid,10.04 LTS,2010-04-29,2015-04-30,
precise,12.04 LTS,2012-04-26,2017-04-28,2019-04-30
trusty,14.04 LTS,2014-04-17,2019-04-25,2024-04-25
utopic,14.10,2014-10-23,2015-07-23,
vivid,15.04,2015-04-23,2016-02-04,
wily,15.10,2015-10-22,2016-07-28,
xenial,16.04 LTS,2016-04-21,2021-04-30,2026-04-23
yakkety,16.10,2016-10-13,2017-07-20,
zesty,17.04,2017-04-13,2018-01-13,
artful,17.10,2017-10-19,2018-07-19,
bionic,18.04 LTS,2018-04-26,2023-05-31,2028-04-01
cosmic,18.10,2018-10-18,2019-07-18,
disco,19.04,2019-04-18,2020-01-23,
eoan,19.10,2019-10-17,2020-07-17,
focal,20.04 LTS,2020-04-23,2025-05-29,2030-04-23
groovy,20.10,2020-10-22,2021-07-22,
hirsute,21.04,2021-04-22,2022-01-20,
impish,21.10,2021-10-14,2022-07-14,
jammy,22.04 LTS,2022-04-21,2027-06-01,2032-04-21
kinetic,22.10,2022-10-20,2023-07-20,
lunar,23.04,2023-04-20,2024-01-25,
mantic,23.10,2023-10-12,2024-07-11,
noble,24.04 LTS,2024-04-25,2029-05-31,2034-04-25
oracular,24.10,2024-10-10,2025-07-10,
plucky,25.04,2025-04-17,2026-01-15,
questing,25.10,2025-10-09,2026-07-09,
resolute,26.04 LTS,2026-04-23,2031-05-29,2036-04-23
"""
_DEBIAN = """
squeeze,6.0,2011-02-06,2016-02-29,
wheezy,7,2013-05-04,2018-05-31,2020-06-30
jessie,8,2015-04-26,2020-06-30,2025-06-30
stretch,9,2017-06-17,2022-06-30,2027-06-30
buster,10,2019-07-06,2024-06-30,2029-06-30
bullseye,11,2021-08-14,2026-08-31,2031-06-30
bookworm,12,2023-06-10,2028-06-30,2033-06-30
trixie,13,2025-08-09,2030-06-30,2035-06-30
sid,,,,
"""


def builtin(distribution: str) -> list[Release]:
    """The releases that this module knows by itself (`ubuntu` or `debian`)."""
    table = _UBUNTU if distribution == "ubuntu" else _DEBIAN
    rows = csv.reader(table.strip().splitlines())
    return [
        Release(
            version=version.removesuffix(" LTS"),
            series=series,
            lts=version.endswith(" LTS"),
            released=_date(released),
            supported_until=_date(until),
            paid_until=_date(paid),
        )
        for series, version, released, until, paid in rows
    ]


def parse_distro_info(text: str) -> list[Release]:
    """Read a file of distro-info-data. Rows and dates that can't be understood are left out.

    The columns are named in the first line: version, codename, series, created, release,
    eol, then for Ubuntu eol-server, eol-esm, eol-legacy and for Debian eol-lts, eol-elts.
    """
    releases: list[Release] = []
    try:
        for row in csv.DictReader(text.replace("\0", "").splitlines()):
            series = row.get("series")
            if not series:
                continue
            version = row.get("version") or ""
            releases.append(
                Release(
                    version=version.removesuffix(" LTS"),
                    series=series,
                    lts=version.endswith(" LTS"),
                    released=_date(row.get("release")),
                    supported_until=_date(row.get("eol-lts")) or _date(row.get("eol")),
                    paid_until=_date(row.get("eol-esm")) or _date(row.get("eol-elts")),
                )
            )
    except csv.Error:  # a field of more than 128 KB: not the file that we know
        return []
    return releases


def merge(own: Iterable[Release], file: Iterable[Release]) -> list[Release]:
    """Both lists in one, by date. Where both know a date, the later one counts.

    The file may be years old: it then lacks new releases, and the ends of support that were
    announced since. What was announced has been extended, and never yet been cut short.
    """
    by_series = {release.series: release for release in own}
    for release in file:
        other = by_series.get(release.series, release)
        by_series[release.series] = replace(
            release,
            released=release.released or other.released,
            supported_until=_later(release.supported_until, other.supported_until),
            paid_until=_later(release.paid_until, other.paid_until),
        )
    return sorted(by_series.values(), key=lambda release: release.released or date.max)


def _later(one: date | None, other: date | None) -> date | None:
    return max(one, other) if one and other else one or other


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "").strip())
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class Base:
    """Which release a machine runs, or is built upon."""

    distribution: str
    """`ubuntu` or `debian`."""
    series: str
    version: str
    own: bool
    """It is that distribution; False for a derivative, which has upgrades of its own."""


_DISTRIBUTOR = re.compile(r"^DISTRIB_ID=[ \t]*[\"']?([\w-]+)", re.MULTILINE)


def base_of(os_release: Mapping[str, str], lsb_release: str = "") -> Base | None:
    """The Ubuntu or Debian release that an os-release names, its own or its parent's.

    Derivatives name it in UBUNTU_CODENAME (Mint, Pop!_OS, elementary, neon, Zorin) or
    DEBIAN_CODENAME (LMDE); others keep the parent's code name as their own. MX keeps all of
    Debian's os-release, and names itself in the text of /etc/lsb-release.
    """
    identity = os_release.get("ID", "")
    series = os_release.get("VERSION_CODENAME", "").lower()
    version = os_release.get("VERSION_ID", "")
    if identity in ("ubuntu", "debian"):
        if not series and "(" in os_release.get("VERSION", ""):  # Debian 8: VERSION="8 (jessie)"
            series = os_release["VERSION"].split("(", 1)[1].split(")")[0].strip().lower()
        distributor = _DISTRIBUTOR.search(lsb_release)
        own = distributor is None or distributor[1].lower() == identity
        return Base(distribution=identity, series=series, version=version, own=own)
    for key, distribution in (("UBUNTU_CODENAME", "ubuntu"), ("DEBIAN_CODENAME", "debian")):
        if parent := os_release.get(key, "").lower():
            return Base(distribution=distribution, series=parent, version="", own=False)
    like = os_release.get("ID_LIKE", "").split()
    if series and ("ubuntu" in like or "debian" in like):
        distribution = "ubuntu" if "ubuntu" in like else "debian"
        return Base(distribution=distribution, series=series, version="", own=False)
    return None


def find(releases: Iterable[Release], base: Base) -> Release | None:
    """The release of this code name, or, where none is given, of this version."""
    for release in releases:
        if release.series == base.series:
            return release
        if not base.series and base.version and release.version == base.version:
            return release
    return None


def judge(
    releases: Iterable[Release], base: Base, today: date, *, paid: bool, prompt: str
) -> ReleaseUpgrade:
    """What there is to say about a machine's release on a given day.

    `paid` says that the machine gets the updates of a subscription. `prompt` is Ubuntu's
    setting of what its upgrader offers: `lts`, `normal`, `never`, or empty if not set.
    """
    known = list(releases)
    release = find(known, base)
    if release is None:
        return ReleaseUpgrade(reason=f"nothing is known of {base.distribution} {base.series!r}")
    until = release.paid_until if paid and release.paid_until else release.supported_until
    result = ReleaseUpgrade(
        supported_until=until.isoformat() if until else None,
        end_of_life=until < today if until else False,
    )
    if not base.own:
        return ReleaseUpgrade(
            supported_until=result.supported_until,
            end_of_life=result.end_of_life,
            reason=f"built upon {title(base.distribution, release)}; "
            "what a derivative offers as its next release is not known",
        )
    following = _next(known, release, today, base.distribution, prompt)
    reason = ""
    if following and base.distribution == "ubuntu" and prompt == "never":
        reason = "/etc/update-manager/release-upgrades says Prompt=never"
    return ReleaseUpgrade(
        available=title(base.distribution, following) if following else None,
        supported_until=result.supported_until,
        end_of_life=result.end_of_life,
        reason=reason,
    )


def title(distribution: str, release: Release) -> str:
    """The name that people use: `Ubuntu 24.04 LTS`, `Debian 13 (trixie)`."""
    if distribution == "debian":
        return f"Debian {release.version} ({release.series})".replace("  ", " ")
    return f"Ubuntu {release.version}" + (" LTS" if release.lts else "")


def _next(
    releases: list[Release], release: Release, today: date, distribution: str, prompt: str
) -> Release | None:
    """The release that comes after this one for somebody who upgrades today.

    Debian is upgraded one release at a time, Ubuntu's LTS to the next LTS, even one whose
    support has ended; between the others, Ubuntu's upgrader leaves out what has ended.
    """
    if release.released is None:
        return None  # in development, or rolling
    lts_only = distribution == "ubuntu" and release.lts and prompt != "normal"
    for other in releases:
        if other.released is None or other.released <= release.released or not other.version:
            continue
        if lts_only and not other.lts:
            continue
        if other.released + (POINT_RELEASE if lts_only else timedelta(0)) > today:
            continue
        ended = other.supported_until is not None and other.supported_until < today
        if ended and distribution == "ubuntu" and not lts_only:
            continue
        return other
    return None


def parse_prompt(text: str) -> str:
    """The `Prompt` of /etc/update-manager/release-upgrades: lts, normal, never, or empty."""
    prompt = ""
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip().lower() == "prompt":
            prompt = value.strip().lower()
    return prompt if prompt in ("lts", "normal", "never") else ""
