"""Judges ESET's products on a machine: that they are there, run, and are up to date."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_plugins_eset.policy import EsetPolicy

HOUR = 3600.0
_STATES = ("running", "stopped", "absent", "unknown")
_SHOWN = ("state", "product", "version", "up_to_date", "engine_version", "engine_date")


def checks(policy: EsetPolicy) -> list[AuditCheck]:
    """The checks of this distribution."""
    return [
        AuditCheck(
            name="eset-absent",
            needs=("eset",),
            judge=partial(judge_absent, "eset", policy.require_eset),
            grace_period=24 * HOUR,
            help="An ESET antivirus is installed. If not: install ESET Endpoint Antivirus or "
            "Server Security. A site that does not use it sets plugins: eset: require_eset: false.",
        ),
        AuditCheck(
            name="eset-stopped",
            needs=("eset",),
            judge=partial(judge_stopped, "eset"),
            grace_period=1 * HOUR,
            help="The ESET antivirus that is installed is running. If not: systemctl enable --now "
            "eea (or efs), and see journalctl -u eea for why it stopped.",
        ),
        AuditCheck(
            name="eset-out-of-date",
            needs=("eset",),
            judge=judge_out_of_date,
            grace_period=24 * HOUR,
            help="ESET's detection engine is no older than two days. If it is: run "
            "/opt/eset/eea/bin/upd --update, and see whether the machine reaches ESET's servers.",
        ),
        AuditCheck(
            name="eraagent-absent",
            needs=("eraagent",),
            judge=partial(judge_absent, "eraagent", policy.require_eraagent),
            grace_period=24 * HOUR,
            help="The ESET Management Agent is installed. If not: run the agent installer that "
            "ESET PROTECT makes. A site without it sets plugins: eset: require_eraagent: false.",
        ),
        AuditCheck(
            name="eraagent-stopped",
            needs=("eraagent",),
            judge=partial(judge_stopped, "eraagent"),
            grace_period=1 * HOUR,
            help="The ESET Management Agent is running. If not: systemctl enable --now eraagent, "
            "and see /var/log/eset/RemoteAdministrator/Agent/trace.log for why it stopped.",
        ),
    ]


_ABSENT = {
    "eset": "no ESET antivirus is installed. Install ESET Endpoint Antivirus: "
    "sudo sh ./eea.x86_64.bin, or on a server ESET Server Security: sudo sh ./efs.x86_64.bin",
    "eraagent": "the ESET Management Agent is not installed. Run the installer that ESET PROTECT "
    "makes: sudo sh ./PROTECTAgentInstaller.sh",
}
_NAMES = {"eset": "the ESET antivirus", "eraagent": "the ESET Management Agent"}
_UPDATES = {
    "eea.service": "/opt/eset/eea/bin/upd --update",
    "efs.service": "/opt/eset/efs/bin/upd --update",
    "esets.service": "/opt/eset/esets/sbin/esets_update",
}
_UNITS = {"eset": "eea.service", "eraagent": "eraagent.service"}


def judge_absent(what: str, required: bool, client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether a product that the site requires is installed. The first row that fits decides.

    | what was reported                   | required            | not required |
    |-------------------------------------|---------------------|--------------|
    | no object, or a state none of the 4 | unknown             | pass         |
    | state absent                        | fail                | pass         |
    | state unknown                       | unknown, its reason | pass         |
    | state running or stopped            | pass                | pass         |
    """
    if not required:
        return PASS
    value = _value(client, what)
    if value is None:
        return _not_understood(what)
    if value["state"] == "absent":
        return Verdict(state="fail", message=_ABSENT[what], evidence=_evidence(value))
    return _unknown(value) if value["state"] == "unknown" else PASS


def judge_stopped(what: str, client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether a product runs where it is installed. The first row that fits decides.

    | what was reported                   | verdict                                   |
    |-------------------------------------|-------------------------------------------|
    | no object, or a state none of the 4 | unknown                                   |
    | state stopped                       | fail                                      |
    | state unknown                       | unknown, its reason                       |
    | state running                       | pass                                      |
    | state absent                        | pass: that is for the check about absence |
    """
    value = _value(client, what)
    if value is None:
        return _not_understood(what)
    if value["state"] == "stopped":
        unit = _unit(value) or _UNITS[what]
        why = _text(value.get("evidence"), "state")
        message = f"{_name(what, value)} is installed but not running" + (
            f" ({why})" if why else ""
        )
        message += f". Start it: sudo systemctl enable --now {unit}"
        return Verdict(state="fail", message=message, evidence=_evidence(value))
    return _unknown(value) if value["state"] == "unknown" else PASS


def judge_out_of_date(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether the detection engine is recent. The first row that fits decides.

    | what was reported                   | verdict                                   |
    |-------------------------------------|-------------------------------------------|
    | no object, or a state none of the 4 | unknown                                   |
    | state absent                        | pass: that is for the check about absence |
    | up_to_date false                    | fail                                      |
    | up_to_date true                     | pass                                      |
    | up_to_date anything else            | unknown, with the reason                  |
    """
    value = _value(client, "eset")
    if value is None:
        return _not_understood("eset")
    if value["state"] == "absent" or value.get("up_to_date") is True:
        return PASS
    if value.get("up_to_date") is not False:
        reason = _text(value, "update_reason") or _text(value, "reason") or "no reason was reported"
        message = f"whether ESET is up to date is not known: {reason}"
        return Verdict(state="unknown", message=message, evidence=_evidence(value))
    engine = " ".join(filter(None, ("the detection engine", _text(value, "engine_version"))))
    day = _text(value, "engine_date")
    update = _UPDATES.get(_unit(value), _UPDATES["eea.service"])
    message = f"{engine} of {_name('eset', value)} is "
    message += f"of {day}, more than two days old" if day else "more than two days old"
    message += f". Update it: sudo {update}"
    return Verdict(state="fail", message=message, evidence=_evidence(value))


def _value(client: ClientView, what: str) -> Mapping[str, JSON] | None:
    """The collector's value, or None if it is not in shape."""
    value = client.report.get(what, {}).get("value")
    if not isinstance(value, dict) or value.get("state") not in _STATES:
        return None
    return value


def _not_understood(what: str) -> Verdict:
    return Verdict(state="unknown", message=f"the value of {what} is not understood")


def _unknown(value: Mapping[str, JSON]) -> Verdict:
    reason = _text(value, "reason") or "no reason was reported"
    return Verdict(state="unknown", message=reason, evidence=_evidence(value))


def _name(what: str, value: Mapping[str, JSON]) -> str:
    product = " ".join(filter(None, (_text(value, "product"), _text(value, "version"))))
    return product if _text(value, "product") else _NAMES[what]


def _unit(value: Mapping[str, JSON]) -> str:
    """The unit, as a word to type: a client's report does not get into somebody's shell."""
    unit = _text(value.get("evidence"), "unit")
    return unit if re.match(r"[A-Za-z0-9][\w@.-]*\Z", unit, re.ASCII) else ""


def _text(value: JSON, key: str) -> str:
    text = value.get(key) if isinstance(value, dict) else None
    return text[:200] if isinstance(text, str) else ""


def _evidence(value: Mapping[str, JSON]) -> JSON:
    return {key: value[key] for key in _SHOWN if key in value}
