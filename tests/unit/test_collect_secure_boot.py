"""The collector of Secure Boot: UEFI and its variables, BIOS, boards, containers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import secure_boot
from qlmdm_plugins_builtin.collectors.secure_boot import (
    parse_lockdown,
    parse_mokutil,
    parse_variable,
)

VARS = "/sys/firmware/efi/efivars"
SECURE_BOOT = f"{VARS}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SETUP_MODE = f"{VARS}/SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM = f"{VARS}/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
MOKUTIL = ["mokutil", "--sb-state"]


def uefi(
    path: Path, secure: int = 1, *, setup: int = 0, shim: int | None = None
) -> RecordedMachine:
    """A machine that UEFI started, with these variables."""
    built = RecordedMachine(path).command(["systemd-detect-virt"], "none\n", returncode=1)
    built.file(SECURE_BOOT, bytes((6, 0, 0, 0, secure)))
    built.file(SETUP_MODE, bytes((6, 0, 0, 0, setup)))
    if shim is not None:
        built.file(SHIM, bytes((6, 0, 0, 0, shim)))
    return built


def collect(built: RecordedMachine) -> JSON:
    value = secure_boot.collect(built.host())
    assert json.loads(json.dumps(value)) == value
    assert value["state"] == "enabled" or value["reason"]
    return value


def test_a_machine_that_starts_only_what_is_signed(tmp_path: Path) -> None:
    built = uefi(tmp_path).command(MOKUTIL, "SecureBoot enabled\n")
    built.file("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    assert collect(built) == {
        "state": "enabled",
        "firmware": "uefi",
        "secure_boot": True,
        "setup_mode": False,
        "shim_validates": None,
        "lockdown": "integrity",
    }


@pytest.mark.parametrize(
    ("secure", "setup", "shim", "state", "reason"),
    [
        (1, 0, 0, "enabled", ""),
        (0, 0, None, "disabled", "turned off"),
        (0, 1, None, "disabled", "turned off"),
        (1, 1, None, "disabled", "setup mode"),
        (1, 0, 1, "disabled", "shim"),
        (7, 0, None, "unknown", "not understood"),
    ],
)
def test_the_variables_decide(
    tmp_path: Path, secure: int, setup: int, shim: int | None, state: str, reason: str
) -> None:
    value = collect(uefi(tmp_path, secure, setup=setup, shim=shim))
    assert value["state"] == state
    assert reason in value.get("reason", "")


def test_mokutil_answers_where_the_variables_are_not_mounted(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).directory("/sys/firmware/efi")
    built.command(MOKUTIL, "SecureBoot enabled\nSecureBoot validation is disabled in shim\n")
    value = collect(built)
    assert (value["state"], value["shim_validates"]) == ("disabled", False)


def test_what_only_mokutil_knows_of_shim_counts(tmp_path: Path) -> None:
    built = uefi(tmp_path).unreadable(SHIM).file(SHIM, "")
    built.command(MOKUTIL, "SecureBoot enabled\nSecureBoot validation is disabled in shim\n")
    value = collect(built)
    assert (value["state"], value["shim_validates"]) == ("disabled", False)


def test_without_variables_and_mokutil_it_is_unknown(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).directory("/sys/firmware/efi")
    assert "not mounted" in collect(built)["reason"]
    built.command(MOKUTIL, "", stderr="EFI variables are not supported on this system\n")
    assert collect(built)["state"] == "unknown"


def test_a_variable_that_is_refused_is_unknown(tmp_path: Path) -> None:
    value = collect(uefi(tmp_path).unreadable(SECURE_BOOT))
    assert (value["state"], value["secure_boot"]) == ("unknown", None)


def test_sources_that_contradict_each_other_are_unknown(tmp_path: Path) -> None:
    value = collect(uefi(tmp_path).command(MOKUTIL, "SecureBoot disabled\n"))
    assert "contradict" in value["reason"]


def test_a_firmware_without_the_variable_has_no_secure_boot(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).file(f"{VARS}/Boot0000-{secure_boot._GLOBAL}", "x")
    assert collect(built)["state"] == "not_available"


@pytest.mark.parametrize(
    ("paths", "state", "firmware"),
    [
        ({"/sys/firmware/acpi/pm_profile": "1"}, "not_available", "bios"),
        ({"/sys/firmware/devicetree/base/model": "Pi"}, "not_available", "devicetree"),
        ({"/sys/firmware/ipl/secure": "1"}, "unknown", "ipl"),
        ({"/sys/firmware/acpi/pm_profile": "1", "/proc/cmdline": "ro noefi"}, "unknown", None),
        (
            {"/sys/firmware/acpi/pm_profile": "1", "/proc/xen/capabilities": "control_d\n"},
            "unknown",
            None,
        ),
        ({"/etc/hostname": "x"}, "unknown", None),
    ],
)
def test_a_machine_that_was_not_started_by_uefi(
    tmp_path: Path, paths: dict[str, str], state: str, firmware: str | None
) -> None:
    built = RecordedMachine(tmp_path)
    for path, content in paths.items():
        built.file(path, content)
    value = collect(built)
    assert (value["state"], value.get("firmware")) == (state, firmware)


def test_a_container_has_no_firmware_of_its_own(tmp_path: Path) -> None:
    built = uefi(tmp_path).file("/run/systemd/container", "lxc\n")
    assert "container (lxc)" in collect(built)["reason"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SecureBoot enabled\n", (True, None, None)),
        ("SecureBoot disabled\nPlatform is in Setup Mode\n", (False, True, None)),
        ("Cannot determine secure boot state.\n", (None, None, None)),
        ("This system doesn't support Secure Boot\n", (None, None, None)),
    ],
)
def test_what_mokutil_says(text: str, found: tuple[bool | None, ...]) -> None:
    answer = parse_mokutil(text)
    assert (answer.secure_boot, answer.setup_mode, answer.shim_validates) == found


@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(
            st.sampled_from(["SecureBoot enabled", "SecureBoot disabled", "[none]", "\0" * 5])
        ).map("\n".join),
    )
)
def test_no_text_breaks_a_parser(text: str) -> None:
    assert parse_mokutil(text).secure_boot in (True, False, None)
    assert parse_variable(text) in (True, False, None)
    assert parse_lockdown(text) in ("none", "integrity", "confidentiality", None)
