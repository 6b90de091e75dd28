"""What this distribution gives to clients: the collectors that work on any Linux.

Registration only. A collector's module is imported when it runs, in its own process: one that
is broken costs its own result, and those that are not due cost nothing.
"""

from __future__ import annotations

from importlib import import_module

from qlmdm_core import hookimpl
from qlmdm_core.api import JSON, Collector, Host, Settings, SettingsSection
from qlmdm_plugins_builtin.client_settings import (
    CERTIFICATES,
    PACKAGES,
    CertificatesSettings,
    PackagesSettings,
)
from qlmdm_plugins_builtin.collectors.geolocation.settings import SECTION, GeolocationSettings

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
        Collector(
            name="accounts",
            run=_Run("accounts"),
            interval=HOUR,
            private_paths=("users.*.name", "users.*.sudo_from", "notes.*"),
            help="Who has an account on the machine, whether it has a password, and who may become "
            "root. Passwords, and what is made of them, are never collected.",
        ),
        Collector(
            name="certificates",
            run=_Run("certificates", settings.section(CERTIFICATES)),
            interval=HOUR,
            help="Until when the certificates are valid that the site's settings name, so that "
            "they are renewed in time. Keys are not collected.",
        ),
        Collector(
            name="dmidecode",
            run=_Run("dmidecode"),
            interval=HOUR,
            help="The maker, model and serial number of the machine, so that a report, a repair "
            "or a loss can be matched with the inventory.",
        ),
        Collector(
            name="firewall",
            run=_Run("firewall"),
            timeout=SEVERAL,
            help="Whether the machine filters what comes in from the network, by IPv4 and IPv6.",
        ),
        Collector(
            name="geolocation",
            run=_Run("geolocation", settings.section(SECTION)),
            interval=HOUR,
            private=True,
            help="Where the machine is, to find one that was lost or stolen. Off unless settings "
            "turn it on, and encrypted to the site's secret-keepers.",
        ),
        Collector(
            name="guest_session",
            run=_Run("guest_session"),
            timeout=SEVERAL,
            help="Whether somebody without an account, or without a password, can use the screen.",
        ),
        Collector(
            name="hd_encryption",
            run=_Run("hd_encryption"),
            timeout=SEVERAL,
            help="Whether all that is on the disks is encrypted, so that a stolen machine gives "
            "nothing away.",
        ),
        Collector(
            name="ip_addresses",
            run=_Run("ip_addresses"),
            help="The machine's own network addresses, to find it and to reach it.",
        ),
        Collector(
            name="network_devices",
            run=_Run("network_devices"),
            help="The network devices and their hardware addresses, to recognise the machine in a "
            "network's logs.",
        ),
        Collector(
            name="os_info",
            run=_Run("os_info"),
            help="The distribution, its version and the kernel, to know what runs in the fleet.",
        ),
        Collector(
            name="os_updates",
            run=_Run("os_updates"),
            timeout=240.0,
            interval=HOUR,
            volatile=("cache_age_seconds",),
            help="Which updates wait, by the package lists that the machine has, and how long its "
            "release is supported. Nothing is installed or fetched.",
        ),
        Collector(
            name="packages",
            run=_Run("packages", settings.section(PACKAGES)),
            timeout=SEVERAL,
            max_bytes=1 << 20,
            interval=4 * HOUR,
            help="The names and versions of all installed packages, to find a bad one in the "
            "fleet. Off unless settings turn it on.",
        ),
        Collector(
            name="reboot_required",
            run=_Run("reboot_required"),
            timeout=SEVERAL,
            help="Whether an installed update takes effect only after a restart: a new kernel, or "
            "a library that is in use.",
        ),
        Collector(
            name="screenlock",
            run=_Run("screenlock"),
            timeout=SEVERAL,
            help="Whether, and how soon, the screen locks itself when nobody is there.",
        ),
        Collector(
            name="secure_boot",
            run=_Run("secure_boot"),
            interval=HOUR,
            help="Whether the firmware starts only what is signed, so that nobody can put another "
            "system before yours unseen.",
        ),
        Collector(
            name="sshd",
            run=_Run("sshd"),
            timeout=SEVERAL,
            help="Whether one can log in over the network, and whether a password is enough.",
        ),
    ]
