"""Finds the plugins that are installed, by their metadata alone: nothing is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qlmdm_core.plugins.guard import say

if TYPE_CHECKING:
    import importlib.metadata

TARGET = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+)\s*)?(?:\[.*\]\s*)?\Z")
"""What an entry point may name: `module` or `module:attribute`."""


@dataclass(frozen=True, kw_only=True)
class PluginEntry:
    """One entry point of an installed distribution; nothing of it has been imported."""

    distribution: str
    version: str = ""
    name: str
    """The entry point's own name."""
    target: str = ""
    """`module` or `module:attribute`."""
    group: str
    disabled: bool = False
    """Switched off in the settings: it is listed and never imported."""
    error: str = ""
    """What is wrong with its metadata; it can't be loaded."""

    @property
    def owner(self) -> str:
        """How messages name it: `distribution:entry-point`."""
        return f"{self.distribution}:{self.name}"


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def discover(group: str, disabled: Collection[str] = frozenset()) -> list[PluginEntry]:
    """All entry points of a group, sorted, without importing anything of them.

    `disabled` holds names of distributions, or `DISTRIBUTION:ENTRY-POINT`. Metadata that
    can't be read is an entry with an `error`.
    """
    # Loaded on use: it brings in email, zipfile and more, and whoever gets entries from
    # elsewhere (the processes of a collect, each a copy of its parent) would carry all that.
    import importlib.metadata

    off = {_normalised_owner(word) for word in disabled}
    found: dict[str, list[PluginEntry]] = {}
    for distribution in importlib.metadata.distributions():
        entries = _entries(distribution, group)
        if entries:
            # The first on sys.path is the one that an import finds.
            found.setdefault(normalised(entries[0].distribution), entries)
    everything = [
        replace(entry, disabled=name in off or f"{name}:{entry.name}" in off)
        for name, entries in found.items()
        for entry in entries
    ]
    return sorted(everything, key=lambda entry: (entry.distribution, entry.name))


def _normalised_owner(word: str) -> str:
    distribution, colon, entry = word.partition(":")
    return normalised(distribution) + colon + entry


def _entries(distribution: importlib.metadata.Distribution, group: str) -> list[PluginEntry]:
    """A distribution's entry points of the group; broken metadata is one entry that says so."""
    try:
        text = distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        if group.encode() not in error.object:
            return []
        return [_broken(distribution, group, "entry_points.txt is not UTF-8")]
    except Exception:  # noqa: BLE001 - a stranger's metadata; nothing shows that it is about us
        return []
    if group not in text:
        return []  # most are not plugins, and need not be parsed
    try:
        points = [point for point in distribution.entry_points if point.group == group]
        name, version = distribution.metadata["Name"], distribution.version
    except Exception as error:  # noqa: BLE001 - whatever the parser makes of broken metadata
        return [_broken(distribution, group, f"its metadata can't be read: {say(error)}")]
    if points and not (isinstance(name, str) and name.strip()):
        return [_broken(distribution, group, "its metadata has no name")]
    entries: dict[str, PluginEntry] = {}
    for point in points:
        wrong = "" if TARGET.match(point.value) else f"not a module: {point.value!r}"
        if point.name in entries:
            wrong = "this entry point is there twice"
        entries[point.name] = PluginEntry(
            distribution=name,
            version=version or "",
            name=point.name,
            target=point.value,
            group=group,
            error=wrong,
        )
    return list(entries.values())


def _broken(distribution: importlib.metadata.Distribution, group: str, error: str) -> PluginEntry:
    folder = os.path.basename(str(getattr(distribution, "_path", "") or "unknown distribution"))
    name = folder.removesuffix(".dist-info").removesuffix(".egg-info").partition("-")[0]
    return PluginEntry(distribution=normalised(name), name="?", group=group, error=error)
