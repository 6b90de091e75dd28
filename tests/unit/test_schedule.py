"""When a client is due: spread over the fleet, and always at its own moment."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client import schedule
from qlmdm_core.client.backoff import ASKED_MOST, FIRST, Backoff

CIDS = st.uuids().map(str)
TIMES = st.floats(min_value=0, max_value=4e9)
INTERVALS = st.sampled_from([10.0, 60.0, 300.0, 86400.0])


@given(CIDS, INTERVALS, TIMES)
def test_the_next_moment_is_within_one_interval(cid: str, interval: float, now: float) -> None:
    due = schedule.next_due(cid, interval, now)
    assert now < due <= now + interval + 1e-3


@given(CIDS, INTERVALS, TIMES)
def test_a_clients_moments_are_an_interval_apart(cid: str, interval: float, now: float) -> None:
    first = schedule.next_due(cid, interval, now)
    assert schedule.next_due(cid, interval, first + 1e-3) == pytest.approx(first + interval)


def test_a_fleet_is_spread_evenly() -> None:
    seconds = [
        int(schedule.splay(str(uuid.UUID(int=n * 0x9E3779B97F4A7C15 % 2**64 << 64)), 60.0))
        for n in range(6000)
    ]
    assert max(seconds.count(second) for second in range(60)) < 130


@pytest.mark.parametrize(
    ("content", "now", "wait"),
    [
        ("100 150\n", 120.0, 30.0),
        ("100 150\n", 160.0, 0.0),
        ("100 1000\n", 120.0, None),
        ("100 1000\n", 90.0, 0.0),  # the clock was set back
        ("", 120.0, 0.0),
        ("nonsense here and there", 120.0, 0.0),
        ("1 2 3", 120.0, 0.0),
    ],
)
def test_how_long_to_wait(tmp_path: Path, content: str, now: float, wait: float | None) -> None:
    path = tmp_path / "due"
    path.write_text(content)
    assert schedule.pause(str(path), now, 58.0) == wait


def test_without_the_file_it_is_due_at_once(tmp_path: Path) -> None:
    assert schedule.pause(str(tmp_path / "due"), 1.0, 58.0) == 0.0


# --- leaving a server alone ------------------------------------------------------------------


@given(st.integers(0, 100), TIMES, st.floats(min_value=1, max_value=86400))
def test_the_pause_grows_up_to_the_longest_and_no_further(
    failures: int, now: float, longest: float
) -> None:
    after = Backoff(failures=failures).failed(now, longest)
    bound = min(longest, FIRST * 2 ** min(failures, 30))
    assert now <= after.until <= now + bound + 1e-3
    assert after.failures == failures + 1


def test_the_pause_differs_from_client_to_client() -> None:
    pauses = {Backoff(failures=9).failed(0.0, 3600.0).until for _ in range(50)}
    assert max(pauses) - min(pauses) > 600


@given(st.floats(min_value=0, max_value=1e9))
def test_a_pause_that_the_server_asks_for_is_kept_within_reason(asked: float) -> None:
    after = Backoff().failed(0.0, 60.0, at_least=asked)
    assert min(asked, ASKED_MOST) <= after.until <= max(asked, 60.0)


def test_a_failure_that_lies_in_the_future_is_not_waited_for() -> None:
    assert Backoff(failures=1, failed_at=100.0, until=200.0).waits(150.0)
    assert not Backoff(failures=1, failed_at=100.0, until=200.0).waits(50.0)
    assert not Backoff(failures=1, failed_at=100.0, until=200.0).waits(201.0)
