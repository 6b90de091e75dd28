"""Collects what the machine is as a thing: maker, model, serial number, kind of case.

The kernel shows most of the SMBIOS tables in sysfs, to everybody but for serial numbers,
which only root may read. `dmidecode` reads the same tables and is asked for what is missing.
Makers leave placeholders in them ("To Be Filled By O.E.M."); those are missing here.
"""

from __future__ import annotations

import re

from qlmdm_core.api import JSON, Host
from qlmdm_plugins_builtin.collectors.text import text_of

from ._dmi import CHASSIS, VIRTUAL, chassis_number, clean, is_portable, is_virtual

SYSFS = "/sys/class/dmi/id"
DEVICE_TREE = ("/proc/device-tree", "/sys/firmware/devicetree/base")
SYSFS_DEVICE = "/sys/devices/virtual/dmi/id"
"""Where the former leads to."""
TIMEOUT = 10.0
_ASKED = [
    ["dmidecode", *words]
    for words in (
        *(["-t", "0,1,2,3"], [], ["-t", "bios,system,baseboard,chassis"], ["-t", "system"]),
        # Asked where none of those is there: on a machine that somebody wrote down by hand.
        *(["-t", "1"], ["-t", "1,2,3"], ["-t", "0,1,3"], ["-t", "1,3"], ["-t", "0,1"]),
        *(["-t", "0", "-t", "1", "-t", "2", "-t", "3"], ["-t", "system", "-t", "chassis"]),
        *(["-t", "system", "-t", "bios"], ["-t", "bios", "-t", "system"]),
        ["-t", "bios", "-t", "system", "-t", "baseboard", "-t", "chassis"],
    )
]
"""Seconds: broken tables make dmidecode slow."""

# Our name, the file in sysfs, DMI type and key of dmidecode(8), keyword of `dmidecode -s`.
FIELDS: tuple[tuple[str, str, int, str, str], ...] = (
    ("manufacturer", "sys_vendor", 1, "Manufacturer", "system-manufacturer"),
    ("product", "product_name", 1, "Product Name", "system-product-name"),
    ("version", "product_version", 1, "Version", "system-version"),
    ("serial", "product_serial", 1, "Serial Number", "system-serial-number"),
    ("uuid", "product_uuid", 1, "UUID", "system-uuid"),
    ("family", "product_family", 1, "Family", "system-family"),
    ("sku", "product_sku", 1, "SKU Number", "system-sku-number"),
    ("board_manufacturer", "board_vendor", 2, "Manufacturer", "baseboard-manufacturer"),
    ("board_product", "board_name", 2, "Product Name", "baseboard-product-name"),
    ("board_serial", "board_serial", 2, "Serial Number", "baseboard-serial-number"),
    ("chassis", "chassis_type", 3, "Type", "chassis-type"),
    ("chassis_serial", "chassis_serial", 3, "Serial Number", "chassis-serial-number"),
    ("asset_tag", "chassis_asset_tag", 3, "Asset Tag", "chassis-asset-tag"),
    ("bios_vendor", "bios_vendor", 0, "Vendor", "bios-vendor"),
    ("bios_version", "bios_version", 0, "Version", "bios-version"),
    ("bios_date", "bios_date", 0, "Release Date", "bios-release-date"),
)
WANTED = ("manufacturer", "product", "serial", "uuid")
"""What dmidecode is asked for, where sysfs doesn't have it."""
TELLING = ("manufacturer", "product", "serial", "board_product", "chassis")
"""Without one of these it isn't known what the machine is."""

_TITLES = {
    "bios information": 0,
    "system information": 1,
    "base board information": 2,
    "chassis information": 3,
}
_TYPE = re.compile(r"DMI type (\d+)", re.IGNORECASE)


def collect(host: Host) -> JSON:
    """Maker, model, version, serial number, UUID, case and firmware of the machine."""
    found, seen, refused = read_sysfs(host)
    sources = ["sysfs"] if seen or refused else []
    problem, no_tables = "", False
    # What sysfs refused, dmidecode can't read either without root.
    known = seen if host.is_root else [*seen, *refused]
    if not set(WANTED) <= set(known):
        told, problem, no_tables = read_dmidecode(host)
        if told:
            sources.append("dmidecode")
            refused = [name for name in refused if name not in told]
        found = {**told, **found}
    state, reason = "available", ""
    if not any(name in found for name in TELLING):
        state, reason, told = _without_tables(host, problem, no_tables=no_tables)
        if told:
            sources.append("device-tree")
        found = {**found, **told}
    number = chassis_number(found.get("chassis", ""))
    value: dict[str, JSON] = {"state": state}
    if reason:
        value["reason"] = reason
    value |= {name: found.get(name) for name, *_ in FIELDS}
    value["chassis"] = _chassis(number, found.get("chassis"))
    value["portable"] = is_portable(number, has_battery=has_battery(host))
    value["virtual"] = is_virtual(found) if found else None
    value["refused"] = refused
    value["sources"] = sources
    return value


