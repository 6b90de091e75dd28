"""Finds out what the running sshd lets happen: by asking sshd, else by reading its files.

`sshd -T` is the authority on values and defaults; `sshd -G` (OpenSSH 9.3) says the same
without host keys. Neither says which Match blocks there are, so the files are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from qlmdm_core import Host, osrelease
from qlmdm_plugins_builtin.collectors.sshd import logins
from qlmdm_plugins_builtin.collectors.sshd.accounts import (
    KEYWORDS,
    OUTSIDE,
    Visitor,
    cases,
    visitors,
)
from qlmdm_plugins_builtin.collectors.sshd.config import (
    MAIN_FILES,
    Config,
    Match,
    Setting,
    parse_lines,
    read,
)
from qlmdm_plugins_builtin.collectors.sshd.processes import Options

Judge = Callable[[logins.Options], bool | None]
_TICKS_PER_SECOND = 100  # USER_HZ, the same on all machines (proc(5), starttime)
_SHOWN = (*KEYWORDS[:6],)
_MOST_BLOCKS = 300
"""Settings in Match blocks, and names in their conditions: more, nobody writes by hand."""


@dataclass(frozen=True)
class Effective:
    """Whether a password is enough, and on what that rests. None: not known."""

    password_login: bool | None
    root_password_login: bool | None
    source: str | None
    """`sshd -T`, `sshd -G`, or the file that was read."""
    why: str = ""
    """Why something is not known, or which Match block decides."""
    ports: tuple[int, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings outside Match blocks that decide."""


def find(
    host: Host, options: Options, pid: int | None, unit: str | None, ports: Sequence[int] = ()
) -> Effective:
    """What holds for an ordinary user and for root who come from outside."""
    config = read(host, options.file)
    blocks = [item for item in config.settings if item.blocks and item.keyword in KEYWORDS]
    asked = _Sshd(host, options)
    general, source = asked.settings(), asked.source
    if general is None:
        if config.problems or not config.files:
            problem = config.problems[0] if config.problems else "no configuration file"
            return Effective(None, None, None, f"{asked.why}; {problem}")
        general = _from_files(config, root_is_shut=_root_is_shut_by_default(host, config))
        source = config.files[0]
    general = {**general, **_of_command_line(options)}
    known_ports = tuple(ports) or _numbers(general.get("port", ()))
    if _too_many(blocks):
        why = f"{config.files[0]} has more Match blocks than are looked at"
        return Effective(None, None, source, why, known_ports)
    answers = _Answers(general, blocks, known_ports, _ordinary_user(host), _groups_of_root(host))
    if blocks or config.problems:
        answers.ask(asked)
    user, user_why = answers.of_users()
    root, root_why = answers.of_root()
    doubt = (
        config.problems[0] if config.problems and config.files else _stale(host, config, pid, unit)
    )
    if doubt:
        # What is allowed may be shut elsewhere; what is shut may be allowed there.
        user, root = user or None, root or None
    return Effective(
        logins.any_of((user, root)),
        root,
        source,
        doubt or user_why or root_why,
        _numbers(general.get("port", ())),
        {name: " ".join(general[name]) for name in _SHOWN if general.get(name)},
    )


def _too_many(blocks: Sequence[Setting]) -> bool:
    """Whether it would take too long to try all whom the blocks name with all the blocks."""
    named = {block: None for setting in blocks[:_MOST_BLOCKS] for block in setting.blocks}
    people = sum(value.count(",") + 1 for block in named for _, value in block.criteria)
    return len(blocks) >= _MOST_BLOCKS or people > _MOST_BLOCKS


