"""Sends what waits in the spool, oldest first, and deletes only what the server vouched for.

Messages are built and signed at the moment of sending: a record may have waited for days, its
signature may not. The record's `rid` makes a retry idempotent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from qlmdm_core import envelope
from qlmdm_core._version import __version__
from qlmdm_core.api import JSON
from qlmdm_core.client import agent
from qlmdm_core.client.link import CANT_ASK, Link, UnsignedAnswerError
from qlmdm_core.client.spool import Entry, Spool

TOO_LARGE = 413
"""RFC 9110: a server, or more likely a proxy before it, does not take bodies of this size."""

MOST_MISSED = 2**32
"""A client that sends one message each second has not sent so many after a hundred years."""


@dataclass(kw_only=True)
class Submitted:
    """What became of the records that waited."""

    sent: int = 0
    set_aside: int = 0
    """The server called them malformed; they are in quarantine."""
    left: int = 0
    problem: str = ""
    """Why not all of them were sent."""
    retry_after: float = 0.0
    """Seconds for which the server asked to be left alone."""


def submit(link: Link, spool: Spool) -> Submitted:
    """Send all records that wait, until one can't be sent. Raises nothing about the network."""
    result = Submitted()
    for entry in spool.pending():
        try:
            if not _submit_one(link, spool, entry, result):
                break
        except UnsignedAnswerError as error:
            result.problem = str(error)
            if error.status == TOO_LARGE:
                continue  # this record stays; the others need not wait for it
            break
        except CANT_ASK as error:
            result.problem = str(error)
            break
    result.left = len(spool.pending())
    return result


def _submit_one(link: Link, spool: Spool, entry: Entry, result: Submitted) -> bool:
    """Send one record; False to stop here."""
    record = spool.load(entry)
    if record is None:
        return True  # it was damaged, and the spool has set it aside
    for _ in range(3):  # the server may correct our clock and our counting, once each
        body = {"report": report_of(record, link.hostname, agent.release_report(link.state))}
        answer = link.ask("submit", body, rid=entry.rid, seq=link.next_seq())
        if answer.is_receipt:
            spool.remove(entry)
            result.sent += 1
            return True
        if answer.status == envelope.MALFORMED:
            spool.quarantine(entry, answer.reason)
            result.set_aside += 1
            return True
        if answer.status == envelope.BEHIND and _is_likely(answer.last_seq, link.memory.seq):
            link.remember(seq=max(answer.last_seq or 0, link.memory.seq))
        elif answer.status != envelope.STALE:
            break
    result.problem = f"the server answered {answer.status!r}" + (
        f": {answer.reason}" if answer.reason else ""
    )
    if answer.status == envelope.PENDING:
        result.problem = "an administrator must approve this client: qlmdm-clients approve "
        result.problem += link.cid
    result.retry_after = answer.retry_after or 0.0
    return False


def _is_likely(last: int | None, ours: int) -> bool:
    """Whether so many messages can have been sent: who stole the server's key could have us count
    to the end, and then no honest server would ever take another report of ours."""
    return last is not None and last <= ours + MOST_MISSED


def report_of(
    record: Mapping[str, JSON], hostname: str, release: Mapping[str, JSON] | None = None
) -> dict[str, JSON]:
    """What is sent of a spooled record: its collectors, and how the agent itself fares.

    The agent's own state travels like a collector's value, under the name `agent`: it is stored,
    has a history, and checks can judge it. It changes only when something happened. A record
    that is `partial` says one thing only, and nothing of that.
    """
    if record.get("partial") is True:
        installed = (release or {}).get("installed")
        collectors = dict(record["collectors"])
        return {"hostname": hostname, "release": installed, "collectors": collectors}
    failures = record.get("failures") or []
    spool = record.get("spool") or {}
    agent = {
        "status": "ok",
        "value": {
            "state": "degraded" if failures or spool.get("dropped") else "ok",
            "version": __version__,
            "python": ".".join(map(str, sys.version_info[:2])),
            "root": os.geteuid() == 0,
            "plugin_failures": failures,
            "records_dropped": spool.get("dropped") or {},
            "records_quarantined": spool.get("quarantined") or 0,
            **({"release": dict(release)} if release else {}),
        },
        "collected_at": record["collected_at"],
        "seconds": 0.0,
    }
    return {
        "hostname": hostname,
        "release": (release or {}).get("installed"),
        "collectors": {**record["collectors"], "agent": agent},
    }
