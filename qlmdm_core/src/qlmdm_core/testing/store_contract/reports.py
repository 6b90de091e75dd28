"""The contract, part three: accepting records, merged reports, history."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from qlmdm_core.api import JSON
from qlmdm_core.store import Store
from qlmdm_core.store.merge import RECENT, SILENCE, load_report
from qlmdm_core.store.records import Accepted, Behind, Judgement, NotAllowed, Repeated
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import Engine, StoreFixtures
from qlmdm_core.testing.store_contract.samples import HOSTILE, KEPT, NOW


class ReportsContract(StoreFixtures):
    """What a record from a client does."""

    # --- who may, and in which order ----------------------------------------------------

    def test_a_record_is_accepted_and_read_back(self, store: Store, cid: str, other: Store) -> None:
        collectors = {
            "os_info": samples.result({"state": "available", "id": "arch"}),
            "firewall": samples.failure("nft needs root", status="timeout"),
        }
        sent = replace(samples.submission(cid, 7, collectors), release="1.12")
        assert store.accept(sent) == Accepted(accepted_at=KEPT, changed=True)
        client = other.client(cid)
        assert client is not None
        assert (client.seq, client.boot, client.release) == (7, "boot-1", "1.12")
        assert client.reported_at == client.last_seen_at == KEPT
        assert client.facts == {"os_info.state": "available", "os_info.id": "arch"}
        report = orjson.loads(other.report(cid) or b"")
        assert report["os_info"] == {
            "status": "ok",
            "value": {"state": "available", "id": "arch"},
            "value_sha256": collectors["os_info"].value_sha256,
            "collected_at": NOW.isoformat(),
            "changed_at": "2025-03-04T05:06:07.890+00:00",
            "seconds": 0.25,
        }
        assert report["firewall"]["status"] == "timeout"
        assert report["firewall"]["error"] == "nft needs root"
        assert "value" not in report["firewall"]

    def test_an_unknown_client_or_key_is_not_allowed(self, store: Store, cid: str) -> None:
        samples.enrolled(store, "c2")
        assert isinstance(store.accept(samples.submission("none", 1)), NotAllowed)
        stolen = replace(samples.submission(cid, 1), fingerprint="FPRc2")
        assert isinstance(store.accept(stolen), NotAllowed)
        assert store.report(cid) == b"{}"

    def test_seq_must_rise(self, store: Store, cid: str) -> None:
        store.accept(samples.submission(cid, 5))
        assert store.accept(samples.submission(cid, 5, rid="x")) == Behind(last_seq=5)
        assert store.accept(samples.submission(cid, 4)) == Behind(last_seq=5)
        assert isinstance(store.accept(samples.submission(cid, 6)), Accepted)
        assert isinstance(store.accept(samples.submission(cid, 1 << 50)), Accepted)

    def test_a_known_record_gets_its_receipt_again(self, store: Store, cid: str) -> None:
        store.accept(samples.submission(cid, 1, rid="a"))
        store.accept(samples.submission(cid, 2, rid="b", at=NOW + timedelta(minutes=5)))
        later = NOW + timedelta(hours=1)
        for seq in (1, 2, 3):
            again = store.accept(samples.submission(cid, seq, rid="a", at=later))
            assert again == Repeated(accepted_at=KEPT)
        client = store.client(cid)
        assert client is not None
        assert client.seq == 2
        assert client.reported_at == KEPT + timedelta(minutes=5)

    def test_the_last_64_records_are_known(self, store: Store, cid: str) -> None:
        for seq in range(1, RECENT + 2):
            store.accept(samples.submission(cid, seq))
        oldest = store.accept(samples.submission(cid, 2, rid=f"{cid}-2"))
        assert isinstance(oldest, Repeated)
        forgotten = store.accept(samples.submission(cid, 1, rid=f"{cid}-1"))
        assert forgotten == Behind(last_seq=RECENT + 1)

    # --- merging ------------------------------------------------------------------------

    def test_collectors_that_a_record_does_not_name_stay(self, store: Store, cid: str) -> None:
        store.accept(samples.submission(cid, 1, {"a": samples.result({"x": 1})}))
        store.accept(samples.submission(cid, 2, {"b": samples.result({"y": 2})}))
        report = orjson.loads(store.report(cid) or b"")
        assert report["a"]["value"] == {"x": 1}
        assert report["b"]["value"] == {"y": 2}
        client = store.client(cid)
        assert client is not None
        assert client.facts == {"a.x": 1, "b.y": 2}

    def test_nothing_new_keeps_changed_at_and_moves_collected_at(
        self, store: Store, cid: str
    ) -> None:
        store.accept(samples.submission(cid, 1))
        before = store.audit_targets(NOW, everything=True)[0]
        store.record_judgements(
            [Judgement(cid=cid, dirty=before.dirty, rejudge_at=None, verdicts=[])]
        )
        later = NOW + timedelta(minutes=5)
        outcome = store.accept(samples.submission(cid, 2, at=later))
        assert outcome == Accepted(accepted_at=KEPT + timedelta(minutes=5), changed=False)
        entry = orjson.loads(store.report(cid) or b"")["os_info"]
        assert entry["collected_at"] == later.isoformat()
        assert entry["changed_at"] == "2025-03-04T05:06:07.890+00:00"
        assert len(store.changes(cid)) == 1
        target = store.audit_targets(NOW, everything=True)[0]
        assert target.dirty is None
        loaded = load_report(target.report, target.times)
        assert loaded["os_info"]["collected_at"] == later.isoformat()
        assert target.client.reported_at == KEPT + timedelta(minutes=5)
        assert store.audit_targets(NOW, everything=False) == []

    def test_a_change_after_no_change_has_the_newest_times(self, store: Store, cid: str) -> None:
        steady, moving = samples.result({"s": 1}), samples.result({"m": 1})
        store.accept(samples.submission(cid, 1, {"steady": steady, "moving": moving}))
        later = NOW + timedelta(minutes=5)
        store.accept(samples.submission(cid, 2, {"steady": samples.result({"s": 1}, at=later)}))
        store.accept(samples.submission(cid, 3, {"moving": samples.result({"m": 2}, at=later)}))
        for report in (
            orjson.loads(store.report(cid) or b""),
            load_report(*_report_and_times(store)),
        ):
            assert report["steady"]["collected_at"] == later.isoformat()
            assert report["steady"]["changed_at"] == "2025-03-04T05:06:07.890+00:00"

    def test_a_change_leaves_a_line_of_history(self, store: Store, cid: str, other: Store) -> None:
        old, new = {"state": "on", "zone": {"a/b": 1}}, {"state": "on", "zone": {"a/b": 2}}
        store.accept(samples.submission(cid, 1, {"firewall": samples.result(old)}))
        later = NOW + timedelta(minutes=5)
        store.accept(samples.submission(cid, 2, {"firewall": samples.result(new)}, at=later))
        last, first = other.changes(cid)
        assert first.change_id == f"{cid}:1:firewall"
        assert (first.old_sha256, first.old, first.old_status) == (None, None, None)
        assert last.change_id == f"{cid}:2:firewall"
        assert last.changed_at == KEPT + timedelta(minutes=5)
        assert (last.old, last.new) == (old, new)
        assert last.paths == ("/zone/a~1b",)
        assert last.old_sha256 == samples.result(old).value_sha256
        assert last.new_sha256 == samples.result(new).value_sha256

    def test_failing_and_recovering_are_changes(self, store: Store, cid: str) -> None:
        steps = [samples.result({"x": 1}), samples.failure("gone"), samples.result({"x": 1})]
        for seq, step in enumerate(steps, 1):
            assert store.accept(samples.submission(cid, seq, {"a": step})).changed  # type: ignore[union-attr]
            facts = getattr(store.client(cid), "facts", None)
            assert facts == ({"a.x": 1} if step.status == "ok" else {})
        states = [(c.old_status, c.new_status) for c in store.changes(cid)]
        assert states == [("error", "ok"), ("ok", "error"), (None, "ok")]

    def test_private_values_leave_no_trace_beside_the_report(self, store: Store, cid: str) -> None:
        for seq in (1, 2):
            secret = samples.result({"box": f"cipher{seq}"}, private=True)
            store.accept(samples.submission(cid, seq, {"geolocation": secret}))
        for change in store.changes(cid):
            assert change.old is change.new is None
            assert change.paths == ()
        client = store.client(cid)
        assert client is not None
        assert client.facts == {}

    def test_flags_are_set_and_removed(self, store: Store, cid: str) -> None:
        store.set_client(cid, flags={"by_hand": 1})
        store.accept(samples.submission(cid, 1, flags={"deprecated_url": "http://old"}))
        store.accept(samples.submission(cid, 2, flags={"deprecated_url": None}, hostname="new"))
        client = store.client(cid)
        assert client is not None
        assert client.flags == {"by_hand": 1}
        assert client.hostname == "new"
        assert [found.cid for found in store.clients_named("new")] == [cid]
        assert store.clients_named(f"host-{cid}") == []

    @pytest.mark.parametrize("name", HOSTILE)
    def test_collectors_and_fields_may_be_called_anything(
        self, engine: Engine, store: Store, cid: str, name: str
    ) -> None:
        value: JSON = {name: {name: [name, {name: None}]}}
        store.accept(samples.submission(cid, 1, {name: samples.result(value)}, rid=name or "-"))
        changed: JSON = {name: {name: [name, {name: 1}]}}
        store.accept(samples.submission(cid, 2, {name: samples.result(changed)}))
        assert orjson.loads(store.report(cid) or b"")[name]["value"] == changed
        before = list(store.changes(cid))
        assert [c.collector for c in before] == [name, name]
        assert (before[0].old, before[0].new) == (value, changed)
        store.settle_changes()
        assert list(store.changes(cid)) == before
        if engine.compares_nul or "\0" not in name:
            assert list(store.changes(cid, collector=name)) == before

    def test_numbers_beyond_64_bits_are_kept_in_some_form(self, store: Store, cid: str) -> None:
        value = {"big": 1 << 80, "small": -(1 << 63)}
        store.accept(samples.submission(cid, 1, {"a": samples.result(value)}))
        kept = orjson.loads(store.report(cid) or b"")["a"]["value"]
        assert kept["big"] == pytest.approx(1 << 80)
        assert kept["small"] == -(1 << 63)
        assert store.accept(samples.submission(cid, 2, {"a": samples.result(value)})) == Accepted(
            accepted_at=KEPT, changed=False
        )

    # --- history ------------------------------------------------------------------------

    def test_history_is_newest_first_and_can_be_paged(self, store: Store, cid: str) -> None:
        for seq in range(1, 6):
            at = NOW + timedelta(minutes=seq)
            store.accept(samples.submission(cid, seq, {"a": samples.result({"n": seq})}, at=at))
            if seq == 3:
                store.settle_changes()
        ids = [change.change_id for change in store.changes(cid)]
        assert ids == [f"{cid}:{seq}:a" for seq in (5, 4, 3, 2, 1)]
        page = store.changes(cid, limit=2)
        rest = store.changes(cid, before=page[-1].changed_at)
        assert [c.change_id for c in (*page, *rest)] == ids
        assert store.changes(cid, collector="b") == []
        assert len(store.changes(cid, collector="a", limit=3)) == 3

    def test_settling_changes_neither_loses_nor_doubles(self, store: Store, other: Store) -> None:
        for cid in ("c1", "c2", "c3"):
            samples.enrolled(store, cid)
            store.accept(samples.submission(cid, 1))
        before = {cid: list(store.changes(cid)) for cid in ("c1", "c2", "c3")}
        assert all(len(changes) == 1 for changes in before.values())
        store.settle_changes(limit=1)
        other.settle_changes()
        assert store.settle_changes() == 0
        assert {cid: list(other.changes(cid)) for cid in before} == before

    def test_old_history_is_forgotten(self, store: Store, cid: str) -> None:
        for seq in range(1, 251):
            at = NOW + timedelta(minutes=seq)
            store.accept(samples.submission(cid, seq, {"a": samples.result({"n": seq})}, at=at))
        store.settle_changes()
        assert store.forget_changes(NOW + timedelta(minutes=241)) == 240
        assert store.forget_changes(NOW + timedelta(minutes=241)) == 0
        assert [c.change_id for c in store.changes(cid)] == [
            f"{cid}:{seq}:a" for seq in range(250, 240, -1)
        ]

    # --- what makes a client due ----------------------------------------------------------

    def test_what_changed_is_due_and_what_did_not_is_not(self, store: Store, cid: str) -> None:
        _judged(store)
        store.accept(samples.submission(cid, 1))
        first = store.audit_targets(NOW, everything=False)[0].dirty
        store.accept(samples.submission(cid, 2, {"a": samples.result({"x": 2})}))
        second = store.audit_targets(NOW, everything=False)[0].dirty
        assert first
        assert second
        assert first != second
        _judged(store)
        store.accept(samples.submission(cid, 3, {"a": samples.result({"x": 2})}))
        assert store.audit_targets(NOW, everything=False) == []
        store.accept(samples.submission(cid, 4, {}, flags={"f": 1}))
        assert len(store.audit_targets(NOW, everything=False)) == 1

    def test_a_client_that_comes_back_is_due_though_nothing_changed(
        self, store: Store, cid: str
    ) -> None:
        store.accept(samples.submission(cid, 1))
        _judged(store)
        store.accept(samples.submission(cid, 2, at=NOW + SILENCE / 2))
        assert store.audit_targets(NOW, everything=False) == []
        store.accept(samples.submission(cid, 3, at=NOW + SILENCE * 2))
        assert len(store.audit_targets(NOW, everything=False)) == 1
        _judged(store)
        store.seen(cid, NOW + SILENCE * 4)
        assert samples.eventually(lambda: len(store.audit_targets(NOW, everything=False)) == 1)


def _judged(store: Store) -> None:
    """Judge everybody: nothing is wrong."""
    store.record_judgements(
        [
            Judgement(cid=t.client.cid, dirty=t.dirty, rejudge_at=None, verdicts=[])
            for t in store.audit_targets(NOW, everything=True)
        ]
    )


def _report_and_times(store: Store) -> tuple[bytes, bytes]:
    target = store.audit_targets(NOW, everything=True)[0]
    return target.report, target.times