class _Sshd:
    """Asks sshd itself for its settings."""

    def __init__(self, host: Host, options: Options) -> None:
        self._host, self._options = host, options
        # By its full path: sshd refuses to start by another.
        self._program = host.which("sshd") or "/usr/sbin/sshd"
        self._mode = "-T"
        self.source: str | None = None
        self.why = ""

    def settings(self) -> dict[str, list[str]] | None:
        """The settings outside Match blocks; None, with `why`, if it does not tell them."""
        for mode in ("-T", "-G"):
            found = self._ask(mode, ())
            if found is not None:
                self._mode, self.source = mode, f"sshd {mode}"
                return found
        return None

    def settings_for(self, user: str, port: int) -> dict[str, list[str]] | None:
        """The settings for a user who comes from outside."""
        if self.source is None:
            return None
        # Before 8.x, a missing attribute that a Match line asks for is an error.
        spec = f"user={user},host={OUTSIDE},addr={OUTSIDE},laddr=198.51.100.1,lport={port}"
        return self._ask(self._mode, ("-C", spec))

    def _ask(self, mode: str, more: Sequence[str]) -> dict[str, list[str]] | None:
        argv = [self._program, mode, *more, *self._options.as_arguments()]
        answer = self._host.run(argv, timeout=5.0)
        if not answer.found and not self._options.file:
            # The same, with the name of the file that it reads anyway; a recording may have it so.
            answer = self._host.run([*argv, "-f", MAIN_FILES[0]], timeout=5.0)
        if answer.ok:
            found = logins.parse_dump(answer.stdout)
            if "permitrootlogin" in found or "port" in found:
                return found
        self.why = self.why or (answer.why if not answer.ok else "sshd printed no settings")
        return None


class _Answers:
    """Who gets in by a password, by the settings and the Match blocks that change them."""

    def __init__(
        self,
        general: Mapping[str, Sequence[str]],
        blocks: Sequence[Setting],
        ports: tuple[int, ...],
        ordinary: str,
        groups_of_root: frozenset[str],
    ) -> None:
        self._general, self._blocks, self._ports = general, blocks, ports
        self._ordinary, self._root = ordinary, Visitor("root", groups_of_root)
        self._told: dict[str, logins.Options] = {}

    def ask(self, sshd: _Sshd) -> None:
        """Let sshd say itself what holds for root and for an ordinary user."""
        for user in ("root", self._ordinary):
            found = sshd.settings_for(user, (*self._ports, 22)[0])
            if found is not None:
                self._told[user] = found

    def of_users(self) -> tuple[bool | None, str]:
        """Whether some ordinary user gets in, and which block it hangs on."""
        people = visitors(self._blocks, self._ordinary)
        return self._judged(people, logins.user_by_password)

    def of_root(self) -> tuple[bool | None, str]:
        """Whether root gets in, and which block it hangs on."""
        return self._judged([self._root], logins.root_by_password)

    def _judged(self, people: Sequence[Visitor], judge: Judge) -> tuple[bool | None, str]:
        outside = [self._one(visitor, judge) for visitor in people]
        found = logins.any_of(outside)
        why = ""
        if found is False:
            anywhere = [
                self._one(Visitor(v.user, v.groups, from_outside=False), judge) for v in people
            ]
            if logins.any_of(anywhere) is not False:
                found = None
        if found is not False and self._blocks and judge(self._general) is not True:
            why = f"it depends on {self._deciding(judge)}"
        return found, why

    def _deciding(self, judge: Judge) -> Match:
        """The first block that by itself changes the answer; the first of all if none does."""
        usual = judge(self._general)
        blocks = list(dict.fromkeys(item.blocks[-1] for item in self._blocks))
        for block in blocks:
            own: dict[str, list[str]] = {}
            for item in self._blocks:
                if item.blocks[-1] == block:
                    own.setdefault(item.keyword, [item.value])
            if judge({**self._general, **own}) != usual:
                return block
        return blocks[0]

    def _one(self, visitor: Visitor, judge: Judge) -> bool | None:
        told = self._told.get(visitor.user)
        themselves = visitor.user == "root" or visitor.groups == frozenset({visitor.user})
        if told is not None and visitor.from_outside and themselves:
            return judge(told)
        found = {judge(case) for case in cases(self._general, self._blocks, visitor, self._ports)}
        return found.pop() if len(found) == 1 else None


