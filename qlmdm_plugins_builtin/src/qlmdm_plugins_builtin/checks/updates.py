"""Judges whether a machine gets its updates: pending ones, security, the release.

A machine passes only if it showed that nothing waits, by package lists that are recent, on a
release that is still given updates. Time alone can end that: the lists grow old, the release
comes to its end. Each passing verdict says when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import partial

from qlmdm_core.api import JSON, AuditCheck, ClientView, Verdict
from qlmdm_core.units import say_duration
from qlmdm_plugins_builtin.checks import update_mends as said
from qlmdm_plugins_builtin.checks._values import moment, not_understood
from qlmdm_plugins_builtin.policy import DAY, Policy

NEEDS = ("os_updates",)


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
        return _fail(said.ended(value), value)
    updates = _count(value.get("updates"))
    state = value.get("state")
    if updates or state == "updates_available":
        return _fail(said.waiting(value, updates, _count(value.get("security_updates"))), value)
    if value.get("release_upgrade") is not None and _ends_soon(limits, until, now):
        return _fail(said.old_release(value, until), value)
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
        return _fail(said.ended(value), value)
    security = _count(value.get("security_updates"))
    if security:
        return _fail(said.waiting_for_security(value, security), value)
    state = value.get("state")
    if state not in ("up_to_date", "updates_available"):
        return _unknown(value, until)
    if security is None and (state == "updates_available" or until is not None):
        return _unknown_security(value, until)
    return _by_age(limits, result, value, until, now)


# --- what is judged -----------------------------------------------------------------------

_NOT_UNDERSTOOD = not_understood("os_updates")


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
    found = moment(text)
    return found if found is not None and found.year >= 2000 else None


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
            message=f"nothing waits, by package lists of {day}. Fetch them anew{said.fetch(value)}",
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
    return min(at for at in moments if at > now)


def _fail(message: str, value: Mapping[str, JSON]) -> Verdict:
    return Verdict(state="fail", message=message, evidence=said.evidence(value))


def _unknown(value: Mapping[str, JSON], until: date | None) -> Verdict:
    reason = value.get("reason")
    message = reason if isinstance(reason, str) and reason else "no reason was reported"
    return Verdict(state="unknown", message=message, valid_until=_end(until))


def _unknown_security(value: Mapping[str, JSON], until: date | None) -> Verdict:
    updates = _count(value.get("updates"))
    wait = bool(updates) or value.get("state") == "updates_available"
    return Verdict(
        state="unknown",
        message=said.not_told_apart(value, updates) if wait else said.NO_SECURITY_ARCHIVE,
        evidence=said.evidence(value),
        valid_until=_end(until),
    )
