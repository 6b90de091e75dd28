"""Writes the tar that a new machine is installed from by hand: `qlmdm-client/` and all in it.

It holds a release with its manifest and the root document, what installs them, and, if it is to
enrol machines without further ado, an invitation. With an invitation it is a secret: it is
written for its owner alone, and served to nobody.
"""

from __future__ import annotations

import contextlib
import io
import os

from qlmdm_core.client.release import launcher_files, tarreader
from qlmdm_core.errors import StoreCorruptError, UsageError
from qlmdm_core.manifest import Manifest
from qlmdm_core.server.releases import ustar
from qlmdm_core.server.releases.tree import PLAIN, PROGRAM, core_of
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import ReleaseRecord

FOLDER = "qlmdm-client"
SETUP = "client-setup"


def bootstrap_tar(
    store: Store, record: ReleaseRecord, manifest: Manifest, token: str | None
) -> bytes:
    """The bytes of the tar; `manifest` is the release's, verified. Raises `StoreCorruptError`."""
    root = store.root()
    tar, document = store.blob(record.tar_sha256), store.blob(record.manifest_sha256)
    if root is None or tar is None or document is None:
        raise StoreCorruptError(
            f"release {manifest.version} is not whole in the store; see qlmdm-client-release verify"
        )
    items = [
        (file.path, b"".join(chunks), file.mode)
        for file, chunks in tarreader.members(io.BytesIO(tar), manifest.files)
    ]
    with core_of(items) as package:
        content = launcher_files.bootstrap_files(package)
    content["root.json"] = root.document
    content["manifest.json"] = document
    content["release.tar"] = tar
    if token is not None:
        content["enrol.yml"] = f"token: {token}\n".encode("ascii")
    return ustar.write_tar(
        (
            f"{FOLDER}/{path}",
            content[path],
            PROGRAM if path == SETUP else 0o600 if path == "enrol.yml" else PLAIN,
        )
        for path in sorted(content)
    )


def check_new(path: str) -> None:
    """Raises `UsageError` if `write_private` could not make this file."""
    folder = os.path.dirname(path) or "."
    if os.path.lexists(path):
        raise UsageError(f"--output: {path}: it exists already; name a new file")
    if not os.path.isdir(folder):
        raise UsageError(f"--output: {folder}: there is no such folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--output: {folder}: you may not write there")


def write_private(path: str, data: bytes) -> None:
    """A new file that its owner alone may read, whole or not there. Raises `UsageError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise UsageError(f"--output: {path}: {error.strerror}; name a new file") from None
    try:
        with open(fd, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise UsageError(f"--output: {path}: {error.strerror}") from None
