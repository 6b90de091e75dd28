"""Reads `iptables -L`, the form that is made for eyes; used when there is no other.

Without `-v` it hides interfaces: `-i lo -j ACCEPT` looks as if it accepted everything, and
`-i eth1 -j DROP` as if it dropped everything. All rules are opaque then, but for those whose
place in the chain tells what they are (`_revealed`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from qlmdm_plugins_builtin.collectors.firewall.packets import Condition, Truth, fixed
from qlmdm_plugins_builtin.collectors.firewall.walk import Chain, Key, Rule, Ruleset
from qlmdm_plugins_builtin.collectors.firewall.xtables import known_target, rule_with_target

_CHAIN = re.compile(r"Chain (\S+) \((?:policy ([^\s)]+)|\d+ references)")
_ANYWHERE = {"anywhere", "0.0.0.0/0", "::/0"}
_FLAGS = {"--", "-", "-f", "!f"}
MAX_LINE = 4000
"""Characters of a rule that are read. A longer one decides something, but not what."""
_COMMENT = re.compile(r"/\*.*?\*/")
_OF_TARGET = re.compile(r"\b(?:reject-with|LOG|NFLOG|ULOG|MARK|CONNMARK|nflog-group)\b.*")
_PORTS = re.compile(r"(?:multiport )?\b([sd])(?:pts?|ports):?\s*(!)?\s?(\S+)")
_STATES = re.compile(r"\b(?:ct)?state (\S+)")
_KINDS = re.compile(r"\bADDRTYPE match (dst|src)-type (!)?(\S+)")
_HIDDEN = fixed(Truth.OPAQUE)
"""The interface that is not shown."""


@dataclass(frozen=True)
class _Header:
    """What the line of column names tells."""

    skip: int = 0
    """Columns before the target."""
    interfaces: bool = False


def parse(text: str, family: str) -> Ruleset | None:
    """The filter table's rules in what iptables printed; None if it is not that. Never raises."""
    chains: dict[Key, Chain] = {}
    rules: dict[Key, list[Rule]] = {}
    key: Key | None = None
    header = _Header()
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if found := _CHAIN.match(line):
            key = (family, "filter", found[1])
            hook = "input" if found[1] == "INPUT" else ""
            policy = "drop" if found[2] == "DROP" else "accept"
            chains[key] = Chain(key, hook=hook, kind="filter" if hook else "", policy=policy)
            continue
        if key is None:
            return None
        words = line[:MAX_LINE].split()
        if len(line) > MAX_LINE:
            rules.setdefault(key, []).append(Rule((_HIDDEN,), "unclear", text=line[:120]))
        elif "source" in words and "destination" in words:
            header = _Header(("num" in words) + 2 * ("pkts" in words), "in" in words)
        else:
            rules.setdefault(key, []).append(_rule(words, header))
    names = {key[2] for key in chains}
    for key, listed in rules.items():
        shown = listed if header.interfaces else _revealed(key[2], listed)
        chains[key] = replace(chains[key], rules=tuple(known_target(rule, names) for rule in shown))
    return Ruleset(chains) if chains else None


def _rule(words: list[str], header: _Header) -> Rule:
    columns = words[header.skip :]
    text = " ".join(columns)  # without counters, which differ each time
    # A rule without a target leaves its column empty, and ip6tables that of the flags.
    target = columns.pop(0) if len(columns) > 1 and columns[1] not in _FLAGS else ""
    conditions = [Condition("protocol", tuple(columns[:1]))]
    columns = columns[1:]
    if columns and columns[0] in _FLAGS:
        if columns[0] in ("-f", "!f"):
            conditions.append(Condition("fixed", (Truth.NO.value,), columns[0] == "!f"))
        columns = columns[1:]
    if header.interfaces:
        conditions += [
            _interface(field, name)
            for field, name in zip(("in_interface", "out_interface"), columns, strict=False)
            if name.lstrip("!") not in ("*", "any")
        ]
        columns = columns[2:]
    if len(columns) < 2:
        return Rule((_HIDDEN,), "unclear", text=text)
    for field, value in zip(("source", "destination"), columns, strict=False):
        if value not in _ANYWHERE:
            conditions.append(Condition(field, (value.lstrip("!"),), value.startswith("!")))
    rest = " ".join(columns[2:])
    conditions += _extensions(rest)
    if not header.interfaces:
        conditions.append(_HIDDEN)
    return rule_with_target(target, "[goto]" in rest, conditions, text)


