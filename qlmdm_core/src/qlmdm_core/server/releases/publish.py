"""Numbers, signs and publishes a release, and takes it back.

What is published is described by its signed manifest alone: everything that counts is read from
the document that the release keys vouch for, never from a draft or from the database. A number
is used once: of two administrators who build at the same moment, one gets it, and the other is
told to build again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from qlmdm_core import manifest, plugins, signedtext
from qlmdm_core.api import JSON
from qlmdm_core.client.release import tarreader
from qlmdm_core.errors import BusyError, QlmdmError, StoreCorruptError, TrustError, UsageError
from qlmdm_core.manifest import Manifest, Version
from qlmdm_core.plugins import PluginFailure, PluginSet
from qlmdm_core.rootdoc import Root
from qlmdm_core.server import crypto
from qlmdm_core.server.context import Context
from qlmdm_core.server.desk import Completed, Desk
from qlmdm_core.server.releases import rollout
from qlmdm_core.server.releases.build import Built, manifest_of
from qlmdm_core.server.releases.changes import NOTHING, Changes, Contents
from qlmdm_core.server.releases.changes import as_json as changes_json
from qlmdm_core.server.releases.rollout import Rollout
from qlmdm_core.server.root_pin import trusted_root
from qlmdm_core.signing import Verifier
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import Draft, ReleaseRecord


class NoSuchReleaseError(UsageError):
    """Nothing by that version."""

    exit_status = 1


class ObjectionError(QlmdmError):
    """A plugin is against a release; its reasons."""

    exit_status = 1


def version_of(record: ReleaseRecord) -> Version:
    """The version of a stored release."""
    return Version(record.epoch, record.number)


def find(store: Store, text: str) -> ReleaseRecord:
    """The release that an administrator names. Raises `UsageError`."""
    try:
        version = manifest.read_version(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    found = store.release(*version)
    if found is None:
        known = ", ".join(str(version_of(record)) for record in store.releases()[:10]) or "none"
        raise NoSuchReleaseError(f"there is no release {version}; there are: {known}")
    return found


def next_version(store: Store, root: Root) -> Version:
    """The version of the next release: of the root document's epoch, one above the highest."""
    numbers = [record.number for record in store.releases() if record.epoch == root.epoch]
    return Version(root.epoch, max(numbers, default=0) + 1)


# --- what is in one ---------------------------------------------------------------------------


def open_manifest(store: Store, record: ReleaseRecord, root: Root, verifier: Verifier) -> Manifest:
    """A release's manifest, verified as a client would. Raises `TrustError` and `StoreError`."""
    document = store.blob(record.manifest_sha256)
    if document is None:
        raise StoreCorruptError(f"release {version_of(record)}: its manifest is not in the store")
    found = manifest.verify(document, root, verifier)
    if found.version != version_of(record) or found.tar_sha256 != record.tar_sha256:
        raise TrustError(f"release {version_of(record)}: its manifest is that of another release")
    return found


def read_contents(store: Store, record: ReleaseRecord) -> Contents:
    """What a release holds, for comparing; its signatures are not looked at."""
    document = store.blob(record.manifest_sha256)
    if document is None:
        raise StoreCorruptError(f"release {version_of(record)}: its manifest is not in the store")
    parsed = manifest.parse(signedtext.unpack(document, max_bytes=manifest.MAX_BYTES).text)
    about = record.about if isinstance(record.about, dict) else {}
    return Contents(
        files=parsed.files,
        distributions=about.get("distributions") or {},
        settings=about.get("settings") or "",
    )


def contents_of(built: Built) -> Contents:
    """What a build holds."""
    return Contents(files=built.files, distributions=built.distributions, settings=built.settings)


def previous(store: Store) -> tuple[ReleaseRecord | None, Contents]:
    """The newest release that was not withdrawn, and what is in it."""
    for record in store.releases():
        if record.status == "published":
            return record, read_contents(store, record)
    return None, NOTHING


# --- publishing -------------------------------------------------------------------------------


def objections(
    server_plugins: PluginSet, built: Built, version: Version, changes: Changes
) -> list[str]:
    """What plugins have against this release; one that raises is against it, too."""
    release = {
        "version": str(version),
        "tar_sha256": built.tar_sha256,
        "size": built.size,
        "distributions": dict(built.distributions),
        "machines": list(built.machines),
        "settings": built.settings,
        "files": [file.path for file in built.files],
        "changes": changes_json(changes),
    }
    found: list[str] = [f"{failure}" for failure in server_plugins.failures]
    for plugin in server_plugins:
        said = plugins.call(plugin, "qlmdm_release_objections", release=release, stage="build")
        if isinstance(said, PluginFailure):
            found.append(str(said))
        else:
            found += [f"{plugin.entry.owner}: {objection.reason}" for objection in said]
    return found


