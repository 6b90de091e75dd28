"""Reads the files that local accounts are in: passwd, shadow, group, login.defs, systemd-homed.

Text to value. What is read of a password is only what kind it is: the hash itself is never part
of a value, a reason or an error. Lines end with a line feed and nothing else, as for the C
library: by `splitlines`, a form feed in a comment would hide the account.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Password = Literal["set", "empty", "locked", "unknown"]

FIRST_UID = 1000
"""The first uid of a person, where login.defs does not say another (useradd(8))."""
NOBODY = 65534
_SHELLS_OF_NOBODY = frozenset({"nologin", "false", "true", "sync", "halt", "shutdown", "null"})
_CRYPT = re.compile(
    r"\$[0-9A-Za-z]+[$,]|_[./0-9A-Za-z]{19}\Z|[./0-9A-Za-z]{13}(?:[./0-9A-Za-z]{11}){0,15}\Z"
)
"""crypt(5): `$id$…`, Sun's `$md5,rounds=…$`, BSDi's with `_`, the 13 letters of DES, and those
of bigcrypt, which are 11 more for each 8 of the password. Nothing else can match."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """A line of passwd(5), or an account of systemd-homed."""

    name: str
    uid: int | None
    gid: int | None
    shell: str
    password: Password | None
    """None: the password is in shadow(5)."""
    groups: frozenset[str] = frozenset()
    """Groups that the account's own record names, beside those of group(5)."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """What a line of shadow(5) says, but for the hash."""

    password: Password
    expires_on: int | None = None
    """Days since 1970, on which the account ends; None: never."""
    has_dates: bool = True
    """Whether the source tells when the account ends."""


def parse_passwd(text: str) -> list[Account]:
    """The accounts in /etc/passwd; lines of NIS (`+`, `-`) and broken ones are left out."""
    found = []
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) != 7 or not fields[0] or fields[0][0] in "+-#":
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is None:
            continue
        password = None if fields[1] == "x" else judge_password(fields[1])
        found.append(
            Account(name=fields[0], uid=uid, gid=gid, shell=fields[6].strip(), password=password)
        )
    return found


def has_nis(text: str) -> bool:
    """Whether passwd(5) takes in accounts from NIS, which are not read here."""
    return any(line.startswith("+") for line in text.split("\n"))


def parse_shadow(text: str) -> dict[str, Secret]:
    """What kind of password each account has, by /etc/shadow."""
    found: dict[str, Secret] = {}
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) != 9 or not fields[0]:
            continue
        expires = _number(fields[7])
        found.setdefault(fields[0], Secret(password=judge_password(fields[1]), expires_on=expires))
    return found


def judge_password(field: str) -> Password:
    """The kind of a password field. What no password can give (`*`, `!`, `LK`) is locked.

    >>> judge_password(""), judge_password("!$6$x$y"), judge_password("$y$j9T$x$y")
    ('empty', 'locked', 'set')
    """
    if not field:
        return "empty"
    # A recording has this in a hash's place.
    return "set" if field == "REDACTED" or _CRYPT.match(field) else "locked"


_STATES: dict[str, Password] = {
    # shadow's passwd(1) prints the first three; that of Fedora until 40, the others.
    "P": "set", "L": "locked", "NP": "empty", "PS": "set", "LK": "locked",
}  # fmt: skip


def parse_passwd_status(text: str) -> dict[str, Secret]:
    """The answer of `passwd -S -a`: `ada P 2026-01-31 0 99999 7 -1`."""
    found = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) >= 2 and words[1] in _STATES:
            found[words[0]] = Secret(password=_STATES[words[1]], has_dates=False)
    return found


Groups: TypeAlias = "dict[str, tuple[int | None, frozenset[str]]]"
"""Number and members, by name."""


def parse_groups(text: str) -> Groups:
    """The groups in /etc/group: number and members by name."""
    found: Groups = {}
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) == 4 and fields[0] and fields[0][0] not in "+-#":
            members = frozenset(name.strip() for name in fields[3].split(",") if name.strip())
            found.setdefault(fields[0], (_number(fields[2]), members))
    return found


def groups_of(account: Account, groups: Groups) -> frozenset[str]:
    """The names of the local groups of an account."""
    return account.groups | frozenset(
        name
        for name, (gid, members) in groups.items()
        if account.name in members or (gid is not None and gid == account.gid)
    )


def parse_first_uid(text: str) -> int:
    """UID_MIN of login.defs(5)."""
    for line in text.split("\n"):
        words = line.split()
        if len(words) >= 2 and words[0] == "UID_MIN":
            number = _number(words[1])
            return number if number else FIRST_UID
    return FIRST_UID


def parse_homed(text: str) -> Account | None:
    """An account of systemd-homed, by its record (systemd.io/USER_RECORD)."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("userName"), str):
        return None
    binding = record.get("binding")
    bound = binding.values() if isinstance(binding, dict) else ()
    places = [record, *(place for place in bound if isinstance(place, dict))]
    shell, members = record.get("shell"), record.get("memberOf")
    return Account(
        name=record["userName"],
        uid=_first_number(place.get("uid") for place in places),
        gid=_first_number(place.get("gid") for place in places),
        shell=shell if isinstance(shell, str) else "",
        password="locked" if record.get("locked") is True else _homed_password(record),
        groups=frozenset(
            group for group in (members if isinstance(members, list) else ()) if _is_text(group)
        ),
    )


def _homed_password(record: dict[str, object]) -> Password:
    privileged = record.get("privileged")
    hashes = privileged.get("hashedPassword") if isinstance(privileged, dict) else None
    if not isinstance(hashes, list) or not hashes:
        return "unknown"  # a token may take its place
    return "empty" if "" in hashes else "set"


def is_login_shell(shell: str) -> bool:
    """Whether a shell lets somebody in; an empty one is /bin/sh (passwd(5))."""
    return shell.rsplit("/", 1)[-1] not in _SHELLS_OF_NOBODY


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _first_number(values: Iterable[object]) -> int | None:
    return next((value for value in values if type(value) is int and value >= 0), None)
