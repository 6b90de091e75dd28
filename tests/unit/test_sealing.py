"""What is private leaves a value, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client.isolation import CollectorOutcome, Outcome
from qlmdm_core.client.sealing import SEALED, Choice, Sealer, take_out
from qlmdm_core.errors import KeyringError
from qlmdm_core.signing.interface import PublicKey

KEEPER = PublicKey(fingerprint="A" * 40, armoured="")
SESSIONS = {
    "state": "enabled",
    "sessions": [
        {"user": "ada", "delay": 300, "home": "/home/ada", "active": True},
        {"user": "bob", "delay": None, "home": "/home/bob"},
    ],
    "note": "ada and adam share a machine",
}


def name(value: Any) -> str:
    return f"private:{value}"[:9]


def envelope(data: bytes, keys: Sequence[PublicKey]) -> str:
    """Stands for the encryption, which tests with a real gpg show elsewhere."""
    return json.dumps([sorted(key.fingerprint for key in keys), data.decode()])


def outcome(value: Any, *, status: str = "ok", **how: Any) -> Outcome:
    result = CollectorOutcome(
        name="who", distribution="d", status=status, value=value, started_at=0, seconds=0, **how
    )
    return Outcome(results={"who": result}, names={"who"})


def sealer(**changes: Any) -> Sealer:
    given_: dict[str, Any] = {"cid": "c", "keepers": [KEEPER], "key": lambda: b"k" * 32}
    return Sealer(**{**given_, "encrypt": envelope, **changes})


# --- taking a value apart -----------------------------------------------------------------------


def test_the_parts_that_are_named_are_taken_and_found_again_by_their_pointers() -> None:
    left, taken = take_out(SESSIONS, ["sessions.*.user"], whole=False, pseudonym=name)
    assert taken == {"/sessions/0/user": "ada", "/sessions/1/user": "bob"}
    assert [session["user"] for session in left["sessions"]] == ["private:a", "private:b"]
    assert SESSIONS["sessions"][0]["user"] == "ada", "the value itself is not changed"


def test_a_private_word_is_replaced_wherever_it_stands() -> None:
    left, _ = take_out(SESSIONS, ["sessions.*.user"], whole=False, pseudonym=name)
    assert left["sessions"][0]["home"] == "/home/private:a"
    assert left["note"] == "private:a and adam share a machine"


def test_a_user_named_like_the_state_does_not_change_it() -> None:
    value = {"state": "enabled", "user": "enabled", "reason": "enabled is asleep"}
    left, _ = take_out(value, ["user"], whole=False, pseudonym=name)
    assert left["state"] == "enabled"
    assert left["reason"] == "private:e is asleep"


def test_of_a_value_that_is_private_as_a_whole_only_state_and_reason_are_left() -> None:
    value = {"state": "located", "latitude": 1.5, "a/b": {"c": 1}}
    left, taken = take_out(value, [], whole=True, pseudonym=name)
    assert left == {"state": "located"}
    assert taken == {"/latitude": 1.5, "/a~1b": {"c": 1}}


@pytest.mark.parametrize("path", ["absent", "sessions.7.user", "state.deeper", "sessions.*.none"])
def test_a_path_that_leads_nowhere_takes_nothing(path: str) -> None:
    assert take_out(SESSIONS, [path], whole=False, pseudonym=name) == (SESSIONS, {})


def test_what_names_nobody_stays() -> None:
    value = {"state": "x", "part": {"yes": True, "none": None, "empty": "", "n": 7}}
    left, taken = take_out(value, ["part"], whole=False, pseudonym=name)
    assert left["part"] == {"yes": True, "none": None, "empty": "", "n": "private:7"}
    assert taken == {"/part/n": 7}


NAMES = st.sampled_from(["a", "b", "0", "a/~b", "state", "reason"])
LEAVES = st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["ada", "x", ""])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
PATHS = st.lists(st.sampled_from(["*", "*.*", "*.*.*", "a", "a.*", "b.0", "state"]), max_size=3)


@given(st.dictionaries(NAMES, TREES, max_size=4), PATHS)
def test_whatever_is_taken_out_can_be_put_back(value: dict[str, Any], paths: list[str]) -> None:
    left, taken = take_out(value, paths, whole=False, pseudonym=lambda _: "private:x")
    assert left.get("state") == value.get("state") or isinstance(value["state"], (dict, list))
    for pointer, part in taken.items():
        at: Any = left
        words = [word.replace("~1", "/").replace("~0", "~") for word in pointer.split("/")[1:]]
        for word in words[:-1]:
            at = at[int(word)] if isinstance(at, list) else at[word]
        last: Any = int(words[-1]) if isinstance(at, list) else words[-1]
        assert at[last] == "private:x"
        at[last] = part
    if not any(isinstance(part, str) and len(part) > 1 for part in taken.values()):
        assert left == value


# --- sealing ------------------------------------------------------------------------------------


def test_a_value_is_sealed_to_the_keepers_and_says_whose_it_is() -> None:
    found = outcome({"state": "on", "user": "ada"}, private_paths=("user",))
    plain = sealer().seal(found)
    value = found.results["who"].value
    keys, content = json.loads(value[SEALED])
    assert keys == ["A" * 40]
    assert json.loads(content) == {"cid": "c", "collector": "who", "parts": {"/user": "ada"}}
    assert value["user"].startswith("private:")
    readers, _, was = plain["who"].partition(b"\0")
    assert readers == b"A" * 40, "a value for other readers is another"
    assert json.loads(was) == {"state": "on", "user": "ada"}


def test_the_pseudonym_is_the_same_for_the_same_thing_and_another_on_another_client() -> None:
    values = [outcome({"state": "on", "user": "ada"}, private_paths=("user",)) for _ in range(3)]
    for found, key in zip(values, (b"k", b"k", b"other"), strict=True):
        sealer(key=lambda key=key: key).seal(found)
    here, again, elsewhere = (found.results["who"].value["user"] for found in values)
    assert here == again != elsewhere


def test_without_keepers_parts_are_as_they_are() -> None:
    found = outcome({"state": "on", "user": "ada"}, private_paths=("user",))
    assert sealer(keepers=[]).seal(found) == {}
    assert found.results["who"].value == {"state": "on", "user": "ada"}


def test_while_it_is_not_known_who_the_keepers_are_nobody_can_read_it() -> None:
    found = outcome({"state": "on", "user": "ada"}, private_paths=("user",))
    sealer(keepers=None).seal(found)
    value = found.results["who"].value
    assert value[SEALED] is None
    assert "ada" not in json.dumps(value)


def test_what_has_not_changed_is_not_encrypted_again() -> None:
    calls: list[bytes] = []

    def encrypt(data: bytes, keys: Sequence[PublicKey]) -> str:
        calls.append(data)
        return f"message {len(calls)}"

    kept: dict[str, Any] = {}
    for user in ("ada", "ada", "bob"):
        found = outcome({"state": "on", "user": user}, private_paths=("user",))
        once = sealer(encrypt=encrypt, kept=kept)
        once.seal(found)
        kept = once.kept
    assert len(calls) == 2
    found = outcome({"state": "on", "user": "bob"}, private_paths=("user",))
    other = PublicKey(fingerprint="B" * 40, armoured="")
    sealer(encrypt=encrypt, kept=kept, keepers=[other]).seal(found)
    assert found.results["who"].value[SEALED] == "message 3", "another keeper must be able to read"


def test_what_can_not_be_encrypted_is_not_sent_and_the_failure_is() -> None:
    def fail(data: bytes, keys: Sequence[PublicKey]) -> str:
        raise KeyringError("the key has expired")

    found = outcome({"state": "on", "user": "ada"}, private_paths=("user",))
    sealer(encrypt=fail).seal(found)
    assert found.results["who"].value[SEALED] is None
    assert "ada" not in json.dumps(found.results["who"].value)
    (failure,) = found.failures
    assert (failure.stage, failure.error) == ("seal", "who: the key has expired")


def test_what_a_private_collector_said_when_it_failed_stays_here() -> None:
    found = outcome(None, status="error", error="ada is not here", printed="ada", private=True)
    sealer().seal(found)
    failed = found.results["who"]
    assert "ada" not in failed.error + failed.printed
    assert "qlmdm-collect --explain who" in failed.error


def test_settings_make_more_private_and_less() -> None:
    choice = Choice(
        private=("dmidecode.serial", "whole"), not_private=("screenlock.sessions.*.user",)
    )
    assert choice.paths("dmidecode", ["uuid"]) == ("uuid", "serial")
    assert choice.paths("screenlock", ["sessions.*.user"]) == ()
    assert choice.is_private("whole", declared=False)
    assert not choice.is_private("dmidecode", declared=False)
    assert choice.is_private("geolocation", declared=True)