def _root_is_shut_by_default(host: Host, config: Config) -> bool:
    """Whether an sshd that is told nothing of root refuses root's password.

    OpenSSH does since 7.0. Red Hat's of RHEL 8 and before does not; its configuration has the
    default in a comment, as all that follow OpenSSH's example do.
    """
    if config.comments_root_yes:
        return False
    known = osrelease.read(host)
    family = {known.get("ID", ""), *known.get("ID_LIKE", "").split()}
    major = known.get("VERSION_ID", "").partition(".")[0]
    return not ({"rhel", "centos"} & family and major in ("5", "6", "7", "8"))


def _from_files(config: Config, *, root_is_shut: bool) -> dict[str, list[str]]:
    """The settings outside Match blocks: the first value of each, then sshd's defaults."""
    found: dict[str, list[str]] = {}
    for item in config.settings:
        if item.blocks:
            continue
        if item.keyword in ("allowusers", "denyusers", "port"):
            found.setdefault(item.keyword, []).extend(item.arguments)
        else:
            found.setdefault(item.keyword, [item.value])
    defaults = {name: list(value) for name, value in logins.DEFAULTS.items()}
    if not root_is_shut:
        del defaults["permitrootlogin"]
    return {**defaults, **found}


def _of_command_line(options: Options) -> dict[str, list[str]]:
    """The settings that the running sshd was started with; they come before those of files."""
    found: dict[str, list[str]] = {}
    for text in options.settings:
        for _, keyword, arguments in parse_lines(text):
            found.setdefault(keyword, [" ".join(arguments)])
    return found


def _numbers(values: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(value) for value in values if re.match(r"[0-9]{1,5}\Z", value))


def _ordinary_user(host: Host) -> str:
    """The name of a person with an account, for Match blocks about users and groups."""
    try:
        lines = host.read("/etc/passwd").splitlines()
    except OSError:
        lines = []
    for line in lines:
        fields = line.split(":")
        number = fields[2] if len(fields) == 7 else ""
        if re.match(r"[0-9]{1,9}\Z", number) and 1000 <= int(number) < 60000:
            return fields[0]
    return "qlmdm-nobody"


def _groups_of_root(host: Host) -> frozenset[str]:
    """The groups that root is in (group(5)); its own, if the others can't be told."""
    try:
        lines = host.read("/etc/group").splitlines()
    except OSError:
        lines = []
    found = {"root"}
    for line in lines:
        fields = line.split(":")
        if len(fields) == 4 and (fields[2] == "0" or "root" in fields[3].split(",")):
            found.add(fields[0])
    return frozenset(found)


def _stale(host: Host, config: Config, pid: int | None, unit: str | None) -> str:
    """Why the running sshd may have other settings than the files: it read them at its start."""
    started = _started_at(host, pid) if pid else None
    if started is None:
        return ""
    newest, path = max(((_mtime(host, path), path) for path in config.files), default=(0.0, ""))
    if newest <= started + 1 or newest <= _changed_at(host, unit):
        return ""
    return f"{path} was changed after sshd started; it has not read that yet"


def _mtime(host: Host, path: str) -> float:
    try:
        return host.stat(path).mtime
    except OSError:
        return 0.0


def _started_at(host: Host, pid: int) -> float | None:
    """When a process started, in seconds since 1970 (proc(5): btime, starttime)."""
    try:
        boot = [line for line in host.read("/proc/stat").splitlines() if line.startswith("btime ")]
        fields = host.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        return int(boot[0].split()[1]) + int(fields[19]) / _TICKS_PER_SECOND
    except (OSError, IndexError, ValueError):
        return None


def _changed_at(host: Host, unit: str | None) -> float:
    """When systemd last saw the unit change its state, as a reload does; 0 if not known."""
    if unit is None:
        return 0.0
    argv = ["systemctl", "show", "--timestamp=unix", "-p", "StateChangeTimestamp", unit]
    answer = host.run(argv, timeout=5.0)
    value = answer.stdout.strip().partition("=@")[2]
    return float(value) if answer.ok and value.isascii() and value.isdigit() else 0.0
