"""Judges whether the certificates that a machine uses are still valid for long enough."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.units import say_duration
from qlmdm_plugins_builtin.checks._values import moment, not_understood, objects, unknown_for
from qlmdm_plugins_builtin.policy import Policy

_SHOWN = 20
_NAMED = 3


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    margin = settings.certificate_margin
    return [
        AuditCheck(
            name="expiring-certificate",
            needs=("certificates",),
            judge=partial(judge_certificates, timedelta(seconds=margin)),
            help="Each certificate in the files that the client's settings name (plugins: "
            f"{{certificates: {{files: […]}}}}) is valid for another {say_duration(margin)} at "
            "least. Renew what is not (sudo certbot renew, or by its authority), and reload what "
            "uses it.",
        )
    ]


def judge_certificates(margin: timedelta, client: ClientView, now: datetime) -> Verdict:
    """Whether a certificate has expired, or soon will. The first row that fits decides.

    | what was reported                                  | verdict                           |
    |----------------------------------------------------|-----------------------------------|
    | no object, or a state that is none of the three    | unknown                           |
    | `off`: the settings name no files                  | pass                              |
    | a certificate has expired                          | fail, until the next one expires  |
    | a certificate expires within the margin            | fail, until it has                |
    | a certificate whose end is not understood          | unknown, until another is due     |
    | `unknown`: a file could not be read                | unknown, until another is due     |
    | `available`, but without any certificate           | unknown                           |
    | `available`, all valid for longer than the margin  | pass, until the first is due      |
    """
    value = client.report["certificates"].get("value")
    if not isinstance(value, dict):
        return not_understood("certificates")
    state = value.get("state")
    if state == "off":
        return PASS
    if state not in ("available", "unknown"):
        return not_understood("certificates")
    found = objects(value.get("certificates"))
    dated = [(at, c) for c in found if (at := moment(c.get("not_after_at"))) is not None]
    dated.sort(key=lambda item: item[0])
    due = [item for item in dated if item[0] - now <= margin]
    if due:
        following = next((at for at, _ in due if at > now), None)
        return _fail(due, now, following or _due_at(dated[len(due) :], margin))
    due_at = _due_at(dated, margin)
    if len(dated) < len(found):
        message = "until when a certificate is valid is not understood"
        return Verdict(state="unknown", message=message, valid_until=due_at)
    if state == "unknown":
        return Verdict(state="unknown", message=unknown_for(value).message, valid_until=due_at)
    if not found:
        return not_understood("certificates")
    return Verdict(state="pass", valid_until=due_at)


def _due_at(dated: list[tuple[datetime, Mapping[str, JSON]]], margin: timedelta) -> datetime | None:
    """When the first of these certificates, in the order of their ends, has to be renewed."""
    return dated[0][0] - margin if dated else None


def _fail(
    due: list[tuple[datetime, Mapping[str, JSON]]], now: datetime, until: datetime | None
) -> Verdict:
    said = [
        f"{_name(certificate)} {'expired' if at <= now else 'expires'} on {at.date().isoformat()}"
        for at, certificate in due
    ]
    more = f"; {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    paths = [path for _, c in due if isinstance(path := c.get("path"), str)]
    return Verdict(
        state="fail",
        message=f"{'; '.join(said[:_NAMED])}{more}. {_mend(paths)}",
        evidence=[
            {
                key: str(certificate.get(key))[:300]
                for key in ("path", "subject", "issuer", "serial", "not_after_at")
            }
            for _, certificate in due[:_SHOWN]
        ],
        valid_until=until,
    )


def _name(certificate: Mapping[str, JSON]) -> str:
    """What a person would call a certificate: its file, and whose it is."""
    path, subject = certificate.get("path"), certificate.get("subject")
    names = certificate.get("names")
    if not subject and isinstance(names, list) and names:
        subject = names[0]
    whose = f" ({subject[:100]})" if isinstance(subject, str) and subject else ""
    return f"{path[:200] if isinstance(path, str) else 'a certificate'}{whose}"


def _mend(paths: list[str]) -> str:
    if any(path.startswith("/etc/letsencrypt/") for path in paths):
        return "Renew: sudo certbot renew, and reload what uses it"
    return "Have it renewed by its authority, replace the file, and reload what uses it"
