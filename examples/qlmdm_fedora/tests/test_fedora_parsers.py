"""What dnf prints, read into values.

The samples marked "as printed" have exactly the form that dnf 4.23 and dnf5 5.4.6 printed for
repositories made for the purpose (`test_fedora_real_dnf` makes the same ones); the others are
composed from sources and manuals.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlmdm_fedora import dnf, repositories, rpmdb
from qlmdm_fedora.versions import Package, compare, normal_version, parse_nevra, rpmvercmp

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is slow; that is no fault of a parser."""

# As printed.
DNF4 = """\
Last metadata expiration check: 1 day, 2:03:04 ago on Tue Nov 24 13:09:45 2026.

a-package-with-a-very-long-name-that-fits-no-column.noarch 1.0.20260101gitabcdef0-1.fc99 updates
alpha.noarch                                               1.2-1.fc99                    updates
beta.noarch                                                1:2.1-3.fc99                  updates
Obsoleting Packages
newname.noarch                                             1.0-1.fc99                    updates
    oldname.noarch                                         1.0-1.fc99                    @System
"""
# As printed, but for the last section, which is composed.
DNF5 = """\
Upgrades
alpha.noarch                          1.2-1.fc99   updates
kernel-core.x86_64                    7.0.1-1.fc99 updates

Obsoleting packages
newname.noarch                        1.0-1.fc99   updates
    oldname.noarch                    1.0-1.fc99   @System
"""
YUM = """\
Loaded plugins: fastestmirror, versionlock
Loading mirror speeds from cached hostfile
 * base: mirror.example.org
 * updates: mirror.example.net

bind-export-libs.x86_64      32:9.11.4-26.P2.el7_9.16      updates
a-name-that-is-longer-than-the-column.noarch
                             1:20260101.00-g1.el7          example-tools
kernel.x86_64                3.10.0-1160.119.1.el7         updates
"""


def rows(text: str) -> list[tuple[str, str, str, str]]:
    return [
        (row.package.name, row.package.arch, row.package.version, row.repository)
        for row in dnf.parse_check(text).upgrades
    ]


def test_the_table_of_dnf4() -> None:
    assert rows(DNF4)[1:] == [
        ("alpha", "noarch", "1.2-1.fc99", "updates"),
        ("beta", "noarch", "1:2.1-3.fc99", "updates"),
    ]
    assert len(rows(DNF4)) == 3


def test_what_replaces_others_is_no_update() -> None:
    assert dnf.parse_check(DNF4).replacements == ("newname",)
    assert dnf.parse_check(DNF5).replacements == ("newname",)
    assert [row[0] for row in rows(DNF5)] == ["alpha", "kernel-core"]


def test_a_row_that_yum_wraps_is_one_row() -> None:
    assert [row[0] for row in rows(YUM)] == [
        "bind-export-libs",
        "a-name-that-is-longer-than-the-column",
        "kernel",
    ]
    assert rows(YUM)[1][2:] == ("1:20260101.00-g1.el7", "example-tools")


def test_a_row_that_is_wrapped_twice_is_one_row() -> None:
    assert rows("alpha.noarch\n    1.2-1\n    updates\n") == [
        ("alpha", "noarch", "1.2-1", "updates")
    ]


def test_one_package_counts_once() -> None:
    text = "kernel.x86_64 6.1-1 updates\nkernel.x86_64 6.2-1 updates\nkernel.i686 6.2-1 updates\n"
    assert [row[1:3] for row in rows(text)] == [("x86_64", "6.2-1"), ("i686", "6.2-1")]


@pytest.mark.parametrize(
    ("line", "age"),
    [
        ("Last metadata expiration check: 0:06:32 ago on Fri 28 Jul 2023 04:45:20 AM MDT.", 392),
        ("Last metadata expiration check: 3 days, 1:00:00 ago on x.", 3 * 86400 + 3600),
        ("Last metadata expiration check performed 0:00:01 ago", None),
    ],
)
def test_the_age_of_the_lists_as_dnf_says_it(line: str, age: int | None) -> None:
    assert dnf.parse_check(line).age_seconds == age


def test_repositories_that_dnf_left_out() -> None:
    as_printed = (
        "Error: Cache-only enabled but no cache for 'updates'\nIgnoring repositories: updates, x\n"
    )
    assert dnf.repositories_left_out(as_printed) == ("updates", "x")
    dnf5 = 'Cache-only enabled but no cache for repository "updates"\n'
    assert dnf.repositories_left_out(dnf5) == ("updates",)


def test_the_advisories_of_dnf4() -> None:
    as_printed = """\
FEDORA-2026-aaaa111111 Important/Sec. alpha-1.1-1.fc99.noarch
FEDORA-2026-bbbb222222 bugfix         alpha-1.2-1.fc99.noarch
FEDORA-2026-cccc333333 Moderate/Sec.  locked-2:1.1-1.fc99.noarch
i FEDORA-2026-dddd444444 Unknown/Sec. beta-1.0-1.fc99.noarch
FEDORA-2026-eeee555555 security       gamma-3.1-1.fc99.noarch
"""
    found = dnf.parse_advisories(as_printed)
    assert found is not None
    assert {(package.name, package.version) for package in found} == {
        ("alpha", "1.1-1.fc99"),
        ("locked", "2:1.1-1.fc99"),
        ("gamma", "3.1-1.fc99"),
    }


