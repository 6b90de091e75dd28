"""What this distribution gives to the server: checks about ESET's products, and their policy."""

from __future__ import annotations

from qlmdm_core import hookimpl
from qlmdm_core.api import AuditCheck, Settings, SettingsSection
from qlmdm_plugins_eset.policy import SECTION, EsetPolicy


@hookimpl
def qlmdm_register_settings() -> list[SettingsSection]:
    return [SettingsSection(name=SECTION, schema=EsetPolicy)]


@hookimpl
def qlmdm_register_audit_checks(settings: Settings) -> list[AuditCheck]:
    # The server loads this module too, and never judges: only the audit pays for the checks.
    from qlmdm_plugins_eset.checks import eset

    return eset.checks(settings.section(SECTION))
