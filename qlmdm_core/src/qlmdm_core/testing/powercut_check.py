"""What must hold of a client's disk whenever its machine is switched on again.

`check_disk` has eyes of its own: it compares bytes with what the test built, and never asks
the code under test whether all is well. `Facts` is what the client may rely on at that moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from qlmdm_core.client.release import launchers, layout, trial
from qlmdm_core.manifest import Version, read_version
from qlmdm_core.rootdoc import Root
from qlmdm_core.signing.interface import Verifier
from qlmdm_core.testing.powercut import ModelFiles
from qlmdm_core.testing.powercut_disk import Node
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
    before: dict[Version, Version] = field(default_factory=dict)
    """What ran when a release was put on trial: what is gone back to once it is committed."""
    whole: set[Version] = field(default_factory=set)
    """Slots that are there, whole, until they are cleaned up."""
    spoilt: set[Version] = field(default_factory=set)
    """Slots that the disk broke; the release before is to be run instead."""


def check_disk(files: ModelFiles, site: Site, facts: Facts) -> None:
    """Raise `AssertionError` unless what is on the disk can be run, and nothing was forgotten."""
    state = json.loads(files.read(layout.RELEASE, 1 << 16))
    on_trial = layout.read_trial(files)
    destination = files.readlink(layout.CURRENT)
    folder, _, name = destination.rpartition("/")
    _hold(folder == layout.SLOTS, f"current leads to {destination}")
    current = read_version(name)
    previous = on_trial.previous if on_trial is not None else _version(state["previous"])
    if current in facts.spoilt and differences(files, site, current):
        _hold(previous is not None, "nothing to run instead")
        check_slot(files, site, previous or current)
    else:
        check_slot(files, site, current)
    high = read_version(state["high"])
    _hold(high >= current, f"{current} runs, above the high-water mark {high}")
    _hold(high >= facts.high, f"the high-water mark {high} has forgotten {facts.high}")
    _hold(
        {str(version) for version in facts.bad} <= set(state["bad"]), f"forgot what is bad: {state}"
    )
    for version in facts.bad:
        _hold(current != version, f"{version} was given up, and runs")
    for version in facts.whole - facts.spoilt - facts.bad:
        check_slot(files, site, version)
    if facts.committed is not None and facts.committed not in facts.spoilt:
        _hold(current >= facts.committed, f"{facts.committed} was committed; {current} runs")
        _hold(
            on_trial is None or on_trial.slot > facts.committed, f"on trial once more: {on_trial}"
        )
    if on_trial is None and current in facts.before:
        _hold(previous == facts.before[current], f"{previous} was not what ran before {current}")
    if on_trial is not None:
        _hold(on_trial.previous is not None, "nothing to go back to")
        starts = facts.starts.get(on_trial.slot, 0)
        _hold(
            on_trial.tries_left <= trial.TRIES - starts,
            f"a try was forgotten: {on_trial} after {starts} starts",
        )
        for side in (on_trial.slot, on_trial.previous):
            if side is not None and side not in facts.spoilt:
                check_slot(files, site, side)
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


def check_slot(files: ModelFiles, site: Site, version: Version) -> None:
    """Raise `AssertionError` unless a slot holds exactly what the release was built of."""
    wrong = differences(files, site, version)
    _hold(not wrong, wrong)


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


def _contents(files: ModelFiles, folder: str) -> dict[str, bytes]:
    """All files below a folder; of a folder that is not there, none."""
    found: dict[str, bytes] = {}
    node: Node | None = files.disk.root
    for part in folder.split("/"):
        node = None if node is None else node.names.get(part)
    waiting = [("", node)] if node is not None else []
    while waiting:
        path, node = waiting.pop()
        if node.kind == "dir":
            waiting += [(f"{path}/{name}", child) for name, child in node.names.items()]
        else:
            found[path[1:]] = bytes(node.data)
    return found


def _version(text: str | None) -> Version | None:
    return None if text is None else read_version(text)


def _hold(condition: object, otherwise: object) -> None:
    if not condition:
        raise AssertionError(otherwise)
