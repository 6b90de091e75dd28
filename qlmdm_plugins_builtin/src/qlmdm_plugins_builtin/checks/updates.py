"""Judges whether a machine gets its updates: pending ones, security, the release.

A machine passes only if it showed that nothing waits, by package lists that are recent, on a
release that is still given updates. Time alone can end that: the lists grow old, the release
comes to its end. Each passing verdict says when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import partial

from qlmdm_core.api import JSON, AuditCheck, ClientView, Verdict
from qlmdm_core.units import say_duration
from qlmdm_plugins_builtin.policy import DAY, Policy

NEEDS = ("os_updates",)
_INSTALL = {"ubuntu": "sudo apt full-upgrade", "arch": "sudo pacman -Syu"}
_REFRESH = {"ubuntu": "sudo apt update", "arch": "sudo pacman -Syu"}
"""What to type, by the adapter that asked the machine. Never `pacman -Sy`: it would leave the
machine half upgraded with the next package that is installed."""


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    limits = Limits.of(settings)
    return [
        AuditCheck(
            name="os-update-available",
            needs=NEEDS,
            judge=partial(judge_updates, limits),
            # A fortnight: machines that are updated weekly are never heard of.
            grace_period=14 * DAY,
            help="All updates are installed, by package lists of the last "
            f"{say_duration(settings.update_cache_max_age)}, and the release is supported for "
            f"another {say_duration(settings.release_support_margin)} at least if there is a "
            "newer one. Install what waits (sudo apt full-upgrade, sudo pacman -Syu), or move "
            "to the next release.",
        ),
        AuditCheck(
            name="os-security-patches-available",
            needs=NEEDS,
            judge=partial(judge_security, limits),
            grace_period=3 * DAY,
            help="No security update waits, by package lists of the last "
            f"{say_duration(settings.update_cache_max_age)}, on a release that still gets them. "
            "Install what waits (sudo apt full-upgrade, sudo pacman -Syu).",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A policy in the form that judging 100,000 clients needs."""

    max_age: timedelta
    """Of the package lists."""
    margin: timedelta
    """How long a release must still be supported, if there is a newer one."""
    far: timedelta
    """An end of support that is further away than this changes nothing yet."""

    @classmethod
    def of(cls, policy: Policy) -> Limits:
        """The limits of a policy."""
        max_age = timedelta(seconds=policy.update_cache_max_age)
        margin = timedelta(seconds=policy.release_support_margin)
        return cls(max_age=max_age, margin=margin, far=max_age + margin + timedelta(days=2))


def judge_updates(limits: Limits, client: ClientView, now: datetime) -> Verdict:
    """Whether anything waits. The first row that fits decides.

    | what was reported                                             | verdict              |
    |---------------------------------------------------------------|----------------------|
    | the release is past its end of life (then, or by now)         | fail                 |
    | updates wait, however old the package lists                   | fail                 |
    | a newer release exists, and support ends soon or is not known | fail                 |
    | the state is unknown (lists very old, locked, image, …)       | unknown, its reason  |
    | nothing waits, but the age of the lists is not known          | unknown              |
    | nothing waits, by lists that are too old by now               | unknown              |
    | nothing waits                                                 | pass, until they are |
    """
    result = client.report["os_updates"]
    value = result.get("value")
    if not isinstance(value, dict):
        return _NOT_UNDERSTOOD
    until = _date(value.get("supported_until"))
    if _ended(value, until, now):
        return _fail_ended(value)
    updates = _count(value.get("updates"))
    state = value.get("state")
    if updates or state == "updates_available":
        return _fail_updates(value, updates)
    if value.get("release_upgrade") is not None and _ends_soon(limits, until, now):
        return _fail_release(value, until)
    if state != "up_to_date" or updates is None:
        return _unknown(value, until)
    return _by_age(limits, result, value, until, now)


