"""What the SQLite engine says and does when its file, folder, disk or neighbours misbehave."""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qlmdm_core.errors import (
    NotSetUpError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)
from qlmdm_core.store.records import Accepted
from qlmdm_core.store.sqlite import SqliteStore
from qlmdm_core.store.sqlite.schema import MIGRATIONS, Migration
from qlmdm_core.testing.store_contract import samples

Opener = Callable[..., SqliteStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Opener]:
    """Opens the database at `path`, and closes what was opened."""
    stores = []

    def open_it(**options: object) -> SqliteStore:
        store = SqliteStore(str(path), **options)  # type: ignore[arg-type]
        stores.append(store)
        return store

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opener) -> SqliteStore:
    store = opened()
    store.setup()
    samples.enrolled(store, "c1")
    return store


def everything_in(folder: Path) -> dict[str, bytes]:
    """All files of a database, but for the two that only hold locks."""
    kept = (p for p in folder.iterdir() if p.suffix not in (".lock", ".queue"))
    return {p.name: p.read_bytes() for p in kept}


def in_child(work: Callable[[], object], *, uid: int | None = None) -> object:
    """Do work in a forked child, as another user if need be; what it returned or raised."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forking beside threads, which is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            outcome = work()
        except BaseException as error:
            outcome = error
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(outcome, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        outcome = pickle.load(pipe)
    os.waitpid(pid, 0)
    return outcome


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# --- the file ----------------------------------------------------------------------------------


def test_the_files_are_private(path: Path, store: SqliteStore) -> None:
    old = os.umask(0)
    try:
        store.ping()
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(
        ("fleet.db", "fleet.db-wal", "fleet.db-shm", "fleet.db.lock", "fleet.db.queue"), 0o600
    )


def test_using_it_before_setup_says_what_to_run(path: Path, opened: Opener) -> None:
    store = opened()
    for use in (store.check, store.ping, store.clients, lambda: store.meta("x")):
        with pytest.raises(NotSetUpError, match="qlmdm-server-setup"):
            use()
    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "none" / "fleet.db"))
    for use in (store.check, store.setup, store.ping):
        with pytest.raises(
            StoreUnavailableError, match=r"folder .*/none is missing.*correct store in the settings"
        ):
            use()
    store.close()


def test_an_interrupted_creation_is_finished(path: Path, opened: Opener) -> None:
    path.touch(0o600)
    store = opened()
    with pytest.raises(NotSetUpError):
        store.check()
    assert store.setup()
    store.check()


def test_two_setups_at_once_make_one_database(path: Path, opened: Opener) -> None:
    stores = [opened() for _ in range(4)]
    done: list[object] = []
    threads = [threading.Thread(target=lambda s=s: done.append(s.setup())) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    for store in stores:
        store.check()


# --- versions -----------------------------------------------------------------------------------

NEXT = Migration(
    number=3,
    what="added a table",
    statements=("CREATE TABLE extra (x INTEGER) STRICT", "CREATE INDEX extra_by_x ON extra (x)"),
)


def test_an_old_database_is_migrated_forward_and_keeps_its_data(
    path: Path, store: SqliteStore, opened: Opener
) -> None:
    store.accept(samples.submission("c1", 1))
    store.close()
    newer = opened(migrations=(*MIGRATIONS, NEXT))
    with pytest.raises(NotSetUpError, match=r"version 2, this qlmdm needs 3.*setup"):
        newer.check()
    assert list(newer.setup()) == [f"{path}: added a table (version 3)"]
    assert list(newer.setup()) == []
    newer.check()
    assert newer.report("c1") != b"{}"


def test_a_migration_that_fails_changes_nothing(
    path: Path, store: SqliteStore, opened: Opener
) -> None:
    store.close()
    broken = Migration(number=3, what="broke", statements=(*NEXT.statements, "CREATE nonsense"))
    with pytest.raises(StoreError, match="syntax error"):
        opened(migrations=(*MIGRATIONS, broken)).setup()
    opened().check()


def test_a_newer_database_is_refused_and_left_alone(
    path: Path, store: SqliteStore, opened: Opener
) -> None:
    store.close()
    newer = opened(migrations=(*MIGRATIONS, NEXT))
    newer.setup()
    newer.close()
    before = everything_in(path.parent)
    older = opened()
    for use in (older.setup, older.check, older.ping, older.clients):
        with pytest.raises(StoreError, match="version 3, this qlmdm knows up to 2"):
            use()
    assert everything_in(path.parent) == before


def test_a_database_of_another_program_is_refused_and_left_alone(
    path: Path, opened: Opener
) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    before = everything_in(path.parent)
    for use in (opened().setup, opened().check):
        with pytest.raises(StoreError, match="another program"):
            use()
    assert everything_in(path.parent) == before


# --- damage -------------------------------------------------------------------------------------


def no_database(data: bytearray) -> None:
    data[:] = b"This is not a database.\n" * 500


def broken_header(data: bytearray) -> None:
    data[0:100] = bytes(100)


def broken_pages(data: bytearray) -> None:
    data[4096:] = b"\xa5" * (len(data) - 4096)


def cut_short(data: bytearray) -> None:
    del data[len(data) // 2 // 4096 * 4096 :]


@pytest.mark.parametrize("damage", [no_database, broken_header, broken_pages, cut_short])
def test_a_damaged_file_is_reported_and_left_alone(
    path: Path, store: SqliteStore, opened: Opener, damage: Callable[[bytearray], None]
) -> None:
    store.close()
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    before = everything_in(path.parent)
    again = opened()
    with pytest.raises(StoreCorruptError, match=r"fleet\.db: .*[Rr]estore a backup"):
        again.check()
    if damage in (no_database, broken_header):
        with pytest.raises(StoreCorruptError):
            again.setup()
        with pytest.raises(StoreCorruptError):
            again.ping()
    assert everything_in(path.parent)["fleet.db"] == before["fleet.db"]


def test_a_missing_index_is_reported_and_made_again(
    path: Path, store: SqliteStore, opened: Opener
) -> None:
    store.close()
    plain = sqlite3.connect(path)
    plain.execute("DROP INDEX audits_dirty")
    plain.close()
    again = opened()
    with pytest.raises(
        NotSetUpError, match=r"index audits_dirty is missing; run qlmdm-server-setup"
    ):
        again.check()
    assert list(again.setup()) == [f"{path}: made the index audits_dirty again"]
    again.check()


def test_a_missing_table_is_reported(path: Path, store: SqliteStore, opened: Opener) -> None:
    store.close()
    plain = sqlite3.connect(path)
    plain.execute("DROP TABLE verdicts")
    plain.close()
    with pytest.raises(StoreCorruptError, match="table verdicts is missing"):
        opened().check()


def test_a_damaged_report_is_reported(path: Path, store: SqliteStore) -> None:
    store.accept(samples.submission("c1", 1))
    plain = sqlite3.connect(path)
    plain.execute("UPDATE reports SET entry = x'7b'")
    plain.commit()
    plain.close()
    with pytest.raises(StoreCorruptError, match="client c1: its report is damaged"):
        store.accept(samples.submission("c1", 2, {"os_info": samples.result({"x": 1})}))


# --- disk and permissions -----------------------------------------------------------------------


@contextmanager
def as_somebody_without_rights() -> Iterator[tuple[Path, int | None]]:
    """A folder that others may enter, and the uid to try it as (root may do everything)."""
    folder = Path(tempfile.mkdtemp(prefix="qlmdm-test-"))
    try:
        folder.chmod(0o755)
        yield folder, 65534 if os.geteuid() == 0 else None
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("wal_is_there", [True, False])
def test_a_read_only_database_is_unavailable(wal_is_there: bool) -> None:
    with as_somebody_without_rights() as (folder, uid):
        path = folder / "fleet.db"
        store = SqliteStore(str(path))
        store.setup()
        samples.enrolled(store, "c1")
        if not wal_is_there:
            store.close()
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)

        def use() -> object:
            reader = SqliteStore(str(path))
            reader.ping()
            return "written"

        error = in_child(use, uid=uid)
        folder.chmod(0o755)
        store.close()
    assert isinstance(error, StoreUnavailableError)
    assert "fleet.db" in str(error)
    assert "writable by this user" in str(error)


def test_a_file_of_somebody_else_is_unavailable() -> None:
    with as_somebody_without_rights() as (folder, uid):
        path = folder / "fleet.db"
        store = SqliteStore(str(path))
        store.setup()
        store.close()
        path.chmod(0o000)
        error = in_child(lambda: SqliteStore(str(path)).check(), uid=uid)
    assert isinstance(error, StoreUnavailableError)
    assert "fleet.db" in str(error)


def test_a_full_disk_loses_nothing_that_was_acknowledged(store: SqliteStore) -> None:
    store.accept(samples.submission("c1", 1))
    connection = store._db._writer.connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = {"a": samples.result({"x": "y" * 100_000})}
    with pytest.raises(StoreUnavailableError, match=r"full; make room.*df "):
        store.accept(samples.submission("c1", 2, large))
    small = store.accept(samples.submission("c1", 3))
    assert small == Accepted(accepted_at=samples.KEPT, changed=False)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert isinstance(store.accept(samples.submission("c1", 4, large)), Accepted)
    store.check()


def test_a_write_that_the_kernel_refuses_loses_nothing(path: Path, store: SqliteStore) -> None:
    store.accept(samples.submission("c1", 1))
    size = path.with_name("fleet.db-wal").stat().st_size
    large = {"a": samples.result({"x": "y" * 100_000})}

    def use() -> object:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, hard))
        try:
            store.accept(samples.submission("c1", 2, large))
        except StoreUnavailableError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            return str(error), store.accept(samples.submission("c1", 3, large))
        return "accepted"

    outcome = in_child(use)
    assert isinstance(outcome, tuple)
    assert "fleet.db" in outcome[0]
    assert isinstance(outcome[1], Accepted)
    store.check()
    client = store.client("c1")
    assert client is not None
    assert client.seq == 3


# --- other programs, threads and processes ----------------------------------------------------


def test_a_lock_of_another_program_is_waited_for_and_then_reported(
    path: Path, store: SqliteStore, opened: Opener
) -> None:
    impatient = opened(wait_seconds=0.2)
    backup = sqlite3.connect(path, isolation_level=None)
    backup.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match=r"could not be written.*fuser"):
        impatient.accept(samples.submission("c1", 1))
    assert impatient.client("c1") is not None  # reading goes on
    backup.execute("COMMIT")
    backup.close()


def test_what_was_given_up_is_not_written_later(
    path: Path, store: SqliteStore, opened: Opener
) -> None:
    impatient = opened(wait_seconds=0.1)
    with open(f"{path}.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailableError, match=r"fleet\.db\.lock"):
            impatient.set_meta("given up", True)
    impatient.ping()
    assert store.meta("given up") is None


def test_those_who_wait_are_written_together_and_one_failure_spoils_no_other(
    path: Path, store: SqliteStore
) -> None:
    statements: list[str] = []
    connection = store._db._writer.connection
    assert connection is not None
    outcomes: dict[int, object] = {}

    def write(number: int) -> None:
        try:
            if number == 3:
                store.add_invitation(samples.invitation())  # it is there already
            store.set_meta(f"key{number}", number)
            outcomes[number] = "written"
        except StoreError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    with open(f"{path}.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for thread in threads:
            thread.start()
        # One is with the writer, which waits for its turn; the others are queued behind it.
        wait_until(lambda: store._db._writer._jobs.qsize() == 7)
        connection.set_trace_callback(statements.append)
    for thread in threads:
        thread.join()
    connection.set_trace_callback(None)
    assert isinstance(outcomes.pop(3), StoreError)
    assert set(outcomes.values()) == {"written"}
    assert [store.meta(f"key{n}") for n in range(8)] == [0, 1, 2, None, 4, 5, 6, 7]
    assert statements.count("COMMIT") == 1


def test_who_wrote_last_lets_the_next_one_in_first(path: Path) -> None:
    from qlmdm_core.store.sqlite.turns import in_turn

    order: list[str] = []

    def second() -> None:
        with in_turn(str(path)):
            order.append("second")

    def somebody_waits_at_the_inner_door() -> bool:
        with open(f"{path}.queue", "rb") as anteroom:
            try:
                fcntl.flock(anteroom, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    thread = threading.Thread(target=second)
    with in_turn(str(path)):
        order.append("first")
        thread.start()
        wait_until(somebody_waits_at_the_inner_door)
    with in_turn(str(path)):
        order.append("first again")
    thread.join()
    assert order == ["first", "second", "first again"]


def test_a_store_that_was_opened_before_a_fork_works_in_both(store: SqliteStore) -> None:
    store.accept(samples.submission("c1", 1))
    store.clients()

    def use() -> object:
        first = store.accept(samples.submission("c1", 2))
        store.set_meta("child", True)
        store.close()
        return first

    assert isinstance(in_child(use), Accepted)
    assert store.meta("child") is True
    assert isinstance(store.accept(samples.submission("c1", 3)), Accepted)
    store.check()


def test_a_child_that_ends_normally_leaves_the_database_of_its_parent_alone(path: Path) -> None:
    script = """
import os, sys
from qlmdm_core.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.setup()
store.set_meta("parent", 1)
if os.fork() == 0:
    sys.exit(0)  # the whole end of the interpreter, with what it inherited
os.wait()
assert os.path.exists(sys.argv[1] + "-wal")
store.set_meta("parent", 2)
store.close()
"""
    subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script, str(path)],
        check=True,
        timeout=60,
    )
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT value FROM meta").fetchall() == [("2",)]
    plain.close()


def test_a_closed_store_says_so(store: SqliteStore) -> None:
    store.close()
    for use in (store.ping, store.clients):
        with pytest.raises(StoreError, match="closed"):
            use()
