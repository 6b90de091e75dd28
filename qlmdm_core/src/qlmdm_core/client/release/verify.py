"""Is a slot what was signed? Every file and folder of it is compared with its manifest.

A full pass is one signature and all bytes, read one after the other. It leaves stamps behind:
what the system says of each file and folder (inode, size, times). While these are the same,
nothing was changed, added or taken away, and the launcher need not read the bytes again that
day: writing to a file changes its times, adding one those of its folder (inode(7)).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence

from qlmdm_core import manifest as manifests
from qlmdm_core import rootdoc, signedtext
from qlmdm_core.client.release import layout
from qlmdm_core.client.release.files import Files, Stat
from qlmdm_core.errors import TrustError
from qlmdm_core.manifest import File, Manifest, Version
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.interface import Verifier

STAMPS_HEAD = "qlmdm-stamps-1"
MAX_SHOWN = 5

Found = list[tuple[str, Stat]]
"""Each path below a slot ("." is the slot itself), with what lstat(2) says of it."""


class SlotError(TrustError):
    """A slot is not what was signed; nothing of it may be run."""

    def __init__(self, version: Version, differences: list[str]) -> None:
        shown = "; ".join(differences[:MAX_SHOWN])
        more = len(differences) - MAX_SHOWN
        super().__init__(
            f"release {version} is not what was signed: {shown}"
            + (f" and {more} more" if more > 0 else "")
        )
        self.version = version
        self.differences = differences


def inspect(
    files: Files, version: Version, root: Root, verifier: Verifier
) -> tuple[Manifest, Found]:
    """A full pass over one slot that changes nothing. Raises `SlotError`."""
    try:
        manifest = read_manifest(files, version, root, verifier)
    except TrustError as error:
        raise SlotError(version, [f"{layout.MANIFEST}: {error}"]) from None
    found, wrong = compare(files, version, manifest)
    if wrong:
        raise SlotError(version, wrong)
    return manifest, found


def check(
    files: Files, version: Version, root: Root, verifier: Verifier, *, now: float
) -> Manifest:
    """A full pass over one slot; leaves stamps, and throws away its bytecode.

    `now` is a Unix time. Raises `SlotError`, after which there are no stamps.
    """
    try:
        manifest, found = inspect(files, version, root, verifier)
    except SlotError:
        forget(files, version)
        raise
    # Python can't tell whether bytecode belongs to a source that was verified.
    layout.remove_tree(files, f"{layout.PYCACHE}/{version}")
    # Without stamps all bytes are read again at the next start: a full disk costs time only.
    with contextlib.suppress(OSError):
        write_stamps(files, version, found, now)
    return manifest


def read_manifest(files: Files, version: Version, root: Root, verifier: Verifier) -> Manifest:
    """A slot's manifest, by the keys of today or by those of the day it was installed.

    Keys are replaced while a release runs; it is not less what was signed for that. Which keys
    those were is in the slot's own copy of the root document. Raises `TrustError`.
    """
    slot = layout.slot_path(version)
    document = _read(files, f"{slot}/{layout.MANIFEST}", manifests.MAX_BYTES)
    try:
        manifest = manifests.verify(document, root, verifier)
    except TrustError:
        own = rootdoc.parse(
            signedtext.unpack(
                _read(files, f"{slot}/{layout.ROOT_COPY}", rootdoc.MAX_BYTES),
                max_bytes=rootdoc.MAX_BYTES,
            ).text
        )
        if own.version >= root.version or own.server_id != root.server_id:
            raise
        manifest = manifests.verify(document, own, verifier)
    if manifest.version != version:
        raise TrustError(f"it is that of release {manifest.version}")
    return manifest


def compare(files: Files, version: Version, manifest: Manifest) -> tuple[Found, list[str]]:
    """What is in a slot, and how it differs from its manifest; in words, by path."""
    return compare_tree(files, layout.slot_path(version), manifest.files, layout.OWN_FILES)


def compare_tree(
    files: Files, top: str, listed: Sequence[File], own: tuple[str, ...] = ()
) -> tuple[Found, list[str]]:
    """The same for any folder: exactly these files may be in it, and those of our `own`."""
    wanted = {file.path: file for file in listed}
    folders = folders_of(listed)
    found: Found = []
    wrong: list[str] = []
    missing = {*wanted, *own}
    for path, stat in _walk(files, top, ".", wrong):
        found.append((path, stat))
        missing.discard(path)
        if path in wanted:
            wrong += _judge(files, f"{top}/{path}", stat, wanted[path])
        elif path == "." or path in folders:
            if stat.kind != "dir":
                wrong.append(f"{path}: not a folder")
        elif path not in own or stat.kind != "file":
            wrong.append(f"{path}: added")
    wrong += [f"{path}: missing" for path in missing]
    return found, sorted(wrong)


def folders_of(listed: Iterable[File]) -> set[str]:
    """The folders that these files are in."""
    folders: set[str] = set()
    for file in listed:
        folder = file.path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def _walk(files: Files, slot: str, path: str, wrong: list[str]) -> Iterator[tuple[str, Stat]]:
    """Everything in a slot, a folder before what is in it."""
    whole = slot if path == "." else f"{slot}/{path}"
    stat = files.stat(whole)
    if stat is None:
        return
    yield path, stat
    if stat.kind != "dir":
        return
    try:
        names = files.names(whole)
    except OSError as error:
        wrong.append(f"{path}: can't be read: {error.strerror}")
        return
    for name in names:
        yield from _walk(files, slot, name if path == "." else f"{path}/{name}", wrong)


def _judge(files: Files, path: str, stat: Stat, file: File) -> list[str]:
    if stat.kind != "file":
        return [f"{file.path}: not a regular file"]
    if stat.mode != file.mode:
        return [f"{file.path}: mode {stat.mode:o}, not {file.mode:o}"]
    if stat.size != file.size:
        return [f"{file.path}: {stat.size} bytes, not {file.size}"]
    try:
        content = files.read(path, file.size)
    except OSError as error:
        return [f"{file.path}: can't be read: {error.strerror}"]
    if hashlib.sha256(content).hexdigest() != file.sha256:
        return [f"{file.path}: changed"]
    return []


def _read(files: Files, path: str, max_bytes: int) -> bytes:
    try:
        return files.read(path, max_bytes)
    except OSError as error:
        raise TrustError(f"can't be read: {error.strerror}") from None


# --- stamps -------------------------------------------------------------------------------------


def write_stamps(files: Files, version: Version, found: Found, now: float) -> None:
    """Remember what a slot that was verified at `now` looked like."""
    lines = [stamp_line(path, stat) for path, stat in found]
    text = "\n".join([f"{STAMPS_HEAD} {now:.0f} {len(lines)}", *lines, ""])
    layout.make_folder(files, layout.STAMPS)
    layout.write_file(files, f"{layout.STAMPS}/{version}", text.encode("ascii"))


def stamp_line(path: str, stat: Stat) -> str:
    """One line of the stamps; the launcher makes the same, see there."""
    return f"{stat.inode} {stat.size} {stat.mtime_ns} {stat.ctime_ns} {path}"


def forget(files: Files, version: Version) -> None:
    """Have no stamps of a slot: the next start looks at its bytes."""
    if files.stat(layout.STAMPS) is not None:
        layout.remove_file(files, f"{layout.STAMPS}/{version}")
