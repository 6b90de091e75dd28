"""What the adapter to Ubuntu makes of those who only count: apt-check, login texts, Ubuntu Pro."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import Updates
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_ubuntu import lists, summaries, upgrader
from qlmdm_plugins_ubuntu.adapter import AptAdapter
from qlmdm_plugins_ubuntu.commands import CHANGE_NOTHING, SIMULATIONS, UNPHASED
from qlmdm_plugins_ubuntu.otherwise import APT_CHECK

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
NOBLE = (
    'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n'
    'PRETTY_NAME="Ubuntu 24.04.3 LTS"\n'
)
NOTHING = "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"
AVAILABLE, LOGIN = summaries.CACHED


def machine(path: Path, *, with_lists: bool = True, os_release: str = NOBLE) -> RecordedMachine:
    built = RecordedMachine(path, recorded_at=NOW.isoformat()).file("/etc/os-release", os_release)
    if with_lists:
        name = "security.ubuntu.com_ubuntu_dists_noble-security_InRelease"
        built.file(f"{lists.LISTS}/{name}", "", mtime=NOW.timestamp() - 3600)
    return built


def updates(built: RecordedMachine) -> Updates:
    return AptAdapter().updates(built.host())


def counts(found: Updates) -> tuple[str, int | None, int | None]:
    return found.state, found.updates, found.security_updates


# --- apt-check ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stderr", "returncode", "expected"),
    [
        ("31;4", 0, ("updates_available", 31, 4)),
        ("31;0", 0, ("updates_available", 31, 0)),
        ("0;0", 0, ("up_to_date", 0, 0)),
        ("E: Error, the package list is broken (x)", 255, ("unknown", None, None)),
        ("", 0, ("unknown", None, None)),
    ],
)
def test_apt_check_counts_where_apt_gives_no_answer(
    tmp_path: Path, stderr: str, returncode: int, expected: tuple[str, int | None, int | None]
) -> None:
    built = machine(tmp_path).command([APT_CHECK], stderr=stderr, returncode=returncode)
    assert counts(updates(built)) == expected


def test_apt_check_is_not_asked_where_apt_answers(tmp_path: Path) -> None:
    built = machine(tmp_path).command(SIMULATIONS[0], NOTHING).command([APT_CHECK], stderr="9;9")
    assert counts(updates(built)) == ("up_to_date", 0, 0)


WORDS = {
    "61 updates can be applied immediately.\n5 of these updates are standard security updates.\n": (
        61,
        5,
        0,
    ),
    "61 updates can be installed immediately.\n5 of these updates are security updates.\n": (
        61,
        5,
        0,
    ),
    "17 packages can be updated.\n9 updates are security updates.\n": (17, 9, 0),
    "17 packages can be updated.\n0 updates are security updates.\n": (17, 0, 0),
    "1 package can be updated.\n1 update is a security update.\n": (1, 1, 0),
    "1 update can be applied immediately.\n1 of these updates is a standard security update.\n": (
        1,
        1,
        0,
    ),
    "8 updates can be applied immediately.\n2 of these updates are ESM Apps security updates.\n"
    "3 of these updates are standard security updates.\n": (8, 5, 0),
    "6 updates can be applied immediately.\nTo see these additional updates run: apt list\n": (
        6,
        0,
        0,
    ),
    "6 updates can be applied immediately.\n\nEnable ESM Apps to receive additional future "
    "security updates.\n": (6, 0, 0),
    "17 packages can be updated.\n": (17, None, 0),
    # A login text that was shown twice.
    "9 updates can be applied immediately.\n8 of these updates are standard security updates.\n"
    "8 of these updates are standard security updates.\n": (9, 9, 0),
    "0 updates can be applied immediately.\n\n"
    "40 additional security updates can be applied with ESM Infra.\nLearn more\n": (0, 0, 40),
}


@pytest.mark.parametrize(("text", "expected"), WORDS.items())
def test_the_words_of_each_release_are_understood(
    text: str, expected: tuple[int, int, int]
) -> None:
    found = summaries.parse_words("Welcome to Ubuntu\n\n  " + text.replace("\n", "\n  "))
    assert found is not None
    assert (found.updates, found.security, found.pro_only) == expected


@pytest.mark.parametrize("path", summaries.CACHED)
def test_the_login_text_is_the_last_resort(tmp_path: Path, path: str) -> None:
    text = "61 updates can be applied immediately.\n5 of these updates are security updates.\n"
    found = updates(machine(tmp_path, with_lists=False).file(path, text))
    assert counts(found) == ("updates_available", 61, 5)


def test_what_was_counted_before_packages_changed_is_not_believed(tmp_path: Path) -> None:
    text = "61 updates can be applied immediately.\n"
    built = machine(tmp_path).file(AVAILABLE, text, mtime=NOW.timestamp() - 7200)
    built.file("/var/lib/dpkg/status", "", mtime=NOW.timestamp() - 60)
    assert counts(updates(built)) == ("unknown", None, None)


def test_old_lists_prove_nothing_in_words_either(tmp_path: Path) -> None:
    text = "0 updates can be applied immediately.\n\nThe list of available updates is more than a "
    built = machine(tmp_path).file(AVAILABLE, text + "week old.\n")
    found = updates(built)
    assert counts(found) == ("unknown", 0, 0)
    assert "more than a week old" in found.reason


# --- Ubuntu Pro ---------------------------------------------------------------------------


def test_updates_for_subscribers_are_noted_beside_a_good_answer(tmp_path: Path) -> None:
    text = "0 updates can be applied immediately.\n\n"
    text += "12 additional security updates can be applied with ESM Apps.\n"
    built = machine(tmp_path).command(SIMULATIONS[0], NOTHING).file(AVAILABLE, text)
    found = updates(built)
    assert found.state == "up_to_date"
    assert found.notes == ("12 security updates need Ubuntu Pro",)


def pro(standard: int, infra: int, apps: int, *packages: dict[str, str]) -> str:
    summary = {
        "num_standard_security_updates": standard,
        "num_esm_infra_updates": infra,
        "num_esm_apps_updates": apps,
        "ua": {"attached": False},
    }
    return json.dumps({"_schema_version": "0.1", "summary": summary, "packages": packages})


OFFERED = {"package": "zlib", "service_name": "esm-infra", "status": "upgrade_available"}
KEPT = {"package": "vim", "service_name": "esm-apps", "status": "pending_attach"}


@pytest.mark.parametrize(
    ("text", "expected", "notes"),
    [
        (pro(2, 0, 1, KEPT), ("updates_available", 2, 2), ("1 security updates need Ubuntu Pro",)),
        (pro(0, 1, 0, OFFERED), ("updates_available", 1, 1), ()),
        (pro(0, 5, 9), ("unknown", None, None), ("14 security updates need Ubuntu Pro",)),
        ("{}", ("unknown", None, None), ()),
        ("[" * 5000, ("unknown", None, None), ()),
    ],
)
def test_ubuntu_pro_counts_where_nobody_else_does(
    tmp_path: Path, text: str, expected: tuple[str, int | None, int | None], notes: tuple[str, ...]
) -> None:
    built = machine(tmp_path).command(["pro", "security-status", "--format", "json"], text)
    found = updates(built)
    assert (counts(found), found.notes) == (expected, notes)


def test_the_hook_of_ubuntu_pro_tells_security_updates_apart(tmp_path: Path) -> None:
    text = "3 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n"
    text += "1 standard LTS security update and 1 esm-apps security update\n"
    built = machine(tmp_path).command(SIMULATIONS[0], text)
    assert counts(updates(built)) == ("updates_available", 3, 2)


# --- phasing ------------------------------------------------------------------------------

PHASED = """The following upgrades have been deferred due to phasing:
  beta
