"""Turns issues that are due into terse lines, and gives them to the notifiers."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from qlmdm_core.api import Alert, Notifier
from qlmdm_core.server.audit.workers import fork
from qlmdm_core.store.records import Client, Issue
from qlmdm_core.units import say_duration


def alert(issue: Issue, client: Client, now: datetime) -> Alert:
    """The alert of one issue that failed."""
    since = _since(issue, now)
    message = _clean(issue.message).rstrip(".") or "no further evidence"
    snooze = f"qlmdm-issues snooze {shlex.quote(client.hostname)} {issue.check}"
    line = f"{who(client)}: {issue.check} {since}: {message}, or snooze with: {snooze}"
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
        line = f"{who(client)}: unknown {since}: {reason or 'no reason given'} ({names})"
        alerts += [_alert(issue, client, line) for issue in same]
    return alerts


def _since(issue: Issue, now: datetime) -> str:
    """How long it is so: "now" in the first minute, then "for 3 days"."""
    lasts = (now - issue.opened_at).total_seconds()
    return f"for {say_duration(lasts)}" if lasts >= 60 else "now"


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
    running = {n.name: (n, _send(n, alerts[n.name])) for n in notifiers if alerts.get(n.name)}
    failures: dict[str, str] = {}
    for name, (notifier, (pid, pipe)) in running.items():
        why = _wait(pid, pipe, started + notifier.timeout)
        if why:
            failures[name] = why
    return failures


def _send(notifier: Notifier, alerts: Sequence[Alert]) -> tuple[int, int]:
    ours, theirs = os.pipe()
    pid = fork()
    if pid == 0:
        status = 1
        try:
            os.setsid()
            os.close(ours)
            notifier.send(alerts)
            status = 0
        except BaseException as error:  # noqa: BLE001 (a process of its own, about to end)
            os.write(theirs, f"{type(error).__name__}: {error}".encode()[:2000])
        finally:
            os._exit(status)
    os.close(theirs)
    return pid, ours


def _wait(pid: int, pipe: int, deadline: float) -> str:
    """Why it failed, or "". Its end of the pipe closes when it, and all it started, ended."""
    import select

    text = b""
    late = False
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            late = True
            break
        chunk = os.read(pipe, 4096)
        if not chunk:
            break
        text = (text + chunk)[:4096]
    if late:
        os.killpg(pid, signal.SIGKILL)
    os.close(pipe)
    _, status = os.waitpid(pid, 0)
    if late:
        return "took too long"
    if status == 0:
        return ""
    return text.decode("utf-8", "replace") or f"ended with status {status}"
