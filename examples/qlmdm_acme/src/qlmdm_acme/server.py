"""Judges what `client` collects, and keeps a log of all alerts; runs on the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from qlmdm_core import (
    Alert,
    AuditCheck,
    ClientView,
    Notifier,
    Settings,
    SettingsSection,
    Verdict,
    hookimpl,
)
from qlmdm_core.settings import setting


@dataclass(frozen=True, kw_only=True)
class Acme:
    """What an administrator may set, in server/settings.yml below `plugins: acme:`."""

    log_file: str = setting("/var/log/qlmdm-alerts.log", "Where alerts are written, one a line.")


def judge(client: ClientView, _now: datetime) -> Verdict:
    """A laptop without a badge fails; one of which we don't know is unknown, never passed."""
    badge = client.report["acme_badge"]["value"]
    if badge["state"] == "present" and badge["number"]:
        return Verdict(state="pass")
    if badge["state"] == "unknown":
        return Verdict(state="unknown", message=badge["reason"])
    return Verdict(
        state="fail",
        message="/etc/acme/badge names no badge. Ask the front desk for one.",
        evidence=badge,
    )


def write(alerts: Sequence[Alert], log_file: str) -> None:
    """Append the alerts to the log. What this raises makes the audit try again later."""
    with open(log_file, "a", encoding="utf-8") as file:
        file.writelines(alert.line + "\n" for alert in alerts)


@hookimpl
def qlmdm_register_settings() -> list[SettingsSection]:
    return [SettingsSection(name="acme", schema=Acme)]


@hookimpl
def qlmdm_register_audit_checks() -> list[AuditCheck]:
    check = AuditCheck(
        name="acme-badge-missing",
        needs=("acme_badge",),
        judge=judge,
        grace_period=7 * 86400,
        help="Every laptop has a badge of its own, in /etc/acme/badge.",
    )
    return [check]


@hookimpl
def qlmdm_register_notifiers(settings: Settings) -> list[Notifier]:
    log_file = settings.section("acme").log_file
    return [Notifier(name="acme-log", send=partial(write, log_file=log_file))]
