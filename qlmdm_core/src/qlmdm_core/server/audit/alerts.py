"""Turns issues that are due into terse lines, and gives them to the notifiers."""

from __future__ import annotations

import os
import select
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from qlmdm_core.api import Alert, Notifier
from qlmdm_core.server.audit import children
from qlmdm_core.server.audit.children import Child
from qlmdm_core.store.records import Client, Issue
from qlmdm_core.units import say_duration


def alert(issue: Issue, client: Client, now: datetime) -> Alert:
    """The alert of one issue that failed."""
    since = _since(issue, now)
    message = _clean(issue.message).rstrip(".") or "no further evidence"
    line = f"{who(client)}: {issue.check} {since}: {message}, or snooze with: "
    line += snooze(client, issue.check)
    return _alert(issue, client, line)


def unknown_alerts(issues: Sequence[Issue], client: Client, now: datetime) -> list[Alert]:
    """One alert for each reason for which checks are unknown: a client that runs without
    root says so once, not once for each check."""
    by_reason: dict[str, list[Issue]] = {}
    for issue in issues:
        by_reason.setdefault(_clean(issue.message).rstrip("."), []).append(issue)
    alerts = []
    for reason, same in by_reason.items():
        names = ", ".join(sorted(issue.check for issue in same))
        since = _since(min(same, key=lambda issue: issue.opened_at), now)
        which = same[0].check if len(same) == 1 else "CHECK"
        line = (
            f"{who(client)}: unknown {since}: {reason or 'no reason given'} ({names}). "
            f"Mend that, or snooze with: {snooze(client, which)}"
        )
        alerts += [_alert(issue, client, line) for issue in same]
    return alerts


def _since(issue: Issue, now: datetime) -> str:
    """How long it is so: "now" in the first minute, then "for 3 days"."""
    lasts = (now - issue.opened_at).total_seconds()
    return f"for {say_duration(lasts)}" if lasts >= 60 else "now"


def snooze(client: Client, check: str) -> str:
    """The command by which an issue is put off."""
    return f"qlmdm-issues snooze {shlex.quote(_clean(client.hostname))} {check}"


def who(client: Client) -> str:
    """The client, for a person: hostname, and whose it is."""
    name = _clean(client.hostname) or client.cid
    return f"{name} ({_clean(client.user_email)})" if client.user_email else name


def lines(alerts: Iterable[Alert]) -> list[str]:
    """What to print: each line once, though it may stand for several issues."""
    return list(dict.fromkeys(alert.line for alert in alerts))


def _alert(issue: Issue, client: Client, line: str) -> Alert:
    return Alert(
        cid=client.cid,
        hostname=client.hostname,
        check=issue.check,
        state=issue.state,
        message=issue.message,
        opened_at=issue.opened_at,
        line=line,
        user_email=client.user_email,
        tags=client.tags,
        evidence=issue.evidence,
    )


def _clean(text: str | None) -> str:
    """One line, without what could move a terminal's cursor: clients choose these words."""
    return "".join(c if c.isprintable() else " " for c in text or "").strip()


def notify(notifiers: Sequence[Notifier], alerts: Mapping[str, Sequence[Alert]]) -> dict[str, str]:
    """Hand each notifier its alerts, side by side; the failures, by notifier.

    Each runs in a process of its own, with a deadline, so that one that hangs holds up
    neither the others nor the audit.
    """
    started = time.monotonic()
    running = [(n, _start(n, alerts[n.name])) for n in notifiers if alerts.get(n.name)]
    waited = {n.name: _wait(child, started + n.timeout) for n, child in running}
    return {name: why for name, why in waited.items() if why}


_SENT = b"\0sent"
"""What a notifier's process says last: one that merely ended has told nobody anything."""


def _start(notifier: Notifier, alerts: Sequence[Alert]) -> Child:
    def work(pipe: int) -> None:
        try:
            notifier.send(alerts)
        except BaseException as error:
            os.write(pipe, f"{type(error).__name__}: {error}".encode()[:2000])
            raise
        os.write(pipe, _SENT)

    return children.start(work)


def _wait(child: Child, deadline: float) -> str:
    """Why it failed, or "". The pipe closes when it, and all it started, have ended."""
    text = b""
    late = False
    while not text.endswith(_SENT):
        left = deadline - time.monotonic()
        ready, _, _ = select.select([child.pipe], [], [], max(0.0, left))
        chunk = os.read(child.pipe, 4096) if ready else b""
        late = not ready
        if not chunk:
            break
        text = (text + chunk)[-4096:]
    child.kill()
    if text.endswith(_SENT):
        return ""
    if late:
        return "took too long"
    return text.decode("utf-8", "replace") or "it ended without having sent anything"
