"""What a collector sees of the machine: `Host`, the adapter to its distribution, and what they
answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from qlmdm_core.api.values import JSON


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What came of `Host.run`. Nothing about the machine raises: every outcome is data."""

    argv: tuple[str, ...]
    found: bool = True
    """False when there is no such program (or it may not be executed)."""
    returncode: int | None = None
    """The exit status; negative: killed by that signal; None: not started, or timed out."""
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False
    truncated: bool = False
    """The output was cut at `max_bytes`; the command was then killed."""
    error: str = ""
    """Why it could not be started, for a person: "not root: cannot run as ada"."""

    @property
    def ok(self) -> bool:
        """It ran, exited 0, in time, and all of its output is here."""
        return self.returncode == 0 and not self.timed_out and not self.truncated

    @property
    def why(self) -> str:
        """One clause that says what went wrong, for the `reason` of an unknown value."""
        name = self.argv[0].rsplit("/", 1)[-1] if self.argv else "command"
        if self.error:
            return f"{name}: {self.error}"
        if not self.found:
            return f"{name} is not installed"
        if self.timed_out:
            return f"{name} did not answer in time"
        if self.truncated:
            return f"{name} printed too much"
        first = self.stderr.strip().splitlines()[:1] or self.stdout.strip().splitlines()[:1]
        return f"{name} exited {self.returncode}" + (f": {first[0][:160]}" if first else "")


@dataclass(frozen=True, kw_only=True)
class FileStat:
    """What `Host.stat` tells of a file (links are followed)."""

    mode: int
    """Type and permission bits, as `st_mode`: use `stat.S_ISREG` and its like."""
    uid: int = 0
    size: int = 0
    """Bytes."""
    mtime: float = 0.0
    """Seconds since 1970, UTC."""
    rdev: int = 0
    """Device number, for device nodes (`os.major`, `os.minor`)."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process. What could not be read is None, which is not the same as empty."""

    pid: int
    ppid: int | None = None
    uid: int | None = None
    user: str | None = None
    comm: str | None = None
    argv: tuple[str, ...] | None = None
    exe: str | None = None
    """The target of /proc/PID/exe; " (deleted)" is kept, see `program`."""
    environ: Mapping[str, str] | None = None

    @property
    def program(self) -> str | None:
        """`exe` without the suffix that the kernel adds once the file was replaced."""
        return self.exe.removesuffix(" (deleted)") if self.exe is not None else None


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """An answer from `Host.http`. `status` is 0 when there was none; `error` then says why."""

    status: int
    body: str = ""
    error: str = ""


