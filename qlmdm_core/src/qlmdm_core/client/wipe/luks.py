"""Reads a LUKS header: whose it is, and by what cryptsetup says, how many key slots are left."""

from __future__ import annotations

import re

_ENABLED = re.compile(r"^Key Slot \d+: ENABLED", re.MULTILINE)
_DISABLED = re.compile(r"^Key Slot \d+: DISABLED", re.MULTILINE)
_SLOTS = re.compile(r"^Keyslots:\n(.*?)^Tokens:", re.MULTILINE | re.DOTALL)
_SLOT = re.compile(r"^  \d+: ", re.MULTILINE)


def slots_left(dump: str) -> int | None:
    """How many key slots a `cryptsetup luksDump` shows; None if it shows no list of them.

    LUKS1 lists eight slots as ENABLED or DISABLED, LUKS2 those that there are.
    """
    if (found := _SLOTS.search(dump)) is not None:
        return len(_SLOT.findall(found.group(1)))
    enabled = len(_ENABLED.findall(dump))
    return enabled if enabled or _DISABLED.search(dump) else None


def header_uuid(beginning: bytes) -> str | None:
    """The UUID of the LUKS header that a device begins with; None if it begins with none.

    The on-disk formats of LUKS1 (table 1) and LUKS2 (2.1): the magic, and 40 bytes at 168.
    """
    if beginning[:6] != b"LUKS\xba\xbe" or len(beginning) < 208:
        return None
    return beginning[168:208].split(b"\0", 1)[0].decode("ascii", "replace").lower()
