"""Knows the releases of Fedora, RHEL and their relatives: what follows, and the end of support.

`SUPPORT_END` of os-release comes first: it is the distribution's own word, kept up to date by
its updates. It names the first day *without* support (os-release(5)); ours is the last one with
it. Where it is missing, a table stands in.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from qlmdm_core.api import ReleaseUpgrade

# Release, day of its release, first day without updates. fedorapeople.org/groups/schedule, and
# SUPPORT_END of the releases since 38. Fedora gives a release updates until a month after the
# second one that follows it (docs.fedoraproject.org, "Fedora Linux Release Life Cycle").
_FEDORA = """
34 2021-04-27 2022-06-07
35 2021-11-02 2022-12-13
36 2022-05-10 2023-05-16
37 2022-11-15 2023-12-05
38 2023-04-18 2024-05-21
39 2023-11-07 2024-11-26
40 2024-04-23 2025-05-13
41 2024-10-29 2025-12-15
42 2025-04-15 2026-05-13
43 2025-10-28 2026-12-02
44 2026-04-28 2027-05-19
"""
FEDORA_CADENCE = timedelta(days=7 * 30)
"""How long after the last release of the table there is surely another that it doesn't know."""

# id, major release, day of its release, last day with updates for everybody who may have any
# (for RHEL the end of maintenance support: what is bought beyond that is not known here).
# access.redhat.com/support/policy/updates/errata, centos.org/cl-vs-cs, wiki.rockylinux.org,
# wiki.almalinux.org, oracle.com/a/ocom/docs/elsp-lifetime-069338.pdf, and
# docs.aws.amazon.com/linux.
_ENTERPRISE = """
rhel 6 2010-11-10 2020-11-30
rhel 7 2014-06-10 2024-06-30
rhel 8 2019-05-07 2029-05-31
rhel 9 2022-05-17 2032-05-31
rhel 10 2025-05-20 2035-05-31
centos 6 2011-07-10 2020-11-30
centos 7 2014-07-07 2024-06-30
centos 8 2019-09-24 2021-12-31
centos-stream 8 2019-09-24 2024-05-31
centos-stream 9 2021-12-03 2027-05-31
centos-stream 10 2024-12-12 2030-05-31
rocky 8 2021-06-21 2029-05-31
rocky 9 2022-07-14 2032-05-31
rocky 10 2025-06-11 2035-05-31
almalinux 8 2021-03-30 2029-05-31
almalinux 9 2022-05-26 2032-05-31
almalinux 10 2025-05-27 2035-05-31
ol 7 2014-07-23 2024-12-31
ol 8 2019-07-18 2029-07-31
ol 9 2022-07-06 2032-06-30
ol 10 2025-06-26 2035-06-30
amzn 2 2018-06-26 2026-06-30
amzn 2023 2023-03-15 2029-06-30
"""
_NAMES = {
    "rhel": "Red Hat Enterprise Linux",
    "centos": "CentOS Linux",
    "centos-stream": "CentOS Stream",
    "rocky": "Rocky Linux",
    "almalinux": "AlmaLinux",
    "ol": "Oracle Linux",
    "amzn": "Amazon Linux",
}


def judge(os_release: Mapping[str, str], today: date) -> ReleaseUpgrade:
    """What there is to say about a machine's release on a given day."""
    if _rolls(os_release):
        return ReleaseUpgrade(end_of_life=False)
    end = _support_end(os_release)
    identity = os_release.get("ID", "")
    if identity == "fedora":
        return _fedora(os_release.get("VERSION_ID", ""), end, today)
    key = "centos-stream" if _is_stream(os_release) else identity
    if key in _NAMES:
        return _enterprise(key, os_release.get("VERSION_ID", "").split(".")[0], end, today)
    if end is not None:
        return _result(
            end, today, None, "what a derivative offers as its next release is not known"
        )
    return _derivative(os_release, today)


def _rolls(os_release: Mapping[str, str]) -> bool:
    """Rawhide and ELN have no end, and no next release."""
    words = " ".join(
        os_release.get(key, "")
        for key in ("VERSION", "PRETTY_NAME", "VARIANT_ID", "VERSION_CODENAME")
    )
    product = os_release.get("REDHAT_BUGZILLA_PRODUCT_VERSION", "")
    lowered = words.lower()
    return (
        "rawhide" in lowered
        or product == "rawhide"
        or "eln" in lowered.replace("(", " ").replace(")", " ").split()
    )


