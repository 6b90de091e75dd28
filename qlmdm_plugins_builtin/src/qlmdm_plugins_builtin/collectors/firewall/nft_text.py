"""Reads `nft list ruleset` as text, where the JSON form can't be had.

Each rule is put into the words of nft's JSON, so that one reader judges both. What is not
understood becomes an opaque condition: the rule may then hold for everybody or for nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from qlmdm_plugins_builtin.collectors.firewall.nft_json import build
from qlmdm_plugins_builtin.collectors.firewall.walk import Ruleset

MAX_HEAD = 4000
"""Characters of a line that are looked at for a chain's type, hook and priority."""

_WORD = re.compile(r'"[^"]*"|\{|\}|[^\s{}",]+|,')
_TABLE = re.compile(r"table\s+(\w+)\s+(\S+)\s*\{")
_CHAIN = re.compile(r"chain\s+(\S+)\s*\{")
_BASE = re.compile(
    r"type\s+(\w+)\s+hook\s+(\w+)(?:\s+devices?\s+.*?)?\s+priority\s+([^;]+);"
    r"(?:\s*policy\s+(\w+)\s*;)?"
)
_NAMED_PRIORITIES = {
    "raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100,
}  # fmt: skip
_META_ALONE = {
    "iifname", "iif", "oifname", "oif", "mark", "pkttype", "iiftype", "skuid", "skgid", "cgroup",
}  # fmt: skip
_HEADERS = {
    "ip", "ip6", "tcp", "udp", "th", "icmp", "icmpv6", "ether", "sctp", "dccp", "udplite", "igmp",
    "ah", "esp", "comp", "vlan", "arp",
}  # fmt: skip
_OPERATORS = {"==", "!=", "<", ">", "<=", ">="}
_VERDICTS = {"accept", "drop", "continue", "return"}
_ENDS = _VERDICTS | {"jump", "goto", "reject", "queue", "vmap"}


def parse(text: str) -> Ruleset | None:
    """The rules in what nft printed; None if it is not that. Never raises."""
    lines = [_without_handle(line.strip()) for line in text.splitlines()]
    shown = (line for line in lines if line and not line.startswith("#"))  # iptables-nft's warnings
    if not _TABLE.match(next(shown, "")):
        return None
    return build(list(_objects(lines)))


def _without_handle(line: str) -> str:
    """The line without what `nft -a` adds to it: `# handle 12`."""
    before, mark, handle = line.rpartition("# handle ")
    return before.rstrip() if mark and handle.isdecimal() else line


def _objects(lines: list[str]) -> Iterator[dict[str, Any]]:
    """What is listed, as nft's JSON would have it. Sets and maps are left out."""
    place: dict[str, str] = {}
    chain = ""
    depth = 0
    for line in filter(None, lines):
        if depth == 0:
            if found := _TABLE.match(line):
                place = {"family": found[1], "table": found[2]}
        elif depth == 1:
            if line.startswith("flags") and "dormant" in line:
                yield {"table": {**place, "name": place["table"], "flags": ["dormant"]}}
            if found := _CHAIN.match(line):
                chain = found[1]
                yield {"chain": {**place, "name": chain}}
        elif depth == 2 and chain:
            if found := _BASE.match(line[:MAX_HEAD]):
                yield {"chain": {**place, "name": chain, **_base(found)}}
            elif line != "}":
                yield {"rule": {**place, "chain": chain, "expr": list(_Line(line).statements())}}
        depth += _opened(line)
        if depth <= 1:
            chain = ""


def _opened(line: str) -> int:
    """How many more braces the line opens than it closes, outside quotes."""
    bare = re.sub(r'"[^"]*"', "", line)
    return bare.count("{") - bare.count("}")


def _base(found: re.Match[str]) -> dict[str, Any]:
    return {
        "type": found[1],
        "hook": found[2],
        "prio": _priority(found[3].split()),
        "policy": found[4] or "accept",
    }


def _priority(words: list[str]) -> int:
    """`0`, `filter`, `mangle + 10`."""
    try:
        base = words[0]
        value = _NAMED_PRIORITIES[base] if base in _NAMED_PRIORITIES else int(base)
        return value + (int(words[1] + words[2]) if len(words) == 3 else 0)
    except (ValueError, IndexError):
        return 0


