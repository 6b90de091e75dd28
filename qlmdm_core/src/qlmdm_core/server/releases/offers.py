"""Which release a client is offered when it asks, known without asking the database each time.

A process looks at the releases once in a few seconds and keeps what it saw: a poll with nothing
new must cost no read of its own. What a client says of itself (what it runs, what failed there,
its Python) only ever makes it be offered less.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from qlmdm_core import manifest, rootdoc, signedtext
from qlmdm_core.api import JSON
from qlmdm_core.errors import StoreCorruptError, StoreError, TrustError
from qlmdm_core.manifest import Manifest, Version
from qlmdm_core.server.releases import rollout
from qlmdm_core.server.releases.rollout import Rollout
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import ReleaseRecord
from qlmdm_core.store.records import ClientKey

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""So old may what this process knows of the releases be."""
MOST_OFFERED = 100
"""Only the newest of them are looked at."""


@dataclass(frozen=True, kw_only=True)
class Offered:
    """A release that may be offered, and all that decides about it."""

    version: Version
    rollout: Rollout
    expires_at: datetime
    python_from: tuple[int, int]
    python_below: tuple[int, int] | None
    machines: tuple[str, ...]
    answer: JSON
    """As it stands in the answer to a client."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What the store had when it was looked at."""

    offered: tuple[Offered, ...] = ()
    """Published releases of the root document's epoch, newest first."""
    blobs: Mapping[str, int | None] | None = None
    """The hashes that releases name, with their sizes where they are known."""


class Offers:
    """The releases, as one server process knows them."""

    def __init__(
        self,
        store: Store,
        mirrors: Sequence[str] = (),
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._mirrors = [mirror.rstrip("/") + "/" for mirror in mirrors]
        self._monotonic = monotonic
        self._known: tuple[float, View] | None = None
        self._manifests: dict[str, tuple[Manifest, int]] = {}
        self._lock = threading.Lock()

    def for_client(self, key: ClientKey, said: JSON, now: datetime) -> JSON:
        """The newest release that this client is offered and does not have; None: none."""
        told = read_status(said)
        # Older clients say nothing of themselves; then their last record has to do.
        above = told.floor if told.speaks else _version(key.release)
        for found in self.view().offered:
            if above is not None and found.version <= above:
                return None
            if (
                str(found.version) not in told.bad
                and now < found.expires_at
                and _fits(found, told)
                and rollout.is_offered(found.rollout, key.cid, key.tags, found.version)
            ):
                return found.answer
        return None

    def view(self, *, at_most: float = FRESH_SECONDS) -> View:
        """What is known; looked up anew if that is older. Raises `StoreError` if it never was."""
        known = self._known
        if known is not None and self._monotonic() - known[0] <= at_most:
            return known[1]
        # One thread looks; the others go on with what is known.
        if not self._lock.acquire(blocking=known is None):
            return known[1] if known is not None else View()
        try:
            again = self._known
            if again is not None and self._monotonic() - again[0] <= at_most:
                return again[1]
            view = self._look()
            self._known = (self._monotonic(), view)
        except StoreError as error:
            if known is None:
                raise
            log.warning("the releases can't be read, what was known is used: %s", error)
            return known[1]
        finally:
            self._lock.release()
        return view

    def _look(self) -> View:
        records = self._store.releases()
        blobs: dict[str, int | None] = {}
        for record in records:
            blobs[record.tar_sha256] = record.tar_size
            blobs[record.manifest_sha256] = None
        newest = self._store.root()
        if newest is None:
            return View(blobs=blobs)
        try:
            signed = signedtext.unpack(newest.document, max_bytes=rootdoc.MAX_BYTES)
            epoch = rootdoc.parse(signed.text).epoch
        except TrustError as error:
            raise StoreCorruptError(f"root document {newest.version}: {error}") from None
        published = [r for r in records if r.status == "published" and r.epoch == epoch]
        found = [self._offered(record) for record in published[:MOST_OFFERED]]
        return View(offered=tuple(offer for offer in found if offer is not None), blobs=blobs)

    def _offered(self, record: ReleaseRecord) -> Offered | None:
        version = Version(record.epoch, record.number)
        try:
            found, size = self._manifest(record.manifest_sha256)
        except (StoreError, TrustError) as error:
            log.error("release %s is not offered: %s", version, error)  # noqa: TRY400
            return None
        if found.version != version or found.tar_sha256 != record.tar_sha256:
            log.error("release %s is not offered: its manifest is another's", version)
            return None
        return Offered(
            version=version,
            rollout=rollout.load(record.rollout, record.created_at),
            expires_at=found.expires_at,
            python_from=_python(found.python_from) or (3, 10),
            python_below=_python(found.python_below),
            machines=found.machines,
            answer={
                "version": str(version),
                "manifest": {"sha256": record.manifest_sha256, "size": size},
                "tar": {"sha256": found.tar_sha256, "size": found.tar_size},
                "mirrors": self._mirrors,
            },
        )

    def _manifest(self, sha256: str) -> tuple[Manifest, int]:
        if sha256 not in self._manifests:
            document = self._store.blob(sha256)
            if document is None:
                raise StoreError("its manifest is not in the store")
            signed = signedtext.unpack(document, max_bytes=manifest.MAX_BYTES)
            self._manifests[sha256] = (manifest.parse(signed.text), len(document))
        return self._manifests[sha256]


# --- what a client says of itself ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a client says of itself, as far as it can be understood."""

    speaks: bool = False
    """Whether it says anything about releases at all."""
    floor: Version | None = None
    """It takes nothing up to this one."""
    bad: frozenset[str] = frozenset()
    python: tuple[int, int] | None = None
    machine: str | None = None


def read_status(said: JSON) -> Status:
    """The fields of an update request that matter; what is none of them is passed over."""
    if not isinstance(said, dict):
        return Status()
    bad, machine = said.get("bad"), said.get("machine")
    failed = frozenset(bad) if isinstance(bad, dict) else frozenset()
    return Status(
        speaks="high" in said or "release" in said,
        floor=_floor(said, failed),
        bad=failed,
        python=_python(said.get("python")),
        machine=machine if isinstance(machine, str) else None,
    )


def _floor(said: Mapping[str, JSON], failed: frozenset[str]) -> Version | None:
    """The highest release that a client has had, unless it needs that one again.

    It does if what it runs was found damaged, and if a power cut took the release before it was
    tried. The client judges by its own rule (`client.release.trial.floor`): this saves a fetch.
    """
    runs, high = _version(said.get("release")), _version(said.get("high"))
    high = max((version for version in (runs, high) if version), default=None)
    if high is None or str(high) in failed:
        return high
    lost = runs is not None and runs < high and not said.get("trial")
    if not (said.get("broken") or lost):
        return high
    return Version(high.epoch, high.number - 1)


def _version(text: JSON) -> Version | None:
    try:
        return manifest.read_version(text)
    except ValueError:
        return None


def _python(text: JSON) -> tuple[int, int] | None:
    if not isinstance(text, str):
        return None
    major, _, minor = text.partition(".")
    minor = minor.partition(".")[0]
    if not (major + minor).isascii() or not (major.isdigit() and minor.isdigit()):
        return None
    return (int(major[:3]), int(minor[:3]))


def _fits(found: Offered, told: Status) -> bool:
    if told.python is not None and told.python < found.python_from:
        return False
    if told.python is not None and found.python_below and told.python >= found.python_below:
        return False
    return not found.machines or told.machine is None or told.machine in found.machines
