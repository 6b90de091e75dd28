"""What a client goes through with releases, each with every fault at every call that writes.

A `Scenario` is a disk on which all is well, and what happens then. `try_fault` lets it happen
with a fault, switches the machine off and on, checks the disk, and lets the client go on until
it runs what it should.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qlmdm_core.client.release import launchers, layout, trial
from qlmdm_core.errors import QlmdmError
from qlmdm_core.manifest import Version
from qlmdm_core.testing.powercut import KINDS, Fault, Kind, ModelFiles, Stopped
from qlmdm_core.testing.powercut_client import Client, Facts, Site, check_disk
from qlmdm_core.testing.powercut_disk import Disk

OLD, NOW_RUNNING, NEXT, LATER = Version(1, 1), Version(1, 2), Version(1, 3), Version(1, 4)
CYCLES = 12
"""After so many starts without a fault, a client has got where it should."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One story."""

    name: str
    act: Callable[[Client], None]
    """What happens, by the client's own functions."""
    fail: frozenset[Version] = frozenset()
    """Releases that never get an answer."""
    fail_launchers: frozenset[Version] = frozenset()
    spoil: Callable[[ModelFiles], None] | None = None
    """Done to the disk beforehand."""
    offered_after: Version = NEXT
    """What the server offers after the fault, and what must run in the end."""


def _cycles(count: int) -> Callable[[Client], None]:
    def act(client: Client) -> None:
        for _ in range(count):
            client.cycle()

    return act


def _away_then_back(client: Client) -> None:
    client.cycle()
    client.network = False
    client.cycle()
    client.cycle()
    client.network = True
    for _ in range(trial.TRIES + 1):
        client.cycle()


def _spoil_next(files: ModelFiles) -> None:
    """A slot of the next release is there already, and is not what was signed."""
    slot = layout.slot_path(NEXT)
    files.mkdir(slot)
    files.close(files.create(f"{slot}/settings.yml", 0o644))