def parse(text: str) -> dict[str, str]:
    """Our fields in the output of `dmidecode`, of any version, with any options but `-s`.

    Structures begin with "Handle …, DMI type N" (with `-q`: with their title alone); the
    same keys stand in several, and the first base board counts.
    """
    keys = {(number, key): name for name, _, number, key, _ in FIELDS}
    found: dict[str, str] = {}
    number: int | None = None
    done: set[int] = set()
    if any(line.strip() == "System is a virtual machine" for line in text.splitlines()):
        found[VIRTUAL] = "yes"
    for line in text.splitlines():
        title = _TITLES.get(line.strip().lower())
        match = _TYPE.search(line)
        if line.startswith("Handle ") or match or (title is not None and title != number):
            if number is not None and number != (title if title is not None else -1):
                done.add(number)
            number = int(match.group(1)) if match else title
            continue
        key, colon, value = line.strip().partition(":")
        name = keys.get((number, key.strip())) if colon and number is not None else None
        if name and number not in done and (value := clean(value)):
            found.setdefault(name, value)
    return found


def has_no_tables(text: str) -> bool:
    """Whether dmidecode says that the machine has no SMBIOS tables."""
    return "no smbios nor dmi entry point found" in text.lower()


def _chassis(number: int, told: str | None) -> str | None:
    """The kind of case in a word; None where the tables say that they don't know."""
    word = CHASSIS.get(number, told)
    return None if word == "Unknown" else word


def has_battery(host: Host) -> bool:
    """Whether the machine has a battery that it runs from (a mouse's does not count)."""
    for path in host.glob("/sys/class/power_supply/*/type"):
        scope = path.removesuffix("type") + "scope"
        if _read(host, path).strip() == "Battery" and _read(host, scope).strip() != "Device":
            return True
    return False


def read_sysfs(host: Host) -> tuple[dict[str, str], list[str], list[str]]:
    """Our fields by sysfs; the names of all that were read; of those that only root may."""
    found: dict[str, str] = {}
    seen: list[str] = []
    refused: list[str] = []
    folder = SYSFS if host.exists(SYSFS) else SYSFS_DEVICE
    for name, file, *_ in FIELDS:
        try:
            text = host.read(f"{folder}/{file}", max_bytes=4096)
        except PermissionError:
            refused.append(name)
            continue
        except OSError:
            continue
        seen.append(name)
        if text := clean(text):
            found[name] = text
    return found, seen, refused


def read_dmidecode(host: Host) -> tuple[dict[str, str], str, bool]:
    """Our fields by dmidecode, why there are none, and whether there are no tables at all."""
    problem, ran = "", False
    # Numbers: dmidecode(8) takes no list of keywords ("Invalid type keyword"), though people
    # who wrote down what it printed named their command so.
    for argv in _ASKED:
        result = host.run(argv, timeout=TIMEOUT)
        if has_no_tables(result.stdout + result.stderr):
            return {}, "", True
        if result.found and set(told := parse(result.stdout)) - {VIRTUAL}:
            return told, "", False
        if result.timed_out:
            return {}, result.why, False
        if not problem or (result.found and not ran):
            problem, ran = result.why, result.found  # the first that ran says why best
    told = {}
    if host.is_root and host.which("dmidecode") is not None:
        for name, _, _, _, keyword in FIELDS:
            result = host.run(["dmidecode", "-s", keyword], timeout=TIMEOUT)
            if result.timed_out:
                break
            lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
            if result.ok and lines and (text := clean(lines[0])):
                told[name] = text
    return told, "" if told else problem, False


def _without_tables(
    host: Host, problem: str, *, no_tables: bool
) -> tuple[str, str, dict[str, str]]:
    """State, reason and what else is known for a machine whose tables told nothing."""
    told: dict[str, str] = {}
    for folder in DEVICE_TREE:
        for name, file in (("product", "model"), ("serial", "serial-number")):
            # Strings in a device tree end with a NUL (Devicetree Specification, 2.2.4).
            if text := clean(_read(host, f"{folder}/{file}")):
                told.setdefault(name, text)
    if told:
        return "not_available", "the machine has a device tree and no DMI tables", told
    if no_tables or (host.exists("/sys/class") and not host.exists("/sys/class/dmi")):
        return "not_available", "the machine has no DMI tables", told
    if host.exists(SYSFS) or host.exists(SYSFS_DEVICE):
        return "unknown", "the DMI tables hold placeholders only", told
    return "unknown", problem or "no source of DMI tables can be read", told


def _read(host: Host, path: str) -> str:
    return text_of(host, path, max_bytes=4096)
