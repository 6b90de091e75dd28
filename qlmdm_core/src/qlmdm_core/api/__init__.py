"""The types that plugins construct and receive: the whole contract between core and plugins.

Descriptors (`Collector`, `AuditCheck`, `Notifier`, …) say what a plugin offers; core
validates them when they are registered and trusts them afterwards. They are frozen and
keyword-only, so that a field can be added without breaking a plugin, and carry `api=1`,
so that a breaking change can be told from an old plugin.

Nothing here imports more than the standard library, and little of it: every collector process
loads it.
"""

from __future__ import annotations

from qlmdm_core.api.both import (
    Objection,
    Settings,
    SettingsSection,
    SubCommand,
)
from qlmdm_core.api.client import (
    Collector,
)
from qlmdm_core.api.machine import (
    CommandResult,
    DistroAdapter,
    FileStat,
    Host,
    HttpResponse,
    InstalledPackages,
    Process,
    Reboot,
    ReleaseUpgrade,
    Updates,
)
from qlmdm_core.api.server import (
    PASS,
    Alert,
    AuditCheck,
    ClientView,
    Notifier,
    Route,
    StoreBackend,
    Verdict,
)
from qlmdm_core.api.values import (
    JSON,
    NAME,
    State,
    unknown,
)

__all__ = [
    "JSON",
    "NAME",
    "PASS",
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
    "State",
    "StoreBackend",
    "SubCommand",
    "Updates",
    "Verdict",
    "unknown",
]
