"""What the machine is: by sysfs, by dmidecode, by neither; placeholders are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import _dmi, dmidecode

ASK = ["dmidecode", "-t", "0,1,2,3"]
DUMP = """\
# dmidecode 3.5
Getting SMBIOS data from sysfs.
SMBIOS 3.3.0 present.

Handle 0x0010, DMI type 1, 27 bytes
System Information
\tManufacturer: Acme Corp.
\tProduct Name: Feather 14
\tVersion: Feather 14 Gen 2
\tSerial Number: FE4711
\tUUID: 1b2c3d4e-0000-4000-8000-0123456789ab

Handle 0x0011, DMI type 2, 15 bytes
Base Board Information
\tManufacturer: Acme Corp.
\tProduct Name: FB-1
\tSerial Number: Default string
\tFeatures:
\t\tBoard is a hosting board

Handle 0x0012, DMI type 2, 15 bytes
Base Board Information
\tManufacturer: Other Corp.
\tSerial Number: SECOND

Handle 0x0013, DMI type 3, 22 bytes
Chassis Information
\tType: Notebook
\tSerial Number: To Be Filled By O.E.M.

Handle 0x0000, DMI type 0, 26 bytes
BIOS Information
\tVendor: Acme Firmware
\tVersion: 1.42
\tRelease Date: 02/03/2026
"""


def sysfs(machine: RecordedMachine, **files: str) -> RecordedMachine:
    for name, text in files.items():
        machine.file(f"/sys/class/dmi/id/{name}", text + "\n")
    return machine


def full(machine: RecordedMachine) -> RecordedMachine:
    return sysfs(
        machine,
        sys_vendor="Acme Corp.",
        product_name="Feather 14",
        product_version="Feather 14 Gen 2",
        product_serial="FE4711",
        product_uuid="1b2c3d4e-0000-4000-8000-0123456789ab",
        chassis_type="10",
        bios_version="1.42",
    )


def collect(machine: RecordedMachine) -> JSON:
    value = dmidecode.collect(machine.host())
    assert value["state"] in ("available", "not_available", "unknown")
    return value


def test_sysfs_is_enough(tmp_path: Path) -> None:
    value = collect(full(RecordedMachine(tmp_path)))
    expected = {
        "state": "available",
        "manufacturer": "Acme Corp.",
        "product": "Feather 14",
        "version": "Feather 14 Gen 2",
        "serial": "FE4711",
        "uuid": "1b2c3d4e-0000-4000-8000-0123456789ab",
        "chassis": "Notebook",
        "portable": True,
        "bios_version": "1.42",
        "virtual": False,
        "sources": ["sysfs"],
    }
    assert expected.items() <= value.items()


@pytest.mark.parametrize(
    "argv",
    [
        ASK,
        ["dmidecode"],
        ["dmidecode", "-q"],
        ["dmidecode", "-t", "bios,system,baseboard,chassis"],
        ["dmidecode", "-t", "system"],
    ],
)
def test_dmidecode_is_enough(tmp_path: Path, argv: list[str]) -> None:
    text = DUMP
    if "-q" in argv:
        text = "".join(f"{line}\n" for line in DUMP.splitlines() if not line.startswith("Handle"))
    value = collect(RecordedMachine(tmp_path).command(argv, text))
    assert value["state"] == "available"
    assert (value["serial"], value["chassis"], value["portable"]) == ("FE4711", "Notebook", True)
    assert (value["bios_version"], value["board_product"]) == ("1.42", "FB-1")
    assert value["sources"] == ["dmidecode"]


def test_keys_are_told_apart_by_structure_and_the_first_board_counts() -> None:
    found = dmidecode.parse(DUMP)
    assert found["manufacturer"] == found["board_manufacturer"] == "Acme Corp."
    assert "board_serial" not in found
    assert "chassis_serial" not in found


def test_old_layout_with_the_type_on_a_line_of_its_own() -> None:
    text = "Handle 0x0001\n\tDMI type 1, 25 bytes.\n\tSystem Information\n\t\tManufacturer: Acme\n"
    assert dmidecode.parse(text) == {"manufacturer": "Acme"}


def test_dmidecode_by_keyword(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path)
    machine.command(["dmidecode", "-s", "system-manufacturer"], "# SMBIOS 3.9\nAcme\n")
    machine.command(["dmidecode", "-s", "system-serial-number"], "Not Specified\n")
    value = collect(machine)
    assert (value["state"], value["manufacturer"], value["serial"]) == ("available", "Acme", None)


def test_serial_that_sysfs_refuses_comes_from_dmidecode(tmp_path: Path) -> None:
    machine = sysfs(RecordedMachine(tmp_path), sys_vendor="Acme Corp.", product_name="Feather 14")
    machine.unreadable("/sys/class/dmi/id/product_serial").command(ASK, DUMP)
    value = collect(machine)
    assert (value["serial"], value["refused"]) == ("FE4711", [])
    assert value["sources"] == ["sysfs", "dmidecode"]


def test_without_root_the_serial_is_refused_and_the_rest_is_told(tmp_path: Path) -> None:
    machine = sysfs(RecordedMachine(tmp_path, root=False), sys_vendor="Acme", product_name="F")
    for name in ("product_serial", "product_uuid"):
        machine.unreadable(f"/sys/class/dmi/id/{name}")
    machine.command(ASK, "", stderr="/dev/mem: Permission denied\n", returncode=1)
    value = collect(machine)
    assert (value["state"], value["serial"]) == ("available", None)
    assert value["refused"] == ["serial", "uuid"]


def test_machine_without_tables_is_not_available(tmp_path: Path) -> None:
    text = "# dmidecode 3.3\nScanning /dev/mem for entry point.\n"
    text += "# No SMBIOS nor DMI entry point found, sorry.\n"
    value = collect(RecordedMachine(tmp_path).command(ASK, text))
    assert value["state"] == "not_available"
    assert value["product"] is None


def test_device_tree_names_the_board(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file("/proc/device-tree/model", "Acme Berry 5\0")
    machine.file("/proc/device-tree/serial-number", "10000000abcdef01\0")
    value = collect(machine)
    assert value["state"] == "not_available"
    assert (value["product"], value["serial"]) == ("Acme Berry 5", "10000000abcdef01")


def test_refusal_of_everything_is_unknown(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False)
    machine.command(ASK, "", stderr="/dev/mem: Permission denied\n", returncode=1)
    value = collect(machine)
    assert value["state"] == "unknown"
    assert value["reason"] == "dmidecode exited 1: /dev/mem: Permission denied"


def test_nothing_at_all_is_unknown(tmp_path: Path) -> None:
    assert collect(RecordedMachine(tmp_path))["state"] == "unknown"


def test_kernel_without_dmi_is_not_available(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file("/sys/class/net/lo/address", "")
    assert collect(machine)["state"] == "not_available"


@pytest.mark.parametrize(
    "text",
    [
        "To Be Filled By O.E.M.",
        "to be filled by o.e.m. ",
        "Default string",
        "System Product Name",
        "Not Specified",
        "None",
        "N/A",
        "O.E.M.",
        "0123456789",
        "INVALID",
        "<BAD INDEX>",
        "<OUT OF SPEC>",
        "--",
        "................",
        "        ",
        "00000000",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "XXXXXXXXXX",
    ],
)
def test_placeholders_are_missing(text: str) -> None:
    assert _dmi.clean(text) == ""


@pytest.mark.parametrize("text", ["F", "1.0", "X1", "0F259F", "..CN7016.", "ff0a", "None of this"])
def test_short_and_odd_values_are_kept(text: str) -> None:
    assert _dmi.clean(f" {text} ") == text


@pytest.mark.parametrize(
    ("number", "battery", "portable"),
    [
        (9, False, True),
        (10, False, True),
        (30, False, True),
        (31, False, True),
        (32, False, True),
        (3, False, False),
        (13, False, False),
        (35, False, False),
        (1, False, None),
        (2, False, None),
        (0, False, None),
        (99, False, None),
        (1, True, True),
        (3, True, True),
    ],
)
def test_portable_by_case_and_battery(number: int, battery: bool, portable: bool | None) -> None:
    assert _dmi.is_portable(number, has_battery=battery) is portable


@pytest.mark.parametrize(("scope", "portable"), [(None, True), ("System", True), ("Device", None)])
def test_battery_of_a_mouse_is_none_of_the_machine(
    tmp_path: Path, scope: str | None, portable: bool | None
) -> None:
    machine = sysfs(RecordedMachine(tmp_path), sys_vendor="Acme", product_name="Box")
    machine.file("/sys/class/power_supply/b0/type", "Battery\n")
    if scope:
        machine.file("/sys/class/power_supply/b0/scope", scope + "\n")
    assert collect(machine)["portable"] is portable


@pytest.mark.parametrize(
    ("vendor", "product", "virtual"),
    [
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)", True),
        ("VMware, Inc.", "VMware Virtual Platform", True),
        ("Microsoft Corporation", "Virtual Machine", True),
        ("Microsoft Corporation", "Surface Go 2", False),
        ("Acme", "Feather", False),
    ],
)
def test_virtual_machines_are_told(
    tmp_path: Path, vendor: str, product: str, virtual: bool
) -> None:
    machine = sysfs(RecordedMachine(tmp_path), sys_vendor=vendor, product_name=product)
    assert collect(machine)["virtual"] is virtual


@pytest.mark.parametrize(
    ("text", "number"),
    [("10", 10), ("138", 10), ("Notebook", 10), ("notebook", 10), ("", 0), ("x", 0), ("99999", 0)],
)
def test_case_is_a_number_or_a_word(text: str, number: int) -> None:
    assert _dmi.chassis_number(text) == number


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(dmidecode.parse(text).values())
    _dmi.clean(text)
    _dmi.chassis_number(text)


@given(st.sampled_from([name for name, *_ in dmidecode.FIELDS]), st.text(max_size=30))
def test_what_stands_in_the_tables_comes_out_clean(name: str, text: str) -> None:
    _, _, number, key, _ = next(field for field in dmidecode.FIELDS if field[0] == name)
    line = " ".join(text.split())
    found = dmidecode.parse(f"Handle 0x1, DMI type {number}, 9 bytes\nTitle\n\t{key}: {line}\n")
    if _dmi.clean(line) and "dmi type" not in line.lower():
        assert found == {name: _dmi.clean(line)}


def test_firmware_that_calls_itself_virtual_is_believed() -> None:
    text = "Handle 0x0000, DMI type 0, 26 bytes\nBIOS Information\n\tVendor: Acme\n"
    text += "\tCharacteristics:\n\t\tSystem is a virtual machine\n"
    assert _dmi.is_virtual(dmidecode.parse(text))
    assert not _dmi.is_virtual(dmidecode.parse(text.replace("System is", "System was")))


def test_structures_without_blank_lines_and_tabs_are_told_apart() -> None:
    text = "Handle 0x01, DMI type 1, 27 bytes\nSystem Information\n  Manufacturer: Acme   \n"
    text += "  Serial Number: S1\nHandle 0x02, DMI type 4, 48 bytes\nProcessor Information\n"
    text += "  Manufacturer: Chips\n  Serial Number: S2\nHandle 0x03, DMI type 3, 22 bytes\n"
    text += "Chassis Information\n  Type: Notebook\n  Serial Number: S3\n"
    assert dmidecode.parse(text) == {
        "manufacturer": "Acme",
        "serial": "S1",
        "chassis": "Notebook",
        "chassis_serial": "S3",
    }


def test_warnings_about_broken_tables_are_no_values() -> None:
    text = "# dmidecode 3.3\nSMBIOS 2.7 present.\nHandle 0x01, DMI type 1, 27 bytes\n"
    text += "System Information\n\tProduct Name: Pad\n<TRUNCATED>\nInvalid entry length (0). "
    text += "DMI table is broken! Stop.\n"
    assert dmidecode.parse(text) == {"product": "Pad"}


@pytest.mark.parametrize("line", ["\tSerial Number: x", "Handle 0x1, DMI type 1", "x" * 50_000])
def test_long_outputs_are_read_in_one_pass(line: str) -> None:
    assert len(dmidecode.parse(f"{line}\n" * (20_000 if len(line) < 99 else 20))) <= 1


@pytest.mark.parametrize(
    "argv",
    [
        ["dmidecode", "--type", "1,2,3"],
        ["dmidecode", "-t", "0", "-t", "1", "-t", "2", "-t", "3"],
        ["/usr/sbin/dmidecode", "-q", "-t", "bios", "-t", "system"],
    ],
)
def test_types_as_people_name_them(tmp_path: Path, argv: list[str]) -> None:
    text = "Handle 0x0007, DMI type 1, 27 bytes\nSystem Information\n\tProduct Name: Slab 3\n"
    value = collect(RecordedMachine(tmp_path).command(argv, text))
    assert (value["state"], value["product"]) == ("available", "Slab 3")


def test_serial_alone_is_something(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).command(["dmidecode", "-s", "system-serial-number"], "Q7\n")
    value = collect(built)
    assert (value["state"], value["serial"]) == ("available", "Q7")


def test_folder_that_the_one_in_sys_class_leads_to(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path)
    built.file("/sys/devices/virtual/dmi/id/product_name", "Slab 3\n")
    value = collect(built)
    assert (value["state"], value["product"], value["sources"]) == (
        "available",
        "Slab 3",
        ["sysfs"],
    )
