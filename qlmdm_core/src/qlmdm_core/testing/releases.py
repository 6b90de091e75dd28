"""Client releases for tests: a tar of a few files, and its signed manifest.

The real builder resolves distributions and asks an administrator; this one packs what it is
given, and can be told to pack it wrongly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from qlmdm_core import manifest as manifests
from qlmdm_core import rootdoc
from qlmdm_core.manifest import File, Manifest, Version
from qlmdm_core.rootdoc import Root
from qlmdm_core.testing.trust import SERVER_ID, Ring

BLOCK = 512
RECORD = 10240


@dataclass(frozen=True, kw_only=True)
class Built:
    """One release, ready to be served."""

    manifest: Manifest
    document: bytes
    """The signed manifest."""
    tar: bytes

    @property
    def version(self) -> Version:
        """Which one it is."""
        return self.manifest.version

    def offer(self, *mirrors: str) -> dict[str, Any]:
        """What the answer to `/update` says of it."""
        return {
            "version": str(self.version),
            "manifest": {
                "sha256": hashlib.sha256(self.document).hexdigest(),
                "size": len(self.document),
            },
            "tar": {"sha256": self.manifest.tar_sha256, "size": self.manifest.tar_size},
            "mirrors": list(mirrors),
        }


def header(path: str, size: int, mode: int = 0o644, **changes: bytes) -> bytes:
    """The tar header of a regular file; `changes` are fields of it, with a right checksum."""
    name, prefix = _split(path)
    fields = {
        "name": name.encode(),
        "perm": b"%07o\0" % mode,
        "uid": b"%07o\0" % 0,
        "gid": b"%07o\0" % 0,
        "length": b"%011o\0" % size,
        "mtime": b"%011o\0" % 0,
        "checksum": b" " * 8,
        "type": b"0",
        "link": b"",
        "magic": b"ustar\x0000",
        "uname": b"root",
        "gname": b"root",
        "major": b"%07o\0" % 0,
        "minor": b"%07o\0" % 0,
        "prefix": prefix.encode(),
        "rest": b"",
        **changes,
    }
    block = b"".join(fields[name].ljust(width, b"\0")[:width] for name, width in _WIDTHS)
    if "checksum" not in changes:
        block = block[:148] + b"%06o\0 " % sum(block) + block[156:]
    return block


_WIDTHS = (
    *(("name", 100), ("perm", 8), ("uid", 8), ("gid", 8), ("length", 12), ("mtime", 12)),
    *(("checksum", 8), ("type", 1), ("link", 100), ("magic", 8), ("uname", 32), ("gname", 32)),
    *(("major", 8), ("minor", 8), ("prefix", 155), ("rest", 12)),
)


def _split(path: str) -> tuple[str, str]:
    """A path's name and prefix: at the first slash that leaves a name short enough."""
    if len(path) <= 100:
        return path, ""
    at = path.index("/", len(path) - 101)
    return path[at + 1 :], path[:at]


def member(path: str, content: bytes, mode: int = 0o644, **changes: bytes) -> bytes:
    """A regular file in a tar: header, content, and zeros up to a whole block."""
    return header(path, len(content), mode, **changes) + content + bytes(-len(content) % BLOCK)


def close(members: bytes) -> bytes:
    """A tar of these members."""
    data = members + bytes(2 * BLOCK)
    return data + bytes(-len(data) % RECORD)


def pack(files: Mapping[str, bytes], executable: frozenset[str] = frozenset()) -> bytes:
    """A tar of these files, in order."""
    return close(
        b"".join(
            member(path, files[path], 0o755 if path in executable else 0o644)
            for path in sorted(files)
        )
    )


def build(
    ring: Ring,
    version: str,
    files: Mapping[str, bytes],
    *,
    now: datetime,
    by: tuple[str, ...] = ("release",),
    executable: frozenset[str] = frozenset(),
    tar: Callable[[bytes], bytes] = lambda tar: tar,
    **changes: Any,
) -> Built:
    """A release of these files, signed by the keys named in `by`.

    `tar` may spoil the tar before it is hashed; `changes` are fields of the manifest.
    """
    packed = tar(pack(files, executable))
    listed = tuple(
        File(
            path,
            hashlib.sha256(files[path]).hexdigest(),
            len(files[path]),
            0o755 if path in executable else 0o644,
        )
        for path in sorted(files)
    )
    made = Manifest(
        server_id=SERVER_ID,
        version=manifests.read_version(version),
        issued_at=now,
        expires_at=now + timedelta(days=180),
        tar_sha256=hashlib.sha256(packed).hexdigest(),
        tar_size=len(packed),
        files=listed,
    )
    made = replace(made, **changes)
    text = manifests.build(made)
    return Built(manifest=made, document=ring.sign(text, *by), tar=packed)


def sign_root(ring: Ring, root: Root, *names: str) -> bytes:
    """The signed root document."""
    return ring.sign(rootdoc.build(root), *(names or ("root",)))
