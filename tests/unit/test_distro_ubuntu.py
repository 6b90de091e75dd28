"""The adapter to Ubuntu, Debian and their relatives, against machines of many kinds."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import Host, Updates
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_ubuntu import apt, dpkg, lists, releases, upgrader
from qlmdm_plugins_ubuntu.adapter import AptAdapter
from qlmdm_plugins_ubuntu.commands import SIMULATIONS

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
DAY = 86400
SIMULATE = SIMULATIONS[0]
HEAD = "Reading package lists...\nBuilding dependency tree...\nCalculating upgrade...\n"
NOTHING = HEAD + "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"

NOBLE = """\
PRETTY_NAME="Ubuntu 24.04.3 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=noble
"""
BOOKWORM = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
"""
KALI = (
    'PRETTY_NAME="Kali GNU/Linux Rolling"\nID=kali\nID_LIKE=debian\nVERSION_CODENAME=kali-rolling\n'
)
MINT = (
    'PRETTY_NAME="Linux Mint 22.1"\nID=linuxmint\nID_LIKE="ubuntu debian"\nUBUNTU_CODENAME=noble\n'
)


def machine(
    path: Path,
    os_release: str = NOBLE,
    simulation: str | None = NOTHING,
    *,
    age: float = 2 * 3600,
    security_list: str | None = "security.ubuntu.com_ubuntu_dists_noble-security_InRelease",
) -> RecordedMachine:
    """A machine with recent package lists, whose simulated upgrade prints what is given."""
    built = RecordedMachine(path, recorded_at=NOW.isoformat()).file("/etc/os-release", os_release)
    mtime = NOW.timestamp() - age
    for name in ("archive.example.net_ubuntu_dists_main_InRelease", security_list):
        if name:
            built.file(f"{lists.LISTS}/{name}", "", mtime=mtime)
    if simulation is not None:
        built.command(SIMULATE, simulation)
    return built.command(["apt-mark", "showhold"], "")


def updates(built: RecordedMachine) -> Updates:
    return AptAdapter().updates(built.host())


# --- who it is for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("os_release", "fit"),
    [
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, 20),
        ({"ID": "debian"}, 20),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, 10),
        ({"ID": "kali", "ID_LIKE": "debian"}, 10),
        ({"ID": "arch"}, 0),
        ({"ID": "suse", "ID_LIKE": "notdebian"}, 0),
        ({}, 0),
    ],
)
def test_it_fits_the_family_and_its_own_best(os_release: dict[str, str], fit: int) -> None:
    assert AptAdapter().match(os_release) == fit


# --- what waits ---------------------------------------------------------------------------


def test_nothing_to_install_by_recent_lists_is_up_to_date(tmp_path: Path) -> None:
    found = updates(machine(tmp_path))
    assert (found.state, found.updates, found.security_updates) == ("up_to_date", 0, 0)
    assert found.cache_age_seconds == 2 * 3600


def test_every_origin_of_a_version_is_looked_at(tmp_path: Path) -> None:
    text = (
        "Inst libexample1 [1.0-1] (1.0-2 Ubuntu:24.04/noble-updates, "
        "Ubuntu:24.04/noble-security [amd64]) []\n"
        "Inst other [3] (4 Ubuntu:24.04/noble-updates [all])\n"
        "Conf libexample1 (1.0-2 Ubuntu:24.04/noble-updates [amd64])\n"
    )
    found = updates(machine(tmp_path, simulation=text))
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 2, 1)
    assert found.packages[0] == {
        "name": "libexample1",
        "installed": "1.0-1",
        "available": "1.0-2",
        "security": True,
    }


def test_new_packages_and_removals_are_no_updates(tmp_path: Path) -> None:
    text = (
        "Inst linux-image-6.8.0-60 (6.8.0-60.1 Ubuntu:24.04/noble-security [amd64])\n"
        "Remv old-thing [1.0]\n"
        "Conf linux-image-6.8.0-60 (6.8.0-60.1 Ubuntu:24.04/noble-security [amd64])\n"
        "0 upgraded, 1 newly installed, 1 to remove and 0 not upgraded.\n"
    )
    assert updates(machine(tmp_path, simulation=text)).state == "up_to_date"


