"""The contract, part two: clients, their lists, and what administrators change."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from datetime import timedelta

import pytest

from qlmdm_core.store import Store
from qlmdm_core.store.records import NotAllowed
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import Engine, StoreFixtures
from qlmdm_core.testing.store_contract.samples import HOSTILE, KEPT, NOW


class ClientsContract(StoreFixtures):
    """Clients without their reports."""

    def test_an_unknown_client_is_none(self, store: Store) -> None:
        assert store.client("c1") is None
        assert store.report("c1") is None
        assert store.clients_named("host") == []
        assert store.set_client("c1", status="revoked") is False
        assert store.changes("c1") == []

    def test_a_new_client_has_not_reported(self, store: Store, cid: str) -> None:
        client = store.client(cid)
        assert client is not None
        assert (client.hostname, client.mid, client.seq) == ("host-c1", "mid-c1", 0)
        assert (client.last_seen_at, client.reported_at) == (None, None)
        assert (client.boot, client.release) == (None, None)
        assert (client.tags, client.flags, client.facts) == ((), {}, {})
        assert store.report(cid) == b"{}"

    def test_hostnames_may_collide(self, store: Store) -> None:
        for number in ("2", "1"):
            samples.enrolled(store, f"c{number}", hostname="twin")
        samples.enrolled(store, "c3", hostname="other")
        assert [client.cid for client in store.clients_named("twin")] == ["c1", "c2"]

    def test_lists_go_by_hostname_then_cid_in_pages(self, store: Store) -> None:
        for cid, hostname in (("d", "a"), ("c", "b"), ("b", "b"), ("a", "b"), ("e", "c")):
            samples.enrolled(store, cid, hostname=hostname)
        found, after = [], None
        while True:
            page = store.clients(after=after, limit=2)
            assert len(page.clients) <= 2
            found += [client.cid for client in page.clients]
            after = page.after
            if after is None:
                break
        assert found == ["d", "a", "b", "c", "e"]

    def test_a_page_that_is_just_full_is_the_last(self, store: Store) -> None:
        samples.enrolled(store, "c1")
        samples.enrolled(store, "c2")
        assert store.clients(limit=2).after is None
        assert len(store.clients(limit=2).clients) == 2

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostnames_and_tags_may_be_anything(self, store: Store, name: str) -> None:
        samples.enrolled(store, "c1", hostname=name or "\n")
        store.set_client("c1", tags=[name], user_email=name or None, flags={name: {name: [name]}})
        client = store.client("c1")
        assert client is not None
        assert client.hostname == (name or "\n")
        assert client.tags == (name,)
        assert client.flags == {name: {name: [name]}}

    @pytest.mark.parametrize("name", HOSTILE)
    def test_clients_are_found_by_any_hostname(
        self, engine: Engine, store: Store, name: str
    ) -> None:
        if "\0" in name and not engine.compares_nul:
            pytest.skip("this engine compares text only up to a NUL")
        samples.enrolled(store, "c1", hostname=name or "\n")
        page = store.clients(limit=1)
        assert [found.cid for found in page.clients] == ["c1"]
        assert [found.cid for found in store.clients_named(name or "\n")] == ["c1"]
        samples.enrolled(store, "c2", hostname=name or "\n")
        second = store.clients(after=store.clients(limit=1).after, limit=1)
        assert [found.cid for found in second.clients] == ["c2"]

    def test_setting_one_thing_leaves_the_others(self, store: Store, cid: str) -> None:
        assert store.set_client(cid, tags=["lab", "x"], user_email="ada@example.com")
        assert store.set_client(cid, flags={"duplicate_identity": True, "old": 1})
        assert store.set_client(cid, flags={"old": None})
        client = store.client(cid)
        assert client is not None
        assert client.tags == ("lab", "x")
        assert client.user_email == "ada@example.com"
        assert client.flags == {"duplicate_identity": True}
        assert store.set_client(cid, tags=[])
        client = store.client(cid)
        assert client is not None
        assert client.tags == ()

    def test_a_revoked_client_is_counted_and_refused(self, store: Store, cid: str) -> None:
        samples.enrolled(store, "c2")
        assert store.set_client(cid, status="revoked")
        assert store.count_clients() == {"active": 1, "revoked": 1}
        key = store.key(f"FPR{cid}")
        assert key is not None
        assert key.status == "revoked"
        assert isinstance(store.accept(samples.submission(cid, 1)), NotAllowed)
        assert [t.client.cid for t in store.audit_targets(NOW, everything=True)] == ["c2"]
        assert [t.client.cid for t in store.audit_targets(NOW, everything=False)] == ["c2"]

    def test_a_client_that_is_active_again_is_due(self, store: Store, cid: str) -> None:
        store.set_client(cid, status="revoked")
        store.set_client(cid, status="active")
        assert [t.client.cid for t in store.audit_targets(NOW, everything=False)] == [cid]

    def test_seen_moves_forward_only(self, store: Store, cid: str) -> None:
        store.seen(cid, NOW)
        store.seen(cid, NOW - timedelta(hours=1))
        store.seen("no such client", NOW)

        def is_seen() -> bool:
            client = store.client(cid)
            return client is not None and client.last_seen_at == KEPT

        assert samples.eventually(is_seen)
        client = store.client(cid)
        assert client is not None
        assert client.last_seen_at == KEPT
        assert client.reported_at is None
