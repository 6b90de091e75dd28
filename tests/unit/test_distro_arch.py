"""The adapter to Arch Linux and its relatives, against machines of many kinds."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import Updates
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_arch import pacman
from qlmdm_plugins_arch.adapter import DATABASE, PacmanAdapter
from qlmdm_plugins_arch.settings import ArchSettings

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
DAY = 86400
ARCH = 'NAME="Arch Linux"\nPRETTY_NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n'
QUERY = ["pacman", "-Qu"]
WAITING = "linux 6.17.5.arch1-1 -> 6.17.7.arch1-1\nzlib 1:1.3.1-1 -> 1:1.3.1-2\n"
NETWORK = ArchSettings(network=True)


def machine(path: Path, *, age: float | None = 3600, os_release: str = ARCH) -> RecordedMachine:
    """A machine whose package databases were fetched an hour ago; it answers nothing yet."""
    built = RecordedMachine(path, recorded_at=NOW.isoformat()).file("/etc/os-release", os_release)
    if age is not None:
        built.file(f"{DATABASE}/sync/core.db", "", mtime=NOW.timestamp() - age - DAY)
        built.file(f"{DATABASE}/sync/extra.db", "", mtime=NOW.timestamp() - age)
    return built


def updates(built: RecordedMachine, settings: ArchSettings | None = None) -> Updates:
    return PacmanAdapter(settings).updates(built.host())


@pytest.mark.parametrize(
    ("os_release", "fit"),
    [
        ({"ID": "arch"}, 20),
        ({"ID": "endeavouros", "ID_LIKE": "arch"}, 10),
        ({"ID": "archarm", "ID_LIKE": "arch"}, 10),
        ({"ID": "debian"}, 0),
        ({"ID": "archcraft-unlike"}, 0),
        ({}, 0),
    ],
)
def test_it_fits_the_family_and_its_own_best(os_release: dict[str, str], fit: int) -> None:
    assert PacmanAdapter().match(os_release) == fit


# --- without the network --------------------------------------------------------------------


def test_updates_that_wait_are_named(tmp_path: Path) -> None:
    found = updates(machine(tmp_path).command(QUERY, WAITING))
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 2, None)
    assert found.cache_age_seconds == 3600
    assert found.packages[1] == {
        "name": "zlib",
        "installed": "1:1.3.1-1",
        "available": "1:1.3.1-2",
        "security": None,
    }


def test_no_answer_and_status_1_mean_that_nothing_waits(tmp_path: Path) -> None:
    found = updates(machine(tmp_path).command(QUERY, "", returncode=1))
    assert (found.state, found.updates) == ("up_to_date", 0)


def test_a_package_that_is_newer_than_the_repository_is_no_trouble(tmp_path: Path) -> None:
    stderr = "warning: bash: local (5.3.3-2) is newer than core (5.3.3-1)\n"
    built = machine(tmp_path).command(QUERY, "", stderr=stderr, returncode=1)
    assert updates(built).state == "up_to_date"


@pytest.mark.parametrize(
    "stderr",
    [
        "warning: database file for 'core' does not exist (use '-Sy' to download)",
        "error: failed to initialize alpm library",
        "error: database 'extra' is not valid (invalid or corrupted database)",
    ],
)
def test_the_same_answer_with_a_complaint_is_unknown(tmp_path: Path, stderr: str) -> None:
    found = updates(machine(tmp_path).command(QUERY, "", stderr=stderr, returncode=1))
    assert (found.state, found.updates) == ("unknown", None)
    assert stderr[:40] in found.reason


def test_an_answer_that_is_not_understood_is_unknown(tmp_path: Path) -> None:
    assert updates(machine(tmp_path).command(QUERY, "bash 5.3\n")).state == "unknown"


def test_ignored_packages_are_no_updates_but_are_named(tmp_path: Path) -> None:
    text = "linux 6.1-1 -> 6.2-1 [ignored]\n"
    found = updates(machine(tmp_path).command(QUERY, text))
    assert (found.state, found.updates, found.held) == ("up_to_date", 0, ("linux",))


def test_a_locked_database_is_unknown(tmp_path: Path) -> None:
    built = machine(tmp_path).command(QUERY, WAITING).file(f"{DATABASE}/db.lck", "")
    found = updates(built)
    assert found.state == "unknown"
    assert "locked" in found.reason


def test_old_databases_prove_nothing(tmp_path: Path) -> None:
    built = machine(tmp_path, age=10 * DAY).command(QUERY, "", returncode=1)
    found = updates(built)
    assert found.state == "unknown"
    assert found.reason == "pacman's package databases are of 2026-10-22; run: sudo pacman -Syu"


def test_updates_wait_however_old_the_databases_are(tmp_path: Path) -> None:
    assert updates(machine(tmp_path, age=90 * DAY).command(QUERY, WAITING)).updates == 2


def test_without_databases_nothing_is_proved(tmp_path: Path) -> None:
    found = updates(machine(tmp_path, age=None).command(QUERY, "", returncode=1))
    assert (found.state, found.cache_age_seconds) == ("unknown", None)


def test_a_fresh_database_of_somebody_else_does_not_make_the_others_young(tmp_path: Path) -> None:
    built = machine(tmp_path, age=10 * DAY)
    built.file(f"{DATABASE}/sync/example-repo.db", "", mtime=NOW.timestamp())
    assert updates(built).cache_age_seconds == 10 * DAY


def test_without_pacman_it_is_unknown(tmp_path: Path) -> None:
    assert updates(machine(tmp_path)).reason == "pacman is not installed"


@pytest.mark.parametrize(
    ("os_release", "path"),
    [('ID=steamos\nID_LIKE=arch\nNAME="SteamOS"\n', "/etc/hostname"), (ARCH, "/run/ostree-booted")],
)
def test_a_system_that_is_an_image_is_unknown(tmp_path: Path, os_release: str, path: str) -> None:
    built = machine(tmp_path, os_release=os_release).file(path, "").command(QUERY, "", returncode=1)
    found = updates(built)
    assert found.state == "unknown"
    assert "image" in found.reason


def test_the_network_is_not_used_unless_a_setting_allows_it(tmp_path: Path) -> None:
    built = machine(tmp_path).command(QUERY, "", returncode=1)
    built.command(["checkupdates"], WAITING).command(["arch-audit", "-u"], "")
    found = updates(built.file("/usr/bin/pacman", ""))  # as on any live machine
    assert (found.state, found.security_updates) == ("up_to_date", None)


def test_what_arch_audit_said_counts_where_somebody_wrote_it_down(tmp_path: Path) -> None:
    built = machine(tmp_path).command(QUERY, "zlib 1:1.3-1 -> 1:1.3.1-2\nbash 5-1 -> 5-2\n")
    built.command(
        ["arch-audit"], "zlib is affected by CVE-2026-1. Low risk! Update to 1:1.3.1-2!\n"
    )
    found = updates(built)
    assert (found.updates, found.security_updates) == (2, 1)


# --- with the network -----------------------------------------------------------------------

AUDIT = (
    "zlib is affected by CVE-2026-1111. High risk! Update to 1:1.3.1-2!\n"
    "libtiff is affected by CVE-2026-2222. Medium risk!\n"
    "Package perl is affected by CVE-2026-3333. Low risk! Update to 5.42-9 from testing repos!\n"
)


def test_checkupdates_and_the_advisories_are_asked(tmp_path: Path) -> None:
    built = machine(tmp_path, age=30 * DAY).command(["checkupdates"], WAITING)
    built.command(["arch-audit", "-u"], AUDIT)
    found = updates(built, NETWORK)
    assert (found.updates, found.security_updates, found.cache_age_seconds) == (2, 1, 0)
    assert [package["security"] for package in found.packages] == [False, True]


def test_status_2_of_checkupdates_means_that_nothing_waits(tmp_path: Path) -> None:
    built = machine(tmp_path, age=30 * DAY).command(["checkupdates"], "", returncode=2)
    built.command(["arch-audit", "-u"], "")
    found = updates(built, NETWORK)
    assert (found.state, found.security_updates) == ("up_to_date", 0)


def test_a_fix_that_the_databases_do_not_know_yet_waits(tmp_path: Path) -> None:
    built = machine(tmp_path).command(["checkupdates"], "", returncode=2)
    built.command(["arch-audit", "-u"], AUDIT)
    found = updates(built, NETWORK)
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 1, 1)


def test_where_checkupdates_fails_the_last_synchronisation_counts(tmp_path: Path) -> None:
    built = machine(tmp_path).command(QUERY, "", returncode=1)
    built.command(["checkupdates"], "", stderr="==> ERROR: Cannot fetch updates", returncode=1)
    found = updates(built, NETWORK)
    assert (found.state, found.security_updates, found.cache_age_seconds) == (
        "up_to_date",
        None,
        3600,
    )
    assert any("Cannot fetch updates" in note for note in found.notes)
    assert "arch-audit is not installed" in found.notes


def test_success_without_a_list_is_not_taken_for_nothing(tmp_path: Path) -> None:
    built = machine(tmp_path, age=None).command(["checkupdates"], "")
    assert updates(built, NETWORK).state == "unknown"


def test_a_fix_of_an_ignored_package_does_not_wait(tmp_path: Path) -> None:
    # checkupdates leaves out what is ignored; arch-audit does not know of it.
    built = machine(tmp_path).command(["checkupdates"], "", returncode=2)
    built.command(["arch-audit", "-u"], AUDIT + "vim is affected by CVE-1. Update to 9-2!\n")
    built.command(["pacman", "-Qgq", "editors"], "nano\nvim\n")
    for text, waiting in (
        ("[options]\n#IgnorePkg = zlib\n", 2),
        ("[options]\nIgnorePkg  = linux zl*  # mine\n", 1),
        ("[options]\nIgnorePkg = zlib\nIgnoreGroup = editors\n", 0),
    ):
        found = updates(built.file("/etc/pacman.conf", text), NETWORK)
        assert found.security_updates == waiting


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["arch-audit"], AUDIT),
        (["arch-audit", "-uq"], "zlib>=1:1.3.1-2\n"),
        (["arch-audit", "-uf", "%n|%c"], "zlib|CVE-2026-1111,CVE-2026-1112\n"),
    ],
)
def test_a_recording_of_arch_audit_alone_is_read(
    tmp_path: Path, argv: list[str], text: str
) -> None:
    found = updates(machine(tmp_path).command(argv, text))
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 1, 1)


def test_advisories_in_the_form_of_2016_are_read() -> None:
    text = 'Package a is affected by ["CVE-1", "CVE-2"]. VULNERABLE!\n'
    text += 'Package b is affected by ["CVE-3"]. Update to 1.0.2.i-1!\n'
    assert pacman.parse_advisories(text) == {"b"}


@pytest.mark.parametrize(("stdout", "returncode", "state"), [
    (WAITING, 0, "updates_available"), ("", 2, "up_to_date"), ("", 1, "unknown"),
])  # fmt: skip
def test_a_recording_of_checkupdates_alone_is_read(
    tmp_path: Path, stdout: str, returncode: int, state: str
) -> None:
    built = machine(tmp_path, age=None).command(["checkupdates"], stdout, returncode=returncode)
    assert updates(built).state == state


# --- release, packages, restart -------------------------------------------------------------


def test_a_rolling_release_has_no_end(tmp_path: Path) -> None:
    found = PacmanAdapter().release_upgrade(machine(tmp_path).host())
    assert (found.available, found.supported_until, found.end_of_life) == (None, None, False)


def test_whether_a_relative_is_still_kept_is_not_known(tmp_path: Path) -> None:
    built = machine(tmp_path, os_release="ID=antergos\nID_LIKE=arch\n")
    assert PacmanAdapter().release_upgrade(built.host()).end_of_life is None


def test_the_version_of_a_package(tmp_path: Path) -> None:
    built = machine(tmp_path).command(["pacman", "-Q", "bash"], "bash 5.3.3-2\n")
    stderr = "error: package 'nosuch' was not found"
    built.command(["pacman", "-Q", "nosuch"], "", stderr=stderr, returncode=1)
    host = built.host()
    assert PacmanAdapter().package_version(host, "bash") == "5.3.3-2"
    assert PacmanAdapter().package_version(host, "nosuch") is None
    assert PacmanAdapter().package_version(host, "--sync") is None


# --- any text gives a value -----------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            [
                "a 1 -> 2",
                "\x1b[1ma\x1b[0m 1 -> 2 [ignored]",
                "a is affected by x. Update to 2!",
                "warning: a: local (2) is newer than core (1)",
                "error: x",
                "a 1",
                "a>=2",
                "a|CVE-1",
                "IgnorePkg = a b*",
                "IgnoreGroup=",
            ]
        ),
    ),
    max_size=8,
).map("\n".join)


@given(LINES)
def test_no_output_breaks_a_parser(text: str) -> None:
    assert all(upgrade.name and upgrade.available for upgrade in pacman.parse_upgrades(text))
    assert all(pacman.parse_advisories(text))
    assert len(pacman.complaint(text)) <= 160
    assert pacman.parse_version(text, "a") != ""
    assert all(pacman.parse_ignored(text).packages)


LONG = 60_000


@pytest.mark.parametrize(
    "text",
    [
        "a is affected by " + "Update to " * LONG,
        "a is affected by " + "x" * LONG + " testing" * LONG,
        "a|CVE-1" + ",CVE-1" * LONG + "x",
        "a " + "1 -> " * LONG,
        "IgnorePkg = " + "a " * LONG,
        "\x1b[" * LONG,
    ],
    ids=["updates", "testing", "short", "arrows", "ignored", "colours"],
)
def test_long_lines_are_read_in_one_go(text: str) -> None:
    pacman.parse_advisories(text)
    pacman.parse_upgrades(text)
    pacman.parse_ignored(text)
    pacman.complaint(text)


def test_programs_that_hang_or_do_not_end_leave_it_unknown(tmp_path: Path) -> None:
    hanging = machine(tmp_path / "a").command(QUERY, timed_out=True)
    assert updates(hanging).reason == "pacman did not answer in time"
    built = machine(tmp_path / "b").command(["checkupdates"], timed_out=True)
    built.command(["arch-audit", "-u"], timed_out=True).command(QUERY, WAITING * 100_000)
    found = updates(built, NETWORK)
    assert (found.state, found.security_updates) == ("unknown", None)
    assert found.reason == "pacman printed too much"


def test_colours_are_no_part_of_a_name() -> None:
    (found,) = pacman.parse_upgrades("\x1b[1mbash \x1b[0;31m5.1-1\x1b[0m -> 5.2-1\n")
    assert (found.name, found.installed) == ("bash", "5.1-1")
