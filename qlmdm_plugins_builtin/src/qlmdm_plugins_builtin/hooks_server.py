"""What this distribution gives to the server: the built-in checks, and their policy."""

from __future__ import annotations

from qlmdm_core import hookimpl
from qlmdm_core.api import AuditCheck, Settings, SettingsSection
from qlmdm_plugins_builtin.policy import Policy

SECTION = "builtin"


@hookimpl
def qlmdm_register_settings() -> list[SettingsSection]:
    return [SettingsSection(name=SECTION, schema=Policy)]


@hookimpl
def qlmdm_register_audit_checks(settings: Settings) -> list[AuditCheck]:
    # The server loads this module too, and never judges: only the audit pays for the checks.
    from qlmdm_plugins_builtin.checks import (
        accounts,
        boot,
        certificates,
        disk,
        fleet,
        network,
        outgoing,
        packages,
        reboot,
        session,
        updates,
    )

    policy: Policy = settings.section(SECTION)
    modules = (
        accounts,
        boot,
        certificates,
        disk,
        fleet,
        network,
        outgoing,
        packages,
        reboot,
        session,
        updates,
    )
    return [check for module in modules for check in module.checks(policy)]
