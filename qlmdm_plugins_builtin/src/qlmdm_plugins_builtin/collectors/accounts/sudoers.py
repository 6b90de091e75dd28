"""Reads sudoers(5), as far as it tells who may run something as somebody else.

Who may run what exactly is not worked out: of a rule, only whether it gives everything or some
commands counts. Lines that are not understood are kept as problems, so that nobody is said to
have no rights because of a line that was skipped.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

MOST_FILES = 200
_DEEPEST = 20
_INCLUDE = re.compile(r"[@#](include|includedir)[ \t]+(\S.*)")
_ALIAS = re.compile(r"(User|Runas|Host|Cmnd|Cmd)_Alias[ \t]+(.*)")
_ALIAS_NAME = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_DEFAULTS_OF = re.compile(r"Defaults:[ \t]*([^\s,]+(?:[ \t]*,[ \t]*[^\s,]+)*)")
_FURTHER_HOSTS = re.compile(r"\s:[^=:()]*=")
"""`ada web = /bin/a : db = /bin/b`: what follows is for other hosts, and not worked out."""
_COMMENT = re.compile(r"(?<!\\)#(?!-?[0-9]).*")
"""`#` before a number is no comment: it names a uid."""
_QUOTED = re.compile(r'"([^"]*)"')
_HIDDEN = re.compile("\0(\\d+)\0")
_RUNAS = re.compile(r"\(([^)]*)\)\s*")
_PREFIX = re.compile(
    r"(?:(?:NO)?(?:PASSWD|EXEC|SETENV|LOG_INPUT|LOG_OUTPUT|MAIL|FOLLOW|INTERCEPT)[ \t]*:"
    r"|(?:ROLE|TYPE|CWD|CHROOT|TIMEOUT|NOTBEFORE|NOTAFTER|PRIVS|LIMITPRIVS|APPARMOR_PROFILE)"
    r"=\S+)\s*"
)
"""What may stand before a command: tags and options."""
_MOST_PREFIXES = 30

Gives = Literal["all", "some", "less", "none"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line that gives (or takes) rights."""

    users: tuple[str, ...]
    """As written: `ada`, `%sudo`, `#1000`, `!eve`, `ADMINS`, `ALL`."""
    hosts: tuple[str, ...]
    gives: Gives
    """All commands as root, some, none (it takes all away), or less (it takes some away)."""
    no_password: bool
    file: str


