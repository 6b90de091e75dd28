"""The small parts of the process model: slots, limits, and what the reaper can see."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client import limits as limit_module
from qlmdm_core.client import reaper
from qlmdm_core.client.limits import Limits
from qlmdm_core.client.slots import MOST_AT_ONCE, PATIENCE_SECONDS, Slots
from qlmdm_core.prctl import Prctl


def in_a_child(function: Callable[[], int]) -> int:
    """The exit status of a function that runs in a process of its own."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = function()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- slots ------------------------------------------------------------------------------------


def test_no_more_than_the_size_start_at_once() -> None:
    slots = Slots(2)
    assert slots.take("a", 0.0)
    assert slots.take("b", 0.0)
    assert not slots.take("c", 0.0)
    slots.give_back("a")
    assert slots.take("c", 0.0)


def test_what_has_run_for_a_moment_no_longer_counts() -> None:
    slots = Slots(1)
    assert slots.take("a", 0.0)
    wait = slots.wait(0.0)
    assert wait == pytest.approx(PATIENCE_SECONDS)
    assert slots.take("b", wait)


@given(st.integers(1, 8), st.lists(st.floats(0.0, 0.2), max_size=100))
def test_waiting_as_told_always_gets_a_slot_in_the_end(size: int, pauses: list[float]) -> None:
    slots, now = Slots(size), 0.0
    for number, pause in enumerate(pauses[:MOST_AT_ONCE]):
        now += pause
        for _ in range(100):
            if slots.take(str(number), now):
                break
            assert slots.wait(now) > 0
            now += slots.wait(now)
        else:
            raise AssertionError("never")


def test_there_is_a_most() -> None:
    slots = Slots(1000)
    assert all(slots.take(str(number), 0.0) for number in range(MOST_AT_ONCE))
    assert not slots.take("one more", 1e9)


# --- limits -----------------------------------------------------------------------------------


def test_limits_hold_in_what_is_started() -> None:
    limits = Limits(memory_bytes=1 << 28, open_files=50, file_bytes=1 << 20)

    def child() -> int:
        limit_module.apply(limits)
        with open("/proc/self/oom_score_adj") as file:
            adjusted = file.read().strip() == "1000"
        return (
            0
            if (
                adjusted
                and resource.getrlimit(resource.RLIMIT_DATA)[1] == 1 << 28
                and resource.getrlimit(resource.RLIMIT_NOFILE) == (50, 50)
                and resource.getrlimit(resource.RLIMIT_FSIZE) == (1 << 20, 1 << 20)
                and resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
            )
            else 1
        )

    assert in_a_child(child) == 0


def test_a_lower_limit_stays() -> None:
    def child() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        limit_module.apply(Limits(open_files=1000))
        return 0 if resource.getrlimit(resource.RLIMIT_NOFILE)[1] == 20 else 1

    assert in_a_child(child) == 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0 to become somebody else")
def test_somebody_who_is_not_root_is_limited_in_processes_too() -> None:
    def child() -> int:
        os.setuid(12345)
        limit_module.apply(Limits(processes=10))
        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        return 0 if 10 < soft < 100_000 else 1

    assert in_a_child(child) == 0


def test_a_process_whose_parent_is_gone_already_ends() -> None:
    prctl = Prctl()

    def child() -> int:
        prctl.die_with_parent(1 << 22)
        return 0

    assert in_a_child(child) == 1


# --- the reaper -------------------------------------------------------------------------------


def sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
        os._exit(0)
    return pid


def test_children_are_seen_either_way() -> None:
    pid = sleeper()
    try:
        assert pid in reaper.child_pids(os.getpid())
        assert reaper._parents()[pid] == os.getpid()
        assert str(pid) in reaper.describe(pid)
    finally:
        reaper.kill(pid)
        os.waitpid(pid, 0)
    assert reaper.child_pids(pid) == []
    assert reaper.describe(pid) == f"pid {pid}"
    reaper.kill(pid)  # no error: it is gone


def test_a_tree_is_counted_and_killed() -> None:
    def child() -> int:
        Prctl().become_subreaper()
        top = os.fork()
        if top == 0:
            for _ in range(3):
                sleeper()
            os.kill(os.getpid(), signal.SIGSTOP)
        os.waitpid(top, os.WUNTRACED)
        counted = reaper.count_descendants(os.getpid(), stop_at=100)
        few = reaper.count_descendants(os.getpid(), stop_at=1)
        reaper.kill_tree(top)
        ended: list[int] = []
        while reaper.reap(lambda pid, status: ended.append(pid)):
            reaper.kill_strays([])
        return 0 if counted == 4 and few < 4 and len(ended) == 4 else 1

    assert in_a_child(child) == 0


def test_only_strangers_are_killed() -> None:
    def child() -> int:
        friend, stranger = sleeper(), sleeper()
        killed = reaper.kill_strays([friend])
        os.waitpid(stranger, 0)
        alive = os.waitpid(friend, os.WNOHANG) == (0, 0)
        reaper.kill(friend)
        return 0 if killed == {stranger} and alive else 1

    assert in_a_child(child) == 0
