"""Judges what `client` collects, logs all alerts, adds an address; runs on the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from qlmdm_core import (
    JSON,
    Alert,
    AuditCheck,
    ClientView,
    Notifier,
    Objection,
    Route,
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
    """A laptop passes with a badge that nobody misses. What is not understood is unknown.

    | what was reported            | reported lost | verdict             |
    |------------------------------|---------------|---------------------|
    | state present, with a number | that number   | fail                |
    | state present, with a number | no            | pass                |
    | state absent, or no number   |               | fail                |
    | state unknown                |               | unknown, its reason |
    | anything else                |               | unknown             |
    """
    badge = client.report["acme_badge"]["value"]
    state = badge.get("state") if isinstance(badge, dict) else None
    if state not in ("present", "absent"):
        reason = badge.get("reason") if state == "unknown" else None
        return Verdict(state="unknown", message=str(reason or "the value of acme_badge is odd"))
    number = badge.get("number")
    if state == "absent" or not number:
        message = "/etc/acme/badge names no badge. Ask the front desk for one."
        return Verdict(state="fail", message=message, evidence=badge)
    if number == client.flags.get("acme_badge_lost"):
        message = "its badge was reported lost. Ask the front desk for a new one."
        return Verdict(state="fail", message=message, evidence=badge)
    return Verdict(state="pass")


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


@hookimpl
def qlmdm_register_routes(services: Mapping[str, JSON]) -> list[Route]:
    # The audit loads this module, too, and serves nothing: only the server imports Falcon.
    from qlmdm_acme.lost import Lost

    return [Route(path="lost", resource=Lost(services["store"]))]


RULES = b"""\
Wear your badge where it can be seen. If you lose it, tell the front desk the same day.
"""


@hookimpl
def qlmdm_release_files() -> dict[str, bytes]:
    return {"acme/badge-rules.txt": RULES}


@hookimpl
def qlmdm_release_objections(release: Mapping[str, JSON], stage: str) -> list[Objection]:
    # A release without what reads badges would make the whole fleet fail acme-badge-missing.
    if stage == "build" and "qlmdm-acme" not in release["distributions"]:
        return [Objection(reason="it does not bring qlmdm-acme, and ACME's machines need it")]
    return []
