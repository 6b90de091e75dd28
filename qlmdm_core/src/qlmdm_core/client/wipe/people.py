"""Tells which accounts of this machine are people's, and which folders are their homes.

System accounts and root are none, whatever login.defs(5) says. People who come from a directory
are not in passwd(5): of them there are the folders below /home that belong to a person's uid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qlmdm_core import people
from qlmdm_core.api import Host
from qlmdm_core.client.wipe.blockdevices import UnreadableError

FIRST_UID, LAST_UID = 1000, 60000
"""UID_MIN and UID_MAX where login.defs does not say (useradd(8))."""
LOWEST_FIRST_UID = 500
"""No system began its people lower; a file that says so would make services people."""
NOBODY = (65534, 65535)
HOMES = "/home"
HOMED = "/var/lib/systemd/home"
"""Where systemd-homed keeps the records of its accounts (systemd-homed.service(8))."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Somebody's account."""

    name: str
    uid: int
    home: str


def read(host: Host) -> tuple[Account, ...]:
    """People's accounts in /etc/passwd. Raises `UnreadableError`."""
    try:
        passwd = host.read("/etc/passwd")
    except OSError as error:
        raise UnreadableError(f"/etc/passwd: {error.strerror or error}") from None
    try:
        defs = host.read("/etc/login.defs")
    except FileNotFoundError:
        defs = ""  # then the defaults count (login.defs(5))
    except OSError as error:
        raise UnreadableError(f"/etc/login.defs: {error.strerror or error}") from None
    return select(passwd, defs)


def select(passwd: str, login_defs: str) -> tuple[Account, ...]:
    """People's accounts, in the order of the file.

    A name that a system account has as well is nobody's: which of both a program means can't
    be told.
    """
    lines = [line.split(":") for line in passwd.split("\n")]
    accounts = [(f[0], _number(f[2]), f[5]) for f in lines if len(f) == 7 and f[0].strip("+-#")]
    first, last = limits(login_defs)
    system = {name for name, uid, _ in accounts if uid is None or not is_person(uid, first, last)}
    return tuple(
        Account(name=name, uid=uid, home=home)
        for name, uid, home in accounts
        if uid is not None and name not in system and not name.startswith(("+", "-", "#"))
    )


def limits(login_defs: str) -> tuple[int, int]:
    """UID_MIN and UID_MAX of login.defs(5)."""
    said = {}
    for line in login_defs.split("\n"):
        words = line.split()
        if len(words) >= 2 and words[0] in ("UID_MIN", "UID_MAX"):
            said[words[0]] = _number(words[1])
    first, last = said.get("UID_MIN"), said.get("UID_MAX")
    first = FIRST_UID if first is None else max(first, LOWEST_FIRST_UID)
    return first, LAST_UID if last is None else last


def is_person(uid: int, first: int, last: int) -> bool:
    """Whether a uid is a person's, where people's own numbers go from `first` to `last`."""
    if uid < first or uid in NOBODY:
        return False
    return uid <= last or people.is_persons(str(uid))


def homes_without_account(host: Host, accounts: Iterable[Account]) -> tuple[str, ...]:
    """Folders below /home that belong to a person's uid and are no account's home."""
    homes = {account.home.rstrip("/") for account in accounts}
    found = []
    try:
        names = host.listdir(HOMES)
    except OSError:
        return ()  # nothing there, or nothing that this host may see
    for name in names:
        path = f"{HOMES}/{name}"
        try:
            owner = host.stat(path).uid
        except OSError:
            continue
        stem, _, kind = name.rpartition(".")
        # The image or folder that systemd-homed makes a home of belongs to root.
        homed = kind in ("home", "homedir") and host.exists(f"{HOMED}/{stem}.identity")
        if path not in homes and (homed or people.is_persons(str(owner))):
            found.append(path)
    return tuple(found)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None
