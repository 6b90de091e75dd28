"""Judges whether a client takes what the server has for it: releases and one-time commands.

A client that reports and takes neither is one that can't be mended from here: its disk may be
full, its release damaged, or somebody keeps it from it. Neither check needs a collector.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.units import say_duration
from qlmdm_plugins_builtin.checks._values import moment, named, text_in
from qlmdm_plugins_builtin.policy import DAY, Policy


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    behind, pending = settings.release_behind_after, settings.commands_pending_after
    return [
        AuditCheck(
            name="release-behind",
            judge=partial(judge_release, timedelta(seconds=behind)),
            # One that was switched off for weeks needs a moment when it comes back.
            grace_period=1 * DAY,
            help="The client runs the newest release that it is offered, within "
            f"{say_duration(behind)}. If it does not, `sudo qlmdm-update`, on the client, says "
            "why; a release that it rolled back is not taken again, only a newer one.",
        ),
        AuditCheck(
            name="pending-patches",
            judge=partial(judge_commands, timedelta(seconds=pending)),
            grace_period=1 * DAY,
            help="The client carried out every command that was queued for it, within "
            f"{say_duration(pending)}. One that did not may be switched off; see "
            "qlmdm-client-command show, or cancel the command.",
        ),
    ]


def judge_release(after: timedelta, client: ClientView, now: datetime) -> Verdict:
    """Fails while the client does not run what it has been offered for `after`.

    | runs                          | offered for      | verdict                   |
    |-------------------------------|------------------|---------------------------|
    | not installed by a release    | any              | pass                      |
    | the newest it is offered      | any              | pass                      |
    | an older one                  | less than `after`| pass, until then          |
    | an older one                  | longer           | fail                      |
    """
    if client.release_due is None or client.release_due_at is None:
        return PASS
    late_at = client.release_due_at + after
    if now < late_at:
        return Verdict(state="pass", valid_until=late_at)
    reason = _why_bad(client, client.release_due)
    if reason:
        why = f", which it rolled back ({reason}). Build a newer release without that fault"
    else:
        why = ". On the machine, see: sudo qlmdm-update"
    return Verdict(
        state="fail",
        message=f"runs release {client.release} and does not take {client.release_due}{why}",
        evidence={
            "release": client.release,
            "due": client.release_due,
            "since": client.release_due_at.isoformat(),
            "rolled_back": reason or None,
        },
    )


def _why_bad(client: ClientView, version: str) -> str:
    return text_in(client.flags.get("bad_releases"), version)


def judge_commands(after: timedelta, client: ClientView, now: datetime) -> Verdict:
    """Fails while a command has been waiting for the client, or in its hands, for `after`."""
    late: list[JSON] = []
    next_at: datetime | None = None
    for command in client.pending_commands:
        since = moment(command.get("since"))
        if since is None:
            continue
        if now >= since + after:
            late.append(command)
        elif next_at is None or since + after < next_at:
            next_at = since + after
    if not late:
        return Verdict(state="pass", valid_until=next_at) if next_at is not None else PASS
    names = [
        f"{text_in(command, 'summary', 60) or text_in(command, 'kind')} "
        f"({text_in(command, 'state')})"
        for command in late
    ]
    return Verdict(
        state="fail",
        message=f"has not carried out {named(names)}. See: qlmdm-client-command show "
        f"{text_in(late[0], 'id', 12)}",
        evidence={"commands": late[:20]},
        # A command that ends, or expires, changes no value of the client.
        valid_until=min(
            now + timedelta(hours=1), next_at or datetime.max.replace(tzinfo=now.tzinfo)
        ),
    )
