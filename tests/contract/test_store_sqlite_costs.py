"""What the SQLite engine's promises cost, counted and not timed: pages, bytes, scans."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from qlmdm_core.store.outgoing import Unattributed
from qlmdm_core.store.records import CollectorResult, Judgement
from qlmdm_core.store.sqlite import SqliteStore, audits, connection, database
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.samples import NOW

PAGE_IN_WAL = 4096 + 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(path))
    store.setup()
    samples.enrolled(store, "c1")
    yield store
    store.close()


def collectors(changing: int) -> dict[str, CollectorResult]:
    """Fourteen collectors, 25 KB in all, one field of one of which changes."""
    filler = [{"name": f"package-{n}", "installed": f"1.{n}-ubuntu1"} for n in range(30)]
    found = {f"collector_{n}": samples.result({"state": "on", "of": filler}) for n in range(14)}
    found["firewall"] = samples.result({"state": "on", "rules": changing})
    return found


def written(path: Path, store: SqliteStore, records: list[dict[str, CollectorResult]]) -> float:
    """The bytes that each of these records adds to the write-ahead log, on average."""
    checkpointer = sqlite3.connect(path)
    checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    client = store.client("c1")
    assert client is not None
    for seq, record in enumerate(records, client.seq + 1):
        store.accept(samples.submission("c1", seq, record))
    checkpointer.close()
    return Path(f"{path}-wal").stat().st_size / len(records)


def test_an_unchanged_report_writes_a_quarter_of_a_changed_one_at_most(
    path: Path, store: SqliteStore
) -> None:
    written(path, store, [collectors(0)] * 70)  # the record of recent ids is at its full length
    assert len(store.report("c1") or b"") > 24_000
    unchanged = written(path, store, [collectors(0)] * 20)
    changed = written(path, store, [collectors(n % 2 + 1) for n in range(20)])
    assert unchanged <= 1.1 * PAGE_IN_WAL
    assert unchanged <= changed / 4


def test_a_full_judgement_that_finds_nothing_new_writes_nothing(
    path: Path, store: SqliteStore
) -> None:
    later = NOW + timedelta(days=1)

    def judge() -> None:
        store.record_judgements(
            [
                Judgement(cid=t.client.cid, dirty=t.dirty, rejudge_at=later, verdicts=None)
                for t in store.audit_targets(NOW, everything=True)
            ]
        )

    judge()
    checkpointer = sqlite3.connect(path)
    checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    judge()
    assert Path(f"{path}-wal").stat().st_size == 0
    checkpointer.close()


SMALL = (
    *("invitations", "leases", "meta", "roots", "json_each", "CONSTANT", "(subquery"),
    *("releases", "drafts", "unattributed"),
)
"""What may be read through: a few rows, or what the statement itself brings."""

COUNTED = re.compile(r"SELECT (status|check_name, state|release|state), count\(\*\)")
"""Counting a whole fleet reads an index through; nothing that runs each minute does it."""


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All statements of the stores that are opened in the test, as they are executed."""
    executed: list[str] = []
    connect = connection.connect

    def traced(path: str) -> sqlite3.Connection:
        opened = connect(path)
        opened.set_trace_callback(executed.append)
        return opened

    monkeypatch.setattr(database, "connect", traced)
    return executed


def plans(path: Path, statements: list[str]) -> Iterator[tuple[str, str]]:
    """Each step of SQLite's plan for each statement, with the statement."""
    planner = sqlite3.connect(path)
    for statement in dict.fromkeys(statements):
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "REPLACE")):
            for row in planner.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall():
                yield row[3], statement
    planner.close()


