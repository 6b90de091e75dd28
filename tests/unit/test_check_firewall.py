"""The verdict on a firewall: one test for each row of its table, and the fix for each machine."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, ClientView, Verdict
from qlmdm_plugins_builtin.checks.firewall_mends import mend_firewall
from qlmdm_plugins_builtin.checks.network import judge_firewall

NOW = datetime(2026, 11, 3, tzinfo=timezone.utc)


def judge(value: JSON, os_info: JSON = None) -> Verdict:
    report: dict[str, dict[str, JSON]] = {"firewall": {"status": "ok", "value": value}}
    if os_info is not None:
        report["os_info"] = {"status": "ok", "value": os_info}
    return judge_firewall(
        ClientView(cid="c", hostname="h", report=report, enrolled_at=NOW),
        NOW,
    )


def both(state: str, **more: JSON) -> dict[str, JSON]:
    return {"state": state, "ipv4": state, "ipv6": state, **more}


@pytest.mark.parametrize("value", [None, [], "on", {}, {"state": "closed", "ipv4": "on"}])
def test_what_is_no_value_of_the_collector_is_unknown(value: JSON) -> None:
    verdict = judge(value)
    assert (verdict.state, verdict.message) == (
        "unknown",
        "the value of firewall is not understood",
    )


@pytest.mark.parametrize(
    ("state", "ipv4", "ipv6", "verdict"),
    [
        ("off", "off", "off", "fail"),
        ("off", None, None, "fail"),
        ("off", "on", "unknown", "fail"),
        ("unknown", "unknown", "off", "fail"),
        ("on", "on", "off", "fail"),
        ("unknown", "on", "unknown", "unknown"),
        ("unknown", "on", "on", "unknown"),
        ("on", "on", "on", "pass"),
        ("on", "on", "unknown", "unknown"),
        ("on", None, "on", "unknown"),
    ],
)
def test_both_families_must_be_closed(state: str, ipv4: JSON, ipv6: JSON, verdict: str) -> None:
    assert judge({"state": state, "ipv4": ipv4, "ipv6": ipv6}).state == verdict


def test_an_unknown_state_is_unknown_with_its_reason() -> None:
    assert judge(both("unknown", reason="nft needs root")).message == "nft needs root"


@pytest.mark.parametrize(
    ("os_info", "said"),
    [
        ({"id": "ubuntu", "id_like": ["debian"]}, "sudo apt install ufw && sudo ufw enable"),
        ({"id": "linuxmint", "id_like": ["ubuntu", "debian"]}, "sudo apt install ufw"),
        ({"id": "fedora"}, "sudo dnf install firewalld && sudo systemctl enable --now firewalld"),
        ({"id": "rocky", "id_like": ["rhel", "centos", "fedora"]}, "sudo dnf install firewalld"),
        ({"id": "opensuse-leap", "id_like": "suse opensuse"}, "sudo zypper install firewalld"),
        ({"id": "endeavouros", "id_like": ["arch"]}, "sudo pacman -S --needed ufw"),
        (
            {"id": "manjaro", "id_like": ["arch"]},
            "sudo pacman -S --needed ufw && sudo systemctl enable --now ufw && sudo ufw enable",
        ),
        (
            {"id": "alpine"},
            "doas apk add ufw && doas rc-update add ufw && doas ufw enable",
        ),
        ({"id": "nixos"}, "networking.firewall.enable = true"),
        ({"id": "haiku"}, "Install ufw or firewalld"),
        (None, "Install ufw or firewalld"),
        (["ubuntu"], "Install ufw or firewalld"),
    ],
)
def test_a_machine_without_a_firewall_is_told_how_to_get_one(os_info: JSON, said: str) -> None:
    verdict = judge(both("off"), os_info)
    assert verdict.state == "fail"
    assert said in verdict.message


def test_a_firewall_that_is_there_is_turned_on_and_not_installed() -> None:
    message = judge(both("off", installed=["firewalld"]), {"id": "debian"}).message
    assert message.endswith("Turn it on: sudo systemctl enable --now firewalld")
    message = judge(both("off", installed=["ufw"]), {"id": "arch"}).message
    assert message.endswith("Turn it on: sudo systemctl enable --now ufw && sudo ufw enable")


def test_an_open_zone_is_named() -> None:
    message = judge(both("off", front_end="firewalld", zone="trusted"), {"id": "fedora"}).message
    assert "--set-default-zone=public instead of trusted" in message
    message = judge(both("off", front_end="firewalld", zone="$(x)"), {"id": "fedora"}).message
    assert "--set-default-zone=public instead of the present one" in message
    message = judge(both("off", front_end="firewalld", zone="public"), {"id": "fedora"}).message
    assert message.endswith("sudo firewall-cmd --list-all-zones")


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["on", "off", "ufw", "x"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["state", "ipv4", "ipv6", "front_end", "installed", "zone", "id",
                             "id_like", "evidence", "reason"]),
            inner,
        ),
    ),
)  # fmt: skip


@given(VALUES, VALUES)
def test_no_value_breaks_the_check_or_passes_without_both_families(
    value: JSON, os_info: JSON
) -> None:
    verdict = judge(value, os_info)
    if verdict.state == "pass":
        assert isinstance(value, dict)
        assert (value["state"], value["ipv4"], value["ipv6"]) == ("on", "on", "on")
    if isinstance(value, dict):
        assert mend_firewall(value, ["ipv4"], os_info)
