"""What a plugin can give on both sides: settings, subcommands, objections to a release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


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
