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
OTHER = PublicKey(fingerprint="B" * 40, armoured="")
SESSIONS: dict[str, Any] = {
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
    assert {pointer: part for pointer, part in taken.items() if pointer.endswith("/user")} == {
        "/sessions/0/user": "ada",
        "/sessions/1/user": "bob",
    }
    assert [session["user"] for session in left["sessions"]] == ["private:a", "private:b"]
    assert SESSIONS["sessions"][0]["user"] == "ada", "the value itself is not changed"


def test_a_private_word_is_replaced_wherever_it_stands() -> None:
    left, _ = take_out(SESSIONS, ["sessions.*.user"], whole=False, pseudonym=name)
    assert left["sessions"][0]["home"] == "/home/private:a"
    assert left["note"] == "private:a and adam share a machine"


def words(value: Any, *paths: str) -> str:
    """What is left, as text."""
    return json.dumps(take_out(value, paths, whole=False, pseudonym=name)[0])


@pytest.mark.parametrize(
    ("user", "elsewhere"),
    [
        ("ada", "/home/ada_old"),
        ("ada", "home-ada (crypt LUKS2)"),
        ("ada", "Ada logged out"),
        ("a+b", "/home/a+b/x"),
        ("ACME\\ada", "/home/ada"),
        ("ACME+ada", "/home/ACME/ada"),
        ("ada@corp.example", "/home/corp.example/ada"),
        ("J\u00fcrgen", "/home/j\u00fcrgen"),
    ],
)
def test_a_name_is_found_in_the_ways_in_which_it_is_written(user: str, elsewhere: str) -> None:
    left, _ = take_out({"user": user, "at": elsewhere}, ["user"], whole=False, pseudonym=name)
    short = user.split("\\")[-1].split("+")[-1].split("@")[0]
    assert short.lower() not in left["at"].lower()


def test_a_name_is_found_as_the_key_of_an_object() -> None:
    value = {"user": "ada", "delays": {"ada": 300, "Ada": 5, "bob": 60}}
    left = take_out(value, ["user"], whole=False, pseudonym=name)[0]
    assert "ada" not in json.dumps(left).lower()
    assert left["delays"]["bob"] == 60


@pytest.mark.parametrize(
    "text",
    ["/home/ada", "/var/home/ada/x", "/run/media/ada/STICK", "/media/ada/STICK", "on /home/ada: x"],
)
def test_who_has_a_home_or_a_medium_there_is_private_where_users_are(text: str) -> None:
    value = {"state": "x", "user": None, "mount": text, "chain": ["home-ada (crypt)"]}
    assert "ada" not in words(value, "user")
    assert words(value) == json.dumps(value), "a value that names nobody is as it is"


@pytest.mark.parametrize("text", ["/home", "/media/cdrom", "/home/root", "/homes/ada", "/x/home/a"])
def test_other_places_stay(text: str) -> None:
    assert words({"state": "x", "mount": text}, "user") == words({"state": "x", "mount": text})


def test_root_is_nobodys_name() -> None:
    value = {"state": "x", "users": [{"name": "root", "home": "/root"}, {"name": "ada"}]}
    left, taken = take_out(value, ["users.*.name"], whole=False, pseudonym=name)
    assert left["users"][0] == {"name": "root", "home": "/root"}
    assert taken == {"/users/1/name": "ada"}


def test_a_field_named_sealed_is_sealed_too() -> None:
    value = {"state": "x", "user": "ada", "sealed": "by ada"}
    left, taken = take_out(value, ["user"], whole=False, pseudonym=name)
    assert left == {"state": "x", "user": "private:a"}
    assert taken == {"/user": "ada", "/sealed": "by ada"}


def test_what_is_not_known_of_a_private_value_need_not_be_sealed() -> None:
    value = {"state": "off", "reason": "not turned on", "latitude": None}
    assert take_out(value, [], whole=True, pseudonym=name) == (
        {"state": "off", "reason": "not turned on"},
        {},
    )


def test_a_user_named_like_the_state_does_not_change_it() -> None:
    session = {"state": "enabled", "user": "enabled"}
    value = {"state": "enabled", "sessions": [session], "reason": "enabled is asleep"}
    left, _ = take_out(value, ["sessions.*.user"], whole=False, pseudonym=name)
    assert left["state"] == "enabled"
    assert left["sessions"][0]["state"] == "enabled"
    assert left["reason"] == "private:e is asleep"


def test_of_a_value_that_is_private_as_a_whole_only_state_and_reason_are_left() -> None:
    value = {"state": "located", "latitude": 1.5, "a/b": {"c": 1}}
    left, taken = take_out(value, [], whole=True, pseudonym=name)
    assert left == {"state": "located"}
    assert taken == {"/latitude": 1.5, "/a~1b": {"c": 1}}


@pytest.mark.parametrize("path", ["absent", "parts.7.user", "state.deeper", "parts.*.none"])
def test_a_path_that_leads_nowhere_takes_nothing(path: str) -> None:
    value = {"state": "enabled", "parts": [{"user": "ada", "none": None}]}
    assert take_out(value, [path], whole=False, pseudonym=name) == (value, {})


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
    assert plain["who"].endswith(b'{"state":"on","user":"ada"}')


def test_a_value_for_other_readers_is_another_and_so_is_one_that_nobody_can_read() -> None:
    def fail(data: bytes, keys: Sequence[PublicKey]) -> str:
        raise KeyringError("gpg is not installed")

    renewed = PublicKey(fingerprint=KEEPER.fingerprint, armoured="with another subkey")
    ways: list[dict[str, Any]] = [
        {},
        {"keepers": [KEEPER, OTHER]},
        {"keepers": [renewed]},
        {"encrypt": fail},
        {"keepers": None},
    ]
    plain = {
        sealer(**how).seal(outcome({"state": "on", "user": "ada"}, private_paths=("user",)))["who"]
        for how in ways
    }
    assert len(plain) == len(ways)


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
        raise KeyringError("it has expired")

    found = outcome({"state": "on", "user": "ada"}, private_paths=("user",))
    sealer(encrypt=fail).seal(found)
    assert found.results["who"].value[SEALED] is None
    assert "ada" not in json.dumps(found.results["who"].value)
    (failure,) = found.failures
    assert failure.stage == "seal"
    assert failure.error == f"who: not encrypted to the secret-keeper {'A' * 40} (it has expired)"


def test_one_key_that_has_expired_keeps_nothing_from_the_other_keepers() -> None:
    calls: list[int] = []
    expired = {OTHER.fingerprint}

    def encrypt(data: bytes, keys: Sequence[PublicKey]) -> str:
        calls.append(len(keys))
        if any(key.fingerprint in expired for key in keys):
            raise KeyringError("it has expired")
        return envelope(data, keys)

    kept: dict[str, Any] = {}

    def collect() -> tuple[list[str], list[str]]:
        found = outcome({"state": "on", "user": "ada"}, private_paths=("user",))
        again = sealer(encrypt=encrypt, kept=kept, keepers=[KEEPER, OTHER])
        again.seal(found)
        kept.update(again.kept)
        readers = json.loads(found.results["who"].value[SEALED])[0]
        return readers, [failure.error for failure in found.failures]

    problem = f"who: not encrypted to the secret-keeper {OTHER.fingerprint} (it has expired)"
    assert collect() == ([KEEPER.fingerprint], [problem])
    assert collect() == ([KEEPER.fingerprint], [problem]), "it is told as long as it is so"
    expired.clear()
    assert collect() == ([KEEPER.fingerprint, OTHER.fingerprint], [])
    calls.clear()
    collect()
    assert calls == []


def test_what_a_private_collector_said_when_it_failed_stays_here() -> None:
    found = outcome(None, status="error", error="ada is not here", printed="ada", private=True)
    sealer().seal(found)
    failed = found.results["who"]
    assert "ada" not in failed.error + failed.printed
    assert "qlmdm-collect --explain who" in failed.error


@pytest.mark.parametrize(
    ("status", "error", "left"),
    [
        ("error", "KeyError: 'ada'", "KeyError"),
        ("error", "ValueError: ada (who.py:7 in run)", "ValueError (who.py:7 in run)"),
        ("error", "no such user: ada: who", "it raised an error"),
        ("error", "ada: E: x (w.py:7 in <lambda>)", "it raised an error (w.py:7 in <lambda>)"),
        ("error", "KeyError: 'ada (a.py:1 in ada)'", "KeyError"),
        ("error", "StopIteration", "StopIteration"),
        ("timeout", "it took more than 30 s", "it took more than 30 s"),
    ],
)
def test_what_a_partly_private_collector_raised_is_told_without_its_words(
    status: str, error: str, left: str
) -> None:
    found = outcome(None, status=status, error=error, printed="ada", private_paths=("user",))
    sealer().seal(found)
    assert (found.results["who"].error, found.results["who"].printed) == (left, "")
    found = outcome(None, status=status, error=error, printed="ada", private_paths=("user",))
    sealer(keepers=[]).seal(found)
    assert (found.results["who"].error, found.results["who"].printed) == (error, "ada")


def test_settings_make_more_private_and_less() -> None:
    choice = Choice(
        private=("dmidecode.serial", "whole"), not_private=("screenlock.sessions.*.user",)
    )
    assert choice.paths("dmidecode", ["uuid"]) == ("uuid", "serial")
    assert choice.paths("screenlock", ["sessions.*.user"]) == ()
    assert choice.is_private("whole", declared=False)
    assert not choice.is_private("dmidecode", declared=False)
    assert choice.is_private("geolocation", declared=True)
