"""What package managers printed on real machines, against what a person concluded from it.

The recordings are not part of this repository; QLMDM_RECORDED names the folder that holds
them, with an INDEX.tsv of verdicts. Here each that the adapters can meet is put into a machine
that is otherwise in order, so that the recording alone decides.
"""

from __future__ import annotations

import csv
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from qlmdm_core.api import JSON, DistroAdapter
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_arch import pacman
from qlmdm_plugins_arch.adapter import PacmanAdapter
from qlmdm_plugins_arch.settings import ArchSettings
from qlmdm_plugins_builtin.collectors import os_updates
from qlmdm_plugins_ubuntu.adapter import AptAdapter
from qlmdm_plugins_ubuntu.commands import SIMULATIONS

FOLDER = os.environ.get("QLMDM_RECORDED")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="QLMDM_RECORDED does not name a folder of recordings"
)
NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)

# The recording, then what the verdict beside it says: state, updates, security updates.
SIMULATED = {
    "apt-get-upgrade-only-phased.txt": ("up_to_date", 0, 0),
    "check_apt-debian1.txt": ("up_to_date", 0, 0),
    "check_apt-debian2.txt": ("updates_available", 13, 0),
    "check_apt-ubuntu1.txt": ("updates_available", 5, 0),
    "check_apt-ubuntu2.txt": ("updates_available", 25, 14),
    "debian-11-1.apt-get-full-upgrade.stdout": ("updates_available", 6, 0),
    "debian-12-1.apt-get-full-upgrade.stdout": ("updates_available", 7, 0),
    "ubuntu-22.apt-get-full-upgrade.stdout": ("updates_available", 41, 0),
}
MET_OTHERWISE = {
    "apt-list-upgradable-jammy.txt",
    "checkupdates-arch.txt",
    "pacman-Qu.txt",
    "arch-audit-default.txt",
    "do-release-upgrade-c-new-lts.txt",
    "do-release-upgrade-not-supported-anymore.txt",
    "arch-audit-format.txt",
}
LOGIN_TEXTS = {
    # The codename, then state, updates, security updates and the next release.
    "motd-apt-check-new-release.txt": (
        "jammy", "updates_available", 72, 3, "Ubuntu 24.04.5 LTS",
    ),
    "motd-apt-check-stale-lists-offline.txt": (
        "focal", "updates_available", 22, 15, "Ubuntu 22.04 LTS",
    ),
    "motd-apt-check-updates-and-security.txt": (
        "focal", "updates_available", 20, 13, "Ubuntu 22.04.3 LTS",
    ),
    "motd-apt-check-zero-esm-apps-4.txt": ("jammy", "unknown", 0, 0, "Ubuntu 24.04 LTS"),
}  # fmt: skip
NOT_MET = {
    # Other families, and texts that the adapters never ask for.
    "centos-7-1.yum-check-update.stderr",
    "centos-7-1.yum-check-update.stdout",
    "dnf-check-update.txt",
    "flatpak-remote-ls-updates-deb.txt",
    "flatpak-remote-ls-updates-rhel.txt",
    "oracle-linux-8.yum-check-update.stdout",
    "sles-15-1.zypper-list-patches.stdout",
    "sles-15-1.zypper-list-updates.stdout",
    "zypper-xmlout-list-updates-leap423.toml",
}


def recorded(name: str) -> str:
    assert FOLDER
    return (Path(FOLDER) / "os_updates" / name).read_text(encoding="utf-8")


def debian(path: Path) -> RecordedMachine:
    """A Debian that is in order, and whose apt answers nothing yet."""
    built = RecordedMachine(path, recorded_at=NOW.isoformat())
    built.file("/etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\nVERSION_ID=12\n")
    name = "deb.debian.org_debian-security_dists_bookworm-security_InRelease"
    built.file(f"/var/lib/apt/lists/{name}", "", mtime=NOW.timestamp() - 3600)
    return built.command(["apt-mark", "showhold"], "")


def arch(path: Path) -> RecordedMachine:
    """An Arch Linux that is in order, and whose pacman answers nothing yet."""
    built = RecordedMachine(path, recorded_at=NOW.isoformat()).file("/etc/os-release", "ID=arch\n")
    return built.file("/var/lib/pacman/sync/core.db", "", mtime=NOW.timestamp() - 3600)


