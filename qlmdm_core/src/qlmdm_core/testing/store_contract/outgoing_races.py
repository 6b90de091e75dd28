"""The contract, part ten: what is handed out, by many at once, and being killed meanwhile."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import CommandState
from qlmdm_core.store.records import Accepted, EnrolmentRefused
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import Engine, StoreFixtures
from qlmdm_core.testing.store_contract.keys import key_of
from qlmdm_core.testing.store_contract.races import (
    THREADS,
    at_once,
    close_pipes,
    lines_until_done,
)
from qlmdm_core.testing.store_contract.samples import NOW

ENDS: tuple[CommandState, ...] = ("done", "failed", "refused", "indeterminate")


class OutgoingRacesContract(StoreFixtures):
    """Threads and processes that hand out, move on, sign and replace at the same moment."""

    # --- keys ---------------------------------------------------------------------------------

    def test_of_two_next_keys_one_counts(self, store: Store, other: Store, cid: str) -> None:
        stores = (store, other)
        outcomes = at_once(lambda n: stores[n % 2].rekey(samples.rekeying(cid, f"NEW{n}")))
        assert Counter(outcomes) == {"replaced": 1, "not_your_key": THREADS - 1}
        winner = f"NEW{outcomes.index('replaced')}"
        assert key_of(store, "FPRc1").replaced_by == winner
        found = [n for n in range(THREADS) if store.key(f"NEW{n}") is not None]
        assert found == [outcomes.index("replaced")]

    def test_one_next_key_asked_for_many_times_is_replaced_once(
        self, store: Store, cid: str
    ) -> None:
        outcomes = at_once(lambda _: store.rekey(samples.rekeying(cid, "NEW")))
        assert Counter(outcomes) == {"replaced": 1, "again": THREADS - 1}

    def test_one_key_for_two_clients_goes_to_one(self, store: Store) -> None:
        for number in range(THREADS):
            samples.enrolled(store, f"c{number}")
        outcomes = at_once(lambda n: store.rekey(samples.rekeying(f"c{n}", "NEW")))
        assert Counter(outcomes) == {"replaced": 1, "key_in_use": THREADS - 1}
        assert key_of(store, "NEW").cid == f"c{outcomes.index('replaced')}"

    def test_a_key_is_enrolled_or_somebody_s_next_one(self, store: Store, cid: str) -> None:
        def take(number: int) -> bool:
            if number % 2:
                wanted = samples.rekeying(cid, "NEW", old="FPRc1")
                return store.rekey(wanted) in ("replaced", "again")
            outcome = store.enrol(replace(samples.enrolment("c2"), fingerprint="NEW"))
            return not isinstance(outcome, EnrolmentRefused) and outcome.cid == "c2"

        taken = at_once(take)
        by_enrolment, by_rekey = set(taken[::2]), set(taken[1::2])
        assert (by_enrolment, by_rekey) in (({True}, {False}), ({False}, {True}))
        assert key_of(store, "NEW").cid == ("c2" if by_enrolment == {True} else cid)

    def test_once_a_key_is_replaced_it_lets_nothing_through(self, store: Store, cid: str) -> None:
        def send(number: int) -> list[object]:
            if number == 0:
                return [store.rekey(samples.rekeying(cid, "NEW"))]
            return [store.accept(samples.submission(cid, n * THREADS + number)) for n in range(5)]

        outcomes = at_once(send)
        assert outcomes[0] == ["replaced"]
        client = store.client(cid)
        assert client is not None
        accepted = [o for found in outcomes[1:] for o in found if isinstance(o, Accepted)]
        assert len(store.changes(cid)) == min(len(accepted), 1)
        assert not isinstance(store.accept(samples.submission(cid, 10_000)), Accepted)
        by_new = replace(samples.submission(cid, 10_000), fingerprint="NEW")
        assert isinstance(store.accept(by_new), Accepted)

    # --- releases and drafts ------------------------------------------------------------------

    def test_one_of_many_puts_a_release(self, store: Store, other: Store) -> None:
        stores = (store, other)
        put = at_once(
            lambda n: stores[n % 2].put_release(replace(samples.release(7), created_by=str(n)))
        )
        assert Counter(put) == {True: 1, False: THREADS - 1}
        kept = store.release(1, 7)
        assert kept is not None
        assert kept.created_by == str(put.index(True))

    def test_one_of_many_changes_a_release(self, store: Store) -> None:
        store.put_release(samples.release(7))
        changed = at_once(lambda n: store.update_release(replace(samples.release(7), note=str(n))))
        assert Counter(changed) == {True: 1, False: THREADS - 1}

    def test_nobody_s_signature_is_lost(self, store: Store) -> None:
        store.put_draft(replace(samples.draft(), sigs=((), ())))

        def sign(number: int) -> None:
            while True:
                draft = store.draft("release-1.7")
                assert draft is not None
                sigs = ((*draft.sigs[0], str(number)), draft.sigs[1])
                if store.update_draft(replace(draft, sigs=sigs)):
                    return

        at_once(sign)
        draft = store.draft("release-1.7")
        assert draft is not None
        assert sorted(draft.sigs[0]) == sorted(map(str, range(THREADS)))
        assert draft.revision == THREADS

    def test_the_same_bytes_put_by_many_are_whole(self, store: Store, other: Store) -> None:
        data = b"0123456789abcdef" * 100_000
        stores = (store, other)
        assert len(set(at_once(lambda n: stores[n % 2].put_blob(data)))) == 1
        assert store.blob(store.put_blob(data)) == data

    def test_bytes_that_come_and_go_are_whole_or_not_there(self, store: Store) -> None:
        data = b"0123456789abcdef" * 100_000
        sha256 = store.put_blob(data)

        def use(number: int) -> list[bytes | None]:
            found = []
            for _ in range(3):
                if number == 0:
                    store.drop_blob(sha256)
                elif number == 1:
                    store.put_blob(data)
                else:
                    found.append(store.blob(sha256))
            return found

        seen = {found for each in at_once(use, 4) for found in each}
        assert seen <= {data, None}
        store.put_blob(data)
        assert store.blob(sha256) == data

    # --- commands -----------------------------------------------------------------------------

    def test_a_target_moves_once_to_each_state(self, store: Store, other: Store, cid: str) -> None:
        queued = samples.queued(store, cid)
        stores = (store, other)
        for state in ("delivered", "started"):
            moved = at_once(
                lambda n, s=state: stores[n % 2].advance_target(queued, cid, s, NOW)  # type: ignore[misc]
            )
            assert Counter(moved) == {True: 1, False: THREADS - 1}
        ended = at_once(
            lambda n: stores[n % 2].advance_target(queued, cid, ENDS[n % 4], NOW, {"by": n})
        )
        assert Counter(ended) == {True: 1, False: THREADS - 1}
        target = store.target(queued, cid)
        assert target is not None
        winner = ended.index(True)
        assert (target.state, target.result) == (ENDS[winner % 4], {"by": winner})
        assert not key_of(store, "FPRc1").has_commands

    def test_one_of_many_queues_a_command(self, store: Store, other: Store) -> None:
        for number in range(THREADS):
            samples.enrolled(store, f"c{number}")
        stores = (store, other)

        def queue(number: int) -> bool:
            mine = replace(samples.command(hosts=2), summary=str(number))
            hosts = [f"c{number}", f"c{(number + 1) % THREADS}"]
            return stores[number % 2].put_command(mine, samples.parts(hosts))

        put = at_once(queue)
        assert Counter(put) == {True: 1, False: THREADS - 1}
        winner = put.index(True)
        command = store.command(samples.command_id("1"))
        assert command is not None
        assert command.summary == str(winner)
        hosts = {f"c{winner}", f"c{(winner + 1) % THREADS}"}
        assert {target.cid for target in store.targets(command.command_id)} == hosts
        for number in range(THREADS):
            has = f"c{number}" in hosts
            assert key_of(store, f"FPRc{number}").has_commands == has
            assert bool(store.due_commands(f"c{number}", NOW)) == has

    def test_who_is_given_a_command_was_not_cancelled_before(self, store: Store) -> None:
        hosts = [f"c{number}" for number in range(THREADS)]
        queued = samples.queued(store, *hosts)

        def use(number: int) -> bool | None:
            if number == 0:
                return store.cancel_command(queued, NOW)
            return store.advance_target(queued, hosts[number], "delivered", NOW)

        moved = at_once(use)
        assert moved[0] is True
        for number, cid in enumerate(hosts):
            target = store.target(queued, cid)
            assert target is not None
            given = number > 0 and moved[number]
            assert target.state == ("delivered" if given else "cancelled")

    def test_a_command_that_ends_while_another_comes_leaves_that_one_open(
        self, store: Store, cid: str
    ) -> None:
        for number in range(10):
            ends = samples.queued(store, cid, name=f"1{number}")

            def use(thread: int, ends: str = ends, number: int = number) -> None:
                if thread == 0:
                    store.advance_target(ends, cid, "done", NOW)
                elif thread == 1:
                    samples.queued(store, cid, name=f"2{number}")
                else:
                    store.due_commands(cid, NOW)

            at_once(use, 3)
            assert key_of(store, "FPRc1").has_commands
            assert len(store.due_commands(cid, NOW)) == 1
            store.advance_target(samples.command_id(f"2{number}"), cid, "done", NOW)
            assert not key_of(store, "FPRc1").has_commands

    def test_expiring_at_once_counts_each_once(self, store: Store) -> None:
        samples.queued(store, *(f"c{number}" for number in range(40)))
        counts = at_once(lambda _: store.expire_targets(NOW + timedelta(days=1), limit=10))
        assert sum(counts) == 40

    # --- processes ----------------------------------------------------------------------------

    def test_processes_move_a_target_once(self, processes: Engine, store: Store, cid: str) -> None:
        names = [samples.queued(store, cid, name=str(number)) for number in range(10)]
        with ExitStack() as stack:
            actors = [processes.start("advance", cid, *names) for _ in range(3)]
            for actor in actors:
                stack.callback(close_pipes, actor)
            said = Counter(line for actor in actors for line in lines_until_done(actor))
        assert {line: n for line, n in said.items() if line.startswith("True")} == {
            f"True {name}": 1 for name in names
        }
        assert not key_of(store, "FPRc1").has_commands

    def test_processes_put_a_release_and_a_next_key_once(
        self, processes: Engine, store: Store, cid: str
    ) -> None:
        with ExitStack() as stack:
            actors = [processes.start("publish", cid, name) for name in "xyz"]
            for actor in actors:
                stack.callback(close_pipes, actor)
            said = Counter(line for actor in actors for line in lines_until_done(actor))
        assert said == {"True 7": 1, "False 7": 2, "replaced c1": 1, "not_your_key c1": 2}
        assert key_of(store, "FPRc1").replaced_by is not None

    # --- being killed ---------------------------------------------------------------------------

    def test_a_command_whose_queueing_is_killed_is_whole_or_not_there(
        self, processes: Engine, store: Store
    ) -> None:
        many = min(10_000, processes.many // 3)
        hosts = [f"c{number}" for number in range(many)]
        for cid in hosts[:3]:
            samples.enrolled(store, cid)
        queued = samples.command_id("1")
        # It says "begun" and is killed at once, then a while later, then ever later.
        for pause in (0, 1, 2, 4, 8, 16, 32):
            actor = processes.start("queue", "1", str(many))
            try:
                assert actor.stdout is not None
                assert actor.stdout.readline() == "begun 1\n"
                for _ in range(pause):
                    if store.command(queued) is not None:
                        assert store.count_targets(queued) == {"pending": many}
            finally:
                close_pipes(actor)  # SIGKILL, in the middle of its work
            counted = store.count_targets(queued)
            there = store.command(queued) is not None
            assert counted == ({"pending": many} if there else {})
            assert len(store.targets(queued, limit=many)) == (many if there else 0)
            assert [len(store.due_commands(cid, NOW)) for cid in hosts[:3]] == [int(there)] * 3
            assert store.expire_targets(NOW) == 0
        # Whatever the killed ones left behind, it can be queued, and comes to an end.
        wanted = samples.command(hosts=many)
        assert store.put_command(wanted, samples.parts(hosts)) is not there
        assert store.count_targets(queued) == {"pending": many}
        for cid in hosts[:3]:
            assert store.advance_target(queued, cid, "done", NOW) is True
            assert store.due_commands(cid, NOW) == []
            assert not key_of(store, f"FPR{cid}").has_commands
        assert store.expire_targets(NOW + timedelta(days=1), limit=10 * many) == many - 3

    def test_bytes_whose_writer_is_killed_are_whole_or_not_there(
        self, processes: Engine, store: Store
    ) -> None:
        data = samples.large_bytes()
        actor = processes.start("blob")
        try:
            assert actor.stdout is not None
            assert actor.stdout.readline() == "begun 1\n"
        finally:
            close_pipes(actor)
        sha256 = samples.sha256_of(data)
        assert store.blob(sha256) in (None, data)
        assert store.put_blob(data) == sha256
        assert store.blob(sha256) == data
