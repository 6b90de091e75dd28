"""Reads what `iptables-save` and `iptables -S` print, and the same for IPv6.

Both print rules as one would type them (iptables-extensions(8) has the options). This is the
only account of rules that iptables-legacy made, and the fuller one of those of iptables-nft.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from qlmdm_plugins_builtin.collectors.firewall.packets import Condition, Truth, fixed
from qlmdm_plugins_builtin.collectors.firewall.walk import Chain, Key, Rule, Ruleset

TABLES = ("filter", "mangle", "raw", "security", "nat")
"""The tables of iptables, in both its forms."""

_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_HOOKS = {"PREROUTING": "prerouting", "INPUT": "input"}
_WORD = re.compile(r'"((?:\\.|[^"\\])*)"|(\S+)')
_ESCAPED = re.compile(r"\\(.)")
_COUNTERS = re.compile(r"\[\d+:\d+\]\s*")
_POLICY = re.compile(r":(\S+)\s+(\S+)")

_ACCEPT = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_DROPS = {"TARPIT", "DELUDE", "CHAOS"}
_DECIDES_NOTHING = {
    "LOG", "ULOG", "NFLOG", "MARK", "CONNMARK", "CONNSECMARK", "SECMARK", "TRACE", "CT", "NOTRACK",
    "SET", "CLASSIFY", "TCPMSS", "TTL", "HL", "TOS", "DSCP", "CHECKSUM", "AUDIT", "IDLETIMER",
    "LED", "RATEEST", "ECN", "HMARK", "TEE", "ACCOUNT",
}  # fmt: skip

_FIELDS = {
    "-p": "protocol", "--protocol": "protocol",
    "-s": "source", "--source": "source", "--src": "source", "--src-range": "source",
    "-d": "destination", "--destination": "destination", "--dst-range": "destination",
    "-i": "in_interface", "--in-interface": "in_interface",
    "-o": "out_interface", "--out-interface": "out_interface",
    "--dport": "destination_port", "--dports": "destination_port",
    "--destination-port": "destination_port", "--destination-ports": "destination_port",
    "--sport": "source_port", "--sports": "source_port",
    "--source-port": "source_port", "--source-ports": "source_port",
    "--ports": "destination_port",
    "--ctstate": "ct_state", "--state": "ct_state", "--ctdir": "ct_direction",
    "--ctstatus": "listed", "--helper": "listed", "--match-set": "listed",
    "--mac-source": "listed", "--src-cc": "listed", "--source-country": "listed",
    "--mark": "mark", "--pkt-type": "packet_type",
    "--src-type": "source_type",
}  # fmt: skip
"""Options whose value is what the field must hold."""

_TRUTHS = {
    # What these ask for never holds for a packet of ours, negated or not where it says so.
    "-f": Truth.NO, "--fragment": Truth.NO,
    "--icmp-type": Truth.NO, "--icmpv6-type": Truth.NO, "--rt-type": Truth.NO,
    "--rcheck": Truth.NO, "--update": Truth.NO, "--remove": Truth.NO, "--set": Truth.YES,
    "--hashlimit-above": Truth.NO, "--connlimit-above": Truth.NO, "--string": Truth.NO,
    "--hex-string": Truth.NO, "--invert": Truth.NO, "--physdev-in": Truth.NO,
    "--physdev-is-bridged": Truth.NO, "--physdev-is-in": Truth.NO, "--physdev-is-out": Truth.NO,
    # By rate, time or chance.
    "--limit": Truth.SOMETIMES, "--hashlimit": Truth.SOMETIMES, "--hashlimit-upto": Truth.SOMETIMES,
    "--connlimit-upto": Truth.SOMETIMES, "--probability": Truth.SOMETIMES,
    "--every": Truth.SOMETIMES, "--quota": Truth.SOMETIMES, "--timestart": Truth.SOMETIMES,
    "--timestop": Truth.SOMETIMES, "--datestart": Truth.SOMETIMES, "--datestop": Truth.SOMETIMES,
    "--weekdays": Truth.SOMETIMES, "--monthdays": Truth.SOMETIMES, "--cpu": Truth.SOMETIMES,
}  # fmt: skip

_NO_CONDITION = {
    # Options that only say how another one is meant.
    "--comment", "-c", "--limit-burst", "--hashlimit-burst", "--hashlimit-mode",
    "--hashlimit-name", "--hashlimit-srcmask", "--hashlimit-dstmask", "--hashlimit-htable-size",
    "--hashlimit-htable-max", "--hashlimit-htable-expire", "--hashlimit-htable-gcinterval",
    "--hashlimit-rate-match", "--hashlimit-rate-interval", "--connlimit-mask",
    "--connlimit-saddr", "--connlimit-daddr", "--seconds", "--reap", "--hitcount", "--rttl",
    "--name", "--mask", "--rsource", "--rdest", "--algo", "--from", "--to", "--icase", "--mode",
    "--packet", "--kerneltz", "--utc", "--contiguous", "--loose", "--validmark", "--accept-local",
    "--return-nomatch", "--limit-iface-in", "--dir", "--strict", "--nfacct-name", "--rt-segsleft",
    "--update-counters", "--update-subcounters", "--reject-with",
}  # fmt: skip

_PARTLY_BY_NAME = {"socket", "unclean", "eui64", "osf", "ndpi"}
"""Extensions that are a condition without any option."""


def parse(text: str, family: str, source: str) -> Ruleset | None:
    """The rules of one family in what iptables printed; None if it is not that. Never raises.

    `source` becomes part of the tables' names, so that rules of iptables-legacy and those of
    iptables-nft do not mix.
    """
    table = "filter"
    chains: dict[Key, Chain] = {}
    rules: dict[Key, list[Rule]] = {}
    notes: list[str] = []
    for raw in text.splitlines():
        line = _COUNTERS.sub("", raw.strip(), count=1)
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith("#"):
            if "incompatible" in line:
                notes.append(line.lstrip("# "))
        elif line.startswith((":", "-P ", "-N ", "--policy ", "--new-chain ")):
            declared = _declared(line)
            if declared is None:
                return None
            key = (family, _table(source, table), declared[0])
            chains[key] = _chain(key, table, declared[1])
        elif line.startswith(("-A ", "--append ")):
            words = list(_words(line))
            key = (family, _table(source, table), words[1][0] if len(words) > 1 else "")
            rules.setdefault(key, []).append(_rule(words[2:], line))
        elif line and line != "COMMIT":
            return None
    names: dict[tuple[str, str], set[str]] = {}
    for key in (*chains, *rules):
        names.setdefault(key[:2], set()).add(key[2])
    for key, found in rules.items():
        chain = chains.get(key) or _chain(key, key[1].rsplit(" ", 1)[-1], "ACCEPT")
        shown = tuple(known_target(rule, names[key[:2]]) for rule in found)
        chains[key] = replace(chain, rules=shown)
    return Ruleset(chains, tuple(notes))


def _table(source: str, table: str) -> str:
    return f"{source} {table}" if source else table


def _declared(line: str) -> tuple[str, str] | None:
    """Name and policy of `:INPUT DROP [0:0]`, `-P INPUT DROP` or `-N chain`."""
    if found := _POLICY.match(line):
        return found[1], found[2]
    words = line.split()
    return (words[1], words[2] if len(words) > 2 else "-") if len(words) > 1 else None


def _chain(key: Key, table: str, policy: str) -> Chain:
    hook = _HOOKS.get(key[2], "") if table in _PRIORITIES else ""
    return Chain(
        key,
        hook=hook,
        kind="filter" if hook else "",
        priority=_PRIORITIES.get(table, 0),
        policy="drop" if policy == "DROP" else "accept",
    )


def _words(line: str) -> Iterator[tuple[str, bool]]:
    """The words of a line, and whether they were quoted: a comment may look like an option."""
    for found in _WORD.finditer(line):
        if found[1] is not None:
            yield _ESCAPED.sub(r"\1", found[1]), True
        else:
            yield found[2], False


def _rule(words: list[tuple[str, bool]], text: str) -> Rule:
    """A rule from the words after its chain's name."""
    conditions: list[Condition] = []
    target, goto = "", False
    position, negated = 0, False
    while position < len(words):
        word = words[position][0]
        position += 1
        if word == "!":
            negated = True
            continue
        arguments: list[str] = []
        while position < len(words) and not _is_option(words[position]):
            arguments.append(words[position][0])
            position += 1
        if word in ("-j", "--jump", "-g", "--goto"):
            target, goto = arguments[0] if arguments else "", word in ("-g", "--goto")
            if target not in _ACCEPT:
                break  # the rest are options of the target
            continue  # people, unlike iptables-save, write conditions behind it
        if arguments[:1] == ["!"]:  # the form of before 1.4.3: `-s ! 10.0.0.1`
            negated, arguments = True, arguments[1:]
        conditions += _conditions(word, arguments, negated)
        negated = False
    return rule_with_target(target, goto, conditions, text)


