"""What this distribution gives to clients: the collectors that work on any Linux.

Registration only. A collector's module is imported when it runs, in its own process: one that
is broken costs its own result, and those that are not due cost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from qlmdm_core import hookimpl
from qlmdm_core.api import JSON, Collector, Host, Settings, SettingsSection
from qlmdm_plugins_builtin.client_settings import (
    CERTIFICATES,
    PACKAGES,
    CertificatesSettings,
    PackagesSettings,
)
from qlmdm_plugins_builtin.collectors.geolocation.settings import SECTION, GeolocationSettings
from qlmdm_plugins_builtin.facts import FACTS

HOUR = 3600.0
SEVERAL = 60.0
"""Seconds for a collector that asks several programs, each with a time limit of its own."""


class _Run:
    """Calls `collect(host)` of a module in `collectors`, with its settings if it has any."""

    def __init__(self, name: str, *settings: object) -> None:
        self._module = f"{__package__}.collectors.{name}"
        self._settings = settings

    def __call__(self, host: Host) -> JSON:
        return import_module(self._module).collect(host, *self._settings)


@hookimpl
def qlmdm_register_settings() -> list[SettingsSection]:
    return [
        SettingsSection(name=CERTIFICATES, schema=CertificatesSettings),
        SettingsSection(name=SECTION, schema=GeolocationSettings),
        SettingsSection(name=PACKAGES, schema=PackagesSettings),
    ]


@hookimpl
def qlmdm_register_collectors(settings: Settings) -> list[Collector]:
    return [
        _collector("accounts", interval=HOUR),
        _collector("certificates", settings.section(CERTIFICATES), interval=HOUR),
        _collector("dmidecode", interval=HOUR),
        _collector("firewall", timeout=SEVERAL),
        _collector("geolocation", settings.section(SECTION), interval=HOUR, private=True),
        _collector("guest_session", timeout=SEVERAL),
        _collector("hd_encryption", timeout=SEVERAL),
        _collector("ip_addresses"),
        _collector("network_devices"),
        _collector("os_info"),
        _collector("os_updates", timeout=240.0, interval=HOUR, volatile=("cache_age_seconds",)),
        _collector(
            "packages",
            settings.section(PACKAGES),
            timeout=SEVERAL,
            max_bytes=1 << 20,
            interval=4 * HOUR,
        ),
        _collector("reboot_required", timeout=SEVERAL),
        _collector("screenlock", timeout=SEVERAL),
        _collector("secure_boot", interval=HOUR),
        _collector("sshd", timeout=SEVERAL),
        _collector("wipe_plan", timeout=SEVERAL, interval=HOUR),
    ]


def _collector(name: str, *settings: object, **how: Any) -> Collector:
    """A collector of this distribution, with what is said of it to people."""
    about = FACTS[name]
    return Collector(
        name=name,
        run=_Run(name, *settings),
        help=about.help,
        fields=about.fields,
        private_paths=about.private_paths,
        **how,
    )
