"""The contract, part nine: commands, from queueing to their end."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest

from qlmdm_core.errors import StoreError
from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import (
    FINAL_STATES,
    STATE_RANK,
    CommandState,
    CommandTarget,
    DueCommand,
)
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import StoreFixtures
from qlmdm_core.testing.store_contract.keys import key_of
from qlmdm_core.testing.store_contract.samples import HOSTILE, KEPT, NOW

LATER = NOW + timedelta(minutes=1)
LATER_KEPT = KEPT + timedelta(minutes=1)
EXPIRED = NOW + timedelta(hours=2)
STATES: tuple[CommandState, ...] = get_args(CommandState)


def target_of(store: Store, command_id: str, cid: str) -> CommandTarget:
    """A target that must be there."""
    target = store.target(command_id, cid)
    assert target is not None
    return target


def rank(state: str) -> int:
    """How far a state is."""
    return 3 if state in FINAL_STATES else STATE_RANK[state]


class CommandsContract(StoreFixtures):
    """Queueing, handing out, moving on, ending."""

    # --- queueing -----------------------------------------------------------------------------

    def test_a_queued_command_comes_back(self, store: Store, other: Store) -> None:
        assert store.command(samples.command_id("1")) is None
        hosts = [f"c{number}" for number in range(25)]
        wanted = samples.command(hosts=25)
        assert store.put_command(replace(wanted, created_at=NOW), samples.parts(hosts, each=10))
        assert other.command(wanted.command_id) == wanted
        assert other.count_targets(wanted.command_id) == {"pending": 25}
        found = other.targets(wanted.command_id)
        assert [target.cid for target in found] == sorted(hosts)
        assert {target.cid: target.part for target in found}["c24"] == 2
        assert found[0] == CommandTarget(
            command_id=wanted.command_id, cid="c0", part=0, state="pending", updated_at=KEPT
        )

    def test_a_command_with_nothing_but_what_it_needs(self, store: Store) -> None:
        bare = replace(samples.command(), payload_sha256=None, about=None, summary="")
        assert store.put_command(bare, [])
        assert store.command(bare.command_id) == bare
        assert store.count_targets(bare.command_id) == {}

    def test_an_id_is_there_once(self, store: Store, cid: str) -> None:
        queued = samples.queued(store, cid)
        samples.enrolled(store, "c2")
        other = replace(samples.command(), summary="another")
        assert not store.put_command(other, samples.parts(["c2", "c3"]))
        assert store.command(queued) == samples.command()
        assert [target.cid for target in store.targets(queued)] == [cid]
        assert not key_of(store, "FPRc2").has_commands
        assert store.due_commands("c2", NOW) == []

    def test_a_client_that_is_named_twice_queues_nothing(self, store: Store, cid: str) -> None:
        wanted = samples.command(hosts=2)
        for parts in (samples.parts([cid, cid]), samples.parts([cid, cid], each=1)):
            with pytest.raises(StoreError, match=rf"{cid} is in the command twice"):
                store.put_command(wanted, parts)
        assert store.command(wanted.command_id) is None
        assert store.targets_of(cid) == []
        assert store.put_command(wanted, samples.parts([cid]))

    def test_a_client_that_does_not_exist_gets_a_target(self, store: Store) -> None:
        queued = samples.queued(store, "nobody")
        assert target_of(store, queued, "nobody").state == "pending"
        assert store.advance_target(queued, "nobody", "done", NOW) is True

    def test_commands_are_listed_newest_first_in_pages(self, store: Store) -> None:
        for number in range(7):
            created_at = KEPT + timedelta(milliseconds=number // 2)  # two each of one moment
            kind = "wipe" if number % 3 == 0 else "script"
            samples.queued(store, name=str(number), created_at=created_at, kind=kind)
        assert store.commands(after="no such command") == []
        by_kind: dict[str | None, str] = {None: "6543210", "wipe": "630", "script": "5421", "x": ""}
        for wanted, expected in by_kind.items():
            found: list[str] = []
            while page := store.commands(
                after=samples.command_id(found[-1]) if found else None, limit=2, kind=wanted
            ):
                assert len(page) <= 2
                found += [command.command_id.lstrip("0") or "0" for command in page]
            assert "".join(found) == expected

    # --- what a client is given ---------------------------------------------------------------

    def test_a_client_is_given_its_own_part_oldest_first(self, store: Store) -> None:
        new = samples.queued(store, "c1", name="1", created_at=LATER_KEPT)
        hosts = [f"c{number}" for number in range(3)]
        old = samples.command("2", hosts=3)
        store.put_command(old, samples.parts(hosts, each=1))
        due = store.due_commands("c1", LATER)
        assert due[0] == DueCommand(command=old, document=b'{"part": 1}', state="pending")
        assert [d.command.command_id for d in due] == [old.command_id, new]
        assert store.due_commands("c9", NOW) == []

    def test_a_held_command_is_not_given_out(self, store: Store, cid: str) -> None:
        samples.queued(store, cid, not_before=LATER_KEPT)
        assert store.due_commands(cid, LATER_KEPT - timedelta(milliseconds=1)) == []
        assert len(store.due_commands(cid, LATER_KEPT)) == 1

    def test_an_expired_command_is_not_given_out(self, store: Store, cid: str) -> None:
        samples.queued(store, cid, expires_at=LATER_KEPT)
        assert len(store.due_commands(cid, LATER_KEPT - timedelta(milliseconds=1))) == 1
        assert store.due_commands(cid, LATER_KEPT) == []

    def test_a_cancelled_command_is_not_given_out(self, store: Store, cid: str) -> None:
        delivered = samples.queued(store, cid, name="2")
        store.advance_target(delivered, cid, "delivered", NOW)
        for queued in (samples.queued(store, cid), delivered):
            assert store.cancel_command(queued, NOW)
        assert store.due_commands(cid, NOW) == []

    @pytest.mark.parametrize("state", STATES)
    def test_what_is_not_finished_is_due(self, store: Store, cid: str, state: CommandState) -> None:
        queued = samples.queued(store, cid)
        store.advance_target(queued, cid, state, NOW)
        is_open = state not in FINAL_STATES
        assert [due.state for due in store.due_commands(cid, NOW)] == ([state] if is_open else [])
        assert key_of(store, "FPRc1").has_commands == is_open

    def test_one_open_command_of_several_is_enough_to_have_commands(
        self, store: Store, cid: str
    ) -> None:
        first, second = (samples.queued(store, cid, name=name) for name in "12")
        store.advance_target(first, cid, "done", NOW)
        assert key_of(store, "FPRc1").has_commands
        store.advance_target(second, cid, "failed", NOW)
        assert not key_of(store, "FPRc1").has_commands

    # --- moving on ----------------------------------------------------------------------------

    @pytest.mark.parametrize("present", STATES)
    @pytest.mark.parametrize("wanted", STATES)
    def test_a_state_moves_forward_only(
        self, store: Store, cid: str, present: CommandState, wanted: CommandState
    ) -> None:
        queued = samples.queued(store, cid)
        store.advance_target(queued, cid, present, NOW)
        before = target_of(store, queued, cid)
        assert before.state == present
        moves = rank(wanted) > rank(present)
        assert store.advance_target(queued, cid, wanted, LATER) is moves
        after = target_of(store, queued, cid)
        if not moves:
            assert after == before
            return
        named = "finished_at" if wanted in FINAL_STATES else f"{wanted}_at"
        changes = {"state": wanted, "updated_at": LATER_KEPT, named: LATER_KEPT}
        assert after == replace(before, **changes)  # type: ignore[arg-type]

    def test_the_way_of_a_target_is_kept(self, store: Store, cid: str) -> None:
        queued = samples.queued(store, cid)
        for number, state in enumerate(("delivered", "started", "done"), 1):
            at = KEPT + timedelta(minutes=number)
            assert store.advance_target(queued, cid, state, at)  # type: ignore[arg-type]
        target = target_of(store, queued, cid)
        times = (target.delivered_at, target.started_at, target.finished_at)
        assert times == tuple(KEPT + timedelta(minutes=number) for number in (1, 2, 3))
        assert target.updated_at == target.finished_at

    def test_a_result_comes_back_as_it_was(self, store: Store, cid: str) -> None:
        for number, value in enumerate(({name: [name] for name in HOSTILE}, [], 0, "", False)):
            queued = samples.queued(store, cid, name=str(number))
            assert store.advance_target(queued, cid, "done", NOW, value)
            result = target_of(store, queued, cid).result
            assert result == value
            assert type(result) is type(value)

    def test_a_large_result_comes_back(self, store: Store, cid: str) -> None:
        queued = samples.queued(store, cid)
        result = {"stdout": "x" * 1_000_000, "stderr": "\0\u202e" * 10_000}
        assert store.advance_target(queued, cid, "failed", NOW, result)
        assert target_of(store, queued, cid).result == result

    def test_started_may_tell_more_and_more(self, store: Store, cid: str) -> None:
        queued = samples.queued(store, cid)
        assert store.advance_target(queued, cid, "started", NOW, {"stages": ["a"]}) is True
        before = target_of(store, queued, cid)
        more = {"stages": ["a", "b"]}
        assert store.advance_target(queued, cid, "started", LATER, more) is False
        assert target_of(store, queued, cid) == replace(before, result=more)
        assert store.advance_target(queued, cid, "started", LATER) is False
        assert target_of(store, queued, cid) == replace(before, result=more)
        assert store.advance_target(queued, cid, "done", LATER) is True
        assert target_of(store, queued, cid).result == more

    @pytest.mark.parametrize("state", ["delivered", "done", "cancelled"])
    def test_no_other_word_changes_a_result(
        self, store: Store, cid: str, state: CommandState
    ) -> None:
        queued = samples.queued(store, cid)
        store.advance_target(queued, cid, state, NOW, {"first": 1})
        before = target_of(store, queued, cid)
        assert store.advance_target(queued, cid, state, LATER, {"second": 2}) is False
        if state in FINAL_STATES:
            assert store.advance_target(queued, cid, "started", LATER, {"late": 3}) is False
        assert target_of(store, queued, cid) == before

    def test_whom_it_was_not_addressed_to_moves_nothing(self, store: Store, cid: str) -> None:
        samples.enrolled(store, "c2")
        queued = samples.queued(store, cid)
        for command_id in (queued, samples.command_id("9"), *HOSTILE):
            for whose in ("c2", *HOSTILE):
                assert store.advance_target(command_id, whose, "done", NOW) is None
                assert store.target(command_id, whose) is None
        assert target_of(store, queued, cid).state == "pending"

    @pytest.mark.parametrize("state", ["", "Done", "silent", "$set", "state = 'done'"])
    def test_a_word_that_is_no_state_is_refused(self, store: Store, cid: str, state: str) -> None:
        queued = samples.queued(store, cid)
        with pytest.raises(StoreError, match="no state"):
            store.advance_target(queued, cid, state, NOW)  # type: ignore[arg-type]
        assert target_of(store, queued, cid).state == "pending"

    # --- lists of targets ---------------------------------------------------------------------

    def test_targets_are_listed_by_state_in_pages(self, store: Store) -> None:
        hosts = [f"c{number:02}" for number in range(20)]
        queued = samples.queued(store, *hosts)
        samples.queued(store, *hosts, name="2")
        for number, cid in enumerate(hosts):
            if number % 3:
                store.advance_target(queued, cid, "done" if number % 3 == 1 else "failed", NOW)
        assert store.count_targets(queued) == {"pending": 7, "done": 7, "failed": 6}
        cases: list[tuple[list[CommandState] | None, list[str]]] = [
            (None, hosts),
            ([], []),
            (["done"], hosts[1::3]),
            (["pending", "failed", "failed"], [h for n, h in enumerate(hosts) if n % 3 != 1]),
            (["expired"], []),
        ]
        for states, expected in cases:
            found: list[str] = []
            while page := store.targets(
                queued, states=states, after=found[-1] if found else None, limit=4
            ):
                assert len(page) <= 4
                found += [target.cid for target in page]
            assert found == expected
        assert store.targets("no such command") == []
        assert store.count_targets("no such command") == {}

    def test_the_commands_of_a_client_newest_first(self, store: Store, cid: str) -> None:
        first, second, third = (samples.queued(store, cid, "c2", name=name) for name in "123")
        store.advance_target(second, cid, "done", NOW + timedelta(seconds=2))
        store.advance_target(first, cid, "delivered", NOW + timedelta(seconds=1))
        found = [target.command_id for target in store.targets_of(cid)]
        assert found == [second, first, third]
        assert [t.command_id for t in store.targets_of(cid, limit=2)] == [second, first]
        assert store.targets_of("nobody") == []

    # --- ending -------------------------------------------------------------------------------

    def test_cancelling_ends_what_was_not_delivered(self, store: Store) -> None:
        for cid in ("c1", "c2", "c3", "c4"):
            samples.enrolled(store, cid)
        queued = samples.queued(store, "c1", "c2", "c3", "c4")
        states: dict[str, CommandState] = {"c2": "delivered", "c3": "started", "c4": "done"}
        for cid, state in states.items():
            store.advance_target(queued, cid, state, NOW)
        assert store.cancel_command(queued, LATER)
        assert [t.state for t in store.targets(queued)] == ["cancelled", *states.values()]
        target = target_of(store, queued, "c1")
        assert (target.updated_at, target.finished_at) == (LATER_KEPT, LATER_KEPT)
        assert store.count_targets(queued) == dict.fromkeys(("cancelled", *states.values()), 1)
        assert [t.cid for t in store.targets(queued, states=["cancelled", "done"])] == ["c1", "c4"]
        assert store.targets(queued, states=["pending"]) == []
        assert [t.state for t in store.targets_of("c1")] == ["cancelled"]
        for number, has in enumerate((False, True, True, False), 1):
            assert key_of(store, f"FPRc{number}").has_commands == has
        command = store.command(queued)
        assert command is not None
        assert command.cancelled_at == LATER_KEPT
        # Who was not told in time goes on to its end; who was not given it never begins.
        assert store.advance_target(queued, "c2", "started", LATER) is True
        assert store.advance_target(queued, "c1", "delivered", LATER) is False
        assert store.advance_target(queued, "c1", "started", LATER, {"x": 1}) is False

    def test_cancelling_again_changes_nothing(self, store: Store, cid: str) -> None:
        assert not store.cancel_command(samples.command_id("1"), NOW)
        queued = samples.queued(store, cid)
        assert store.cancel_command(queued, NOW)
        assert store.cancel_command(queued, LATER)
        command = store.command(queued)
        assert command is not None
        assert command.cancelled_at == KEPT
        assert target_of(store, queued, cid).finished_at == KEPT

    def test_what_never_began_expires(self, store: Store) -> None:
        for number in range(1, 5):
            samples.enrolled(store, f"c{number}")
        queued = samples.queued(store, "c1", "c2", "c3", "c4")
        samples.queued(store, "c1", name="2", expires_at=KEPT + timedelta(days=9))
        states: dict[str, CommandState] = {"c2": "delivered", "c3": "started", "c4": "done"}
        for cid, state in states.items():
            store.advance_target(queued, cid, state, NOW)
        assert store.expire_targets(KEPT + timedelta(hours=1, milliseconds=-1)) == 0
        assert store.expire_targets(EXPIRED) == 2
        assert store.expire_targets(EXPIRED) == 0
        found = [target.state for target in store.targets(queued)]
        assert found == ["expired", "expired", "started", "done"]
        assert target_of(store, queued, "c2").finished_at == KEPT + timedelta(hours=2)
        assert store.count_targets(samples.command_id("2")) == {"pending": 1}
        for number, has in enumerate((True, False, True, False), 1):
            assert key_of(store, f"FPRc{number}").has_commands == has
        # What began may still end.
        assert store.advance_target(queued, "c3", "done", EXPIRED) is True
        assert store.advance_target(queued, "c1", "started", EXPIRED) is False

    def test_targets_expire_in_pieces(self, store: Store) -> None:
        for name in "12":
            samples.queued(store, *(f"c{number}" for number in range(7)), name=name)
        store.cancel_command(samples.command_id("2"), NOW)
        samples.queued(store, *(f"c{number}" for number in range(5)), name="3")
        store.advance_target(samples.command_id("3"), "c0", "delivered", NOW)
        expired = []
        while count := store.expire_targets(EXPIRED, limit=5):
            expired.append(count)
        assert expired == [5, 5, 2]
        assert store.count_targets(samples.command_id("1")) == {"expired": 7}
        assert store.count_targets(samples.command_id("2")) == {"cancelled": 7}
        assert store.count_targets(samples.command_id("3")) == {"expired": 5}
