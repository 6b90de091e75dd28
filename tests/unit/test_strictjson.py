"""Strict JSON: what is refused, that nothing crashes, and that the fast way agrees."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qlmdm_core.server import fastjson
from qlmdm_core.strictjson import JsonError, canonical, parse

LIMIT = 1 << 20
leaves = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


def both(data: bytes) -> tuple[Any, Any]:
    def attempt(function: Any) -> Any:
        try:
            return ("value", function(data, max_bytes=LIMIT))
        except JsonError:
            return ("error", None)

    return attempt(parse), attempt(fastjson.parse)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"c":2,"b":3}}',
        b'{"a":1,"\\u0061":2}',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"[-1e999]",
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'"\\ud800\\ud800"',
        b'"\xed\xa0\x80"',
        b"18446744073709551616",
        b"-9223372036854775809",
        b"1" * 5000,
        b"\xef\xbb\xbf{}",
        b"",
        b"{} {}",
        b"{'a':1}",
        b'"\x01"',
        b"[1,]",
        b"01",
        b"[" * 33 + b"]" * 33,
        b'{"a":' * 33 + b"1" + b"}" * 33,
    ],
)
def test_what_two_readers_might_read_differently_is_refused(text: bytes) -> None:
    assert both(text) == (("error", None), ("error", None))


@pytest.mark.parametrize("text", [b"[" * 100_000, b"[" * 50_000 + b"]" * 50_000, b'{"a":' * 90_000])
def test_a_hundred_thousand_brackets_are_an_error_not_a_crash(text: bytes) -> None:
    assert both(text) == (("error", None), ("error", None))


def test_thirty_two_levels_are_allowed() -> None:
    text = b"[" * 32 + b'"[[[[[[[["' + b"]" * 32
    (kind, value), fast = both(text)
    assert kind == "value"
    assert fast == (kind, value)


def test_brackets_within_strings_do_not_count() -> None:
    text = json.dumps(["[" * 100, 'x"' + "{" * 50, "\\"]).encode()
    assert both(text) == (("value", json.loads(text)),) * 2


def test_an_unclosed_string_full_of_quotes_is_refused_at_once() -> None:
    # With a careless pattern this one takes hours.
    text = b"[" * 40 + b'"' + b'\\"' * 400_000
    assert both(text)[0] == ("error", None)


def test_the_size_is_judged_before_anything_is_parsed() -> None:
    for function in (parse, fastjson.parse):
        with pytest.raises(JsonError, match="more than 10"):
            function(b"[" * 11, max_bytes=10)


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert both(b'"\\ud83d\\ude00"') == (("value", "\U0001f600"),) * 2


@given(st.binary(max_size=200))
@example(b"\\")
@example(b'{"":"\\ud8')
def test_any_bytes_give_a_value_or_json_error_and_both_ways_agree(data: bytes) -> None:
    strict, fast = both(data)
    assert strict == fast


@given(values, st.booleans(), st.booleans())
def test_both_ways_agree_on_json(value: Any, spaced: bool, ascii_only: bool) -> None:
    text = json.dumps(
        value, ensure_ascii=ascii_only, separators=(", ", ": ") if spaced else (",", ":")
    )
    assert both(text.encode()) == (("value", value),) * 2


def test_what_clients_write_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> None:
        raise AssertionError("went the strict way")

    monkeypatch.setattr("qlmdm_core.strictjson.parse", slow)
    value = {"a": [1, 0.5, "é \U0001f600 \x7f \x01 \n \\u00e9"], "b": {"c": None}}
    data = json.dumps(value, separators=(",", ":")).encode()
    assert fastjson.parse(data, max_bytes=LIMIT) == value


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=5))
def test_both_ways_agree_on_duplicates(pairs: list[tuple[str, int]]) -> None:
    text = "{" + ",".join(f'"{key}":{number}' for key, number in pairs) + "}"
    expected = "error" if len({key for key, _ in pairs}) < len(pairs) else "value"
    strict, fast = both(text.encode())
    assert strict == fast
    assert strict[0] == expected


@given(values)
def test_canonical_reads_back_and_is_stable(value: Any) -> None:
    data = canonical(value)
    assert parse(data, max_bytes=len(data)) == value
    assert canonical(parse(data, max_bytes=len(data))) == data


def test_canonical_sorts_and_escapes() -> None:
    assert canonical({"b": 1, "a": ["é", None]}) == b'{"a":["\\u00e9",null],"b":1}'


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, "\ud800", {1: 1, "1": 2}, {"a": {1: 1, "b": 2}}, object(), 2**64, b"x"],
)
def test_canonical_refuses_what_parse_would_refuse(value: object) -> None:
    with pytest.raises(JsonError):
        canonical(value)


def test_canonical_refuses_endless_nesting() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(JsonError):
        canonical(value)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(JsonError):
        canonical(deep)
