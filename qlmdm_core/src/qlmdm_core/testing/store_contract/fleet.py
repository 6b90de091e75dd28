"""The contract, part one: set-up, named values, leases, root documents, invitations."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from qlmdm_core.errors import NotSetUpError, StoreError
from qlmdm_core.store import Store
from qlmdm_core.store.records import Enrolled, EnrolmentRefused, RootDocument
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import Engine, StoreFixtures
from qlmdm_core.testing.store_contract.samples import HOSTILE, KEPT, NOW


class FleetContract(StoreFixtures):
    """What belongs to the fleet as a whole."""

    def test_check_before_setup_says_what_to_run(self, engine: Engine) -> None:
        store = engine.open()
        with pytest.raises(NotSetUpError, match="qlmdm-server-setup"):
            store.check()
        store.close()

    def test_setup_twice_does_nothing_the_second_time(self, engine: Engine) -> None:
        store = engine.open()
        assert store.setup()
        assert list(store.setup()) == []
        store.check()
        store.ping()
        store.close()

    def test_closing_twice_is_harmless(self, engine: Engine) -> None:
        store = engine.open()
        store.setup()
        store.close()
        store.close()

    def test_meta_values_come_back(self, store: Store, other: Store) -> None:
        value = {"$set": {"a.b": [1, None, True, "nul\0"]}}
        store.set_meta("server_id", value)
        assert other.meta("server_id") == value
        store.set_meta("server_id", None)
        assert other.meta("server_id") is None

    @pytest.mark.parametrize("key", HOSTILE)
    def test_meta_takes_any_key(self, store: Store, key: str) -> None:
        store.set_meta(key, {key: key})
        assert store.meta(key) == {key: key}

    def test_a_lease_is_held_until_it_lapses(self, store: Store, other: Store) -> None:
        assert store.take_lease("audit", "a", NOW, 60)
        assert not other.take_lease("audit", "b", NOW + timedelta(seconds=59), 60)
        assert other.take_lease("audit", "b", NOW + timedelta(seconds=60), 60)
        assert not store.take_lease("audit", "a", NOW + timedelta(seconds=61), 60)

    def test_a_lease_is_prolonged_by_its_owner(self, store: Store, other: Store) -> None:
        assert store.take_lease("audit", "a", NOW, 60)
        assert store.take_lease("audit", "a", NOW + timedelta(seconds=30), 60)
        assert not other.take_lease("audit", "b", NOW + timedelta(seconds=80), 60)

    def test_only_its_owner_gives_a_lease_back(self, store: Store, other: Store) -> None:
        assert store.take_lease("audit", "a", NOW, 60)
        other.drop_lease("audit", "b")
        assert not other.take_lease("audit", "b", NOW, 60)
        store.drop_lease("audit", "a")
        assert other.take_lease("audit", "b", NOW, 60)

    def test_leases_of_different_names_are_independent(self, store: Store) -> None:
        assert store.take_lease("audit", "a", NOW, 60)
        assert store.take_lease("settle", "b", NOW, 60)

    def test_root_documents_are_kept_by_version(self, store: Store) -> None:
        assert store.root() is None
        first = RootDocument(version=1, document=b'{"signed":"\x00one"}')
        second = RootDocument(version=2, document=b'{"signed":"two"}')
        store.put_root(first)
        store.put_root(second)
        assert store.root() == second
        assert store.root(1) == first
        assert store.root(3) is None

    def test_a_root_version_can_not_be_replaced(self, store: Store) -> None:
        first = RootDocument(version=1, document=b"{}")
        store.put_root(first)
        store.put_root(first)
        with pytest.raises(StoreError, match="differs"):
            store.put_root(RootDocument(version=1, document=b"{} "))
        assert store.root() == first

    def test_invitations_come_back_newest_first(self, store: Store) -> None:
        old = replace(samples.invitation("old"), tags=("lab", "$set"), user_email="a@example.com")
        new = replace(samples.invitation("new"), created_at=NOW + timedelta(hours=1))
        store.add_invitation(old)
        store.add_invitation(new)
        assert [found.invitation_id for found in store.invitations()] == ["new", "old"]
        kept = store.invitation("old")
        assert kept == replace(old, created_at=KEPT, expires_at=KEPT + timedelta(hours=1))
        assert store.invitation("none") is None

    def test_an_enrolled_machine_gets_what_its_invitation_says(self, store: Store) -> None:
        store.add_invitation(
            replace(samples.invitation(), tags=("lab",), user_email="ada@example.com")
        )
        assert store.enrol(samples.enrolment("c1")) == Enrolled(cid="c1")
        client = store.client("c1")
        assert client is not None
        assert (client.tags, client.user_email, client.status) == (
            ("lab",),
            "ada@example.com",
            "active",
        )
        assert client.enrolled_at == KEPT
        key = store.key("FPRc1")
        assert key is not None
        assert (key.cid, key.public_key, key.status, key.mid) == (
            "c1",
            "KEY c1",
            "active",
            "mid-c1",
        )
        assert store.key("FPRc2") is None
        used = store.invitation("inv")
        assert used is not None
        assert used.used == 1

    def test_the_same_key_and_invitation_get_the_same_answer(self, store: Store) -> None:
        store.add_invitation(samples.invitation(uses=1))
        assert store.enrol(samples.enrolment("c1")) == Enrolled(cid="c1")
        late = replace(
            samples.enrolment("c1"), cid="c1-again", enrolled_at=NOW + timedelta(days=99)
        )
        assert store.enrol(late) == Enrolled(cid="c1", again=True)
        assert store.client("c1-again") is None
        used = store.invitation("inv")
        assert used is not None
        assert used.used == 1

    def test_a_key_of_another_invitation_is_refused(self, store: Store) -> None:
        store.add_invitation(samples.invitation("one"))
        store.add_invitation(samples.invitation("two"))
        store.enrol(samples.enrolment("c1", invitation_id="one"))
        again = samples.enrolment("c1", invitation_id="two")
        assert store.enrol(again) == EnrolmentRefused(reason="key_in_use")
        unused = store.invitation("two")
        assert unused is not None
        assert unused.used == 0

    def test_bad_invitations_are_refused(self, store: Store) -> None:
        unknown = store.enrol(samples.enrolment("c1", invitation_id="no such"))
        assert unknown == EnrolmentRefused(reason="unknown_invitation")
        store.add_invitation(samples.invitation(uses=1))
        late = replace(samples.enrolment("c1"), enrolled_at=NOW + timedelta(hours=1))
        assert store.enrol(late) == EnrolmentRefused(reason="expired")
        assert store.enrol(samples.enrolment("c1")) == Enrolled(cid="c1")
        assert store.enrol(samples.enrolment("c2")) == EnrolmentRefused(reason="used_up")
        assert store.client("c2") is None
        assert store.key("FPRc2") is None

    def test_a_machine_can_begin_as_pending(self, store: Store) -> None:
        store.add_invitation(samples.invitation())
        store.enrol(replace(samples.enrolment("c1"), status="pending"))
        assert store.count_clients() == {"pending": 1}
        assert store.audit_targets(NOW, everything=True) == []
        assert store.audit_targets(NOW, everything=False) == []