def test_no_statement_reads_a_large_table_through(
    path: Path, store: SqliteStore, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = SqliteStore(str(path))
    use_everything(traced)
    monkeypatch.setattr(audits, "FEW_DUE", 0)
    traced.audit_targets(NOW + timedelta(days=2), everything=False)
    traced.close()
    planned = 0
    for step, statement in plans(path, statements):
        if "sqlite_master" in statement or COUNTED.match(statement):
            continue
        planned += 1
        scan = re.match(r"SCAN (\S+)", step)
        assert scan is None or scan[1].startswith(SMALL), f"{step} in {statement}"
    assert planned > 80


def test_what_is_asked_each_minute_costs_what_is_due(
    path: Path, store: SqliteStore, statements: list[str]
) -> None:
    traced = SqliteStore(str(path))
    traced.issues(due_by=NOW)
    traced.audit_targets(NOW, everything=False)
    traced.close()
    found = [step for step, _ in plans(path, statements)]
    for index in ("issues_due (alert_due_at<?)", "audits_dirty (cid>?)"):
        assert any(index in step for step in found), found
    assert any("audits_by_time (rejudge_at<?)" in step for step in found)


def test_a_client_s_issues_are_found_by_client(
    path: Path, store: SqliteStore, statements: list[str]
) -> None:
    traced = SqliteStore(str(path))
    for is_open in (None, True, False):
        traced.issues(cid="c1", check="firewall-disabled", is_open=is_open)
    traced.close()
    steps = [step for step, statement in plans(path, statements) if "FROM issues" in statement]
    assert len(steps) == 3
    assert all("_by_client (cid=?" in step for step in steps)


@pytest.mark.parametrize("fingerprint", ["FPRc1", "NEW", "nobody's"])
def test_whose_key_it_is_takes_one_statement_by_indexes(
    path: Path, store: SqliteStore, statements: list[str], fingerprint: str
) -> None:
    samples.queued(store, "c1")
    store.rekey(samples.rekeying("c1", "NEW"))
    traced = SqliteStore(str(path))
    traced.meta("x")  # opens the connection
    statements.clear()
    found = traced.key(fingerprint)
    traced.close()
    assert (found is None) == (fingerprint == "nobody's")
    assert len(statements) == 1
    steps = [step for step, _ in plans(path, statements)]
    assert any("targets_by_client (cid=? AND finished_at=?)" in step for step in steps)
    assert len(steps) >= 5
    assert [step for step in steps if step.startswith("SCAN") and "CONSTANT" not in step] == []


def test_a_poll_with_nothing_new_writes_nothing(path: Path, store: SqliteStore) -> None:
    held = samples.queued(store, "c1", not_before=NOW + timedelta(hours=1), name="2")
    queued = samples.queued(store, "c1")
    store.advance_target(queued, "c1", "started", NOW, {"stages": []})
    checkpointer = sqlite3.connect(path)
    checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for _ in range(3):
        key = store.key("FPRc1")
        assert key is not None
        assert key.has_commands
        assert len(store.due_commands("c1", NOW)) == 1
        assert store.advance_target(queued, "c1", "delivered", NOW) is False
        assert store.advance_target(queued, "c1", "started", NOW) is False
        assert store.advance_target(held, "c2", "done", NOW) is None
        assert store.expire_targets(NOW) == 0
    assert Path(f"{path}-wal").stat().st_size == 0
    checkpointer.close()


def test_what_a_command_costs_each_minute_is_what_is_open(
    path: Path, store: SqliteStore, statements: list[str]
) -> None:
    samples.queued(store, "c1")
    traced = SqliteStore(str(path))
    traced.due_commands("c1", NOW)
    traced.count_targets(samples.command_id("1"))
    traced.count_releases()
    traced.expire_targets(NOW)
    traced.expire_targets(NOW + timedelta(days=1))
    traced.close()
    steps = [step for step, _ in plans(path, statements)]
    for index in (
        "targets_by_client (cid=? AND finished_at=?)",
        "COVERING INDEX targets_by_state (command_no=?)",
        "COVERING INDEX clients_by_release (status=?)",
        "commands_unswept (expires_at<?)",
        "targets_by_state (command_no=? AND state=?)",
    ):
        assert any(index in step for step in steps), (index, steps)
    assert not any("TEMP B-TREE FOR GROUP BY" in step for step in steps)


def test_a_command_for_many_adds_few_bytes_for_each(path: Path, store: SqliteStore) -> None:
    hosts = [f"{number * 7919 % 20_000:032x}" for number in range(20_000)]
    checkpointer = sqlite3.connect(path)
    checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.stat().st_size
    assert store.put_command(samples.command(hosts=len(hosts)), samples.parts(hosts))
    checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpointer.close()
    assert (path.stat().st_size - before) / len(hosts) < 400


def use_everything(store: SqliteStore) -> None:
    """Call every method, with each combination of filters that makes another statement."""
    for cid in ("c1", "c2", "c3"):
        samples.enrolled(store, cid)
        store.accept(samples.submission(cid, 1))
        store.accept(samples.submission(cid, 2))
        store.accept(samples.submission(cid, 3, {"a": samples.result({"b": 1})}, flags={"f": 1}))
    store.enrol(samples.enrolment("c1"))
    store.check()
    store.ping()
    store.meta("x")
    store.set_meta("x", None)
    store.take_lease("a", "b", NOW, 1)
    store.drop_lease("a", "b")
    store.root()
    store.root(1)
    store.invitations()
    store.key("FPRc1")
    store.client("c1")
    store.clients_named("host-c1")
    store.clients(after=store.clients(limit=1).after)
    store.count_clients()
    store.report("c1")
    store.set_client("c1", tags=["x"])
    store.set_client("c3", status="revoked")
    store.seen("c1", NOW + timedelta(hours=9))
    for collector in (None, "a"):
        for before in (None, NOW):
            store.changes("c1", collector=collector, before=before)
    store.forget_changes(NOW)
    for everything in (True, False):
        for target in store.audit_targets(NOW, everything=everything):
            cid = target.client.cid
            store.record_judgements(
                [
                    Judgement(
                        cid=cid,
                        dirty=target.dirty,
                        rejudge_at=NOW + timedelta(days=1),
                        verdicts=[samples.verdict(cid)],
                        issues=[samples.issue(f"i-{cid}", cid)],
                    )
                ]
            )
    store.audit_targets(NOW + timedelta(days=2), everything=False)
    check = "firewall-disabled"
    for cid_ in (None, "c1"):
        for check_ in (None, check):
            for after in (None, f"{check}:c1"):
                store.verdicts(cid=cid_, check=check_, after=after)
            for is_open in (None, True, False):
                store.issues(is_open=is_open, cid=cid_, check=check_)
            store.issues(cid=cid_, check=check_, due_by=NOW, after="i")
    store.count_verdicts()
    store.issue("i-c1")
    store.update_issues(store.issues())
    use_what_is_handed_out(store)


def use_what_is_handed_out(store: SqliteStore) -> None:
    """The same for keys, releases, commands and drafts."""
    for name in ("NEW", "NEW", "c2"):
        store.rekey(samples.rekeying("c1", name))
    store.rekey(samples.rekeying("c1", "NEWER", old="NEW"))
    store.key("NEW")
    store.put_unattributed(Unattributed(hostname="h", received_at=NOW, report=b"{}"))
    store.unattributed()
    store.drop_blob(store.put_blob(b"bytes"))
    store.blob(store.put_blob(b"bytes"))
    store.put_release(samples.release(7))
    store.update_release(samples.release(7))
    store.release(1, 7)
    store.releases()
    store.count_releases()
    for name in "123":
        samples.queued(store, "c1", "c2", "c3", name=name)
    queued = samples.command_id("1")
    store.command(queued)
    for kind in (None, "script"):
        for after in (None, queued):
            store.commands(after=after, kind=kind)
    for state in ("delivered", "started", "started", "done"):
        store.advance_target(queued, "c1", state, NOW, {"x": 1})
    store.due_commands("c1", NOW)
    store.target(queued, "c1")
    store.targets(queued)
    store.targets(queued, states=["done", "pending"], after="c0")
    store.targets_of("c1")
    store.count_targets(queued)
    store.cancel_command(samples.command_id("2"), NOW)
    store.expire_targets(NOW + timedelta(days=1))
    store.put_draft(samples.draft())
    store.update_draft(samples.draft())
    store.draft("release-1.7")
    store.drafts()
    store.drop_draft("release-1.7")
