"""Walks packets through a set of rules, to see whether a firewall drops what nobody asked for.

The rules come from nftables or iptables; here they have one form. A packet is let in only if
every base chain on its way accepts it, and a drop anywhere is final (nft(8), "chains"). So a
firewall is on when, for each packet that is tried, some chain surely drops it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from qlmdm_plugins_builtin.collectors.firewall.packets import (
    NO_TRACKING,
    Condition,
    Packet,
    Truth,
    all_of,
    unasked_packets,
)

State: TypeAlias = Literal["on", "off", "unknown"]
Key: TypeAlias = "tuple[str, str, str]"
"""Family, table and name of a chain."""

MAX_INTERFACES = 32
"""Interfaces that are tried; a machine with more of them is no laptop, and takes long."""
MAX_DEPTH = 32
"""Jumps within jumps that are followed; the kernel allows 16 (NFT_JUMP_STACK_SIZE)."""


@dataclass(frozen=True)
class Rule:
    """One rule: what it does with the packets that meet all its conditions."""

    conditions: tuple[Condition, ...]
    verdict: Literal["accept", "drop", "return", "jump", "goto", "unclear", "next"]
    """`unclear`: another program or an unknown target decides; `next`: nothing is decided."""
    target: str = ""
    """The chain that `jump` and `goto` lead to, in the same table."""
    text: str = ""
    """The rule for a person, where the source has it as text."""


@dataclass(frozen=True)
class Chain:
    """A chain of rules; a base chain has a hook, which is where the kernel calls it."""

    key: Key
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    kind: str = ""
    """filter, nat or route; empty if it is no base chain."""
    priority: int = 0
    policy: str = "accept"

    @property
    def families(self) -> tuple[str, ...]:
        """The families of addresses whose packets pass here."""
        return ("ip", "ip6") if self.key[0] in ("inet", "netdev") else (self.key[0],)

    @property
    def label(self) -> str:
        """The chain as nft would be asked for it."""
        return f"chain {self.key[2]} of table {self.key[0]} {self.key[1]}"


@dataclass(frozen=True)
class Ruleset:
    """All chains that one source knows of."""

    chains: dict[Key, Chain] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What the source said beside its rules, for a person."""

    def called_at(self, family: str, *hooks: str) -> list[Chain]:
        """The base chains of these hooks that filter packets of the family."""
        return [
            chain
            for chain in self.chains.values()
            if chain.hook in hooks and family in chain.families and chain.kind in ("filter", "")
        ]

    def with_chains_of(self, other: Ruleset) -> Ruleset:
        """Both together; of two chains of one key, the other's counts."""
        return Ruleset({**self.chains, **other.chains}, self.notes + other.notes)

    def without_tables(self, family: str, tables: Iterable[str]) -> Ruleset:
        """What is left when these tables are taken out."""
        gone = {(family, table) for table in tables}
        kept = {key: chain for key, chain in self.chains.items() if key[:2] not in gone}
        return replace(self, chains=kept)

    def reached(self, family: str, *hooks: str) -> list[Chain]:
        """The base chains of these hooks, and all chains that they may jump to."""
        found = {chain.key: chain for chain in self.called_at(family, *hooks)}
        waiting = list(found.values())
        while waiting:
            chain = waiting.pop()
            for rule in chain.rules:
                target = self.chains.get((chain.key[0], chain.key[1], rule.target))
                if target is not None and target.key not in found:
                    found[target.key] = target
                    waiting.append(target)
        return list(found.values())

    def interfaces(self) -> set[str]:
        """The interfaces that rules name."""
        return {
            value
            for chain in self.chains.values()
            for rule in chain.rules
            for condition in rule.conditions
            if condition.field == "in_interface"
            for value in condition.values
        }


@dataclass(frozen=True)
class Finding:
    """What was found out about one family of addresses, and why."""

    state: State
    why: str


def judge(ruleset: Ruleset, family: str, interfaces: Iterable[str]) -> Finding:
    """Whether packets of a family that nobody asked for are dropped, on these interfaces."""
    chains = ruleset.called_at(family, "prerouting", "input")
    # Whether the devices of these are all that matter, we do not try to find out.
    early = ruleset.called_at(family, "ingress")
    closed: dict[str, None] = {}
    doubt = ""
    names = list(interfaces)
    if len(names) > MAX_INTERFACES:
        doubt = f"only {MAX_INTERFACES} of {len(names)} interfaces were tried"
    for packet in unasked_packets(family, names[:MAX_INTERFACES]):
        fates = [_fate(ruleset, chain, packet) for chain in chains]
        if drops := [fate.why for fate in fates if fate.state == "on"]:
            closed[drops[0]] = None
        elif doubts := [fate.why for fate in fates if fate.state == "unknown"]:
            doubt = doubt or doubts[0]
        elif doubts := [
            fate.why for chain in early if (fate := _fate(ruleset, chain, packet)).state != "off"
        ]:
            doubt = doubt or f"{doubts[0]}, as packets enter a device"
        elif not fates:
            return Finding("off", "no rules for packets that come in")
        else:
            return Finding("off", "; ".join(dict.fromkeys(fate.why for fate in fates)))
    if doubt:
        return Finding("unknown", doubt)
    return Finding("on", "; ".join(closed))


