"""Merging records, finding differences, flat facts, hashes: for any JSON there is."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.errors import StoreCorruptError
from qlmdm_core.store import codec, merge, results
from qlmdm_core.store.diff import MAX_DEPTH, differing_paths
from qlmdm_core.store.records import (
    Accepted,
    Behind,
    CollectorResult,
    NotAllowed,
    Repeated,
    Submission,
)
from qlmdm_core.testing.store_contract import samples

NOW = samples.NOW

text = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)
times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(timezone.utc))


def snapshot(**changes: Any) -> merge.Snapshot:
    known: dict[str, Any] = {
        "fingerprint": "FPRc1",
        "status": "active",
        "version": 4,
        "seq": 10,
        "recent": b"",
        "times": b"",
        "hostname": "host-c1",
        "release": None,
        "flags": {},
        "last_seen_at": None,
        "reported_at": None,
    }
    return merge.Snapshot(**{**known, **changes})


class Client:
    """A client as an engine would keep it, to merge records into."""

    def __init__(self) -> None:
        self.snapshot = snapshot(seq=0, version=0)
        self.report, self.facts = b"{}", b"{}"
        self.reads = 0

    def read(self) -> tuple[bytes, bytes]:
        self.reads += 1
        return self.report, self.facts

    def send(self, submission: Submission) -> merge.Merged:
        assert merge.refusal(self.snapshot, submission) is None
        merged = merge.merge(self.snapshot, submission, self.read)
        if merged.report is not None and merged.facts is not None:
            self.report, self.facts = merged.report, merged.facts
        self.snapshot = snapshot(
            version=merged.version,
            seq=submission.seq,
            recent=merged.recent,
            times=merged.times,
            flags=merged.flags,
            last_seen_at=merged.last_seen_at,
            reported_at=merged.accepted.accepted_at,
        )
        return merged


# --- who may ------------------------------------------------------------------------------------


def test_refusals_come_in_the_order_that_tells_a_stranger_least() -> None:
    sent = samples.submission("c1", 10)
    known = merge.merge(snapshot(seq=9), sent, lambda: (b"{}", b"{}")).recent
    for found, expected in (
        (None, NotAllowed(reason="no such client")),
        (snapshot(fingerprint="x", recent=known), NotAllowed),
        (snapshot(status="revoked", recent=known), NotAllowed),
        (snapshot(recent=known), Repeated(accepted_at=samples.KEPT)),
        (snapshot(), Behind(last_seq=10)),
        (snapshot(seq=9), None),
    ):
        outcome = merge.refusal(found, sent)
        assert outcome == expected or type(outcome) is expected


@given(st.lists(text, max_size=100, unique=True), times)
def test_the_last_64_ids_are_known_with_their_times(rids: list[str], at: datetime) -> None:
    client = Client()
    for seq, rid in enumerate(rids, 1):
        client.send(samples.submission("c1", seq, {}, rid=f"r{rid}", at=at))
    for age, rid in enumerate(reversed(rids)):
        asked = samples.submission("c1", 1000, {}, rid=f"r{rid}")
        outcome = merge.refusal(client.snapshot, asked)
        expected = Repeated(accepted_at=codec.truncated(at)) if age < merge.RECENT else None
        assert outcome == expected
    assert len(client.snapshot.recent) <= merge.RECENT * 24


# --- merging ------------------------------------------------------------------------------------


@given(values, values)
def test_a_report_holds_the_last_value_and_a_change_says_what_it_was(old: Any, new: Any) -> None:
    client = Client()
    first = client.send(samples.submission("c1", 1, {"a": samples.result(old)}))
    second = client.send(samples.submission("c1", 2, {"a": samples.result(new)}))
    assert first.accepted == Accepted(accepted_at=samples.KEPT, changed=True)
    differ = results.value_sha256(old) != results.value_sha256(new)
    assert second.accepted.changed is differ
    assert (second.report is not None) is differ
    # Integers beyond 64 bits come back as floats; everything else as it was.
    kept = merge.load_report(client.report, client.snapshot.times)["a"]["value"]
    assert kept == orjson.loads(codec.dumps(new))
    if differ:
        (change,) = second.changes
        assert change.paths
        body = codec.dump_change(change)
        loaded = codec.load_change(
            body,
            change_id=change.change_id,
            cid=change.cid,
            collector=change.collector,
            changed_at=change.changed_at,
        )
        assert (loaded.old_sha256, loaded.new_sha256) == (change.old_sha256, change.new_sha256)
        assert loaded.paths == change.paths
        assert loaded.new == kept


def test_nothing_new_reads_no_report() -> None:
    client = Client()
    client.send(samples.submission("c1", 1))
    assert client.reads == 1
    merged = client.send(samples.submission("c1", 2, at=NOW + timedelta(minutes=5)))
    assert client.reads == 1
    assert not merged.dirty
    assert merged.times_newer
    assert merged.report is merged.facts is None
    assert merged.changes == ()


def test_times_are_put_into_the_report_without_changing_what_was_parsed() -> None:
    client = Client()
    client.send(samples.submission("c1", 1))
    later = NOW + timedelta(minutes=5)
    client.send(samples.submission("c1", 2, at=later))
    stored = orjson.loads(client.report)["os_info"]
    loaded = merge.load_report(client.report, client.snapshot.times)["os_info"]
    assert loaded == {**stored, "collected_at": later.isoformat()}
    assert merge.load_report(client.report)["os_info"] == stored


@pytest.mark.parametrize(
    ("first", "second", "woken"),
    [
        ("2025-03-04T05:00:00+00:00", "2025-03-04T05:59:59+00:00", False),
        ("2025-03-04T05:00:00Z", "2025-03-04T11:00:00Z", True),
        ("2025-03-04T05:00:00Z", "2025-03-04T10:59:59Z", False),
        ("2025-03-04T05:00:00Z", "", True),
        ("yesterday", "today", True),
        ("2025-03-04T05:00:00", "2025-03-04T06:00:00+00:00", True),
    ],
)
def test_a_value_renewed_after_long_makes_the_client_due(
    first: str, second: str, woken: bool
) -> None:
    client = Client()
    for seq, at in enumerate((first, second), 1):
        result = CollectorResult(status="ok", value={"x": 1}, collected_at=at)
        merged = client.send(samples.submission("c1", seq, {"a": result}))
    assert merged.dirty is woken


def test_a_hash_that_the_sender_left_out_is_made() -> None:
    client = Client()
    client.send(samples.submission("c1", 1, {"a": CollectorResult(status="ok", value=1)}))
    entry = orjson.loads(client.report)["a"]
    assert entry["value_sha256"] == results.value_sha256(1)


def test_a_damaged_report_is_corrupt_and_not_overwritten() -> None:
    client = Client()
    client.report = b"{"
    with pytest.raises(StoreCorruptError, match="client c1"):
        client.send(samples.submission("c1", 1))


def test_a_private_value_that_becomes_public_is_still_not_shown() -> None:
    client = Client()
    client.send(samples.submission("c1", 1, {"a": samples.result("secret", private=True)}))
    merged = client.send(samples.submission("c1", 2, {"a": samples.result("public")}))
    (change,) = merged.changes
    assert (change.old, change.new, change.paths) == (None, None, ())


class ApartClient(Client):
    """A client whose entries are kept apart, as SQLite does."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[int, bytes] = {}

    def send(self, submission: Submission) -> merge.Merged:
        merged = merge.merge_entries(
            self.snapshot, submission, self.entries.__getitem__, lambda: self.facts
        )
        self.entries.update(merged.entries)
        self.facts = merged.facts or self.facts
        self.snapshot = snapshot(
            version=merged.version, seq=submission.seq, recent=merged.recent, times=merged.times
        )
        return merged

    def whole(self) -> bytes:
        return b"{" + b",".join(self.entries[place] for place in sorted(self.entries)) + b"}"


