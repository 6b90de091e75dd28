"""Installs the first release of a machine, from a folder that somebody unpacked there.

In it lie `root.json`, `manifest.json` and `release.tar`, as a release server made them, and
`enrol.yml` with an invitation. The invitation names the root document by its hash; everything
else is believed because of it. It may be cut off anywhere and run again: what is done is not
done twice.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from qlmdm_core import manifest as manifests
from qlmdm_core import rootdoc, signedtext
from qlmdm_core.client.release import install, launchers, layout, selftest, trial
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.errors import TrustError, UsageError
from qlmdm_core.manifest import Manifest
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.gpg import GpgVerifier
from qlmdm_core.tokens import Token

TAR = "release.tar"


# --- what is in the folder ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release that was verified, and its tar, which has the hash that it should."""

    root_document: bytes
    document: bytes
    manifest: Manifest
    tar: str
    """The file."""


def read_release(folder: str, trust: Token | Root) -> Release:
    """Verify what lies in `folder`: by an invitation, or by the root document of a client.

    Raises `TrustError`, or `UsageError` for a file that is not there.
    """
    verifier = GpgVerifier()
    root_document = read(os.path.join(folder, layout.ROOT_COPY), rootdoc.MAX_BYTES)
    if isinstance(trust, Token):
        root = rootdoc.pin(root_document, trust.root_sha256, verifier)
    else:
        root = trust
        its = rootdoc.parse(signedtext.unpack(root_document, max_bytes=rootdoc.MAX_BYTES).text)
        if its.server_id != root.server_id:
            raise TrustError("this is another server's release")
    document = read(os.path.join(folder, layout.MANIFEST), manifests.MAX_BYTES)
    manifest = manifests.verify(document, root, verifier)
    manifests.check_installable(manifest, root, now=datetime.now(timezone.utc), above=None)
    install.check_fits(manifest, python=sys.version_info[:2], machine=os.uname().machine)
    tar = os.path.join(folder, TAR)
    _check_tar(tar, manifest)
    return Release(root_document=root_document, document=document, manifest=manifest, tar=tar)


def _check_tar(path: str, manifest: Manifest) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
                if size > manifest.tar_size:
                    break
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    if size != manifest.tar_size or digest.hexdigest() != manifest.tar_sha256:
        raise TrustError(f"{path} is not the tar that its manifest names")


def read(path: str, max_bytes: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except PermissionError:
        raise UsageError(f"{path} can't be read by this user; run it as root") from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}; unpack the tar anew") from None
    if len(data) > max_bytes:
        raise TrustError(f"{path} is larger than such a file can be")
    return data


def pinned(state: str) -> Root:
    """The root document of a machine that is enrolled."""
    data = read(os.path.join(state, "root.json"), rootdoc.MAX_BYTES)
    return rootdoc.parse(signedtext.unpack(data, max_bytes=rootdoc.MAX_BYTES).text)


# --- onto the disk ------------------------------------------------------------------------------


def put_in_place(files: RealFiles, release: Release) -> str:
    """Install the slot and the launcher; on a client that runs one already, for a trial.

    Returns what was done, for a person. Raises `TrustError` or `OSError`.
    """
    manifest, version = release.manifest, release.manifest.version
    state, current = layout.read_release(files), layout.current(files)
    if layout.read_trial(files) is not None:
        raise UsageError("another release is on trial; run this again when that is over")
    enrolled = files.stat("identity.json") is not None and current is not None
    again = current == version
    known = enrolled and not again and state.high is not None and version <= state.high
    if state.is_bad(version) or known:
        raise TrustError(f"release {version} is not newer than {state.high}, which ran here")
    with open(release.tar, "rb") as tar:  # nothing is written if it is there, and whole
        install.install(
            files,
            manifest=manifest,
            document=release.document,
            root_document=release.root_document,
            tar=tar,
        )
    selftest.run(os.path.join(files.root, layout.slot_path(version)))
    if enrolled and current is not None and not again:
        trial.arm(files, version, current)
        return f"release {version} is installed, and will be tried"
    if launchers.pointed(files) is None or not enrolled:
        launchers.install(files, manifest)
        layout.point(files, layout.LAUNCHER, layout.LAUNCHERS, version)
    layout.write_release(files, replace(state, high=max(version, state.high or version)))
    layout.point(files, layout.CURRENT, layout.SLOTS, version)
    return f"release {version} is installed in {files.root}"
