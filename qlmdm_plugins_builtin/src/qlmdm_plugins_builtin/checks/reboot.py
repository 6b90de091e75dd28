"""Judges whether a machine runs the updates that it has installed."""

from __future__ import annotations

from datetime import datetime

from qlmdm_core.api import PASS, AuditCheck, ClientView, Verdict
from qlmdm_plugins_builtin.policy import DAY, Policy

NEEDS = ("reboot_required",)


def checks(settings: Policy) -> list[AuditCheck]:  # noqa: ARG001
    """The checks of this module, by a site's policy."""
    return [
        AuditCheck(
            name="reboot-required",
            needs=NEEDS,
            judge=judge_reboot,
            grace_period=7 * DAY,
            help="No installed update waits for a restart: until then the old kernel, or the "
            "old library, is what runs. Restart the machine: sudo reboot.",
        ),
    ]


def judge_reboot(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Fails while an installed update waits for a restart.

    | state          | verdict             |
    |----------------|---------------------|
    | `required`     | fail                |
    | `not_required` | pass                |
    | `unknown`      | unknown, its reason |
    | anything else  | unknown             |
    """
    value = client.report["reboot_required"].get("value")
    if not isinstance(value, dict):
        return Verdict(state="unknown", message="the value of reboot_required is not understood")
    if value.get("state") == "not_required":
        return PASS
    if value.get("state") == "required":
        return Verdict(
            state="fail",
            message="an installed update waits for a restart. Restart the machine: sudo reboot",
            evidence={"reasons": value.get("reasons"), "packages": value.get("packages")},
        )
    reason = value.get("reason")
    message = reason if isinstance(reason, str) and reason else "no reason was reported"
    return Verdict(state="unknown", message=message)