records = st.dictionaries(text, st.integers(0, 2) | values, max_size=4)


@given(st.lists(records, max_size=8))
def test_entries_kept_apart_make_the_same_report(sent: list[dict[str, Any]]) -> None:
    whole, apart = Client(), ApartClient()
    for seq, record in enumerate(sent, 1):
        at = NOW + timedelta(minutes=seq)
        collectors = {
            name: samples.failure("no", at=at) if value == 2 else samples.result(value, at=at)
            for name, value in record.items()
        }
        one = whole.send(samples.submission("c1", seq, collectors, at=at))
        other = apart.send(samples.submission("c1", seq, collectors, at=at))
        assert one.accepted == other.accepted
        assert [c.change_id for c in one.changes] == [c.change_id for c in other.changes]
        assert merge.load_report(whole.report, whole.snapshot.times) == merge.load_report(
            apart.whole(), apart.snapshot.times
        )
        assert codec.loads(whole.facts) == codec.loads(apart.facts)


@pytest.mark.parametrize("number", [0, 2**64])
def test_what_is_no_number_of_json_is_null_beside_any_number(number: int) -> None:
    """(Clients can't send it: a plugin's code on the server might.)"""
    value = {"a": [number, float("inf")], "b": float("nan")}
    found = codec.loads(codec.dumps(value))
    assert (found["a"][1], found["b"]) == (None, None)


