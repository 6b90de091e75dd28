"""Replaces the launcher: the one program that no release's own slot can protect.

A release brings a launcher along. Once the release itself is committed, and its launcher is
another than the one that cron starts, it is copied to `launchers/VERSION` and has a trial of
its own, in which the old launcher starts it and watches. Only after a whole cycle through it
ended well does the link `launcher` name it. Until then a failure costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qlmdm_core.client.release import layout, verify
from qlmdm_core.client.release.files import Files
from qlmdm_core.client.release.layout import (
    LAUNCHER,
    LAUNCHER_TRIAL,
    LAUNCHERS,
    STAGE,
    Trial,
    slot_path,
)
from qlmdm_core.client.release.trial import TRIES
from qlmdm_core.errors import SpoolError, TrustError
from qlmdm_core.manifest import File, Manifest, Version

FOLDER = "launcher/"
"""Where a release has it."""
SCRIPT = "launcher.py"


def listed(manifest: Manifest) -> Sequence[File]:
    """The launcher's files, with paths as they are in its own folder."""
    return [
        file._replace(path=file.path.removeprefix(FOLDER))
        for file in manifest.files
        if file.path.startswith(FOLDER)
    ]


def pointed(files: Files) -> Version | None:
    """The launcher that cron starts; None: there is none."""
    return layout.pointed(files, LAUNCHER, LAUNCHERS)


def differences(files: Files, version: Version, manifest: Manifest) -> list[str]:
    """How an installed launcher differs from that of a release, in words, by path."""
    return verify.compare_tree(files, f"{LAUNCHERS}/{version}", listed(manifest))[1]


def install(files: Files, manifest: Manifest) -> None:
    """Copy a slot's launcher to its own place, durably and re-read. Raises `TrustError`."""
    version, wanted = manifest.version, listed(manifest)
    if not any(file.path == SCRIPT for file in wanted):
        raise TrustError(f"release {version} brings no launcher")
    target, stage = f"{LAUNCHERS}/{version}", f"{LAUNCHERS}/{STAGE}{version}"
    layout.make_folder(files, LAUNCHERS)
    if files.stat(target) is None or differences(files, version, manifest):
        layout.remove_tree(files, target)
        layout.remove_tree(files, stage)
        files.mkdir(stage)
        folders = sorted(verify.folders_of(wanted))
        for folder in folders:
            files.mkdir(f"{stage}/{folder}")
        for file in wanted:
            content = files.read(f"{slot_path(version)}/{FOLDER}{file.path}", file.size)
            layout.write_new(files, f"{stage}/{file.path}", (content,), file.mode)
        for folder in reversed(folders):
            files.fsync_dir(f"{stage}/{folder}")
        files.fsync_dir(stage)
        files.rename(stage, target)
    files.fsync_dir(LAUNCHERS)
    wrong = differences(files, version, manifest)
    if wrong:
        raise TrustError(f"the launcher of release {version} was not copied whole: {wrong[0]}")


def propose(files: Files, manifest: Manifest) -> bool:
    """Let the launcher of a release that proved itself be tried, if it is another one.

    It is tried once the release is committed. Returns whether it will be.
    """
    present = pointed(files)
    state = layout.read_release(files)
    version = manifest.version
    if present is None or present == version or str(version) in state.bad_launchers:
        return False
    if layout.read_trial(files, LAUNCHER_TRIAL) is not None:
        return False  # it would get its tries back
    if not differences(files, present, manifest) or not listed(manifest):
        return False
    install(files, manifest)
    trial = Trial(slot=version, previous=present, tries_left=TRIES)
    layout.write_trial(files, trial, LAUNCHER_TRIAL)
    return True


def settle(files: Files) -> Trial | None:
    """Finish what a power cut interrupted; the launcher's trial that is on, if there is one."""
    trial = layout.read_trial(files, LAUNCHER_TRIAL)
    if trial is None:
        return None
    state = layout.read_release(files)
    over = (
        str(trial.slot) in state.bad_launchers
        or state.is_bad(trial.slot)
        or pointed(files) == trial.slot
        or files.stat(f"{LAUNCHERS}/{trial.slot}") is None
    )
    if over:
        layout.remove_file(files, LAUNCHER_TRIAL)
        return None
    return trial


def count_try(files: Files) -> Trial:
    """Count a start before it happens. Raises `SpoolError` if no try is left."""
    trial = layout.read_trial(files, LAUNCHER_TRIAL)
    if trial is None or trial.tries_left < 1:
        raise SpoolError(f"{LAUNCHER_TRIAL}: no try is left")
    trial = replace(trial, tries_left=trial.tries_left - 1)
    layout.write_trial(files, trial, LAUNCHER_TRIAL)
    return trial


def give_back(files: Files) -> None:
    """The try that was counted last proved nothing."""
    trial = layout.read_trial(files, LAUNCHER_TRIAL)
    if trial is not None and trial.tries_left < TRIES:
        trial = replace(trial, tries_left=trial.tries_left + 1)
        layout.write_trial(files, trial, LAUNCHER_TRIAL)


def give_up(files: Files, why: str) -> None:
    """The launcher on trial failed: it is bad, and the old one stays."""
    trial = layout.read_trial(files, LAUNCHER_TRIAL)
    if trial is None:
        return
    state = layout.read_release(files)
    bad = {**state.bad_launchers, str(trial.slot): why}
    layout.write_release(files, replace(state, bad_launchers=bad))
    settle(files)


def commit(files: Files) -> Version | None:
    """The launcher on trial ran a whole cycle: cron starts it from now on."""
    trial = settle(files)
    if trial is None:
        return None
    layout.point(files, LAUNCHER, LAUNCHERS, trial.slot)
    layout.remove_file(files, LAUNCHER_TRIAL)
    return trial.slot
