"""Judges how a machine meets the network: its firewall, its ssh server, and where it is.

A machine passes only if it showed that nobody gets in unasked: a value that does not say so
never passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_plugins_builtin.checks._values import not_understood, text_in
from qlmdm_plugins_builtin.checks.firewall_mends import NAMES, mend_firewall
from qlmdm_plugins_builtin.checks.ssh_mends import mend_ssh
from qlmdm_plugins_builtin.policy import DAY, Policy


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    required = settings.location_required
    return [
        AuditCheck(
            name="firewall-disabled",
            needs=("firewall",),
            judge=judge_firewall,
            grace_period=3600.0,
            help="The machine drops what nobody asked for, over IPv4 and IPv6. If it does not: "
            "turn on a firewall (ufw enable; systemctl enable --now firewalld), or end the rules "
            "of the input chain with a drop. IPv6 counts as closed where it is disabled.",
        ),
        AuditCheck(
            name="ssh-password-authentication",
            needs=("sshd",),
            judge=partial(judge_ssh, "password_login"),
            help="A password alone is not enough to log in over ssh. If it is: set "
            "PasswordAuthentication no and KbdInteractiveAuthentication no at the top of "
            "/etc/ssh/sshd_config (the first value counts), and reload sshd.",
        ),
        AuditCheck(
            name="ssh-root-password-authentication",
            needs=("sshd",),
            judge=partial(judge_ssh, "root_password_login"),
            help="root can't log in over ssh with a password. If it can: set PermitRootLogin "
            "prohibit-password (or no) at the top of /etc/ssh/sshd_config, and reload sshd.",
        ),
        AuditCheck(
            name="no-location",
            needs=("geolocation",) if required else (),
            judge=partial(judge_location, required),
            grace_period=3 * DAY,
            help="The machine tells where it is, if the site's settings ask for that. If it does "
            "not: turn geolocation on in the client's settings, and see the reason that it gives.",
        ),
    ]


# --- firewall -------------------------------------------------------------------------------


def judge_firewall(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether the machine filters what comes in. The first row that fits decides.

    | what was reported                                  | verdict             |
    |----------------------------------------------------|---------------------|
    | no object, or a state that is none of the three    | unknown             |
    | state off, or one of ipv4 and ipv6 is off          | fail                |
    | state unknown                                      | unknown, its reason |
    | state on, and both ipv4 and ipv6 on                | pass                |
    | state on, and one of them anything else            | unknown             |
    """
    value = _object(client, "firewall")
    if value is None or value.get("state") not in ("on", "off", "unknown"):
        return not_understood("firewall")
    families = {key: value.get(key) for key in NAMES}
    if value["state"] == "off" or "off" in families.values():
        return _open(value, client.report.get("os_info", {}).get("value"))
    if value["state"] == "unknown":
        return Verdict(state="unknown", message=_reason(value), evidence=_firewall_evidence(value))
    if all(state == "on" for state in families.values()):
        return PASS
    message = "the firewall is reported as on, but not for both IPv4 and IPv6"
    return Verdict(state="unknown", message=message, evidence=_firewall_evidence(value))


def _open(value: Mapping[str, JSON], os_info: JSON) -> Verdict:
    opened = [key for key in NAMES if value.get(key) == "off"]
    said = [
        f"{NAMES[key]} is open" + (f" ({why})" if why else "")
        for key in opened
        for why in [_text(value.get("evidence"), key)]
    ] or ["no firewall is on"]
    return Verdict(
        state="fail",
        message=f"{'; '.join(said)}. {mend_firewall(value, opened, os_info)}",
        evidence=_firewall_evidence(value),
    )


def _firewall_evidence(value: Mapping[str, JSON]) -> JSON:
    shown = ("state", "ipv4", "ipv6", "front_end", "zone", "evidence")
    return {key: value[key] for key in shown if key in value}


# --- ssh ------------------------------------------------------------------------------------


