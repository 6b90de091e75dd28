"""Says in words what somebody is about to sign: a root document, a release or a command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from qlmdm_core import commanddoc, manifest, rootdoc, strictjson
from qlmdm_core.commanddoc import Command
from qlmdm_core.errors import TrustError
from qlmdm_core.manifest import Manifest
from qlmdm_core.rootdoc import Root
from qlmdm_core.server.root_changes import differences
from qlmdm_core.server.tables import clean

SHOWN_HOSTS = 20


def summary(
    text: str, root: Root | None, name_of: Callable[[str], str] = lambda cid: cid
) -> list[str]:
    """What a text means to clients, line by line. `root`: the document that it is to follow.

    `name_of` gives a client's hostname for its id. Raises `TrustError` for a text that is
    nothing that clients would take.
    """
    try:
        value = strictjson.parse(text.encode("utf-8"), max_bytes=manifest.MAX_BYTES)
    except strictjson.JsonError as error:
        raise TrustError(f"nothing that clients would take: {error}") from None
    kind = value.get("typ") if isinstance(value, dict) else None
    if kind == "root":
        lines = _root(rootdoc.parse(text), root)
    elif kind == "release":
        lines = _release(manifest.parse(text))
    elif kind == "command":
        lines = _command(commanddoc.parse(text), name_of)
    else:
        raise TrustError("neither a root document nor a release nor a command")
    return [*map(clean, lines), f"sha256: {hashlib.sha256(text.encode('utf-8')).hexdigest()}"]


def _root(new: Root, old: Root | None) -> list[str]:
    lines = [f"root document {new.version} of server {new.server_id}"]
    if old is not None:
        return lines + differences(old, new)
    lines += [
        f"{name}: {role.threshold} of {', '.join(role.fingerprints)}"
        for name, role in new.roles.items()
    ]
    lines += [f"secret-keeper: {name}" for name in new.keepers]
    lines += [f"never to be wiped: {cid}" for cid in new.never_wipe]
    return [
        *lines,
        f"epoch of releases: {new.epoch}",
        f"operators who must sign a wipe: {new.wipe_threshold}",
        f"expires at {rootdoc.write_time(new.expires_at)}",
    ]


def _release(made: Manifest) -> list[str]:
    unpacked = sum(file.size for file in made.files)
    below = f", below {made.python_below}" if made.python_below else ""
    return [
        f"release {made.version} of server {made.server_id}",
        f"{len(made.files)} files, {unpacked} bytes",
        f"tar: {made.tar_size} bytes, sha256 {made.tar_sha256}",
        f"needs Python {made.python_from} or later{below}",
        f"for machines: {', '.join(made.machines) or 'any'}",
        f"to be installed until {rootdoc.write_time(made.expires_at)}",
    ]


def _command(made: Command, name_of: Callable[[str], str]) -> list[str]:
    lines = [f"command {made.id} of kind {made.kind}, part {made.part}"]
    if made.wipe is not None:
        lines += [
            f"WIPES this machine, by {made.wipe.method}",
            f"machine-id: {made.wipe.machine_id}",
            f"internal disks: {', '.join(made.wipe.disk_serials) or 'none known'}",
            f"LUKS headers: {', '.join(made.wipe.luks_uuids) or 'none'}",
        ]
    if made.payload_sha256 is not None:
        lines.append(f"payload: {made.payload_size} bytes, sha256 {made.payload_sha256}")
    if made.path is not None:
        lines.append(f"path: {made.path}, mode {made.mode:04o}")
    if made.kind == "script":
        lines.append(f"run by {made.interpreter}, for {made.timeout_seconds} s at most")
    if made.cancels is not None:
        lines.append(f"cancels command {made.cancels}")
    shown = [_host(cid, name_of) for cid in made.hosts[:SHOWN_HOSTS]]
    more = len(made.hosts) - len(shown)
    shown += [f"and {more} more"] if more else []
    lines.append(f"for {len(made.hosts)} clients: {', '.join(shown)}")
    return [
        *lines,
        f"asked for by {made.requested_by}",
        f"from {rootdoc.write_time(made.not_before)} to {rootdoc.write_time(made.expires_at)}",
    ]


def _host(cid: str, name_of: Callable[[str], str]) -> str:
    name = name_of(cid)
    return cid if name == cid else f"{name} ({cid})"
