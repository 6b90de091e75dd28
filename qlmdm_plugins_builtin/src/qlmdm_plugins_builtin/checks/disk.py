"""Judges whether the data on a machine's disks is encrypted.

A disk is encrypted only if the collector showed that every volume is: a value that does not
say so, or contradicts itself, never passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_plugins_builtin.checks._values import not_understood, objects, text_in
from qlmdm_plugins_builtin.checks.disk_mends import mend
from qlmdm_plugins_builtin.policy import DAY, Policy

NEEDS = ("hd_encryption",)
_NAMED = 3
"""So many volumes are named in a message; the evidence has up to twenty."""
_SHOWN = 20


def checks(settings: Policy) -> list[AuditCheck]:  # noqa: ARG001 - one signature for all modules
    """The checks of this module."""
    return [
        AuditCheck(
            name="unencrypted-hard-drive",
            needs=NEEDS,
            judge=judge_disks,
            grace_period=1 * DAY,
            help="Every file system and every swap area on the machine's own disks is encrypted "
            "(LUKS or another dm-crypt, ZFS's or bcachefs's own), but for what is needed to "
            "start it. If one is not: reinstall with disk encryption, or convert it from a "
            "rescue system with cryptsetup reencrypt --encrypt; give swap a random key in "
            "/etc/crypttab.",
        )
    ]


def judge_disks(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether all data at rest is encrypted. The first row that fits decides.

    | what was reported                                          | verdict             |
    |------------------------------------------------------------|---------------------|
    | no object, or a state that is none of the three            | unknown             |
    | state not_encrypted                                        | fail                |
    | any volume is not_encrypted, whatever the state            | fail                |
    | state unknown                                              | unknown, its reason |
    | state encrypted, a volume unknown or without a known state | unknown             |
    | state encrypted, and no volume is encrypted                | unknown             |
    | state encrypted, every volume encrypted or exempt          | pass                |
    """
    value = client.report["hd_encryption"].get("value")
    if not isinstance(value, dict):
        return _NOT_UNDERSTOOD
    state, volumes = value.get("state"), objects(value.get("volumes"))
    if state not in ("encrypted", "not_encrypted", "unknown"):
        return _NOT_UNDERSTOOD
    plain = [volume for volume in volumes if volume.get("state") == "not_encrypted"]
    if state == "not_encrypted" or plain:
        return _fail(value, plain, client.report.get("os_info", {}).get("value"))
    if state == "unknown":
        return _unknown(value)
    states = [volume.get("state") for volume in volumes]
    if "encrypted" not in states or not all(s in ("encrypted", "exempt") for s in states):
        message = "the disks are reported as encrypted, but not each of the volumes"
        return Verdict(state="unknown", message=message, evidence=_evidence(volumes))
    return PASS


_NOT_UNDERSTOOD = not_understood("hd_encryption")


def _fail(value: Mapping[str, JSON], plain: Sequence[Mapping[str, JSON]], os_info: JSON) -> Verdict:
    where = [f"{text_in(v, 'mount')} is {text_in(v, 'reason') or 'in plain'}" for v in plain]
    more = f"; {len(where) - _NAMED} more volumes are plain" if len(where) > _NAMED else ""
    said = "; ".join(where[:_NAMED]) + more
    if not said:
        said = text_in(value, "reason") or "the disks are not encrypted"
    return Verdict(
        state="fail",
        message=f"{said}. {mend(plain, os_info)}",
        evidence=_evidence(plain),
    )


def _unknown(value: Mapping[str, JSON]) -> Verdict:
    reason = text_in(value, "reason") or "no reason was reported"
    volumes = [
        v for v in objects(value.get("volumes")) if v.get("state") not in ("encrypted", "exempt")
    ]
    return Verdict(state="unknown", message=reason, evidence=_evidence(volumes))


def _evidence(volumes: Sequence[Mapping[str, JSON]]) -> JSON:
    keys = ("mount", "device", "fstype", "state", "chain", "reason")
    shown = [{key: v[key] for key in keys if key in v} for v in volumes[:_SHOWN]]
    return {"volumes": shown, "count": len(volumes)}