@pytest.mark.parametrize(
    "origin",
    [
        "Debian-Security:12/stable-security",
        "Ubuntu:22.04/jammy-security",
        "UbuntuESM:18.04/bionic-infra-security",
        "UbuntuESMApps:20.04/focal-apps-updates",
        "Devuan-Security:5/stable-security",
    ],
)
def test_security_archives_are_known_by_label_or_suite(origin: str) -> None:
    assert apt.is_security_origin(origin)


@pytest.mark.parametrize(
    "origin", ["Ubuntu:24.04/noble-updates", "Debian:12.5/stable", "google-chrome", ""]
)
def test_other_archives_are_not(origin: str) -> None:
    assert not apt.is_security_origin(origin)


@pytest.mark.parametrize(
    "text",
    [
        (
            "The following upgrades have been deferred due to phasing:\n  alpha beta\n"
            "0 upgraded, 0 newly installed, 0 to remove and 2 not upgraded.\n"
        ),
        (
            "Not upgrading yet due to phasing:\n  alpha  beta\n\nSummary:\n"
            "  Upgrading: 0, Installing: 0, Removing: 0, Not Upgrading: 2\n"
        ),
    ],
)
def test_phased_updates_are_not_missing(tmp_path: Path, text: str) -> None:
    found = updates(machine(tmp_path, simulation=HEAD + text))
    assert (found.state, found.updates) == ("up_to_date", 0)
    assert found.notes == ("not offered to this machine yet (phasing): alpha, beta",)


KEPT = (
    HEAD + "The following packages have been kept back:\n  alpha\n"
    "0 upgraded, 0 newly installed, 0 to remove and 1 not upgraded.\n"
)


def policy(installed: str, table: str) -> str:
    return f"alpha:\n  Installed: {installed}\n  Candidate: 2\n  Version table:\n{table}"


def test_a_package_kept_back_by_phasing_is_told_by_its_version_table(tmp_path: Path) -> None:
    table = (
        "     2 500 (phased 30%)\n        500 http://a.example noble-updates/main amd64 Packages\n"
        " *** 1 100\n        100 /var/lib/dpkg/status\n"
    )
    built = machine(tmp_path, simulation=KEPT)
    built.command(["apt-cache", "policy", "alpha"], policy("1", table))
    found = updates(built)
    assert found.state == "up_to_date"
    assert "phasing" in found.notes[0]


def test_a_package_that_apt_cannot_install_waits_all_the_same(tmp_path: Path) -> None:
    table = (
        "     2 500\n        500 http://s.example noble-security/main amd64 Packages\n"
        " *** 1 100\n        100 /var/lib/dpkg/status\n"
    )
    built = machine(tmp_path, simulation=KEPT)
    built.command(["apt-cache", "policy", "alpha"], policy("1", table))
    found = updates(built)
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 1, 1)


def test_what_is_kept_back_beside_phased_updates_may_need_them(tmp_path: Path) -> None:
    table = (
        "     2 500\n        500 http://a.example noble-updates/main amd64 Packages\n"
        " *** 1 100\n        100 /var/lib/dpkg/status\n"
    )
    deferred = "The following upgrades have been deferred due to phasing:\n  beta\n"
    text = KEPT.replace("The following packages have", deferred + "The following packages have")
    built = machine(tmp_path, simulation=text.replace("1 not upgraded", "2 not upgraded"))
    built.command(["apt-cache", "policy", "alpha"], policy("1", table))
    found = updates(built)
    assert (found.state, found.updates) == ("unknown", 0)


def test_what_may_be_held_is_not_counted(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path, recorded_at=NOW.isoformat()).file("/etc/os-release", NOBLE)
    built.command(SIMULATE, KEPT)  # apt-mark gives no answer
    built.command(["apt-cache", "policy", "alpha"], policy("1", "     2 500\n *** 1 100\n"))
    assert (updates(built).state, updates(built).updates) == ("unknown", 0)