def judge_security(limits: Limits, client: ClientView, now: datetime) -> Verdict:
    """Whether a security update waits. The first row that fits decides.

    | what was reported                                             | verdict              |
    |---------------------------------------------------------------|----------------------|
    | the release is past its end of life: no more fixes come       | fail                 |
    | security updates wait, however old the package lists          | fail                 |
    | the state is unknown                                          | unknown, its reason  |
    | updates wait, and which of them are for security is not known | unknown              |
    | nothing waits, security not told apart, a rolling release:    |                      |
    | all fixes are ordinary updates there                          | as if told apart     |
    | nothing waits, security not told apart, other releases:       |                      |
    | the security archive is missing                               | unknown              |
    | the age of the package lists is not known, or too great       | unknown              |
    | no security update waits                                      | pass, until it is    |
    """
    result = client.report["os_updates"]
    value = result.get("value")
    if not isinstance(value, dict):
        return _NOT_UNDERSTOOD
    until = _date(value.get("supported_until"))
    if _ended(value, until, now):
        return _fail_ended(value)
    security = _count(value.get("security_updates"))
    if security:
        return _fail_security(value, security)
    state = value.get("state")
    if state not in ("up_to_date", "updates_available"):
        return _unknown(value, until)
    if security is None and (state == "updates_available" or until is not None):
        return _unknown_security(value, until)
    return _by_age(limits, result, value, until, now)


# --- what is judged -----------------------------------------------------------------------

_NOT_UNDERSTOOD = Verdict(state="unknown", message="the value of os_updates is not understood")


def _count(value: JSON) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _date(value: JSON) -> date | None:
    try:
        return date.fromisoformat(value) if type(value) is str else None
    except ValueError:
        return None


def _ended(value: Mapping[str, JSON], until: date | None, now: datetime) -> bool:
    return value.get("end_of_life") is True or (until is not None and until < now.date())


def _ends_soon(limits: Limits, until: date | None, now: datetime) -> bool:
    return until is None or until - now.date() < limits.margin


def _end(until: date | None) -> datetime | None:
    """The moment after the last day of support."""
    if until is None or until >= date.max:
        return None
    return datetime.combine(until, time(), timezone.utc) + timedelta(days=1)


def _moment(text: JSON) -> datetime | None:
    """A time as clients write it; None for what is none, or is from before there were any."""
    if type(text) is not str:
        return None
    try:
        # Python 3.10 does not read "Z".
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] == "Z" else text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment if moment.year >= 2000 else None


def _listed_at(
    result: Mapping[str, JSON], value: Mapping[str, JSON], now: datetime
) -> datetime | None:
    """When the package lists were fetched, by our clock; the client's may run ahead of it.

    `cache_age_seconds` does not tell: the server keeps the age that a value had when it last
    changed otherwise.
    """
    updated_at, collected_at = (
        _moment(value.get("cache_updated_at")),
        _moment(result.get("collected_at")),
    )
    if updated_at is None or collected_at is None:
        return None
    return min(collected_at, now) - max(collected_at - updated_at, timedelta())


def _by_age(
    limits: Limits,
    result: Mapping[str, JSON],
    value: Mapping[str, JSON],
    until: date | None,
    now: datetime,
) -> Verdict:
    """Pass, while the package lists are recent enough to show that nothing waits."""
    listed_at = _listed_at(result, value, now)
    if listed_at is None:
        message = "nothing waits, but it can't be told how old the package lists are"
        return Verdict(state="unknown", message=message, valid_until=_end(until))
    old_at = listed_at + limits.max_age
    if old_at <= now:
        day = listed_at.date().isoformat()
        return Verdict(
            state="unknown",
            message=f"nothing waits, by package lists of {day}. "
            f"Fetch them anew{_command(value, _REFRESH)}",
            evidence={"listed_on": day},
            valid_until=_end(until),
        )
    # Most releases are supported for years, and this is asked for every client.
    if until is not None and until - now.date() <= limits.far:
        old_at = _earliest(limits, value, until, old_at, now)
    return Verdict(state="pass", valid_until=old_at)


def _earliest(
    limits: Limits, value: Mapping[str, JSON], until: date, old_at: datetime, now: datetime
) -> datetime:
    """When time alone ends a pass: lists too old, support over, or over soon."""
    moments = [old_at]
    if end := _end(until):
        moments.append(end)
        if value.get("release_upgrade") is not None:
            moments.append(end - limits.margin)
    return min(moment for moment in moments if moment > now)