def _is_stream(os_release: Mapping[str, str]) -> bool:
    return os_release.get("ID") == "centos" and "Stream" in os_release.get("NAME", "")


def _support_end(os_release: Mapping[str, str]) -> date | None:
    """The last day with support, by the distribution's own word."""
    try:
        return date.fromisoformat(os_release.get("SUPPORT_END", "")) - timedelta(days=1)
    except (ValueError, OverflowError):
        return None


def _result(
    end: date | None, today: date, available: str | None, reason: str = ""
) -> ReleaseUpgrade:
    return ReleaseUpgrade(
        available=available,
        supported_until=end.isoformat() if end else None,
        end_of_life=end < today if end else None,
        reason=reason,
    )


def fedora_releases() -> dict[int, tuple[date, date]]:
    """By number: the day of the release, and the last day with updates."""
    rows = (line.split() for line in _FEDORA.strip().splitlines())
    return {
        int(number): (date.fromisoformat(released), date.fromisoformat(end) - timedelta(days=1))
        for number, released, end in rows
    }


def enterprise_releases() -> dict[tuple[str, int], tuple[date, date]]:
    """By id and number: the day of the release, and the last day with updates."""
    rows = (line.split() for line in _ENTERPRISE.strip().splitlines())
    return {
        (name, int(number)): (date.fromisoformat(released), date.fromisoformat(end))
        for name, number, released, end in rows
    }


def _fedora(version: str, end: date | None, today: date) -> ReleaseUpgrade:
    known = fedora_releases()
    number = _number(version)
    if number is None:
        return _result(end, today, None, f"nothing is known of Fedora {version[:20]!r}")
    if number in known:
        end = end or known[number][1]
    elif number < min(known):
        end = end or min(known.values())[1]
    newest = max(known)
    released = [other for other, (day, _) in known.items() if number < other and day <= today]
    # An upgrade may leave out one release, not two: from an older one, it takes several.
    within = [other for other in released if other <= number + 2] or released
    available = f"Fedora Linux {max(within)}" if within else None
    reason = ""
    if number > newest and end is None:
        reason = f"nothing is known of Fedora {number}"
    elif not released and today > known[newest][0] + FEDORA_CADENCE:
        reason = f"releases after Fedora {newest} are not known here"
    return _result(end, today, available, reason)


def _enterprise(key: str, version: str, end: date | None, today: date) -> ReleaseUpgrade:
    known = enterprise_releases()
    number = _number(version)
    if number is None or (key, number) not in known:
        return _result(end, today, None, f"nothing is known of {_NAMES[key]} {version[:20]!r}")
    end = end or known[key, number][1]
    following = [
        other
        for (name, other), (day, _) in known.items()
        if name == key and other > number and day <= today
    ]
    available = f"{_NAMES[key]} {min(following)}" if following else None
    return _result(end, today, available)


def _derivative(os_release: Mapping[str, str], today: date) -> ReleaseUpgrade:
    """A derivative that says no date of its own gets its updates as long as what it is built on."""
    like = os_release.get("ID_LIKE", "").split()
    number = _number(os_release.get("VERSION_ID", "").split(".")[0])
    platform = os_release.get("PLATFORM_ID", "").removeprefix("platform:")
    if platform[:2] == "el" and (base := _number(platform[2:])):
        number, like = base, ["rhel"]
    elif platform[:1] == "f" and (base := _number(platform[1:])):
        number, like = base, ["fedora"]
    if number is not None and "fedora" in like and number in fedora_releases():
        end = fedora_releases()[number][1]
        return _result(
            end, today, None, f"built upon Fedora {number}, whose end of support this is"
        )
    if number is not None and "rhel" in like and ("rhel", number) in enterprise_releases():
        end = enterprise_releases()["rhel", number][1]
        return _result(end, today, None, f"built upon RHEL {number}, whose end of support this is")
    return ReleaseUpgrade(
        reason="os-release says neither an end of support nor what it is built on"
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else None