def _interface(field: str, value: str) -> Condition:
    name = value.lstrip("!")
    pattern = name[:-1] + "*" if name.endswith("+") else name
    return Condition(field, (pattern,), negated=name != value)


def _extensions(text: str) -> list[Condition]:
    """The conditions in the last column, which every extension words in its own way."""
    rest = _OF_TARGET.sub("", _COMMENT.sub("", text)).replace("[goto]", "").strip()
    found: list[Condition] = []
    for protocol in ("tcp ", "udp "):
        rest = rest.removeprefix(protocol)
    if ports := _PORTS.search(rest):
        field = "source_port" if ports[1] == "s" else "destination_port"
        values = tuple(ports[3].replace(":", "-").split(","))
        found.append(Condition(field, values, bool(ports[2])))
        rest = rest.replace(ports[0], "", 1)
    if states := _STATES.search(rest):
        found.append(Condition("ct_state", tuple(states[1].split(","))))
        rest = rest.replace(states[0], "", 1)
    if kinds := _KINDS.search(rest):
        field = "destination_type" if kinds[1] == "dst" else "source_type"
        found.append(Condition(field, tuple(kinds[3].split(",")), bool(kinds[2])))
        rest = rest.replace(kinds[0], "", 1)
    rest = rest.strip()
    if rest.startswith("limit:"):
        found.append(fixed(Truth.SOMETIMES))
    elif rest.startswith(("icmp", "ipv6-icmp", "match-set")):
        found.append(fixed(Truth.NO))
    elif rest:
        found.append(fixed(Truth.PARTLY))
    return found


def _revealed(chain: str, rules: list[Rule]) -> list[Rule]:
    """Take hidden interfaces for what they are, where the place of a rule tells it.

    Whoever lets in what is established, and puts rules behind an accept of "everything", has
    written that one for the loopback device: the rest would be for nothing. The drop of
    "everything" at the end of such a chain is what it looks like. So are the calls of other
    chains in INPUT.
    """
    plain = [rule.conditions[1:] == (_HIDDEN,) and not _is_narrow(rule) for rule in rules]
    shown = [
        _without_hidden(rule) if plain[at] and chain == "INPUT" and rule.target else rule
        for at, rule in enumerate(rules)
    ]
    drop = _final_drop(rules, plain)
    end = len(rules) - 1 if drop is None else drop
    accepts = [at for at in range(end) if plain[at] and rules[at].verdict == "accept"]
    by_ufw = chain == "ufw-before-input" and accepts[:1] == [0]
    if by_ufw or (len(accepts) == 1 and _knows_states(rules[: end + 1])):
        shown[accepts[0]] = _for_loopback(rules[accepts[0]])
    if drop is not None and _knows_states(rules[:drop]):
        shown[drop] = _without_hidden(rules[drop])
    return shown


def _final_drop(rules: list[Rule], plain: list[bool]) -> int | None:
    """The position of the rule that drops the rest; None if there is none.

    firewalld's is followed by rules that somebody added behind its back, to no effect.
    """
    zones = [at for at, rule in enumerate(rules) if rule.target == "INPUT_ZONES"]
    first = zones[0] if zones else len(rules) - 1
    drops = (at for at in range(first, len(rules)) if plain[at] and rules[at].verdict == "drop")
    return next(drops, None)


def _is_narrow(rule: Rule) -> bool:
    """Whether the protocol alone leaves something out."""
    return rule.conditions[0].values not in (("all",), ("0",))


def _knows_states(rules: list[Rule]) -> bool:
    """Whether one of the rules lets in what belongs to a connection that is known."""
    return any(
        rule.verdict == "accept" and condition.field == "ct_state" and "NEW" not in condition.values
        for rule in rules
        for condition in rule.conditions
    )


def _without_hidden(rule: Rule) -> Rule:
    return replace(rule, conditions=rule.conditions[:1])


def _for_loopback(rule: Rule) -> Rule:
    return replace(rule, conditions=(Condition("in_interface", ("lo",)),))
