"""Takes the release that the server names: verify first, then fetch, install, and try it.

In this order: it must be offered under the newest root document; its manifest must be signed,
unexpired, of this epoch, above everything that was ever tried here, and fit this machine; no
plugin may object; its tar must have the hash that the manifest names. Only then anything of
it is written. It is tried from the next start on. What went wrong is tried again, later and
later, and told to the server with each report.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from qlmdm_core import manifest as manifests
from qlmdm_core.api import JSON
from qlmdm_core.client import identity as identities
from qlmdm_core.client.link import Link
from qlmdm_core.client.release import fetch, hooks, install, layout, selftest, trial
from qlmdm_core.client.release.pause import MAX_WHY, UPDATE_STATE, Pause
from qlmdm_core.client.release.real_files import RealFiles
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.errors import QlmdmError, SpoolError, TrustError
from qlmdm_core.manifest import Manifest, Version, read_version
from qlmdm_core.settings import Loaded

MAX_MIRRORS = 8
_HASH = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the server's answer says of a release."""

    version: Version
    manifest_sha256: str
    manifest_size: int
    mirrors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an offer."""

    state: str
    """"nothing", "installed" (to be tried from the next start on), "refused", "later"."""
    version: Version | None = None
    why: str = ""
    is_news: bool = False
    """Whether this is not what was said of it the last time."""


def read_offer(value: JSON) -> Offer | None:
    """The release in an answer; None if there is none. Raises `TrustError` for nonsense."""
    if value is None:
        return None
    try:
        size, sha256 = value["manifest"]["size"], value["manifest"]["sha256"]
        mirrors = value.get("mirrors", [])
        if type(size) is not int or not 0 < size <= manifests.MAX_BYTES:
            raise ValueError(f"a manifest of {size!r} bytes")
        if not isinstance(sha256, str) or not _HASH.match(sha256):
            raise ValueError("a manifest without a hash")
        if not isinstance(mirrors, list) or not all(isinstance(url, str) for url in mirrors):
            raise ValueError("mirrors are addresses")
        return Offer(
            version=read_version(value["version"]),
            manifest_sha256=sha256,
            manifest_size=size,
            mirrors=tuple(mirrors[:MAX_MIRRORS]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrustError(f"the server offers a release that makes no sense: {error}") from None


class Updater:
    """Takes releases for one client; the caller holds the cycle's lock."""

    def __init__(
        self,
        state: State,
        loaded: Loaded[ClientSettings],
        link: Link,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._loaded = loaded
        self._link = link
        self._running = environ.get("QLMDM_SLOT")
        self._broken = bool(environ.get("QLMDM_BROKEN"))
        self._clock = clock

    def take(self, offered: JSON, *, at_once: bool = False) -> Outcome:
        """Install what is offered, if it may be; never raises what an offer can cause.

        `at_once` does not wait for the pause after a failure to end.
        """
        try:
            with RealFiles(self._state.path) as files:
                return self._take(files, offered, at_once=at_once)
        except OSError as error:
            return Outcome(state="later", why=f"{self._state.path}: {error.strerror}")
        except QlmdmError as error:
            return Outcome(state="refused", why=str(error))

    def _take(self, files: RealFiles, offered: JSON, *, at_once: bool) -> Outcome:
        current = layout.current(files)
        offer = read_offer(offered)
        if offer is None or current is None or self._running is None:
            # Without a launcher nobody would run what is installed.
            return Outcome(state="nothing")
        running, version = read_version(self._running), offer.version
        if layout.read_trial(files) is not None:
            return Outcome(state="later", version=version, why="another release is on trial")
        floor = trial.floor(files, broken=self._broken)
        if layout.read_release(files).is_bad(version) or (floor is not None and version <= floor):
            return Outcome(state="nothing", version=version)
        pause = Pause.read(self._state)
        if pause.waits(version, self._clock()) and not at_once:
            return Outcome(state="later", version=version, why=pause.problem)
        try:
            self._install(files, offer, running, floor)
        except (QlmdmError, OSError) as error:
            why = str(error) if isinstance(error, QlmdmError) else f"{error.strerror}"
            is_news = (pause.version, pause.problem) != (str(version), why[:MAX_WHY])
            pause.after(version, self._clock(), why).write(self._state)
            install.clean_up(files, keep=(running,))
            state = "refused" if isinstance(error, TrustError) else "later"
            return Outcome(state=state, version=version, why=why, is_news=is_news)
        self._state.remove(UPDATE_STATE)
        fetch.forget(self._download)
        install.clean_up(files, keep=(running,))
        return Outcome(state="installed", version=version)

    @property
    def _download(self) -> str:
        return os.path.join(self._state.path, layout.DOWNLOAD)

    def _install(
        self, files: RealFiles, offer: Offer, running: Version, floor: Version | None
    ) -> None:
        core, version = self._loaded.core, offer.version
        places = fetch.sources(
            Transport(core.server_url, ca_file=core.ca_file, timeout=core.network_timeout),
            offer.mirrors,
            ca_file=core.ca_file,
            timeout=core.network_timeout,
        )
        path = fetch.fetch(
            self._download, places, sha256=offer.manifest_sha256, size=offer.manifest_size
        )
        with open(path, "rb") as file:
            document = file.read(manifests.MAX_BYTES + 1)
        manifest = self.verify(document, floor)
        if manifest.version != version:
            raise TrustError(f"offered as {version}, but it is {manifest.version}")
        wrong = hooks.objections(self._loaded, _describe(manifest))
        if wrong:
            raise TrustError(f"a plugin objects to release {version}: {wrong[0]}")
        tar = fetch.fetch(
            self._download, places, sha256=manifest.tar_sha256, size=manifest.tar_size
        )
        root_document = self._state.read(identities.ROOT)
        if root_document is None:
            raise SpoolError(f"{self._state.path}/{identities.ROOT} is missing")
        with open(tar, "rb") as stream:
            install.install(
                files,
                manifest=manifest,
                document=document,
                root_document=root_document,
                tar=stream,
            )
        try:
            selftest.run(os.path.join(self._state.path, layout.slot_path(version)))
        except TrustError as error:
            raise TrustError(f"release {version}: {error}") from None
        trial.arm(files, version, running)

    def verify(self, document: bytes, floor: Version | None) -> Manifest:
        """The manifest in a document, if it may be installed here and now; `TrustError`."""
        root = self._link.root
        manifest = manifests.verify(document, root, self._link.verifier)
        now = max(self._clock(), self._link.memory.server_at)
        at = datetime.fromtimestamp(now, timezone.utc)
        manifests.check_installable(manifest, root, now=at, above=floor)
        install.check_fits(manifest, python=sys.version_info[:2], machine=os.uname().machine)
        return manifest


def _describe(manifest: Manifest) -> dict[str, JSON]:
    """What plugins are told of a release."""
    return {
        "version": str(manifest.version),
        "issued_at": manifest.issued_at.isoformat(),
        "files": [file.path for file in manifest.files],
    }
