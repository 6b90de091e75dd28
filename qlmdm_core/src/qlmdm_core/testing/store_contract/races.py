"""The contract, part five: many at once, and being killed."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import orjson

from qlmdm_core.store import Store
from qlmdm_core.store.records import Accepted, Behind, Enrolled, Judgement, Repeated
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import Engine, StoreFixtures
from qlmdm_core.testing.store_contract.samples import NOW

T = TypeVar("T")

THREADS = 8
EACH = 20
"""How many things each thread or process does."""


def at_once(work: Callable[[int], T], count: int = THREADS) -> list[T]:
    """Call `work(number)` in so many threads, all started together."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def lines_until_done(process: subprocess.Popen[str]) -> list[str]:
    """What an actor said, up to and without "done"."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        if line.startswith("done"):
            return lines
        lines.append(line.rstrip("\n"))
    raise AssertionError(f"the actor ended early, after {lines}")


def close_pipes(process: subprocess.Popen[str]) -> None:
    """Let go of a process, whether it ended or not."""
    process.kill()
    process.wait(30)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


class RacesContract(StoreFixtures):
    """Threads and processes that use one database at the same moment."""

    # --- threads --------------------------------------------------------------------------

    def test_one_message_twice_at_once_is_accepted_once(self, store: Store, cid: str) -> None:
        sent = samples.submission(cid, 1)
        outcomes = Counter(type(o) for o in at_once(lambda _: store.accept(sent)))
        assert outcomes == {Accepted: 1, Repeated: THREADS - 1}
        assert len(store.changes(cid)) == 1

    def test_one_seq_for_two_records_is_accepted_once(self, store: Store, cid: str) -> None:
        outcomes = at_once(lambda n: store.accept(samples.submission(cid, 1, rid=f"r{n}")))
        assert Counter(type(o) for o in outcomes) == {Accepted: 1, Behind: THREADS - 1}

    def test_concurrent_records_of_one_client_are_merged_in_order(
        self, store: Store, cid: str
    ) -> None:
        def send(number: int) -> list[int]:
            accepted = []
            for step in range(EACH):
                seq = step * THREADS + number + 1
                collectors = {
                    "shared": samples.result({"seq": seq}),
                    f"own{number}": samples.result({"seq": seq}),
                }
                if isinstance(store.accept(samples.submission(cid, seq, collectors)), Accepted):
                    accepted.append(seq)
            return accepted

        by_thread = at_once(send)
        accepted = sorted(seq for seqs in by_thread for seq in seqs)
        report = orjson.loads(store.report(cid) or b"")
        assert report["shared"]["value"] == {"seq": accepted[-1]}
        for number, seqs in enumerate(by_thread):
            if seqs:
                assert report[f"own{number}"]["value"] == {"seq": seqs[-1]}
        history = store.changes(cid, collector="shared", limit=1000)
        assert sorted(change.new["seq"] for change in history) == accepted

    def test_many_clients_send_at_once(self, store: Store) -> None:
        for number in range(THREADS):
            samples.enrolled(store, f"c{number}")

        def send(number: int) -> bool:
            return all(
                isinstance(
                    store.accept(
                        samples.submission(
                            f"c{number}", seq, {"a": samples.result({"n": number, "seq": seq})}
                        )
                    ),
                    Accepted,
                )
                for seq in range(1, EACH + 1)
            )

        assert all(at_once(send))
        for number in range(THREADS):
            report = orjson.loads(store.report(f"c{number}") or b"")
            assert report["a"]["value"] == {"n": number, "seq": EACH}
            assert len(store.changes(f"c{number}")) == EACH

    def test_revoking_while_it_sends_lets_nothing_through_afterwards(
        self, store: Store, cid: str
    ) -> None:
        revoked = threading.Event()

        def send(number: int) -> list[tuple[bool, bool]]:
            if number == 0:
                store.set_client(cid, status="revoked")
                revoked.set()
                return []
            results = []
            for step in range(EACH):
                before = revoked.is_set()
                outcome = store.accept(samples.submission(cid, step * THREADS + number + 1))
                results.append((before, isinstance(outcome, Accepted)))
            return results

        for before, accepted in chain.from_iterable(at_once(send)):
            assert not (before and accepted)

    def test_the_last_use_of_an_invitation_enrols_one(self, store: Store) -> None:
        store.add_invitation(samples.invitation(uses=3))
        outcomes = at_once(lambda n: store.enrol(samples.enrolment(f"c{n}")))
        enrolled = {o.cid for o in outcomes if isinstance(o, Enrolled)}
        assert len(enrolled) == 3
        assert {client.cid for client in store.clients().clients} == enrolled
        used = store.invitation("inv")
        assert used is not None
        assert used.used == 3

    def test_one_machine_that_asks_many_times_is_enrolled_once(self, store: Store) -> None:
        store.add_invitation(samples.invitation(uses=2))

        def ask(number: int) -> object:
            return store.enrol(replace(samples.enrolment("same"), cid=f"c{number}"))

        outcomes = at_once(ask)
        assert all(isinstance(outcome, Enrolled) for outcome in outcomes)
        cids = {outcome.cid for outcome in outcomes if isinstance(outcome, Enrolled)}
        assert len(cids) == 1
        assert [client.cid for client in store.clients().clients] == list(cids)
        used = store.invitation("inv")
        assert used is not None
        assert used.used == 1

    def test_one_of_many_gets_a_lease(self, store: Store, other: Store) -> None:
        stores = (store, other)
        taken = at_once(lambda n: stores[n % 2].take_lease("audit", f"owner{n}", NOW, 60))
        assert Counter(taken) == {True: 1, False: THREADS - 1}

    def test_two_audits_at_once_open_one_issue(self, store: Store, cid: str) -> None:
        def audit(number: int) -> None:
            store.record_judgements(
                [
                    Judgement(
                        cid=cid,
                        dirty=None,
                        rejudge_at=None,
                        verdicts=[samples.verdict(cid)],
                        issues=[samples.issue(f"i{number}", cid)],
                    )
                ]
            )

        at_once(audit)
        assert len(store.issues(is_open=None)) == 1
        assert len(store.verdicts()) == 1

    def test_settling_at_once_neither_loses_nor_doubles(self, store: Store) -> None:
        for number in range(THREADS):
            store.accept(samples.submission(samples.enrolled(store, f"c{number}"), 1))

        def settle_and_send(number: int) -> None:
            store.settle_changes()
            store.accept(
                samples.submission(f"c{number}", 2, {"os_info": samples.result({"id": number})})
            )
            store.settle_changes()

        at_once(settle_and_send)
        store.settle_changes()
        for number in range(THREADS):
            ids = [change.change_id for change in store.changes(f"c{number}")]
            assert ids == [f"c{number}:2:os_info", f"c{number}:1:os_info"]

    # --- processes ------------------------------------------------------------------------

    def test_processes_share_one_client(self, processes: Engine, store: Store, cid: str) -> None:
        with ExitStack() as stack:
            actors = []
            for number in range(3):
                actor = processes.start("accept", cid, str(number * 10 + 1), str(EACH))
                stack.callback(close_pipes, actor)
                actors.append(actor)
            said = [line for actor in actors for line in lines_until_done(actor)]
        accepted = sorted(int(s.split()[1]) for s in said if s.startswith("accepted"))
        assert len(accepted) == len(set(accepted))
        history = store.changes(cid, limit=1000)
        assert sorted(change.new["seq"] for change in history) == accepted

    def test_processes_share_an_invitation(self, processes: Engine, store: Store) -> None:
        store.add_invitation(samples.invitation(uses=10))
        with ExitStack() as stack:
            actors = []
            for prefix in "xyz":
                actor = processes.start("enrol", prefix, "8", "inv")
                stack.callback(close_pipes, actor)
                actors.append(actor)
            said = Counter(line.split()[0] for actor in actors for line in lines_until_done(actor))
        assert said == {"enrolled": 10, "used_up": 14}
        assert len(store.clients().clients) == 10

    def test_audits_in_two_processes_open_one_issue_each(
        self, processes: Engine, store: Store
    ) -> None:
        for number in range(10):
            samples.enrolled(store, f"c{number}")
        with ExitStack() as stack:
            actors = [processes.start("judge", prefix, "10") for prefix in "xy"]
            for actor in actors:
                stack.callback(close_pipes, actor)
            for actor in actors:
                assert len(lines_until_done(actor)) == 10
        assert sorted(issue.cid for issue in store.issues()) == [f"c{n}" for n in range(10)]
        assert store.audit_targets(NOW, everything=False) == []

    def test_a_lease_outlives_the_process_that_took_it(
        self, processes: Engine, store: Store
    ) -> None:
        with ExitStack() as stack:
            actor = processes.start("lease", "audit", "them")
            stack.callback(close_pipes, actor)
            assert lines_until_done(actor) == ["taken them"]
            assert not store.take_lease("audit", "us", NOW, 60)

    # --- being killed ---------------------------------------------------------------------

    def test_what_was_acknowledged_survives_kill_9(
        self, processes: Engine, store: Store, cid: str
    ) -> None:
        store.close()
        actor = processes.start("accept", cid, "1", str(EACH))
        try:
            assert actor.stdout is not None
            acknowledged = [actor.stdout.readline().split() for _ in range(EACH // 2)]
        finally:
            close_pipes(actor)  # SIGKILL, in the middle of its work
        assert acknowledged == [["accepted", str(seq)] for seq in range(1, EACH // 2 + 1)]
        if processes.crash is not None:
            processes.crash()
        again = processes.open()
        try:
            again.check()
            client = again.client(cid)
            assert client is not None
            assert client.seq >= EACH // 2
            report = orjson.loads(again.report(cid) or b"")
            assert report["os_info"]["value"]["seq"] == client.seq
            seqs = [change.new["seq"] for change in again.changes(cid)]
            assert seqs == list(range(client.seq, 0, -1))
            repeated = again.accept(samples.submission(cid, 1))
            assert isinstance(repeated, Repeated)
            assert isinstance(again.accept(samples.submission(cid, client.seq + 1)), Accepted)
        finally:
            again.close()