def judged(built: RecordedMachine, adapter: DistroAdapter) -> tuple[JSON, JSON, JSON]:
    value = os_updates.collect(built.host(distro=adapter))
    return value["state"], value["updates"], value["security_updates"]


def test_every_recording_is_met_or_said_not_to_be() -> None:
    assert FOLDER
    with open(Path(FOLDER) / "INDEX.tsv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = {row["file"].split("/")[1] for row in rows if row["collector"] == "os_updates"}
    assert names == set(SIMULATED) | MET_OTHERWISE | set(LOGIN_TEXTS) | NOT_MET


@pytest.mark.parametrize("name", SIMULATED)
def test_a_simulated_upgrade(tmp_path: Path, name: str) -> None:
    built = debian(tmp_path).command(SIMULATIONS[0], recorded(name))
    assert judged(built, AptAdapter()) == SIMULATED[name]


def test_the_list_of_apt_where_the_simulation_fails(tmp_path: Path) -> None:
    built = debian(tmp_path)
    built.command(SIMULATIONS[0], "", stderr="E: Unmet dependencies.", returncode=100)
    built.command(["apt", "list", "--upgradable"], recorded("apt-list-upgradable-jammy.txt"))
    assert judged(built, AptAdapter()) == ("updates_available", 15, 9)


def test_the_query_of_pacman(tmp_path: Path) -> None:
    built = arch(tmp_path).command(["pacman", "-Qu"], recorded("pacman-Qu.txt"))
    assert judged(built, PacmanAdapter()) == ("updates_available", 20, None)


def test_checkupdates(tmp_path: Path) -> None:
    built = arch(tmp_path).command(["checkupdates"], recorded("checkupdates-arch.txt"))
    adapter = PacmanAdapter(ArchSettings(network=True))
    assert judged(built, adapter) == ("updates_available", 5, None)


def test_advisories_without_a_fix_are_no_missing_patch() -> None:
    assert pacman.parse_advisories(recorded("arch-audit-default.txt")) == {"curl"}


@pytest.mark.parametrize("name", ["arch-audit-default.txt", "arch-audit-format.txt"])
def test_a_fix_that_arch_audit_alone_knows(tmp_path: Path, name: str) -> None:
    argv = ["arch-audit"] if "default" in name else ["arch-audit", "-uf", "%n|%c"]
    built = arch(tmp_path).command(argv, recorded(name))
    assert judged(built, PacmanAdapter()) == ("updates_available", 1, 1)


@pytest.mark.parametrize("name", LOGIN_TEXTS)
def test_a_login_text(tmp_path: Path, name: str) -> None:
    codename, *expected = LOGIN_TEXTS[name]
    built = RecordedMachine(tmp_path, recorded_at="2025-03-01T12:00:00+00:00")
    version = {"jammy": "22.04", "focal": "20.04"}[str(codename)]
    built.file("/etc/os-release", f"ID=ubuntu\nVERSION_CODENAME={codename}\nVERSION_ID={version}\n")
    built.file("/run/motd.dynamic", recorded(name))
    value = os_updates.collect(built.host(distro=AptAdapter()))
    assert [value[key] for key in ("state", "updates", "security_updates", "release_upgrade")] == (
        expected
    )


def upgrader(path: Path, name: str, codename: str, version: str) -> JSON:
    """A machine for which Ubuntu's upgrader left this text behind."""
    built = RecordedMachine(path, recorded_at=NOW.isoformat())
    built.file("/etc/os-release", f"ID=ubuntu\nVERSION_CODENAME={codename}\nVERSION_ID={version}\n")
    where = "/var/lib/ubuntu-release-upgrader/release-upgrade-available"
    return os_updates.collect(built.file(where, recorded(name)).host(distro=AptAdapter()))


def test_a_new_release_is_offered(tmp_path: Path) -> None:
    value = upgrader(tmp_path, "do-release-upgrade-c-new-lts.txt", "jammy", "22.04")
    assert value["release_upgrade"] == "Ubuntu 24.04.2 LTS"


def test_a_release_that_is_given_up(tmp_path: Path) -> None:
    name = "do-release-upgrade-not-supported-anymore.txt"
    value = upgrader(tmp_path, name, "artful", "17.10")
    assert (value["state"], value["end_of_life"]) == ("unknown", True)
