"""A client on a disk that fails: what it does from one start by cron to the next, and what must
hold of its disk whenever it is switched on again.

`Client` is the launcher's own `Supervisor`, and what the agent does with releases by the same
functions, on a `ModelFiles`; only processes are calls. It writes down what may be relied on
once a function has returned (`Facts`). `check_disk` looks at the disk with eyes of its own: it
compares bytes with what the test built, and never asks the code under test whether all is well.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from qlmdm_core import manifest as manifests
from qlmdm_core.client.release import install, launchers, layout, trial
from qlmdm_core.client.release.supervise import CRON, Supervisor
from qlmdm_core.errors import QlmdmError, TrustError
from qlmdm_core.manifest import Version, read_version
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.interface import Verifier
from qlmdm_core.testing.powercut import ModelFiles
from qlmdm_core.testing.releases import Built


@dataclass(frozen=True, kw_only=True)
class Site:
    """A server's keys and all releases that it ever made."""

    root: Root
    root_document: bytes
    verifier: Verifier
    releases: Mapping[Version, Built]
    contents: Mapping[Version, Mapping[str, bytes]]
    """Of each release, each file's bytes."""


@dataclass
class Facts:
    """What the client may rely on, since a function returned that promises it."""

    high: Version
    """No release up to this one may ever be installed again."""
    bad: set[Version] = field(default_factory=set)
    bad_launchers: set[Version] = field(default_factory=set)
    starts: dict[Version, int] = field(default_factory=dict)
    """How often a release on trial was started; what proved nothing not counted."""
    committed: Version | None = None
    committed_launcher: Version | None = None
    whole: set[Version] = field(default_factory=set)
    """Slots that are there, whole, until they are cleaned up."""


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

    def cycle(self) -> None:
        """One start by cron. Raises what the code under test raises."""
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                _Launcher(self).run([CRON])
            except _HandedOverError as handed:
                self._run(handed.slot, broken=handed.broken)

    # --- what a slot's code does ----------------------------------------------------------------

    def poll(self, slot: Version) -> tuple[int, str]:
        """Ask whether there is news; nothing is done about it."""
        through = self.network and slot not in self.fail
        if not through and (on_trial := layout.read_trial(self.files)) is not None:
            self.facts.starts[on_trial.slot] -= 1  # it proved nothing
        return (0, "") if through else (1, "no answer")

    def run_on_trial(self, slot: Version) -> tuple[int, str]:
        """A whole cycle of a release that is on trial."""
        self.facts.starts[slot] = self.facts.starts.get(slot, 0) + 1
        if slot in self.fail or not self.network:
            return 1, "no answer"
        committed = trial.commit(self.files)
        _hold(committed == slot, f"{committed} was committed, {slot} was run")
        self.facts.committed = slot
        return 0, ""

    def run_through_launcher(self, launcher: Version) -> tuple[int, str]:
        """A whole cycle, started by a launcher that is on trial."""
        if launcher in self.fail_launchers or not self.network:
            return 1, "no answer"
        self.facts.committed_launcher = launchers.commit(self.files)
        return 0, ""

    def _run(self, slot: Version, *, broken: bool) -> None:
        """A cycle of the release that is committed."""
        if slot in self.fail or not self.network:
            return
        if layout.read_trial(self.files) is not None:
            return
        if not broken:
            manifest = self.site.releases[slot].manifest
            launchers.propose(self.files, manifest)
            state = layout.read_release(self.files)
            self.facts.whole &= {slot, *([state.previous] if state.previous else [])}
            install.clean_up(self.files)
        self._update(slot, broken=broken)

    def _update(self, slot: Version, *, broken: bool) -> None:
        """Take what the server offers, if it is new here."""
        built = self.site.releases[self.offered]
        root = self.site.root
        manifest = manifests.verify(built.document, root, self.site.verifier)
        floor = trial.floor(self.files, broken=broken)
        try:
            manifests.check_installable(manifest, root, now=root.issued_at, above=floor)
        except TrustError:
            return
        self.install(manifest)
        if manifest.version == layout.current(self.files):
            return
        trial.arm(self.files, manifest.version, slot)
        self.facts.high = manifest.version

    def install(self, manifest: manifests.Manifest) -> None:
        """Put a release onto the disk."""
        built = self.site.releases[manifest.version]
        install.install(
            self.files,
            manifest=manifest,
            document=built.document,
            root_document=self.site.root_document,
            tar=io.BytesIO(built.tar),
        )
        self.facts.whole.add(manifest.version)


