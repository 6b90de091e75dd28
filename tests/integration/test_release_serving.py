"""Releases as clients meet them: published, offered, downloaded; and what a poll costs."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import envelope, manifest, rootdoc
from qlmdm_core.errors import (
    BusyError,
    StoreCorruptError,
    StoreUnavailableError,
    TrustError,
    UsageError,
)
from qlmdm_core.manifest import Version
from qlmdm_core.server import blobs
from qlmdm_core.server.blobs import Blobs, Shelf
from qlmdm_core.server.releases import changes as changes_of
from qlmdm_core.server.releases import offers, publish, rollout
from qlmdm_core.server.releases.build import manifest_of
from qlmdm_core.server.releases.changes import compare
from qlmdm_core.server.releases.offers import Offers
from qlmdm_core.store.outgoing import Draft, ReleaseRecord
from qlmdm_core.store.records import ClientKey
from qlmdm_core.testing.client import KeyPair, SimulatedClient, make_key_pair
from qlmdm_core.testing.published import FILES, built_of, desk_of, publish_release
from qlmdm_core.testing.server import SimulatedServer, simulated_server


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_key_pair(str(tmp_path_factory.mktemp("pair")))


@pytest.fixture
def server(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimulatedServer]:
    monkeypatch.setattr(offers, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(Offers.view, "__kwdefaults__", {"at_most": 0.0})
    monkeypatch.setattr(blobs, "RECHECK_SECONDS", 0.0)
    with simulated_server(tmp_path, prepared=prepared) as server:
        yield server


@pytest.fixture
def client(server: SimulatedServer, pair: KeyPair) -> SimulatedClient:
    client = SimulatedClient(server.send, pair, clock=server.clock)
    assert client.enrol(server.invite(tags=("pilot",))).status == "ok"
    return client


def offered(client: SimulatedClient, **status: Any) -> Any:
    request = client.envelope("update")
    answer = client.ask(request, {"update": {"root": 1, **status}})
    return answer.details["release"]


def version_offered(client: SimulatedClient, **status: Any) -> str | None:
    release = offered(client, **status)
    return None if release is None else release["version"]


def get(server: SimulatedServer, sha256: str, method: str = "GET", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.send(method, envelope.BLOB + sha256, b"", named)


# --- publishing ---------------------------------------------------------------------------------


def test_a_client_is_offered_the_release_and_can_verify_every_byte_of_it(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    publish_release(server)
    release = offered(client)
    document = get(server, release["manifest"]["sha256"]).body
    assert len(document) == release["manifest"]["size"]
    assert client.root is not None
    found = manifest.verify(document, client.root, client.verifier)
    manifest.check_installable(found, client.root, now=server.clock(), above=None)
    tar = get(server, release["tar"]["sha256"]).body
    assert hashlib.sha256(tar).hexdigest() == found.tar_sha256
    assert len(tar) == found.tar_size == release["tar"]["size"]
    assert str(found.version) == release["version"] == "1.1"


def test_numbers_go_up_and_are_never_used_again(server: SimulatedServer) -> None:
    first = publish_release(server)
    second = publish_release(server, {**FILES, "lib/acme.py": b"VERSION = 2\n"})
    publish.change(server.store, second, status="withdrawn")
    third = publish_release(server, {**FILES, "lib/acme.py": b"VERSION = 3\n"})
    assert [r.number for r in (first, second, third)] == [1, 2, 3]


def test_of_two_administrators_who_build_at_once_exactly_one_gets_the_number(
    server: SimulatedServer,
) -> None:
    version = Version(1, 1)

    def build(number: int) -> ReleaseRecord | Draft | BusyError:
        built = built_of({**FILES, "lib/acme.py": b"VERSION = %d\n" % number})
        changes = compare(changes_of.NOTHING, publish.contents_of(built))
        try:
            return publish.sign(
                desk_of(server), built, version, changes=changes, created_by=f"admin{number}"
            )
        except BusyError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(build, range(4)))
    (won,) = [one for one in done if isinstance(one, ReleaseRecord)]
    lost = [one for one in done if isinstance(one, BusyError)]
    assert len(lost) == 3
    assert "build again" in str(lost[0])
    assert server.store.release(1, 1) == won
    publish.verify(server.store, won, desk_of(server).root, server.crypto.verifier)


def test_publishing_what_is_published_already_changes_nothing(server: SimulatedServer) -> None:
    record = publish_release(server)
    document = server.store.blob(record.manifest_sha256)
    assert document is not None
    draft = Draft(
        name="release-1.1",
        kind="release",
        role="release",
        texts=("",),
        sigs=((),),
        created_at=server.clock(),
    )
    from qlmdm_core.server.context import open_context

    context = open_context(server.settings_file)
    lines = publish.finish(context, server.store, draft, [document])
    assert "release 1.1 is published" in lines[0]
    assert server.store.releases() == [record] or list(server.store.releases()) == [record]


def test_a_release_that_the_release_keys_did_not_sign_is_not_published(
    server: SimulatedServer,
) -> None:
    desk, built = desk_of(server), built_of()
    sha256 = server.store.put_blob(built.tar)
    assert sha256 == built.tar_sha256
    text = manifest.build(
        manifest_of(
            built,
            Version(1, 1),
            server_id=desk.root.server_id,
            issued_at=server.clock(),
            expires_at=server.clock() + timedelta(days=1),
        )
    )
    from qlmdm_core.server.context import open_context
    from qlmdm_core.server.crypto import role_home
    from qlmdm_core.signedtext import SignedText
    from qlmdm_core.signing.gpg import GpgSigner

    operator = desk.root.roles["operator"].fingerprints[0]
    with GpgSigner(role_home(server.settings, "operator"), operator) as signer:
        forged = SignedText(text=text, sigs=(signer.sign(text.encode()),)).pack()
    draft = Draft(
        name="release-1.1",
        kind="release",
        role="release",
        texts=(text,),
        sigs=((),),
        created_at=server.clock(),
    )
    with pytest.raises(TrustError, match="signed by 0 of the 1 release keys"):
        publish.finish(open_context(server.settings_file), server.store, draft, [forged])
    assert not server.store.releases()


def test_verify_finds_a_tar_that_is_not_the_one_that_was_signed(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = publish_release(server)
    root, verifier = desk_of(server).root, server.crypto.verifier
    assert publish.verify(server.store, record, root, verifier).version == Version(1, 1)
    real = type(server.store).blob

    def other(self: Any, sha256: str) -> bytes | None:
        data: bytes | None = real(self, sha256)
        if sha256 == record.tar_sha256 and data is not None:
            return data.replace(b"VERSION = 1", b"VERSION = 9")
        return data

    monkeypatch.setattr(type(server.store), "blob", other)
    with pytest.raises(TrustError, match="not the one that was signed"):
        publish.verify(server.store, record, root, verifier)


def test_verify_names_a_manifest_that_is_another_releases(server: SimulatedServer) -> None:
    first = publish_release(server)
    second = publish_release(server, {**FILES, "lib/b.py": b""})
    swapped = replace(second, manifest_sha256=first.manifest_sha256)
    with pytest.raises(TrustError, match="that of another release"):
        publish.verify(server.store, swapped, desk_of(server).root, server.crypto.verifier)


def test_a_release_is_found_by_its_version_alone(server: SimulatedServer) -> None:
    publish_release(server)
    assert publish.find(server.store, "1.1").number == 1
    with pytest.raises(UsageError, match=r"there is no release 1.2; there are: 1.1"):
        publish.find(server.store, "1.2")
    with pytest.raises(UsageError, match=r"EPOCH\.NUMBER"):
        publish.find(server.store, "latest")


# --- who is offered it --------------------------------------------------------------------------


def test_a_client_that_has_it_is_offered_nothing(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    publish_release(server)
    assert version_offered(client, release="1.1", high="1.1") is None
    assert version_offered(client, release=None, high="1.4") is None


def test_a_client_is_never_offered_what_it_called_bad_nor_anything_older(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    publish_release(server)
    publish_release(server, {**FILES, "lib/b.py": b""})
    status = {"release": "1.1", "high": "1.2", "bad": {"1.2": "no answer"}}
    assert version_offered(client, **status) is None
    publish_release(server, {**FILES, "lib/c.py": b""})
    assert version_offered(client, **status) == "1.3"


def test_a_client_whose_copy_is_damaged_is_offered_the_same_again(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    publish_release(server)
    status = {"release": "1.1", "high": "1.1"}
    assert version_offered(client, **status) is None
    assert version_offered(client, **status, broken="settings.yml: another hash") == "1.1"
    assert version_offered(client, **status, broken="x", bad={"1.1": "failed"}) is None


def test_a_client_that_lost_it_to_a_power_cut_is_offered_it_again(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    publish_release(server)
    publish_release(server, {**FILES, "lib/b.py": b""})
    assert version_offered(client, release="1.1", high="1.2") == "1.2"
    assert version_offered(client, release="1.1", high="1.2", trial="1.2") is None


def test_what_its_python_or_machine_can_not_run_is_not_offered(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    publish_release(server)
    assert version_offered(client, python="3.10", machine="x86_64") == "1.1"
    assert version_offered(client, python="3.9") is None
    built = built_of(FILES, machines=("x86_64",))
    publish.sign(
        desk_of(server),
        built,
        Version(1, 2),
        changes=compare(changes_of.NOTHING, publish.contents_of(built)),
        created_by="ada",
    )
    assert version_offered(client, machine="x86_64") == "1.2"
    assert version_offered(client, machine="aarch64") == "1.1"


@pytest.mark.parametrize(
    "status",
    [
        {"high": 7, "bad": [], "python": "three", "machine": 5},
        {"high": "1.1.1", "bad": "1.1", "python": "3." + "9" * 5000},
        {"release": {"a": 1}, "bad": {"1.1\0": 1}, "python": "٣.١٠"},
        {"high": None, "release": None, "bad": None, "trial": None, "broken": None},
    ],
)
def test_whatever_a_client_says_of_itself_it_gets_an_answer(
    server: SimulatedServer, client: SimulatedClient, status: dict[str, Any]
) -> None:
    publish_release(server)
    assert version_offered(client, **status) == "1.1"
    answer = client.ask(client.envelope("update"), {"update": "what?"})
    assert answer.details["release"]["version"] == "1.1"


def test_a_withdrawn_release_is_offered_no_more_and_an_older_one_is(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    publish_release(server)
    second = publish_release(server, {**FILES, "lib/b.py": b""})
    assert version_offered(client) == "1.2"
    publish.change(server.store, second, status="withdrawn")
    assert version_offered(client) == "1.1"
    assert version_offered(client, release="1.2", high="1.2") is None


def test_a_release_that_expired_or_is_of_an_older_epoch_is_not_offered(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    record = publish_release(server)
    key = server.store.key(client.key.signer.fingerprint)
    assert key is not None
    known = Offers(server.store)
    later = server.clock() + timedelta(days=200)
    assert known.for_client(key, {}, server.clock()) is not None
    assert known.for_client(key, {}, later) is None
    (view,) = known.view().offered
    assert view.version == Version(record.epoch, 1)


def test_a_release_whose_manifest_is_another_ones_is_not_offered(
    server: SimulatedServer, client: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish_release(server)
    publish_release(server, {**FILES, "lib/b.py": b""})
    real = type(server.store).releases

    def swapped(self: Any) -> list[ReleaseRecord]:
        return [replace(r, manifest_sha256=first.manifest_sha256) for r in real(self)]

    monkeypatch.setattr(type(server.store), "releases", swapped)
    assert version_offered(client) == "1.1"


def test_a_rollout_decides_who_is_offered_it(
    server: SimulatedServer, client: SimulatedClient
) -> None:
    nobody = rollout.Rollout()
    record = publish_release(server, start=nobody)
    assert version_offered(client) is None
    wider = rollout.widen(nobody, server.clock(), tags=["pilot"])
    record = replace(publish.change(server.store, record, rollout=rollout.dump(wider)), revision=1)
    assert version_offered(client) == "1.1"
    found = publish.find(server.store, "1.1")
    paused = rollout.pause(wider, "lunch")
    publish.change(server.store, found, rollout=rollout.dump(paused))
    assert version_offered(client) is None
    with pytest.raises(BusyError, match="meanwhile"):
        publish.change(server.store, found, rollout=None)


def test_mirrors_are_told_with_the_release(tmp_path: Path, prepared: Path, pair: KeyPair) -> None:
    from qlmdm_core.server.settings import ReleaseSettings

    mirrors = ReleaseSettings(mirrors=("https://mirror.example/qlmdm",))
    with simulated_server(tmp_path, prepared=prepared, release=mirrors) as server:
        publish_release(server)
        client = SimulatedClient(server.send, pair, clock=server.clock)
        client.enrol(server.invite())
        assert offered(client)["mirrors"] == ["https://mirror.example/qlmdm/"]


# --- what a poll costs --------------------------------------------------------------------------


class Counting:
    """The store, counting what is asked of it."""

    def __init__(self, store: Any, calls: Counter[str]) -> None:
        self._store, self._calls = store, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._calls[name] += 1
            return found(*args, **kwargs)

        return counted


def test_a_poll_with_nothing_new_costs_one_read_of_its_key_and_no_write(
    tmp_path: Path, prepared: Path, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qlmdm_core.server.app import create_app
    from qlmdm_core.testing.client import through_app

    with simulated_server(tmp_path, prepared=prepared) as server:
        publish_release(server)
        calls: Counter[str] = Counter()
        app = create_app(
            Counting(server.store, calls),
            server.settings,
            signer=server.crypto.signer,
            verifier=server.crypto.verifier,
            clock=server.clock,
        )
        client = SimulatedClient(through_app(app), pair, clock=server.clock)
        assert client.enrol(server.invite()).status == "ok"
        status = {"release": "1.1", "high": "1.1"}
        assert version_offered(client, **status) is None  # what is known for a while, is read
        calls.clear()
        for _ in range(3):
            assert version_offered(client, **status) is None
        assert calls == {"key": 3}
        calls.clear()
        assert version_offered(client) == "1.1"  # nor does being offered one
        assert calls == {"key": 1}


def test_while_the_database_is_away_what_was_known_of_releases_is_used(
    server: SimulatedServer, client: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_release(server)
    assert version_offered(client) == "1.1"

    def away(self: Any) -> Any:
        raise StoreUnavailableError("locked")

    monkeypatch.setattr(type(server.store), "releases", away)
    assert version_offered(client) == "1.1"
    with pytest.raises(StoreUnavailableError):
        Offers(server.store).view()


# --- downloads ----------------------------------------------------------------------------------


def test_the_bytes_of_a_release_are_anybodys_and_never_change(server: SimulatedServer) -> None:
    record = publish_release(server)
    reply = get(server, record.tar_sha256)
    assert reply.status == 200
    assert hashlib.sha256(reply.body).hexdigest() == record.tar_sha256
    headers = {name.lower(): value for name, value in reply.headers.items()}
    assert "immutable" in headers["cache-control"]
    assert headers["etag"] == f'"{record.tar_sha256}"'
    assert get(server, record.tar_sha256, If_None_Match=headers["etag"]).status == 304
    head = get(server, record.tar_sha256, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert {k.lower(): v for k, v in head.headers.items()}["content-length"] == str(record.tar_size)


def test_only_what_a_release_names_is_served(server: SimulatedServer) -> None:
    publish_release(server)
    payload = server.store.put_blob(b"the payload of a command, with a password")
    assert get(server, payload).status == 404
    assert get(server, "0" * 64).status == 404
    for wrong in ("0" * 63, "A" * 64, "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00" * 64):
        assert get(server, wrong).status == 404


def test_the_guard_is_what_keeps_payloads_from_being_served(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_release(server)
    payload = server.store.put_blob(b"the payload of a command")
    real = Offers.view

    def everything(self: Offers, *, at_most: float = 0.0) -> offers.View:
        return replace(real(self, at_most=at_most), blobs={payload: None})

    monkeypatch.setattr(Offers, "view", everything)
    assert get(server, payload).body == b"the payload of a command"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=100-", 100, -1),
        ("bytes=-7", -7, -1),
        ("bytes=5-99999999999", 5, -1),
        ("bytes=-99999999999", 0, -1),
    ],
)
def test_a_part_can_be_asked_for(
    server: SimulatedServer, asked: str, first: int, last: int
) -> None:
    record = publish_release(server)
    whole = server.store.blob(record.tar_sha256)
    assert whole is not None
    first, last = first % len(whole), last % len(whole)
    reply = get(server, record.tar_sha256, Range=asked)
    assert reply.status == 206
    assert reply.body == whole[first : last + 1]
    headers = {name.lower(): value for name, value in reply.headers.items()}
    assert headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert headers["content-length"] == str(len(reply.body))


@pytest.mark.parametrize(
    "asked",
    ["bytes=1-2,5-6", "bytes=5-2", "bytes=-", "lines=1-2", "bytes=a-b", "bytes=" + "9" * 40],
)
def test_a_range_that_is_none_gets_the_whole(server: SimulatedServer, asked: str) -> None:
    record = publish_release(server)
    reply = get(server, record.tar_sha256, Range=asked)
    assert (reply.status, len(reply.body)) == (200, record.tar_size)


def test_a_part_beyond_the_end_is_refused_with_the_size(server: SimulatedServer) -> None:
    record = publish_release(server)
    for asked in (f"bytes={record.tar_size}-", "bytes=-0"):
        assert get(server, record.tar_sha256, Range=asked).status == 416


def test_a_part_of_something_else_gets_the_whole(server: SimulatedServer) -> None:
    record = publish_release(server)
    reply = get(server, record.tar_sha256, Range="bytes=1-2", If_Range='"another"')
    assert reply.status == 200
    reply = get(server, record.tar_sha256, Range="bytes=1-2", If_Range=f'"{record.tar_sha256}"')
    assert reply.status == 206


def test_it_is_served_from_a_folder_that_can_be_deleted(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = publish_release(server)
    path = Path(blobs.folder_of(server.settings)) / record.tar_sha256
    assert not path.exists()
    whole = get(server, record.tar_sha256).body
    assert path.read_bytes() == whole
    assert os.listdir(path.parent) == [record.tar_sha256]

    def never(self: Any, sha256: str) -> Any:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(type(server.store), "blob", never)
        assert get(server, record.tar_sha256).body == whole
    path.write_bytes(whole[:100])  # cut off by a full disk, say
    assert get(server, record.tar_sha256).body == whole
    path.unlink()
    path.parent.rmdir()
    assert get(server, record.tar_sha256).body == whole


def test_bytes_that_the_store_got_wrong_never_reach_the_folder(
    tmp_path: Path, server: SimulatedServer
) -> None:
    class Wrong:
        def blob(self, sha256: str) -> bytes:
            return b"something else"

    shelf = Shelf(str(tmp_path / "shelf"), Wrong())  # type: ignore[arg-type]
    with pytest.raises(StoreCorruptError, match="other bytes"):
        shelf.open("0" * 64, None)
    assert not (tmp_path / "shelf").exists()


def test_a_folder_that_can_not_be_filled_leaves_nothing_behind_and_says_so(
    tmp_path: Path, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = publish_release(server)
    folder = tmp_path / "shelf"
    shelf = Shelf(str(folder), server.store)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreUnavailableError, match="No space left"):
            shelf.open(record.tar_sha256, record.tar_size)
    assert os.listdir(folder) == []
    found = shelf.open(record.tar_sha256, record.tar_size)
    assert found is not None
    found.close()


def test_downloads_leave_threads_for_clients(server: SimulatedServer) -> None:
    record = publish_release(server)
    shelf = Shelf(blobs.folder_of(server.settings), server.store)
    resource = Blobs(shelf=shelf, offers=Offers(server.store), at_once=1)
    import falcon
    from falcon import testing

    def begin() -> Any:
        response = falcon.Response()
        resource.on_get(testing.create_req(path="/x"), response, record.tar_sha256)
        return response.stream

    first = begin()
    with pytest.raises(falcon.HTTPServiceUnavailable):
        begin()
    assert os.fstat(first.fileno()).st_size == record.tar_size  # what sendfile(2) is given
    first.close()
    first.close()  # once is enough, twice gives no second place
    again = begin()
    with pytest.raises(falcon.HTTPServiceUnavailable):
        begin()
    again.close()
    with pytest.raises(falcon.HTTPNotFound):
        resource.on_get(testing.create_req(path="/x"), falcon.Response(), "0" * 64)
    begin().close()  # the failure gave its place back


def test_the_root_document_alone_says_which_epoch_is_offered(
    server: SimulatedServer, client: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_release(server)
    real = rootdoc.parse
    monkeypatch.setattr(rootdoc, "parse", lambda text: replace(real(text), epoch=2))
    assert version_offered(client) is None


def test_a_key_that_says_nothing_is_judged_by_its_last_record() -> None:
    class Nothing:
        def releases(self) -> list[ReleaseRecord]:
            return []

        def root(self) -> None:
            return None

    key = ClientKey(fingerprint="F", cid="c", public_key="", status="active", release="1.1")
    from datetime import datetime, timezone

    assert Offers(Nothing()).for_client(key, None, datetime.now(timezone.utc)) is None  # type: ignore[arg-type]
