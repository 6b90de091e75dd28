"""What this distribution gives to clients: the adapter to Arch Linux and its relatives."""

from __future__ import annotations

from qlmdm_core import hookimpl
from qlmdm_core.api import DistroAdapter, Settings, SettingsSection
from qlmdm_plugins_arch.adapter import PacmanAdapter
from qlmdm_plugins_arch.settings import ArchSettings


@hookimpl
def qlmdm_register_settings() -> list[SettingsSection]:
    return [SettingsSection(name="arch", schema=ArchSettings)]


@hookimpl
def qlmdm_register_distros(settings: Settings) -> list[DistroAdapter]:
    return [PacmanAdapter(settings.section("arch"))]