def check_disk(files: ModelFiles, site: Site, facts: Facts) -> None:
    """Raise `AssertionError` unless what is on the disk can be run, and nothing was forgotten."""
    state = json.loads(files.read(layout.RELEASE, 1 << 16))
    on_trial = layout.read_trial(files)
    destination = files.readlink(layout.CURRENT)
    folder, _, name = destination.rpartition("/")
    _hold(folder == layout.SLOTS, f"current leads to {destination}")
    current = read_version(name)
    _hold(not differences(files, site, current), differences(files, site, current))
    high = read_version(state["high"])
    _hold(high >= current, f"{current} runs, above the high-water mark {high}")
    _hold(high >= facts.high, f"the high-water mark {high} has forgotten {facts.high}")
    _hold(
        {str(version) for version in facts.bad} <= set(state["bad"]), f"forgot what is bad: {state}"
    )
    for version in facts.bad:
        _hold(current != version, f"{version} was given up, and runs")
    for version in facts.whole:
        _hold(not differences(files, site, version), differences(files, site, version))
    if facts.committed is not None:
        _hold(current >= facts.committed, f"{facts.committed} was committed; {current} runs")
        _hold(
            on_trial is None or on_trial.slot > facts.committed, f"on trial once more: {on_trial}"
        )
    if on_trial is not None:
        _hold(on_trial.previous is not None, "nothing to go back to")
        starts = facts.starts.get(on_trial.slot, 0)
        _hold(
            on_trial.tries_left <= trial.TRIES - starts,
            f"a try was forgotten: {on_trial} after {starts} starts",
        )
    for side in (on_trial.slot, on_trial.previous) if on_trial is not None else ():
        if side is not None:
            _hold(not differences(files, site, side), differences(files, site, side))
    _check_launcher(files, site, facts, state.get("bad_launchers", {}))


def _check_launcher(files: ModelFiles, site: Site, facts: Facts, bad: Mapping[str, str]) -> None:
    """The program that cron starts is whole, and is one that proved itself."""
    destination = files.readlink(layout.LAUNCHER)
    version = read_version(destination.removeprefix(f"{layout.LAUNCHERS}/"))
    wanted = {
        path.removeprefix(launchers.FOLDER): content
        for path, content in site.contents[version].items()
        if path.startswith(launchers.FOLDER)
    }
    found = _contents(files, destination)
    _hold(found == wanted, f"{destination} has {found!r:.200}")
    names = {str(launcher) for launcher in facts.bad_launchers}
    _hold(names <= set(bad), f"forgot which launchers are bad: {bad}")
    _hold(str(version) not in bad, f"the launcher of {version} was given up, and is started")
    if facts.committed_launcher is not None:
        _hold(version >= facts.committed_launcher, f"{facts.committed_launcher} was committed")
    on_trial = layout.read_trial(files, layout.LAUNCHER_TRIAL)
    if on_trial is not None and on_trial.slot != version:
        _hold(on_trial.previous == version, f"{version} is started, where {on_trial} is tried")


def differences(files: ModelFiles, site: Site, version: Version) -> list[str]:
    """How a slot differs from what the release was built of."""
    slot = f"{layout.SLOTS}/{version}"
    wanted = {
        **site.contents[version],
        layout.MANIFEST: site.releases[version].document,
        layout.ROOT_COPY: site.root_document,
    }
    found = _contents(files, slot)
    return [
        f"{slot}/{path}: {found.get(path)!r:.60}, not {wanted.get(path)!r:.60}"
        for path in sorted({*wanted, *found})
        if found.get(path) != wanted.get(path)
    ]


def _contents(files: ModelFiles, folder: str, below: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if files.stat(folder) is None:
        return found
    for name in files.names(folder):
        path = f"{folder}/{name}"
        stat = files.stat(path)
        if stat is not None and stat.kind == "dir":
            found |= _contents(files, path, f"{below}{name}/")
        else:
            found[below + name] = files.read(path, 1 << 20)
    return found


def _hold(condition: object, otherwise: object) -> None:
    if not condition:
        raise AssertionError(otherwise)
