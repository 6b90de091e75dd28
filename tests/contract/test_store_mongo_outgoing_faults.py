"""What the MongoDB engine leaves behind when it is killed while it hands something out.

Each piece of work is killed before its first operation, before its second, and so on. After each,
others see all of it or nothing, and the same again brings it to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from qlmdm_core.errors import StoreCorruptError
from qlmdm_core.store.mongo import MongoStore, queueing
from qlmdm_core.store.mongo.releases import PIECE_BYTES
from qlmdm_core.testing.fake_mongo import FakeMongo
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.samples import NOW

HOSTS = ["c1", "c2", "c3", "nobody", "nobody else"]
QUEUED = samples.command_id("1")
LATER = NOW + timedelta(days=1)


class KilledError(Exception):
    """The process was killed at this point."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are several of them."""
    monkeypatch.setattr(queueing, "PIECE", 2)


def killed_at_each_operation(
    prepare: Callable[[MongoStore], object], work: Callable[[MongoStore], object], least: int
) -> Iterator[tuple[FakeMongo, MongoStore, bool]]:
    """A server on which `work` was killed, another store on it, and whether it came to its end."""
    number, done = 0, False
    while not done:
        server = FakeMongo()
        store = server.store()
        store.setup()
        prepare(store)
        operations = iter(range(1000))

        def before(_c: str, _m: str, ops: Iterator[int] = operations, at: int = number) -> None:
            if next(ops) == at:
                raise KilledError

        server.before = before
        try:
            work(store)
            done = True
        except KilledError:
            number += 1
        server.before = nothing_happens
        yield server, server.store(), done
    assert number >= least


def nothing_happens(_collection: str, _method: str) -> None:
    """For `FakeMongo.before`: go on."""


def enrol_three(store: MongoStore) -> None:
    for cid in HOSTS[:3]:
        samples.enrolled(store, cid)


def queue(store: MongoStore) -> bool:
    return store.put_command(samples.command(hosts=5), samples.parts(HOSTS, each=2))


def enrol_and_queue(store: MongoStore) -> None:
    enrol_three(store)
    queue(store)


def has_commands(store: MongoStore, cid: str) -> bool:
    key = store.key(f"FPR{cid}")
    assert key is not None
    return key.has_commands


def nothing_is_left(server: FakeMongo) -> None:
    """No try is registered, no mark is in a client, and each target and part is a command's."""
    attempts = {found["attempt"] for found in server.collection("commands").find({})}
    assert server.collection("attempts").count_documents({}) == 0
    for name in ("targets", "parts"):
        assert {found["attempt"] for found in server.collection(name).find({})} <= attempts
    for client in server.collection("clients").find({}):
        for attempt in client.get("commands", {}):
            target = server.collection("targets").find_one({"_id": f"{attempt}:{client['_id']}"})
            assert "open_cid" in target


# --- queueing -----------------------------------------------------------------------------------


def test_a_command_is_queued_for_all_or_for_nobody() -> None:
    for server, store, _ in killed_at_each_operation(enrol_three, queue, 12):
        there = store.command(QUEUED) is not None
        assert store.count_targets(QUEUED) == ({"pending": 5} if there else {})
        assert len(store.targets(QUEUED)) == (5 if there else 0)
        assert (store.target(QUEUED, "c1") is not None) == there
        for cid in HOSTS[:3]:
            assert len(store.due_commands(cid, NOW)) == int(there)
            assert len(store.targets_of(cid)) == int(there)
            if there:
                assert has_commands(store, cid)
        if not there:
            assert store.advance_target(QUEUED, "c1", "done", NOW) is None
        # Again: it is queued, once, and what was left behind is gone.
        assert queue(store) is not there
        assert store.count_targets(QUEUED) == {"pending": 5}
        assert [len(store.due_commands(cid, NOW)) for cid in HOSTS[:3]] == [1, 1, 1]
        assert store.advance_target(QUEUED, "c1", "done", NOW) is True
        assert not has_commands(store, "c1")
        assert store.expire_targets(LATER) == 4
        assert [has_commands(store, cid) for cid in HOSTS[:3]] == [False, False, False]
        nothing_is_left(server)