@runtime_checkable
class Host(Protocol):
    """A collector's only way to the machine, which is what makes a machine recordable.

    Commands run with a fixed PATH (`qlmdm_core.searchpath`: what root's usually is),
    the C.UTF-8 locale, no inherited environment, standard input closed, and a time limit.
    File methods raise `FileNotFoundError`, `PermissionError` or another `OSError`, as `open` does.
    """

    @property
    def distro(self) -> DistroAdapter | None:
        """The adapter that matches this machine's os-release best; None if none does."""

    @property
    def is_root(self) -> bool:
        """Whether the collector runs (or the recording was made) with uid 0."""

    def now(self) -> datetime:
        """The present, aware, UTC. In a replay: when the recording was made."""

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 10.0,
        max_bytes: int = 4 << 20,
    ) -> CommandResult:
        """Run a program, without a shell, and wait for it at most `timeout` seconds.

        `user` runs it as that user with that user's groups and HOME, USER, LOGNAME; it needs
        root unless it is the present user. `env` is added to the fixed environment. Output is
        decoded as UTF-8 (what is not is replaced) and cut at `max_bytes` for each stream.
        """

    def which(self, program: str) -> str | None:
        """The program's absolute path on the fixed PATH, or None."""

    def read(self, path: str, *, max_bytes: int = 1 << 20) -> str:
        """The text of a regular file (or one in /proc or /sys), at most `max_bytes` of it.

        Decoded as UTF-8, what is not replaced. Raises `OSError` for anything but a regular
        file: a FIFO or a device is never opened.
        """

    def exists(self, path: str) -> bool:
        """Whether the path exists, following links; True also for what may not be read."""

    def glob(self, pattern: str) -> list[str]:
        """The absolute paths that match, sorted; `*`, `?` and `[…]`, not `**`."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def stat(self, path: str) -> FileStat:
        """Type, owner, size and time of what the path leads to."""

    def readlink(self, path: str) -> str:
        """Where a symbolic link points, as written."""

    def processes(self) -> list[Process]:
        """All processes in sight, by pid."""

    def http(
        self,
        method: str,
        url: str,
        *,
        json: JSON = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> HttpResponse:
        """One request to the network; only for collectors whose setting asks for it."""

    def recall(self) -> JSON:
        """What this collector kept by `remember` in an earlier run; None if there is nothing.

        It may be lost at any time, and is none in a replay and when nothing may be written
        (`qlmdm-collect --stdout`).
        """

    def remember(self, value: JSON) -> None:
        """Keep a small value (at most 64 kB as JSON) for later runs, readable for root only.

        For what is dear to find out twice. What can't be kept is forgotten, without an error.
        """


@dataclass(frozen=True, kw_only=True)
class Updates:
    """What a distribution's package manager says about pending updates."""

    state: Literal["up_to_date", "updates_available", "unknown"]
    reason: str = ""
    """Why the state is unknown."""
    updates: int | None = None
    security_updates: int | None = None
    """None when the distribution doesn't tell security updates from others."""
    packages: tuple[Mapping[str, JSON], ...] = ()
    """`{"name", "installed", "available", "security": true|false|null}` for each."""
    held: tuple[str, ...] = ()
    """Packages that the owner holds back; they do not count as updates."""
    cache_age_seconds: int | None = None
    """How old the package lists are; an old list proves nothing."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReleaseUpgrade:
    """Whether the distribution has a newer release, and how long this one is supported."""

    available: str | None = None
    """The newer release's name, or None."""
    supported_until: str | None = None
    """The last day with updates, `YYYY-MM-DD`, or None if not known or rolling."""
    end_of_life: bool | None = None
    reason: str = ""
    """Why it could not be found out."""


@dataclass(frozen=True, kw_only=True)
class Reboot:
    """Whether an update that is installed takes effect only after a restart."""

    required: bool | None
    """None if it can't be told."""
    reason: str = ""
    """Why it is required (what asks for it), or why it can't be told."""
    packages: tuple[str, ...] = ()
    """The packages that ask for it, as far as the distribution says."""
    installed_kernel: str | None = None
    """The kernel that a restart would start, if the adapter can tell."""
    notes: tuple[str, ...] = ()
    """What was not looked at, although the answer is no."""


@dataclass(frozen=True, kw_only=True)
class InstalledPackages:
    """What the distribution's package manager has installed."""

    packages: tuple[Mapping[str, JSON], ...] | None
    """`{"name", "version", "architecture"}` for each, by name; None if it can't be told."""
    reason: str = ""
    """Why it can't be told."""


class DistroAdapter(Protocol):
    """What differs from distribution to distribution. One adapter serves a family.

    The adapter with the highest `match` above 0 is used; a tie is an error that names both.
    Methods may raise; the collector that called them is then an error, no other.
    """

    name: str

    def match(self, os_release: Mapping[str, str]) -> int:
        """How well this adapter fits: 0 not, 10 a relative (ID_LIKE), 20 made for it (ID)."""

    def updates(self, host: Host) -> Updates:
        """The pending updates, without changing anything and without the network."""

    def release_upgrade(self, host: Host) -> ReleaseUpgrade:
        """The newer release, and the end of support."""

    def package_version(self, host: Host, name: str) -> str | None:
        """The installed version of a package, or None if it is not installed."""

    def packages(self, host: Host) -> InstalledPackages:
        """All installed packages with their versions, from the local database."""

    def reboot_required(self, host: Host) -> Reboot:
        """Whether an update waits for a restart."""