def _fate(ruleset: Ruleset, chain: Chain, packet: Packet) -> Finding:
    """What one base chain does with a packet: "on" is a drop, "off" an accept."""
    if chain.priority <= NO_TRACKING:
        packet = replace(packet, tracked=False)
    passed = _Walk(ruleset, packet).through(chain.key, firm=True, depth=0)
    ends = dict(passed.ends)
    if passed.left is not None:
        policy: _End = ("drop" if chain.policy == "drop" else "accept", passed.left)
        ends.setdefault(policy, f"{chain.label} has the policy {chain.policy}")
    accepts = {firm: why for (what, firm), why in ends.items() if what == "accept"}
    drops = [why for (what, _), why in ends.items() if what == "drop"]
    if accepts and (accepts.get(True) or not drops):
        return Finding("off", accepts.get(True) or accepts[False])
    if accepts:
        return Finding("unknown", f"{accepts[False]}; that rule is not understood")
    if drops:
        return Finding("on", drops[0])
    return Finding("unknown", f"{chain.label} has no end")


_End: TypeAlias = "tuple[Literal['accept', 'drop'], bool]"
"""How a packet may end, and whether surely so."""


@dataclass
class _Passage:
    """What may become of a packet in a chain."""

    ends: dict[_End, str] = field(default_factory=dict)
    """The ends it may find there, and why."""
    left: bool | None = None
    """Whether it may come out at the end or by a return: surely (True), perhaps (False)."""

    def may_end(self, what: Literal["accept", "drop"], firm: bool, why: str) -> None:
        self.ends.setdefault((what, firm), why)

    def may_leave(self, firm: bool | None) -> None:
        if firm is not None:
            self.left = firm or bool(self.left)


class _Walk:
    """Follows one packet. Each chain is walked once for each way of getting there."""

    def __init__(self, ruleset: Ruleset, packet: Packet) -> None:
        self._ruleset, self._packet = ruleset, packet
        self._known: dict[tuple[Key, bool], _Passage] = {}
        self._open: set[Key] = set()

    def through(self, key: Key, *, firm: bool, depth: int) -> _Passage:
        """What becomes of the packet that gets into a chain, surely (`firm`) or perhaps."""
        known = self._known.get((key, firm))
        if known is not None:
            return known
        chain = self._ruleset.chains.get(key)
        passage = _Passage()
        if chain is None or key in self._open or depth > MAX_DEPTH:
            why = f"chain {key[2]} of table {key[0]} {key[1]} can't be followed"
            passage.may_end("accept", False, why)
            passage.may_end("drop", False, why)
            passage.may_leave(False)
            return passage
        self._open.add(key)
        here: bool | None = firm
        for rule in chain.rules:
            if here is None:
                break
            here = self._rule(chain, rule, here, passage, depth)
        passage.may_leave(here)
        self._open.discard(key)
        self._known[key, firm] = passage
        return passage

    def _rule(
        self, chain: Chain, rule: Rule, here: bool, passage: _Passage, depth: int
    ) -> bool | None:
        """Apply one rule; whether the packet goes on to the next one, as in `_Passage.left`."""
        met = all_of(rule.conditions, self._packet)
        if met is Truth.NO or rule.verdict == "next":
            return here
        inside = _inside(chain, rule, here and met in (Truth.YES, Truth.SOMETIMES))
        if rule.verdict in ("jump", "goto"):
            target = (chain.key[0], chain.key[1], rule.target)
            sub = self.through(target, firm=bool(inside.left), depth=depth + 1)
            inside = _Passage(dict(sub.ends), sub.left)
        for (what, firm), why in inside.ends.items():
            # A drop that holds for a part of the packets leaves the rest to what follows.
            if what == "accept" or met in (Truth.YES, Truth.OPAQUE):
                passage.may_end(what, firm, why)
        if rule.verdict in ("return", "goto"):
            passage.may_leave(inside.left)
        if met is Truth.YES:
            return inside.left if rule.verdict == "jump" else None
        decides = inside.ends or rule.verdict in ("return", "goto")
        return False if met is Truth.OPAQUE and decides else here


def _inside(chain: Chain, rule: Rule, firm: bool) -> _Passage:
    """What the rule's own verdict makes of the packet."""
    passage = _Passage()
    text = f"({rule.text[:120]}) " if rule.text else ""
    where = f"a rule {text}in {chain.label}"
    if rule.verdict == "accept":
        passage.may_end("accept", firm, f"{where} accepts")
    elif rule.verdict == "drop":
        passage.may_end("drop", firm, f"{where} drops the rest")
    elif rule.verdict == "unclear":
        passage.may_end("accept", False, f"{where} leaves it to others")
        passage.may_end("drop", False, f"{where} leaves it to others")
    else:
        passage.left = firm
    return passage