The following packages have been kept back:
  alpha
0 upgraded, 0 newly installed, 0 to remove and 2 not upgraded.
"""
BETA = "Inst beta [1] (2 Ubuntu:24.04/noble-updates [amd64])\n"
POLICY = """alpha:
  Installed: 1
  Candidate: 2
  Version table:
     2 500
        500 http://a.example/ubuntu noble-{suite}/main amd64 Packages
 *** 1 100
        100 /var/lib/dpkg/status
"""


@pytest.mark.parametrize(
    ("suite", "unphased", "state"),
    [
        ("updates", BETA + "Inst alpha [1] (2 Ubuntu:24.04/noble-updates [amd64])\n", "up_to_date"),
        # It is kept back for another reason.
        ("updates", BETA, "updates_available"),
        # That is no answer: what was phased still is.
        ("updates", "", "unknown"),
        ("security", "", "updates_available"),
    ],
)
def test_what_is_kept_back_beside_phased_updates_is_tried_without_phasing(
    tmp_path: Path, suite: str, unphased: str, state: str
) -> None:
    built = machine(tmp_path).command(SIMULATIONS[0], PHASED).command(["apt-mark", "showhold"], "")
    built.command(["apt-cache", "policy", "alpha"], POLICY.format(suite=suite))
    built.command(
        UNPHASED, unphased + "1 upgraded, 0 newly installed, 0 to remove and 0 not upgraded."
    )
    found = updates(built)
    assert found.state == state
    if state == "up_to_date":
        assert found.notes == ("not offered to this machine yet (phasing): alpha, beta",)


# --- recordings of apt alone ----------------------------------------------------------------


def test_a_simulation_without_recorded_lists_tells_security_by_its_origins(tmp_path: Path) -> None:
    text = "Inst alpha [1] (2 Ubuntu:24.04/noble-updates [amd64])\n"
    built = machine(tmp_path, with_lists=False).command(["apt-get", "-s", "upgrade"], text)
    assert counts(updates(built)) == ("updates_available", 1, 0)


def test_without_recorded_lists_nothing_is_up_to_date(tmp_path: Path) -> None:
    built = machine(tmp_path, with_lists=False).command(SIMULATIONS[0], NOTHING)
    assert counts(updates(built)) == ("unknown", 0, 0)


# --- the upgrader -------------------------------------------------------------------------

CHECK = ["do-release-upgrade", "-c"]


@pytest.mark.parametrize(
    ("text", "returncode", "available"),
    [
        ("Checking for a new Ubuntu release\nNew release '26.04.1 LTS' available.\n", 0, "26.04.1"),
        ("Checking for a new Ubuntu release\nNo new release found.\n", 1, None),
        ("There is no development version of an LTS available.\n", 1, None),
        # What is not reached says nothing: the dates do.
        ("Failed to connect to https://changelogs.ubuntu.com/meta-release-lts.\n", 1, "26.04"),
        ("Please install all available updates for your release before upgrading.\n", 1, "26.04"),
    ],
)
def test_a_recording_of_the_upgrader_alone_is_read(
    tmp_path: Path, text: str, returncode: int, available: str | None
) -> None:
    built = machine(tmp_path).command(CHECK, text, returncode=returncode)
    found = AptAdapter().release_upgrade(built.host()).available
    assert found == (f"Ubuntu {available} LTS" if available else None)


def test_where_there_is_an_apt_the_upgrader_is_never_asked(tmp_path: Path) -> None:
    built = machine(tmp_path).command(CHECK, "No new release found.\n", returncode=1)
    built.command(SIMULATIONS[0], NOTHING)
    assert AptAdapter().release_upgrade(built.host()).available == "Ubuntu 26.04 LTS"


@pytest.mark.parametrize("path", upgrader.KEPT)
def test_the_login_text_names_the_release_that_is_offered(tmp_path: Path, path: str) -> None:
    built = machine(tmp_path).file(path, "\nNew release '26.04.2 LTS' available.\nRun it.\n")
    assert AptAdapter().release_upgrade(built.host()).available == "Ubuntu 26.04.2 LTS"


BOOKWORM = 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'


@pytest.mark.parametrize(
    ("lsb_release", "available"),
    [
        ("", "Debian 13 (trixie)"),
        ('DISTRIB_ID="Debian"\n', "Debian 13 (trixie)"),
        ("PRETTY_NAME=x\nDISTRIB_ID=MX\nDISTRIB_RELEASE=23.6\n", None),
    ],
)
def test_a_derivative_that_keeps_the_os_release_of_debian_names_itself_elsewhere(
    tmp_path: Path, lsb_release: str, available: str | None
) -> None:
    built = machine(tmp_path, os_release=BOOKWORM).file("/etc/lsb-release", lsb_release)
    found = AptAdapter().release_upgrade(built.host())
    assert (found.available, found.supported_until) == (available, "2028-06-30")


# --- any text, any length -------------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.text(max_size=40), st.sampled_from([*"".join(WORDS).splitlines(), "7;7", "9" * 30])
    ),
    max_size=12,
).map("\n".join)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["summary", "packages", "status", "num_esm_infra_updates"]), inner
        ),
    ),
)


@given(LINES)
def test_no_text_breaks_a_summary(text: str) -> None:
    for found in (
        summaries.parse_words(text),
        summaries.parse_counts(text),
        summaries.parse_pro(text),
    ):
        assert found is None or (found.updates or 0) >= 0
    count = summaries.parse_security_count(text)
    assert count is None or count >= 0


@given(VALUES)
def test_no_json_breaks_the_summary_of_ubuntu_pro(value: object) -> None:
    found = summaries.parse_pro(json.dumps({"summary": value, "packages": value}))
    assert found is None or found.pro_only >= 0


def test_every_way_to_ask_that_hangs_leaves_it_unknown(tmp_path: Path) -> None:
    built = machine(tmp_path)
    for argv in (SIMULATIONS[0], ("apt", *CHANGE_NOTHING, "list", "--upgradable"), (APT_CHECK,)):
        built.command(list(argv), timed_out=True)
    found = updates(built)
    assert counts(found) == ("unknown", None, None)
    assert found.reason == "apt-get did not answer in time"


def test_an_output_without_end_is_unknown(tmp_path: Path) -> None:
    line = "Inst alpha [1] (2 Ubuntu:24.04/noble-security [amd64])\n"
    found = updates(machine(tmp_path).command(SIMULATIONS[0], line * 100_000))
    assert found.state == "unknown"
    assert found.reason == "apt-get printed too much"
