"""Collects the accounts of people on a machine: whether they have passwords, and who is root.

Local accounts only: passwd(5), and systemd-homed. Of a password, its kind is told, never the
hash. Without root, /etc/shadow can't be read, and neither can sudo's rules: both are then
unknown for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from qlmdm_core.api import JSON, Host, unknown
from qlmdm_plugins_builtin.collectors.accounts import users
from qlmdm_plugins_builtin.collectors.accounts.rights import POWERFUL_GROUPS, Doas, Right, Sudo
from qlmdm_plugins_builtin.collectors.accounts.users import NOBODY, Account, Password, Secret
from qlmdm_plugins_builtin.collectors.whole import read_whole

MOST_ACCOUNTS = 1000
LARGEST = 8 << 20
"""Bytes of /etc/passwd and its like: tens of thousands of accounts."""
_NOBODIES = ("nobody", "nfsnobody")
_HOMED = "/var/lib/systemd/home/*.identity"


class _Rules(Protocol):
    def of(self, account: Account, groups: frozenset[str] | None) -> Right:
        """Whether an account has a right."""


@dataclass(frozen=True, kw_only=True)
class _Secrets:
    """What is known of the passwords."""

    known: dict[str, Secret]
    reason: str = ""
    """Why nothing is."""


def collect(host: Host) -> JSON:
    """The accounts with uid 0, those of people, and any other that needs no password.

    `unknown` only if there is no list of accounts; what is not known of one is null, or unknown.
    """
    try:
        text = read_whole(host, "/etc/passwd", max_bytes=LARGEST)
    except OSError as error:
        return unknown(f"/etc/passwd: {error.strerror}", users=[], notes=[])
    accounts = users.parse_passwd(text)
    if not accounts:
        return unknown("/etc/passwd names nobody", users=[], notes=[])
    notes = ["accounts also come from NIS"] if users.has_nis(text) else []
    homed, unread = _homed(host)
    if unread:
        notes.append(f"accounts of systemd-homed that are not understood: {unread}")
    secrets = _secrets(host)
    if secrets.reason:
        notes.append(f"passwords: {secrets.reason}")
    sudo, doas = Sudo(host), Doas(host)
    if sudo.problem:
        # Without the names of files that are named after people; `sudo_from` has them.
        plain = sudo.problem.startswith(("/etc/sudoers:", "sudo "))
        notes.append(f"sudo: {sudo.problem if plain else 'not all of its rules could be read'}")
    groups = _groups(host)
    if groups is None:
        notes.append("/etc/group can't be read")
    first = users.parse_first_uid(_text(host, "/etc/login.defs", "/usr/etc/login.defs"))
    taken = {account.name for account in accounts}
    everybody = [*accounts, *(account for account in homed if account.name not in taken)]
    today = int(host.now().timestamp() // 86400)
    listed = [
        _entry(
            host,
            account,
            None if groups is None else users.groups_of(account, groups),
            secrets,
            today,
            (sudo, doas),
        )
        for account in everybody
        if _is_listed(account, first, secrets)
    ]
    listed.sort(key=_rank)
    if len(listed) > MOST_ACCOUNTS:
        notes.append(f"{len(listed) - MOST_ACCOUNTS} accounts are not named here")
    return {"state": "available", "users": listed[:MOST_ACCOUNTS], "notes": notes}


def _rank(entry: dict[str, JSON]) -> tuple[bool, bool, bool]:
    """What matters most comes first, in case there are too many."""
    password = entry["password"]
    return entry["uid"] != 0, password != "empty", password != "unknown"  # noqa: S105 (a kind)


def _is_listed(account: Account, first: int, secrets: _Secrets) -> bool:
    if account.uid == 0 or _password(account, secrets) == "empty":
        return True
    if account.uid == NOBODY or account.name in _NOBODIES:
        return False
    return account.uid is None or account.uid >= first


def _entry(
    host: Host,
    account: Account,
    groups: frozenset[str] | None,
    secrets: _Secrets,
    today: int,
    rules: Iterable[_Rules],
) -> dict[str, JSON]:
    secret = secrets.known.get(account.name)
    expired = None
    if secret is not None and secret.has_dates:
        expired = secret.expires_on is not None and secret.expires_on <= today
    sudo, doas = (rule.of(account, groups) for rule in rules)
    if account.uid == 0:
        sudo = Right(granted=True, source="uid 0")
    return {
        "name": account.name,
        "uid": account.uid,
        "shell": account.shell,
        "can_log_in": _can_log_in(host, account.shell) and not expired,
        "expired": expired,
        "password": _password(account, secrets),
        "sudo": sudo.granted,
        "sudo_from": sudo.source or None,
        "doas": doas.granted,
        "groups": None if groups is None else [g for g in POWERFUL_GROUPS if g in groups],
    }


def _can_log_in(host: Host, shell: str) -> bool:
    """Whether the account's shell lets somebody in: by a key or a password, if it has one."""
    return users.is_login_shell(shell) and host.exists(shell or "/bin/sh")


def _password(account: Account, secrets: _Secrets) -> Password:
    if account.password is not None:
        return account.password
    secret = secrets.known.get(account.name)
    return secret.password if secret else "unknown"


def _secrets(host: Host) -> _Secrets:
    """The kinds of passwords, by /etc/shadow; where that is hidden even from root, by passwd."""
    try:
        text = read_whole(host, "/etc/shadow", max_bytes=LARGEST)
        return _Secrets(known=users.parse_shadow(text))
    except OSError as error:
        reason = f"/etc/shadow: {error.strerror}"
    if host.is_root:
        known = users.parse_passwd_status(host.run(("passwd", "-S", "-a")).stdout)
        if known:
            return _Secrets(known=known)
    return _Secrets(known={}, reason=reason)


def _groups(host: Host) -> users.Groups | None:
    try:
        return users.parse_groups(read_whole(host, "/etc/group", max_bytes=LARGEST))
    except OSError:
        return None


def _homed(host: Host) -> tuple[list[Account], int]:
    """The accounts of systemd-homed, and how many are not understood."""
    found: list[Account] = []
    unread = 0
    for path in host.glob(_HOMED)[:MOST_ACCOUNTS]:
        account = users.parse_homed(_text(host, path))
        if account is None:
            unread += 1
        else:
            found.append(account)
    return found, unread


def _text(host: Host, *paths: str) -> str:
    """The text of the first of these files that can be read; empty if none can."""
    for path in paths:
        try:
            return read_whole(host, path)
        except OSError:
            continue
    return ""
