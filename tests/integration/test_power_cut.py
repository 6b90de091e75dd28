"""Whenever the machine stops in the middle of an update, it runs the old release or the new one.

A fault happens at each call by which a client's releases change the disk, on a model of a
file system that forgets what was not fsynced. What must hold is said in
`testing/powercut_client.py`, what the model can't show in docs/adr/0090.
"""

from __future__ import annotations

import contextlib
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import pytest

from qlmdm_core.client.release import bootstrap, selftest
from qlmdm_core.manifest import Version, read_version
from qlmdm_core.signing.sequoia import SequoiaVerifier
from qlmdm_core.testing.powercut import KINDS, Fault, Kind, ModelFiles, Stopped
from qlmdm_core.testing.powercut_check import Facts, Site, check_disk, differences
from qlmdm_core.testing.powercut_scenarios import (
    SCENARIOS,
    Scenario,
    prepare,
    record_calls,
    try_fault,
    try_twice,
)
from qlmdm_core.testing.releases import Built, build, sign_root
from qlmdm_core.testing.trust import make_ring, whole_second

NAMES = [scenario.name for scenario in SCENARIOS]


def contents(version: str) -> dict[str, bytes]:
    """Files that change from release to release, one that does not, and one that comes and goes."""
    files = {
        "launcher/launcher.py": b"print('the launcher')\n" * (1 if version < "1.3" else 2),
        "launcher/lib/module.py": b"as small as this\n",
        "lib/agent/__init__.py": b"VERSION = '%s'  # and what there is to it\n" % version.encode(),
        "lib/agent/same.py": b"the same in all of them\n",
        "settings.yml": b"server:\n  url: http://%s.example/\n" % version.encode(),
    }
    return files | ({"lib/odd/gone.py": b"x" * 99} if version[-1] in "13" else {"lib/even.py": b""})


@pytest.fixture(scope="module")
def site() -> Site:
    with tempfile.TemporaryDirectory(prefix="qlmdm-") as home:
        ring = make_ring(home, ["root", "release", "operator", "online"])
    now = whole_second(datetime.now(timezone.utc))
    root = ring.root(now=now)
    made: dict[Version, Built] = {}
    for name in ("1.1", "1.2", "1.3", "1.4"):
        made[read_version(name)] = build(ring, name, contents(name), now=now)
    return Site(
        root=root,
        root_document=sign_root(ring, root),
        verifier=SequoiaVerifier(),
        releases=made,
        contents={version: contents(str(version)) for version in made},
    )


def named(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


@pytest.mark.parametrize("name", NAMES)
def test_a_power_cut_after_any_call_leaves_the_old_release_or_the_new_one(
    site: Site, name: str
) -> None:
    scenario = named(name)
    assert len(record_calls(site, scenario, prepare(site, scenario), seeds=5)) > 40


def run(site: Site, name: str, step: int, seeds: range) -> None:
    scenario = named(name)
    start = prepare(site, scenario)
    calls = len(record_calls(site, scenario, start, seeds=0))
    for n, kind in enumerate(KINDS):
        for call in range(1 + n % step, calls + 1, step):
            try_fault(site, scenario, start, Fault(kind, call), [s + call for s in seeds])
    try_fault(site, scenario, start, None, seeds)


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_at_some_calls_leaves_the_old_release_or_the_new_one(site: Site, name: str) -> None:
    run(site, name, step=23, seeds=range(2))


def test_a_kill_after_a_rename_and_a_power_cut_later(site: Site) -> None:
    """Whoever goes on after the kill may not rely on a name that nobody made durable."""
    scenario = named("update")
    start = prepare(site, scenario)
    calls = record_calls(site, scenario, start, seeds=0)
    renames = [n for n, call in enumerate(calls, 1) if call.startswith("rename slots/")]
    assert renames
    for call in renames:
        try_fault(site, scenario, start, Fault("kill", call + 1), range(2))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_a_fault_at_any_call_leaves_the_old_release_or_the_new_one(site: Site, name: str) -> None:
    run(site, name, step=1, seeds=range(100, 104))


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_installation_that_was_cut_off_is_finished_by_the_next(
    site: Site, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "run", lambda slot: None)
    version = read_version("1.1")
    built = site.releases[version]
    tar = tmp_path / "release.tar"
    tar.write_bytes(built.tar)
    release = bootstrap.Release(
        root_document=site.root_document,
        document=built.document,
        manifest=built.manifest,
        tar=str(tar),
    )

    def install(files: ModelFiles) -> None:
        bootstrap.put_in_place(cast("Any", files), release)

    files = ModelFiles()
    install(files)
    calls = files.calls
    facts = Facts(high=version, whole={version})
    for call in range(1, calls + 1, 2):
        files = ModelFiles(fault=Fault(kind, call))
        with contextlib.suppress(Stopped, OSError):
            install(files)
        for seed in range(3):
            after = ModelFiles(files.disk)
            after.restart(seed=seed)
            if after.stat("current") is not None:
                assert differences(after, site, version) == []
            install(after)
            check_disk(after, site, facts)
            after.restart(seed=seed)
            check_disk(after, site, facts)


@pytest.mark.parametrize("name", NAMES)
def test_faults_while_a_fault_is_mended(site: Site, name: str) -> None:
    scenario = named(name)
    start = prepare(site, scenario)
    for seed in range(20):
        try_twice(site, scenario, start, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_many_faults_while_faults_are_mended(site: Site, name: str) -> None:
    scenario = named(name)
    start = prepare(site, scenario)
    for seed in range(1000, 1600):
        try_twice(site, scenario, start, seed)
