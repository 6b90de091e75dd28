"""No record is lost uncounted and none comes twice, wherever the power fails."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.client.disk import Directory
from qlmdm_core.client.spool import KEPT_FILES, LEDGER, Entry, Spool
from qlmdm_core.errors import SpoolError

DAY = 86400.0
START = 1_790_000_000.0


def record(number: int, size: int = 200) -> dict[str, object]:
    return {"rid": str(uuid.UUID(int=number)), "collectors": {}, "padding": "x" * size}


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


def open_spool(path: Path, clock: Clock, **bounds: float) -> Spool:
    return Spool(
        str(path),
        max_bytes=int(bounds.get("max_bytes", 100_000)),
        max_age=bounds.get("max_age", 30 * DAY),
        now=clock,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    with open_spool(tmp_path / "spool", clock) as opened:
        yield opened


# --- what it does on a good day ------------------------------------------------------------


def test_records_come_back_oldest_first_and_unchanged(spool: Spool, clock: Clock) -> None:
    for number in (3, 1, 2):
        spool.put(record(number))
        clock.now += 60
    entries = spool.pending()
    assert [spool.load(entry) for entry in entries] == [record(3), record(1), record(2)]
    assert [entry.stored_at for entry in entries] == [START, START + 60, START + 120]


def test_order_survives_a_clock_that_is_set_back(spool: Spool, clock: Clock) -> None:
    spool.put(record(1))
    clock.now -= DAY
    spool.put(record(2))
    assert [entry.rid for entry in spool.pending()] == [record(1)["rid"], record(2)["rid"]]


def test_files_are_private(spool: Spool) -> None:
    path = spool.path(spool.put(record(1)))
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700


def test_a_removed_record_is_gone_and_is_no_loss(spool: Spool) -> None:
    spool.remove(spool.put(record(1)))
    assert spool.pending() == []
    assert spool.report()["dropped"] == {}


def test_a_foreign_file_is_left_alone(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "spool" / "notes.txt").write_text("by an administrator")
    spool.put(record(1))
    assert len(spool.pending()) == 1
    assert (tmp_path / "spool" / "notes.txt").exists()


@pytest.mark.parametrize("rid", ["", "../../etc/passwd", "A" * 36, "x" * 36])
def test_an_id_that_is_no_uuid_is_refused(spool: Spool, rid: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        spool.put({"rid": rid})


# --- bounds --------------------------------------------------------------------------------


def test_too_old_records_go_and_are_counted(spool: Spool, clock: Clock) -> None:
    spool.put(record(1))
    clock.now += 20 * DAY
    spool.put(record(2))
    clock.now += 20 * DAY
    spool.put(record(3))
    assert [entry.rid for entry in spool.pending()] == [record(2)["rid"], record(3)["rid"]]
    report = spool.report()
    assert report["dropped"] == {"too_old": 1}
    assert report["recent"][0]["rid"] == record(1)["rid"]
    assert report["recent"][0]["stored_at"] == "2026-09-21T14:13:20Z"


def test_beyond_the_size_the_oldest_go(tmp_path: Path, clock: Clock) -> None:
    with open_spool(tmp_path / "spool", clock, max_bytes=1000) as spool:
        for number in range(1, 6):
            spool.put(record(number))
        pending = spool.pending()
        assert [entry.rid for entry in pending] == [record(n)["rid"] for n in (3, 4, 5)]
        assert sum(entry.size for entry in pending) <= 1000
        assert spool.report()["dropped"] == {"too_much": 2}


def test_a_record_larger_than_the_spool_costs_no_other(tmp_path: Path, clock: Clock) -> None:
    with open_spool(tmp_path / "spool", clock, max_bytes=1000) as spool:
        spool.put(record(1))
        with pytest.raises(SpoolError, match="spool_max_bytes"):
            spool.put(record(2, size=5000))
        assert len(spool.pending()) == 1


# --- damage and refusal ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"rid": "another"}', b"x" * 200_000]
)
def test_a_damaged_record_is_set_aside_and_counted(spool: Spool, content: bytes) -> None:
    damaged = spool.put(record(1))
    spool.put(record(2))
    Path(spool.path(damaged)).write_bytes(content)
    assert spool.load(damaged) is None
    assert [entry.rid for entry in spool.pending()] == [record(2)["rid"]]
    report = spool.report()
    assert report["dropped"] == {"damaged": 1}
    assert report["quarantined"] <= 1  # kept, unless it is larger than all that may be kept


def test_a_record_replaced_by_a_link_is_damaged(spool: Spool, tmp_path: Path) -> None:
    entry = spool.put(record(1))
    (tmp_path / "elsewhere").write_text(json.dumps(record(1)))
    os.unlink(spool.path(entry))
    os.symlink(tmp_path / "elsewhere", spool.path(entry))
    assert spool.load(entry) is None
    assert spool.report()["dropped"] == {"damaged": 1}


def test_a_refused_record_is_kept_with_the_reason(spool: Spool, tmp_path: Path) -> None:
    entry = spool.put(record(7))
    spool.quarantine(entry, "malformed: body.collectors: expected an object")
    report = spool.report()
    assert report["dropped"] == {"refused": 1}
    assert report["quarantined"] == 1
    assert report["recent"][0]["detail"] == "malformed: body.collectors: expected an object"
    (kept,) = (tmp_path / "spool").glob("*.kept")
    assert json.loads(kept.read_text()) == record(7)


def test_the_quarantine_is_bounded(spool: Spool, tmp_path: Path) -> None:
    for number in range(KEPT_FILES + 5):
        spool.quarantine(spool.put(record(number)), "malformed")
    report = spool.report()
    assert report["dropped"] == {"refused": KEPT_FILES + 5}
    assert report["quarantined"] == KEPT_FILES
    assert len(report["recent"]) == 10


@pytest.mark.parametrize("content", [b"", b"{}", b'{"dropped": 3}', b"\0" * 50, b"[" * 100_000])
def test_a_damaged_count_is_reported_as_such(spool: Spool, tmp_path: Path, content: bytes) -> None:
    spool.put(record(1))
    (tmp_path / "spool" / LEDGER).write_bytes(content)
    spool.quarantine(spool.put(record(2)), "malformed")
    assert spool.report()["dropped"] == {"losses_unknown": 1, "refused": 1}


def test_half_written_files_are_cleaned_up(spool: Spool, tmp_path: Path) -> None:
    leftover = tmp_path / "spool" / f".new-{record(9)['rid']}.json"
    leftover.write_bytes(b'{"rid": ')
    spool.put(record(1))
    assert not leftover.exists()
    assert len(spool.pending()) == 1


# --- a disk that can be full, and lose power --------------------------------------------------


class PowerCutError(BaseException):
    """The machine stops here."""


@dataclass
class File:
    data: bytes = b""
    on_disk: bytes = b""


@dataclass
class SimulatedDisk(Directory):
    """A directory as POSIX promises it, no better: what was not synced may be lost.

    Every step counts; the machine stops before step number `stop_before`. `survivors` says
    what of the steps that were not synced has reached the disk by then.
    """

    files: dict[str, File] = field(default_factory=dict)
    names_on_disk: dict[str, File] = field(default_factory=dict)
    unsynced: list[dict[str, File]] = field(default_factory=list)
    handles: list[File] = field(default_factory=list)
    capacity: int = 10**9
    steps: int = 0
    stop_before: int = -1
    path: str = "/simulated"

    def step(self) -> None:
        if self.steps == self.stop_before:
            raise PowerCutError
        self.steps += 1

    def _named(self) -> None:
        self.unsynced.append(dict(self.files))

    def close(self) -> None: ...

    def names(self) -> list[str]:
        return sorted(self.files)

    def _file(self, name: str) -> File:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file", name)
        return self.files[name]

    def size(self, name: str) -> int:
        return len(self._file(name).data)

    def read(self, name: str, max_bytes: int) -> bytes:
        return self._file(name).data

    def create(self, name: str) -> int:
        self.step()
        if name in self.files:
            raise FileExistsError(name)
        self.files[name] = File()
        self._named()
        self.handles.append(self.files[name])
        return len(self.handles) - 1

    def append(self, fd: int, data: bytes) -> int:
        self.step()
        room = self.capacity - sum(len(file.data) for file in self.files.values())
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = data[: min(room, max(1, len(data) // 2))]  # a write may always be a short one
        self.handles[fd].data += part
        return len(part)

    def sync_file(self, fd: int) -> None:
        self.step()
        self.handles[fd].on_disk = self.handles[fd].data

    def close_file(self, fd: int) -> None: ...

    def rename(self, name: str, new: str) -> None:
        self.step()
        self.files[new] = self._file(name)
        del self.files[name]
        self._named()

    def unlink(self, name: str) -> bool:
        self.step()
        there = self.files.pop(name, None) is not None
        self._named()
        return there

    def truncate(self, name: str) -> None:
        self.step()
        self._file(name).data = b""

    def sync(self) -> None:
        self.step()
        self.names_on_disk = dict(self.files)
        self.unsynced = []

    def after_power_cut(self, survivors: int, keep_data: bool) -> SimulatedDisk:
        """The disk as it is found at the next start: a prefix of the unsynced names survived."""
        names = ([self.names_on_disk, *self.unsynced])[min(survivors, len(self.unsynced))]
        found = SimulatedDisk(capacity=self.capacity)
        for name, old in names.items():
            content = old.data if keep_data else old.on_disk
            found.files[name] = File(content, content)
        found.names_on_disk = dict(found.files)
        return found


def simulated_spool(disk: SimulatedDisk, clock: Clock) -> Spool:
    return Spool(disk, max_bytes=1200, max_age=30 * DAY, now=clock)


@dataclass
class Story:
    """What a client did with its spool, and what it was told had worked."""

    stored: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    storing: str = ""
    removing: str = ""

    def put(self, spool: Spool, number: int) -> None:
        self.storing = str(record(number)["rid"])
        try:
            spool.put(record(number))
        except SpoolError:
            pass  # the disk is full and nothing is left to give up: the caller knows
        else:
            self.stored.add(self.storing)
        self.storing = ""

    def remove(self, spool: Spool, entry: Entry) -> None:
        self.removing = entry.rid
        spool.remove(entry)
        self.removed.add(entry.rid)
        self.removing = ""

    def check(self, spool: Spool) -> None:
        """Each record is pending, or was removed, or is one of those counted as lost."""
        pending = [entry.rid for entry in spool.pending()]
        assert len(pending) == len(set(pending)), "a record is there twice"
        for entry in spool.pending():
            loaded = spool.load(entry)
            assert loaded is not None, "a record is damaged"
            assert loaded["rid"] == entry.rid
        # What the power cut interrupted is now either done or not.
        if self.storing in pending:
            self.stored.add(self.storing)
        if self.removing and self.removing not in pending:
            self.removed.add(self.removing)
        self.storing = self.removing = ""
        assert self.removed.isdisjoint(pending), "a removed record came back"
        lost = self.stored - set(pending) - self.removed
        assert sum(spool.report()["dropped"].values()) == len(lost)


def ordinary_life(spool: Spool, clock: Clock, story: Story) -> None:
    """Stores, sends, ages, outgrows its bounds, and has a record refused."""
    for number in range(1, 4):
        story.put(spool, number)
        clock.now += 60
    story.remove(spool, spool.pending()[0])
    spool.quarantine(spool.pending()[0], "malformed")
    for number in range(4, 9):
        story.put(spool, number)
    clock.now += 40 * DAY
    story.put(spool, 9)
    story.put(spool, 10)


def crash_points(life: Callable[[Spool, Clock, Story], None], capacity: int) -> int:
    disk = SimulatedDisk(capacity=capacity)
    clock, story = Clock(), Story()
    spool = simulated_spool(disk, clock)
    life(spool, clock, story)
    story.check(spool)
    return disk.steps


@pytest.mark.parametrize("capacity", [10**9, 900], ids=["roomy", "full"])
def test_no_power_cut_loses_or_doubles_a_record(capacity: int) -> None:
    total = crash_points(ordinary_life, capacity)
    assert total > 80
    for point in range(total):
        for survivors in range(8):
            for keep_data in (False, True):
                disk = SimulatedDisk(capacity=capacity, stop_before=point)
                clock, story = Clock(), Story()
                with pytest.raises(PowerCutError):
                    ordinary_life(simulated_spool(disk, clock), clock, story)
                found = disk.after_power_cut(survivors, keep_data)
                spool = simulated_spool(found, clock)
                story.check(spool)
                # The next cycle goes on as if nothing had been: its record is stored.
                clock.now += 300
                story.put(spool, 99)
                story.check(spool)


def test_two_power_cuts_in_a_row_lose_nothing_either() -> None:
    for first in range(crash_points(ordinary_life, 10**9)):
        disk = SimulatedDisk(stop_before=first)
        clock, story = Clock(), Story()
        with pytest.raises(PowerCutError):
            ordinary_life(simulated_spool(disk, clock), clock, story)
        for second in range(12):
            again = disk.after_power_cut(1, keep_data=False)
            again.stop_before = second
            with contextlib.suppress(PowerCutError):
                simulated_spool(again, clock).report()
            story.check(simulated_spool(again.after_power_cut(0, keep_data=False), clock))


@settings(max_examples=60, deadline=None)
@given(
    actions=st.lists(st.sampled_from(["put", "remove", "refuse", "wait", "report"]), max_size=25),
    capacity=st.sampled_from([10**9, 2000, 1000, 500]),
    data=st.data(),
)
def test_any_life_with_any_power_cut_keeps_count(
    actions: list[str], capacity: int, data: st.DataObject
) -> None:
    def life(spool: Spool, clock: Clock, story: Story) -> None:
        for number, action in enumerate(actions, start=1):
            pending = spool.pending()
            if action == "put":
                story.put(spool, number)
            elif action == "remove" and pending:
                story.remove(spool, pending[0])
            elif action == "refuse" and pending:
                spool.quarantine(pending[0], "malformed")
            elif action == "wait":
                clock.now += 11 * DAY
            elif action == "report":
                spool.report()

    total = crash_points(life, capacity)
    if total == 0:
        return
    point = data.draw(st.integers(0, total - 1))
    disk = SimulatedDisk(capacity=capacity, stop_before=point)
    clock, story = Clock(), Story()
    with pytest.raises(PowerCutError):
        life(simulated_spool(disk, clock), clock, story)
    found = disk.after_power_cut(data.draw(st.integers(0, 6)), data.draw(st.booleans()))
    story.check(simulated_spool(found, clock))


# --- a full disk ---------------------------------------------------------------------------------


def test_on_a_full_disk_the_oldest_go_and_that_is_reported(clock: Clock) -> None:
    disk = SimulatedDisk(capacity=900)
    spool = simulated_spool(disk, clock)
    for number in range(1, 7):
        spool.put(record(number))
    assert spool.pending()[-1].rid == record(6)["rid"]
    report = spool.report()
    assert report["dropped"] == {"disk_full": 6 - report["pending"]}


def test_a_disk_that_stays_full_is_an_error_that_says_so(clock: Clock) -> None:
    spool = simulated_spool(SimulatedDisk(capacity=0), clock)
    with pytest.raises(SpoolError, match="the disk is full"):
        spool.put(record(1))
    assert spool.pending() == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_fails_keeps_what_it_has(
    clock: Clock, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimulatedDisk()
    spool = simulated_spool(disk, clock)
    spool.put(record(1))

    def fail(fd: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, "append", fail)
    with pytest.raises(SpoolError):
        spool.put(record(2))
    monkeypatch.undo()
    kept = len(spool.pending())
    assert kept == (0 if number == errno.EDQUOT else 1)
    assert sum(spool.report()["dropped"].values()) == 1 - kept


# --- the real file system, and a real kill -9 ---------------------------------------------------


class KilledDirectory(Directory):
    """The real thing, in a process that is killed before one of its steps."""

    def __init__(self, path: str, stop_before: int) -> None:
        super().__init__(path)
        self.stop_before = stop_before
        self.steps = 0

    def step(self) -> None:
        if self.steps == self.stop_before:
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps += 1

    def create(self, name: str) -> int:
        self.step()
        return super().create(name)

    def append(self, fd: int, data: bytes) -> int:
        self.step()
        return super().append(fd, data[: max(1, len(data) // 2)])

    def sync_file(self, fd: int) -> None:
        self.step()
        super().sync_file(fd)

    def rename(self, name: str, new: str) -> None:
        self.step()
        super().rename(name, new)

    def unlink(self, name: str) -> bool:
        self.step()
        return super().unlink(name)

    def truncate(self, name: str) -> None:
        self.step()
        super().truncate(name)

    def sync(self) -> None:
        self.step()
        super().sync()


def test_no_sigkill_loses_or_doubles_a_record(tmp_path: Path) -> None:
    """Three records into room for two, killed before each step; what was said to be stored is."""
    for point in range(200):
        path = tmp_path / str(point)
        said, say = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                spool = Spool(KilledDirectory(str(path), point), max_bytes=700, max_age=30 * DAY)
                for number in (1, 2, 3):
                    spool.put(record(number))
                    os.write(say, bytes([number]))
            finally:
                os._exit(0)
        os.close(say)
        with open(said, "rb") as file:
            stored = set(file.read())
        _, status = os.waitpid(pid, 0)
        with open_spool(path, Clock(), max_bytes=700) as spool:
            pending = {int(entry.rid[-1]) for entry in spool.pending()}
            lost = len(stored | pending) - len(pending)
            assert sum(spool.report()["dropped"].values()) == lost, point
        if os.WIFEXITED(status):
            assert stored == {1, 2, 3}
            assert pending == {2, 3}
            return
    raise AssertionError("the story has no end")