@dataclass(kw_only=True)
class Sudoers:
    """What all files say, in the order in which sudo reads them."""

    rules: list[Rule] = field(default_factory=list)
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of users and of hosts; no name can be both."""
    asks_for_root: bool = False
    """sudo asks for root's password, not the person's (rootpw, targetpw, runaspw)."""
    asks_for_root_of: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)
    """The same, of some users; these come after what is said of all (sudoers(5))."""
    problems: list[str] = field(default_factory=list)
    """What could not be read or understood: file and line."""


class _Reader:
    """Reads a file and all that it includes."""

    def __init__(
        self, read_file: Callable[[str], str], list_folder: Callable[[str], list[str]]
    ) -> None:
        self._read_file, self._list_folder = read_file, list_folder
        self._files = 0
        self.found = Sudoers()

    def load(self, path: str, depth: int = 0) -> None:
        self._files += 1
        if self._files > MOST_FILES or depth > _DEEPEST:
            return self._problem(path, "too many files are included")
        try:
            text = self._read_file(path)
        except OSError as error:
            return self._problem(path, error.strerror or "it can't be read")
        for number, line in _lines(text):
            included = _INCLUDE.match(line)
            if included:
                for further in self._included(path, number, included[1], included[2]):
                    self.load(further, depth + 1)
            elif not _take(self.found, line, path):
                self._problem(path, f"line {number} is not understood")
        return None

    def _included(self, path: str, number: int, kind: str, target: str) -> list[str]:
        target = target.strip().strip('"').replace("\\ ", " ")
        if "%" in target:
            self._problem(path, f"line {number} includes a file by the host's name")
            return []
        target = posixpath.join(posixpath.dirname(path), target)
        if kind == "include":
            return [target]
        try:
            names = self._list_folder(target)
        except FileNotFoundError:
            return []  # sudo doesn't mind
        except OSError as error:
            self._problem(target, error.strerror or "it can't be read")
            return []
        # sudoers(5): "skipping file names that end in ~ or contain a . character".
        kept = (name for name in sorted(names) if "." not in name and not name.endswith("~"))
        return [f"{target}/{name}" for name in kept]

    def _problem(self, path: str, why: str) -> None:
        if len(self.found.problems) < MOST_FILES:
            self.found.problems.append(f"{path}: {why}")


def read(
    path: str, read_file: Callable[[str], str], list_folder: Callable[[str], list[str]]
) -> Sudoers:
    """Read a file and all that it includes. What can't be read is a problem, no exception."""
    reader = _Reader(read_file, list_folder)
    reader.load(path)
    return reader.found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, continued ones joined, without comments."""
    joined: list[str] = []
    begun = 1
    for number, line in enumerate(text.split("\n"), 1):
        if not joined:
            begun = number
            if _INCLUDE.match(line.strip()):
                yield number, line.strip()
                continue
        bare = _COMMENT.sub("", line)
        if bare == line and line.endswith("\\"):  # a comment is never continued
            joined.append(line[:-1])
            continue
        whole = "".join([*joined, bare]).strip()
        joined = []
        if whole:
            yield begun, whole
    if rest := "".join(joined).strip():
        yield begun, rest


def _take(found: Sudoers, line: str, file: str) -> bool:
    """Take in one line; False if it is not understood."""
    if line.startswith("Defaults"):
        _take_defaults(found, line)
        return True
    alias = _ALIAS.match(line)
    if alias:
        return alias[1] not in ("User", "Host") or _take_alias(found, alias[2])
    rule = parse_rule(line, file)
    if rule is not None:
        found.rules.append(rule)
    return rule is not None


def _take_defaults(found: Sudoers, line: str) -> None:
    # openSUSE's sudo-policy-wheel-auth-self: `Defaults:%wheel !targetpw`.
    begin = _DEFAULTS_OF.match(line)
    words = re.split(r"[\s,]+", line[begin.end() :] if begin else line)
    if not begin and words[0] != "Defaults":  # of some hosts, commands or targets only
        return
    for name in ("rootpw", "targetpw", "runaspw"):
        if name not in words and f"!{name}" not in words:
            continue
        if begin:
            found.asks_for_root_of.append((_words(begin[1]), name in words))
        else:
            found.asks_for_root = name in words


def _take_alias(found: Sudoers, definitions: str) -> bool:
    understood = True
    for definition in re.split(r":(?=\s*[A-Z][A-Z0-9_]*\s*=)", definitions):
        name, equals, members = definition.partition("=")
        if equals and _ALIAS_NAME.match(name.strip()):
            found.aliases[name.strip()] = _words(members)
        else:
            understood = False
    return understood


def parse_rule(line: str, file: str) -> Rule | None:
    """A line such as `%sudo ALL=(ALL:ALL) NOPASSWD: ALL`; None if it is not understood.

    >>> parse_rule("%wheel, ada ALL=(ALL:ALL) ALL", "f").users
    ('%wheel', 'ada')
    """
    quoted: list[str] = []

    def hide(found: re.Match[str]) -> str:
        quoted.append(found[1])
        return f"\0{len(quoted) - 1}\0"

    def show(text: str) -> str:
        return _HIDDEN.sub(lambda found: quoted[int(found[1])], text)

    left, equals, right = _QUOTED.sub(hide, line.replace("\0", "")).partition("=")
    words = re.sub(r"!\s+", "!", ",".join(_words(left))).split()
    if not equals or len(words) != 2 or not right.strip() or _FURTHER_HOSTS.search(right):
        return None
    return Rule(
        users=tuple(show(word) for word in _words(words[0])),
        hosts=tuple(show(word) for word in _words(words[1])),
        gives=_gives(right),
        no_password="NOPASSWD" in right,
        file=file,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _gives(commands: str) -> Gives:
    """Whether a list of commands gives all of them as root, some, or takes some or all away."""
    gives: Gives = "less"
    as_root = True
    for command in _commands(commands):
        runas = _RUNAS.match(command)
        if runas:
            targets = _words(runas[1].partition(":")[0])
            as_root = not targets or bool({"ALL", "root", "#0"} & set(targets))
            command = command[runas.end() :]
        for _ in range(_MOST_PREFIXES):
            if not (prefix := _PREFIX.match(command)):
                break
            command = command[prefix.end() :]
        command = command.strip()
        if command.startswith("!"):
            gives = "none" if command[1:].strip() == "ALL" else gives
        elif command == "ALL" and as_root:
            gives = "all"
        elif command and gives != "all":
            gives = "some"
    return gives


def _commands(text: str) -> Iterator[str]:
    """The parts between commas, but for commas in parentheses and behind a backslash."""
    parts: list[str] = []
    for part in text.replace("\\,", " ").split(","):
        parts.append(part)
        if part.count("(") > part.count(")") and len(parts) == 1:
            continue
        if len(parts) > 1 and ")" not in part:
            continue
        yield ",".join(parts).strip()
        parts = []
    if parts:
        yield ",".join(parts).strip()
