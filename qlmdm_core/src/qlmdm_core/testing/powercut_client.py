"""A client on a disk that fails: what it does from one start by cron to the next.

`Client` is the launcher's own `Supervisor` and the agent's own `Updater` on a `ModelFiles`;
only processes are calls, and nothing is fetched. It writes down what may be relied on once a
function has returned (`powercut_check.Facts`).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn, cast

from qlmdm_core import manifest as manifests
from qlmdm_core.api import JSON
from qlmdm_core.client.release import install, launchers, layout, trial
from qlmdm_core.client.release.supervise import CRON, Supervisor
from qlmdm_core.client.release.update import Offer, Outcome, Updater
from qlmdm_core.errors import QlmdmError
from qlmdm_core.manifest import Manifest, Version, read_version
from qlmdm_core.testing.powercut import ModelFiles
from qlmdm_core.testing.powercut_check import Facts, Site, check_slot


class _HandedOverError(Exception):
    """The launcher would now become the command of this slot."""

    def __init__(self, slot: Version, broken: bool) -> None:
        super().__init__(slot)
        self.slot, self.broken = slot, broken


class _Launcher(Supervisor):
    """The real one; only that processes are functions of the test."""

    def __init__(self, client: Client) -> None:
        self._files: Any = client.files
        self._here = "launcher"
        self._verifier: Any = client.site.verifier
        self._client = client

    def _take_lock(self) -> bool:
        return True

    def _become(self, slot: Version, argv: Sequence[str], more: Mapping[str, str]) -> NoReturn:
        del argv
        raise _HandedOverError(slot, "QLMDM_BROKEN" in more)

    def _start(self, argv: list[str], more: Mapping[str, str], seconds: float) -> tuple[int, str]:
        del seconds
        client = self._client
        try:
            if "QLMDM_LAUNCHER_TRIAL" in more:
                return client.run_through_launcher(read_version(more["QLMDM_LAUNCHER_TRIAL"]))
            slot = read_version(argv[argv.index("--run") + 1])
            if argv[-1] == "--poll":
                return client.poll(slot)
            return client.run_on_trial(slot)
        except (OSError, QlmdmError) as error:
            return 3, str(error)

    def _try_launcher(self) -> int | None:
        status = super()._try_launcher()
        given_up = layout.read_release(self._files).bad_launchers
        self._client.facts.bad_launchers |= {read_version(name) for name in given_up}
        return status

    def _gave_up(self, version: Version, why: str) -> int:
        status = super()._gave_up(version, why)
        self._client.facts.bad.add(version)
        return status


class Client:
    """One machine. It lives on through restarts; what it had in memory does not."""

    def __init__(
        self,
        files: ModelFiles,
        site: Site,
        *,
        offered: Version,
        facts: Facts,
        fail: Collection[Version] = (),
        fail_launchers: Collection[Version] = (),
    ) -> None:
        self.files = files
        self.site = site
        self.offered = offered
        """The release that the server offers."""
        self.facts = facts
        self.fail = frozenset(fail)
        """Releases whose cycles never end in an answer."""
        self.fail_launchers = frozenset(fail_launchers)
        self.network = True
        self.ran: Version | None = None
        """Which release the last start came to; None: nothing was run."""

    def cycle(self) -> None:
        """One start by cron. Raises what the code under test raises."""
        self.ran = None
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                _Launcher(self).run([CRON])
            except _HandedOverError as handed:
                self.run(handed.slot, broken=handed.broken)

    # --- what a slot's code does ----------------------------------------------------------------

    def poll(self, slot: Version) -> tuple[int, str]:
        """Ask whether there is news; nothing is done about it."""
        check_slot(self.files, self.site, slot)
        through = self.network and slot not in self.fail
        on_trial = layout.read_trial(self.files)
        if not through and on_trial is not None:
            self.facts.starts[on_trial.slot] -= 1  # it proved nothing
        return (0, "") if through else (1, "no answer")

    def run_on_trial(self, slot: Version) -> tuple[int, str]:
        """A whole cycle of a release that is on trial, and what `proof` does after it."""
        check_slot(self.files, self.site, slot)
        self.facts.starts[slot] = self.facts.starts.get(slot, 0) + 1
        if slot in self.fail or not self.network:
            return 1, "no answer"
        launchers.propose(self.files, self._manifest(slot))
        committed = trial.commit(self.files)
        assert committed == slot, f"{committed} was committed, {slot} was run"  # noqa: S101
        self.facts.committed = slot
        self.forget_what_is_not_needed(slot)
        install.clean_up(self.files)
        return 0, ""

    def run_through_launcher(self, launcher: Version) -> tuple[int, str]:
        """A whole cycle, started by a launcher that is on trial."""
        if launcher in self.fail_launchers or not self.network:
            return 1, "no answer"
        self.facts.committed_launcher = launchers.commit(self.files)
        return 0, ""

    def run(self, slot: Version, *, broken: bool) -> None:
        """A cycle of the release that is committed, or of the one before it."""
        check_slot(self.files, self.site, slot)
        self.ran = slot
        if slot not in self.fail and self.network:
            _Updater(self, slot, broken=broken).take(self.site.releases[self.offered].offer())

    def install(self, version: Version) -> None:
        """Put a release onto the disk."""
        built = self.site.releases[version]
        install.install(
            self.files,
            manifest=self._manifest(version),
            document=built.document,
            root_document=self.site.root_document,
            tar=io.BytesIO(built.tar),
        )
        self.facts.whole.add(version)
        self.facts.spoilt.discard(version)

    def _manifest(self, version: Version) -> Manifest:
        document = self.site.releases[version].document
        return manifests.verify(document, self.site.root, self.site.verifier)

    def forget_what_is_not_needed(self, running: Version) -> None:
        """What may be taken away from now on need not be whole."""
        on_trial = layout.read_trial(self.files)
        needed = {layout.current(self.files), layout.read_release(self.files).previous, running}
        if on_trial is not None:
            needed |= {on_trial.slot, on_trial.previous}
        self.facts.whole &= needed


class _Updater(Updater):
    """The real one; only that nothing is fetched, and that the new slot tests itself in mind."""

    def __init__(self, client: Client, slot: Version, *, broken: bool) -> None:
        self._client = client
        self._running = str(slot)
        self._broken = broken
        self._state: Any = _NoState()

    def take(self, offered: JSON, *, at_once: bool = True) -> Outcome:
        self._client.forget_what_is_not_needed(read_version(cast("str", self._running)))
        return self._take(cast("Any", self._client.files), offered, at_once=at_once)

    @property
    def _download(self) -> str:
        return "/nonexistent/qlmdm"

    def _clock(self) -> float:
        return self._client.site.root.issued_at.timestamp()

    def _install(
        self, files: object, offer: Offer, running: Version, floor: Version | None
    ) -> None:
        del files  # the client's own
        client = self._client
        manifests.check_installable(
            client.site.releases[offer.version].manifest,
            client.site.root,
            now=client.site.root.issued_at,
            above=floor,
        )
        client.install(offer.version)
        client.facts.starts.pop(offer.version, None)
        client.facts.before[offer.version] = running
        trial.arm(client.files, offer.version, running)
        client.facts.high = offer.version


class _NoState:
    """The client's other small files: nothing is remembered of updates that failed."""

    def read_json(self, name: str) -> None:
        """There is no such file."""

    def write_json(self, name: str, value: object) -> None:
        """Forget it."""

    def remove(self, name: str) -> None:
        """There is none."""
