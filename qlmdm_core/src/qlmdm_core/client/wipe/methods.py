"""What each method of a wipe does, in which order. All doing is `hands`.

`accounts` ends people's processes and takes their homes, accounts, mail and timed jobs away.
That is not erasure: what lay on the disk can be found there with the right tools. `erase` takes
all key slots out of all LUKS headers, so that nobody can open what is encrypted, and switches
the machine off. What is not encrypted stays readable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from qlmdm_core.client.wipe import accountfiles, luks
from qlmdm_core.client.wipe.accountfiles import BY_NAME, GROUPS
from qlmdm_core.client.wipe.hands import Hands
from qlmdm_core.client.wipe.people import Account
from qlmdm_core.client.wipe.plan import Header, Plan
from qlmdm_core.client.wipe.trees import Removed

Say = Callable[[str], None]
"""Takes each stage as it is reached."""

BY_ACCOUNT = (
    "/var/mail/{}",
    "/var/spool/mail/{}",
    "/var/spool/cron/{}",
    "/var/spool/cron/crontabs/{}",
    "/var/spool/cron/tabs/{}",
    "/var/lib/systemd/linger/{}",
    "/var/lib/systemd/home/{}.identity",
    "/var/lib/AccountsService/users/{}",
    "/var/lib/AccountsService/icons/{}",
)
"""Files that are an account's own by their name; the system decides which of them it has."""
OF_OWNERS = ("/var/spool/cron/atjobs", "/var/spool/at", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
"""Folders in which files are an account's own by their owner."""
HEADER_BYTES = 16 << 20
"""What a LUKS2 header with its key slots takes, unless somebody chose otherwise."""


def accounts(hands: Hands, plan: Plan, say: Say) -> bool:
    """The method `accounts`; whether nothing of it is left. Doing it twice does no harm."""
    uids = {account.uid for account in plan.accounts} | _owners(plan.other_homes)
    say(f"{hands.kill_processes(uids)} processes of {len(uids)} people ended")
    whole = True
    homes = [(account.home, account.uid) for account in plan.accounts]
    for home, uid in dict.fromkeys([*homes, *((home, None) for home in plan.other_homes)]):
        done = hands.remove_home(home, uid)
        whole &= _is_gone(done)
        say(f"{home}: {_told(done)}")
    for folder in OF_OWNERS:
        done = hands.remove_owned(folder, uids)
        whole &= _is_gone(done)
        if done.files or done.folders or done.left:
            say(f"{folder}: {_told(done)}")
    names = [account.name for account in plan.accounts]
    files = sum(
        hands.remove_file(pattern.format(name))
        for name in [*names, *_homed(plan.other_homes)]
        if _is_name(name)
        for pattern in BY_ACCOUNT
    )
    say(f"{files} mail files, timed jobs and settings of accounts removed")
    whole &= _remove_accounts(hands, plan.accounts, say)
    # Somebody who logged in meanwhile.
    hands.kill_processes(uids)
    return whole


def erase(hands: Hands, plan: Plan, say: Say) -> bool | None:
    """The method `erase`, up to switching off: whether all headers are without key slots.

    None: not a single one is, so that nothing was destroyed.
    """
    erased = [_erase(hands, header, say) for header in plan.luks]
    return all(erased) if any(erased) else None


def _erase(hands: Hands, header: Header, say: Say) -> bool:
    try:
        found = luks.header_uuid(hands.beginning(header.device))
    except OSError as error:
        say(f"{header.device}: {error.strerror or error}")
        return False
    if found != header.uuid:
        say(f"{header.device}: its header is {found or 'none'}, not {header.uuid}; left alone")
        return False
    ran = hands.change(["cryptsetup", "erase", "-q", header.device])
    slots = luks.slots_left(hands.look(["cryptsetup", "luksDump", header.device]).output)
    if slots == 0:
        say(f"{header.device}: LUKS header {header.uuid} has no key slot left")
        return True
    why = f"cryptsetup erase: {ran.output.strip()[-200:] or ran.status}"
    try:
        hands.overwrite(header.device, HEADER_BYTES)
    except OSError as error:
        say(f"{header.device}: {why}; overwriting it: {error.strerror or error}")
        return False
    say(f"{header.device}: LUKS header {header.uuid} overwritten ({why})")
    return True


def _remove_accounts(hands: Hands, found: Iterable[Account], say: Say) -> bool:
    names = {account.name for account in found}
    texts = {path: text for path in (*BY_NAME, *GROUPS) if (text := _text(path)) is not None}
    own = accountfiles.own_groups(texts.get(BY_NAME[0], ""), texts.get(GROUPS[0], ""), names)
    whole = True
    for path, text in texts.items():
        if path in GROUPS:
            new = accountfiles.without_members(text, names, own)
        else:
            new = accountfiles.without(text, names)
        try:
            if new != text:
                hands.replace_file(path, new)
        except OSError as error:
            whole = False
            say(f"{path}: {error.strerror or error}")
    say(f"{len(names)} accounts removed: {', '.join(sorted(names)) or 'there were none'}")
    return whole


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError:
        return None  # not every system has all of them


def _owners(homes: Iterable[str]) -> set[int]:
    """The uids that homes without an account belong to, but for root's."""
    found = set()
    for home in homes:
        try:
            found.add(os.lstat(home).st_uid)
        except OSError:
            continue
    return found - {0}


def _homed(homes: Iterable[str]) -> list[str]:
    """The accounts of systemd-homed whose images are among these."""
    names = (os.path.basename(home).rpartition(".") for home in homes)
    return [name for name, _, kind in names if kind in ("home", "homedir")]


def _is_name(name: str) -> bool:
    """Whether an account's name is that of a file, and leads nowhere else."""
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


def _is_gone(done: Removed) -> bool:
    return not done.more_left and all(line.endswith(": not there") for line in done.left)


def _told(done: Removed) -> str:
    text = f"{done.files} files and {done.folders} folders removed"
    if done.left:
        more = f" and {done.more_left} more" if done.more_left else ""
        text += f"; left: {'; '.join(done.left)}{more}"
    return text
