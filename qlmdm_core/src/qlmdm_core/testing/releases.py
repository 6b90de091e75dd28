"""Client releases for tests: a tar of a few files, and its signed manifest.

The real builder resolves distributions and asks an administrator; this one packs what it is
given, and can be told to pack it wrongly.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import gnupg
import pluggy
import yaml

import qlmdm_core
from qlmdm_core import envelope, rootdoc
from qlmdm_core import manifest as manifests
from qlmdm_core.client.release.launcher_files import bootstrap_files, launcher_files
from qlmdm_core.manifest import File, Manifest, Version
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing import PublicKey, Signer, keys
from qlmdm_core.signing.sequoia import SequoiaSigner
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


def site_ring(home: str) -> Ring:
    """The keys of a server that was set up in `home`/keys, so that tests can sign as it would."""
    signers: dict[str, Signer] = {}
    public: dict[str, PublicKey] = {}
    for role in ("root", "release", "operator"):
        folder = os.path.join(home, "keys", role)
        fingerprint = keys.list_keys(folder)[0].fingerprint
        signers[role] = SequoiaSigner(keys.export_secret(folder, fingerprint))
        public[role] = keys.export_public(folder, fingerprint)
    return Ring(signers=signers, public=public)


LEFT_OUT = ("server", "store", "testing", "plugins/check", "plugins/scaffold")
"""Parts of core that no client needs."""


def agent_files(settings: str, plugin: str = "", **more: bytes) -> dict[str, bytes]:
    """The files of a release that is a working agent: core, what it needs, and one plugin.

    `settings` is its settings file, `plugin` the text of a module with hooks.
    """
    found = dict(launcher_files())
    found["settings.yml"] = settings.encode()
    core = os.path.dirname(qlmdm_core.__file__)
    for path, content in _sources(core):
        if not path.startswith(LEFT_OUT):
            found[f"lib/qlmdm_core/{path}"] = content
    for module in (pluggy, yaml):
        folder = os.path.dirname(str(module.__file__))
        for path, content in _sources(folder):
            found[f"lib/{module.__name__}/{path}"] = content
    found["lib/gnupg.py"] = _read(str(gnupg.__file__))
    scripts = importlib.metadata.distribution("qlmdm-core").read_text("entry_points.txt") or ""
    found.update(_metadata("qlmdm_core", scripts))
    if plugin:
        found["lib/qlmdm_site.py"] = plugin.encode()
        found.update(_metadata("qlmdm_site", "[qlmdm_client]\nsite = qlmdm_site\n"))
    found.update(more)
    return found


def _metadata(name: str, entry_points: str) -> dict[str, bytes]:
    folder = f"lib/{name}-1.0.dist-info"
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{folder}/entry_points.txt": entry_points.encode(),
    }


def _sources(folder: str) -> Iterator[tuple[str, bytes]]:
    for top, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if name != "__pycache__")
        for name in sorted(names):
            if name.endswith((".py", ".txt")):
                path = os.path.join(top, name)
                yield os.path.relpath(path, folder), _read(path)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def unpack_bootstrap(folder: str, built: Built, root_document: bytes, token: str) -> str:
    """The folder that a new machine unpacks, with this release in it; its path."""
    content = {
        **bootstrap_files(),
        "root.json": root_document,
        "manifest.json": built.document,
        "release.tar": built.tar,
        "enrol.yml": f"token: {token}\n".encode(),
    }
    for name, data in content.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    os.chmod(os.path.join(folder, "client-setup"), 0o700)
    return folder


class Shop:
    """A WSGI application in front of a server's own: offers a release, and has its blobs.

    The real server finds out for itself what to offer; here, the test says.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.offer: dict[str, Any] | None = None
        self.blobs: dict[str, bytes] = {}
        self.root: int | None = None
        """A newer root document than the server's process has heard of."""

    def put(self, built: Built) -> None:
        """Have a release, and offer it."""
        self.have(built)
        self.offer = built.offer()

    def have(self, built: Built) -> None:
        """Have a release's bytes."""
        for data in (built.document, built.tar):
            self.blobs[hashlib.sha256(data).hexdigest()] = data

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = str(environ["PATH_INFO"])
        if not path.startswith(envelope.BLOB):
            return self._app(environ, start_response)
        data = self.blobs.get(path.removeprefix(envelope.BLOB))
        if data is None:
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        wanted = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", environ.get("HTTP_RANGE", ""))
        if wanted:
            data = data[int(wanted[1]) : int(wanted[2]) + 1 if wanted[2] else None]
        headers = [
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", str(len(data))),
        ]
        start_response("206 Partial Content" if wanted else "200 OK", headers)
        return [data]

    def answer(self, original: Callable[..., None]) -> Callable[..., None]:
        """Wraps `Gate.answer`, so that answers to `/update` name what is offered here."""

        def answer(gate: Any, resp: Any, caller: Any, status: str, **details: Any) -> None:
            if "release" in details:
                details["release"] = self.offer
                details["root"] = self.root or details["root"]
            original(gate, resp, caller, status, **details)

        return answer