class _Line:
    """One rule, read word by word."""

    def __init__(self, line: str) -> None:
        self._words = _WORD.findall(line)
        self._next = 0

    def _peek(self) -> str:
        return self._words[self._next] if self._next < len(self._words) else ""

    def _take(self) -> str:
        word = self._peek()
        self._next += 1
        return word

    def statements(self) -> Iterator[dict[str, Any]]:
        """The rule's statements, in the words of nft's JSON."""
        while word := self._take():
            if word in _VERDICTS:
                yield {word: None}
            elif word in ("jump", "goto"):
                yield {word: {"target": self._take()}}
            elif word in ("reject", "queue"):
                yield {word: None}
                return
            elif word in ("counter", "log", "comment"):
                self._skip_options(word)
            elif word == "limit":
                yield self._limit()
            elif word == "#":
                # A match of iptables without a form of its own: "# recent: UPDATE …".
                name = self._take().rstrip(":")
                self._skip_to({"counter", "log"})
                yield {"xt": {"type": "match", "name": name}}
            elif word == "xt":
                yield {"xt": {"type": self._take(), "name": self._take().strip('"')}}
            else:
                yield self._match(word)

    def _skip_options(self, word: str) -> None:
        if word == "comment" or (word == "counter" and self._peek() == "name"):
            self._next += 1 + (word == "counter")
        elif word == "counter":
            while self._peek() in ("packets", "bytes"):
                self._next += 2
        else:
            while (option := self._peek()) in ("prefix", "level", "group", "snaplen", "flags"):
                self._next += 2
                if option == "flags" and self._words[self._next - 1 : self._next] in (
                    ["tcp"],
                    ["ip"],
                ):
                    self._next += 1
                    while self._peek() == ",":
                        self._next += 2

    def _skip_to(self, stops: set[str]) -> None:
        depth = 0
        while word := self._peek():
            if depth == 0 and (word in stops or word in _ENDS):
                return
            depth += (word == "{") - (word == "}")
            self._next += 1

    def _limit(self) -> dict[str, Any]:
        inverted = False
        if self._take() == "rate" and self._peek() == "over":
            inverted = bool(self._take())
        self._next += 1
        if "/" in self._peek():  # "10 mbytes/second"
            self._next += 1
        if self._peek() == "burst":
            self._next += 3
        return {"limit": {"inv": inverted}}

    def _match(self, word: str) -> dict[str, Any]:
        """`left [op] right`, or an opaque condition up to the verdict."""
        left = self._left(word)
        if left is None:
            self._skip_to({"counter", "log"})
            return {"xt": None}
        if self._peek() == "&":
            self._next += 1
            left = {"&": [left, self._right()]}
        if self._peek() == "set":  # `meta mark set 1` changes the packet
            self._next += 1
            self._right()
            return {"mangle": None}
        operator = self._take() if self._peek() in _OPERATORS else ""
        if self._peek() == "vmap":
            self._next += 1
            return {"vmap": {"key": left, "data": self._verdict_map()}}
        right = self._right()
        if self._peek() == "/":  # "tcp flags syn / fin,syn": these, of those
            self._next += 1
            return {"match": {"op": "==", "left": {"&": [left, self._right()]}, "right": right}}
        if operator == "" and left in (_TCP_FLAGS, _CT_STATE, _CT_STATUS):
            operator = "in"
        return {"match": {"op": operator or "==", "left": left, "right": right}}

    def _left(self, word: str) -> dict[str, Any] | None:
        if word in _META_ALONE:
            return {"meta": {"key": word}}
        if word == "meta":
            return {"meta": {"key": self._take()}}
        if word in _HEADERS:
            return {"payload": {"protocol": word, "field": self._take()}}
        if word == "ct":
            return {"ct": {"key": self._take()}}
        if word == "fib":
            flags = [self._take()]
            while self._peek() == ".":
                self._next += 1
                flags.append(self._take())
            return {"fib": {"result": self._take(), "flags": flags}}
        return None

    def _right(self) -> Any:
        """One value, a list, or a set."""
        if self._peek() == "{":
            self._next += 1
            return {"set": self._list("}")}
        values = [self._value()]
        while self._peek() == ",":
            self._next += 1
            values.append(self._value())
        return values[0] if len(values) == 1 else values

    def _list(self, end: str) -> list[Any]:
        found: list[Any] = []
        while (word := self._peek()) and word != end:
            if word == ",":
                self._next += 1
            else:
                found.append(self._value())
        self._next += 1
        return found

    def _value(self) -> Any:
        """One word, or flags: `fin|syn`, `(fin | syn)`."""
        word = self._take()
        while word.endswith("|") or self._peek().startswith("|"):
            word += self._take()
        if "|" in word or word.startswith("("):
            return word.strip("()").split("|")
        return word.strip('"')

    def _verdict_map(self) -> Any:
        if self._peek() != "{":
            return self._take()
        self._next += 1
        pairs: list[Any] = []
        while (word := self._peek()) and word != "}":
            if word == ",":
                self._next += 1
                continue
            key = self._value()
            if self._take() != ":":
                break
            verdict = self._take()
            target = {"target": self._take()} if verdict in ("jump", "goto") else None
            pairs.append([key, {verdict: target}])
        self._next += 1
        return {"set": pairs}


_TCP_FLAGS = {"payload": {"protocol": "tcp", "field": "flags"}}
_CT_STATE = {"ct": {"key": "state"}}
_CT_STATUS = {"ct": {"key": "status"}}