def sign(
    desk: Desk,
    built: Built,
    version: Version,
    *,
    changes: Changes,
    created_by: str,
    note: str = "",
    start: Rollout | None = None,
) -> ReleaseRecord | Draft:
    """Sign a build and publish it; or, if signatures are missing, leave a draft that waits.

    Raises `BusyError` if somebody else took the number meanwhile.
    """
    now = desk.now.replace(microsecond=0)
    expires_at = now + timedelta(seconds=desk.settings.release.expires_after)
    text = manifest.build(
        manifest_of(
            built, version, server_id=desk.root.server_id, issued_at=now, expires_at=expires_at
        )
    )
    attach = {
        "note": note,
        "rollout": None if start is None else rollout.dump(start),
        "about": {
            "distributions": dict(built.distributions),
            "settings": built.settings,
            "files": len(built.files),
            "size": built.size,
            "changes": _bounded(changes_json(changes)),
        },
    }
    # Before anybody signs: whoever brings the last signature need not have the tar.
    desk.store.put_blob(built.tar)
    done = desk.sign(
        name=f"release-{version}",
        kind="release",
        role="release",
        texts=[text],
        attach=attach,
        created_by=created_by,
    )
    if not isinstance(done, Completed):
        return done
    return _publish(
        desk.store,
        done.documents[0],
        desk.root,
        desk.verifier,
        created_at=now,
        created_by=created_by,
        attach=attach,
    )


def _bounded(changes: JSON) -> JSON:
    """Without the lists of a release where everything changed."""
    return {
        name: value[:200] if isinstance(value, list) else value for name, value in changes.items()
    }


def finish(
    context: Context,
    store: Store,
    draft: Draft,
    documents: Sequence[bytes],
) -> list[str]:
    """Publish a release whose last signature has come; lines to print."""
    verifier = crypto.verifier_of(crypto.best_engine())
    root = trusted_root(context.settings, store, verifier)
    record = _publish(
        store,
        documents[0],
        root,
        verifier,
        created_at=draft.created_at,
        created_by=draft.created_by,
        attach=draft.attach,
    )
    return [published_line(record)]


def published_line(record: ReleaseRecord) -> str:
    """What is said of a release that was just published."""
    version = version_of(record)
    start = rollout.load(record.rollout, record.created_at)
    if start.state != "running" or not (start.hosts or start.tags or start.steps):
        return (
            f"release {version} is published, and offered to nobody yet: "
            f"qlmdm-client-release rollout {version} --help"
        )
    return f"release {version} is published; clients get it when they next ask"


def _publish(
    store: Store,
    document: bytes,
    root: Root,
    verifier: Verifier,
    *,
    created_at: datetime,
    created_by: str,
    attach: JSON,
) -> ReleaseRecord:
    found = manifest.verify(document, root, verifier)
    if found.version.epoch != root.epoch:
        raise TrustError(
            f"release {found.version} is not of epoch {root.epoch}, which root document "
            f"{root.version} names; build it anew"
        )
    tar = store.blob(found.tar_sha256)
    if tar is None or len(tar) != found.tar_size:
        raise StoreCorruptError(f"release {found.version}: its tar is not in the store")
    more = attach if isinstance(attach, dict) else {}
    record = ReleaseRecord(
        epoch=found.version.epoch,
        number=found.version.number,
        manifest_sha256=store.put_blob(document),
        tar_sha256=found.tar_sha256,
        tar_size=found.tar_size,
        created_at=created_at,
        created_by=created_by,
        note=str(more.get("note") or ""),
        rollout=more.get("rollout"),
        about=more.get("about"),
    )
    if store.put_release(record):
        return record
    there = store.release(*found.version)
    if there is not None and there.manifest_sha256 == record.manifest_sha256:
        return there  # the same again: this was interrupted at its end
    store.drop_blob(record.manifest_sha256)
    raise BusyError(
        f"somebody else published release {found.version} meanwhile; look at it "
        "(qlmdm-client-release show), and build again"
    )


# --- afterwards -------------------------------------------------------------------------------


def verify(store: Store, record: ReleaseRecord, root: Root, verifier: Verifier) -> Manifest:
    """Look at every byte as a client would: signatures, the tar, each file in it.

    Raises `TrustError` and `StoreError`.
    """
    found = open_manifest(store, record, root, verifier)
    tar = store.blob(found.tar_sha256)
    if tar is None:
        raise StoreCorruptError(f"release {found.version}: its tar is not in the store")
    if len(tar) != found.tar_size or hashlib.sha256(tar).hexdigest() != found.tar_sha256:
        raise TrustError(f"release {found.version}: the tar is not the one that was signed")
    for _, chunks in tarreader.members(io.BytesIO(tar), found.files):
        for _chunk in chunks:
            pass  # read to its end, each is compared with its hash
    return found


def change(store: Store, record: ReleaseRecord, **fields: object) -> ReleaseRecord:
    """Write back a release's status, note or roll-out. Raises `BusyError`."""
    changed = replace(record, **fields)  # type: ignore[arg-type]
    if not store.update_release(changed):
        raise BusyError(
            f"somebody else changed release {version_of(record)} meanwhile; look at it, and try "
            "again"
        )
    return changed