def judge_ssh(key: str, client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether a password is not enough to get in. The first row that fits decides.

    `key` is `password_login` or `root_password_login`.

    | state                      | another ssh server | key           | verdict             |
    |----------------------------|--------------------|---------------|---------------------|
    | no object, or none of the 3|                    |               | unknown             |
    | not_running                |                    |               | pass                |
    | running                    |                    | true          | fail                |
    | running or unknown         | yes                | anything else | unknown             |
    | running or unknown         |                    | false         | pass                |
    | unknown                    |                    | anything else | unknown, its reason |
    | running                    |                    | anything else | unknown, its reason |
    """
    value = _object(client, "sshd")
    if value is None or value.get("state") not in ("running", "not_running", "unknown"):
        return not_understood("sshd")
    state, allowed = value["state"], value.get(key)
    if state == "not_running":
        return PASS
    if state == "running" and allowed is True:
        return _password(key, client, value)
    others = value.get("other_servers")
    if others:
        named = others[0] if isinstance(others, list) and isinstance(others[0], str) else "another"
        message = _text(value, "reason") or f"{named[:60]} lets people in, too; it is not judged"
        return Verdict(state="unknown", message=message, evidence=_ssh_evidence(value))
    if allowed is False:
        return PASS
    return Verdict(state="unknown", message=_reason(value), evidence=_ssh_evidence(value))


def _password(key: str, client: ClientView, value: Mapping[str, JSON]) -> Verdict:
    who = "root" if key == "root_password_login" else "people"
    ports = value.get("ports")
    where = ", ".join(str(p) for p in ports[:4]) if isinstance(ports, list) and ports else ""
    evidence = value.get("evidence")
    shown = evidence.get("settings") if isinstance(evidence, dict) else None
    named = ["permitrootlogin"] if who == "root" else []
    named += ["passwordauthentication", "kbdinteractiveauthentication"]
    said = [f"{name} {_text(shown, name)}" for name in named if _text(shown, name)]
    source = _text(evidence, "source")
    proof = ", ".join(said) + (f", by {source}" if said and source else "")
    note = _text(value, "note")
    message = f"sshd lets {who} in with a password"
    message += f" on port {where}" if where else ""
    message += "".join(f" ({text})" for text in (proof, note) if text)
    message += f". {mend_ssh(who, in_block=note.startswith('it depends on Match'), client=client)}"
    return Verdict(state="fail", message=message, evidence=_ssh_evidence(value))


def _ssh_evidence(value: Mapping[str, JSON]) -> JSON:
    shown = ("state", "password_login", "root_password_login", "ports", "other_servers")
    return {key: value[key] for key in shown if key in value}


# --- location -------------------------------------------------------------------------------


def judge_location(required: bool, client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether the machine told where it is. The first row that fits decides.

    | what was reported                     | required            | not required        |
    |---------------------------------------|---------------------|---------------------|
    | nothing, or the collector failed      | unknown             | pass                |
    | state off                             | fail, with reason   | pass                |
    | state located, with coordinates, or   |                     |                     |
    | with what only secret-keepers can read| pass                | pass                |
    | state located, but not encrypted      | unknown             | unknown             |
    | state unknown                         | unknown, its reason | unknown, its reason |
    | anything else                         | unknown             | unknown             |
    """
    if not required and client.report.get("geolocation", {}).get("status") != "ok":
        return PASS
    value = _object(client, "geolocation") or {}
    state = value.get("state")
    if state == "off":
        if not required:
            return PASS
        message = f"the machine does not say where it is: {_reason(value)}. Turn it on in the "
        message += "client's settings, plugins: geolocation: enabled: true"
        evidence = {"state": state, "reason": _reason(value)}
        return Verdict(state="fail", message=message, evidence=evidence)
    if state == "located" and "sealed" in value:
        # The client encrypts where it is, and leaves the state.
        if isinstance(value["sealed"], str) and value["sealed"]:
            return PASS
        message = "where the machine is could not be encrypted to the secret-keepers"
        return Verdict(state="unknown", message=message)
    if state == "located" and all(_is_number(value.get(k)) for k in ("latitude", "longitude")):
        return PASS
    if state == "unknown":
        return Verdict(state="unknown", message=_reason(value))
    return not_understood("geolocation")


# --- values ---------------------------------------------------------------------------------


def _object(client: ClientView, name: str) -> Mapping[str, JSON] | None:
    value = client.report.get(name, {}).get("value")
    return value if isinstance(value, dict) else None


def _reason(value: Mapping[str, JSON]) -> str:
    return _text(value, "reason") or "no reason was reported"


def _text(value: JSON, key: str) -> str:
    return text_in(value, key, 300)  # a rule of a firewall is long


def _is_number(value: JSON) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
