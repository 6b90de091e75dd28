"""What the values in DMI tables mean: placeholders, kinds of case, virtual machines."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDERS = frozenset(
    (
        "to be filled by o.e.m.",
        "to be filled by oem",
        "tbd by oem",
        "default string",
        "default_string",
        "system manufacturer",
        "system product name",
        "system version",
        "system serial number",
        "system sku",
        "sku",
        "system name",
        "system uuid",
        "system serial",
        "system family",
        "serial number",
        "product name",
        "filled by oem",
        "fill by oem",
        "oem default string",
        "$(default_string)",
        "type1family",
        "type1sku0",
        "type2 - board manufacturer",
        "type2 - board product name",
        "type2 - board serial number",
        "type2 - board version",
        "no enclosure",
        "not set",
        "0x00000000",
        "12345",
        "123456",
        "1234567",
        "12345678",
        "chassis manufacture",
        "chassis manufacturer",
        "chassis version",
        "chassis serial number",
        "base board manufacturer",
        "base board product name",
        "base board serial number",
        "base board version",
        "base board asset tag",
        "board serial number",
        "asset-1234567890",
        "asset tag",
        "no asset tag",
        "no asset information",
        "not specified",
        "not applicable",
        "not available",
        "not defined",
        "not present",
        "not settable",
        "not provided",
        "none",
        "null",
        "n/a",
        "na",
        "empty",
        "unknown",
        "undefined",
        "unspecified",
        "o.e.m.",
        "oem",
        "0123456789",
        "123456789",
        "1234567890",
        "123456789abcdef",
        "0123456789abcdef",
        "invalid",
        "invalid entry length",
        "<bad index>",
        "<out of spec>",
        "type1productconfigid",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    )
)
_FILLER = re.compile(r"[0\s.*#_-]*|[f-]{8,}|[x-]{2,}", re.IGNORECASE)

# System Management BIOS specification (DSP0134), table of system enclosure types.
CHASSIS = {
    1: "Other",
    2: "Unknown",
    3: "Desktop",
    4: "Low Profile Desktop",
    5: "Pizza Box",
    6: "Mini Tower",
    7: "Tower",
    8: "Portable",
    9: "Laptop",
    10: "Notebook",
    11: "Hand Held",
    12: "Docking Station",
    13: "All In One",
    14: "Sub Notebook",
    15: "Space-saving",
    16: "Lunch Box",
    17: "Main Server Chassis",
    18: "Expansion Chassis",
    19: "Sub Chassis",
    20: "Bus Expansion Chassis",
    21: "Peripheral Chassis",
    22: "RAID Chassis",
    23: "Rack Mount Chassis",
    24: "Sealed-case PC",
    25: "Multi-system",
    26: "CompactPCI",
    27: "AdvancedTCA",
    28: "Blade",
    29: "Blade Enclosing",
    30: "Tablet",
    31: "Convertible",
    32: "Detachable",
    33: "IoT Gateway",
    34: "Embedded PC",
    35: "Mini PC",
    36: "Stick PC",
}
PORTABLE = frozenset((8, 9, 10, 11, 14, 30, 31, 32))
SAYS_NOTHING = frozenset((1, 2, 12, 18, 19, 20, 21))

VIRTUAL = "is a virtual machine"
"""Not a field: that the firmware says so."""

_VIRTUAL = re.compile(
    r"vmware|qemu|kvm|virtualbox|innotek|bochs|\bxen\b|parallels|amazon ec2|google compute"
    r"|virtual machine|bhyve|openstack|digitalocean|droplet|ovirt|rhev|firecracker"
    r"|apple virt|dummy-virt|alibaba cloud|tencent cloud|huawei cloud|hetzner vserver|vultr"
    r"|linode|\bahv\b|smartdc hvm|hvm domu|scaleway|exoscale|upcloud|\bcrosvm\b",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """The text without blanks around it; empty if it is a placeholder."""
    text = " ".join(text.replace("\0", " ").split())
    return "" if text.lower() in PLACEHOLDERS or _FILLER.fullmatch(text) else text


def chassis_number(text: str) -> int:
    """The number of a case by what sysfs (a number) or dmidecode (a word) says; 0: unknown."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text) & 0x7F if len(text) < 4 else 0  # bit 7: has a lock
    return next((n for n, word in CHASSIS.items() if word.lower() == text.lower()), 0)


def is_portable(number: int, *, has_battery: bool) -> bool | None:
    """Whether the machine is one that is carried about; None if it can't be told.

    Boards without a maker's own case say "Other", and some notebooks say "Desktop": a
    battery outweighs both.
    """
    if number in PORTABLE or has_battery:
        return True
    return None if number not in CHASSIS or number in SAYS_NOTHING else False


def is_virtual(found: Mapping[str, str]) -> bool:
    """Whether the tables are those of a virtual machine: its serial number is no asset.

    Its firmware may say so itself, among the characteristics that dmidecode shows.
    """
    if VIRTUAL in found:
        return True
    names = ("manufacturer", "product", "version", "bios_vendor", "bios_version")
    return any(_VIRTUAL.search(found.get(name, "")) for name in names)
