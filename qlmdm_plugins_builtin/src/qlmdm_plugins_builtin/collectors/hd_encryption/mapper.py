"""Tells which device-mapper devices encrypt: by their UUID, their table, or cryptsetup.

That cryptsetup made a device does not mean that it encrypts: it makes checksums (integrity)
and signatures (verity) too, and it knows a cipher that does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qlmdm_core.api import Host

from .block import Device
from .graph import Role

# libcryptsetup.h: the types that CRYPT-TYPE- in a UUID can name.
ENCRYPTING = ("LUKS1", "LUKS2", "PLAIN", "LOOPAES", "TCRYPT", "BITLK", "FVAULT2")
CHECKING = ("VERITY", "INTEGRITY", "SUBDEV")
# Targets that hand blocks on unencrypted (Documentation/admin-guide/device-mapper).
PASSING = frozenset(
    (
        "cache",
        "clone",
        "delay",
        "dust",
        "ebs",
        "era",
        "flakey",
        "integrity",
        "linear",
        "log-writes",
        "mirror",
        "multipath",
        "raid",
        "snapshot",
        "snapshot-merge",
        "snapshot-origin",
        "striped",
        "thin",
        "thin-pool",
        "unstriped",
        "vdo",
        "verity",
        "writecache",
        "zoned",
    )
)
NO_DATA = frozenset(["error", "zero"])

_TABLE_LINE = re.compile(r"(?P<name>.+?): \d+ \d+ (?P<target>[a-z][a-z0-9_-]*)(?: (?P<args>.*))?")
_CIPHER = re.compile(r"[a-z0-9_():,]+-[a-z0-9_():,-]+", re.IGNORECASE)
_NUMBER = re.compile(r"\d+:\d+")


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One line of a mapping's table: what becomes of one range of its blocks."""

    target: str
    arguments: str = ""

    @property
    def cipher(self) -> str:
        """The cipher of a crypt target, else empty."""
        return self.arguments.split(" ")[0] if self.target == "crypt" else ""

    @property
    def devices(self) -> tuple[str, ...]:
        """The device numbers that the range lies on."""
        return tuple(word for word in self.arguments.split(" ") if _NUMBER.fullmatch(word))


def parse_table(text: str) -> dict[str, list[Segment]]:
    """The tables that `dmsetup table` prints (without keys), by the mapping's name.

    "No devices found" is a sure answer: there are no mappings.
    """
    tables: dict[str, list[Segment]] = {}
    for line in text.splitlines():
        match = _TABLE_LINE.fullmatch(line.rstrip())
        if match is not None:
            segment = Segment(target=match["target"], arguments=match["args"] or "")
            tables.setdefault(match["name"], []).append(segment)
    return tables


def parse_status(text: str) -> dict[str, str]:
    """The properties that `cryptsetup status` prints of an active mapping, by name.

    Empty for one that is inactive or not there. "note" is "opal" where it mentions a disk
    that encrypts by itself.
    """
    first, _, rest = text.partition("\n")
    if " is active" not in first:
        return {}
    properties = {"note": "opal"} if "opal" in rest.lower() else {}
    for line in rest.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip():
            properties.setdefault(name.strip().lower(), value.strip())
    return properties


def read_status(host: Host, name: str) -> dict[str, str]:
    """What cryptsetup tells of a mapping; empty for nothing.

    Only what it affirms counts: without root libcryptsetup says that active mappings are
    not there.
    """
    for argv in (["cryptsetup", "status", name], ["cryptsetup", "status", f"/dev/mapper/{name}"]):
        result = host.run(argv)
        if result.ok and (status := parse_status(result.stdout)):
            return status
    return {}


def made_by(uuid: str) -> str:
    """The cryptsetup type in a mapping's UUID: "LUKS2", "PLAIN", …; empty if there is none."""
    maker, _, rest = uuid.partition("-")
    return rest.partition("-")[0].upper() if maker == "CRYPT" else ""


