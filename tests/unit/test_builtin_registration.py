"""What the distributions with the built-in plugins and the adapters register."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.api import AuditCheck, Collector, SettingsSection
from qlmdm_core.plugins import descriptors
from qlmdm_core.server.audit.rules import Rule
from qlmdm_core.settings import Loaded, setting
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_arch import hooks_client as arch
from qlmdm_plugins_builtin import hooks_client, hooks_server
from qlmdm_plugins_builtin.policy import Policy
from qlmdm_plugins_ubuntu import hooks_client as ubuntu


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nothing:
    """Core's settings, which do not matter here."""

    unused: bool = setting(False, "Nothing.")


def settings(sections: Sequence[SettingsSection]) -> Loaded[Any]:
    """Settings in which nothing is set."""
    loaded = Loaded(Nothing(), "settings.yml")
    loaded.register(sections)
    return loaded


def collectors() -> list[Collector]:
    loaded = settings(hooks_client.qlmdm_register_settings())
    return hooks_client.qlmdm_register_collectors(loaded)


def checks() -> list[AuditCheck]:
    return hooks_server.qlmdm_register_audit_checks(
        settings(hooks_server.qlmdm_register_settings())
    )


def test_the_registered_descriptors_are_in_order() -> None:
    assert len(descriptors.checked("qlmdm_register_collectors", collectors())) == len(collectors())
    assert len(descriptors.checked("qlmdm_register_audit_checks", checks())) == len(checks())


@pytest.mark.parametrize("collector", collectors(), ids=lambda collector: str(collector.name))
def test_each_collector_has_its_module_and_says_what_it_is_for(collector: Collector) -> None:
    module = import_module(f"qlmdm_plugins_builtin.collectors.{collector.name}")
    assert callable(module.collect)
    assert len(collector.help) > 40
    assert collector.timeout <= 300


@pytest.mark.parametrize("collector", collectors(), ids=lambda collector: str(collector.name))
def test_each_collector_runs_on_a_machine_of_which_nothing_is_known(
    tmp_path: Path, collector: Collector
) -> None:
    value = collector.run(RecordedMachine(tmp_path, root=False).host())
    assert value["state"] not in ("encrypted", "enabled", "on", "up_to_date", "located")
    assert value["state"] != "unknown" or value["reason"]


def test_only_a_place_is_private() -> None:
    assert [c.name for c in collectors() if c.private] == ["geolocation"]


def test_what_a_site_has_to_ask_for_is_off(tmp_path: Path) -> None:
    host = RecordedMachine(tmp_path).host()
    for collector in collectors():
        if collector.name in ("certificates", "geolocation", "packages"):
            assert collector.run(host)["state"] == "off"


def test_the_names_of_people_are_private() -> None:
    (accounts,) = [c for c in collectors() if c.name == "accounts"]
    assert {"users.*.name", "users.*.sudo_from"} <= set(accounts.private_paths)


def test_names_are_registered_once() -> None:
    names = [collector.name for collector in collectors()] + [check.name for check in checks()]
    assert len(names) == len(set(names))


def test_each_check_needs_collectors_that_are_registered() -> None:
    registered = {collector.name for collector in collectors()}
    needed = {need for check in checks() for need in check.needs}
    assert needed <= registered
    assert all(check.help for check in checks())


def test_the_checks_of_the_fleet_and_of_updates_are_there() -> None:
    names = {check.name for check in checks()}
    assert names >= {
        "not-reporting",
        "collector-failing",
        "deprecated-port",
        "duplicate-identity",
        "release-behind",
        "pending-patches",
        "os-update-available",
        "os-security-patches-available",
        "reboot-required",
        "secure-boot-disabled",
        "account-without-password",
        "extra-root-account",
        "unwanted-package",
        "expiring-certificate",
        "unencrypted-hard-drive",
    }


def test_settings_that_are_not_set_are_the_defaults_of_the_policy() -> None:
    sections = hooks_server.qlmdm_register_settings()
    assert settings(sections).section("builtin") == Policy()


def test_a_check_becomes_a_rule() -> None:
    for check in checks():
        rule = Rule(check=check, owner="builtin", grace_period=1.0, alert_frequency=1.0)
        assert rule.name == check.name


def test_the_adapters_are_registered_with_their_settings() -> None:
    loaded = settings(arch.qlmdm_register_settings())
    found = [*ubuntu.qlmdm_register_distros(), *arch.qlmdm_register_distros(loaded)]
    assert [adapter.name for adapter in found] == ["ubuntu", "arch"]
    assert descriptors.checked("qlmdm_register_distros", found) == found
