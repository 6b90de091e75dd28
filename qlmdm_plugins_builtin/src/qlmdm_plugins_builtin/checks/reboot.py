"""Judges whether a machine runs the updates that it has installed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.units import say_duration
from qlmdm_plugins_builtin.checks._values import moment, named, not_understood, texts, unknown_for
from qlmdm_plugins_builtin.policy import DAY, Policy

NEEDS = ("reboot_required",)


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    within = timedelta(seconds=settings.reboot_within)
    after = f" {say_duration(settings.reboot_within)} after it is due" if within else ""
    return [
        AuditCheck(
            name="reboot-required",
            needs=NEEDS,
            judge=partial(judge_reboot, within),
            grace_period=7 * DAY,
            help=f"No installed update waits for a restart{after}: until then the old kernel, or "
            "the old library, is what runs. Restart the machine: sudo reboot.",
        ),
    ]


def judge_reboot(within: timedelta, client: ClientView, now: datetime) -> Verdict:
    """Whether a restart is due for longer than the policy allows. The first row that fits decides.

    | what was reported                                    | verdict               |
    |------------------------------------------------------|-----------------------|
    | no object, or a state that is none of the three      | unknown               |
    | `required`, for less than the policy's time          | pass, until then      |
    | `required`, for longer, or since nobody knows when   | fail                  |
    | `unknown`                                            | unknown, its reason   |
    | `not_required`                                       | pass                  |
    """
    result = client.report["reboot_required"]
    value = result.get("value")
    if not isinstance(value, dict):
        return not_understood("reboot_required")
    state = value.get("state")
    if state == "not_required":
        return PASS
    if state == "unknown":
        return unknown_for(value)
    if state != "required":
        return not_understood("reboot_required")
    since = moment(value.get("since_at")) or moment(result.get("changed_at"))
    if since is not None and timedelta() <= now - since < within:
        return Verdict(state="pass", valid_until=since + within)
    return _fail(value)


def _fail(value: Mapping[str, JSON]) -> Verdict:
    reasons, packages = texts(value.get("reasons")), texts(value.get("packages"))
    why = reasons[0] if reasons else "an installed update waits for a restart"
    asking = f" ({named(packages, 3)})" if packages else ""
    patched = "; a live patch mends the running kernel for now" if value.get("live_patches") else ""
    return Verdict(
        state="fail",
        message=f"{why}{asking}{patched}. Restart the machine: sudo reboot",
        evidence={
            "reasons": reasons,
            "packages": packages,
            "running_kernel": value.get("running_kernel"),
            "installed_kernel": value.get("installed_kernel"),
        },
    )
