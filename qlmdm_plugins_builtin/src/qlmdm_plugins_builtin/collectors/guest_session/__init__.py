"""Whether anybody can open a session on this machine without an account: a guest session.

Only LightDM has guest sessions; the other display managers are named, with the user whom
they log in without asking. Fedora's xguest account is the one way around that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from qlmdm_core import JSON, Host, unknown

from . import autologin, lightdm, manager

__all__ = ["collect"]


def collect(host: Host) -> JSON:
    """The value of the collector `guest_session`.

    `state` is `enabled` if a guest gets in at any seat. `autologin` is the user who is logged
    in without a password, or null; it does not change the state.
    """
    active = manager.find(host, host.processes())
    value = _judge(host, active)
    value["found_by"] = active.evidence
    if value["state"] == "disabled" and active.configured == "lightdm":
        at_boot = _lightdm(host, manager.Active("lightdm", ""))
        if at_boot["state"] != "disabled":
            value["state"] = "unknown"
            value["reason"] = f"{active.name} runs now, but LightDM starts at the next boot"
            value["at_next_boot"] = at_boot
    guest = _xguest(host)
    if guest is not None:
        value |= {"state": "enabled", "guest_account": guest}
        value.pop("reason", None)
    return value


def _judge(host: Host, active: manager.Active) -> dict[str, JSON]:
    if active.name == "lightdm":
        return _lightdm(host, active)
    if active.nobody_tells:
        return unknown(
            "neither processes nor services tell whether there is a display manager",
            display_manager=None,
            autologin=None,
        )
    if active.name is None:
        if active.presumed and _may_be_lightdm(active):
            perhaps = _lightdm(host, manager.Active("lightdm", "", presumed=True))
            return {**perhaps, "display_manager": None}
        return {"state": "disabled", "display_manager": None, "autologin": None}
    if active.name not in autologin.WITHOUT_GUESTS:
        return unknown(
            f"it is not known whether {active.name} has guest sessions",
            display_manager=active.name,
            autologin=None,
        )
    found = autologin.read(host, active.name, active.argv)
    value: dict[str, JSON] = {
        "state": "disabled",
        "display_manager": active.name,
        "autologin": found.user,
    }
    if found.source:
        value["autologin_source"] = found.source
    if found.reason:
        value["autologin_reason"] = found.reason
    return value


def _may_be_lightdm(active: manager.Active) -> bool:
    return "lightdm" in active.evidence


# --- LightDM --------------------------------------------------------------------------------


def _lightdm(host: Host, active: manager.Active) -> dict[str, JSON]:
    try:
        config = lightdm.read_config(host, active.argv, dict(active.environ))
    except lightdm.UnreadableError as error:
        return unknown(str(error), display_manager="lightdm", autologin=None)
    script, installed = lightdm.guest_script(host, config)
    known = lightdm.seats(host)
    seats = known or ["seat0"]
    verdicts = [lightdm.judge_seat(config, seat, script_installed=installed) for seat in seats]
    value: dict[str, JSON] = {
        "state": "enabled" if any(verdict.guest for verdict in verdicts) else "disabled",
        "display_manager": "lightdm",
        "autologin": _first_user(verdicts),
        "guest_account_script": script or None,
        "script_installed": installed,
        "seats": {verdict.seat: dict(verdict.settings) for verdict in verdicts},
    }
    remote = lightdm.remote_logins(config)
    if remote:
        value["remote_login"] = list(remote)
    if value["state"] == "disabled" and known is None:
        others = sorted(config.named_seats() - set(seats))
        for seat in others:
            if lightdm.judge_seat(config, seat, script_installed=installed).guest:
                value["state"] = "unknown"
                value["reason"] = f"guests may use {seat}, and it is not known if that exists"
    if value["state"] == "enabled" and active.presumed:
        value["state"] = "unknown"
        value["reason"] = "LightDM is set to let guests in, but it can't be told if it is used"
    return value


def _first_user(verdicts: Sequence[lightdm.SeatVerdict]) -> str | None:
    return next((verdict.autologin for verdict in verdicts if verdict.autologin), None)


# --- xguest ---------------------------------------------------------------------------------


def _xguest(host: Host) -> str | None:
    """The account that pam_sepermit(8) lets in without a password while SELinux enforces."""
    try:
        enforcing = host.read("/sys/fs/selinux/enforce").strip() == "1"
        rules = host.read("/etc/security/sepermit.conf")
        accounts = host.read("/etc/passwd")
    except OSError:
        return None
    names = re.findall(r"^[ \t]*(\w[\w.-]*)[ \t]*(?::.*)?$", rules, re.MULTILINE)
    there = {line.partition(":")[0] for line in accounts.splitlines()}
    return next((name for name in names if enforcing and name in there), None)
