"""Hostile bytes that begin as a valid document: what a parser gets to see its depths with.

Random bytes fail at the first character. Here a valid JSON value is taken apart and put
together a little wrong (`json_mutants`), or a valid text loses, doubles and changes a few
bytes (`byte_mutants`).
"""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**53 + 1,
        2**63,
        -(2**63),
        2**64 - 1,
        1.5,
        1e308,
        10**400,
    ),
    *("", "x", "0" * 64, "../..", "/etc/passwd", "a\0b", "\u202e", "é" * 40, "1.7", "0001-01-01"),
    *("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "-----BEGIN PGP PUBLIC KEY BLOCK-----"),
    *([], {}, [[]], {"": {}}, [None] * 40, {"typ": "root"}, ["x", "x"], [1, 2]),
)
TOKENS = (
    *(b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud800", b"NaN", b"1e999"),
    *(b"\0", b"\r\n", b"\r\n\r\n", b"--", b"=", b"&", b"%", b"%00", b"\xff", b"\xc3", b"-"),
    *(
        b"[" * 200,
        b"[" * 5000,
        b"{" * 40,
        b"9" * 400,
        b" " * 300,
        b"../",
        b"<<: *a\n",
        b"&a [*a]",
        b"\t",
    ),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, part in value.items():
            found += _places(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value[:30]):
            found += _places(part, (*path, index))
    return found


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


@st.composite
def json_mutants(draw: st.DrawFn, seed: Any) -> Any:
    """A value with one to four of its parts replaced, taken away, doubled or exchanged."""
    value = copy.deepcopy(seed)
    for _ in range(draw(st.integers(1, 4))):
        places = [path for path in _places(value) if path]
        if not places:
            return value
        path = draw(st.sampled_from(places))
        parent, key = _at(value, path[:-1]), path[-1]
        way = draw(st.sampled_from(("odd", "odd", "gone", "twice", "swap", "text", "number")))
        if way == "odd":
            parent[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif way == "gone":
            del parent[key]
        elif way == "twice":
            extra = draw(st.text(max_size=6)) if isinstance(parent, dict) else None
            if isinstance(parent, dict):
                parent[extra] = copy.deepcopy(parent[key])
            else:
                parent.insert(key, copy.deepcopy(parent[key]))
        elif way == "swap":
            parent[key] = copy.deepcopy(_at(value, draw(st.sampled_from(places))))
        elif way == "text":
            parent[key] = draw(st.text(max_size=30))
        else:
            parent[key] = draw(st.integers(-(2**70), 2**70) | st.floats())
    return value


@st.composite
def byte_mutants(draw: st.DrawFn, seed: bytes) -> bytes:
    """Bytes with a few places changed, cut out, doubled, or filled with tokens."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        upto = min(len(data), at + draw(st.integers(0, 40)))
        way = draw(st.sampled_from(("token", "token", "cut", "twice", "end", "byte", "move")))
        if way == "token":
            data[at:upto] = draw(st.sampled_from(TOKENS))
        elif way == "cut":
            del data[at:upto]
        elif way == "twice":
            data[at:at] = data[at:upto]
        elif way == "end":
            del data[at:]
        elif way == "byte":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=3))
        else:
            piece = data[at:upto]
            del data[at:upto]
            to = draw(st.integers(0, len(data)))
            data[to:to] = piece
    return bytes(data)


def json_bytes(seed: Any) -> st.SearchStrategy[bytes]:
    """The text of such values, and of some of them with a few bytes changed."""
    whole = json_mutants(seed).map(_dump)
    return st.one_of(whole, whole, byte_mutants(_dump(seed)), whole.flatmap(byte_mutants))


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode("ascii")
