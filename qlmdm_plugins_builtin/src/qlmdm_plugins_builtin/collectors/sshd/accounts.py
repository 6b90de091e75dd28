"""Decides which settings hold for somebody who comes in: the Match blocks of sshd_config(5)."""

from __future__ import annotations

import fnmatch
import ipaddress
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qlmdm_plugins_builtin.collectors.sshd.config import Match, Setting

OUTSIDE = "203.0.113.77"
"""An address that is nobody's (RFC 5737): who comes in from outside."""

KEYWORDS = (
    "passwordauthentication",
    "kbdinteractiveauthentication",
    "authenticationmethods",
    "permitrootlogin",
    "permitemptypasswords",
    "usepam",
    "allowusers",
    "denyusers",
)
"""The settings that decide whether a password lets somebody in."""

_MAX_CASES = 256
"""Combinations of blocks in doubt that are tried; more than this, nobody writes."""

_LONGEST_PATTERN = 1023
"""A list with a longer one fits nobody (match.c: match_pattern_list)."""

_PLACES = ("address", "host")


@dataclass(frozen=True)
class Visitor:
    """Somebody who comes in."""

    user: str
    groups: frozenset[str] | None = frozenset()
    """None: not known."""
    from_outside: bool = True
    """From `OUTSIDE`; False: from any address that a Match block may name."""


def holds(match: Match, visitor: Visitor, ports: Iterable[int] = ()) -> bool | None:
    """Whether a Match block is for this visitor; None if that can't be told."""
    results = [_criterion(name, value, visitor, ports) for name, value in match.criteria]
    if False in results or not results:
        return False
    return None if None in results else True


def _criterion(name: str, value: str, visitor: Visitor, ports: Iterable[int]) -> bool | None:
    if name == "all":
        return True
    if name == "invalid-user":
        return False
    if name == "user":
        return in_list(value, visitor.user)
    if name == "group":
        if visitor.groups is None:
            return None
        return any(in_list(value, group) for group in visitor.groups)
    if name in _PLACES:
        return _place(value, visitor)
    if name == "localport":
        known = {str(port) for port in ports}
        return (value in known) if len(known) == 1 or value not in known else None
    return None


def in_list(patterns: str, name: str) -> bool:
    """Whether a name is in a list such as `a*,!ab` (ssh_config(5), PATTERNS)."""
    found = False
    for pattern in patterns.split(","):
        if len(pattern) > _LONGEST_PATTERN:
            return False
        if fnmatch.fnmatchcase(name, pattern.removeprefix("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _place(value: str, visitor: Visitor) -> bool | None:
    patterns = value.split(",")
    if visitor.from_outside:
        refused = any(_covers(p[1:], OUTSIDE) for p in patterns if p.startswith("!"))
        return not refused and any(_covers(p, OUTSIDE) for p in patterns if p[:1] != "!")
    # From some address: yes if there is one that is not this machine's own.
    return None if any(not _is_loopback(p) for p in patterns if p[:1] != "!") else False


def _covers(pattern: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return in_list(pattern, address)


def _is_loopback(pattern: str) -> bool:
    if pattern in ("localhost", "localhost.localdomain", "127.*"):
        return True
    try:
        return ipaddress.ip_network(pattern, strict=False).is_loopback
    except ValueError:
        return False


def cases(
    general: Mapping[str, Sequence[str]],
    settings: Sequence[Setting],
    visitor: Visitor,
    ports: Iterable[int] = (),
) -> list[dict[str, list[str]]]:
    """The settings that may hold for a visitor: one case, or more if a block is in doubt.

    `general` is what holds outside Match blocks. Of the blocks that hold, the first that has
    a keyword decides.
    """
    ports = tuple(ports)
    choices = [
        [(keyword, value) for value in _values(general, settings, keyword, visitor, ports)]
        for keyword in KEYWORDS
    ]
    return [
        {keyword: value for keyword, value in combination if value}
        for combination in itertools.islice(itertools.product(*choices), _MAX_CASES)
    ]


def _values(
    general: Mapping[str, Sequence[str]],
    settings: Sequence[Setting],
    keyword: str,
    visitor: Visitor,
    ports: tuple[int, ...],
) -> list[list[str]]:
    """All values that a keyword may have for the visitor."""
    found: list[list[str]] = []
    for setting in settings:
        if setting.keyword != keyword or not setting.blocks:
            continue
        held = [holds(block, visitor, ports) for block in setting.blocks]
        if False in held:
            continue
        if keyword == "allowusers":
            return [[]]  # whom a block lets in, we do not work out
        found.append([setting.value])
        if None not in held:
            return found
    return [*found, list(general.get(keyword, ()))]


def visitors(settings: Sequence[Setting], ordinary: str) -> list[Visitor]:
    """The people to try the settings with: somebody, and all whom a Match block names."""
    found = [Visitor(ordinary, frozenset({ordinary}))]
    for block in {block: None for setting in settings for block in setting.blocks}:
        for name, value in block.criteria:
            for pattern in value.split(","):
                if pattern.startswith("!") or not pattern:
                    continue
                example = pattern.replace("*", "x").replace("?", "x")
                if name == "user" and example != "root":
                    found.append(Visitor(example, None))
                elif name == "group":
                    found.append(Visitor(ordinary, frozenset({example})))
    return list(dict.fromkeys(found))
