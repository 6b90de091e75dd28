"""Tells the accounts of people from those of services."""

from __future__ import annotations


def is_persons(uid: str) -> bool:
    """Whether a uid may be somebody's: of login.defs(5), of systemd-homed, of a directory.

    systemd.io, "Users, Groups, UIDs and GIDs": 61184 to 65519 are services that come and go,
    60514 to 60705 not people either; 65534 is nobody.
    """
    if not (uid.isascii() and uid.isdigit() and len(uid) <= 10):
        return False
    return 1000 <= int(uid) <= 60513 or 65536 <= int(uid) < 2**32 - 1