def test_what_is_never_queued_again_is_swept_when_it_expires() -> None:
    for server, store, done in killed_at_each_operation(enrol_three, queue, 12):
        there = store.command(QUEUED) is not None
        assert store.expire_targets(LATER) == (5 if there else 0)
        assert [has_commands(store, cid) for cid in HOSTS[:3]] == [False, False, False]
        assert there or not done
        nothing_is_left(server)
        assert server.collection("targets").count_documents({}) == (5 if there else 0)


def test_who_comes_second_leaves_nothing_behind() -> None:
    server = FakeMongo()
    store = server.store()
    store.setup()
    enrol_three(store)

    def the_other_is_faster(collection: str, method: str) -> None:
        if (collection, method) == ("commands", "insert_one"):
            server.before = nothing_happens
            other = replace(samples.command(), summary="theirs")
            assert server.store().put_command(other, samples.parts(["c3"]))

    server.before = the_other_is_faster
    assert queue(store) is False
    command = store.command(QUEUED)
    assert command is not None
    assert command.summary == "theirs"
    assert [target.cid for target in store.targets(QUEUED)] == ["c3"]
    assert [has_commands(store, cid) for cid in HOSTS[:3]] == [False, False, True]
    nothing_is_left(server)


# --- moving on ----------------------------------------------------------------------------------


def test_an_end_that_was_interrupted_is_seen_and_its_mark_goes_away() -> None:
    def end(store: MongoStore) -> object:
        return store.advance_target(QUEUED, "c1", "done", NOW, {"exit_status": 0})

    for server, store, _ in killed_at_each_operation(enrol_and_queue, end, 4):
        target = store.target(QUEUED, "c1")
        assert target is not None
        ended = target.state == "done"
        assert (target.result, target.state) in (({"exit_status": 0}, "done"), (None, "pending"))
        # A mark that is left over costs one look, and is gone then.
        assert len(store.due_commands("c1", NOW)) == int(not ended)
        assert has_commands(store, "c1") is not ended
        assert end(store) is not ended
        assert not has_commands(store, "c1")
        nothing_is_left(server)


def test_a_cancelled_command_is_cancelled_from_the_first_write_on() -> None:
    def cancel(store: MongoStore) -> object:
        return store.cancel_command(QUEUED, NOW)

    def prepare(store: MongoStore) -> None:
        enrol_and_queue(store)
        store.advance_target(QUEUED, "c3", "delivered", NOW)

    for server, store, _ in killed_at_each_operation(prepare, cancel, 6):
        command = store.command(QUEUED)
        assert command is not None
        if command.cancelled_at is not None:
            assert store.count_targets(QUEUED) == {"cancelled": 4, "delivered": 1}
            assert store.targets(QUEUED, states=["pending"]) == []
            assert len(store.targets(QUEUED, states=["cancelled"])) == 4
            assert store.due_commands("c1", NOW) == []
            assert not has_commands(store, "c1")
            assert store.advance_target(QUEUED, "c2", "delivered", LATER) is False
            assert store.expire_targets(LATER) == 1  # c3; what was cancelled stays so
            assert store.count_targets(QUEUED) == {"cancelled": 4, "expired": 1}
        else:
            assert store.count_targets(QUEUED) == {"pending": 4, "delivered": 1}
        assert store.cancel_command(QUEUED, LATER)
        assert store.count_targets(QUEUED)["cancelled"] == 4
        for cid in HOSTS[:3]:
            store.due_commands(cid, NOW)  # the look that a mark which is left over costs
        assert not has_commands(store, "c2")
        nothing_is_left(server)


def test_expiring_that_was_interrupted_goes_on() -> None:
    def expire(store: MongoStore) -> object:
        return store.expire_targets(LATER)

    for server, store, _ in killed_at_each_operation(enrol_and_queue, expire, 4):
        store.expire_targets(LATER)
        assert store.count_targets(QUEUED) == {"expired": 5}
        for cid in HOSTS[:3]:
            assert store.due_commands(cid, NOW) == []
            assert not has_commands(store, cid)
        nothing_is_left(server)


