"""A new release has to prove itself before it stays: its trial, and the way back.

It is committed by one whole cycle that ended in verified answers of the server. Every start
of it is counted beforehand, so that one which takes the machine down is counted, too. After a
failed cycle the release before is asked to poll: if it gets an answer where the new one did
not, the try counts; if it gets none either, the network is away, and it does not. After the
last try the old one is back, and the new one is bad for ever.

What each step leaves on disk decides what comes next (`settle`), so each may be the last:

    trial.json written     -> it will be tried
    marked bad             -> it will be gone back
    trial.json removed     -> what runs is committed
"""

from __future__ import annotations

from dataclasses import replace

from qlmdm_core.client.release import layout
from qlmdm_core.client.release.files import Files
from qlmdm_core.client.release.layout import CURRENT, SLOTS, TRIAL, Trial
from qlmdm_core.errors import SpoolError
from qlmdm_core.manifest import Version

TRIES = 3
"""How many failed cycles a release may have, while the one before it gets through."""


def arm(files: Files, version: Version, previous: Version) -> None:
    """Let an installed release be tried from the next start on; `previous` is what runs now."""
    if version == previous:
        raise SpoolError(f"release {version} can't be tried in its own place")
    layout.write_trial(files, Trial(slot=version, previous=previous, tries_left=TRIES))
    settle(files)


def settle(files: Files) -> Trial | None:
    """Finish what a power cut interrupted; the trial that is on, if there is one."""
    trial = layout.read_trial(files)
    if trial is None:
        return None
    state = layout.read_release(files)
    if state.is_bad(trial.slot):
        if layout.current(files) == trial.slot and trial.previous is not None:
            layout.point(files, CURRENT, SLOTS, trial.previous)
        layout.remove_file(files, TRIAL)
        return None
    if files.stat(layout.slot_path(trial.slot)) is None:
        # A broken disk lost the very name of it. It is not bad, and may come again.
        if layout.current(files) == trial.slot and trial.previous is not None:
            layout.point(files, CURRENT, SLOTS, trial.previous)
        layout.remove_file(files, TRIAL)
        return None
    if layout.current(files) != trial.slot:
        _raise_high(files, trial.slot)
        layout.point(files, CURRENT, SLOTS, trial.slot)
    return trial


def _raise_high(files: Files, version: Version) -> None:
    """Remember, before it runs, that nothing up to this release may ever be taken again."""
    state = layout.read_release(files)
    if state.high is None or state.high < version:
        state = replace(state, high=version)
    layout.write_release(files, state)


def count_try(files: Files) -> Trial:
    """Count a start before it happens. Raises `SpoolError` if there is no trial, or no try."""
    trial = layout.read_trial(files)
    if trial is None or trial.tries_left < 1:
        raise SpoolError(f"{TRIAL}: no try is left")
    trial = replace(trial, tries_left=trial.tries_left - 1)
    layout.write_trial(files, trial)
    return trial


def give_back(files: Files) -> None:
    """The try that was counted last proved nothing: the network is away."""
    trial = layout.read_trial(files)
    if trial is not None and trial.tries_left < TRIES:
        layout.write_trial(files, replace(trial, tries_left=trial.tries_left + 1))


def decide(files: Files, *, previous_got_through: bool, why: str) -> bool:
    """After a failed cycle: whether the release was given up, for the reason `why`."""
    trial = settle(files)
    if trial is None:
        return False
    if not previous_got_through:
        give_back(files)
        return False
    if trial.tries_left > 0:
        return False
    roll_back(files, why)
    return True


def abandon(files: Files) -> None:
    """The slot on trial is not what was signed: without it, but not called bad for that."""
    trial = layout.read_trial(files)
    if trial is None:
        return
    gone = layout.old_path(trial.slot)
    layout.remove_tree(files, gone)
    files.rename(layout.slot_path(trial.slot), gone)
    files.fsync_dir(SLOTS)
    settle(files)


def roll_back(files: Files, why: str) -> None:
    """Give the release up that is on trial: bad for ever, and what ran before runs again."""
    trial = layout.read_trial(files)
    if trial is None:
        return
    state = layout.read_release(files)
    bad = {**state.bad, str(trial.slot): why or "no reason given"}
    layout.write_release(files, replace(state, bad=bad))
    settle(files)


def floor(files: Files, *, broken: bool) -> Version | None:
    """What a release must be above to be taken: everything that was ever about to run here.

    The highest itself may come again only if it is not bad, and is not here any more: what runs
    is `broken`, or a power cut took it before it was tried.
    """
    state = layout.read_release(files)
    high = state.high
    if high is None or state.is_bad(high):
        return high
    if layout.current(files) == high and not broken:
        return high
    return Version(high.epoch, high.number - 1)


def commit(files: Files) -> Version | None:
    """The release that is on trial has proved itself; which one, or None if there is none."""
    trial = settle(files)
    if trial is None:
        return None
    state = layout.read_release(files)
    layout.write_release(files, replace(state, previous=trial.previous))
    layout.remove_file(files, TRIAL)
    return trial.slot
