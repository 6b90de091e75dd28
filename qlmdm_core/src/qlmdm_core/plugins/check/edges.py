"""Values that a client could report and that nobody thought of, for the checks to judge.

Clients choose what they report, and an old client meets a new check. So each check is first
watched while it judges, to learn which collectors, fields and words it looks for; then it gets
reports in which each of those is missing, unknown, of another type, huge or hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qlmdm_core.api import JSON

STAMP = "2026-11-01T12:00:00+00:00"
UNKNOWN: Mapping[str, JSON] = {"state": "unknown", "reason": "it could not be asked"}
_MOST_WORDS, _MOST_FIELDS, _ROUNDS = 8, 24, 6


def _deep(levels: int) -> JSON:
    value: JSON = None
    for _ in range(levels):
        value = {"x": [value]}
    return value


ODD: tuple[JSON, ...] = (
    *(None, True, False, 0, -1, 1e300),
    *(1 << 38, 1 << 70),  # as seconds, after the year 9999; more than 64 bits
    *(
        "",
        "0",
        "\N{SUPERSCRIPT TWO}",
        "9" * 5000,
        "x" * 100_000,
        "\0\x1b[2J\r\n\u202e",
        "2026-13-45T99:99:99Z",
    ),
    *([], [None], ["x"], [{}], [[]], [{"x": None}], {}, {"x": None}, {"x": {}}, {"": []}),
    _deep(12),
)
"""What may stand in place of any part of a value: all of it is JSON."""

NOT_UNDERSTOOD: tuple[JSON, ...] = (
    *({}, {"state": None}, {"state": 7}, {"state": []}, {"state": {}}, {"state": ""}),
    *({"state": "no such state"}, None, 7, "x", []),
)
"""Values that say nothing, and which no check may pass."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A report, or marks of the server, to be judged."""

    report: Mapping[str, Mapping[str, JSON]]
    flags: Mapping[str, JSON] = field(default_factory=dict)
    told: str
    """What is odd about it, in short."""
    proves: bool = True
    """False: nothing that the check needs is known, so that it must not pass."""


@dataclass(kw_only=True)
class Learned:
    """What a check looks for."""

    fields: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """For each collector: the fields of its value, and the words that each was compared with."""
    words: dict[str, set[str]] = field(default_factory=dict)
    """For each collector: the states that it was compared with."""
    flags: set[str] = field(default_factory=set)


def entry(value: JSON) -> dict[str, JSON]:
    """What the server keeps of a collector that gave this value."""
    return {
        "status": "ok",
        "value": value,
        "collected_at": STAMP,
        "changed_at": STAMP,
        "seconds": 0.1,
    }


# --- learning ----------------------------------------------------------------------------------


class _Word(str):
    """Text that notes what it is compared with."""

    heard: set[str]

    def __eq__(self, other: object) -> bool:
        if type(other) is str:
            self.heard.add(other)
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class _Spied(dict[str, Any]):
    """An object that notes for which of its fields it is asked."""

    def __init__(self, content: Mapping[str, Any], asked: Callable[[str], None]) -> None:
        super().__init__(content)
        self._asked = asked

    def __getitem__(self, key: str) -> Any:
        self._asked(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._asked(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            self._asked(key)
        return super().__contains__(key)


def learn(
    needs: tuple[str, ...], judge: Callable[[Mapping[str, Any], Mapping[str, Any]], None]
) -> Learned:
    """Watch `judge(report, flags)`, which never raises, until nothing new is seen."""
    learned = Learned(fields={name: {} for name in needs}, words={name: set() for name in needs})
    for _ in range(_ROUNDS):
        before = _size(learned)
        states = sorted({word for words in learned.words.values() for word in words})
        for state in [*states[:_MOST_WORDS], "no such state"]:
            for known in (("no such flag",), tuple(learned.flags)):
                flags = _Spied(dict.fromkeys(known, "x"), learned.flags.add)
                judge(_spied_report(learned, state, filled=False), flags)
                judge(_spied_report(learned, state, filled=True), flags)
        if _size(learned) == before:
            break
    return learned


def _spied_report(learned: Learned, state: str, *, filled: bool) -> Mapping[str, Any]:
    """A report that notes what is looked for; `filled`: with some text in each known field."""

    def value(name: str) -> Mapping[str, Any]:
        fields = learned.fields[name]
        known = {key: _word("x", heard) for key, heard in fields.items()} if filled else {}
        content = {**known, "state": _word(state, learned.words[name])}
        return _Spied(content, lambda key: _note(fields, key))

    def asked(name: str) -> None:
        learned.fields.setdefault(name, {})
        learned.words.setdefault(name, set())

    return _Spied({name: entry(value(name)) for name in list(learned.fields)}, asked)


def _word(text: str, heard: set[str]) -> _Word:
    word = _Word(text)
    word.heard = heard
    return word


def _note(fields: dict[str, set[str]], key: str) -> None:
    if key != "state" and len(fields) < _MOST_FIELDS:
        fields.setdefault(key, set())


def _size(learned: Learned) -> int:
    heard = [words for fields in learned.fields.values() for words in fields.values()]
    groups = (*learned.fields.values(), *heard, *learned.words.values(), learned.flags)
    return len(learned.fields) + sum(map(len, groups))


# --- the edges ---------------------------------------------------------------------------------


def edges(needs: tuple[str, ...], learned: Learned) -> Iterator[Edge]:
    """The reports to judge. What core answers for itself (a needed collector that is missing or
    failed) is not among them."""
    base = {name: entry(dict(UNKNOWN)) for name in needs}
    proves = not needs
    yield Edge(report=base, told="all unknown" if needs else "no report", proves=proves)
    yield Edge(
        report={name: entry({"state": "unknown"}) for name in needs},
        told="all unknown, without a reason",
        proves=proves,
    )
    for name in learned.fields:
        yield from _of_collector(name, base, learned, needed=name in needs)
    for flag in sorted(learned.flags):
        for odd in ODD:
            yield Edge(report=base, flags={flag: odd}, told=f"flag {flag}: {_short(odd)}")


def _of_collector(
    name: str, base: Mapping[str, JSON], learned: Learned, *, needed: bool
) -> Iterator[Edge]:
    if not needed:
        missing = {"status": "timeout", "error": "too slow", "collected_at": STAMP}
        yield Edge(report={**base, name: missing}, told=f"{name} timed out")
        yield Edge(report={**base, name: {"status": "error"}}, told=f"{name} failed")
    for value in NOT_UNDERSTOOD:
        told = f"{name}: {_short(value)}"
        yield Edge(report={**base, name: entry(value)}, told=told, proves=not needed)
    for word in sorted(learned.words[name])[:_MOST_WORDS]:
        bare = {"state": word}
        yield Edge(report={**base, name: entry(bare)}, told=f"{name}: {_short(bare)}")
        for key, heard in sorted(learned.fields[name].items()):
            for odd in (*ODD, *sorted(heard)[:_MOST_WORDS]):
                value = {"state": word, key: odd}
                yield Edge(report={**base, name: entry(value)}, told=f"{name}: {_short(value)}")
        for odd in (None, "x", [{}], {"x": None}):
            value = {**dict.fromkeys(sorted(learned.fields[name]), odd), "state": word}
            yield Edge(report={**base, name: entry(value)}, told=f"{name}: {_short(value)}")


def _short(value: JSON) -> str:
    text = repr(value)
    return text if len(text) <= 90 else f"{text[:87]}…"
