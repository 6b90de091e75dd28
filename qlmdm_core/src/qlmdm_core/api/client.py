"""What a plugin gives to clients: collectors, and adapters to distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from qlmdm_core.api.machine import Host
from qlmdm_core.api.values import JSON


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
    """The whole value is personal: never logged, not kept in the history, hashed with a key
    that stays on the client, and encrypted to the site's secret-keepers, all but `state` and
    `reason`. If there are no keepers it is not collected, and its state is "off"."""
    private_paths: tuple[str, ...] = ()
    """The parts of the value that are personal, such as `serial` or `sessions.*.user`; `*` is
    every element of a list or object. If there are secret-keepers, these parts are encrypted
    to them, and a pseudonym stands in their place; without keepers, they are as they are."""
    volatile: tuple[str, ...] = ()
    """Fields of the value whose change alone is no news, such as an age in seconds. The server
    then keeps the value it has: a check must not go by them."""
    help: str = ""
    """One sentence for the person at the machine: what is collected, and why."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What each field of the value says, besides `state` and `reason`, for the same person."""
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