def role(
    device: Device,
    segments: Sequence[Segment] | None,
    status: Mapping[str, str],
    below: Sequence[Device] = (),
) -> tuple[Role, str, str]:
    """What a mapping does with its blocks, what to call it, and why that is so.

    `segments` is its table (None: not known), `status` what cryptsetup says (may be empty),
    `below` the devices it lies on.
    """
    kind = made_by(device.dm_uuid) or status.get("type", "").upper()
    name = f"crypt {kind}".strip() if kind in ENCRYPTING or device.kind == "crypt" else device.kind
    if segments:
        return _role_by_table(device, segments, status, name)
    cipher = status.get("cipher", "")
    if is_null(cipher):
        return "passes", f"{name}, null cipher", f"{device.label} uses the null cipher"
    if kind in ENCRYPTING:
        return "encrypts", name, ""
    if kind in CHECKING:
        return "passes", kind.lower(), f"{kind.lower()} does not encrypt"
    if _CIPHER.fullmatch(cipher) and not device.dm_uuid:
        # The type is "n/a" where the header lies elsewhere; only crypt targets have a cipher.
        return "encrypts", "crypt", ""
    if device.kind in ("lvm", "mpath", "part", "dmraid", "stratis", "vdo", "raid"):
        return "passes", device.kind, ""
    if device.kind == "crypt" and not device.dm_uuid:
        return _role_by_lsblk(device, below)
    return "opaque", name, f"what the mapping {device.label or device.name} does needs root to see"


def _role_by_table(
    device: Device, segments: Sequence[Segment], status: Mapping[str, str], name: str
) -> tuple[Role, str, str]:
    """A table is the kernel's own word, and outweighs UUIDs and types."""
    shown = device.label or device.name
    targets = {segment.target for segment in segments} - NO_DATA
    if targets == {"crypt"}:
        if any(is_null(segment.cipher) for segment in segments):
            return "passes", f"{name}, null cipher", f"{shown} uses the null cipher"
        return "encrypts", name if name.startswith("crypt") else "crypt", ""
    if "crypt" in targets:
        return "opaque", name, f"only a part of {shown} is encrypted"
    if made_by(device.dm_uuid) in ENCRYPTING:
        # libcryptsetup's DM_UUID_OPAL marks a mapping of which a disk's OPAL does the work.
        if status.get("note") == "opal" or device.dm_uuid.startswith("CRYPT-LUKS2-OPAL-"):
            return "encrypts", f"{name}, by the disk", ""
        return "opaque", name, f"{shown} is being encrypted or decrypted just now"
    if targets <= PASSING:
        known = device.kind not in ("", "dm", "crypt")
        return "passes", device.kind if known else "+".join(sorted(targets)), ""
    return "opaque", name, f"{shown} is of a kind not known: {', '.join(sorted(targets))}"


def _role_by_lsblk(device: Device, below: Sequence[Device]) -> tuple[Role, str, str]:
    """lsblk says "crypt" for all that cryptsetup makes; what lies below tells it apart."""
    signatures = {parent.fstype for parent in below}
    shown = device.label or device.name
    if shown.endswith("_dif") or any(
        s.startswith(("DM_integrity", "DM_verity")) for s in signatures
    ):
        return "passes", "integrity", "integrity does not encrypt"
    if len(below) > 1:
        # Encryption has one device below it; verity and integrity have a second for sums.
        return "opaque", device.kind, f"whether {shown} encrypts or only checks can't be seen"
    luks = "crypto_LUKS" in signatures
    named = "crypt LUKS" if luks else "crypt"
    if "BitLocker" in signatures and not luks:
        named = "crypt BITLK"
    return "encrypts", named, ""


def is_null(cipher: str) -> bool:
    """Whether a dm-crypt cipher does nothing: cryptsetup has one for benchmarks and tests."""
    return "cipher_null" in cipher or cipher.startswith("null-")
