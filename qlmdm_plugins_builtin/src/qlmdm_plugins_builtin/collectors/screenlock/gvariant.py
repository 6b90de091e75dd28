"""Reads what gsettings and dconf print: the simple values of GVariant's text format."""

from __future__ import annotations

import re
from dataclasses import dataclass

_INTEGER = re.compile(
    r"(?:(byte|u?int(?:16|32|64)|handle)\s+)?([+-]?(?:0x[0-9A-Fa-f]{1,16}|\d{1,20}))\Z"
)
_TYPES = {"int32": "i", "uint32": "u", "int64": "x", "uint64": "t", "int16": "n", "uint16": "q"}


@dataclass(frozen=True)
class Value:
    """A value with its GVariant type: `b`, `i`, `u`, `s`, …"""

    type: str
    value: bool | int | str


def parse(text: str) -> Value | None:
    """A boolean, integer or string; None for what is none of them.

    An integer without a type is an `i`; the others name theirs: `uint32 300`.
    """
    text = text.strip()
    if text in ("true", "false"):
        return Value("b", text == "true")
    match = _INTEGER.match(text)
    if match:
        kind = _TYPES.get(match[1] or "int32", "y")
        digits = match[2]
        return Value(kind, int(digits, 16 if "x" in digits else 10))
    if len(text) >= 2 and text[0] in "'\"" and text[-1] == text[0]:
        return Value("s", re.sub(r"\\(.)", r"\1", text[1:-1]))
    return None