def meanwhile(
    server: FakeMongo, collection: str, method: str, other: Callable[[MongoStore], object]
) -> None:
    """Have somebody else do something right before the next such operation."""

    def before(found: str, called: str) -> None:
        if (found, called) == (collection, method):
            server.before = nothing_happens
            other(server.store())

    server.before = before


@pytest.fixture
def server() -> FakeMongo:
    return FakeMongo()


@pytest.fixture
def store(server: FakeMongo) -> MongoStore:
    store = server.store()
    store.setup()
    enrol_and_queue(store)
    return store


def test_who_is_overtaken_moves_nothing_back(server: FakeMongo, store: MongoStore) -> None:
    meanwhile(
        server,
        *("targets", "update_one"),
        lambda other: other.advance_target(QUEUED, "c1", "done", NOW, {"by": "other"}),
    )
    assert store.advance_target(QUEUED, "c1", "started", LATER, {"by": "me"}) is False
    target = store.target(QUEUED, "c1")
    assert target is not None
    assert (target.state, target.result, target.started_at) == ("done", {"by": "other"}, None)


def test_who_tells_more_too_late_changes_nothing(server: FakeMongo, store: MongoStore) -> None:
    store.advance_target(QUEUED, "c1", "started", NOW)
    meanwhile(
        server,
        *("targets", "update_one"),
        lambda other: other.advance_target(QUEUED, "c1", "failed", NOW, {"by": "other"}),
    )
    assert store.advance_target(QUEUED, "c1", "started", LATER, {"by": "me"}) is False
    target = store.target(QUEUED, "c1")
    assert target is not None
    assert target.result == {"by": "other"}


def test_what_was_cancelled_meanwhile_is_not_delivered(
    server: FakeMongo, store: MongoStore
) -> None:
    meanwhile(server, "targets", "update_one", lambda other: other.cancel_command(QUEUED, NOW))
    assert store.advance_target(QUEUED, "c1", "delivered", LATER) is False
    assert store.count_targets(QUEUED) == {"cancelled": 5}


def test_what_began_meanwhile_does_not_expire(server: FakeMongo, store: MongoStore) -> None:
    meanwhile(
        server,
        *("targets", "update_many"),
        lambda other: other.advance_target(QUEUED, "c1", "started", NOW),
    )
    assert store.expire_targets(LATER) == 4
    assert store.count_targets(QUEUED) == {"expired": 4, "started": 1}
    assert has_commands(store, "c1")


# --- keys ---------------------------------------------------------------------------------------


def test_a_key_is_replaced_whole_or_not_at_all() -> None:
    def rekey(store: MongoStore) -> object:
        return store.rekey(samples.rekeying("c1", "NEW"))

    for _, store, _done in killed_at_each_operation(enrol_three, rekey, 4):
        new, old = store.key("NEW"), store.key("FPRc1")
        assert old is not None
        assert old.public_key == "KEY c1"
        assert old.replaced_by == (None if new is None else "NEW")
        client = store.client("c1")
        assert client is not None
        assert (client.fingerprint, client.public_key) == (
            ("FPRc1", "KEY c1") if new is None else ("NEW", "KEY NEW")
        )
        # Nobody else can have either of them; its owner's next try brings it to its end.
        assert store.rekey(samples.rekeying("c2", "FPRc1")) == "key_in_use"
        assert rekey(store) == ("replaced" if new is None else "again")
        assert store.rekey(samples.rekeying("c2", "NEW")) == "key_in_use"


def test_who_is_revoked_meanwhile_replaces_no_key(server: FakeMongo, store: MongoStore) -> None:
    meanwhile(
        server,
        *("clients", "update_one"),
        lambda other: other.set_client("c1", status="revoked"),
    )
    assert store.rekey(samples.rekeying("c1", "NEW")) == "not_your_key"
    assert store.key("NEW") is None