def test_the_advisories_of_dnf5() -> None:
    # As printed, by 5.4; older ones print the time of the build as text.
    table = """\
Name                   Type     Severity                  Package              Issued
FEDORA-2026-aaaa111111 security Important alpha-1.1-1.fc99.noarch 2026-10-01 00:00:00
FEDORA-2026-bbbb222222 bugfix   None      alpha-1.2-1.fc99.noarch 2026-10-02 00:00:00
"""
    listed = json.dumps(
        [
            {
                "name": "F",
                "type": "security",
                "severity": "x",
                "nevra": "alpha-0:1.1-1.fc99.noarch",
            },
            {"name": "G", "type": "bugfix", "severity": "x", "nevra": "alpha-0:1.2-1.fc99.noarch"},
        ]
    )
    alpha = Package(name="alpha", arch="noarch", version="1.1-1.fc99")
    assert dnf.parse_advisories(table) == dnf.parse_advisories(listed) == frozenset({alpha})


def test_what_is_cut_off_is_no_list_of_advisories() -> None:
    assert dnf.parse_advisories('[{"name": "F", "type"') is None


def test_the_packages_that_are_locked() -> None:
    as_printed = """
# Added lock on Tue Nov 24 13:09:52 2026
locked-0:1.0-1.fc99.*

# Added exclude on Tue Nov 24 13:09:52 2026
!gamma-0:3.0-1.fc99.*
0:openssl-libs-1.0.2k-26.el7_9.*
kernel*
"""
    assert dnf.parse_versionlock(as_printed) == ("locked", "gamma", "openssl-libs", "kernel*")
    # As printed.
    toml = """\
version = "1.0"

[[packages]]
name = "bash"
comment = "name = no"
[[packages.conditions]]
key = "evr"
comparator = "="
value = "0:5.2.37-1.fc42"
"""
    assert dnf.parse_versionlock_toml(toml) == ("bash",)


def test_the_hint_to_restart() -> None:
    as_printed = (
        "No core libraries or services have been updated since boot-up.\n"
        "Reboot should not be necessary.\n"
    )
    assert dnf.parse_restart(as_printed).required is False
    due = (
        "Core libraries or services have been updated since boot-up:\n  * glibc\n  * kernel\n\n"
        "Reboot is required to fully utilize these updates.\n"
        "More information: https://access.redhat.com/solutions/27943\n"
    )
    assert dnf.parse_restart(due) == dnf.Restart(required=True, packages=("glibc", "kernel"))
    el7 = (
        "Core libraries or services have been updated:\n  systemd -> 219-78.el7_9.9\n\n"
        "Reboot is required to ensure that your system benefits from these updates.\n"
    )
    assert dnf.parse_restart(el7) == dnf.Restart(required=True, packages=("systemd",))


def test_an_error_is_no_hint() -> None:
    text = "No such command: needs-restarting. Please use /usr/bin/dnf --help\n"
    assert dnf.parse_restart(text).required is None


def test_a_definition_of_repositories() -> None:
    text = """\
# a comment
[updates]
name = Updates
baseurl = https://a.example/
    https://b.example/
enabled=1

[testing]
enabled = 0
"""
    found = repositories.parse_sections(text)
    assert found["updates"]["baseurl"] == "https://a.example/ https://b.example/"
    assert found["testing"] == {"enabled": "0"}


@pytest.mark.parametrize(
    ("repository", "own"),
    [
        ("updates", True),
        ("fedora", True),
        ("rhel-9-for-x86_64-baseos-rpms", True),
        ("rhui-rhel-9-for-x86_64-appstream-rhui-rpms", True),
        ("ol8_baseos_latest", True),
        ("amzn2-core", True),
        ("amazonlinux", True),
        ("corp-mirror-baseos", True),
        ("crb", True),
        ("google-chrome", False),
        ("protonvpn-fedora-stable", False),
        ("rpmfusion-free-updates", False),
        ("copr:copr.fedorainfracloud.org:x:fedora", False),
        ("epel", False),
    ],
)
def test_the_distributions_own_repositories_are_known_by_their_ids(
    repository: str, own: bool
) -> None:
    assert repositories.is_own(repository) is own


# --- names and versions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alpha-1.1-1.fc99.noarch", ("alpha", "noarch", "1.1-1.fc99")),
        ("bind-libs-32:9.16-1.el9.x86_64", ("bind-libs", "x86_64", "32:9.16-1.el9")),
        ("alpha-0:1.1-1.fc99.noarch", ("alpha", "noarch", "1.1-1.fc99")),
        ("32:bind-libs-9.11-26.el7.x86_64", ("bind-libs", "x86_64", "32:9.11-26.el7")),
    ],
)
def test_a_nevra_is_taken_apart(text: str, expected: tuple[str, str, str]) -> None:
    package = parse_nevra(text)
    assert package is not None
    assert (package.name, package.arch, package.version) == expected


