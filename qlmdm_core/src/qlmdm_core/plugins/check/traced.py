"""Runs collectors as a client does, and looks at each system call that changes or connects.

strace(1) shows what a collector and all that it starts do; a failed call counts, too, since it
may succeed elsewhere. Where nothing can be traced, nothing is said of it: a read-only file
system would hide what is tried.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from qlmdm_core.plugins.check.findings import Finding, failed, not_checked, ok
from qlmdm_core.settings import Loaded

SECONDS = 600.0
NO_ADAPTER = 40
"""The exit status of what is traced, if there was nothing to ask."""
CALLS = ",".join(
    f"?{call}"  # strace(1): where the kernel has no such call, it is passed over
    for call in (
        *("open", "openat", "openat2", "creat", "truncate", "mknod", "mknodat", "mount", "umount2"),
        *("unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir"),
        *("link", "linkat", "symlink", "symlinkat", "chmod", "fchmodat", "fchmodat2"),
        *("chown", "lchown", "fchownat", "utime", "utimes", "futimesat", "utimensat"),
        *("setxattr", "lsetxattr", "removexattr", "lremovexattr", "sethostname"),
        *("connect", "sendto", "sendmsg", "sendmmsg"),
    )
)
_OWN = (r"/dev/(null|tty|pts/\d+)", r"/proc/(self|\d+)/oom_score_adj", r"/sys/fs/cgroup/.*")
"""What may be written to: nothing of it is on a disk, and the cgroups are those of the run."""
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CONNECTS = ("connect", "sendto", "sendmsg", "sendmmsg")
_MOST = 3


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What to run."""

    distribution: str
    collectors: tuple[str, ...]
    adapters: bool = False
    """Whether to ask the distribution's adapters, too, if one is made for this machine."""
    settings: str | None = None
    """The client's settings file."""
    replay: str | None = None
    """The folder of a recorded machine; None: this one."""


def trace(what: Traced) -> Iterator[Finding]:
    """Run a distribution's collectors and adapters, and tell what they change."""
    if not what.collectors and not what.adapters:
        return
    strace = shutil.which("strace")
    if strace is None:
        todo = "Install strace, and try again"
        for rule in ("writes", "network"):
            yield not_checked(rule, "strace is not installed here", todo)
        return
    calls = _trace(strace, what)
    if isinstance(calls, Untraced):
        for rule in ("writes", "network"):
            yield not_checked(rule, calls.why, calls.todo)
        return
    where = "a recorded machine" if what.replay else "this machine"
    for rule in ("writes", "network"):
        broken = list(_broken(rule, calls))
        if broken:
            yield from _blame(strace, rule, what, broken)
        else:
            asked = [*what.collectors, *(["the adapter"] if what.adapters else [])]
            yield ok(rule, f"on {where}: {', '.join(asked)}")


def _blame(strace: str, rule: str, what: Traced, broken: Sequence[str]) -> Iterator[Finding]:
    """Find out which collector it was, by running each alone."""
    found = False
    for name in what.collectors:
        calls = _trace(strace, replace(what, collectors=(name,), adapters=False))
        alone = [] if isinstance(calls, Untraced) else list(_broken(rule, calls))
        if alone:
            found = True
            yield from _tell(rule, f"collector {name}", alone)
    if not found:
        yield from _tell(rule, what.distribution, broken)


def _tell(rule: str, where: str, broken: Sequence[str]) -> Iterator[Finding]:
    todo = (
        "Ask in a way that changes nothing"
        if rule == "writes"
        else "Ask the network only if a setting turns that on"
    )
    for call in list(dict.fromkeys(broken))[:_MOST]:
        yield failed(rule, where, call, todo)


@dataclass(frozen=True, kw_only=True)
class Untraced:
    """Why there is nothing to look at."""

    why: str
    todo: str = ""


