"""A command's document: it can't be moved to another machine, day or purpose."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import commanddoc
from qlmdm_core.commanddoc import Command, WipeOrder
from qlmdm_core.errors import TrustError
from qlmdm_core.signing.sequoia import SequoiaVerifier
from qlmdm_core.testing.trust import SERVER_ID, Ring, make_ring

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
VERIFIER = SequoiaVerifier()
HASH = "cd" * 32
ORDER = WipeOrder(
    method="erase", machine_id="4c2f" * 8, disk_serials=("S1",), luks_uuids=("a-uuid",)
)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    home = str(tmp_path_factory.mktemp("k") / "h")
    return make_ring(home, ["root", "release", "operator", "operator2", "online", "client"])


def command(**changes: Any) -> Command:
    made = Command(
        server_id=SERVER_ID,
        id="0f" * 16,
        part=1,
        kind="script",
        hosts=("cid-a", "cid-b"),
        issued_at=NOW,
        not_before=NOW,
        expires_at=NOW + timedelta(days=7),
        requested_by="alice",
        payload_sha256=HASH,
        payload_size=12,
    )
    return replace(made, **changes)


def wipe(**changes: Any) -> Command:
    fields = {"kind": "wipe", "hosts": ("cid-a",), "payload_sha256": None, "wipe": ORDER}
    return command(**{**fields, **changes})


def test_what_is_built_is_what_is_read() -> None:
    plain = {"payload_sha256": None, "payload_size": 0}
    for made in (
        command(),
        command(kind="file", path="acme/badge.conf"),
        command(kind="remove", path="acme/badge.conf", **plain),
        command(kind="cancel", cancels="ab" * 16, **plain),
        wipe(),
    ):
        assert commanddoc.parse(commanddoc.build(made)) == made


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "0F" * 16}, "32 hex digits"),
        ({"kind": "install"}, "its kind is one of"),
        ({"hosts": ()}, "for 1 to 256"),
        ({"hosts": tuple(f"c{n:03}" for n in range(257))}, "for 1 to 256"),
        ({"hosts": ("b", "a")}, "in order"),
        ({"hosts": ("a", "a")}, "in order"),
        ({"hosts": ("../a",)}, "named by their ids"),
        ({"expires_at": NOW + timedelta(days=31)}, "30 days"),
        ({"expires_at": NOW}, "30 days"),
        ({"not_before": NOW - timedelta(days=1)}, "30 days"),
        ({"timeout_seconds": 0}, "timeout"),
        ({"timeout_seconds": True}, "a number is missing"),
        ({"output_max_bytes": 1 << 30}, "too much output"),
        ({"interpreter": "sh"}, "absolute path"),
        ({"interpreter": "/bin/sh -x"}, "absolute path"),
        ({"mode": 0o4755}, "mode"),
        ({"payload_sha256": None}, "payload and kind differ"),
        ({"payload_size": commanddoc.MAX_PAYLOAD_BYTES + 1}, "too large"),
        ({"path": "a"}, "path and kind differ"),
        ({"kind": "file", "path": "/etc/shadow"}, "leads elsewhere"),
        ({"kind": "file", "path": "../slots/1.7/lib/x.py"}, "leads elsewhere"),
        ({"kind": "file", "path": "a/../../b"}, "leads elsewhere"),
        ({"kind": "file", "path": ""}, "leads elsewhere"),
        ({"cancels": "ab" * 16}, "cancels and kind differ"),
        ({"wipe": ORDER}, "wipe and kind differ"),
    ],
)
def test_what_no_command_may_say(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(TrustError, match=why):
        commanddoc.build(command(**changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hosts": ("cid-a", "cid-b")}, "for one machine"),
        ({"wipe": None}, "wipe and kind differ"),
        ({"wipe": replace(ORDER, luks_uuids=())}, "erase needs LUKS headers"),
        ({"wipe": replace(ORDER, machine_id="")}, "a machine has names"),
        ({"wipe": WipeOrder(**{**vars(ORDER), "method": "shred"})}, "methods are"),
    ],
)
def test_what_no_wipe_may_say(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(TrustError, match=why):
        commanddoc.build(wipe(**changes))


def test_only_operators_can_sign_one(ring: Ring) -> None:
    root = ring.root(now=NOW)
    text = commanddoc.build(command())
    assert commanddoc.verify(ring.sign(text, "operator"), root, VERIFIER) == command()
    for names in ((), ("client",), ("release",), ("online",), ("root",), ("operator2",)):
        with pytest.raises(TrustError, match="0 of the 1 operator keys"):
            commanddoc.verify(ring.sign(text, *names), root, VERIFIER)


def test_a_wipe_can_ask_for_two_operators(ring: Ring) -> None:
    root = ring.root(now=NOW, operator=("operator", "operator2"), wipe_threshold=2)
    text = commanddoc.build(wipe())
    for names in (("operator",), ("operator", "operator")):
        with pytest.raises(TrustError, match="1 of the 2 operator keys"):
            commanddoc.verify(ring.sign(text, *names), root, VERIFIER)
    assert commanddoc.verify(ring.sign(text, "operator", "operator2"), root, VERIFIER) == wipe()
    # Other commands need one.
    plain = commanddoc.build(command())
    assert commanddoc.verify(ring.sign(plain, "operator2"), root, VERIFIER)


def test_another_servers_command_is_refused(ring: Ring) -> None:
    text = commanddoc.build(command(server_id="fedcba9876543210"))
    with pytest.raises(TrustError, match="another server's"):
        commanddoc.verify(ring.sign(text, "operator"), ring.root(now=NOW), VERIFIER)


def test_a_command_for_others_or_for_another_day_is_not_acceptable(ring: Ring) -> None:
    root = ring.root(now=NOW)
    commanddoc.check_acceptable(command(), root, cid="cid-a", now=NOW)
    for changes, cid, now, why in (
        ({}, "cid-c", NOW, "for other clients"),
        ({}, "cid-a", NOW + timedelta(days=7), "expired at"),
        ({"not_before": NOW + timedelta(hours=1)}, "cid-a", NOW, "not before"),
    ):
        with pytest.raises(TrustError, match=why):
            commanddoc.check_acceptable(command(**changes), root, cid=cid, now=now)
    with pytest.raises(TrustError, match="root document 1 has expired"):
        commanddoc.check_acceptable(command(), replace(root, expires_at=NOW), cid="cid-a", now=NOW)


def test_a_client_that_is_never_to_be_wiped(ring: Ring) -> None:
    root = ring.root(now=NOW, never_wipe=("cid-a",))
    with pytest.raises(TrustError, match="never to be wiped"):
        commanddoc.check_acceptable(wipe(), root, cid="cid-a", now=NOW)
    commanddoc.check_acceptable(command(), root, cid="cid-a", now=NOW)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.sampled_from([command(), wipe()]), st.data())
def test_any_change_of_a_field_gives_a_command_or_trust_error(
    made: Command, data: st.DataObject
) -> None:
    value = json.loads(commanddoc.build(made))
    key = data.draw(st.sampled_from(sorted(value)))
    value[key] = data.draw(JSON_VALUES)
    try:
        read = commanddoc.parse(json.dumps(value))
    except TrustError:
        return
    # What is accepted can be written again, and means the same.
    assert commanddoc.parse(commanddoc.build(read)) == read


def test_what_may_be_taken_later_and_what_is_too_late_are_told_apart(ring: Ring) -> None:
    root = ring.root(now=NOW)
    later = command(not_before=NOW + timedelta(hours=1))
    with pytest.raises(commanddoc.NotYetError):
        commanddoc.check_acceptable(later, root, cid="cid-a", now=NOW)
    with pytest.raises(commanddoc.TooLateError):
        commanddoc.check_acceptable(command(), root, cid="cid-a", now=NOW + timedelta(days=8))
    expired = replace(root, expires_at=NOW)
    with pytest.raises(commanddoc.NotYetError, match="has expired"):
        commanddoc.check_acceptable(command(), expired, cid="cid-a", now=NOW)