def test_of_two_next_keys_the_first_counts(server: FakeMongo, store: MongoStore) -> None:
    meanwhile(
        server,
        *("clients", "update_one"),
        lambda other: other.rekey(samples.rekeying("c1", "FIRST")),
    )
    assert store.rekey(samples.rekeying("c1", "SECOND")) == "not_your_key"
    assert store.key("SECOND") is None
    key = store.key("FPRc1")
    assert key is not None
    assert key.replaced_by == "FIRST"


def test_a_key_that_somebody_takes_meanwhile_is_in_use(
    server: FakeMongo, store: MongoStore
) -> None:
    meanwhile(
        server,
        *("clients", "update_one"),
        lambda other: other.rekey(samples.rekeying("c2", "NEW")),
    )
    assert store.rekey(samples.rekeying("c1", "NEW")) == "key_in_use"
    key = store.key("FPRc1")
    assert key is not None
    assert key.replaced_by is None


# --- bytes --------------------------------------------------------------------------------------

DATA = b"x" * (2 * PIECE_BYTES + 5)


def test_bytes_are_there_whole_or_not_at_all() -> None:
    for server, store, _ in killed_at_each_operation(
        lambda _: None, lambda store: store.put_blob(DATA), 6
    ):
        sha256 = samples.sha256_of(DATA)
        assert store.blob(sha256) in (None, DATA)
        assert store.put_blob(DATA) == sha256
        assert store.blob(sha256) == DATA
        if server.collection("pieces").count_documents({}) != 3:
            # Only if it was killed between its last two operations: then once put again.
            store.drop_blob(sha256)
            store.put_blob(DATA)
        assert server.collection("pieces").count_documents({}) == 3
        assert max(len(p["data"]) for p in server.collection("pieces").find({})) <= PIECE_BYTES


def test_bytes_are_dropped_from_the_first_write_on() -> None:
    for server, store, _ in killed_at_each_operation(
        lambda store: store.put_blob(DATA),
        lambda store: store.drop_blob(samples.sha256_of(DATA)),
        2,
    ):
        sha256 = samples.sha256_of(DATA)
        there = server.collection("blobs").count_documents({}) == 1
        assert store.blob(sha256) == (DATA if there else None)
        assert store.put_blob(DATA) == sha256
        assert store.blob(sha256) == DATA
        assert server.collection("pieces").count_documents({}) == 3


@pytest.mark.parametrize("spoil", ["changed", "missing"])
def test_damaged_bytes_are_told_and_put_right(spoil: str) -> None:
    server = FakeMongo()
    store = server.store()
    store.setup()
    sha256 = store.put_blob(DATA)
    pieces = server.collection("pieces")
    if spoil == "changed":
        pieces.update_one({}, {"$set": {"data": b"y"}})
    else:
        pieces.delete_one({})
    with pytest.raises(StoreCorruptError, match=rf"{sha256} are damaged"):
        store.blob(sha256)
    assert store.put_blob(DATA) == sha256
    assert store.blob(sha256) == DATA
    assert pieces.count_documents({}) == 3


def test_who_puts_the_same_bytes_second_leaves_no_pieces(
    server: FakeMongo, store: MongoStore
) -> None:
    def insert_only(other: MongoStore) -> None:
        # What the faster one leaves, if it is killed before it deletes what was left behind.
        def before(collection: str, method: str) -> None:
            if (collection, method) == ("pieces", "count_documents"):
                raise KilledError

        server.before = before
        with pytest.raises(KilledError):
            other.put_blob(DATA)
        server.before = nothing_happens

    meanwhile(server, "blobs", "insert_one", insert_only)
    sha256 = store.put_blob(DATA)
    assert store.blob(sha256) == DATA
    assert server.collection("pieces").count_documents({}) == 3


def test_pieces_that_were_taken_for_left_behind_are_written_again(
    server: FakeMongo, store: MongoStore
) -> None:
    meanwhile(
        server,
        *("blobs", "insert_one"),
        lambda other: other.drop_blob(other.put_blob(DATA)),
    )
    sha256 = store.put_blob(DATA)
    assert store.blob(sha256) == DATA
    assert server.collection("pieces").count_documents({}) == 3