def _trace(strace: str, what: Traced) -> list[str] | Untraced:
    """The calls, each on one line."""
    with tempfile.TemporaryDirectory(prefix="qlmdm-check-") as folder:
        path = os.path.join(folder, "trace")
        code = "from qlmdm_core.plugins.check.traced import main; main()"
        arguments = json.dumps(asdict(what))
        command = [strace, "-f", "-qq", "-s", "300", "-o", path, "-e", f"trace={CALLS}"]
        command += [sys.executable, "-c", code, arguments]
        # Bytecode is written when a distribution is installed, not when it runs.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            _, said = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Untraced(why=f"it takes longer than {SECONDS:g} seconds when it is traced")
        if "PTRACE" in said or "ptrace" in said:
            todo = "Try it on a machine that lets processes be traced"
            return Untraced(why="processes can't be traced here", todo=todo)
        if process.returncode == NO_ADAPTER:
            todo = "Try it on a machine of its distribution"
            return Untraced(why="its adapters are made for other machines than this", todo=todo)
        if process.returncode:
            last = (said.strip().splitlines() or [f"it exited {process.returncode}"])[-1]
            return Untraced(why=f"nothing could be run when traced: {last[:200]}")
        with open(path, encoding="utf-8", errors="replace") as file:
            return list(whole_calls(file.read()))


# --- reading a trace ----------------------------------------------------------------------------


def whole_calls(trace: str) -> Iterator[str]:
    """The calls of a trace; what was interrupted by another process's is put together."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>")
        elif resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            yield begun.pop(pid, "") + resumed[1]
        elif not call.startswith(("+++", "---")):
            yield call
    yield from begun.values()  # its process was killed before it returned


def _broken(rule: str, calls: Sequence[str]) -> Iterator[str]:
    is_broken = is_connection if rule == "network" else is_change
    return (call[:300] for call in calls if is_broken(call))


def is_connection(call: str) -> bool:
    """Whether a call reaches for another machine (or a service of this one, by its port)."""
    name = call.partition("(")[0]
    return name in _CONNECTS and "sa_family=AF_INET" in call and "htons(0)" not in call


def is_change(call: str) -> bool:
    """Whether a call changes a file, or would if it were allowed to."""
    name = call.partition("(")[0]
    if name in _CONNECTS:
        return False
    if name.startswith("open") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call):
        return False
    if "O_TMPFILE" in call:
        return False  # it has no name and is gone when it is closed
    # All of them: `symlink("/dev/null", "/etc/systemd/system/x.service")` changes the second.
    paths = _PATH.findall(call.rpartition(") = ")[0] or call)
    if "xattr" in name:
        paths = paths[:1]  # the others are the attribute's name and value
    return not (paths and all(re.fullmatch("|".join(_OWN), path) for path in paths))


# --- what is traced -----------------------------------------------------------------------------


def main() -> None:
    """Run the collectors that the command line names, as a client does; then ask the adapters."""
    from qlmdm_core import settings
    from qlmdm_core.client.collect import host_maker
    from qlmdm_core.client.entries import find_entries
    from qlmdm_core.client.isolation import run_collectors
    from qlmdm_core.client.settings import StandaloneSettings

    sys.path[:] = [folder for folder in sys.path if folder]
    what = Traced(**json.loads(sys.argv[1]))
    loaded = (
        settings.load(what.settings, StandaloneSettings)
        if what.settings
        else settings.defaults(StandaloneSettings)
    )
    if what.collectors:
        run_collectors(
            find_entries(()),
            settings=loaded,
            host_factory=host_maker(what.replay),
            only=what.collectors,
        )
    if what.adapters and not _ask_adapters(what, loaded) and not what.collectors:
        sys.exit(NO_ADAPTER)


def _ask_adapters(what: Traced, loaded: Loaded[Any]) -> bool:
    """Ask the distribution's adapters about the machine; whether any is made for it."""
    from qlmdm_core import osrelease
    from qlmdm_core.client.collect import host_maker
    from qlmdm_core.hookspecs import CLIENT_GROUP
    from qlmdm_core.hookspecs import client as hookspec_module
    from qlmdm_core.plugins import PluginFailure, call, discover, load, normalised, register_section
    from qlmdm_core.plugins.check.adapters import answer, questions

    asked = False
    for entry in discover(CLIENT_GROUP):
        if normalised(entry.distribution) != normalised(what.distribution):
            continue
        plugin = load(entry, hookspec_module)
        sections = call(plugin, "qlmdm_register_settings")
        for section in () if isinstance(sections, PluginFailure) else sections:
            register_section(loaded, entry, section)
        adapters = call(plugin, "qlmdm_register_distros", settings=loaded)
        for adapter in () if isinstance(adapters, PluginFailure) else adapters:
            host = host_maker(what.replay)("", lambda: None)
            if adapter.match(osrelease.read(host)) > 0:
                asked = True
                for question in questions(adapter, host).values():
                    answer(question)
    return asked
