"""Parts of the server that stand alone: forms, rate limits, addresses, logs, clones."""

from __future__ import annotations

import json
import logging
import sys
from urllib.parse import urlencode

import falcon
import pytest
from falcon import testing
from hypothesis import example, given
from hypothesis import strategies as st

from qlmdm_core.envelope import Envelope
from qlmdm_core.server import logs
from qlmdm_core.server.clones import BEHIND_LIMIT, CloneWatch
from qlmdm_core.server.forms import Form, parse_multipart, parse_urlencoded
from qlmdm_core.server.limits import Buckets
from qlmdm_core.server.refusals import Forbidden, TooMany
from qlmdm_core.server.report import MalformedError, check_report
from qlmdm_core.server.urls import Addresses, DeprecatedUrls
from qlmdm_core.store.records import ClientKey
from qlmdm_core.testing.client import multipart

# --- forms ---------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_any_bytes_in_multipart_come_out_as_they_went_in(data: bytes, signature: bytes) -> None:
    body, content_type = multipart(data, signature)
    boundary = content_type.partition("boundary=")[2].encode()
    assert parse_multipart(body, boundary) == Form(data, signature)


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_in_an_urlencoded_form_comes_out_as_it_went_in(data: str, signature: str) -> None:
    body = urlencode({"data": data, "signature": signature}, errors="surrogatepass")
    try:
        expected = Form(data.encode(), signature.encode())
    except UnicodeEncodeError:
        return  # what is not UTF-8 comes out changed, and then fails the signature
    assert parse_urlencoded(body.encode()) == expected


@given(st.binary(max_size=200))
@example(b"\r\n--b--")
@example(b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n\r\n--b--')
def test_any_body_is_a_form_or_forbidden(body: bytes) -> None:
    for parse in (parse_urlencoded, lambda data: parse_multipart(data, b"b")):
        try:
            assert isinstance(parse(body), Form)
        except Forbidden:
            continue


# --- reports ---------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)


@given(JSON, st.dictionaries(st.sampled_from(["status", "value", "error", "seconds"]), JSON))
def test_any_json_is_a_report_or_malformed(value: object, result: dict[str, object]) -> None:
    for report in (value, {"hostname": "h", "collectors": {"x": result}}):
        try:
            assert check_report(report).hostname
        except MalformedError:
            continue


# --- rate limits ------------------------------------------------------------------------------


def test_a_bucket_fills_again_and_each_name_has_its_own() -> None:
    now = [0.0]
    buckets = Buckets(60, clock=lambda: now[0])
    for _ in range(60):
        buckets.take("a")
    with pytest.raises(TooMany) as caught:
        buckets.take("a")
    assert 0 < caught.value.retry_after <= 1
    buckets.take("b")
    now[0] += 1
    buckets.take("a")
    with pytest.raises(TooMany):
        buckets.take("a")
    now[0] -= 100  # a clock that goes back gives nothing
    with pytest.raises(TooMany):
        buckets.take("a")


def test_the_memory_of_buckets_is_bounded() -> None:
    buckets = Buckets(1, clock=lambda: 0.0, names=3)
    for name in "abcd":
        buckets.take(name)
    buckets.take("a")  # forgotten, so it may again
    with pytest.raises(TooMany):
        buckets.take("d")


# --- addresses ---------------------------------------------------------------------------------


def request(remote: str, **headers: str) -> falcon.Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return falcon.Request(testing.create_environ(headers=named, remote_addr=remote))


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "9.9.9.9, 1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "9.9.9.9, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "nonsense"),
    ],
)
def test_only_trusted_proxies_are_believed(remote: str, forwarded: str, expected: str) -> None:
    addresses = Addresses(("10.0.0.0/8",))
    assert addresses.remote(request(remote, X_Forwarded_For=forwarded)) == expected
    assert Addresses(()).remote(request(remote, X_Forwarded_For=forwarded)) == remote


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_network_counts_as_one_neighbour(remote: str, expected: str) -> None:
    assert Addresses(()).neighbourhood(request(remote)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("old.example.com:8080", "http://old.example.com:8080"),
        ("OLD.example.com:8080", "http://old.example.com:8080"),
        ("old.example.com", None),
        ("older.example.com", "http://older.example.com/"),
        ("older.example.com:80", "http://older.example.com/"),
        ("new.example.com:8080", None),
        ("old.example.com:99999999", None),
        ("[::1", None),
    ],
)
def test_deprecated_addresses_are_recognised(host: str, expected: str | None) -> None:
    urls = DeprecatedUrls(("http://old.example.com:8080", "http://older.example.com/"))
    assert urls.match(request("1.1.1.1", Host=host)) == expected
    assert DeprecatedUrls(()).match(request("1.1.1.1", Host=host)) is None


# --- logs ----------------------------------------------------------------------------------------


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": message, **extra})
    made.created = 1_700_000_000.5
    return made


def test_both_styles_carry_the_request_id() -> None:
    entry = record("hello", request_id="abc")
    plain = logs.PlainFormatter().format(entry)
    assert plain == "2023-11-14T22:13:20.500+00:00 INFO n: hello [request_id=abc]"
    assert json.loads(logs.JsonFormatter().format(entry)) == {
        "at": "2023-11-14T22:13:20.500+00:00",
        "level": "info",
        "logger": "n",
        "message": "hello",
        "request_id": "abc",
    }


def test_what_was_sent_can_not_forge_a_line() -> None:
    entry = record("host \n2023 ERROR \x1b[2Jforged")
    for formatter in (logs.PlainFormatter(), logs.JsonFormatter()):
        line = formatter.format(entry)
        assert "\n" not in line
        assert "\x1b" not in line


def test_an_error_of_ours_shows_its_traceback() -> None:
    try:
        raise ValueError("ours")
    except ValueError:
        entry = record("bug", exc_info=sys.exc_info())
    assert "ValueError: ours" in logs.PlainFormatter().format(entry)
    assert "ValueError: ours" in json.loads(logs.JsonFormatter().format(entry))["traceback"]


# --- clones ---------------------------------------------------------------------------------------

KEY = ClientKey(fingerprint="F", cid="c", public_key="", status="active", mid="m")


def sent(boot: str, mid: str = "m") -> Envelope:
    return Envelope(
        typ="submit", srv="s", ep="/", kid="F", mid=mid, boot=boot, nonce="", iat=0, exp=0, cid="c"
    )


def test_falls_of_one_boot_or_long_ago_tell_nothing() -> None:
    watch = CloneWatch()
    for _ in range(BEHIND_LIMIT * 3):
        assert watch.by_counting(sent("a"), KEY, 0.0) is None
    assert watch.by_counting(sent("b"), KEY, 90_000.0) is None


def test_falls_of_two_boots_tell_of_two_machines() -> None:
    watch = CloneWatch()
    found = [watch.by_counting(sent(boot), KEY, 0.0) for boot in "abab"]
    assert [bool(mark) for mark in found] == [False, False, False, True]


def test_another_machine_is_told_at_once_unless_the_first_is_not_known() -> None:
    assert CloneWatch.by_machine(sent("a"), KEY) is None
    assert CloneWatch.by_machine(sent("a", mid="n"), KEY)
    nameless = ClientKey(fingerprint="F", cid="c", public_key="", status="active")
    assert CloneWatch.by_machine(sent("a", mid="n"), nameless) is None
