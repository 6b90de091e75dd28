"""Puts the files of a release together: code, launcher, settings, scripts, plugins' files.

Everything here is about content; nothing of the machine that builds (its clock, umask, users,
order of folders, language) gets into it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence

from qlmdm_core import manifest
from qlmdm_core.client.release import launcher_files
from qlmdm_core.errors import SettingsError, UsageError
from qlmdm_core.server.releases.wheels import UnfitError, Wheel, kept_files

PLAIN, PROGRAM = 0o644, 0o755
MAX_COMMAND_BYTES = 4 << 20


class Tree:
    """The files of a release by path, each with who brought it."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, int, str]] = {}

    def add(self, path: str, content: bytes, owner: str, mode: int = PLAIN) -> None:
        """One more file. Raises `UnfitError` for a path that can't be, or is taken."""
        if not manifest.is_safe_path(path):
            raise UnfitError(f"{owner}: a release can't hold a file called {path!r}")
        if len(content) > manifest.MAX_FILE_BYTES:
            raise UnfitError(f"{owner}: {path} has {len(content)} bytes, too many for a release")
        there = self._files.get(path)
        if there is not None and there[:2] != (content, mode):
            raise UnfitError(f"{path} is brought by {there[2]} and by {owner}, and they differ")
        if there is None:
            self._files[path] = (content, mode, owner)

    def items(self) -> list[tuple[str, bytes, int]]:
        """Path, content and mode, in the order of the manifest."""
        return [(path, self._files[path][0], self._files[path][1]) for path in sorted(self._files)]


def add_code(tree: Tree, wheels: Iterable[Wheel]) -> None:
    """Unpack distributions into `lib/`. Raises `UnfitError`."""
    for wheel in wheels:
        for path, content in kept_files(wheel):
            tree.add(f"lib/{path}", content, f"{wheel.name} {wheel.version}")


def add_launcher(tree: Tree) -> None:
    """The launcher and its own copies of the modules that it needs.

    They come from the core that is in this release, not from the one that builds it.
    """
    with core_of(tree.items()) as package:
        try:
            found = launcher_files.launcher_files(package)
        except OSError as error:
            raise UnfitError(
                f"qlmdm-core in this release has no {error.filename}, which its launcher needs; "
                "install one that has"
            ) from None
    for path, content in found.items():
        tree.add(path, content, "qlmdm-core")


@contextlib.contextmanager
def core_of(items: Iterable[tuple[str, bytes, int]]) -> Iterator[str]:
    """A folder with the package `qlmdm_core` of a release, for the time of a `with` statement."""
    with tempfile.TemporaryDirectory(prefix="qlmdm-core-") as folder:
        for path, content, _ in items:
            if not path.startswith("lib/qlmdm_core/"):
                continue
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
        yield os.path.join(folder, "lib", "qlmdm_core")


def add_commands(tree: Tree, folder: str, *, required: bool) -> None:
    """The scripts that run once on each client: every file of a folder.

    Raises `SettingsError` for what is no script.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        if required:
            raise SettingsError(
                f"{folder}: there is no such folder", key="release.commands"
            ) from None
        return
    except OSError as error:
        raise SettingsError(f"{folder}: {error.strerror}", key="release.commands") from None
    for name in names:
        if name.startswith(".") or name.endswith("~"):
            continue  # an editor's, or hidden on purpose
        path = os.path.join(folder, name)
        tree.add(f"commands/{name}", _script(path), path, PROGRAM)


def _script(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise SettingsError(f"{path}: not a file", key="release.commands")
        with open(path, "rb") as file:
            content = file.read(MAX_COMMAND_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", key="release.commands") from None
    if len(content) > MAX_COMMAND_BYTES:
        raise SettingsError(f"{path}: larger than a script may be", key="release.commands")
    return content


def add_plugin_files(tree: Tree, files: Sequence[tuple[str, str, bytes]]) -> None:
    """What `qlmdm_release_files` gave: owner, relative path, content. Raises `UnfitError`."""
    for owner, path, content in files:
        tree.add(f"files/{path}", content, owner)


def read_settings(path: str) -> bytes:
    """The clients' settings file, as it is. Raises `UsageError` if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: there are no settings for clients; write them (at least `server_url: …`), "
            "or name another file with `release.settings`"
        ) from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", key="release.settings") from None