def _is_option(word: tuple[str, bool]) -> bool:
    text, quoted = word
    return not quoted and (text == "!" or (text.startswith("-") and len(text) > 1))


def rule_with_target(name: str, goto: bool, conditions: Iterable[Condition], text: str) -> Rule:
    """The rule with what stands after `-j` or `-g`; a name of no target may be a chain's."""
    if not name:
        return Rule(tuple(conditions), "next", text=text)
    if name in _ACCEPT:
        return Rule(tuple(conditions), _ACCEPT[name], text=text)  # type: ignore[arg-type]
    if name in _DROPS:
        return Rule(tuple(conditions), "drop", text=text)
    return Rule(tuple(conditions), "goto" if goto else "jump", name, text)


def known_target(rule: Rule, chains: Collection[str]) -> Rule:
    """A jump to no chain is an extension: one that decides nothing, or who knows."""
    if rule.verdict not in ("jump", "goto") or rule.target in chains:
        return rule
    verdict = "next" if rule.target in _DECIDES_NOTHING else "unclear"
    return Rule(rule.conditions, verdict, text=rule.text)  # type: ignore[arg-type]


def _conditions(option: str, arguments: list[str], negated: bool) -> list[Condition]:
    """What one option with its arguments asks of a packet."""
    first = arguments[0] if arguments else ""
    if option in ("-m", "--match"):
        return [fixed(Truth.PARTLY)] if first in _PARTLY_BY_NAME else []
    if option in _NO_CONDITION:
        return []
    if option in _FIELDS:
        return [Condition(_FIELDS[option], _values(_FIELDS[option], first), negated)]
    if option in _TRUTHS:
        return [Condition("fixed", (_TRUTHS[option].value,), negated)]
    if option == "--dst-type":
        kinds = tuple(first.split(","))
        return [Condition("destination_type", (*kinds, *_local(kinds)), negated)]
    if option == "--syn":
        return [Condition("tcp_flags", ("fin,syn,rst,ack", "syn"), negated)]
    if option == "--tcp-flags" and len(arguments) == 2:
        return [Condition("tcp_flags", (arguments[0], arguments[1]), negated)]
    if option == "--pol":
        return [Condition("fixed", ((Truth.YES if first == "none" else Truth.NO).value,), negated)]
    return [fixed(Truth.PARTLY)]


def _local(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """A packet to this host is LOCAL for the routing table, or, loosely, UNICAST."""
    return ("local",) if "UNICAST" in kinds else ()


def _values(field: str, argument: str) -> tuple[str, ...]:
    if field == "in_interface":
        return (argument[:-1] + "*",) if argument.endswith("+") else (argument,)
    if field == "mark":
        return (argument,)
    return tuple(argument.replace(":", "-").split(",") if "port" in field else argument.split(","))