# --- differences --------------------------------------------------------------------------------


def at_pointer(value: Any, pointer: str) -> Any:
    """What an RFC 6901 pointer leads to; raises LookupError if nothing is there."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def same(left: Any, right: Any) -> bool:
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@given(values, values)
def test_each_path_leads_to_a_difference(old: Any, new: Any) -> None:
    paths = differing_paths(old, new)
    for path in paths:
        found = []
        for value in (old, new):
            try:
                found.append(at_pointer(value, path))
            except LookupError:
                found.append(object)
        assert object in found or not same(*found)
    if old != new:
        assert paths


@given(values)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert differing_paths(value, copy.deepcopy(value)) == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1, 2, ("",)),
        (None, {}, ("",)),
        (1, True, ("",)),
        (1, 1.0, ("",)),
        (0.0, -0.0, ("",)),
        ({"a": 1}, {"a": True}, ("/a",)),
        ({}, {"": 1}, ("/",)),
        ({"~/": 1}, {"~/": 2}, ("/~0~1",)),
        ([1, 2, 3], [1, 3], ("/1", "/2")),
        ({"b": 1, "a": [0]}, {"a": [{}], "c": 1}, ("/a/0", "/b", "/c")),
    ],
)
def test_paths_are_json_pointers(old: Any, new: Any, expected: tuple[str, ...]) -> None:
    assert differing_paths(old, new) == expected


def test_paths_are_capped_in_number_and_depth() -> None:
    assert len(differing_paths(list(range(1000)), list(range(1, 1001)))) == 64
    deep: Any = 1
    other: Any = 2
    for _ in range(200):
        deep, other = [deep], [other]
    (path,) = differing_paths(deep, other)
    assert path.count("/") == MAX_DEPTH


# --- facts, hashes, times -----------------------------------------------------------------------


@given(st.dictionaries(text, values, max_size=50), text)
def test_flat_facts_are_few_short_and_plain(value: dict[str, Any], name: str) -> None:
    facts = results.flat_facts({name: samples.result(value), "ok": samples.result(value)})
    assert len(facts) <= 64
    for key, fact in facts.items():
        assert key.isascii()
        assert "\0" not in key
        assert not isinstance(fact, (dict, list))
        if isinstance(fact, str):
            assert len(fact) <= 200
            assert "\0" not in fact


def test_flat_facts_of_what_is_not_plain_are_none() -> None:
    long = "x" * 1000
    collectors = {
        "os_info": samples.result({"id": "arch", "$set": 1, "a.b": 2, "nul\0": 3, "": 4, "l": []}),
        "long": samples.result({"text": long, long: 1}),
        "many": samples.result({f"f{n}": n for n in range(100)}),
        "geolocation": samples.result({"state": "located"}, private=True),
        "failed": samples.failure("no"),
        "scalar": samples.result("text"),
        "odd.name": samples.result({"x": 1}),
    }
    facts = results.flat_facts(collectors)
    assert facts.pop("os_info.id") == "arch"
    assert facts.pop("long.text") == "x" * 200
    assert len(facts) == 32
    assert all(name.startswith("many.") for name in facts)


@given(st.dictionaries(text, values, max_size=6))
def test_a_hash_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    turned = dict(reversed(list(value.items())))
    assert results.value_sha256(turned) == results.value_sha256(value)
    assert results.value_sha256({**value, "one more": 1}) != results.value_sha256(value)


def test_a_hash_is_of_canonical_json() -> None:
    import hashlib

    plain = b'{"a":[1,null],"b":"\xc3\xa9"}'
    assert results.value_sha256({"b": "é", "a": [1, None]}) == hashlib.sha256(plain).hexdigest()


@given(times)
def test_times_are_kept_to_the_millisecond(at: datetime) -> None:
    kept = codec.truncated(at)
    assert kept <= at
    assert at - kept < timedelta(milliseconds=1)
    assert codec.from_ms(codec.to_ms(kept)) == kept
    assert datetime.fromisoformat(codec.iso(at)) == kept
    elsewhere = at.astimezone(timezone(timedelta(hours=-9, minutes=-30))) if at.year > 1970 else at
    assert codec.truncated(elsewhere) == kept
    assert codec.truncated(elsewhere).tzinfo is timezone.utc
