"""What the warden knows of one distribution."""

from __future__ import annotations

from qlmdm_core.client.child import Child
from qlmdm_core.client.plan import Descriptor
from qlmdm_core.plugins import PluginEntry, PluginFailure


class Branch:
    """One distribution: its worker, and what is known of its collectors."""

    def __init__(self, index: int, entries: tuple[PluginEntry, ...]) -> None:
        self.index = index
        self.entries = entries
        self.distribution = entries[0].distribution
        self.child: Child | None = None
        self.registered = False
        self.over = False
        self.stopping = False
        self.babbles = False
        """Its worker wrote what makes no sense; nothing more of it is read."""
        self.verdict = ""
        """Why its worker was killed."""
        self.offers: list[tuple[PluginEntry, Descriptor]] = []
        self.adapters: list[str] = []
        self.queue: list[Descriptor] = []
        self.running: dict[str, tuple[Descriptor, float]] = {}
        """What was started, and by when its worker must have said what came of it."""

    def failure(self, stage: str, error: str, printed: str = "") -> PluginFailure:
        """Something that befell the distribution as a whole."""
        names = ", ".join(entry.name for entry in self.entries)
        lines = printed.splitlines()
        trace = tuple(lines if len(lines) <= 20 else [*lines[:10], "[...]", *lines[-9:]])
        return PluginFailure(
            distribution=self.distribution,
            entry_point=names,
            stage=stage,
            error=error,
            trace=trace,
        )
