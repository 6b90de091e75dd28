"""Judges what the server itself knows of a client: is it heard from, do its collectors work,
does it use an address that is given up, is it one machine?

These checks need no collector, so that they also judge a client that never reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.units import say_duration
from qlmdm_plugins_builtin.policy import DAY, Policy


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    after = settings.not_reporting_after
    return [
        AuditCheck(
            name="not-reporting",
            judge=partial(judge_reporting, timedelta(seconds=after)),
            grace_period=2 * DAY,
            help=f"The client was heard from within the last {say_duration(after)}. If it was "
            "not, it is switched off, has no network, or cron does not start qlmdm-client-cron "
            "there.",
        ),
        AuditCheck(
            name="collector-failing",
            judge=judge_collectors,
            # A collector that is late once, on a busy machine, is nobody's business.
            grace_period=1 * DAY,
            help="Every collector of the client returned a value. One that failed has left the "
            "checks that need it unknown; qlmdm-collect --explain NAME, on the client, shows "
            "what it asked and got.",
        ),
        AuditCheck(
            name="deprecated-port",
            judge=judge_address,
            grace_period=3600.0,
            help="The client uses an address of the server that settings do not mark as "
            "deprecated. Give it the new one: url, in its settings.",
        ),
        AuditCheck(
            name="duplicate-identity",
            judge=judge_identity,
            help="The identity is used by one machine only. Two machines use one after a disk "
            "was cloned, or an image made of an enrolled machine: enrol the copy anew.",
        ),
    ]


def judge_reporting(after: timedelta, client: ClientView, now: datetime) -> Verdict:
    """Fails once nothing came from the client for as long as `after`, or since it enrolled."""
    seen_at = client.last_seen_at or client.enrolled_at
    silent_at = seen_at + after
    if now < silent_at:
        return Verdict(state="pass", valid_until=silent_at)
    when = f"{seen_at.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    if client.last_seen_at is None:
        message = f"enrolled on {when} and never heard from since. Finish its setup"
    else:
        message = (
            f"last heard from on {when}. See whether it is switched on and has a network, "
            "and whether cron starts qlmdm-client-cron there"
        )
    return Verdict(
        state="fail",
        message=message,
        evidence={
            "last_seen_at": client.last_seen_at.isoformat() if client.last_seen_at else None,
            "enrolled_at": client.enrolled_at.isoformat(),
        },
    )


def judge_collectors(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Fails while a collector gives no value, or a plugin can't be loaded on the client.

    | collectors             | plugins           | verdict |
    |------------------------|-------------------|---------|
    | all "ok"               | all loaded        | pass    |
    | one is not "ok"        | any               | fail    |
    | any                    | one failed        | fail    |
    """
    for result in client.report.values():
        if result.get("status") != "ok":
            return _failing(client.report)
    if _plugin_failures(client.report):
        return _failing(client.report)
    return PASS


def _plugin_failures(report: Mapping[str, Mapping[str, JSON]]) -> list[JSON]:
    """What the client says of plugins that it could not load."""
    value = report.get("agent", {}).get("value")
    failures = value.get("plugin_failures") if isinstance(value, dict) else None
    return failures if isinstance(failures, list) else []


_MEND_SEAL = (
    "If a secret-keeper's key has expired, renew it and run qlmdm-server-setup with the new "
    "public key"
)


def _failing(report: Mapping[str, Mapping[str, JSON]]) -> Verdict:
    failing = {
        name: str(result.get("error") or result.get("status") or "no status")[:200]
        for name, result in sorted(report.items())
        if result.get("status") != "ok"
    }
    mend = "On the machine, see: sudo qlmdm-plugins"
    collectors = set(failing)
    if collectors:
        mend = f"On the machine, see: sudo qlmdm-collect --explain {next(iter(failing))}"
    for failure in _plugin_failures(report):
        if isinstance(failure, dict):
            name = f"plugin {failure.get('distribution') or '?'}"
            error = str(failure.get("error") or "failed")
            if failure.get("stage") == "seal":  # of a collector, whose name comes first
                name, error = "what is private", error.partition(": ")[2] or error
                if not collectors:
                    mend = _MEND_SEAL
            failing[name] = error[:200]
    named = "; ".join(f"{name} ({why[:100]})" for name, why in list(failing.items())[:5])
    more = f" and {len(failing) - 5} more" if len(failing) > 5 else ""
    return Verdict(state="fail", message=f"no value from {named}{more}. {mend}", evidence=failing)


def judge_address(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Fails while the client calls an address that the server's settings give up."""
    if not client.flags or not (address := client.flags.get("deprecated_url")):
        return PASS
    named = f": {address[:200]}" if isinstance(address, str) else ""
    return Verdict(
        state="fail",
        message=f"uses a deprecated address of the server{named}. Change url in its settings",
        evidence={"deprecated_url": address},
    )


def judge_identity(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
    """Fails while the server sees two machines behind one identity."""
    if not client.flags or not (mark := client.flags.get("duplicate_identity")):
        return PASS
    reason = mark.get("reason") if isinstance(mark, dict) else None
    why = f" ({reason[:200]})" if isinstance(reason, str) else ""
    return Verdict(
        state="fail",
        message=f"two machines seem to be one{why}. Find the copy, and enrol it anew: "
        "qlmdm-client-setup",
        evidence={"duplicate_identity": mark},
    )
