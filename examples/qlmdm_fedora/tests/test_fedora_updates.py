"""The adapter against machines with dnf, each in one respect unlike a machine that is in order.

A recorded machine (`qlmdm_core.testing.RecordedMachine`) has exactly the files and the answers
that a test gives it. What dnf prints has the form that dnf 4.23 printed, where nothing else is
said (see `test_fedora_real_dnf`).
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from qlmdm_core.api import Updates
from qlmdm_core.testing import RecordedMachine
from qlmdm_fedora.adapter import FedoraAdapter
from qlmdm_fedora.pending import LISTS_OF_ALL, LOG_ELSEWHERE
from qlmdm_fedora.rpmdb import ALL

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
DAY = 86400
FEDORA = 'NAME="Fedora Linux"\nVERSION_ID=43\nID=fedora\nSUPPORT_END=2026-12-02\n'
CENTOS = 'NAME="CentOS Stream"\nVERSION_ID="9"\nID="centos"\nID_LIKE="rhel fedora"\n'
RHEL = 'NAME="Red Hat Enterprise Linux"\nVERSION_ID="9.6"\nID="rhel"\nID_LIKE="fedora"\n'
CHECK = ["dnf", "-C", "check-update"]
SECURITY = ["dnf", "-C", "-q", "updateinfo", "list", "--security"]
WAITING = """
alpha.noarch                          1.2-1.fc43                         updates
beta.noarch                           1:2.1-3.fc43                       updates
"""
INSTALLED = "alpha\t1.0-1.fc43\tnoarch\nbeta\t1:2.0-1.fc43\tnoarch\nbash\t5.3-1.fc43\tx86_64\n"
REPO = "[{0}]\nname={0}\nbaseurl=https://example.org/{0}\nenabled={1}\n"
INDEX = '<repomd><data type="primary"/>{}</repomd>'
ADVISED = '<data type="updateinfo"/>'


def machine(
    path: Path,
    *,
    age: float | None = 3600,
    os_release: str = FEDORA,
    repositories: tuple[str, ...] = ("fedora", "updates"),
    advised: tuple[str, ...] = ("updates",),
    root: bool = True,
    cache: str = "/var/cache/dnf",
) -> RecordedMachine:
    """A machine whose lists were fetched an hour ago; dnf answers nothing yet."""
    built = RecordedMachine(path, recorded_at=NOW.isoformat(), root=root)
    built.file("/etc/os-release", os_release)
    text = "\n".join(REPO.format(name, 1) for name in repositories)
    built.file("/etc/yum.repos.d/test.repo", text + "\n" + REPO.format("updates-testing", 0))
    for name in repositories if age is not None else ():
        built.file(
            f"{cache}/{name}-0123456789abcdef/repodata/repomd.xml",
            INDEX.format(ADVISED if name in advised else ""),
            mtime=NOW.timestamp() - (age or 0),
        )
    return built.command(ALL, INSTALLED)


def updates(built: RecordedMachine) -> Updates:
    return FedoraAdapter().updates(built.host())


def in_order(built: RecordedMachine, stderr: str = "", stdout: str = "") -> RecordedMachine:
    """dnf says that nothing waits."""
    return built.command(CHECK, stdout, stderr=stderr).command(SECURITY, "")


@pytest.mark.parametrize(
    ("os_release", "fit"),
    [
        ({"ID": "fedora"}, 20),
        ({"ID": "rhel", "ID_LIKE": "fedora"}, 20),
        ({"ID": "centos", "ID_LIKE": "rhel fedora"}, 20),
        ({"ID": "almalinux"}, 20),
        ({"ID": "ol", "ID_LIKE": "fedora"}, 20),
        ({"ID": "amzn"}, 20),
        ({"ID": "bazzite", "ID_LIKE": "fedora"}, 10),
        ({"ID": "scientific", "ID_LIKE": "rhel centos fedora"}, 10),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, 0),
        ({"ID": "debian"}, 0),
        ({"ID": "fedoraish", "ID_LIKE": "fedora-unlike"}, 0),
        ({}, 0),
    ],
)
def test_it_fits_the_family_and_its_own_best(os_release: dict[str, str], fit: int) -> None:
    assert FedoraAdapter().match(os_release) == fit


# --- what waits -------------------------------------------------------------------------------


def test_updates_that_wait_are_named(tmp_path: Path) -> None:
    built = machine(tmp_path).command(CHECK, WAITING, returncode=100).command(SECURITY, "")
    found = updates(built)
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 2, 0)
    assert found.cache_age_seconds == 3600
    assert found.packages[1] == {
        "name": "beta",
        "installed": "1:2.0-1.fc43",
        "available": "1:2.1-3.fc43",
        "security": False,
    }


def test_nothing_and_status_0_mean_that_nothing_waits(tmp_path: Path) -> None:
    found = updates(in_order(machine(tmp_path)))
    assert (found.state, found.updates, found.security_updates) == ("up_to_date", 0, 0)


def test_a_fix_of_a_build_in_between_counts(tmp_path: Path) -> None:
    advisories = (
        "FEDORA-2026-aaaa111111 Important/Sec. alpha-1.1-1.fc43.noarch\n"
        "FEDORA-2026-cccc333333 Moderate/Sec.  beta-1:3.0-1.fc43.noarch\n"
        "FEDORA-2026-dddd444444 Critical/Sec.  locked-1.1-1.fc43.noarch\n"
    )
    built = machine(tmp_path).command(CHECK, WAITING, returncode=100).command(SECURITY, advisories)
    found = updates(built)
    # beta's fix is in a later build than the one that is offered, and locked's is not offered.
    assert [package["security"] for package in found.packages] == [True, False]
    assert (found.updates, found.security_updates) == (2, 1)


def test_a_machine_that_lacks_everything_is_judged_at_once(tmp_path: Path) -> None:
    """Thousands of updates beside thousands of advisories: work that grows with their sum."""
    names = [f"package{number}" for number in range(5000)]
    table = "\n".join(f"{name}.noarch 1.2-1.fc43 updates" for name in names)
    advisories = "\n".join(f"F-{name} Low/Sec. {name}-1.1-1.fc43.noarch" for name in names)
    built = machine(tmp_path).command(CHECK, table, returncode=100).command(SECURITY, advisories)
    assert updates(built).security_updates == 5000


def test_a_list_counts_whatever_the_status(tmp_path: Path) -> None:
    assert updates(machine(tmp_path).command(CHECK, WAITING)).updates == 2


def test_what_only_replaces_others_is_no_update(tmp_path: Path) -> None:
    text = (
        "Obsoleting Packages\n"
        "kernel-headers.x86_64                 6.17.2-1.fc43                      updates\n"
        "    kernel-headers.x86_64             6.17.1-1.fc43                      @updates\n"
    )
    built = machine(tmp_path).command(CHECK, text, returncode=100).command(SECURITY, "")
    found = updates(built)
    assert (found.state, found.updates) == ("up_to_date", 0)
    assert found.notes == ("would take the place of others: kernel-headers",)


def test_updates_wait_however_old_the_lists_are(tmp_path: Path) -> None:
    built = machine(tmp_path, age=90 * DAY).command(CHECK, WAITING, returncode=100)
    assert updates(built.command(SECURITY, "")).state == "updates_available"


def test_what_the_owner_holds_back_is_named(tmp_path: Path) -> None:
    built = in_order(machine(tmp_path))
    built.file("/etc/dnf/plugins/versionlock.list", "locked-0:1.0-1.fc43.*\n")
    built.file("/etc/dnf/dnf.conf", "[main]\ngpgcheck=1\nexcludepkgs=kernel*, nvidia-driver\n")
    built.file(
        "/etc/yum.repos.d/other.repo",
        "[off]\nenabled=0\nexclude=nothing\n[updates]\nexclude=mesa*\n",
    )
    assert updates(built).held == ("locked", "mesa*", "kernel*", "nvidia-driver")


# --- what proves nothing ------------------------------------------------------------------------


def test_a_repository_without_lists_is_unknown_though_dnf_is_content(tmp_path: Path) -> None:
    stderr = (
        "Error: Cache-only enabled but no cache for 'updates'\nIgnoring repositories: updates\n"
    )
    found = updates(in_order(machine(tmp_path), stderr=stderr))
    assert (found.state, found.updates) == ("unknown", None)
    assert found.reason == "dnf has no lists of updates; run: sudo dnf makecache"


def test_the_same_where_dnf_says_nothing_of_it(tmp_path: Path) -> None:
    built = machine(tmp_path, repositories=("fedora",))
    built.file("/etc/yum.repos.d/updates.repo", REPO.format("updates", 1))
    assert updates(in_order(built)).reason.startswith("dnf has no lists of updates")


def test_a_third_partys_repository_without_lists_is_a_note(tmp_path: Path) -> None:
    built = machine(tmp_path)
    built.file("/etc/yum.repos.d/third.repo", REPO.format("example-tools", 1))
    stderr = (
        "Error: Cache-only enabled but no cache for 'example-tools'\n"
        "Ignoring repositories: example-tools\n"
    )
    found = updates(in_order(built, stderr=stderr))
    assert found.state == "up_to_date"
    assert found.notes == ("without lists, and so left out by dnf: example-tools",)


def test_a_repository_that_may_not_be_left_out_is_unknown(tmp_path: Path) -> None:
    stderr = "Error: Cache-only enabled but no cache for 'updates'\n"
    built = machine(tmp_path).command(CHECK, "", stderr=stderr, returncode=1)
    found = updates(built)
    assert (found.state, found.updates) == ("unknown", None)
    assert "no lists of updates" in found.reason


def test_old_lists_prove_nothing(tmp_path: Path) -> None:
    found = updates(in_order(machine(tmp_path, age=20 * DAY)))
    assert found.state == "unknown"
    assert found.reason == "dnf's package lists are of 2026-10-12; run: sudo dnf makecache"


def test_fresh_lists_of_somebody_else_do_not_make_the_others_young(tmp_path: Path) -> None:
    built = machine(tmp_path, age=20 * DAY, repositories=("updates", "google-chrome"))
    where = "/var/cache/dnf/google-chrome-0123456789abcdef/repodata/repomd.xml"
    built.stat(where, mtime=NOW.timestamp())
    assert updates(in_order(built)).cache_age_seconds == 20 * DAY


def test_the_oldest_of_the_distributions_own_lists_counts(tmp_path: Path) -> None:
    built = machine(tmp_path, os_release=CENTOS, repositories=("appstream", "baseos"))
    where = "/var/cache/dnf/baseos-0123456789abcdef/repodata/repomd.xml"
    found = updates(in_order(built.stat(where, mtime=NOW.timestamp() - 20 * DAY)))
    assert (found.state, found.cache_age_seconds) == ("unknown", 20 * DAY)


def test_fedoras_own_frozen_repository_may_be_old(tmp_path: Path) -> None:
    built = in_order(machine(tmp_path))
    where = "/var/cache/dnf/fedora-0123456789abcdef/repodata/repomd.xml"
    assert updates(built.stat(where, mtime=NOW.timestamp() - 30 * DAY)).state == "up_to_date"


def test_a_file_that_dnf_touched_tells_the_age(tmp_path: Path) -> None:
    built = in_order(machine(tmp_path, age=20 * DAY))
    where = "/var/cache/dnf/updates-0123456789abcdef/repodata/ab-primary.xml.gz"
    assert updates(built.file(where, "", mtime=NOW.timestamp() - 60)).cache_age_seconds == 60


def test_an_address_that_changed_leaves_an_old_folder_behind(tmp_path: Path) -> None:
    built = in_order(machine(tmp_path))
    where = "/var/cache/dnf/updates-fedcba9876543210/repodata/repomd.xml"
    built.file(where, "", mtime=NOW.timestamp() - 99 * DAY)
    assert updates(built).cache_age_seconds == 3600


def test_where_the_cache_is_not_known_dnf_says_the_age(tmp_path: Path) -> None:
    stdout = "Last metadata expiration check: 0:10:00 ago on Sun Nov  1 11:50:00 2026.\n"
    found = updates(in_order(machine(tmp_path, age=None), stdout=stdout))
    assert (found.state, found.cache_age_seconds) == ("up_to_date", 600)


def test_without_any_age_nothing_is_proved(tmp_path: Path) -> None:
    found = updates(in_order(machine(tmp_path, age=None)))
    assert (found.state, found.cache_age_seconds) == ("unknown", None)
    assert "how old" in found.reason


@pytest.mark.parametrize(
    ("stderr", "returncode", "reason"),
    [
        ("Error: There are no enabled repositories in x.\n", 1, "no repository is enabled"),
        ("Error: Failed to synchronize cache for repo 'x'\n", 1, "dnf exited 1: Error: Failed"),
        ("", 100, "dnf's list is not understood"),
    ],
)
def test_a_failure_is_unknown(tmp_path: Path, stderr: str, returncode: int, reason: str) -> None:
    built = machine(tmp_path).command(CHECK, "", stderr=stderr, returncode=returncode)
    found = updates(built)
    assert (found.state, found.updates, found.security_updates) == ("unknown", None, None)
    assert found.reason.startswith(reason)


def test_dnf_that_hangs_is_unknown(tmp_path: Path) -> None:
    found = updates(machine(tmp_path).command(CHECK, "", timed_out=True))
    assert (found.state, found.reason) == ("unknown", "dnf did not answer in time")


def test_without_dnf_it_is_unknown(tmp_path: Path) -> None:
    assert updates(machine(tmp_path)).reason == "dnf is not installed"
    built = machine(tmp_path / "minimal").file("/usr/bin/microdnf", "", mode=0o755)
    assert "microdnf" in updates(built).reason


def test_no_enabled_repository_is_unknown(tmp_path: Path) -> None:
    built = machine(tmp_path, repositories=())
    assert updates(in_order(built)).reason.startswith("no repository is enabled")


# --- security -----------------------------------------------------------------------------------


def test_where_no_repository_has_advisories_security_is_not_known(tmp_path: Path) -> None:
    built = machine(tmp_path, os_release=CENTOS, repositories=("baseos", "appstream"), advised=())
    text = "openssl-libs.x86_64        1:3.5.1-4.el9          baseos\n"
    built.command(CHECK, text, returncode=100).command(SECURITY, "")
    found = updates(built)
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 1, None)
    assert found.packages[0]["security"] is None


def test_where_nothing_waits_no_security_update_does(tmp_path: Path) -> None:
    built = machine(tmp_path, os_release=CENTOS, repositories=("baseos",), advised=())
    found = updates(in_order(built))
    assert (found.state, found.updates, found.security_updates) == ("up_to_date", 0, 0)


def test_an_empty_answer_proves_nothing_where_the_lists_are_not_known(tmp_path: Path) -> None:
    built = machine(tmp_path, age=None).command(CHECK, WAITING, returncode=100)
    found = updates(built.command(SECURITY, ""))
    assert (found.updates, found.security_updates) == (2, None)


def test_a_third_partys_advisories_do_not_speak_for_the_distribution(tmp_path: Path) -> None:
    built = machine(tmp_path, os_release=CENTOS, repositories=("baseos", "epel"), advised=("epel",))
    text = "openssl-libs.x86_64        1:3.5.1-4.el9          baseos\n"
    built.command(CHECK, text, returncode=100).command(SECURITY, "")
    assert updates(built).security_updates is None


def test_a_third_party_without_advisories_does_not_hide_the_distributions(tmp_path: Path) -> None:
    built = machine(tmp_path, repositories=("fedora", "updates", "google-chrome"))
    text = WAITING + "google-chrome-stable.x86_64    150.0-1    google-chrome\n"
    built.command(CHECK, text, returncode=100).command(SECURITY, "")
    found = updates(built)
    assert (found.updates, found.security_updates) == (3, 0)
    assert found.packages[2]["security"] is None


def test_without_an_answer_about_advisories_security_is_not_known(tmp_path: Path) -> None:
    built = machine(tmp_path).command(CHECK, WAITING, returncode=100)
    built.command(SECURITY, "", stderr="Error: x\n", returncode=1)
    found = updates(built)
    assert (found.updates, found.security_updates) == (2, None)


# --- dnf5, yum, and who asks ----------------------------------------------------------------------


def test_dnf5_has_a_cache_of_its_own(tmp_path: Path) -> None:
    built = machine(tmp_path, age=20 * DAY).link("/usr/bin/dnf", "dnf5")
    for name in ("fedora", "updates"):
        where = f"/var/cache/libdnf5/{name}-0123456789abcdef/repodata/repomd.xml"
        built.file(where, INDEX.format(ADVISED), mtime=NOW.timestamp() - 60)
    found = updates(in_order(built))
    assert (found.state, found.cache_age_seconds) == ("up_to_date", 60)


def test_the_words_of_dnf5(tmp_path: Path) -> None:
    built = machine(tmp_path, cache="/var/cache/libdnf5").link("/usr/bin/dnf", "dnf5")
    text = "Upgrades\nalpha.noarch 1.2-1.fc43 updates\n\nObsoleting packages\n"
    built.command(["dnf5", "check-upgrade"], text, returncode=100)
    listed = '[{"name": "F", "type": "security", "nevra": "alpha-0:1.1-1.fc43.noarch"}]'
    built.command(["dnf5", "advisory", "list", "--security", "--json"], listed)
    found = updates(built)
    assert (found.updates, found.security_updates) == (1, 1)


@pytest.mark.parametrize(
    ("link", "root", "options"),
    [
        ("dnf5", True, (LOG_ELSEWHERE,)),
        ("dnf5", False, LISTS_OF_ALL),
        ("dnf-3", True, (LOG_ELSEWHERE,)),
        ("dnf-3", False, ()),
    ],
)
def test_the_systems_lists_are_asked_whoever_asks(
    tmp_path: Path, link: str, root: bool, options: tuple[str, ...]
) -> None:
    cache = "/var/cache/libdnf5" if link == "dnf5" else "/var/cache/dnf"
    built = machine(tmp_path, root=root, cache=cache).link("/usr/bin/dnf", link)
    # Were it asked with other options, this would be as good an answer as the right one.
    built.command(["dnf", "-C", "--other", "check-update"], "", stderr="no", returncode=1)
    built.command(["dnf", "-C", *options, "check-update"], "")
    assert updates(built).state == "up_to_date"


def test_yum_has_lists_of_its_own_for_each_user(tmp_path: Path) -> None:
    built = machine(tmp_path, root=False, os_release=RHEL, repositories=("rhel-7-server-rpms",))
    built.command(["yum", "-C", "check-update"], "")
    assert updates(built).reason.startswith("not root: yum")


def test_yum_of_el_7(tmp_path: Path) -> None:
    os_release = 'NAME="CentOS Linux"\nVERSION_ID="7"\nID="centos"\nID_LIKE="rhel fedora"\n'
    built = machine(tmp_path, age=None, os_release=os_release, repositories=("base", "updates"))
    for name in ("base", "updates"):
        where = f"/var/cache/yum/x86_64/7/{name}"
        built.file(f"{where}/repomd.xml", "", mtime=NOW.timestamp() - 99 * DAY)
        built.file(f"{where}/cachecookie", "", mtime=NOW.timestamp() - 3600)
    built.command(["yum", "-C", "check-update"], "Loaded plugins: x\n")
    found = updates(built)
    assert found.cache_age_seconds == 3600
    assert (found.state, found.reason[:22]) == ("unknown", "the release has had no")


# --- subscriptions, locks, ends -------------------------------------------------------------------


def test_a_rhel_that_is_not_registered_is_unknown(tmp_path: Path) -> None:
    stdout = (
        "Updating Subscription Management repositories.\n"
        "Unable to read consumer identity\n\n"
        "This system is not registered with an entitlement server. "
        "You can use subscription-manager to register.\n"
    )
    built = machine(tmp_path, os_release=RHEL, repositories=("epel",))
    found = updates(in_order(built, stdout=stdout))
    assert found.state == "unknown"
    assert "not registered" in found.reason


def test_a_rhel_with_only_a_third_partys_repository_is_unknown(tmp_path: Path) -> None:
    built = machine(tmp_path, os_release=RHEL, repositories=("epel",))
    assert "no repository of Red Hat" in updates(in_order(built)).reason


def test_a_rhel_with_its_repositories_is_up_to_date(tmp_path: Path) -> None:
    name = "rhel-9-for-x86_64-baseos-rpms"
    built = machine(tmp_path, os_release=RHEL, repositories=(name,), advised=(name,))
    assert updates(in_order(built)).state == "up_to_date"


@pytest.mark.parametrize(("releasever", "state"), [(None, "unknown"), ("latest\n", "up_to_date")])
def test_amazon_linux_2023_is_locked_unless_told_otherwise(
    tmp_path: Path, releasever: str | None, state: str
) -> None:
    os_release = 'ID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\nSUPPORT_END="2029-06-30"\n'
    built = machine(tmp_path, os_release=os_release, repositories=("amazonlinux",))
    if releasever is not None:
        built.file("/etc/dnf/vars/releasever", releasever)
    assert updates(in_order(built)).state == state


def test_a_minor_release_that_is_kept_to_is_told_of(tmp_path: Path) -> None:
    name = "rhel-9-for-x86_64-baseos-eus-rpms"
    built = machine(tmp_path, os_release=RHEL, repositories=(name,), advised=(name,))
    found = updates(in_order(built.file("/etc/dnf/vars/releasever", "9.4\n")))
    assert (found.state, found.notes) == (
        "up_to_date",
        ("kept to the release 9.4 (/etc/dnf/vars/releasever)",),
    )


def test_what_waits_is_told_though_lists_are_missing(tmp_path: Path) -> None:
    stderr = "Error: Cache-only enabled but no cache for 'fedora'\nIgnoring repositories: fedora\n"
    built = machine(tmp_path).command(CHECK, WAITING, stderr=stderr, returncode=100)
    found = updates(built.command(SECURITY, ""))
    assert (found.state, found.updates, found.reason) == ("updates_available", 2, "")
    assert "dnf has no lists of fedora; run: sudo dnf makecache" in found.notes


def test_a_release_at_its_end_is_not_up_to_date(tmp_path: Path) -> None:
    os_release = FEDORA.replace("43", "42").replace("2026-12-02", "2026-05-13")
    found = updates(in_order(machine(tmp_path, os_release=os_release)))
    assert found.state == "unknown"
    assert "no updates since 2026-05-12" in found.reason
