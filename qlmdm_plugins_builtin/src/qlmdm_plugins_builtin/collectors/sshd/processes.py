"""Finds sshd among the processes, and with which options it was started."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qlmdm_core import Host, Process

OTHER_SERVERS = ("dropbear", "tinysshd")
"""Other programs that let people in by the same protocol."""

_WITH_ARGUMENT = "CEbcfghkopu"
"""The options of sshd(8) that take one."""
_CONTAINER = re.compile(r"docker|libpod|lxc|kubepods|containerd|crio|machine\.slice|nspawn")


@dataclass(frozen=True)
class Options:
    """The options of a running sshd that change its configuration."""

    file: str | None = None
    """`-f`: its configuration file."""
    settings: tuple[str, ...] = ()
    """`-o` and `-p`, as `Keyword=value`."""

    def as_arguments(self) -> list[str]:
        """The same as options for another sshd."""
        file = ["-f", self.file] if self.file else []
        return file + [f"-o{setting}" for setting in self.settings]


def is_sshd(process: Process) -> bool:
    """Whether a process is an sshd, of which kind ever.

    The executable decides, by its exact name: a replaced one is " (deleted)", and others
    only look alike. Where it can't be read, the name of the process has to do.
    """
    if process.program is not None:
        return _base(process.program) == "sshd"
    return process.comm == "sshd"


def is_listener(process: Process) -> bool:
    """Whether an sshd waits for connections. The others serve one, and may outlive it."""
    if not is_sshd(process):
        return False
    title = " ".join(process.argv or ())
    if title.startswith("sshd: "):
        return "[listener]" in title
    return "-i" not in (process.argv or ())[1:]


def other_servers(processes: Iterable[Process]) -> list[str]:
    """The other servers of the protocol that run."""
    names = {_base(process.program or "") or process.comm for process in processes}
    return [name for name in OTHER_SERVERS if name in names]


def in_container(host: Host, pid: int) -> bool:
    """Whether a process has a network of its own, as in a container."""
    own, first = _link(host, pid), _link(host, 1)
    if own and first:
        return own != first
    return _in_container_group(host, pid) and not _in_container_group(host, 1)


def _link(host: Host, pid: int) -> str:
    try:
        return host.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _in_container_group(host: Host, pid: int) -> bool:
    try:
        return bool(_CONTAINER.search(host.read(f"/proc/{pid}/cgroup")))
    except OSError:
        return False


def _base(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def options_of(argv: Sequence[str]) -> Options:
    """The options in a command line, or in the title that sshd writes over it."""
    words = list(argv)
    if len(words) == 1 or (words and words[0].startswith("sshd: ")):
        words = " ".join(words).removeprefix("sshd: ").split("[listener]", 1)[0].split()
    return parse_options(words[1:])


def parse_options(words: Sequence[str]) -> Options:
    """The options among the words of a command line, read as getopt(3) does. Never raises."""
    file: str | None = None
    settings: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--" or not word.startswith("-"):
            break
        for position, letter in enumerate(word[1:], 2):
            if letter not in _WITH_ARGUMENT:
                continue
            value = word[position:]
            if not value and at < len(words):
                value = words[at]
                at += 1
            if letter == "f" and value:
                file = value
            elif letter == "o" and value:
                settings.append(value)
            elif letter == "p" and value:
                settings.append(f"Port={value}")
            break
    return Options(file, tuple(settings))
