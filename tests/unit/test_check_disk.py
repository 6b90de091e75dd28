"""Verdicts on encryption: one test for each row of the table, and nonsense never passes."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, ClientView, Verdict
from qlmdm_plugins_builtin.checks import disk
from qlmdm_plugins_builtin.policy import Policy

NOW = datetime(2026, 11, 3, tzinfo=timezone.utc)
ROOT = {
    "mount": "/",
    "device": "/dev/dm-0",
    "fstype": "ext4",
    "state": "encrypted",
    "chain": ["r (crypt LUKS2)", "sda1 (part)"],
}
BOOT = {"mount": "/boot", "state": "exempt", "reason": "needed to start the machine"}
HOME = {
    "mount": "/home",
    "device": "/dev/sda3",
    "fstype": "ext4",
    "state": "not_encrypted",
    "chain": ["sda3 (part)"],
    "reason": "on /dev/sda3, plain ext4",
}
SWAP = {**HOME, "mount": "swap", "fstype": "swap", "reason": "on /dev/sda4, plain"}


def judge(value: JSON) -> Verdict:
    client = ClientView(
        cid="c1",
        hostname="laptop7",
        report={"hd_encryption": {"status": "ok", "value": value}},
        enrolled_at=NOW,
    )
    (check,) = disk.checks(Policy())
    assert check.needs == ("hd_encryption",)
    return check.judge(client, NOW)


def test_encrypted_and_exempt_volumes_pass() -> None:
    assert judge({"state": "encrypted", "volumes": [ROOT, BOOT]}).state == "pass"


def test_plain_volume_fails_with_evidence_and_what_to_do() -> None:
    verdict = judge({"state": "not_encrypted", "volumes": [ROOT, BOOT, HOME]})
    assert verdict.state == "fail"
    assert verdict.message == (
        "/home is on /dev/sda3, plain ext4. "
        "Encrypt it: back up, then reinstall with disk encryption"
    )
    assert verdict.evidence == {"volumes": [HOME], "count": 1}


def test_plain_swap_has_a_cheaper_remedy() -> None:
    message = judge({"state": "not_encrypted", "volumes": [ROOT, SWAP]}).message
    assert message == (
        "swap is on /dev/sda4, plain. Encrypt it with a random key: option swap in /etc/crypttab"
    )


def test_many_plain_volumes_are_counted() -> None:
    volumes = [{**HOME, "mount": f"/m{number}"} for number in range(5)]
    message = judge({"state": "not_encrypted", "volumes": volumes}).message
    assert "/m2 is on" in message
    assert "/m3 is on" not in message
    assert "; 2 more volumes are plain. Encrypt them" in message


def test_not_encrypted_without_volumes_fails_with_its_reason() -> None:
    verdict = judge({"state": "not_encrypted", "reason": "/ is plain"})
    assert (verdict.state, verdict.message[:11]) == ("fail", "/ is plain.")


@pytest.mark.parametrize("state", ["encrypted", "unknown"])
def test_plain_volume_outweighs_the_state(state: str) -> None:
    assert judge({"state": state, "reason": "x", "volumes": [ROOT, HOME]}).state == "fail"


def test_unknown_is_unknown_with_its_reason() -> None:
    verdict = judge({"state": "unknown", "reason": "it runs from a live medium", "volumes": []})
    assert (verdict.state, verdict.message) == ("unknown", "it runs from a live medium")


@pytest.mark.parametrize(
    "volumes",
    [None, [], [BOOT], [ROOT, {**HOME, "state": "unknown"}], [ROOT, {"mount": "/x"}], [ROOT, 5]],
)
def test_encrypted_without_the_volumes_to_show_it_is_unknown(volumes: JSON) -> None:
    assert judge({"state": "encrypted", "volumes": volumes}).state == "unknown"


@pytest.mark.parametrize(
    "value", [None, [], "encrypted", 1, {}, {"state": "fine"}, {"state": None}]
)
def test_what_is_not_understood_is_unknown(value: JSON) -> None:
    assert judge(value).state == "unknown"


states = ["encrypted", "exempt", "not_encrypted", "x", ["encrypted"], {}]
scalars = st.none() | st.booleans() | st.sampled_from(states)
volumes = st.dictionaries(st.sampled_from(["mount", "state", "reason", "fstype"]), scalars)
values = st.fixed_dictionaries(
    {"state": scalars}, optional={"volumes": st.lists(volumes | scalars), "reason": scalars}
)


@given(values)
def test_any_value_gets_a_verdict_and_passes_only_if_each_volume_does(value: JSON) -> None:
    verdict = judge(value)
    if verdict.state == "pass":
        assert value["state"] == "encrypted"
        assert all(state in ("encrypted", "exempt") for state in _states(value))
        assert "encrypted" in _states(value)
    else:
        assert verdict.message


def _states(value: JSON) -> list[JSON]:
    return [v.get("state") if isinstance(v, dict) else None for v in value.get("volumes", [])]
