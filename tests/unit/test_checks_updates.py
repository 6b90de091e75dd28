"""The checks of updates: one test for each row of their tables of verdicts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, ClientView, Verdict
from qlmdm_core.units import Duration
from qlmdm_plugins_builtin.checks import updates
from qlmdm_plugins_builtin.policy import Policy

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
REPORTED = NOW.isoformat()
HOUR, DAY = 3600, 86400
CHECKS = {check.name: check for check in updates.checks(Policy())}
ANY, SECURITY = "os-update-available", "os-security-patches-available"


def value(**fields: JSON) -> dict[str, JSON]:
    """The value of an Ubuntu in order, but for these fields."""
    return {
        "state": "up_to_date",
        "updates": 0,
        "security_updates": 0,
        "packages": [],
        "release_upgrade": None,
        "supported_until": "2029-05-31",
        "end_of_life": False,
        "cache_updated_at": "2026-11-01T11:00:00+00:00",
        "distribution": "Ubuntu 24.04.3 LTS",
        "adapter": "ubuntu",
    } | fields


def waiting(updates: int, security: int | None, **fields: JSON) -> dict[str, JSON]:
    packages = [{"name": f"pkg{n}", "security": n < (security or 0)} for n in range(updates)]
    return value(
        state="updates_available",
        updates=updates,
        security_updates=security,
        packages=packages,
        **fields,
    )


def judge(
    name: str, reported: JSON, *, at: datetime = NOW, collected_at: JSON = REPORTED
) -> Verdict:
    result = {"status": "ok", "value": reported, "collected_at": collected_at}
    view = ClientView(
        cid="c", hostname="h", report={"os_updates": result}, enrolled_at=NOW - timedelta(days=99)
    )
    return CHECKS[name].judge(view, at)


# --- what passes, and until when --------------------------------------------------------------


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_a_machine_in_order_passes_until_its_lists_are_old(name: str) -> None:
    verdict = judge(name, value())
    assert (verdict.state, verdict.valid_until) == ("pass", NOW + timedelta(days=7, hours=-1))


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_it_does_not_pass_at_that_moment(name: str) -> None:
    at = judge(name, value()).valid_until
    assert at is not None
    assert judge(name, value(), at=at - timedelta(seconds=1)).state == "pass"
    assert judge(name, value(), at=at).state == "unknown"


def test_ordinary_updates_are_no_security_updates() -> None:
    assert judge(SECURITY, waiting(3, 0)).state == "pass"


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_a_pass_ends_with_the_support_of_the_release(name: str) -> None:
    verdict = judge(name, value(supported_until="2026-11-03"))
    end = datetime(2026, 11, 4, tzinfo=timezone.utc)
    assert (verdict.state, verdict.valid_until) == ("pass", end)
    assert judge(name, value(supported_until="2026-11-03"), at=end).state == "fail"


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_a_rolling_release_that_tells_nothing_apart_passes_when_nothing_waits(name: str) -> None:
    reported = value(adapter="arch", supported_until=None, security_updates=None)
    assert judge(name, reported).state == "pass"


def test_a_newer_release_is_no_matter_while_this_one_is_supported() -> None:
    verdict = judge(ANY, value(release_upgrade="Ubuntu 26.04 LTS"))
    assert verdict.state == "pass"


def test_a_newer_release_matters_once_support_ends_soon() -> None:
    reported = value(release_upgrade="Ubuntu 26.04 LTS", supported_until="2027-02-02")
    verdict = judge(ANY, reported)
    # 90 days before the 3rd of February, the first day without support.
    assert (verdict.state, verdict.valid_until) == (
        "pass",
        datetime(2026, 11, 5, tzinfo=timezone.utc),
    )
    assert judge(ANY, reported, at=datetime(2026, 11, 5, tzinfo=timezone.utc)).state == "fail"


# --- what fails -------------------------------------------------------------------------------


def test_updates_that_wait_fail_and_the_fix_is_named() -> None:
    verdict = judge(ANY, waiting(7, 2))
    assert verdict.state == "fail"
    assert verdict.message == (
        "7 updates wait (2 for security): pkg0, pkg1, pkg2, pkg3, pkg4 and others. "
        "Install them: sudo apt full-upgrade"
    )


def test_security_updates_that_wait_fail_and_are_named() -> None:
    verdict = judge(SECURITY, waiting(7, 1))
    assert verdict.state == "fail"
    assert verdict.message == "1 security update waits: pkg0. Install it: sudo apt full-upgrade"


@pytest.mark.parametrize(
    ("adapter", "fix"),
    [
        ("ubuntu", ": sudo apt full-upgrade"),
        ("arch", ": sudo pacman -Syu"),
        ("fedora", ": sudo dnf upgrade"),
        ("acme", "with the system's package manager"),
        (None, "with"),
    ],
)
def test_the_fix_is_that_of_the_distribution(adapter: str | None, fix: str) -> None:
    assert fix in judge(ANY, waiting(1, None, adapter=adapter)).message


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_updates_that_wait_fail_however_old_the_lists_are(name: str) -> None:
    assert judge(name, waiting(1, 1, cache_updated_at="2025-09-01T12:00:00+00:00")).state == "fail"
    assert judge(name, waiting(1, 1, cache_updated_at=None)).state == "fail"


@pytest.mark.parametrize("name", [ANY, SECURITY])
@pytest.mark.parametrize("state", ["up_to_date", "unknown", "updates_available"])
def test_a_release_at_its_end_fails_whatever_waits(name: str, state: str) -> None:
    reported = value(
        state=state,
        end_of_life=True,
        supported_until="2025-05-29",
        distribution="Ubuntu 20.04.6 LTS",
        release_upgrade="Ubuntu 22.04 LTS",
    )
    verdict = judge(name, reported)
    assert verdict.state == "fail"
    assert verdict.message == (
        "Ubuntu 20.04.6 LTS has been given no updates since 2025-05-29. "
        "Move to Ubuntu 22.04 LTS: sudo do-release-upgrade, "
        "or get its security updates for longer: sudo pro attach"
    )


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_a_release_that_came_to_its_end_since_the_report_fails(name: str) -> None:
    assert judge(name, value(supported_until="2026-10-31")).state == "fail"
    assert judge(name, value(supported_until="2026-11-01")).state == "pass"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"distribution": "Ubuntu 25.04"}, "Move to X 2: sudo do-release-upgrade"),
        ({"distribution": "Debian GNU/Linux 10"}, "Move to X 2, as its release notes say"),
        (
            {
                "distribution": "Fedora Linux 41",
                "adapter": "fedora",
                "release_upgrade": "Fedora Linux 43",
            },
            " sudo dnf system-upgrade download --releasever=43 && sudo dnf system-upgrade",
        ),
        ({"release_upgrade": None}, "Move to a release that is supported"),
    ],
)
def test_where_to_move_from_an_ended_release_is_said(fields: dict[str, JSON], said: str) -> None:
    reported = value(end_of_life=True, release_upgrade="X 2") | fields
    assert said in judge(ANY, reported).message


@pytest.mark.parametrize("adapter", ["ubuntu", "arch", "fedora", "acme"])
def test_no_advice_leaves_an_arch_half_upgraded(adapter: str) -> None:
    old = value(cache_updated_at="2026-10-01T12:00:00+00:00", adapter=adapter)
    for reported in (waiting(1, 1, adapter=adapter), old):
        words = judge(ANY, reported).message.split()
        assert "-Sy" not in words


def test_a_newer_release_fails_where_the_end_of_this_one_is_not_known() -> None:
    verdict = judge(ANY, value(release_upgrade="Foo 2", supported_until=None, distribution="Foo 1"))
    assert verdict.state == "fail"
    assert "Move to Foo 2, as its release notes say" in verdict.message


def test_without_a_newer_release_there_is_nowhere_to_move() -> None:
    assert judge(ANY, value(supported_until="2026-12-01")).state == "pass"


# --- what is unknown --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_an_unknown_state_is_unknown_with_its_reason(name: str) -> None:
    verdict = judge(name, value(state="unknown", updates=None, reason="pacman is locked"))
    assert (verdict.state, verdict.message) == ("unknown", "pacman is locked")


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_an_unknown_state_is_judged_again_when_support_ends(name: str) -> None:
    verdict = judge(name, value(state="unknown", reason="x", supported_until="2026-12-31"))
    assert verdict.valid_until == datetime(2027, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_lists_whose_age_is_not_known_are_unknown(name: str) -> None:
    assert judge(name, value(cache_updated_at=None)).state == "unknown"


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_lists_that_are_too_old_are_unknown_and_the_fix_is_named(name: str) -> None:
    verdict = judge(name, value(cache_updated_at="2026-10-24T12:00:00+00:00"))
    assert verdict.state == "unknown"
    assert verdict.message == (
        "nothing waits, by package lists of 2026-10-24. Fetch them anew: sudo apt update"
    )


@pytest.mark.parametrize("name", [ANY, SECURITY])
def test_a_report_grows_old_with_its_lists(name: str) -> None:
    collected_at = (NOW - timedelta(days=7)).isoformat()
    assert judge(name, value(), collected_at=collected_at).state == "unknown"


@pytest.mark.parametrize("collected_at", [None, "", "yesterday", 5, "0001-01-01T00:00:00+00:00"])
def test_a_report_of_no_known_time_is_unknown(collected_at: JSON) -> None:
    assert judge(ANY, value(), collected_at=collected_at).state == "unknown"


def test_a_clock_that_runs_ahead_does_not_make_lists_young_for_ever() -> None:
    ahead = value(cache_updated_at="2029-12-31T23:00:00Z")
    verdict = judge(ANY, ahead, collected_at="2030-01-01T00:00:00Z")
    assert verdict.valid_until == NOW + timedelta(days=7, hours=-1)


def test_both_spellings_of_utc_are_read() -> None:
    times = ["2026-11-01T12:00:00Z", "2026-11-01T12:00:00+00:00", "2026-11-01T12:00:00"]
    assert {judge(ANY, value(), collected_at=time).valid_until for time in times} == {
        NOW + timedelta(days=7, hours=-1)
    }


def test_updates_of_which_nobody_knows_whether_they_are_for_security_are_unknown() -> None:
    verdict = judge(SECURITY, waiting(4, None, adapter="arch", supported_until=None))
    assert verdict.state == "unknown"
    assert "4 updates wait" in verdict.message
    assert "Install them: sudo pacman -Syu" in verdict.message
    one = judge(SECURITY, waiting(1, None, adapter="arch", supported_until=None)).message
    assert one.startswith(
        "1 update waits, and whether it is for security can't be told. Install it"
    )


def test_a_release_without_its_security_archive_is_unknown() -> None:
    verdict = judge(SECURITY, value(security_updates=None))
    assert verdict.state == "unknown"
    assert "security archive" in verdict.message


@pytest.mark.parametrize("name", [ANY, SECURITY])
@pytest.mark.parametrize("reported", [None, [], "up_to_date", 5])
def test_what_is_no_value_of_the_collector_is_unknown(name: str, reported: JSON) -> None:
    verdict = judge(name, reported)
    assert (verdict.state, verdict.message) == (
        "unknown",
        "the value of os_updates is not understood",
    )


def test_the_state_alone_is_not_believed() -> None:
    assert judge(ANY, {"state": "up_to_date"}).state == "unknown"
    assert judge(SECURITY, {"state": "up_to_date"}).state == "unknown"
    assert judge(ANY, {"state": "updates_available"}).state == "fail"
    assert judge(SECURITY, {"state": "updates_available"}).state == "unknown"


# --- a site's policy, and hostile values ------------------------------------------------------


def test_a_site_sets_the_limits() -> None:
    strict = Policy(update_cache_max_age=Duration(HOUR), release_support_margin=Duration(0))
    (check, *_) = updates.checks(strict)
    result = {"status": "ok", "value": value(), "collected_at": NOW.isoformat()}
    view = ClientView(cid="c", hostname="h", report={"os_updates": result}, enrolled_at=NOW)
    assert check.judge(view, NOW).state == "unknown"
    assert "last 1 hour" in check.help


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False),
    st.text(max_size=12),
    st.sampled_from(["up_to_date", "unknown", "updates_available", "2026-11-02", "9999-12-31"]),
    st.dates().map(str),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=2),
    st.dictionaries(
        st.sampled_from(list(value())),
        st.one_of(SCALARS, st.lists(st.dictionaries(st.just("name"), SCALARS), max_size=2)),
    ),
)


@given(VALUES, st.one_of(SCALARS, st.datetimes().map(str)))
def test_no_value_breaks_a_check_or_passes_for_less_than_was_shown(
    reported: JSON, collected_at: JSON
) -> None:
    for name in (ANY, SECURITY):
        verdict = judge(name, reported, collected_at=collected_at)
        assert verdict.state in ("pass", "fail", "unknown")
        assert verdict.message or verdict.state == "pass"
        if verdict.state == "pass":
            assert reported["state"] in ("up_to_date", "updates_available")
            assert verdict.valid_until is not None
            assert NOW < verdict.valid_until <= NOW + timedelta(days=7)