def test_kept_back_for_a_reason_that_cannot_be_told_is_unknown(tmp_path: Path) -> None:
    found = updates(machine(tmp_path, simulation=KEPT))
    assert found.state == "unknown"
    assert "kept back" in found.reason


def test_left_alone_without_being_named_is_unknown(tmp_path: Path) -> None:
    text = HEAD + "0 upgraded, 0 newly installed, 0 to remove and 3 not upgraded.\n"
    found = updates(machine(tmp_path, simulation=text))
    assert found.state == "unknown"
    assert "3 newer versions" in found.reason


def test_a_package_that_the_owner_holds_is_no_update_but_is_named(tmp_path: Path) -> None:
    table = (
        "     2 500\n        500 http://security.ubuntu.com/ubuntu noble-security/main amd64\n"
        " *** 1 100\n        100 /var/lib/dpkg/status\n"
    )
    built = RecordedMachine(tmp_path, recorded_at=NOW.isoformat()).file("/etc/os-release", NOBLE)
    name = f"{lists.LISTS}/security.ubuntu.com_ubuntu_dists_noble-security_InRelease"
    built.file(name, "", mtime=NOW.timestamp() - 60)
    built.command(SIMULATE, KEPT).command(["apt-mark", "showhold"], "alpha\n")
    built.command(["apt-cache", "policy", "alpha"], policy("1", table))
    found = updates(built)
    assert (found.state, found.updates, found.held) == ("up_to_date", 0, ("alpha",))
    assert "held by the owner though a security update waits: alpha" in found.notes


def test_a_security_fix_hidden_behind_a_later_version_counts(tmp_path: Path) -> None:
    text = "Inst alpha [1] (2 Ubuntu:24.04/noble-updates [amd64])\n"
    table = (
        "     2 500\n        500 http://a.example/ubuntu noble-updates/main amd64 Packages\n"
        "     1.5 500\n        500 http://s.example/ubuntu noble-security/main amd64 Packages\n"
        " *** 1 100\n        100 /var/lib/dpkg/status\n"
        "     0.9 500\n        500 http://s.example/ubuntu noble-security/main amd64 Packages\n"
    )
    built = machine(tmp_path, simulation=text)
    built.command(["apt-cache", "policy", "alpha"], policy("1", table))
    assert updates(built).security_updates == 1


def test_an_older_security_version_is_not_missing() -> None:
    table = (
        " *** 2 500\n        500 http://a.example/ubuntu noble-updates/main amd64 Packages\n"
        "     1 500\n        500 http://s.example/ubuntu noble-security/main amd64 Packages\n"
    )
    assert apt.parse_policy(policy("2", table))["alpha"].security is False


def test_updates_that_need_ubuntu_pro_are_noted_and_not_counted(tmp_path: Path) -> None:
    text = (
        HEAD + "The following security update requires Ubuntu Pro with 'esm-infra' enabled:\n"
        "  vim\nGet more security updates through Ubuntu Pro with 'esm-apps' enabled:\n"
        "  libmagick 7zip\nLearn more about Ubuntu Pro at https://example.org\n"
        "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"
    )
    found = updates(machine(tmp_path, simulation=text))
    assert found.state == "up_to_date"
    assert found.notes == ("3 security updates need Ubuntu Pro: 7zip, libmagick, vim",)


def test_half_installed_packages_are_noted(tmp_path: Path) -> None:
    text = NOTHING + "4 not fully installed or removed.\n"
    assert (
        "4 packages are not fully installed" in updates(machine(tmp_path, simulation=text)).notes[0]
    )


def test_counts_without_names_leave_security_unknown(tmp_path: Path) -> None:
    text = HEAD + "5 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"
    found = updates(machine(tmp_path, simulation=text))
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 5, None)


