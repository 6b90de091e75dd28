"""Reads sshd_config(5) as sshd does: Include, Match, and the first value that counts.

It answers what `sshd -T` leaves out (which Match blocks there are), and all of it where sshd
can't be asked.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qlmdm_core import Host
from qlmdm_plugins_builtin.collectors.whole import read_whole

MAIN_FILES = ("/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config")
"""The administrator's, and the vendor's of openSUSE that counts while there is no other."""

MAX_DEPTH = 16
"""Files within files (SERVCONF_MAX_DEPTH in servconf.c)."""

MOST_FILES = 300
"""So many are read, each as often as it is included."""

_ROOT_YES = re.compile(r"^#PermitRootLogin[ \t]{1,9}yes\b", re.MULTILINE)
# A quote that is not closed goes on to the end: to give it up would be to try it again at
# each quote that follows.
_WORD = re.compile(r'"((?:\\.|[^"\\])*)\\?(?:"|\Z)|(#.*)|([^\s"#][^\s"]*)')
_KEYWORD = re.compile(r'\s*"?([A-Za-z0-9]+)"?(?:\s*=\s*|\s+|$)(.*)', re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")
_PEOPLE = ("user", "group")
_ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
}


@dataclass(frozen=True)
class Match:
    """The condition of a Match block."""

    criteria: tuple[tuple[str, str], ...]
    """Pairs of a criterion in lower case (user, group, address, …, all) and its patterns."""
    where: str
    """File and line, for a person."""

    def __str__(self) -> str:
        # Whom it names is private, and stands in the line that is told.
        shown = [(name, "…" if name in _PEOPLE else value) for name, value in self.criteria]
        words = " ".join(f"{name} {value}".strip() for name, value in shown)
        return f"Match {words} ({self.where})"


@dataclass(frozen=True)
class Setting:
    """One keyword with its arguments, and the Match blocks that it stands in."""

    keyword: str
    """In lower case; a former name is put as the present one."""
    arguments: tuple[str, ...]
    blocks: tuple[Match, ...] = ()
    where: str = ""

    @property
    def value(self) -> str:
        """The arguments as `sshd -T` would print them."""
        return " ".join(self.arguments)


@dataclass
class Config:
    """All settings, in the order in which sshd meets them."""

    settings: list[Setting] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be read; the rest is then no proof of anything."""
    comments_root_yes: bool = False
    """Whether a comment says `#PermitRootLogin yes`: OpenSSH's example has defaults there."""
    endless: bool = False
    """Whether files include each other for ever: sshd refuses to start by them."""


def parse_lines(text: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Number, keyword in lower case and arguments of each line that has any. Never raises.

    `Keyword value`, `Keyword=value` and `Keyword = "value"` are the same; what follows a `#`
    that begins a word is a comment.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("#"):
            continue
        found = _KEYWORD.match(line)
        if found is None:
            continue
        words: list[str] = []
        for word in _WORD.finditer(found[2]):
            if word[2] is not None:
                break
            words.append(word[1] if word[1] is not None else word[3])
        keyword = found[1].lower()
        yield number, _ALIASES.get(keyword, keyword), tuple(words)


def parse_match(arguments: Sequence[str], where: str) -> Match:
    """The condition of a `Match` line: `User a,b Address 10.0.0.0/8`, `all`, `User=a`."""
    words = deque(part for word in arguments for part in word.split("=", 1))
    criteria: list[tuple[str, str]] = []
    while words:
        name = words.popleft().lower()
        alone = name in ("all", "invalid-user")
        criteria.append((name, "" if alone or not words else words.popleft()))
    return Match(tuple(criteria), where)


def read(host: Host, path: str | None = None) -> Config:
    """Read the configuration with all that it includes; `path` is what `-f` said."""
    config = Config()
    main = path or next((name for name in MAIN_FILES if host.exists(name)), MAIN_FILES[0])
    _read_file(host, main, (), config, 0)
    return config


def _read_file(host: Host, path: str, outer: tuple[Match, ...], config: Config, depth: int) -> None:
    if config.endless:
        return
    if depth > MAX_DEPTH or len(config.files) >= MOST_FILES:
        config.endless = True
        how = "too deeply" if depth > MAX_DEPTH else "after too many others"
        config.problems.append(f"{path}: included {how}")
        return
    try:
        text = read_whole(host, path)
    except OSError as error:
        config.problems.append(f"{path}: {error.strerror or 'not readable'}")
        return
    config.files.append(path)
    config.comments_root_yes = config.comments_root_yes or bool(_ROOT_YES.search(text))
    # A Match block ends with the file it stands in (servconf.c restores `activep`).
    blocks = outer
    for number, keyword, arguments in parse_lines(text):
        where = f"{path} line {number}"
        if keyword == "match":
            blocks = (*outer, parse_match(arguments, where))
        elif keyword == "include":
            for pattern in arguments:
                for included in _matching(host, pattern, config):
                    _read_file(host, included, blocks, config, depth + 1)
        else:
            config.settings.append(Setting(keyword, arguments, blocks, where))


def _matching(host: Host, pattern: str, config: Config) -> list[str]:
    """The files of an Include, in lexical order; those that do not exist are no error."""
    path = pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"
    folder = path.rpartition("/")[0] or "/"
    if not _MAGIC.search(folder):
        try:
            # Some systems let only root in here (RHEL: mode 700).
            host.listdir(folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            config.problems.append(f"{folder}: {error.strerror or 'not readable'}")
            return []
    if _MAGIC.search(path):
        return host.glob(path)
    return [path] if host.exists(path) else []
