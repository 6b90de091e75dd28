"""Puts a verified release onto the disk, so that no power cut leaves half of one.

It is written beside the others under a name that nothing runs, every file and folder is made
durable, and only then it gets its name, by one rename. It is read back and compared before
anything of it is run. What was cut off is taken away by the next try, or by `clean_up`.
"""

from __future__ import annotations

from qlmdm_core.client.release import layout, tarreader, verify
from qlmdm_core.client.release.files import Files
from qlmdm_core.client.release.layout import (
    MANIFEST,
    ROOT_COPY,
    SLOTS,
    old_path,
    slot_path,
    stage_path,
)
from qlmdm_core.client.release.tarreader import Stream
from qlmdm_core.errors import TrustError
from qlmdm_core.manifest import Manifest, Version


def install(
    files: Files, *, manifest: Manifest, document: bytes, root_document: bytes, tar: Stream
) -> None:
    """Make `slots/VERSION` hold exactly this release, durably and re-read.

    `document` is the signed manifest, which the caller has verified (`manifest.verify`) with
    the keys in `root_document`. Raises `TrustError` for a tar that is not the manifest's, and
    `OSError` as the system gives it (ENOSPC); either way the slot is not there, or is whole.
    """
    version = manifest.version
    layout.make_folder(files, SLOTS)
    if not _is_whole(files, manifest, document):
        stage(files, manifest=manifest, document=document, root_document=root_document, tar=tar)
        place(files, version)
    _, wrong = verify.compare(files, version, manifest)
    if wrong:
        raise verify.SlotError(version, wrong)
    # Also if it was there: who gave it its name may have been cut off before this.
    files.fsync_dir(SLOTS)


def stage(
    files: Files, *, manifest: Manifest, document: bytes, root_document: bytes, tar: Stream
) -> None:
    """Write the release under a name that nothing runs, and make all of it durable."""
    top = stage_path(manifest.version)
    layout.remove_tree(files, top)
    folders = sorted(verify.folders_of(manifest.files))
    files.mkdir(top)
    for folder in folders:
        files.mkdir(f"{top}/{folder}")
    for file, chunks in tarreader.members(tar, manifest.files):
        layout.write_new(files, f"{top}/{file.path}", chunks, file.mode)
    for name, content in ((MANIFEST, document), (ROOT_COPY, root_document)):
        layout.write_new(files, f"{top}/{name}", (content,), 0o600)
    for folder in reversed(folders):
        files.fsync_dir(f"{top}/{folder}")
    files.fsync_dir(top)


def place(files: Files, version: Version) -> None:
    """Give a staged release its name. One of that name which was spoilt is moved away first."""
    if files.stat(slot_path(version)) is not None:
        layout.remove_tree(files, old_path(version))
        files.rename(slot_path(version), old_path(version))
        files.fsync_dir(SLOTS)
    files.rename(stage_path(version), slot_path(version))
    files.fsync_dir(SLOTS)


def _is_whole(files: Files, manifest: Manifest, document: bytes) -> bool:
    """Whether the release is there already: a power cut may have come after its last step."""
    path = f"{slot_path(manifest.version)}/{MANIFEST}"
    if files.stat(path) is None:
        return False
    try:
        same = files.read(path, len(document)) == document
    except OSError:
        return False
    return same and not verify.compare(files, manifest.version, manifest)[1]


def clean_up(files: Files, *, keep: tuple[Version, ...] = ()) -> list[str]:
    """Take away what nothing needs any more; the paths that were taken away.

    Kept are what runs, what was committed before, both sides of a trial, and `keep`.
    """
    state = layout.read_release(files)
    trials = [layout.read_trial(files), layout.read_trial(files, layout.LAUNCHER_TRIAL)]
    needed = {layout.current(files), state.previous, *keep}
    for trial in trials:
        if trial is not None:
            needed |= {trial.slot, trial.previous}
    if layout.current(files) is None:
        return []  # nothing here was installed by a release, or all is lost: touch nothing
    gone: list[str] = []
    wanted = {str(version) for version in needed if version is not None}
    for folder in (SLOTS, layout.STAMPS, layout.PYCACHE):
        gone += _clean_folder(files, folder, wanted)
    launchers = {layout.pointed(files, layout.LAUNCHER, layout.LAUNCHERS)}
    if trials[1] is not None:
        launchers |= {trials[1].slot, trials[1].previous}
    gone += _clean_folder(files, layout.LAUNCHERS, {str(name) for name in launchers if name})
    return gone


def _clean_folder(files: Files, folder: str, wanted: set[str]) -> list[str]:
    try:
        names = files.names(folder)
    except FileNotFoundError:
        return []
    gone = [f"{folder}/{name}" for name in names if name not in wanted]
    for path in gone:
        layout.remove_tree(files, path)
    return gone


def check_fits(manifest: Manifest, *, python: tuple[int, int], machine: str) -> None:
    """Raise `TrustError` unless this Python and this machine can run the release."""
    below = manifest.python_below
    if python < _python(manifest.python_from) or (below and python >= _python(below)):
        wanted = f"{manifest.python_from} or newer" + (f", below {below}" if below else "")
        raise TrustError(
            f"release {manifest.version} needs Python {wanted}; this is {python[0]}.{python[1]}"
        )
    if manifest.machines and machine not in manifest.machines:
        raise TrustError(
            f"release {manifest.version} is for {', '.join(manifest.machines)}; "
            f"this machine is {machine}"
        )


def _python(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)
