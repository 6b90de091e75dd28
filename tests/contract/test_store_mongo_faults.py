"""What the MongoDB engine does when it is interrupted, spoilt, refused or alone."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pymongo.errors
import pytest

from qlmdm_core.errors import (
    NotSetUpError,
    SettingsError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
)
from qlmdm_core.store.mongo import MongoStore, open_mongo
from qlmdm_core.store.mongo.connection import Connection, connection_of, explain
from qlmdm_core.store.mongo.schema import INDEXES, MIGRATIONS, Migration
from qlmdm_core.store.records import Accepted, Enrolled, EnrolmentRefused, Judgement
from qlmdm_core.testing.fake_mongo import FakeMongo
from qlmdm_core.testing.store_contract import samples


class KilledError(Exception):
    """The process was killed at this point."""


@pytest.fixture
def server() -> FakeMongo:
    return FakeMongo()


@pytest.fixture
def store(server: FakeMongo) -> Iterator[MongoStore]:
    store = server.store()
    store.setup()
    yield store
    store.close()


def nothing_happens(_collection: str, _method: str) -> None:
    """For `FakeMongo.before`: go on."""


def interrupted_at_each_operation(
    prepare: Callable[[MongoStore], None], work: Callable[[MongoStore], object]
) -> Iterator[tuple[FakeMongo, MongoStore]]:
    """A server on which `work` was killed before its first operation, one before its second, …

    Each is prepared anew. The last one is that on which the work came to its end.
    """
    number, interrupted = 0, True
    while interrupted:
        server = FakeMongo()
        store = server.store()
        store.setup()
        prepare(store)
        server.before = kill_before(number)
        try:
            work(store)
        except KilledError:
            number += 1
        else:
            interrupted = False
        server.before = nothing_happens
        yield server, store
    assert number >= 4


def kill_before(number: int) -> Callable[[str, str], None]:
    """Raise before the operation with this number, counting from 0."""
    done = iter(range(1000))

    def before(_collection: str, _method: str) -> None:
        if next(done) == number:
            raise KilledError

    return before


# --- interrupted --------------------------------------------------------------------------------


def test_settling_interrupted_anywhere_loses_and_doubles_nothing() -> None:
    expected = {cid: [f"{cid}:2:b", f"{cid}:1:a", f"{cid}:1:b"] for cid in ("c1", "c2")}

    def prepare(store: MongoStore) -> None:
        for cid in expected:
            samples.enrolled(store, cid)
            first = {"a": samples.result({"x": 1}), "b": samples.result({"x": 1})}
            store.accept(samples.submission(cid, 1, first))
            store.accept(samples.submission(cid, 2, {"b": samples.result({"x": 2})}))

    def history(store: MongoStore) -> dict[str, list[str]]:
        found = {cid: [change.change_id for change in store.changes(cid)] for cid in expected}
        return {cid: [ids[0], *sorted(ids[1:])] for cid, ids in found.items()}

    for server, store in interrupted_at_each_operation(prepare, MongoStore.settle_changes):
        assert history(store) == expected
        store.settle_changes()
        assert history(store) == expected
        assert server.collection("changes").count_documents({}) == 6
        assert server.collection("clients").count_documents({"unsettled": 1}) == 0


def test_what_comes_while_settling_is_not_taken_out(server: FakeMongo, store: MongoStore) -> None:
    samples.enrolled(store, "c1")
    store.accept(samples.submission("c1", 1))

    def another_record(collection: str, method: str) -> None:
        if (collection, method) == ("changes", "insert_one"):
            server.before = nothing_happens
            server.store().accept(samples.submission("c1", 2, {"b": samples.result({"x": 1})}))

    server.before = another_record
    store.settle_changes()
    store.settle_changes()
    assert [c.change_id for c in store.changes("c1")] == ["c1:2:b", "c1:1:os_info"]
    assert server.collection("changes").count_documents({}) == 2


def test_enrolment_interrupted_anywhere_is_finished_by_the_next_try() -> None:
    def prepare(store: MongoStore) -> None:
        store.add_invitation(samples.invitation(uses=1))

    def work(store: MongoStore) -> object:
        return store.enrol(samples.enrolment("c1"))

    for server, store in interrupted_at_each_operation(prepare, work):
        # Another machine gets the use only if the first one had not claimed it.
        claimed = server.collection("invitations").find_one({})["used"] == 1
        other = store.enrol(samples.enrolment("c2"))
        again = store.enrol(samples.enrolment("c1"))
        if claimed:
            assert other == EnrolmentRefused(reason="used_up")
            assert isinstance(again, Enrolled)
            assert again.cid == "c1"
        else:
            assert other == Enrolled(cid="c2")
            assert again == EnrolmentRefused(reason="used_up")
        assert len(store.clients().clients) == 1
        invited = server.collection("invitations").find_one({})
        assert (invited["used"], invited["claims"]) == (1, [])


def test_a_claim_is_kept_for_the_key_that_made_it(server: FakeMongo, store: MongoStore) -> None:
    store.add_invitation(samples.invitation(uses=1))

    def killed(collection: str, method: str) -> None:
        if (collection, method) == ("clients", "insert_one"):
            raise KilledError

    server.before = killed
    with pytest.raises(KilledError):
        store.enrol(samples.enrolment("c1"))
    server.before = nothing_happens
    later = samples.enrolment("another id")
    again = type(later)(**{**vars(later), "fingerprint": "FPRc1"})
    assert store.enrol(again) == Enrolled(cid="c1")
    assert store.client("another id") is None


def test_a_key_that_uses_two_invitations_at_once_gives_one_back(
    server: FakeMongo, store: MongoStore
) -> None:
    store.add_invitation(samples.invitation("one", uses=1))
    store.add_invitation(samples.invitation("two", uses=1))

    def the_other_is_faster(collection: str, method: str) -> None:
        if (collection, method) == ("clients", "insert_one"):
            server.before = nothing_happens
            faster = server.store().enrol(samples.enrolment("c1", invitation_id="two"))
            assert faster == Enrolled(cid="c1")

    server.before = the_other_is_faster
    slower = samples.enrolment("c9", invitation_id="one")
    slower = type(slower)(**{**vars(slower), "fingerprint": "FPRc1"})
    assert store.enrol(slower) == EnrolmentRefused(reason="key_in_use")
    invited = store.invitation("one")
    assert invited is not None
    assert invited.used == 0
    assert store.enrol(samples.enrolment("c2", invitation_id="one")) == Enrolled(cid="c2")


def test_a_client_id_that_is_taken_gives_the_use_back(store: MongoStore) -> None:
    store.add_invitation(samples.invitation(uses=2))
    store.enrol(samples.enrolment("c1"))
    other = samples.enrolment("c1")
    with pytest.raises(StoreError, match="c1 is taken"):
        store.enrol(type(other)(**{**vars(other), "fingerprint": "other"}))
    invited = store.invitation("inv")
    assert invited is not None
    assert invited.used == 1


def test_a_judgement_interrupted_anywhere_is_made_again() -> None:
    def judge(store: MongoStore) -> None:
        target = store.audit_targets(samples.NOW, everything=False)[0]
        store.record_judgements(
            [
                Judgement(
                    cid="c1",
                    dirty=target.dirty,
                    rejudge_at=None,
                    verdicts=[samples.verdict("c1")],
                    issues=[samples.issue("i1", "c1")],
                )
            ]
        )

    def prepare(store: MongoStore) -> None:
        samples.enrolled(store, "c1")

    for _, store in interrupted_at_each_operation(prepare, judge):
        if store.audit_targets(samples.NOW, everything=False):
            judge(store)
        assert store.audit_targets(samples.NOW, everything=False) == []
        assert [issue.issue_id for issue in store.issues()] == ["i1"]
        assert len(store.verdicts()) == 1


def test_a_record_whose_writer_lost_a_race_is_merged_again(
    server: FakeMongo, store: MongoStore
) -> None:
    samples.enrolled(store, "c1")

    def somebody_else(collection: str, method: str) -> None:
        if (collection, method) == ("clients", "update_one"):
            server.before = nothing_happens
            server.store().set_client("c1", flags={"by_hand": True})

    server.before = somebody_else
    outcome = store.accept(samples.submission("c1", 1, flags={"from_client": 1}))
    assert isinstance(outcome, Accepted)
    client = store.client("c1")
    assert client is not None
    assert client.flags == {"by_hand": True, "from_client": 1}


def test_a_key_that_became_the_client_s_own_meanwhile_is_not_in_use(
    server: FakeMongo, store: MongoStore
) -> None:
    samples.enrolled(store, "c1")
    seen = iter(range(100))

    def the_same_is_faster(collection: str, method: str) -> None:
        # After the client was read, before it is looked up whose the new key is.
        if next(seen) == 1:
            server.before = nothing_happens
            assert server.store().rekey(samples.rekeying("c1", "NEW")) == "replaced"

    server.before = the_same_is_faster
    assert store.rekey(samples.rekeying("c1", "NEW")) == "again"


def test_a_long_history_is_settled_before_the_next_record(
    server: FakeMongo, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlmdm_core.store.mongo import clients

    monkeypatch.setattr(clients, "MAX_PENDING_BYTES", 100_000)
    samples.enrolled(store, "c1")
    for seq in range(1, 11):
        large = {"a": samples.result({"seq": seq, "x": "y" * 20_000})}
        assert isinstance(store.accept(samples.submission("c1", seq, large)), Accepted)
    pending = server.collection("clients").find_one({})["pending"]
    assert sum(len(change["body"]) for change in pending) < 200_000
    assert len(store.changes("c1")) == 10


# --- versions and indexes -----------------------------------------------------------------------


def test_migrations_run_forward_once(server: FakeMongo, store: MongoStore) -> None:
    ran: list[Any] = []
    third = Migration(number=3, what="did more", run=ran.append)
    newer = MongoStore(_connection(server), migrations=(*MIGRATIONS, third))
    with pytest.raises(NotSetUpError, match=r"version 2; run qlmdm-server-setup"):
        newer.check()
    assert list(newer.setup()) == ["mongomock: did more (version 3)"]
    assert list(newer.setup()) == []
    assert len(ran) == 1
    newer.check()
    for use in (store.setup, store.check):
        with pytest.raises(StoreError, match="version 3, this qlmdm knows up to 2"):
            use()


@pytest.mark.parametrize("index", INDEXES, ids=str)
def test_each_missing_index_is_reported_and_made_again(
    server: FakeMongo, store: MongoStore, index: Any
) -> None:
    collection = server.collection(index.collection)
    name = next(
        name
        for name, found in collection.index_information().items()
        if tuple(field for field, _ in found["key"]) == index.fields
    )
    collection.drop_index(name)
    with pytest.raises(NotSetUpError, match=r"index .* is missing; run qlmdm-server-setup"):
        store.check()
    assert list(store.setup()) == [f"mongomock: made the index {index} again"]
    store.check()


def test_two_open_issues_of_one_pair_are_reported(server: FakeMongo, store: MongoStore) -> None:
    server.collection("issues").drop()
    for name in "ab":
        server.collection("issues").insert_one({"_id": name, "open_key": "c1:x"})
    with pytest.raises(StoreCorruptError, match="only one may have"):
        store.setup()


# --- the URL and the server -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["mongodb://host", "mongodb://host/", "mongodb://host/a/b", "mongodb:///db"]
)
def test_a_url_without_a_database_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="names no database"):
        open_mongo(url)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://ada:s3cret@h:nonsense/db",
        "mongodb://ada:s3cret@host/db?tls=perhaps",
        "mongodb://ada:s3cret@host/db?unheard_of=1",
        "mongodb://ada:s3cret:x@host/db",
        "mongodb://ada:s3cret/x@host/db",
        "mongodb://ada:s3cret?x@host/db",
        "mongodb://ada:s3cret@[::1/db",
        "mongodb+srv://ada:s3cret@host:1/db",
    ],
)
def test_a_bad_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_mongo(url).ping()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_writes_wait_for_the_journals_of_a_majority_whatever_the_url_says() -> None:
    connection = connection_of("mongodb://127.0.0.1:1/db?w=0&journal=false&readPreference=nearest")
    with connection.use() as db:
        assert db.write_concern.document["w"] == "majority"
        assert db.write_concern.document["j"] is True
        assert db.read_preference.name == "Primary"
    connection.close()


def test_a_server_that_is_away_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"mongodb://ada:s3cret@127.0.0.1:{unused.getsockname()[1]}/fleet"
        store = MongoStore(connection_of(url, wait_seconds=0.2))
        for use in (store.check, store.setup, store.ping, store.clients):
            with pytest.raises(StoreUnavailableError, match=r"/fleet: MongoDB does not answer"):
                use()
        store.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (pymongo.errors.AutoReconnect("gone"), StoreUnavailableError),
        (pymongo.errors.NetworkTimeout("slow"), StoreUnavailableError),
        (pymongo.errors.NotPrimaryError("moved"), StoreUnavailableError),
        (pymongo.errors.WTimeoutError("no majority", 64, {}), StoreUnavailableError),
        (pymongo.errors.OperationFailure("bad auth", 18), StoreUnavailableError),
        (pymongo.errors.OperationFailure("not allowed", 13), StoreUnavailableError),
        (pymongo.errors.OperationFailure("stepping down", 189), StoreUnavailableError),
        (pymongo.errors.OperationFailure("bad query", 2), StoreError),
        (pymongo.errors.DocumentTooLarge("17 MB"), StoreError),
    ],
)
def test_errors_are_told_by_who_can_do_something(
    error: pymongo.errors.PyMongoError, kind: type[StoreError]
) -> None:
    explained = explain("mongodb://host/db", error)
    assert type(explained) is kind
    assert str(explained).startswith("mongodb://host/db: ")


def test_a_forked_child_connects_anew() -> None:
    made: list[int] = []

    class Client:
        def __init__(self) -> None:
            made.append(os.getpid())

        def __getitem__(self, name: str) -> int:
            return made[-1]

        def close(self) -> None:
            made.clear()

    connection = Connection(lambda: Client(), "db", "here")  # type: ignore[arg-type, return-value]
    with connection.use() as mine:
        assert mine == os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        pid = os.fork()
    if pid == 0:
        with connection.use() as theirs:
            os._exit(0 if len(made) == 2 and theirs == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    connection.close()
    with pytest.raises(StoreError, match="closed"), connection.use():
        pass


def _connection(server: FakeMongo) -> Connection:
    client: Any = server
    return Connection(lambda: client, "qlmdm", "mongomock")
