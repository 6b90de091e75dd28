"""The rules of a roll-out: who is offered a release, when it grows, when it stops by itself."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.manifest import Version
from qlmdm_core.server.releases import rollout
from qlmdm_core.server.releases.progress import bad_releases, described
from qlmdm_core.server.releases.rollout import Growth, Health, Rollout, Sighting

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
VERSION = Version(1, 7)
DAY = timedelta(days=1)
CIDS = [f"client-{number}" for number in range(2000)]
GROWTH = Growth(step=20.0, every=3600.0, healthy_above=95.0, deadline=86400.0)


def offered(planned: Rollout, version: Version = VERSION) -> set[str]:
    return {cid for cid in CIDS if rollout.is_offered(planned, cid, (), version)}


percents = st.floats(0.001, 100.0)


# --- who ----------------------------------------------------------------------------------------


def test_a_release_that_says_nothing_of_it_is_for_everybody() -> None:
    assert offered(rollout.load(None, NOW)) == set(CIDS)
    assert offered(rollout.to_everybody(NOW)) == set(CIDS)


def test_one_that_nothing_was_said_of_yet_is_for_nobody() -> None:
    assert offered(Rollout()) == set()


def test_a_share_is_about_that_share_and_not_the_same_machines_each_time() -> None:
    tenth = rollout.widen(Rollout(), NOW, percent=10)
    first, next_one = offered(tenth), offered(tenth, Version(1, 8))
    assert 140 < len(first) < 260
    assert len(first & next_one) < 60


@given(st.lists(percents, min_size=1, max_size=8))
def test_who_was_offered_it_stays_offered_it_however_it_is_widened(shares: list[float]) -> None:
    planned, before = Rollout(), set[str]()
    for number, share in enumerate(shares):
        planned = rollout.widen(planned, NOW + number * DAY, percent=share)
        now = offered(planned)
        assert before <= now
        before = now


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_a_roll_out_that_grows_by_itself_only_grows_or_stops(
    counted: list[tuple[int, int, int]],
) -> None:
    planned = rollout.widen(Rollout(), NOW, percent=5, growth=GROWTH)
    now, before = NOW, offered(planned)
    for healthy, bad, waiting in counted:
        now += timedelta(hours=1)
        counts: dict[Health, int] = {"healthy": healthy, "bad": bad, "waiting": waiting}
        planned = rollout.decide(planned, counts, now)
        if planned.state == "stopped":
            assert bad * 100 > (healthy + bad + waiting) * 5
            assert offered(planned) == set()
            assert rollout.decide(planned, {"healthy": 1000}, now + DAY) == planned
            return
        assert before <= offered(planned)
        before = offered(planned)


def test_clients_and_tags_are_named_beside_a_share() -> None:
    planned = rollout.widen(Rollout(), NOW, hosts=["client-1"], tags=["pilot"])
    assert offered(planned) == {"client-1"}
    assert rollout.is_offered(planned, "client-2", ("pilot", "x"), VERSION)
    wider = rollout.widen(planned, NOW + DAY, hosts=["client-1", "client-2"])
    assert wider.hosts == {"client-1": NOW, "client-2": NOW + DAY}
    assert wider.tags == planned.tags


def test_a_pause_offers_it_to_nobody_and_going_on_to_the_same_as_before() -> None:
    planned = rollout.widen(Rollout(), NOW, percent=30, growth=GROWTH)
    paused = rollout.pause(planned, "by ada")
    assert offered(paused) == set()
    again = rollout.widen(paused, NOW + DAY)
    assert offered(again) == offered(planned)
    assert again.growth == GROWTH
    assert rollout.widen(paused, NOW, percent=50).growth is None  # the share was said by hand


def test_each_client_is_offered_it_since_the_step_that_reached_it() -> None:
    planned = rollout.widen(Rollout(), NOW, percent=10)
    planned = rollout.widen(planned, NOW + DAY, percent=100)
    times = {rollout.offered_at(planned, cid, (), VERSION) for cid in CIDS}
    assert times == {NOW, NOW + DAY}
    for cid in offered(rollout.widen(Rollout(), NOW, percent=10)):
        assert rollout.offered_at(planned, cid, (), VERSION) == NOW


@given(st.text(max_size=40), st.integers(1, 10**8))
def test_every_client_has_a_place(cid: str, number: int) -> None:
    assert 0 <= rollout.place(cid, Version(1, number)) < 100


# --- how clients took it ------------------------------------------------------------------------


def sighting(**changes: object) -> Sighting:
    usual = {
        "offered_at": NOW,
        "release": Version(1, 6),
        "reported_at": NOW,
        "last_seen_at": NOW + timedelta(minutes=5),
        "is_bad": False,
    }
    return Sighting(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (sighting(), "waiting"),
        (sighting(release=VERSION), "healthy"),
        (sighting(release=Version(1, 9)), "healthy"),
        (sighting(release=VERSION, reported_at=None), "waiting"),
        (sighting(is_bad=True), "bad"),
        (sighting(release=Version(1, 9), is_bad=True), "bad"),
        (sighting(last_seen_at=NOW - DAY), "absent"),
        (sighting(last_seen_at=None), "absent"),
        (sighting(release=None), "waiting"),
    ],
)
def test_how_a_client_took_it(seen: Sighting, expected: Health) -> None:
    assert rollout.health(seen, VERSION, NOW + timedelta(hours=1), 86400.0) == expected


def test_a_client_that_was_there_to_be_offered_it_and_fell_silent_is_lost_after_the_deadline() -> (
    None
):
    later = NOW + timedelta(minutes=5, days=1)
    assert rollout.health(sighting(), VERSION, later, 86400.0) == "waiting"
    later += timedelta(seconds=1)
    assert rollout.health(sighting(), VERSION, later, 86400.0) == "silent"
    healthy = sighting(release=VERSION)
    assert rollout.health(healthy, VERSION, later + 30 * DAY, 86400.0) == "healthy"
    away = sighting(last_seen_at=NOW - DAY)
    assert rollout.health(away, VERSION, later + 30 * DAY, 86400.0) == "absent"


# --- what follows -------------------------------------------------------------------------------


def growing(percent: float = 10.0) -> Rollout:
    return rollout.widen(Rollout(), NOW, percent=percent, growth=GROWTH)


def after(hours: float, **counts: int) -> Rollout:
    return rollout.decide(growing(), counts, NOW + timedelta(hours=hours))  # type: ignore[arg-type]


def test_it_grows_when_most_of_those_it_reached_are_well() -> None:
    assert after(1, healthy=5, waiting=5, absent=90).percent == 30.0
    assert after(1, healthy=10).steps[-1] == (30.0, NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    ("hours", "counts"),
    [
        (0.9, {"healthy": 10}),  # its time is not over
        (5, {}),  # nobody has it yet
        (5, {"absent": 100}),
        (5, {"healthy": 4, "waiting": 6}),  # most are not decided
    ],
)
def test_it_waits_until_it_knows(hours: float, counts: dict[str, int]) -> None:
    assert after(hours, **counts) == growing()


def test_it_stops_as_soon_as_the_share_can_not_be_kept_any_more() -> None:
    assert after(0.1, healthy=94, bad=5, waiting=1).state == "running"  # exactly 95 of 100
    stopped = after(0.1, healthy=0, bad=6, waiting=94)
    assert stopped.state == "stopped"
    assert "6 clients rolled it back and 0 fell silent, of 100" in stopped.reason
    assert after(0.1, bad=1, waiting=9).state == "stopped"
    assert after(0.1, healthy=90, silent=6, bad=0).state == "stopped"


def test_it_does_not_grow_while_fewer_of_the_decided_are_well_than_must_be() -> None:
    assert after(5, healthy=55, bad=4, waiting=41) == growing()


def test_it_ends_at_everybody() -> None:
    planned = rollout.decide(growing(95), {"healthy": 10}, NOW + DAY)
    assert planned.percent == 100.0
    assert not planned.is_growing
    assert rollout.decide(planned, {"bad": 100}, NOW + 2 * DAY) == planned


def test_one_that_does_not_grow_is_nobodys_to_decide() -> None:
    by_hand = rollout.widen(Rollout(), NOW, percent=10)
    assert rollout.decide(by_hand, {"bad": 100}, NOW + DAY) == by_hand


# --- stored -------------------------------------------------------------------------------------


@given(
    st.lists(percents, max_size=3),
    st.lists(st.text(max_size=5), max_size=3),
    st.sampled_from([None, GROWTH]),
    st.booleans(),
)
def test_what_is_stored_comes_back(
    shares: list[float], names: list[str], growth: Growth | None, paused: bool
) -> None:
    planned = Rollout()
    for share in shares:
        planned = rollout.widen(planned, NOW, percent=share, hosts=names, tags=names, growth=growth)
    planned = rollout.pause(planned, "why") if paused else planned
    assert rollout.load(rollout.dump(planned), NOW) == planned


@pytest.mark.parametrize("damaged", [{}, [], 7, {"growth": None}, "all", {"state": "running"}])
def test_a_damaged_one_is_for_nobody(damaged: object) -> None:
    planned = rollout.load(damaged, NOW)
    assert planned.state == "stopped"
    assert offered(planned) == set()


def test_it_is_described_in_a_few_words() -> None:
    assert described(rollout.to_everybody(NOW)) == "roll-out to everybody"
    assert described(Rollout()) == "roll-out to nobody"
    assert described(growing()) == "roll-out to 10% of all, growing by 20%"
    planned = rollout.widen(Rollout(), NOW, hosts=["a", "b"], tags=["pilot"])
    assert described(rollout.pause(planned, "by ada")) == (
        "roll-out to tag pilot, 2 clients paused: by ada"
    )


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ({"release": {"bad": {"1.7": "no answer"}}}, {"1.7": "no answer"}),
        ({"release": {"bad": {}}}, None),
        ({"release": {"bad": {"seven": "x", "1.2": 5}}}, {"1.2": "5"}),
        ({"release": {"bad": ["1.7"]}}, None),
        ({"release": None}, None),
        (None, None),
        ("bad", None),
    ],
)
def test_what_a_client_says_failed_is_read_with_care(agent: object, expected: object) -> None:
    assert bad_releases(agent) == expected


def test_of_many_bad_releases_the_newest_are_kept() -> None:
    bad = {f"1.{number}": "x" * 1000 for number in range(1, 40)}
    kept = bad_releases({"release": {"bad": bad}})
    assert list(kept) == [f"1.{number}" for number in range(30, 40)]
    assert {len(reason) for reason in kept.values()} == {200}
