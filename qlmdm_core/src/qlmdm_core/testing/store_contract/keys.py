"""The contract, part seven: keys, what they tell of their client, and the next key of one."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from qlmdm_core.store import Store
from qlmdm_core.store.outgoing import Unattributed
from qlmdm_core.store.records import (
    Accepted,
    ClientKey,
    ClientStatus,
    Enrolled,
    EnrolmentRefused,
    NotAllowed,
    Repeated,
)
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import StoreFixtures
from qlmdm_core.testing.store_contract.samples import HOSTILE, KEPT, NOW


def key_of(store: Store, fingerprint: str) -> ClientKey:
    """A key that must be there."""
    key = store.key(fingerprint)
    assert key is not None
    return key


class KeysContract(StoreFixtures):
    """The one look-up of each request, and `rekey`."""

    # --- what a key tells -------------------------------------------------------------------

    def test_a_key_tells_what_a_poll_has_to_know(self, store: Store, cid: str) -> None:
        key = key_of(store, "FPRc1")
        assert (key.cid, key.public_key, key.status, key.mid) == (
            "c1",
            "KEY c1",
            "active",
            "mid-c1",
        )
        assert (key.tags, key.release, key.has_commands, key.replaced_by) == ((), None, False, None)
        store.set_client(cid, tags=["lab", "$x"])
        store.accept(replace(samples.submission(cid, 1), release="1.7"))
        samples.queued(store, cid)
        key = key_of(store, "FPRc1")
        assert (key.tags, key.release, key.has_commands) == (("lab", "$x"), "1.7", True)

    def test_nobody_s_key_is_none(self, store: Store, cid: str) -> None:
        assert cid
        for name in ("", "FPRc", "fprc1", "FPRc1\n", *HOSTILE):
            assert store.key(name) is None

    def test_only_the_clients_that_are_named_have_commands(self, store: Store) -> None:
        for cid in ("c1", "c2"):
            samples.enrolled(store, cid)
        samples.queued(store, "c2", "no such client")
        assert not key_of(store, "FPRc1").has_commands
        assert key_of(store, "FPRc2").has_commands

    # --- rekey ------------------------------------------------------------------------------

    def test_a_new_key_takes_the_place_of_the_old_one(self, store: Store, cid: str) -> None:
        store.accept(samples.submission(cid, 3))
        store.set_client(cid, tags=["lab"])
        samples.queued(store, cid)
        before = store.client(cid)
        assert before is not None
        assert store.rekey(samples.rekeying(cid, "NEW")) == "replaced"
        assert store.client(cid) == replace(before, fingerprint="NEW", public_key="KEY NEW")
        key = key_of(store, "NEW")
        assert (key.cid, key.public_key, key.replaced_by) == (cid, "KEY NEW", None)
        assert (key.tags, key.has_commands) == (("lab",), True)

    def test_the_replaced_key_is_found_with_its_own_certificate(
        self, store: Store, cid: str
    ) -> None:
        store.rekey(samples.rekeying(cid, "NEW"))
        old = key_of(store, "FPRc1")
        assert (old.fingerprint, old.public_key, old.cid) == ("FPRc1", "KEY c1", cid)
        assert (old.replaced_by, old.status, old.mid) == ("NEW", "active", "mid-c1")

    def test_records_by_the_old_key_are_refused_and_seq_goes_on(
        self, store: Store, cid: str
    ) -> None:
        sent = samples.submission(cid, 5)
        assert isinstance(store.accept(sent), Accepted)
        store.rekey(samples.rekeying(cid, "NEW"))
        assert isinstance(store.accept(samples.submission(cid, 6)), NotAllowed)
        assert isinstance(store.accept(sent), NotAllowed)
        assert isinstance(store.accept(replace(sent, fingerprint="NEW")), Repeated)
        by_new = replace(samples.submission(cid, 6), fingerprint="NEW")
        assert isinstance(store.accept(by_new), Accepted)

    def test_the_same_again_is_again(self, store: Store, cid: str) -> None:
        wanted = samples.rekeying(cid, "NEW")
        assert [store.rekey(wanted) for _ in range(3)] == ["replaced", "again", "again"]
        assert key_of(store, "FPRc1").replaced_by == "NEW"

    def test_of_the_replaced_keys_the_last_is_remembered(self, store: Store, cid: str) -> None:
        store.rekey(samples.rekeying(cid, "SECOND"))
        assert store.rekey(samples.rekeying(cid, "THIRD", old="SECOND")) == "replaced"
        assert store.key("FPRc1") is None
        assert key_of(store, "SECOND").replaced_by == "THIRD"
        assert key_of(store, "THIRD").replaced_by is None
        # What was lost is answered again for the last replacement only.
        assert store.rekey(samples.rekeying(cid, "SECOND")) == "not_your_key"
        assert store.rekey(samples.rekeying(cid, "THIRD")) == "not_your_key"

    def test_a_replaced_key_replaces_nothing(self, store: Store, cid: str) -> None:
        store.rekey(samples.rekeying(cid, "NEW"))
        assert store.rekey(samples.rekeying(cid, "OTHER")) == "not_your_key"
        assert store.key("OTHER") is None
        assert key_of(store, "FPRc1").replaced_by == "NEW"

    def test_somebody_else_s_key_can_t_be_replaced(self, store: Store, cid: str) -> None:
        samples.enrolled(store, "c2")
        assert store.rekey(samples.rekeying(cid, "NEW", old="FPRc2")) == "not_your_key"
        assert store.rekey(samples.rekeying("nobody", "NEW", old="FPRc1")) == "not_your_key"
        assert store.key("NEW") is None

    def test_a_key_that_is_or_was_anybody_s_is_in_use(self, store: Store, cid: str) -> None:
        samples.enrolled(store, "c2")
        for mine in ("FPRc1", "FPRc2"):
            assert store.rekey(samples.rekeying(cid, mine)) == "key_in_use"
        store.rekey(samples.rekeying("c2", "SECOND"))
        store.rekey(samples.rekeying("c2", "THIRD", old="SECOND"))
        for was in ("FPRc2", "SECOND", "THIRD"):
            assert store.rekey(samples.rekeying(cid, was)) == "key_in_use"
        assert key_of(store, "FPRc1").replaced_by is None
        assert store.rekey(samples.rekeying("c2", "FPRc2", old="THIRD")) == "key_in_use"

    def test_a_replaced_key_can_t_be_enrolled(self, store: Store, cid: str) -> None:
        store.rekey(samples.rekeying(cid, "NEW"))
        store.add_invitation(samples.invitation("more"))
        for invitation_id in ("inv", "more"):
            again = samples.enrolment("c9", invitation_id=invitation_id)
            outcome = store.enrol(replace(again, fingerprint="FPRc1"))
            assert outcome == EnrolmentRefused(reason="key_in_use")
        used = store.invitation("more")
        assert used is not None
        assert used.used == 0
        assert store.client("c9") is None

    def test_the_new_key_is_the_client_s_for_enrolment_too(self, store: Store, cid: str) -> None:
        store.rekey(samples.rekeying(cid, "NEW"))
        again = replace(samples.enrolment("c9"), fingerprint="NEW")
        assert store.enrol(again) == Enrolled(cid=cid, again=True)

    @pytest.mark.parametrize("status", ["revoked", "retired"])
    def test_who_is_out_replaces_no_key(self, store: Store, cid: str, status: ClientStatus) -> None:
        store.set_client(cid, status=status)
        assert store.rekey(samples.rekeying(cid, "NEW")) == "not_your_key"
        store.set_client(cid, status="active")
        store.rekey(samples.rekeying(cid, "NEW"))
        store.set_client(cid, status=status)
        assert store.rekey(samples.rekeying(cid, "NEW")) == "not_your_key"
        assert (key_of(store, "NEW").status, key_of(store, "FPRc1").status) == (status, status)

    def test_who_waits_for_approval_may(self, store: Store, cid: str) -> None:
        store.set_client(cid, status="pending")
        assert store.rekey(samples.rekeying(cid, "NEW")) == "replaced"

    # --- reports that nobody's own key signed -------------------------------------------------

    def test_the_newest_report_of_a_hostname_stays(self, store: Store, other: Store) -> None:
        assert store.unattributed() == []
        first = Unattributed(hostname="b", received_at=NOW, report=b'{"$set": "a"}')
        store.put_unattributed(first)
        store.put_unattributed(replace(first, hostname="a"))
        newer = replace(first, received_at=NOW + timedelta(hours=1), report=b"{}")
        store.put_unattributed(newer)
        store.put_unattributed(replace(first, received_at=NOW - timedelta(hours=1)))
        found = [replace(first, hostname="a", received_at=KEPT)]
        found.append(replace(newer, received_at=KEPT + timedelta(hours=1)))
        assert list(other.unattributed()) == found

    @pytest.mark.parametrize("name", HOSTILE)
    def test_an_unattributed_hostname_may_be_anything(self, store: Store, name: str) -> None:
        for report in (b"1", b"2"):
            store.put_unattributed(Unattributed(hostname=name, received_at=NOW, report=report))
        assert [(u.hostname, u.report) for u in store.unattributed()] == [(name, b"2")]
