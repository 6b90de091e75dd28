"""The manifest of a client release: every byte that it may bring, signed by the release keys.

A release is a plain tar, which any mirror may serve, and this document beside it. A client
takes nothing from the tar but regular files that are named here, with these sizes and hashes,
at paths that can't lead anywhere else. Releases are ordered by epoch, then by number; a client
takes only one that is above everything it ever installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from qlmdm_core import rootdoc, signedtext, strictjson
from qlmdm_core.api import JSON
from qlmdm_core.errors import TrustError
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.interface import Verifier

MAX_BYTES = 8 << 20
"""Of a signed manifest."""
MAX_FILES = 20_000
MAX_FILE_BYTES = 64 << 20
MAX_TOTAL_BYTES = 512 << 20
"""Of all files of a release, unpacked."""
MAX_PATH = 400
TOPS = ("lib", "launcher", "commands", "files", "settings.yml")
"""What lies at the top of a release: code, the launcher, scripts that run once on each client,
what plugins added, and the site's client settings."""
MODES = (0o644, 0o755)

_PATH = re.compile(r"[A-Za-z0-9_.+@=,~ -]{1,200}(?:/[A-Za-z0-9_.+@=,~ -]{1,200}){0,20}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_PYTHON = re.compile(r"3\.[0-9]{1,3}\Z")
_MACHINE = re.compile(r"[a-z0-9_]{1,32}\Z")


class Version(NamedTuple):
    """Which release: compared as a tuple. Written "EPOCH.NUMBER"."""

    epoch: int
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.number}"


def read_version(text: object) -> Version:
    """The version in "EPOCH.NUMBER". Raises `ValueError`."""
    match = (
        re.fullmatch(r"([1-9][0-9]{0,8})\.([1-9][0-9]{0,8})", text, re.ASCII)
        if isinstance(text, str)
        else None
    )
    if match is None:
        raise ValueError(f"expected EPOCH.NUMBER, as in 1.7, not {text!r}")
    return Version(int(match[1]), int(match[2]))


class File(NamedTuple):
    """One regular file of a release."""

    path: str
    """Relative, with `/`, below one of `TOPS`."""
    sha256: str
    size: int
    """Bytes."""
    mode: int
    """0o644 or 0o755."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a release consists of, and for whom it is."""

    server_id: str
    version: Version
    issued_at: datetime
    expires_at: datetime
    """Not to be installed afterwards; what is installed goes on running."""
    tar_sha256: str
    tar_size: int
    files: tuple[File, ...]
    """By path."""
    python_from: str = "3.10"
    """The oldest Python that runs it."""
    python_below: str | None = None
    """The first Python that does not, if that is known."""
    machines: tuple[str, ...] = ()
    """As `uname -m` says; empty: any (no compiled code in it)."""


