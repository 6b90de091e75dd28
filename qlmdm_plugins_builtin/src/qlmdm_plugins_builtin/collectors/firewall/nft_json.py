"""Reads `nft --json list ruleset`, the kernel's own account of its packet filter.

It shows what nft, iptables-nft, firewalld, ufw (on that backend), Docker and libvirt put
there; only iptables-legacy lies elsewhere. The format is libnftables-json(5).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qlmdm_plugins_builtin.collectors.firewall.nft_match import conditions_of, tokens
from qlmdm_plugins_builtin.collectors.firewall.packets import Condition, Truth, fixed
from qlmdm_plugins_builtin.collectors.firewall.walk import Chain, Key, Rule, Ruleset

MAX_ELEMENTS = 64
"""A longer named set or map is taken as one whose elements are not shown."""

_VERDICTS = {"accept": "accept", "drop": "drop", "reject": "drop", "return": "return"}
_FEW = ("source", "source_port", "destination_port")
_JUMPS = ("jump", "goto")
_DECIDED_ELSEWHERE = ("queue", "tproxy", "synproxy", "fwd")
_DECIDES_NOTHING = {
    "counter", "log", "mangle", "notrack", "dup", "last", "flow", "reset", "secmark", "comment",
    "ct helper", "ct timeout", "ct expectation", "dnat", "snat", "masquerade", "redirect",
    "map", "continue",
}  # fmt: skip
_XT_MATCHES = {
    # Extensions of iptables, by name. Of the others, the conditions are not shown.
    "comment": Truth.YES,
    "nfacct": Truth.YES,
    "limit": Truth.SOMETIMES,
    "statistic": Truth.SOMETIMES,
    "quota": Truth.SOMETIMES,
    "time": Truth.SOMETIMES,
    "hashlimit": Truth.PARTLY,
    "connlimit": Truth.PARTLY,
    "recent": Truth.PARTLY,
    "string": Truth.PARTLY,
    "icmp": Truth.NO,
    "icmp6": Truth.NO,
    "rt": Truth.NO,
    "mac": Truth.NO,
}
_XT_DECIDES = {"DROP": "drop", "REJECT": "drop", "TARPIT": "drop", "ACCEPT": "accept"}
_XT_DECIDES_NOTHING = {
    "LOG", "ULOG", "NFLOG", "MARK", "CONNMARK", "CONNSECMARK", "SECMARK", "TRACE", "CT", "NOTRACK",
    "SET", "CLASSIFY", "TCPMSS", "TTL", "HL", "TOS", "DSCP", "CHECKSUM", "AUDIT", "IDLETIMER",
    "LED", "RATEEST", "ECN", "HMARK", "TEE",
}  # fmt: skip

_TABLE_FLAGS = {"dormant", "owner", "persist"}
"""All that a table can have (nft(8), "TABLES")."""


def parse(text: str) -> Ruleset | None:
    """The rules in what nft printed; None if it is not that. Never raises."""
    # iptables-nft's warnings ("# Warning: …") may stand above.
    start = text.find("{")
    if start < 0 or any(line and line[0] != "#" for line in text[:start].strip().splitlines()):
        return None
    try:
        document = json.loads(text[start:])
    except (ValueError, RecursionError):
        return None
    objects = document.get("nftables") if isinstance(document, dict) else None
    if not isinstance(objects, list) or any(map(_has_garbled_flags, objects)):
        return None
    return build(objects)


def _has_garbled_flags(item: Any) -> bool:
    """Whether this is a table of which can't be told whether it is dormant.

    nft 1.0.6 (Debian 12) prints another word for it, such as "filter"; its text is right.
    """
    table = item.get("table") if isinstance(item, Mapping) else None
    flags = tokens(table.get("flags")) if isinstance(table, Mapping) else []
    return not _TABLE_FLAGS.issuperset(flags)


def build(objects: list[Any]) -> Ruleset:
    """The rules in the objects that nft lists. What is malformed is left out."""
    seen = _Seen()
    for item in objects:
        if isinstance(item, Mapping):
            for kind, body in item.items():
                if isinstance(body, Mapping):
                    seen.add(str(kind), body)
    return seen.ruleset()


@dataclass
class _Seen:
    """What was listed, until all of it is known: rules may stand before what they refer to."""

    chains: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    rules: dict[Key, list[Mapping[str, Any]]] = field(default_factory=dict)
    sets: dict[Key, Any] = field(default_factory=dict)
    """Elements of sets and maps, by family, table and name."""
    dormant: set[tuple[str, str]] = field(default_factory=set)
    """Tables that the kernel does not call (nft(8), "dormant")."""

    def add(self, kind: str, body: Mapping[str, Any]) -> None:
        family, table = str(body.get("family")), str(body.get("table"))
        name = str(body.get("name"))
        if kind == "table":
            if "dormant" in tokens(body.get("flags")):
                self.dormant.add((family, name))
        elif kind == "chain":
            self.chains[family, table, name] = body
        elif kind == "rule":
            self.rules.setdefault((family, table, str(body.get("chain"))), []).append(body)
        elif kind in ("set", "map"):
            self.sets[family, table, name] = body.get("elem")

    def ruleset(self) -> Ruleset:
        chains: dict[Key, Chain] = {}
        for key in [*self.chains, *(key for key in self.rules if key not in self.chains)]:
            body = self.chains.get(key, {})
            dormant = key[:2] in self.dormant
            chains[key] = Chain(
                key,
                tuple(rule for item in self.rules.get(key, ()) for rule in self._rules(key, item)),
                hook="" if dormant else str(body.get("hook") or ""),
                kind=str(body.get("type") or ""),
                priority=_priority(body.get("prio")),
                policy="drop" if body.get("policy") == "drop" else "accept",
            )
        return Ruleset(chains)

    def _rules(self, key: Key, body: Mapping[str, Any]) -> Iterator[Rule]:
        """One rule of nft, as one of ours for each verdict in it."""
        expressions = body.get("expr")
        conditions: list[Condition] = []
        text = str(body["comment"]) if isinstance(body.get("comment"), str) else ""
        hidden, decided = False, False
        for item in expressions if isinstance(expressions, list) else ():
            if not isinstance(item, Mapping) or len(item) != 1:
                conditions.append(fixed(Truth.OPAQUE))
                continue
            ((name, argument),) = item.items()
            if name == "match":
                conditions += self._match(key, argument)
            elif name == "vmap":
                yield from self._verdict_map(key, argument, conditions, text)
                decided = True
            elif (rule := _verdict(name, argument, tuple(conditions), text)) is not None:
                yield rule
                decided = True
            else:
                conditions += _statement(name, argument)
                hidden = hidden or (name == "xt" and argument is None)
        if hidden and not decided:
            # nft before 1.0.7 shows iptables' REJECT like its LOG: as `{"xt": null}`.
            yield Rule(tuple(conditions), "unclear", text=text)

    def _match(self, key: Key, argument: Any) -> list[Condition]:
        if not isinstance(argument, Mapping):
            return [fixed(Truth.OPAQUE)]
        return conditions_of(
            argument.get("left"),
            str(argument.get("op", "==")),
            self._resolved(key, argument.get("right")),
        )

    def _resolved(self, key: Key, right: Any) -> Any:
        """The elements of a named set, where they are shown (`--terse` leaves them out)."""
        if isinstance(right, str) and right.startswith("@"):
            elements = self.sets.get((key[0], key[1], right[1:]))
            if isinstance(elements, list) and elements and _is_short(elements):
                return {"set": elements}
        return right

    def _verdict_map(
        self, key: Key, argument: Any, before: list[Condition], text: str
    ) -> Iterator[Rule]:
        """A verdict map, as one rule for each of its elements."""
        body = argument if isinstance(argument, Mapping) else {}
        data = body.get("data")
        if isinstance(data, str):
            named = self.sets.get((key[0], key[1], data.lstrip("@")))
            # A long map that many rules name would be unfolded as often.
            data = {"set": named if isinstance(named, list) and _is_short(named) else None}
        elements = data.get("set") if isinstance(data, Mapping) else None
        if not isinstance(elements, list):
            # What the map holds is not shown: for addresses and ports, a few of them.
            unseen = [
                condition
                if condition.values != ("@",) or condition.field in _FEW
                else fixed(Truth.OPAQUE)
                for condition in conditions_of(body.get("key"), "in", "@")
            ]
            yield Rule((*before, *unseen), "unclear", text=text)
            return
        # "*" stands for all keys that have no element of their own: it comes last.
        pairs = [element for element in elements if isinstance(element, list) and len(element) == 2]
        for value, verdict in sorted(pairs, key=lambda pair: tokens(pair[0]) == ["*"]):
            if not isinstance(verdict, Mapping) or len(verdict) != 1:
                continue
            ((name, target),) = verdict.items()
            any_key = tokens(value) == ["*"]
            here = [] if any_key else conditions_of(body.get("key"), "==", value)
            rule = _verdict(name, target, (*before, *here), text)
            if rule is not None:
                yield rule


def _is_short(elements: list[Any]) -> bool:
    return len(elements) <= MAX_ELEMENTS


def _priority(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _verdict(name: str, argument: Any, conditions: tuple[Condition, ...], text: str) -> Rule | None:
    """The rule that a verdict statement makes; None if the statement is none."""
    if name in _VERDICTS:
        return Rule(conditions, _VERDICTS[name], text=text)  # type: ignore[arg-type]
    if name in _JUMPS:
        target = argument.get("target") if isinstance(argument, Mapping) else argument
        return Rule(conditions, name, str(target), text)  # type: ignore[arg-type]
    if name in _DECIDED_ELSEWHERE:
        return Rule(conditions, "unclear", text=text)
    if name == "xt" and isinstance(argument, Mapping) and argument.get("type") == "target":
        target = str(argument.get("name"))
        if target in _XT_DECIDES_NOTHING:
            return Rule(conditions, "next", text=text)
        return Rule(conditions, _XT_DECIDES.get(target, "unclear"), text=text)  # type: ignore[arg-type]
    return None


def _statement(name: str, argument: Any) -> list[Condition]:
    """The conditions that a statement without a verdict amounts to."""
    body = argument if isinstance(argument, Mapping) else {}
    if name in ("limit", "quota", "ct count"):
        # "over 5/second" holds for nobody but a flood; "5/second" for the first to come.
        return [fixed(Truth.NO if body.get("inv") is True else Truth.SOMETIMES)]
    if name in ("set", "meter"):
        inner = body.get("stmt")
        statements = inner if isinstance(inner, list) else [inner]
        return [
            condition
            for statement in statements
            if isinstance(statement, Mapping)
            for key, value in statement.items()
            for condition in _statement(str(key), value)
        ]
    if name == "xt":
        return [fixed(_XT_MATCHES.get(str(body.get("name")), Truth.OPAQUE))]
    return [] if name in _DECIDES_NOTHING else [fixed(Truth.OPAQUE)]