# --- when nothing waiting proves nothing ---------------------------------------------------


@pytest.mark.parametrize("text", ["", "Reading package lists... Done\n", "no such thing"])
def test_a_simulation_that_says_nothing_is_unknown(tmp_path: Path, text: str) -> None:
    found = updates(machine(tmp_path, simulation=text))
    assert (found.state, found.updates) == ("unknown", None)


def test_a_simulation_that_fails_is_unknown_with_its_reason(tmp_path: Path) -> None:
    built = machine(tmp_path, simulation=None)
    built.command(SIMULATE, "", stderr="E: dpkg was interrupted, run it again", returncode=100)
    found = updates(built)
    assert found.state == "unknown"
    assert "dpkg was interrupted" in found.reason


def test_where_the_simulation_fails_the_list_of_apt_still_shows_what_waits(tmp_path: Path) -> None:
    built = machine(tmp_path, simulation=None)
    built.command(SIMULATE, "", stderr="E: Unmet dependencies.", returncode=100)
    built.command(
        ["apt", "list", "--upgradable"],
        "Listing...\n"
        "alpha/noble-updates,noble-security 2 amd64 [upgradable from: 1]\n"
        "beta/noble-updates 5:2-1 all [upgradable from: 5:1-1]\n",
    )
    found = updates(built)
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 2, 1)


def test_the_list_of_apt_is_read_in_any_language() -> None:
    text = "Auflistung… Fertig\nalpha/noble-security 2 amd64 [aktualisierbar von: 1:1]\n"
    (found,) = apt.parse_upgradable(text)
    assert (found.name, found.installed, found.security) == ("alpha", "1:1", True)


def test_an_empty_list_on_a_broken_apt_proves_nothing(tmp_path: Path) -> None:
    built = machine(tmp_path, simulation=None)
    built.command(SIMULATE, "", stderr="E: Unmet dependencies.", returncode=100)
    built.command(["apt", "list", "--upgradable"], "Listing...\n")
    found = updates(built)
    assert (found.state, found.updates) == ("unknown", None)


def test_without_apt_it_is_unknown(tmp_path: Path) -> None:
    found = updates(machine(tmp_path, simulation=None))
    assert found.state == "unknown"
    assert found.reason == "apt-get is not installed"


def test_without_package_lists_it_is_unknown(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path, recorded_at=NOW.isoformat()).file("/etc/os-release", NOBLE)
    built.command(SIMULATE, NOTHING).directory(lists.LISTS)
    built.file(lists.STAMP, "", mtime=NOW.timestamp() - 60)
    found = updates(built)
    assert (found.state, found.updates, found.security_updates) == ("unknown", None, None)
    assert "no package lists" in found.reason


def test_old_lists_prove_nothing(tmp_path: Path) -> None:
    found = updates(machine(tmp_path, age=30 * DAY))
    assert found.state == "unknown"
    assert found.reason == "the package lists are of 2026-10-02; run: sudo apt update"
    assert found.cache_age_seconds == 30 * DAY


def test_updates_wait_however_old_the_lists_are(tmp_path: Path) -> None:
    text = "Inst alpha [1] (2 Ubuntu:24.04/noble-security [amd64])\n"
    assert updates(machine(tmp_path, simulation=text, age=30 * DAY)).state == "updates_available"


def test_lists_whose_time_is_not_known_prove_nothing(tmp_path: Path) -> None:
    found = updates(machine(tmp_path, age=NOW.timestamp()))  # 1970: the time was not recorded
    assert (found.state, found.cache_age_seconds) == ("unknown", None)


def test_a_fresh_list_of_another_archive_does_not_make_the_security_lists_young(
    tmp_path: Path,
) -> None:
    built = machine(tmp_path, age=20 * DAY)
    built.file(
        f"{lists.LISTS}/dl.example.com_browser_dists_stable_InRelease", "", mtime=NOW.timestamp()
    )
    assert updates(built).cache_age_seconds == 20 * DAY