def build(manifest: Manifest) -> str:
    """The JSON text to be signed. Raises `TrustError` if clients would refuse it."""
    value = {
        "v": 1,
        "typ": "release",
        "server_id": manifest.server_id,
        "epoch": manifest.version.epoch,
        "number": manifest.version.number,
        "issued_at": rootdoc.write_time(manifest.issued_at),
        "expires_at": rootdoc.write_time(manifest.expires_at),
        "requires": {
            "python_from": manifest.python_from,
            "python_below": manifest.python_below,
            "machines": list(manifest.machines),
        },
        "tar": {"sha256": manifest.tar_sha256, "size": manifest.tar_size},
        "files": [list(file) for file in manifest.files],
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    parse(text)
    return text


def parse(text: str) -> Manifest:
    """The manifest in a signed text; its signatures are not looked at. Raises `TrustError`."""
    try:
        value = strictjson.parse(text.encode("utf-8"), max_bytes=MAX_BYTES)
        return _manifest(value)
    except (strictjson.JsonError, UnicodeEncodeError) as error:
        raise TrustError(f"not a release's manifest: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TrustError(f"not a release's manifest: {type(error).__name__}: {error}") from None


def verify(document: bytes, root: Root, verifier: Verifier) -> Manifest:
    """The manifest in a signed document, if the release keys of `root` vouch for it.

    Signatures and whose it is; when it may be installed is `check_installable`'s to say.
    Raises `TrustError`.
    """
    signed = signedtext.unpack(document, max_bytes=MAX_BYTES)
    rootdoc.require(signed, root, "release", verifier)
    manifest = parse(signed.text)
    if manifest.server_id != root.server_id:
        raise TrustError("the release is another server's")
    return manifest


def check_installable(
    manifest: Manifest, root: Root, *, now: datetime, above: Version | None
) -> None:
    """Raise `TrustError` unless it may be installed at `now`, over everything up to `above`.

    Needs a root document that has not expired, the epoch that this document names, and a
    version above the highest that was ever installed here.
    """
    if root.is_expired(now):
        raise TrustError(f"root document {root.version} has expired; no release is installed")
    if manifest.version.epoch != root.epoch:
        raise TrustError(
            f"release {manifest.version} is not of epoch {root.epoch}, which the root "
            "document names"
        )
    if above is not None and manifest.version <= above:
        raise TrustError(f"release {manifest.version} is not newer than {above}")
    if now >= manifest.expires_at:
        raise TrustError(f"release {manifest.version} expired on {manifest.expires_at:%Y-%m-%d}")


def is_safe_path(path: str) -> bool:
    """Whether a file may lie there: below one of `TOPS`, with no way up or out."""
    if len(path) > MAX_PATH or not _PATH.match(path):
        return False
    parts = path.split("/")
    if any(part in (".", "..") or part != part.strip() for part in parts):
        return False
    return parts[0] in TOPS and ("." in parts[0]) == (len(parts) == 1)


def check_files(files: Iterable[File]) -> None:
    """Raise `TrustError` for a list of files that no release may have."""
    before, total, count = "", 0, 0
    folders: set[str] = set()
    names: set[str] = set()
    for file in files:
        if not is_safe_path(file.path):
            raise TrustError(f"a release may not have a file at {file.path!r}")
        if file.path <= before:
            raise TrustError(f"files are listed once, in order; {file.path!r} is not")
        if file.mode not in MODES:
            raise TrustError(f"{file.path}: mode {file.mode:o} is not {MODES[0]:o} or {MODES[1]:o}")
        if not _HASH.match(file.sha256) or not 0 <= file.size <= MAX_FILE_BYTES:
            raise TrustError(f"{file.path}: hash or size can't be right")
        before, total, count = file.path, total + file.size, count + 1
        names.add(file.path)
        parts = file.path.split("/")
        folders.update("/".join(parts[:n]) for n in range(1, len(parts)))
    if names & folders:
        raise TrustError(f"{min(names & folders)} is a file and a folder")
    if count > MAX_FILES or total > MAX_TOTAL_BYTES:
        raise TrustError(f"{count} files of {total} bytes are more than a release may have")


def _manifest(value: JSON) -> Manifest:
    if value["typ"] != "release" or value["v"] != 1:
        raise TrustError("not a manifest of this format")
    requires, tar = value["requires"], value["tar"]
    manifest = Manifest(
        server_id=str(value["server_id"]),
        version=Version(rootdoc.whole(value["epoch"]), rootdoc.whole(value["number"])),
        issued_at=rootdoc.read_time(value["issued_at"]),
        expires_at=rootdoc.read_time(value["expires_at"]),
        tar_sha256=tar["sha256"],
        tar_size=rootdoc.whole(tar["size"]),
        files=tuple(_file(entry) for entry in value["files"]),
        python_from=requires["python_from"],
        python_below=requires["python_below"],
        machines=tuple(requires["machines"]),
    )
    pythons = [manifest.python_from, manifest.python_below or manifest.python_from]
    if not all(_PYTHON.match(text) for text in pythons):
        raise ValueError(f"no versions of Python: {pythons}")
    if not all(_MACHINE.match(name) for name in manifest.machines):
        raise ValueError(f"no names of machines: {manifest.machines}")
    if not _HASH.match(manifest.tar_sha256):
        raise ValueError("the tar's hash can't be right")
    check_files(manifest.files)
    return manifest


def _file(entry: JSON) -> File:
    path, sha256, size, mode = entry
    if not isinstance(path, str) or not isinstance(sha256, str):
        raise TypeError("a file has a path and a hash")
    if type(size) is not int or type(mode) is not int:
        raise TypeError(f"{path}: size and mode are whole numbers")
    return File(path, sha256, size, mode)
