"""The types that plugins construct and receive: the whole contract between core and plugins.

Descriptors (`Collector`, `AuditCheck`, `Notifier`, …) say what a plugin offers; core
validates them when they are registered and trusts them afterwards. They are frozen and
keyword-only, so that a field can be added without breaking a plugin, and carry `api=1`,
so that a breaking change can be told from an old plugin.

This module imports nothing but the standard library, and little of it: every collector
process loads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

JSON: TypeAlias = Any
"""Anything that `json.dumps` accepts. (A recursive alias helps no reader of a plugin.)"""

State: TypeAlias = Literal["pass", "fail", "unknown"]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
"""What a collector, check, notifier, adapter or settings section may be called."""


def unknown(reason: str, **evidence: JSON) -> dict[str, JSON]:
    """The value of a collector that could not find out, with the reason for a person.

    >>> unknown("nft needs root", ipv4="unknown")
    {'state': 'unknown', 'reason': 'nft needs root', 'ipv4': 'unknown'}
    """
    return {"state": "unknown", "reason": reason, **evidence}


# --- what a collector sees of the machine -------------------------------------------------


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

    Commands run with a fixed PATH (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin),
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


# --- client plugins -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Collector:
    """One kind of fact about a machine.

    `run(host)` returns a JSON object with at least `state` (see the table of values in
    docs/data-model.md). It holds no policy: it reports what is so, with the evidence, and
    `unknown(reason)` when it can't tell. It runs in a process of its own.
    """

    name: str
    run: Callable[[Host], JSON]
    timeout: float = 30.0
    """Seconds after which it is killed, with all that it started."""
    max_bytes: int = 256 << 10
    """The most that its value may take, as JSON."""
    interval: float | None = None
    """Seconds between runs; None: each collect."""
    private: bool = False
    """The value is personal: never logged, hashed with a key that stays on the client."""
    volatile: tuple[str, ...] = ()
    """Fields of the value whose change alone is no news, such as an age in seconds. The server
    then keeps the value it has: a check must not go by them."""
    help: str = ""
    """One sentence for the person at the machine: what is collected, and why."""
    api: int = 1


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

    def reboot_required(self, host: Host) -> bool | None:
        """Whether an update waits for a restart; None if it can't be told."""


# --- server plugins -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientView:
    """What a check may know about one client. Times are aware, UTC."""

    cid: str
    hostname: str
    report: Mapping[str, Mapping[str, JSON]]
    """For each collector: `status` ("ok", "timeout", "error", …), `value` (when ok),
    `error` (when not), `collected_at`, `changed_at` (ISO 8601), `seconds`."""
    enrolled_at: datetime
    last_seen_at: datetime | None = None
    """When it last sent anything that was accepted; None: never."""
    reported_at: datetime | None = None
    """When its last report was accepted."""
    user_email: str | None = None
    tags: tuple[str, ...] = ()
    release: str | None = None
    """The client release it runs, "EPOCH.NUMBER"; None: not installed from a release."""
    pending_commands: tuple[Mapping[str, JSON], ...] = ()
    flags: Mapping[str, JSON] = field(default_factory=dict)
    """Marks that the server set, such as "duplicate_identity" or "deprecated_url"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a check concluded about one client."""

    state: State
    message: str = ""
    """One terse sentence with the evidence and what to do, without the client's name; for
    `unknown`, the reason. Empty for `pass`."""
    evidence: JSON = None
    """The facts that were judged, small enough to show."""
    valid_until: datetime | None = None
    """When time alone could change the verdict; None: only a new report can."""


PASS = Verdict(state="pass")
"""The verdict of most checks on most clients; sharing it saves building it."""


@dataclass(frozen=True, kw_only=True)
class AuditCheck:
    """One rule about clients. Runs on the server, over stored reports."""

    name: str
    judge: Callable[[ClientView, datetime], Verdict]
    """`judge(client, now)`; it must not change, keep, or look anything up."""
    needs: tuple[str, ...] = ()
    """The collectors it reads. While one of them is missing or failed, the check is
    unknown without being asked; a value whose state is unknown is the check's to judge."""
    grace_period: float = 0.0
    """Seconds that a failure may last before anybody is told, unless settings say."""
    alert_frequency: float = 3600.0
    """Seconds between two alerts about the same open issue, unless settings say."""
    help: str = ""
    """What is checked and how it is mended, for `qlmdm-audit --explain`."""
    api: int = 1


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One line that the audit has to say."""

    cid: str
    hostname: str
    check: str
    state: State
    message: str
    opened_at: datetime
    line: str
    """The whole sentence, as `qlmdm-audit` prints it."""
    user_email: str | None = None
    tags: tuple[str, ...] = ()
    evidence: JSON = None


@dataclass(frozen=True, kw_only=True)
class Notifier:
    """A way to tell people. `send` gets all alerts of one audit run, at least one."""

    name: str
    send: Callable[[Sequence[Alert]], None]
    """May raise; the alerts then stay due for this notifier and the audit exits 3."""
    timeout: float = 30.0
    api: int = 1


@dataclass(frozen=True, kw_only=True)
class StoreBackend:
    """A database engine. The first part of a store's URL chooses it."""

    scheme: str
    """As in `scheme://…`."""
    open: Callable[[str], Any]
    """`open(url) -> qlmdm_core.store.Store`; opens nothing that needs the network yet."""
    api: int = 1


@dataclass(frozen=True, kw_only=True)
class Route:
    """An address that a plugin adds to the server, below `/qlmdm/v1/x/<distribution>/`."""

    path: str
    """Relative, without a leading slash; Falcon's URI templates."""
    resource: object
    """A Falcon resource."""
    auth: Literal["client", "none"] = "client"
    """"client": the request is a signed envelope of an enrolled client, checked before the
    resource is called (as `req.context.envelope`); "none": anybody may call it."""
    api: int = 1


# --- both ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SettingsSection:
    """A plugin's own part of the settings: a dataclass, which core parses and validates.

    It stands under `plugins: {NAME: …}`, and reaches the plugin as `settings.section(NAME)`.
    """

    name: str
    schema: type
    api: int = 1


class Settings(Protocol):
    """What a registration hook gets: the validated settings, read-only."""

    def section(self, name: str) -> Any:
        """The instance of a plugin's settings dataclass (its defaults, if nothing is set)."""


@dataclass(frozen=True, kw_only=True)
class SubCommand:
    """A subcommand that a plugin adds: `qlmdm-plugins run NAME …`; imported on use."""

    name: str
    target: str
    """`"module:function"`; called with the remaining arguments, returns the exit status."""
    help: str = ""
    api: int = 1


@dataclass(frozen=True, kw_only=True)
class Objection:
    """A reason against a release. One is enough to stop it."""

    reason: str
    api: int = 1
