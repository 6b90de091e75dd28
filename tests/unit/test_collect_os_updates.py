"""What the collector of pending updates makes of an adapter's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from qlmdm_core.api import JSON, Host, InstalledPackages, Reboot, ReleaseUpgrade, Updates
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import os_updates
from qlmdm_plugins_ubuntu.adapter import AptAdapter
from qlmdm_plugins_ubuntu.commands import SIMULATIONS


class Answers:
    """An adapter that gives fixed answers."""

    name = "answers"

    def __init__(self, updates: Updates, release: ReleaseUpgrade | None = None) -> None:
        self._updates, self._release = updates, release

    def match(self, os_release: Mapping[str, str]) -> int:
        return 20

    def updates(self, host: Host) -> Updates:
        return self._updates

    def release_upgrade(self, host: Host) -> ReleaseUpgrade:
        return self._release or ReleaseUpgrade(end_of_life=False)

    def package_version(self, host: Host, name: str) -> str | None:
        return None

    def packages(self, host: Host) -> InstalledPackages:
        return InstalledPackages(packages=None)

    def reboot_required(self, host: Host) -> Reboot:
        return Reboot(required=None)


CURRENT = Updates(state="up_to_date", updates=0, security_updates=0, cache_age_seconds=60)


def collect(path: Path, adapter: Answers | None) -> JSON:
    built = RecordedMachine(path).file("/etc/os-release", 'ID=foo\nPRETTY_NAME="Foo 1"\n')
    value = os_updates.collect(built.host(distro=adapter))
    assert json.loads(json.dumps(value)) == value
    return value


def test_a_machine_in_order(tmp_path: Path) -> None:
    release = ReleaseUpgrade(available="Foo 2", supported_until="2030-01-31", end_of_life=False)
    assert collect(tmp_path, Answers(CURRENT, release)) == {
        "state": "up_to_date",
        "updates": 0,
        "security_updates": 0,
        "packages": [],
        "held": [],
        "release_upgrade": "Foo 2",
        "supported_until": "2030-01-31",
        "end_of_life": False,
        "cache_age_seconds": 60,
        "cache_updated_at": "2026-11-01T11:50:00+00:00",
        "notes": [],
        "distribution": "Foo 1",
        "adapter": "answers",
    }


def test_without_an_adapter_it_is_unknown_and_names_the_distribution(tmp_path: Path) -> None:
    value = collect(tmp_path, None)
    assert value["state"] == "unknown"
    assert value["reason"] == "no plugin knows the package manager of Foo 1"
    assert value["updates"] is None


def test_a_machine_without_os_release_has_a_name_all_the_same(tmp_path: Path) -> None:
    value = os_updates.collect(RecordedMachine(tmp_path).host())
    assert "a system without os-release" in value["reason"]


@pytest.mark.parametrize(
    ("updates", "release", "reason"),
    [
        (Updates(state="up_to_date", updates=0), None, "how old"),
        (Updates(state="up_to_date", cache_age_seconds=1), None, "could not be counted"),
        (
            CURRENT,
            ReleaseUpgrade(end_of_life=True, supported_until="2020-01-31"),
            "no updates since 2020-01-31",
        ),
        (Updates(state="unknown"), None, "the adapter answers gave no reason"),
        (Updates(state="unknown", reason="locked"), None, "locked"),
    ],
)
def test_what_does_not_prove_it_is_not_up_to_date(
    tmp_path: Path, updates: Updates, release: ReleaseUpgrade | None, reason: str
) -> None:
    value = collect(tmp_path, Answers(updates, release))
    assert value["state"] == "unknown"
    assert reason in value["reason"]


def test_security_updates_are_named_first_and_not_without_end(tmp_path: Path) -> None:
    packages = [{"name": f"p{n}", "security": n == 400} for n in range(401)]
    updates = Updates(state="updates_available", updates=401, packages=tuple(packages))
    value = collect(tmp_path, Answers(updates))
    assert value["packages"][0]["name"] == "p400"
    assert len(value["packages"]) == os_updates.MOST_PACKAGES
    assert value["notes"] == ["101 packages are not named here"]


def test_why_the_release_is_not_known_is_noted(tmp_path: Path) -> None:
    value = collect(tmp_path, Answers(CURRENT, ReleaseUpgrade(reason="nobody knows")))
    assert value["notes"] == ["release: nobody knows"]
    assert value["end_of_life"] is None


def test_with_a_real_adapter(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path, recorded_at="2026-11-01T12:00:00+00:00")
    built.file("/etc/os-release", 'ID=debian\nVERSION_CODENAME=trixie\nPRETTY_NAME="Debian 13"\n')
    built.command(SIMULATIONS[0], "Inst foo [1] (2 Debian-Security:13/stable-security [all])\n")
    name = "deb.example.org_debian-security_dists_trixie-security_InRelease"
    built.file(f"/var/lib/apt/lists/{name}", "", mtime=1793530800.0)
    value = os_updates.collect(built.host(distro=AptAdapter()))
    assert (value["state"], value["security_updates"]) == ("updates_available", 1)
    assert (value["adapter"], value["distribution"]) == ("ubuntu", "Debian 13")