def test_the_stamp_of_a_successful_fetch_counts(tmp_path: Path) -> None:
    built = machine(tmp_path, age=20 * DAY)
    built.file(lists.STAMP, "", mtime=NOW.timestamp() - 300)
    assert updates(built).cache_age_seconds == 300


def test_the_date_in_a_list_stands_in_for_its_time(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path, recorded_at=NOW.isoformat()).file("/etc/os-release", NOBLE)
    head = "Origin: Ubuntu\nDate: Sun, 01 Nov 2026 10:00:00 UTC\n"
    built.file(f"{lists.LISTS}/security.ubuntu.com_ubuntu_dists_noble-security_InRelease", head)
    built.command(SIMULATE, NOTHING)
    assert updates(built).cache_age_seconds == 2 * 3600


def test_without_a_security_archive_security_is_not_known(tmp_path: Path) -> None:
    text = "Inst alpha [1] (2 Kali:2026/kali-rolling [amd64])\n"
    found = updates(machine(tmp_path, KALI, text, security_list=None))
    assert (found.state, found.security_updates) == ("updates_available", None)
    assert found.packages[0]["security"] is None


def test_a_rolling_relative_without_a_security_archive_can_be_up_to_date(tmp_path: Path) -> None:
    found = updates(machine(tmp_path, KALI, security_list=None))
    assert (found.state, found.security_updates) == ("up_to_date", None)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (
            "/etc/apt/sources.list",
            "# deb http://security.debian.org x\ndeb http://a.example b main\n",
        ),
        (
            "/etc/apt/sources.list.d/debian.sources",
            (
                "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm\n\n"
                "Enabled: no\nTypes: deb\nURIs: http://deb.debian.org/debian-security\n"
                "Suites: bookworm-security\n"
            ),
        ),
    ],
)
def test_a_debian_whose_sources_name_no_security_archive_is_not_up_to_date(
    tmp_path: Path, path: str, content: str
) -> None:
    built = machine(tmp_path, BOOKWORM, security_list=None).file(path, content)
    found = updates(built)
    assert (found.state, found.security_updates) == ("unknown", None)
    assert found.reason == "no security archive is among the sources of apt"


def test_lists_of_ubuntu_pro_alone_are_no_security_archive() -> None:
    assert not lists.is_security_list(
        "/x/esm.ubuntu.com_infra_ubuntu_dists_jammy-infra-security_InRelease"
    )
    assert lists.is_security_list("/x/security.debian.org_dists_buster_updates_InRelease")
    assert lists.is_security_list("/x/mirror.corp_debian-security_dists_bookworm-security_Release")
    assert not lists.is_security_list("/x/mirror.corp_debian_dists_bookworm_InRelease")


@pytest.mark.parametrize("path", ["/run/ostree-booted", "/usr/bin/abroot"])
def test_a_system_that_is_an_image_is_unknown(tmp_path: Path, path: str) -> None:
    found = updates(machine(tmp_path).file(path, ""))
    assert found.state == "unknown"
    assert "image" in found.reason


def test_after_the_end_of_support_nothing_to_install_proves_nothing(tmp_path: Path) -> None:
    bionic = NOBLE.replace("24.04", "18.04").replace("noble", "bionic")
    name = "security.ubuntu.com_ubuntu_dists_bionic-security_InRelease"
    found = updates(machine(tmp_path, bionic, security_list=name))
    assert found.state == "unknown"
    assert "2023-05-31" in found.reason


def test_with_ubuntu_pro_support_goes_on(tmp_path: Path) -> None:
    bionic = NOBLE.replace("24.04", "18.04").replace("noble", "bionic")
    built = machine(
        tmp_path, bionic, security_list="security.ubuntu.com_ubuntu_dists_bionic-security_InRelease"
    )
    name = "esm.ubuntu.com_infra_ubuntu_dists_bionic-infra-security_InRelease"
    built.file(f"{lists.LISTS}/{name}", "", mtime=NOW.timestamp())
    assert updates(built).state == "up_to_date"
    assert AptAdapter().release_upgrade(built.host()).supported_until == "2028-04-01"


