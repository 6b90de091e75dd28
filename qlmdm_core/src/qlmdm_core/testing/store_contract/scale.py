"""The contract, part six: long lists."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from qlmdm_core.store import Store
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import Engine, StoreFixtures
from qlmdm_core.testing.store_contract.samples import NOW


class ScaleContract(StoreFixtures):
    """As many clients as the engine under test bears (`Engine.many`)."""

    def test_a_long_list_of_clients_comes_in_pages(self, engine: Engine, store: Store) -> None:
        store.add_invitation(samples.invitation())
        wanted = [
            samples.enrolment(f"{number * 7919 % engine.many:08x}", hostname=f"h{number % 1000:04}")
            for number in range(engine.many)
        ]
        if engine.seed is not None:
            engine.seed(store, wanted)
        else:
            for enrolment in wanted:
                store.enrol(enrolment)
        assert store.count_clients() == {"active": engine.many}
        seen: list[tuple[str, str]] = []
        after = None
        while True:
            page = store.clients(after=after)
            seen += [(client.hostname, client.cid) for client in page.clients]
            after = page.after
            if after is None:
                break
        assert seen == sorted((e.hostname, e.cid) for e in wanted)
        for everything in (True, False):
            targets: list[str] = []
            while found := store.audit_targets(
                NOW, everything=everything, after=targets[-1] if targets else None, limit=5000
            ):
                targets += [target.client.cid for target in found]
            assert targets == sorted(e.cid for e in wanted)

    def test_a_command_for_the_whole_fleet_is_queued_and_listed(
        self, engine: Engine, store: Store
    ) -> None:
        hosts = [f"{number * 7919 % engine.many:08x}" for number in range(engine.many)]
        wanted = samples.command(hosts=engine.many)
        assert store.put_command(wanted, samples.parts(hosts))
        assert store.count_targets(wanted.command_id) == {"pending": engine.many}
        assert len(store.due_commands(hosts[-1], NOW)) == 1
        for cid in hosts[:3]:
            assert store.advance_target(wanted.command_id, cid, "done", NOW)
        seen: list[str] = []
        while found := store.targets(
            wanted.command_id, states=["pending"], after=seen[-1] if seen else None, limit=5000
        ):
            seen += [target.cid for target in found]
        assert seen == sorted(set(hosts) - set(hosts[:3]))
        assert store.cancel_command(wanted.command_id, NOW)
        assert store.count_targets(wanted.command_id) == {"cancelled": engine.many - 3, "done": 3}
