"""What a check of a distribution finds: one sentence for each rule, or for each breach of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from qlmdm_core.api import JSON

State: TypeAlias = Literal["ok", "failed", "not_checked"]

RULES: Mapping[str, str] = {
    "metadata": "it says which qlmdm-core it needs, and its entry points name modules",
    "loading": "each entry point is imported in time, and its hooks fit their specifications",
    "settings": "its settings have defaults of their own types, and a help text for each key",
    "names": "what it registers has names that no other installed distribution claims",
    "help": "each collector and check says what it is for, and what each field of a value says",
    "private": "what a collector calls private is a field that it declares",
    "needs": "each collector that a check needs exists",
    "sides": "neither side imports what only the other side has",
    "values": "each collector gives an object with a state, and a reason if that is unknown",
    "size": "each value fits within max_bytes",
    "time": "each collector ends within its timeout",
    "adapters": "each distro adapter answers by the types of the contract, or says why not",
    "host": "collectors ask the machine through their host, and in no other way",
    "writes": "collecting changes no file",
    "network": "collecting reaches for no network",
    "edges": "no check raises, whatever a client reports",
    "absence": "no check passes a value that is unknown or not understood",
    "verdicts": "what does not pass has a message, and what fails has evidence",
    "pure": "a check judges the same twice, and changes nothing of the report",
    "routes": "its addresses can be added to a server",
    "stores": "its database engine passes the contract suite",
}
"""Every rule, in the order in which it is told, and what it asks for."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence about one rule."""

    rule: str
    state: State
    what: str
    """What was found, or what was tried; for `not_checked`, why it was not."""
    where: str = ""
    """The entry point, collector, check or file that it is about."""
    todo: str = ""
    """What the author can do about it."""

    def to_dict(self) -> dict[str, JSON]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        said = f"{self.where}: {self.what}" if self.where else self.what
        return f"{said}. {self.todo}" if self.todo else said


def ok(rule: str, what: str) -> Finding:
    """The rule is kept, as far as was tried."""
    return Finding(rule=rule, state="ok", what=what)


def failed(rule: str, where: str, what: str, todo: str = "") -> Finding:
    """The rule is broken there."""
    return Finding(rule=rule, state="failed", what=what, where=where, todo=todo)


def not_checked(rule: str, why: str, todo: str = "") -> Finding:
    """Nothing is known of the rule, and why."""
    return Finding(rule=rule, state="not_checked", what=why, todo=todo)


def summary(findings: Iterable[Finding]) -> list[Finding]:
    """In order of the rules: all that failed or was not checked; else one line that it is kept."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    told: list[Finding] = []
    for rule in RULES:
        found = list(dict.fromkeys(by_rule.get(rule, [])))
        wrong = [finding for finding in found if finding.state != "ok"]
        if wrong:
            told += wrong
        elif found:
            told.append(ok(rule, "; ".join(finding.what for finding in found)))
    return told


LONGEST = 120
"""Characters that are printed of what is well; JSON has all of it."""


def lines(told: Sequence[Finding]) -> list[str]:
    """As printed: state, rule, sentence."""
    words = {"ok": "ok", "failed": "failed", "not_checked": "not checked"}
    return [f"{words[f.state]:<11}  {f.rule:<8}  {_said(f)}" for f in told]


def _said(finding: Finding) -> str:
    text = " ".join(str(finding).split())
    text = "".join(c if c.isprintable() else "?" for c in text)  # a value may be hostile
    if finding.state == "ok" and len(text) > LONGEST:
        return text[:LONGEST].rpartition(" ")[0].rstrip(",;") + " …"
    return text