# --- releases -----------------------------------------------------------------------------

CSV = """\
version,codename,series,created,release,eol,eol-server,eol-esm
24.04 LTS,Noble Numbat,noble,2023-10-12,2024-04-25,2029-05-31,2029-05-31,2034-04-25
26.04 LTS,Resolute Raccoon,resolute,2025-10-09,2026-04-23,2031-05-29,2031-05-29,2036-04-23
26.10,Stonking Stingray,stonking,2026-04-23,2026-10-15,2027-07-15
"""


def release(tmp_path: Path, os_release: str, *files: tuple[str, str], at: str = "") -> Host:
    built = RecordedMachine(tmp_path, recorded_at=at or NOW.isoformat())
    built.file("/etc/os-release", os_release)
    for path, content in files:
        built.file(path, content)
    return built.host()


def test_the_next_lts_is_offered_to_an_lts(tmp_path: Path) -> None:
    host = release(tmp_path, NOBLE, ("/usr/share/distro-info/ubuntu.csv", CSV))
    found = AptAdapter().release_upgrade(host)
    assert (found.available, found.supported_until, found.end_of_life) == (
        "Ubuntu 26.04 LTS",
        "2029-05-31",
        False,
    )


def test_an_old_lts_takes_one_step_at_a_time(tmp_path: Path) -> None:
    xenial = NOBLE.replace("24.04", "16.04").replace("noble", "xenial")
    found = AptAdapter().release_upgrade(release(tmp_path, xenial))
    assert (found.available, found.end_of_life) == ("Ubuntu 18.04 LTS", True)


def test_an_lts_is_not_offered_before_its_first_point_release(tmp_path: Path) -> None:
    host = release(tmp_path, NOBLE, at="2026-06-01T00:00:00+00:00")
    assert AptAdapter().release_upgrade(host).available is None


def test_an_lts_that_asks_for_any_release_gets_the_next_supported(tmp_path: Path) -> None:
    settings = ("/etc/update-manager/release-upgrades", "[DEFAULT]\nPrompt=normal\n")
    host = release(tmp_path, NOBLE, settings, at="2025-08-01T00:00:00+00:00")
    # 24.10 came next, and was given up in July 2025.
    assert AptAdapter().release_upgrade(host).available == "Ubuntu 25.04"


def test_the_words_of_the_upgrader_count(tmp_path: Path) -> None:
    offer = "New release '26.04.1 LTS' available.\nRun 'do-release-upgrade' to upgrade to it.\n"
    path = "/var/lib/ubuntu-release-upgrader/release-upgrade-available"
    host = release(tmp_path, NOBLE, (path, offer), at="2026-06-01T00:00:00+00:00")
    assert AptAdapter().release_upgrade(host).available == "Ubuntu 26.04.1 LTS"


def test_what_the_upgrader_said_before_an_upgrade_does_not(tmp_path: Path) -> None:
    path = "/var/lib/ubuntu-release-upgrader/release-upgrade-available"
    host = release(
        tmp_path,
        NOBLE,
        (path, "New release '24.04.1 LTS' available.\n"),
        at="2025-06-01T00:00:00+00:00",
    )
    assert AptAdapter().release_upgrade(host).available is None


def test_debian_is_supported_until_the_end_of_its_long_term_support(tmp_path: Path) -> None:
    found = AptAdapter().release_upgrade(release(tmp_path, BOOKWORM))
    assert (found.available, found.supported_until, found.end_of_life) == (
        "Debian 13 (trixie)",
        "2028-06-30",
        False,
    )


def test_an_old_debian_is_at_its_end(tmp_path: Path) -> None:
    host = release(tmp_path, 'ID=debian\nVERSION="8 (jessie)"\nVERSION_ID="8"\n')
    assert AptAdapter().release_upgrade(host).end_of_life is True


