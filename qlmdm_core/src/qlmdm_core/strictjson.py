"""JSON as both sides must read it alike: one meaning for each text, or none at all.

`json.loads` takes what other readers refuse or read otherwise: a key twice, `NaN`, `1e999`,
a lone surrogate, a number that only Python can hold. Whoever signs such a text could make two
programs see two different things. `parse` refuses all of it, and everything nested too deep,
before any recursion starts. `canonical` writes the one form whose hash is compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 32
"""How many arrays and objects may stand within each other, the outermost included."""
MAX_INT, MIN_INT = 2**64 - 1, -(2**63)
"""Whole numbers beyond this do not survive every JSON reader unchanged."""

# A string, also one that nobody closed: it then reaches to the end, so that no text makes
# the search start over and over again.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonError(ValueError):
    """The text is not JSON, or JSON that two readers might understand differently."""


def parse(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> Any:
    """The value of a JSON text in UTF-8. Raises `JsonError`, and never anything else.

    Refused are: more than `max_bytes`, a duplicate key, NaN and infinities (`1e999` too), a
    lone surrogate, a whole number beyond 64 bits, and deeper nesting than `max_depth`.
    """
    if len(data) > max_bytes:
        raise JsonError(f"{len(data)} bytes, more than {max_bytes}")
    check_depth(data, max_depth)
    try:
        text = data.decode("utf-8")
        value = _DECODER.decode(text)
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError, JSONDecodeError
        raise JsonError(str(error)[:200]) from None
    if _SURROGATE_ESCAPE.search(data):
        for string in _strings(value):
            _check_text(string)
    return value


def canonical(value: Any) -> bytes:
    """The one way to write a value: sorted keys, no spaces, ASCII. Raises `JsonError`.

    Only what `parse` takes can be written, so that a hash of these bytes is a hash of
    something that everybody can read back.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise JsonError(str(error)[:200] or "nested too deep") from None
    data = text.encode("ascii")
    parse(data, max_bytes=len(data))
    return data


def check_depth(data: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Raise `JsonError` if arrays and objects are nested deeper than `max_depth`.

    For a text that is no JSON the answer is at least as deep as a parser gets before it
    notices, which is all that keeps it from recursing.
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    depth = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NO_BRACKET):
        if bracket in b"[{":
            depth += 1
            if depth > max_depth:
                raise JsonError(f"nested deeper than {max_depth}")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise JsonError(f"duplicate key {key[:80]!r}")
            seen.add(key)
    return result


def _int(text: str) -> int:
    # Python 3.11+ refuses more than 4300 digits by itself; older versions take minutes.
    if len(text) > 20 or not MIN_INT <= int(text) <= MAX_INT:
        raise JsonError("a whole number beyond 64 bits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if number - number != 0:  # an infinity: the text was too large
        raise JsonError("a number too large")
    return number


def _constant(text: str) -> Any:
    raise JsonError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant
)


def _strings(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise JsonError("a lone surrogate") from None
