"""The kit for plugin authors: machines that are only recorded, audits of made-up reports,
suites to pass. The fixtures are in `qlmdm_core.testing.pytest_plugin`; docs/kit.md lists all.

Example::

    from qlmdm_core.testing import RecordedMachine

Names are looked up on first use: a test of a collector need not load the server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qlmdm_core.host.replay import ReplayHost
    from qlmdm_core.testing.audit import Audited, Auditor, failure
    from qlmdm_core.testing.clock import Clock
    from qlmdm_core.testing.distributions import write_distribution
    from qlmdm_core.testing.machine import RecordedMachine
    from qlmdm_core.testing.plugin import (
        ClientPlugin,
        ServerPlugin,
        load_client_plugin,
        load_server_plugin,
    )

__all__ = [
    "Audited",
    "Auditor",
    "ClientPlugin",
    "Clock",
    "RecordedMachine",
    "ReplayHost",
    "ServerPlugin",
    "failure",
    "load_client_plugin",
    "load_server_plugin",
    "write_distribution",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = {
        "ReplayHost": "qlmdm_core.host.replay",
        "RecordedMachine": "qlmdm_core.testing.machine",
        "Clock": "qlmdm_core.testing.clock",
        "write_distribution": "qlmdm_core.testing.distributions",
        **dict.fromkeys(("Audited", "Auditor", "failure"), "qlmdm_core.testing.audit"),
    }
    return getattr(import_module(homes.get(name, "qlmdm_core.testing.plugin")), name)