SCENARIOS = (
    Scenario(name="update", act=_cycles(5)),
    Scenario(
        name="rollback",
        act=_cycles(trial.TRIES + 2),
        fail=frozenset({NEXT}),
        offered_after=LATER,
    ),
    Scenario(name="network away", act=_away_then_back, fail=frozenset({NEXT}), offered_after=LATER),
    Scenario(
        name="launcher given up",
        act=_cycles(trial.TRIES + 4),
        fail_launchers=frozenset({NEXT}),
        offered_after=LATER,
    ),
    Scenario(name="spoilt slot in the way", act=_cycles(2), spoil=_spoil_next),
)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A disk before a scenario, and what the client knows."""

    disk: Disk
    facts: Facts


def prepare(site: Site, scenario: Scenario) -> Start:
    """A client that runs its second release, which is committed; the first is still there."""
    files = ModelFiles()
    facts = Facts(high=OLD)
    client = Client(files, site, offered=NOW_RUNNING, facts=facts)
    first = site.releases[OLD].manifest
    layout.make_folder(files, layout.SLOTS)
    client.install(first)
    layout.write_file(files, "root.json", site.root_document)
    layout.point(files, layout.CURRENT, layout.SLOTS, OLD)
    layout.write_release(files, layout.ReleaseState(high=OLD))
    launchers.install(files, first)
    layout.point(files, layout.LAUNCHER, layout.LAUNCHERS, OLD)
    for _ in range(2):
        client.cycle()
    if scenario.spoil is not None:
        scenario.spoil(files)
    files.disk.sync_all()
    check_disk(files, site, facts)
    return Start(disk=files.disk, facts=facts)


def count_calls(site: Site, scenario: Scenario, start: Start) -> int:
    """How many calls write when nothing goes wrong; checks that the end is reached."""
    client = _client(site, scenario, start, None)
    scenario.act(client)
    calls = client.files.calls
    check_disk(client.files, site, client.facts)
    _reach_the_newest(client, scenario)
    return calls


def try_fault(
    site: Site, scenario: Scenario, start: Start, fault: Fault | None, seeds: Iterable[int]
) -> bool:
    """Raise `AssertionError` if a client does not survive this; whether it happened at all.

    Without a fault the power fails after the last call. The losses are chosen by each seed
    in turn; a process that was killed, or told of an error, also goes on without any.
    """
    client = _client(site, scenario, start, fault)
    try:
        scenario.act(client)
    except Stopped:
        pass
    except (OSError, QlmdmError):
        if fault is None or not client.files.happened:
            raise
    if fault is not None and not client.files.happened:
        return False
    log = client.files.log
    if fault is not None and fault.kind in ("disk full", "I/O error"):
        _try_again_at_once(client)
    for seed in (*([None] if fault is not None and fault.kind != "power cut" else []), *seeds):
        again = copy.copy(client)
        again.facts = copy.deepcopy(client.facts)
        # A power cut makes another disk, and leaves this one as it is.
        disk = client.files.disk
        again.files = ModelFiles(copy.deepcopy(disk) if seed is None else disk)
        again.files.restart(seed=seed)
        try:
            check_disk(again.files, site, again.facts)
            _reach_the_newest(again, scenario)
        except Exception as error:
            raise AssertionError(
                f"{scenario.name}: {fault or 'the end'} after {log[-1]}, seed {seed}: "
                f"{type(error).__name__}: {error}"
            ) from error
    return True


def try_twice(site: Site, scenario: Scenario, start: Start, seed: int) -> None:
    """A fault, and while the client mends what it left, some more of them."""
    rng = random.Random(seed)  # noqa: S311 - a test
    client = _client(site, scenario, start, Fault("power cut", rng.randint(1, 60)))
    for _ in range(4):
        try:
            scenario.act(client)
        except Stopped:
            pass
        except (OSError, QlmdmError):
            if not client.files.happened:
                raise
        kind: Kind = rng.choice(("power cut", *KINDS))
        client.files.restart(seed=rng.getrandbits(32), fault=Fault(kind, rng.randint(1, 60)))
        check_disk(client.files, site, client.facts)
    client.files.restart(seed=rng.getrandbits(32))
    _reach_the_newest(client, scenario)


def _client(site: Site, scenario: Scenario, start: Start, fault: Fault | None) -> Client:
    files = ModelFiles(start.disk)
    files.restart(seed=0, fault=fault)  # another disk with the same on it: all was fsynced
    return Client(
        files,
        site,
        offered=NEXT,
        fail=scenario.fail,
        fail_launchers=scenario.fail_launchers,
        facts=copy.deepcopy(start.facts),
    )


def _try_again_at_once(client: Client) -> None:
    """The next minute, on a disk that is still full; what runs is whole all the same."""
    check_disk(client.files, client.site, client.facts)
    try:
        client.cycle()
    except (OSError, QlmdmError):
        if client.files.fault is not None and client.files.fault.kind != "disk full":
            raise
    check_disk(client.files, client.site, client.facts)


def _reach_the_newest(client: Client, scenario: Scenario) -> None:
    """Without faults, within `CYCLES` starts; and then all is as if nothing had happened."""
    client.offered, client.network = scenario.offered_after, True
    for _ in range(CYCLES):
        client.cycle()
        check_disk(client.files, client.site, client.facts)
        if _is_there(client, scenario):
            break
    client.cycle()
    check_disk(client.files, client.site, client.facts)
    if not _is_there(client, scenario):
        raise AssertionError(
            f"{layout.current(client.files)} with launcher {launchers.pointed(client.files)} runs, "
            f"where {scenario.offered_after} is to be had"
        )
    left = set(client.files.names(layout.SLOTS))
    kept = {str(scenario.offered_after), str(layout.read_release(client.files).previous)}
    if left != kept:
        raise AssertionError(f"slots that nobody needs: {sorted(left - kept)}")


def _is_there(client: Client, scenario: Scenario) -> bool:
    newest, files = scenario.offered_after, client.files
    launcher = launchers.pointed(files)
    return (
        layout.current(files) == newest
        and layout.read_trial(files) is None
        and layout.read_trial(files, layout.LAUNCHER_TRIAL) is None
        # Two releases may bring the same launcher; it is not replaced by itself.
        and launcher is not None
        and not launchers.differences(files, launcher, client.site.releases[newest].manifest)
    )
