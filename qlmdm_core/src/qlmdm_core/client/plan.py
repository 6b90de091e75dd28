"""What the processes of a collect have to know: all of it is decided before the first fork."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from qlmdm_core.api import JSON, Collector, DistroAdapter, Host
from qlmdm_core.client.limits import Limits
from qlmdm_core.plugins import PluginEntry
from qlmdm_core.settings import Loaded

FindDistro: TypeAlias = "Callable[[], DistroAdapter | None]"
HostFactory: TypeAlias = "Callable[[str, FindDistro], Host]"
"""`factory(collector_name, find_distro)`; called in the collector's own process."""

VALUE_DEPTH = 24
"""How deep a value may be nested. A whole message may be 32 deep (`strictjson`), and a value
lies some levels down in it."""


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What a collector said of itself when it was registered, without its code."""

    name: str
    distribution: str
    entry_point: str
    timeout: float
    max_bytes: int
    interval: float | None
    private: bool
    private_paths: tuple[str, ...]
    volatile: tuple[str, ...]
    help: str
    fields: Mapping[str, str]

    @classmethod
    def of(cls, collector: Collector, entry: PluginEntry) -> Descriptor:
        """The descriptor of a registered collector."""
        return cls(
            name=collector.name,
            distribution=entry.distribution,
            entry_point=entry.name,
            timeout=float(collector.timeout),
            max_bytes=collector.max_bytes,
            interval=collector.interval,
            private=collector.private,
            private_paths=tuple(collector.private_paths),
            volatile=collector.volatile,
            help=collector.help[:500],
            fields=dict(collector.fields),
        )

    def to_dict(self) -> dict[str, JSON]:
        """As it travels from a worker to the warden, and on."""
        return dict(self.__dict__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One collect. It is inherited by fork, so it may hold functions."""

    distributions: tuple[tuple[PluginEntry, ...], ...]
    """The entry points, by distribution: each gets a worker."""
    settings: Loaded[Any]
    host_factory: HostFactory
    only: frozenset[str] | None = None
    """The collectors to run; None: all that are due."""
    due: Callable[[Descriptor], bool] = lambda _: True
    deadline: float = 300.0
    """Seconds for everything together."""
    import_timeout: float = 30.0
    """Seconds that one distribution may take to import and register; a cold disk is slow."""
    slack: float = 10.0
    """Seconds after a collector's deadline in which its worker must have said what came of it.

    Only a worker that a plugin made hang needs them; ample, since a busy machine is no reason
    to kill it with all its collectors.
    """
    limits: Limits = field(default_factory=Limits)
    use_cgroups: bool = True
    slots: int = field(default_factory=lambda: max(4, 2 * (os.cpu_count() or 1)))
    """How many processes may be starting up at once; see `warden.Slots`."""
