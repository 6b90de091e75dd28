"""Judges the accounts on a machine: none without a password, none but root with root's uid.

Where a site has secret-keepers, the names are pseudonyms here: nothing goes by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_plugins_builtin.checks._values import named, not_understood, objects, unknown_for, word
from qlmdm_plugins_builtin.policy import DAY, Policy

NEEDS = ("accounts",)
_SHOWN = 20


def checks(settings: Policy) -> list[AuditCheck]:  # noqa: ARG001 - one signature for all modules
    """The checks of this module."""
    return [
        AuditCheck(
            name="account-without-password",
            needs=NEEDS,
            judge=judge_passwords,
            grace_period=1 * DAY,
            help="Every account has a password, or is locked. If one has none: give it one "
            "(sudo passwd NAME), or lock it (sudo passwd -l NAME).",
        ),
        AuditCheck(
            name="extra-root-account",
            needs=NEEDS,
            judge=judge_root,
            grace_period=1 * DAY,
            help="Only one account has uid 0 and with it all rights. If there is another: take it "
            "out of /etc/passwd and /etc/shadow (sudo vipw; sudo vipw -s).",
        ),
    ]


def judge_passwords(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether each account has a password or is locked. The first row that fits decides.

    | what was reported                                   | verdict             |
    |-----------------------------------------------------|---------------------|
    | no object, or a state that is none of the two       | unknown             |
    | an account whose password is `empty`                | fail                |
    | the state is unknown                                | unknown, its reason |
    | no account at all                                   | unknown             |
    | an account whose password is not known              | unknown             |
    | each account's password is `set` or `locked`        | pass                |
    """
    value = client.report["accounts"].get("value")
    if not isinstance(value, dict) or value.get("state") not in ("available", "unknown"):
        return not_understood("accounts")
    users = objects(value.get("users"))
    empty = [user for user in users if user.get("password") == "empty"]
    if empty:
        names = [_name(user) for user in empty]
        first = word(empty[0].get("name"), "NAME")
        needs = "needs" if len(names) == 1 else "need"
        return Verdict(
            state="fail",
            message=f"{named(names)} {needs} no password. Give one: sudo passwd {first}, "
            f"or lock it: sudo passwd -l {first}",
            evidence=_evidence(empty),
        )
    if value["state"] == "unknown":
        return unknown_for(value)
    doubtful = [user for user in users if user.get("password") not in ("set", "locked")]
    if doubtful or not users:
        why = _note(value, "passwords: ")
        who = f"whether {named(_name(user) for user in doubtful)} can log in without a password"
        message = f"{who if doubtful else 'whether each account has a password'} can't be told"
        return Verdict(
            state="unknown",
            message=message + (f": {why}" if why else ""),
            evidence=_evidence(users),
        )
    return PASS


def judge_root(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Whether only one account has uid 0, whatever it is called. The first row that fits decides.

    | what was reported                                | verdict             |
    |--------------------------------------------------|---------------------|
    | no object, or a state that is none of the two    | unknown             |
    | two accounts or more have uid 0                  | fail                |
    | the state is unknown                             | unknown, its reason |
    | no account has uid 0: the list is not complete   | unknown             |
    | one account has uid 0                            | pass                |
    """
    value = client.report["accounts"].get("value")
    if not isinstance(value, dict) or value.get("state") not in ("available", "unknown"):
        return not_understood("accounts")
    users = objects(value.get("users"))
    roots = [user for user in users if type(user.get("uid")) is int and user["uid"] == 0]
    if len(roots) > 1:
        others = [user for user in roots if user.get("name") != "root"] or roots[1:]
        has = "has" if len(others) == 1 else "have"
        return Verdict(
            state="fail",
            message=f"{named(_name(user) for user in others)} {has} uid 0 and all rights. Take "
            f"{'its lines' if len(others) == 1 else 'their lines'} out: sudo vipw; sudo vipw -s",
            evidence=_evidence(roots),
        )
    if value["state"] == "unknown":
        return unknown_for(value)
    if not roots:
        return Verdict(state="unknown", message="no account with uid 0 was reported")
    return PASS


def _name(user: Mapping[str, JSON]) -> str:
    name = user.get("name")
    return name[:80] if isinstance(name, str) and name else "an account without a name"


def _note(value: Mapping[str, JSON], prefix: str) -> str:
    notes = value.get("notes")
    for note in notes if isinstance(notes, list) else ():
        if isinstance(note, str) and note.startswith(prefix):
            return note.removeprefix(prefix)[:200]
    return ""


def _evidence(users: Iterable[Mapping[str, JSON]]) -> JSON:
    keys = ("name", "uid", "password", "can_log_in", "sudo")
    return [{key: user.get(key) for key in keys} for user in list(users)[:_SHOWN]]
