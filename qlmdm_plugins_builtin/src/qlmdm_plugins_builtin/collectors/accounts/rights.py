"""Tells whether an account may act as root: by sudo, by doas, or by a group that can become root.

Three answers: True, False, and None where a file can't be read, a line is not understood, or
rules come from the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from qlmdm_core.api import Host
from qlmdm_plugins_builtin.collectors.accounts import sudoers
from qlmdm_plugins_builtin.collectors.accounts.users import Account
from qlmdm_plugins_builtin.collectors.whole import read_whole

POWERFUL_GROUPS = (
    # Members become root by design (sudo, wheel, admin), or can with one command: they start
    # containers or machines as root, or write to the disk below the file system.
    "sudo", "wheel", "admin", "docker", "lxd", "incus-admin", "libvirt", "disk",
)  # fmt: skip
_SUDOERS = ("/etc/sudoers", "/usr/etc/sudoers")
_DOAS = ("/etc/doas.conf", "/usr/local/etc/doas.conf")
_DOAS_MORE = "/etc/doas.d/*.conf"
"""Read after the first, by the doas of Alpine Linux."""
_MOST_DOAS = 100
_DEEPEST_ALIAS = 10
_ALIAS_LIKE = re.compile(r"[A-Z][A-Z0-9_]*\Z")


@dataclass(frozen=True, kw_only=True)
class Right:
    """Whether somebody has a right, and where it comes from (or why it can't be told)."""

    granted: bool | None
    source: str = ""


# --- sudo -------------------------------------------------------------------------------------


class Sudo:
    """The rules of sudo on a machine."""

    def __init__(self, host: Host) -> None:
        self.problem = ""
        """Why nobody can be said to have no rights."""
        self._here = _names_of(host)
        self._files: sudoers.Sudoers | None = None
        path = next((path for path in _SUDOERS if host.exists(path)), None)
        if host.which("sudo") is None or path is None:
            return  # without sudoers, sudo lets nobody do anything
        self._files = sudoers.read(path, partial(read_whole, host), host.listdir)
        problems = self._files.problems
        if problems:
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            self.problem = problems[0] + more
        elif elsewhere := _from_network(host):
            self.problem = elsewhere

    def of(self, account: Account, groups: frozenset[str] | None) -> Right:
        """Whether an account may run anything as somebody else. The last rule that fits decides."""
        if self._files is None:
            return Right(granted=None if self.problem else False, source=self.problem)
        found = Right(granted=False)
        doubt = self.problem
        asks_for_root = self._asks_for_root(account, groups)
        for rule in self._files.rules:
            who = self._matches(rule.users, account, groups)
            if who == "":
                continue
            here = self._is_here(rule.hosts)
            if rule.gives == "less":
                continue  # of what earlier rules give, some is left
            if who is None or here is None:
                doubt = doubt or f"{rule.file}: whom a rule is for can't be told"
            elif here and rule.gives == "none":
                found = Right(granted=False)
            elif here and asks_for_root is None and not rule.no_password:
                doubt = doubt or "whose password sudo asks for can't be told"
            elif here and (rule.no_password or not asks_for_root):
                what = "all commands" if rule.gives == "all" else "some commands"
                found = Right(granted=True, source=f"{rule.file}: {what}, by {who}")
        if not found.granted and doubt:
            return Right(granted=None, source=doubt)
        return found

    def _asks_for_root(self, account: Account, groups: frozenset[str] | None) -> bool | None:
        """Whether sudo wants root's password of this account; None if it can't be told."""
        if self._files is None:
            return None
        answer: bool | None = self._files.asks_for_root
        for users, asks in self._files.asks_for_root_of:
            who = self._matches(users, account, groups)
            if who is None and asks is not answer:
                answer = None
            elif who:
                answer = asks
        return answer

    def _matches(
        self,
        patterns: Sequence[str],
        account: Account,
        groups: frozenset[str] | None,
        depth: int = 0,
    ) -> str | None:
        """By what a list of users covers an account, "" if it does not, None if in doubt."""
        result: str | None = ""
        for pattern in patterns:
            bare = pattern.lstrip("!")
            negated = (len(pattern) - len(bare)) % 2 == 1
            one = self._matches_one(bare, account, groups, depth)
            if one != "":
                result = one if one is None or not negated else ""
        return result

    def _matches_one(
        self, pattern: str, account: Account, groups: frozenset[str] | None, depth: int
    ) -> str | None:
        if pattern == "ALL":
            return "everybody"
        if pattern.startswith(("%:", "+")) or (pattern.startswith("%") and groups is None):
            return None  # groups of another directory, and netgroups
        if pattern.startswith("%#"):
            return "a group's number" if pattern[2:] == str(account.gid) else None
        if pattern.startswith("%"):
            return f"the group {pattern[1:]}" if pattern[1:] in (groups or ()) else ""
        if pattern.startswith("#"):
            return "uid" if pattern[1:] == str(account.uid) else ""
        if pattern == account.name:
            return "name"
        if _ALIAS_LIKE.match(pattern):
            members = self._files.aliases.get(pattern) if self._files else None
            if members is None:
                return ""  # a name in capitals, of somebody else
            if depth > _DEEPEST_ALIAS:
                return None
            return self._matches(members, account, groups, depth + 1)
        return ""

    def _is_here(self, hosts: Sequence[str], depth: int = 0) -> bool | None:
        result: bool | None = False
        for pattern in hosts:
            bare = pattern.lstrip("!")
            if bare == "ALL" or bare.lower() in self._here:
                result = bare == pattern
            elif self._files and bare in self._files.aliases and depth <= _DEEPEST_ALIAS:
                inner = self._is_here(self._files.aliases[bare], depth + 1)
                result = result if inner is False else inner if bare == pattern else None
            elif not self._here or _may_be_here(bare, self._here):
                result = result or None
        return result


def _may_be_here(pattern: str, here: frozenset[str]) -> bool:
    """Whether a host that is none of this one's names may be it all the same.

    Addresses, nets, netgroups and patterns are not worked out; and a full name may be this
    machine's, though it calls itself by the short one.
    """
    return bool(re.search(r"[/:+*?\[]|^[0-9.]+\Z", pattern)) or pattern.split(".")[0] in here


def _names_of(host: Host) -> frozenset[str]:
    """What the machine calls itself, in full and in short."""
    for path in ("/proc/sys/kernel/hostname", "/etc/hostname"):
        try:
            name = host.read(path).strip().lower()
        except OSError:
            continue
        if name:
            return frozenset({name, name.partition(".")[0]})
    return frozenset()


def _from_network(host: Host) -> str:
    """Whether rules also come from a directory server: nsswitch.conf, `sudoers: files sss`."""
    try:
        lines = host.read("/etc/nsswitch.conf").splitlines()
    except OSError:
        return ""
    sources = next((ln.split()[1:] for ln in lines if ln.strip().startswith("sudoers:")), [])
    # Fedora names sss there on every machine; without its settings, it has nothing to say.
    if "sss" in sources and (
        host.exists("/etc/sssd/sssd.conf") or host.glob("/etc/sssd/conf.d/*.conf")
    ):
        return "sudo also has rules from sssd"
    if "ldap" in sources:
        return "sudo also has rules from LDAP"
    return ""


# --- doas -------------------------------------------------------------------------------------


class Doas:
    """The rules of doas(1) on a machine."""

    def __init__(self, host: Host) -> None:
        self.problem = ""
        self._rules: list[tuple[bool, str, str]] = []
        if host.which("doas") is None:
            return
        # Without any of these files, doas lets nobody do anything.
        first = [path for path in _DOAS if host.exists(path)][:1]
        for path in [*first, *host.glob(_DOAS_MORE)[:_MOST_DOAS]]:
            try:
                self._rules += parse_doas(read_whole(host, path))
            except OSError as error:
                self.problem = self.problem or f"{path}: {error.strerror}"

    def of(self, account: Account, groups: frozenset[str] | None) -> Right:
        """Whether an account may run anything as root. The last rule that fits decides."""
        if self.problem:
            return Right(granted=None, source=self.problem)
        found = Right(granted=False)
        for permits, identity, what in self._rules:
            group = identity[1:] if identity.startswith(":") else None
            if group and groups is None:
                found = Right(granted=None, source="/etc/group can't be read")
            elif group in (groups or ()) if group else identity in (account.name, str(account.uid)):
                by = f"the group {group}" if group else "name"
                found = Right(granted=permits, source=f"doas.conf: {what}, by {by}")
        return Right(granted=False) if found.granted is False else found


def parse_doas(text: str) -> Iterator[tuple[bool, str, str]]:
    """The rules of doas.conf(5) that are about root: permit or deny, identity, what.

    >>> list(parse_doas("permit persist :wheel\\n"))
    [(True, ':wheel', 'all commands')]
    """
    for line in text.split("\n"):
        words = re.sub(r"\{[^{}]*\}", " ", line.partition("#")[0]).split()
        if not words or words[0] not in ("permit", "deny"):
            continue
        rest = [word for word in words[1:] if word not in ("nopass", "nolog", "persist", "keepenv")]
        rest = [word for word in rest if word != "setenv"]
        if not rest:
            continue
        target = rest[rest.index("as") + 1 :][:1] if "as" in rest[1:] else ["root"]
        if words[0] == "deny" and "cmd" in rest:
            continue  # it takes one command away
        if target in (["root"], ["0"]) or words[0] == "permit":
            yield (
                words[0] == "permit",
                rest[0],
                "some commands" if "cmd" in rest else "all commands",
            )
