"""qlmdm: a minimal device-management system for Linux laptops and desktops.

A plugin imports everything it needs from here::

    from qlmdm_core import AuditCheck, Collector, hookimpl

Names are looked up on first use (PEP 562): the client starts an interpreter every
minute, mostly to find that nothing is due, and must not pay for what it does not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from qlmdm_core._version import __version__

if TYPE_CHECKING:
    from qlmdm_core.api import (
        JSON,
        Alert,
        AuditCheck,
        ClientView,
        Collector,
        CommandResult,
        DistroAdapter,
        FileStat,
        Host,
        HttpResponse,
        InstalledPackages,
        Notifier,
        Objection,
        Process,
        Reboot,
        ReleaseUpgrade,
        Route,
        Settings,
        SettingsSection,
        StoreBackend,
        SubCommand,
        Updates,
        Verdict,
        unknown,
    )
    from qlmdm_core.hookspecs import hookimpl

__all__ = [
    "JSON",
    "Alert",
    "AuditCheck",
    "ClientView",
    "Collector",
    "CommandResult",
    "DistroAdapter",
    "FileStat",
    "Host",
    "HttpResponse",
    "InstalledPackages",
    "Notifier",
    "Objection",
    "Process",
    "Reboot",
    "ReleaseUpgrade",
    "Route",
    "Settings",
    "SettingsSection",
    "StoreBackend",
    "SubCommand",
    "Updates",
    "Verdict",
    "__version__",
    "hookimpl",
    "unknown",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "qlmdm_core.hookspecs" if name == "hookimpl" else "qlmdm_core.api"
    return getattr(import_module(home), name)