# --- what is said -------------------------------------------------------------------------


def _command(value: Mapping[str, JSON], commands: Mapping[str, str]) -> str:
    command = commands.get(str(value.get("adapter")))
    return f": {command}" if command else " with the system's package manager"


def _fail_updates(value: Mapping[str, JSON], updates: int | None) -> Verdict:
    security = _count(value.get("security_updates"))
    wait = f"{updates} updates wait" if updates != 1 else "1 update waits"
    if updates is None:
        wait = "updates wait"
    if security:
        wait += f" ({security} for security)"
    return Verdict(
        state="fail",
        message=f"{wait}{_named(_packages(value))}. Install them{_command(value, _INSTALL)}",
        evidence=_evidence(value),
    )


def _fail_security(value: Mapping[str, JSON], security: int) -> Verdict:
    wait = f"{security} security updates wait" if security != 1 else "1 security update waits"
    names = [p.get("name") for p in _packages(value) if p.get("security") is True]
    return Verdict(
        state="fail",
        message=f"{wait}{_named({'name': name} for name in names)}. "
        f"Install them{_command(value, _INSTALL)}",
        evidence=_evidence(value),
    )


def _fail_ended(value: Mapping[str, JSON]) -> Verdict:
    since = value.get("supported_until")
    ended = f" since {since}" if isinstance(since, str) else ""
    return Verdict(
        state="fail",
        message=f"{_distribution(value)} has been given no updates{ended}. {_upgrade(value)}",
        evidence=_evidence(value),
    )


def _fail_release(value: Mapping[str, JSON], until: date | None) -> Verdict:
    ends = "is supported until a day that is not known"
    if until is not None:
        ends = f"is supported until {until.isoformat()} only"
    return Verdict(
        state="fail",
        message=f"{_distribution(value)} {ends}. {_upgrade(value)}",
        evidence=_evidence(value),
    )


def _unknown(value: Mapping[str, JSON], until: date | None) -> Verdict:
    reason = value.get("reason")
    message = reason if isinstance(reason, str) and reason else "no reason was reported"
    return Verdict(state="unknown", message=message, valid_until=_end(until))


def _unknown_security(value: Mapping[str, JSON], until: date | None) -> Verdict:
    updates = _count(value.get("updates"))
    if updates or value.get("state") == "updates_available":
        message = (
            f"{updates or 'some'} updates wait, and which of them are for security can't be told. "
            f"Install them{_command(value, _INSTALL)}"
        )
    else:
        message = (
            "nothing waits, but no security archive is among the package lists. "
            "Add it to the sources of the package manager"
        )
    return Verdict(
        state="unknown", message=message, evidence=_evidence(value), valid_until=_end(until)
    )


def _distribution(value: Mapping[str, JSON]) -> str:
    name = value.get("distribution")
    return name[:80] if isinstance(name, str) and name else "the installed release"


def _upgrade(value: Mapping[str, JSON]) -> str:
    following = value.get("release_upgrade")
    if not isinstance(following, str):
        return "Move to a release that is supported"
    if _distribution(value).startswith("Ubuntu "):
        return f"Move to {following[:80]}: sudo do-release-upgrade"
    return f"Move to {following[:80]}, as its release notes say"


def _packages(value: Mapping[str, JSON]) -> list[dict[str, JSON]]:
    packages = value.get("packages")
    if not isinstance(packages, list):
        return []
    return [package for package in packages if isinstance(package, dict)]


def _named(packages: Iterable[Mapping[str, JSON]], most: int = 5) -> str:
    names = [name[:60] for p in packages if isinstance(name := p.get("name"), str)]
    if not names:
        return ""
    return ": " + ", ".join(names[:most]) + (" and others" if len(names) > most else "")


def _evidence(value: Mapping[str, JSON]) -> JSON:
    keys = ("distribution", "updates", "security_updates", "supported_until", "release_upgrade")
    evidence = {key: value.get(key) for key in keys}
    evidence["packages"] = [package.get("name") for package in _packages(value)[:20]]
    return evidence
