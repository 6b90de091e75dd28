"""What a function that changes a client's releases did is on disk when it returns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qlmdm_core.client.release import launchers, layout, trial
from qlmdm_core.client.release.layout import ReleaseState, Trial
from qlmdm_core.manifest import Version
from qlmdm_core.testing.powercut import ModelFiles

OLD, NEW = Version(1, 1), Version(1, 2)
SEEDS = range(60)
CONTENT = b"content " * 9


def start() -> ModelFiles:
    """Two slots and launchers, of which the old ones run."""
    files = ModelFiles()
    for folder in (layout.SLOTS, layout.LAUNCHERS):
        files.mkdir(folder)
        for version in (OLD, NEW):
            files.mkdir(f"{folder}/{version}")
    layout.point(files, layout.CURRENT, layout.SLOTS, OLD)
    layout.point(files, layout.LAUNCHER, layout.LAUNCHERS, OLD)
    layout.write_release(files, ReleaseState(high=OLD))
    files.disk.sync_all()
    return files


def folder_is_there(files: ModelFiles) -> bool:
    return files.stat("new") is not None


def made_again(files: ModelFiles) -> None:
    files.mkdir("new")
    layout.make_folder(files, "new")


def left(files: ModelFiles, path: str = layout.TRIAL) -> int | None:
    found = layout.read_trial(files, path)
    return None if found is None else found.tries_left


def armed(files: ModelFiles) -> ModelFiles:
    trial.arm(files, NEW, OLD)
    files.disk.sync_all()
    return files


def launcher_armed(files: ModelFiles) -> ModelFiles:
    layout.write_trial(files, Trial(slot=NEW, previous=OLD, tries_left=3), layout.LAUNCHER_TRIAL)
    files.disk.sync_all()
    return files


def gave_up(files: ModelFiles) -> None:
    trial.roll_back(armed(files), "bad")


def counted(files: ModelFiles) -> None:
    trial.count_try(armed(files))


def given_back(files: ModelFiles) -> None:
    trial.count_try(armed(files))
    trial.give_back(files)


def committed(files: ModelFiles) -> None:
    trial.commit(armed(files))


def abandoned(files: ModelFiles) -> None:
    trial.abandon(armed(files))


Promise = tuple[Callable[[ModelFiles], object], Callable[[ModelFiles], object]]
PROMISES: dict[str, Promise] = {
    "a link leads where it should": (
        lambda files: layout.point(files, layout.CURRENT, layout.SLOTS, NEW),
        lambda files: layout.current(files) == NEW,
    ),
    "a folder is there": (lambda files: layout.make_folder(files, "new"), folder_is_there),
    "a folder is there that was there before": (
        made_again,
        folder_is_there,
    ),
    "a file has its new content": (
        lambda files: layout.write_release(files, ReleaseState(high=NEW)),
        lambda files: layout.read_release(files).high == NEW,
    ),
    "a file in a folder has its content": (
        lambda files: layout.write_file(files, "slots/file", CONTENT),
        lambda files: files.stat("slots/file") and files.read("slots/file", 99) == CONTENT,
    ),
    "a file is gone": (
        lambda files: layout.remove_file(files, layout.RELEASE),
        lambda files: files.stat(layout.RELEASE) is None,
    ),
    "a release is on trial": (
        lambda files: trial.arm(files, NEW, OLD),
        lambda files: (
            left(files) == trial.TRIES
            and layout.current(files) == NEW
            and layout.read_release(files).high == NEW
        ),
    ),
    "a try is counted": (counted, lambda files: left(files) == trial.TRIES - 1),
    "a try is given back": (given_back, lambda files: left(files) == trial.TRIES),
    "a release is committed": (
        committed,
        lambda files: left(files) is None and layout.read_release(files).previous == OLD,
    ),
    "a release is given up": (
        gave_up,
        lambda files: (
            left(files) is None
            and layout.current(files) == OLD
            and layout.read_release(files).is_bad(NEW)
        ),
    ),
    "a spoilt release is out of the way": (
        abandoned,
        lambda files: (
            files.stat(layout.slot_path(NEW)) is None
            and layout.current(files) == OLD
            and left(files) is None
        ),
    ),
    "a launcher's try is counted": (
        lambda files: launchers.count_try(launcher_armed(files)),
        lambda files: left(files, layout.LAUNCHER_TRIAL) == trial.TRIES - 1,
    ),
    "a launcher is committed": (
        lambda files: launchers.commit(launcher_armed(files)),
        lambda files: (
            left(files, layout.LAUNCHER_TRIAL) is None and launchers.pointed(files) == NEW
        ),
    ),
    "a launcher is given up": (
        lambda files: launchers.give_up(launcher_armed(files), "bad"),
        lambda files: (
            left(files, layout.LAUNCHER_TRIAL) is None
            and str(NEW) in layout.read_release(files).bad_launchers
        ),
    ),
}


@pytest.mark.parametrize("name", PROMISES)
def test_what_a_function_did_survives_a_power_cut_after_it(name: str) -> None:
    act, holds = PROMISES[name]
    files = start()
    assert not holds(files) or name == "a try is given back"
    act(files)
    assert holds(files)
    for seed in SEEDS:
        after = ModelFiles(files.disk)
        after.restart(seed=seed)
        assert holds(after), (seed, files.log)
