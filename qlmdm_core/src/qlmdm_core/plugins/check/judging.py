"""Judges the edges by one check, twice each, and says what is wrong with the verdicts."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from qlmdm_core.api import JSON, AuditCheck, ClientView, Verdict
from qlmdm_core.plugins.check.edges import STAMP, Edge, edges, learn
from qlmdm_core.plugins.check.findings import Finding, failed, ok
from qlmdm_core.plugins.check.inspected import attempt
from qlmdm_core.server.audit.judge import no_verdict

NOW = datetime.fromisoformat(STAMP)
SECONDS = 2.0
"""For one client; the audit judges a hundred thousand a minute."""
_MOST = 3
"""So many findings of one kind are told for one check."""


def judge_edges(check: AuditCheck) -> Iterator[Finding]:
    """Everything that is wrong with a check, or one line for each rule that it keeps."""
    needs = tuple(check.needs)

    def watched(report: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
        attempt(lambda: _ask(check, report, flags), SECONDS)  # what it does is judged later

    learned = learn(needs, watched)
    count = 0
    told: dict[str, int] = {}
    for edge in edges(needs, learned):
        count += 1
        for finding in _judge(check, edge):
            # One mistake shows at many edges: what is the same is told once.
            what = finding.rule + finding.what
            told[finding.rule] = told.get(finding.rule, 0) + (what not in told)
            if what not in told and told[finding.rule] <= _MOST:
                yield finding
            told[what] = 1
    for rule in ("edges", "absence", "verdicts", "pure"):
        if rule not in told:
            yield ok(rule, f"{check.name} ({count} reports)" if rule == "edges" else check.name)


def _ask(check: AuditCheck, report: Mapping[str, Any], flags: Mapping[str, Any]) -> object:
    view = ClientView(
        cid="00000000-0000-4000-8000-000000000001",
        hostname="laptop1",
        report=report,
        enrolled_at=NOW - timedelta(days=30),
        last_seen_at=NOW if report else None,
        reported_at=NOW if report else None,
        flags=flags,
    )
    return check.judge(view, NOW)


def _judge(check: AuditCheck, edge: Edge) -> Iterator[Finding]:
    where = f"check {check.name}, {edge.told}"
    report, flags = copy.deepcopy((edge.report, edge.flags))
    answers: list[object] = []
    raised = attempt(lambda: answers.append(_ask(check, report, flags)), SECONDS)
    if raised is not None:
        todo = "Say unknown: whatever it expects may be missing or of another type"
        yield failed("edges", where, f"it raised {raised}", todo)
        return
    if (report, flags) != (edge.report, edge.flags):
        yield failed("pure", where, "it changed the report", "Copy what it changes")
    attempt(lambda: answers.append(_ask(check, edge.report, edge.flags)), SECONDS)
    if len(answers) < 2 or answers[0] != answers[1]:
        todo = "A verdict may hang on the client and on now, and on nothing else"
        yield failed("pure", where, "it answered differently when asked again", todo)
    yield from _verdict(check, where, answers[0], edge)


def _verdict(check: AuditCheck, where: str, verdict: object, edge: Edge) -> Iterator[Finding]:
    if type(verdict) is not Verdict or verdict.state not in ("pass", "fail", "unknown"):
        yield failed("edges", where, no_verdict(verdict), "Return Verdict(state=…)")
        return
    if verdict.state == "pass":
        if not edge.proves:
            needed = ", ".join(check.needs)
            todo = f"Say unknown, unless {needed} says that all is well"
            yield failed("absence", where, "it passes what proves nothing", todo)
        return
    if not isinstance(verdict.message, str) or not verdict.message.strip():
        yield failed("verdicts", where, f"{verdict.state} without a message", "Set message=")
    if verdict.state == "fail" and verdict.evidence is None:
        todo = "Set evidence= to the facts that were judged"
        yield failed("verdicts", where, "it fails without evidence", todo)
    yield from _evidence(where, verdict.evidence)
    if verdict.valid_until is not None and verdict.valid_until.tzinfo is None:
        yield failed("verdicts", where, "valid_until has no time zone", "Reckon from now")


def _evidence(where: str, evidence: JSON) -> Iterator[Finding]:
    try:
        json.dumps(evidence)
    except (TypeError, ValueError, RecursionError) as error:
        what = f"its evidence is not JSON: {error}"
        yield failed("verdicts", where, what, "Use text, numbers, lists and objects")