@pytest.mark.parametrize("text", ["", "alpha", "alpha-1.noarch", "alpha-1-1.what", "-1-1.noarch"])
def test_what_is_no_nevra(text: str) -> None:
    assert parse_nevra(text) is None


# Each as rpm 4.20 answers: rpm --eval '%{lua: print(rpm.vercmp("1.0^", "1.0"))}'
@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("1.0", "1.0", 0),
        ("2.0.1", "2.0", 1),
        ("5.5p1", "5.5p10", -1),
        ("10xyz", "10.1xyz", -1),
        ("xyz10", "xyz10.1", -1),
        ("1.0~rc1", "1.0", -1),
        ("1.0~rc1", "1.0~rc2", -1),
        ("1.0^", "1.0", 1),
        ("1.0^git1", "1.01", -1),
        ("1.0^20160101", "1.0.1", -1),
        ("1.0~rc1^git1", "1.0~rc1", 1),
        ("1.0^git1~pre", "1.0^git1", -1),
        ("a", "1", -1),
        ("01", "1", 0),
        ("1_0", "1.0", 0),
        ("1.fc9", "1.fc10", -1),
        ("1^", "1~", 1),
    ],
)
def test_versions_are_compared_as_rpm_does(one: str, other: str, expected: int) -> None:
    assert (rpmvercmp(one, other), rpmvercmp(other, one)) == (expected, -expected)


def test_the_epoch_counts_first_and_the_release_last() -> None:
    assert compare("1:1.0-1", "2.0-1") > 0
    assert compare("2.0-1", "2.0-2") < 0
    assert compare("0:2.0-2", "2.0-2") == 0


def test_the_list_of_installed_packages() -> None:
    text = "bash\t5.2.37-1.fc42\tx86_64\ngpg-pubkey\t1-2\t(none)\nbind\t32:9.18-1.fc42\tx86_64\n"
    assert [package.version for package in rpmdb.parse_packages(text)] == [
        "5.2.37-1.fc42",
        "32:9.18-1.fc42",
    ]
    (plain,) = rpmdb.parse_packages("bash-5.2.26-6.el10.x86_64\n")
    assert (plain.name, plain.version) == ("bash", "5.2.26-6.el10")


# --- any text gives a value -------------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            [
                *DNF4.splitlines(),
                *YUM.splitlines(),
                "F-1 x/Sec. a-1-1.noarch",
                "[main]",
                "exclude = a, b",
                "!a-0:1-1.*",
                'name = "a"',
                "Reboot is required",
                "things updated:",
                "  * glibc",
                "a\t1-1\tnoarch",
            ]
        ),
    ),
    max_size=12,
).map("\n".join)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "nevra", "name"]) | st.text(max_size=4), inner)
    ),
    max_leaves=12,
)


@UNTIMED
@given(LINES)
def test_no_output_breaks_a_parser(text: str) -> None:
    check = dnf.parse_check(text)
    assert all(row.package.name and row.package.version for row in check.upgrades)
    assert all(package.name for package in dnf.parse_advisories(text) or ())
    assert all(dnf.repositories_left_out(text))
    assert all(dnf.parse_versionlock(text))
    assert all(dnf.parse_versionlock_toml(text))
    assert dnf.parse_restart(text).required in (True, False, None)
    assert all(isinstance(section, dict) for section in repositories.parse_sections(text).values())
    assert all(package.version for package in rpmdb.parse_packages(text))


@UNTIMED
@given(st.lists(JSONS, max_size=4))
def test_no_json_breaks_the_list_of_advisories(value: list[object]) -> None:
    found = dnf.parse_advisories(json.dumps(value))
    assert found is not None
    assert all(package.name for package in found)


VERSIONS = st.text(alphabet="0123456789.abz~^+_-:", max_size=12)


@UNTIMED
@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_have_an_order(one: str, two: str, three: str) -> None:
    assert rpmvercmp(one, two) == -rpmvercmp(two, one)
    if rpmvercmp(one, two) <= 0 and rpmvercmp(two, three) <= 0:
        assert rpmvercmp(one, three) <= 0
    assert isinstance(compare(one, two), int)
    assert normal_version(normal_version(one)) is not None
    parse_nevra(f"{one}-{two}-{three}.noarch")


@pytest.mark.parametrize("text", ["a." * 200000, "1" * 500000, "[" * 100000, "x\n" * 100000])
def test_what_is_very_long_is_read_at_once(text: str) -> None:
    dnf.parse_check(text)
    dnf.parse_advisories(text)
    dnf.parse_versionlock(text)
    dnf.repositories_left_out(text)
    repositories.parse_sections(text)
    parse_nevra(text)
    rpmvercmp(text, text)
