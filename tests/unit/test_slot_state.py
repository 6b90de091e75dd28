"""What a client remembers of releases, and what each state of it leads to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.client import release
from qlmdm_core.client.release import install, layout, trial
from qlmdm_core.client.release.layout import ReleaseState, Trial
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.errors import SpoolError
from qlmdm_core.manifest import Version
from qlmdm_core.testing.powercut import ModelFiles

OLD, NEW, NEWER = Version(1, 6), Version(1, 7), Version(1, 8)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[RealFiles]:
    for version in (OLD, NEW):
        (tmp_path / "slots" / str(version)).mkdir(parents=True)
    with RealFiles(str(tmp_path)) as files:
        layout.point(files, "current", "slots", OLD)
        layout.write_release(files, ReleaseState(high=OLD))
        yield files


VERSIONS = st.builds(Version, st.integers(1, 999_999_999), st.integers(1, 999_999_999))


@given(
    st.builds(
        ReleaseState,
        high=st.none() | VERSIONS,
        bad=st.dictionaries(VERSIONS.map(str), st.text(max_size=20), max_size=5),
        previous=st.none() | VERSIONS,
    )
)
def test_what_is_remembered_is_read_back(state: ReleaseState) -> None:
    files = ModelFiles()
    layout.write_release(files, state)
    assert layout.read_release(files) == state


@given(VERSIONS, st.none() | VERSIONS, st.integers(0, 3))
def test_a_trial_is_read_back(slot: Version, previous: Version | None, tries: int) -> None:
    files = ModelFiles()
    made = Trial(slot=slot, previous=previous, tries_left=tries)
    layout.write_trial(files, made)
    assert layout.read_trial(files) == made


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("1.7"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["high", "bad", "previous", "slot", "tries_left", "x"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.binary(max_size=200) | JSONS.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_state_or_an_error_that_names_the_file(data: bytes) -> None:
    files = ModelFiles()
    for path, read in (("release.json", layout.read_release), ("trial.json", layout.read_trial)):
        layout.write_file(files, path, data)
        why = ""
        try:
            read(files)
        except SpoolError as error:
            why = str(error)
        assert not why or path in why


@pytest.mark.parametrize("target", ["/etc", "slots/../x", "slots/1.7/lib", "other/1.7", "slots/"])
def test_a_link_that_leads_elsewhere_is_damage(files: RealFiles, target: str) -> None:
    files.unlink("current")
    files.symlink(target, "current")
    with pytest.raises(SpoolError, match="damaged"):
        layout.current(files)


def test_a_lost_state_file_opens_no_door_to_older_releases(files: RealFiles) -> None:
    layout.point(files, "current", "slots", NEW)
    files.unlink("release.json")
    assert layout.read_release(files).high == NEW
    assert trial.floor(files, broken=False) == NEW


# --- a trial ------------------------------------------------------------------------------------


def test_a_release_that_proves_itself(files: RealFiles) -> None:
    trial.arm(files, NEW, OLD)
    assert layout.current(files) == NEW
    assert layout.read_release(files).high == NEW
    trial.count_try(files)
    assert trial.commit(files) == NEW
    assert layout.read_trial(files) is None
    assert layout.read_release(files) == ReleaseState(high=NEW, previous=OLD)
    assert trial.commit(files) is None


def test_a_release_that_fails_where_the_one_before_gets_through(files: RealFiles) -> None:
    trial.arm(files, NEW, OLD)
    for _ in range(trial.TRIES - 1):
        trial.count_try(files)
        assert not trial.decide(files, previous_got_through=True, why="no answer")
        assert layout.current(files) == NEW
    trial.count_try(files)
    assert trial.decide(files, previous_got_through=True, why="no answer")
    assert layout.current(files) == OLD
    assert layout.read_release(files).bad == {str(NEW): "no answer"}
    assert layout.read_trial(files) is None
    assert trial.floor(files, broken=False) == NEW
    assert trial.floor(files, broken=True) == NEW


def test_a_network_that_is_away_costs_no_try(files: RealFiles) -> None:
    trial.arm(files, NEW, OLD)
    for _ in range(10):
        trial.count_try(files)
        assert not trial.decide(files, previous_got_through=False, why="")
    assert layout.read_trial(files) == Trial(slot=NEW, previous=OLD, tries_left=trial.TRIES)


def test_no_start_happens_without_a_try_that_is_left(files: RealFiles) -> None:
    trial.arm(files, NEW, OLD)
    for _ in range(trial.TRIES):
        trial.count_try(files)
    with pytest.raises(SpoolError, match="no try is left"):
        trial.count_try(files)


def test_a_slot_that_is_not_what_was_signed_may_come_again(files: RealFiles) -> None:
    trial.arm(files, NEW, OLD)
    trial.abandon(files)
    assert layout.current(files) == OLD
    assert layout.read_trial(files) is None
    assert not layout.read_release(files).bad
    floor = trial.floor(files, broken=False)
    assert floor is not None
    assert OLD <= floor < NEW


def test_what_runs_may_come_again_only_if_it_is_broken(files: RealFiles) -> None:
    trial.arm(files, NEW, OLD)
    trial.commit(files)
    assert trial.floor(files, broken=False) == NEW
    floor = trial.floor(files, broken=True)
    assert floor is not None
    assert OLD <= floor < NEW


@pytest.mark.parametrize(
    ("prepare", "current"),
    [
        # Cut off after each step of arming, and of going back.
        (lambda f: layout.write_trial(f, Trial(slot=NEW, previous=OLD, tries_left=3)), NEW),
        (lambda f: _bad_but_still_there(f), OLD),
        (lambda f: layout.write_trial(f, Trial(slot=NEWER, previous=OLD, tries_left=3)), OLD),
    ],
)
def test_what_was_cut_off_is_finished_at_the_next_start(
    files: RealFiles, prepare: Any, current: Version
) -> None:
    prepare(files)
    trial.settle(files)
    assert layout.current(files) == current
    assert (layout.read_trial(files) is not None) == (current == NEW)


def _bad_but_still_there(files: RealFiles) -> None:
    trial.arm(files, NEW, OLD)
    layout.write_release(files, ReleaseState(high=NEW, bad={str(NEW): "x"}))


def test_a_release_is_not_tried_in_its_own_place(files: RealFiles) -> None:
    with pytest.raises(SpoolError, match="own place"):
        trial.arm(files, OLD, OLD)


def test_what_the_server_is_told(files: RealFiles) -> None:
    trial.arm(files, NEW, OLD)
    told = release.status(files)
    assert (told["release"], told["high"], told["trial"]) == ("1.6", "1.7", "1.7")
    trial.commit(files)
    told = release.status(files)
    assert (told["release"], told["high"], told["trial"]) == ("1.7", "1.7", None)


def test_the_committed_one_before_is_kept_until_the_next_commit(
    files: RealFiles, tmp_path: Path
) -> None:
    trial.arm(files, NEW, OLD)
    (tmp_path / "slots/.stage-1.8").mkdir()
    (tmp_path / "slots/1.5").mkdir()
    install.clean_up(files)
    assert files.names("slots") == ["1.6", "1.7"]
    trial.commit(files)
    install.clean_up(files)
    assert files.names("slots") == ["1.6", "1.7"]
    (tmp_path / "slots/1.8").mkdir()
    trial.arm(files, NEWER, NEW)
    install.clean_up(files)
    assert files.names("slots") == ["1.6", "1.7", "1.8"]
    trial.commit(files)
    install.clean_up(files)
    assert files.names("slots") == ["1.7", "1.8"]
