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


def judge(value: JSON, os_info: JSON = None) -> Verdict:
    report: dict[str, JSON] = {"hd_encryption": {"status": "ok", "value": value}}
    if os_info is not None:
        report["os_info"] = {"status": "ok", "value": os_info}
    client = ClientView(cid="c1", hostname="laptop7", report=report, enrolled_at=NOW)
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
        "Encrypt it: back up, then make it anew in LUKS: sudo cryptsetup luksFormat DEVICE, "
        "with lines in /etc/crypttab and /etc/fstab"
    )
    assert verdict.evidence == {"volumes": [HOME], "count": 1}


@pytest.mark.parametrize(
    ("device", "distribution", "remedy"),
    [
        ("/dev/sda4", "debian", "`cryptswap /dev/sda4 /dev/urandom swap` in /etc/crypttab"),
        ("/dev/sda4", "nixos", '{ device = "/dev/sda4"; randomEncryption.enable = true; }'),
        ("/swapfile", "debian", "sudo swapoff /swapfile"),
        ("/dev/zram0", "fedora", "writeback-device"),
        (None, "debian", "`cryptswap DEVICE /dev/urandom swap`"),
        ("/dev/sda; reboot", "debian", "sudo swapoff DEVICE, "),
        ("/dev/mapper/vg0-swap_1", "debian", "sudo swapoff /dev/mapper/vg0-swap_1, "),
    ],
)
def test_plain_swap_has_a_cheaper_remedy(device: JSON, distribution: str, remedy: str) -> None:
    value = {"state": "not_encrypted", "volumes": [ROOT, {**SWAP, "device": device}]}
    message = judge(value, {"id": distribution}).message
    assert message.startswith("swap is on /dev/sda4, plain. ")
    assert remedy in message
    assert "reinstall" not in message


@pytest.mark.parametrize(
    ("os_info", "words"),
    [
        ({"id": "ubuntu", "id_like": ["debian"]}, "Use LVM and encryption"),
        ({"id": "debian", "id_like": []}, "set up encrypted LVM"),
        ({"id": "zorin", "id_like": ["ubuntu", "debian"]}, "Use LVM and encryption"),
        ({"id": "fedora"}, "Encrypt my data"),
        ({"id": "rocky", "id_like": ["rhel", "centos", "fedora"]}, "Encrypt my data"),
        ({"id": "opensuse-leap", "id_like": ["suse", "opensuse"]}, "Enable Disk Encryption"),
        ({"id": "arch"}, "archinstall"),
        ({"id": "manjaro", "id_like": ["arch"]}, "Encrypt system"),
        ({"id": "nixos"}, "boot.initrd.luks.devices"),
    ],
)
def test_remedy_names_what_the_installer_of_the_distribution_shows(
    os_info: JSON, words: str
) -> None:
    plain = {**HOME, "mount": "/"}
    assert words in judge({"state": "not_encrypted", "volumes": [plain, HOME]}, os_info).message


@pytest.mark.parametrize("os_info", [None, 5, {}, {"id": None, "id_like": "x"}, {"id": "acme"}])
def test_remedy_is_told_without_knowing_the_distribution(os_info: JSON) -> None:
    plain = {**HOME, "mount": "/"}
    message = judge({"state": "not_encrypted", "volumes": [plain]}, os_info).message
    assert message.endswith("back up, then reinstall with disk encryption")


def test_remedy_for_the_disk_of_windows_is_its_own() -> None:
    windows = {**HOME, "mount": "/mnt/windows", "fstype": "ntfs3"}
    message = judge({"state": "not_encrypted", "volumes": [ROOT, windows]}).message
    assert message.endswith("Encrypt it: in Windows, with BitLocker")


def test_remedy_for_zfs_is_another_data_set() -> None:
    message = judge({"state": "not_encrypted", "volumes": [{**HOME, "fstype": "zfs"}]}).message
    assert "zfs create -o encryption=on" in message


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