def test_a_derivative_is_supported_as_long_as_its_parent(tmp_path: Path) -> None:
    found = AptAdapter().release_upgrade(release(tmp_path, MINT))
    assert (found.available, found.supported_until, found.end_of_life) == (
        None,
        "2029-05-31",
        False,
    )
    assert "Ubuntu 24.04 LTS" in found.reason


def test_sid_has_no_end(tmp_path: Path) -> None:
    found = AptAdapter().release_upgrade(release(tmp_path, "ID=debian\nVERSION_CODENAME=sid\n"))
    assert (found.available, found.supported_until, found.end_of_life) == (None, None, False)


def test_a_release_that_nobody_knows_has_a_reason(tmp_path: Path) -> None:
    found = AptAdapter().release_upgrade(release(tmp_path, KALI))
    assert (found.supported_until, found.end_of_life) == (None, None)
    assert "kali-rolling" in found.reason


def test_the_last_day_of_support_is_still_supported() -> None:
    base = releases.Base(distribution="debian", series="bookworm", version="12", own=True)
    known = releases.builtin("debian")
    last = date(2028, 6, 30)
    for day, ended in ((last, False), (last + timedelta(days=1), True)):
        assert releases.judge(known, base, day, paid=False, prompt="").end_of_life is ended


def test_an_old_file_of_dates_does_not_cut_support_short() -> None:
    old = (
        "version,codename,series,created,release,eol\n"
        "11,Bullseye,bullseye,2019-07-06,2021-08-14,2024-08-14\n"
    )
    merged = releases.merge(releases.builtin("debian"), releases.parse_distro_info(old))
    bullseye = next(r for r in merged if r.series == "bullseye")
    assert bullseye.supported_until == date(2026, 8, 31)
    assert any(r.series == "trixie" for r in merged)


# --- packages and restart -----------------------------------------------------------------


def dpkg_query(name: str) -> list[str]:
    return ["dpkg-query", "-W", "-f=${db:Status-Abbrev}\t${Version}\n", name]


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("ii \t5.2-1\n", "5.2-1"),
        ("hi \t1:5.2-1\n", "1:5.2-1"),
        ("rc \t5.2-1\n", None),
        ("un \t\n", None),
        ("iF \t5.2-1\n", None),
        ("rc \t1\nii \t2\n", "2"),
    ],
)
def test_only_an_installed_package_has_a_version(
    tmp_path: Path, answer: str, version: str | None
) -> None:
    host = RecordedMachine(tmp_path).command(dpkg_query("bash"), answer).host()
    assert AptAdapter().package_version(host, "bash") == version


def test_a_package_that_dpkg_does_not_know_has_no_version(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path)
    built.command(dpkg_query("nosuch"), "", stderr="no packages found", returncode=1)
    assert AptAdapter().package_version(built.host(), "nosuch") is None


@pytest.mark.parametrize("name", ["--help", "b*", "", "Bash", "a b"])
def test_what_is_no_package_name_is_never_asked(tmp_path: Path, name: str) -> None:
    host = RecordedMachine(tmp_path).command(dpkg_query(name), "ii \t1\n").host()
    assert AptAdapter().package_version(host, name) is None


# --- any text gives a value -----------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            [
                "Inst a [1] (2 Ubuntu:24.04/noble-security [amd64]) []",
                "Inst a (2",
                "Inst a [1] (2)",
                "The following packages have been kept back:",
                "  a b",
                "1 upgraded, 0 newly installed, 0 to remove and 9 not upgraded.",
                "alpha:",
                "  Installed: 1",
                "  Candidate: (none)",
                " *** 1 100",
                "     2 500 (phased 0%)",
                "        500 http://security.debian.org buster/updates/main",
                "a/b,c-security 2 amd64 [upgradable from: 1]",
                "Types: deb",
                "Suites: x-security",
                " continued",
                "12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-99-99",
                "version,series,release,eol",
                "Date: Sun, 99 Nov 2026",
                "Date: Sun, 01 Nov 99999 10:00:00 UTC",
                "Prompt = lts",
                "New release '26.04' available",
                "ii \t1",
            ]
        ),
    ),
    max_size=12,
).map("\n".join)


