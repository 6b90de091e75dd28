"""Judges whether a machine starts only what is signed, if the site asks for that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_plugins_builtin.checks._values import not_understood, unknown_for
from qlmdm_plugins_builtin.policy import DAY, Policy


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    required = settings.secure_boot_required
    return [
        AuditCheck(
            name="secure-boot-disabled",
            needs=("secure_boot",) if required else (),
            judge=partial(judge_secure_boot, required),
            grace_period=7 * DAY,
            help="The firmware starts only what is signed (UEFI Secure Boot), if the site's policy "
            "asks for it: plugins: {builtin: {secure_boot_required: true}}. If it does not: turn "
            "it on in the firmware's settings, which come up after: sudo systemctl reboot "
            "--firmware-setup.",
        )
    ]


def judge_secure_boot(required: bool, client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether Secure Boot is on, where it has to be. The first row that fits decides.

    | what was reported                               | verdict             |
    |-------------------------------------------------|---------------------|
    | anything, and the policy does not ask for it    | pass                |
    | no object, or a state that is none of the four  | unknown             |
    | `enabled`                                       | pass                |
    | `disabled`, in the firmware or by shim          | fail                |
    | `not_available`: started by a BIOS, or a board  | fail                |
    | `unknown`                                       | unknown, its reason |
    """
    if not required:
        return PASS
    value = client.report["secure_boot"].get("value")
    if not isinstance(value, dict):
        return not_understood("secure_boot")
    state = value.get("state")
    if state == "enabled":
        return PASS
    if state == "unknown":
        return unknown_for(value)
    if state not in ("disabled", "not_available"):
        return not_understood("secure_boot")
    evidence = {
        key: value.get(key)
        for key in ("state", "reason", "firmware", "setup_mode", "shim_validates", "lockdown")
    }
    return Verdict(state="fail", message=_message(value), evidence=evidence)


def _message(value: Mapping[str, JSON]) -> str:
    """What is wrong with a machine that starts anything, and what to do there."""
    if value.get("state") == "not_available":
        reason = value.get("reason")
        why = reason[:200] if isinstance(reason, str) and reason else "it has no UEFI"
        return (
            f"Secure Boot is not available: {why}. If it can start by UEFI, reinstall it so, with "
            "Secure Boot on; else replace it, or leave it out by its tags"
        )
    if value.get("secure_boot") is True and value.get("shim_validates") is False:
        return (
            "Secure Boot is on, but shim lets everything through. "
            "Turn its validation on: sudo mokutil --enable-validation, and restart"
        )
    if value.get("setup_mode") is True:
        return (
            "Secure Boot is off, and the firmware has no keys. Restore the factory's keys and turn "
            "it on in the firmware's settings: sudo systemctl reboot --firmware-setup"
        )
    return (
        "Secure Boot is off. Turn it on in the firmware's settings: "
        "sudo systemctl reboot --firmware-setup"
    )
