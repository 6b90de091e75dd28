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

from qlmdm_core.client.release import install, launchers, layout, trial
from qlmdm_core.errors import QlmdmError
from qlmdm_core.manifest import Version
from qlmdm_core.testing.powercut import KINDS, Fault, ModelFiles, Stopped
from qlmdm_core.testing.powercut_check import Facts, Site, check_disk, check_slot
from qlmdm_core.testing.powercut_client import Client
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
    spoil: Callable[[Client], None] | None = None
    """What the disk did to it beforehand."""
    offered: Version = NEXT
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


def _spoil(files: ModelFiles, version: Version) -> None:
    """One file of a slot has other bytes, of the same length; the signed manifest is right."""
    path = f"{layout.slot_path(version)}/settings.yml"
    size = len(files.read(path, 1 << 20))
    files.unlink(path)
    handle = files.create(path, 0o644)
    files.write(handle, b"#" * size)
    files.close(handle)


def _next_is_there_spoilt(client: Client) -> None:
    client.install(NEXT)
    client.facts.whole.discard(NEXT)
    _spoil(client.files, NEXT)


def _next_is_on_trial_spoilt(client: Client) -> None:
    client.offered = NEXT
    client.cycle()
    client.facts.spoilt.add(NEXT)
    client.facts.whole.discard(NEXT)
    _spoil(client.files, NEXT)


def _what_runs_is_spoilt(client: Client) -> None:
    client.facts.spoilt.add(NOW_RUNNING)
    client.facts.whole.discard(NOW_RUNNING)
    client.facts.committed = None
    _spoil(client.files, NOW_RUNNING)


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
    Scenario(name="spoilt slot in the way", act=_cycles(2), spoil=_next_is_there_spoilt),
    Scenario(name="spoilt slot on trial", act=_cycles(3), spoil=_next_is_on_trial_spoilt),
    Scenario(
        name="spoilt slot that runs",
        act=_cycles(2),
        spoil=_what_runs_is_spoilt,
        offered=NOW_RUNNING,
    ),
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
    client.install(OLD)
    layout.write_file(files, "root.json", site.root_document)
    layout.point(files, layout.CURRENT, layout.SLOTS, OLD)
    layout.write_release(files, layout.ReleaseState(high=OLD))
    launchers.install(files, first)
    layout.point(files, layout.LAUNCHER, layout.LAUNCHERS, OLD)
    for _ in range(2):
        client.cycle()
    if scenario.spoil is not None:
        scenario.spoil(client)
    files.disk.sync_all()
    check_disk(files, site, facts)
    return Start(disk=files.disk, facts=facts)


def record_calls(site: Site, scenario: Scenario, start: Start, seeds: int) -> list[str]:
    """The calls that write when nothing goes wrong, and the end is reached.

    After each of them it is looked at what so many power cuts would leave.
    """
    client = _client(site, scenario, start, None)
    _cut_everywhere(client, scenario.name, seeds)
    scenario.act(client)
    calls = client.files.log[:]
    check_disk(client.files, site, client.facts)
    _reach_the_newest(client, scenario)
    return calls


def _cut_everywhere(client: Client, story: str, seeds: int) -> None:
    """Look, after each call from now on, at what the power would leave if it failed there."""

    def look() -> None:
        for seed in range(seeds):
            left = ModelFiles(client.files.disk)
            left.restart(seed=1000 * client.files.calls + seed)
            try:
                check_disk(left, client.site, client.facts)
            except Exception as error:
                raise AssertionError(
                    f"{story}, then the power fails after {client.files.log[-3:]}: "
                    f"{type(error).__name__}: {error}"
                ) from error

    client.files.after_call = look


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
        story = f"{scenario.name}: {fault or 'the end'} after {log[-1]}, seed {seed}"
        try:
            check_disk(again.files, site, again.facts)
            if seed is None:
                _cut_everywhere(again, story, 1)
            _reach_the_newest(again, scenario)
        except Exception as error:
            raise AssertionError(f"{story}: {type(error).__name__}: {error}") from error
    return True


def try_twice(site: Site, scenario: Scenario, start: Start, seed: int) -> None:
    """A fault, and while the client mends what it left, some more of them."""
    rng = random.Random(seed)  # noqa: S311 - a test
    client = _client(site, scenario, start, _any_fault(rng))
    for _ in range(4):
        try:
            scenario.act(client)
        except Stopped:
            pass
        except (OSError, QlmdmError):
            if not client.files.happened:
                raise
        fault = client.files.fault
        was_killed = fault is not None and fault.kind == "kill"
        client.files.restart(
            seed=None if was_killed else rng.getrandbits(32), fault=_any_fault(rng)
        )
        check_disk(client.files, site, client.facts)
    client.files.restart(seed=rng.getrandbits(32))
    _reach_the_newest(client, scenario, may_be_given_up=True)


def _was_given_up(client: Client, scenario: Scenario) -> bool:
    """Whether the newest was given up by right: none of its starts came to a good end.

    A release that takes the machine down looks just like four cuts in a row. What was committed
    runs, and the next release will be taken.
    """
    state = layout.read_release(client.files)
    bad = state.is_bad(scenario.offered_after) or bool(state.bad_launchers)
    return bad and client.ran is not None


def _any_fault(rng: random.Random) -> Fault:
    return Fault(rng.choice(KINDS), rng.randint(1, 60))


def _client(site: Site, scenario: Scenario, start: Start, fault: Fault | None) -> Client:
    files = ModelFiles(start.disk)
    files.restart(seed=0, fault=fault)  # another disk with the same on it: all was fsynced
    return Client(
        files,
        site,
        offered=scenario.offered,
        fail=scenario.fail,
        fail_launchers=scenario.fail_launchers,
        facts=copy.deepcopy(start.facts),
    )


def _try_again_at_once(client: Client) -> None:
    """The next minute, on a disk that may still be full; what is committed runs all the same."""
    check_disk(client.files, client.site, client.facts)
    is_full = client.files.fault is not None and client.files.fault.kind == "disk full"
    client.cycle()
    if is_full and client.ran is None:
        raise AssertionError("a full disk keeps what is committed from being run")
    check_disk(client.files, client.site, client.facts)


def _reach_the_newest(client: Client, scenario: Scenario, *, may_be_given_up: bool = False) -> None:
    """Without faults, within `CYCLES` starts; and then all is as if nothing had happened."""
    client.offered, client.network = scenario.offered_after, True
    for _ in range(CYCLES):
        client.cycle()
        check_disk(client.files, client.site, client.facts)
        if _is_there(client, scenario):
            break
    client.cycle()
    check_disk(client.files, client.site, client.facts)
    if may_be_given_up and _was_given_up(client, scenario):
        return
    if not _is_there(client, scenario):
        raise AssertionError(
            f"{layout.current(client.files)} with launcher {launchers.pointed(client.files)} runs, "
            f"where {scenario.offered_after} is to be had; {layout.read_release(client.files)}, "
            f"{layout.read_trial(client.files)}"
        )
    check_slot(client.files, client.site, scenario.offered_after)
    # What a cut left half removed goes with the next update.
    install.clean_up(client.files)
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