@given(LINES)
def test_no_output_of_apt_breaks_a_parser(text: str) -> None:
    simulation = apt.parse_simulation(text)
    assert all(upgrade.name and upgrade.available for upgrade in simulation.upgrades)
    assert all(upgrade.name for upgrade in apt.parse_upgradable(text))
    assert all(isinstance(entry.security, bool) for entry in apt.parse_policy(text).values())


@given(LINES)
def test_no_file_breaks_a_parser(text: str) -> None:
    assert all(found.series for found in releases.parse_distro_info(text))
    assert releases.parse_prompt(text) in ("", "lts", "normal", "never")
    offer = upgrader.parse_offer(text)
    assert offer is None or upgrader.is_later(offer, "1.04")
    published = lists.parse_date(text)
    assert published is None or published.tzinfo is not None
    assert all("deb" in line for line in lists.parse_one_line_sources(text))
    assert all(isinstance(line, str) for line in lists.parse_deb822_sources(text))
    assert dpkg.parse_version(text) != ""


@given(
    st.dictionaries(
        st.sampled_from(
            ["ID", "ID_LIKE", "VERSION", "VERSION_ID", "VERSION_CODENAME", "UBUNTU_CODENAME"]
        ),
        st.text(max_size=12),
    )
)
def test_no_os_release_breaks_the_judgement(os_release: dict[str, str]) -> None:
    base = releases.base_of(os_release)
    if base is not None:
        found = releases.judge(
            releases.builtin(base.distribution), base, NOW.date(), paid=False, prompt=""
        )
        assert found.reason or found.end_of_life is not None
    assert AptAdapter().match(os_release) in (0, 10, 20)


LONG = 60_000


@pytest.mark.parametrize(
    "text",
    [
        "Inst a [1] (" + "x" * LONG,
        "Inst a [1] (2" + " x" * LONG + "\n" + "Inst " * LONG,
        "a/b 1 amd64 [" + "from: " * LONG,
        "9" * LONG + " upgraded, 0 newly installed, 0 to remove and 0 not upgraded.",
        "Upgrading: 1, Installing: 0," + " Not" * LONG,
        "The following packages have been kept back:\n" + "  a\n" * LONG,
        "Types: deb\nURIs:\n" + " x\n" * LONG,
        " *** 1" + " " * LONG,
        "DISTRIB_ID=" + " " * LONG,
        "\n" * LONG,
    ],
    ids=[
        "Inst",
        "origins",
        "list",
        "digits",
        "summary",
        "names",
        "stanza",
        "table",
        "lsb",
        "empty",
    ],
)
def test_long_texts_are_read_in_one_go(text: str) -> None:
    apt.parse_simulation(text)
    apt.parse_upgradable(text)
    apt.parse_policy(text)
    lists.parse_deb822_sources(text)
    lists.parse_one_line_sources(text)
    releases.base_of({"ID": "debian"}, text)
    releases.parse_distro_info(text)
    upgrader.parse_offer(text)


@pytest.mark.parametrize(
    "os_release",
    [
        'ID=ubuntu\nVERSION="12.04.3 LTS, Precise Pangolin"\nVERSION_ID="12.04"\n',
        'ID=ubuntu\nVERSION="19.10 (Eoan Ermine)"\nVERSION_ID="19.10"\nVERSION_CODENAME=eoan\n',
        'ID=debian\nVERSION="7 (wheezy)"\nVERSION_ID="7"\n',
    ],
)
def test_releases_from_long_ago_are_not_up_to_date(tmp_path: Path, os_release: str) -> None:
    built = RecordedMachine(tmp_path, recorded_at="2026-05-05T05:05:05+00:00")
    built.file("/etc/os-release", os_release).command(["apt-get", "-s", "dist-upgrade"], "")
    assert AptAdapter().release_upgrade(built.host()).end_of_life is True
