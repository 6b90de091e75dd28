"""The contract, part four: what the audit reads and writes."""

# ruff: noqa: S101 - a suite asserts

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from qlmdm_core.store import Store
from qlmdm_core.store.records import Issue, Judgement
from qlmdm_core.testing.store_contract import samples
from qlmdm_core.testing.store_contract.engine import StoreFixtures
from qlmdm_core.testing.store_contract.samples import HOSTILE, KEPT, NOW

HOUR = timedelta(hours=1)


def judged(
    store: Store, cid: str, *issues: Issue, rejudge_at: datetime | None = None, keep: bool = False
) -> None:
    """Judge one client: a verdict for each issue that is open."""
    target = next(t for t in store.audit_targets(NOW, everything=True) if t.client.cid == cid)
    verdicts = [
        samples.verdict(cid, issue.check, state=issue.state)
        for issue in issues
        if issue.closed_at is None
    ]
    store.record_judgements(
        [
            Judgement(
                cid=cid,
                dirty=target.dirty,
                rejudge_at=rejudge_at,
                verdicts=None if keep else verdicts,
                issues=issues,
            )
        ]
    )


def due(store: Store, now: datetime = NOW) -> list[str]:
    """The cids that an audit would judge now."""
    return [target.client.cid for target in store.audit_targets(now, everything=False)]


class AuditContract(StoreFixtures):
    """Targets, verdicts and issues."""

    # --- targets --------------------------------------------------------------------------

    def test_a_client_never_judged_is_due(self, store: Store, cid: str) -> None:
        target = store.audit_targets(NOW, everything=False)[0]
        assert target.client.cid == cid
        assert target.report == b"{}"
        assert target.dirty is not None
        assert (tuple(target.verdicts), tuple(target.issues)) == ((), ())

    def test_a_judged_client_is_due_when_its_time_has_come(self, store: Store, cid: str) -> None:
        judged(store, cid, rejudge_at=NOW + HOUR)
        assert due(store) == []
        assert due(store, NOW + HOUR - timedelta(seconds=1)) == []
        assert due(store, NOW + HOUR) == [cid]
        assert store.audit_targets(NOW + HOUR, everything=False)[0].dirty is None

    def test_a_change_during_the_judgement_keeps_the_mark(
        self, store: Store, cid: str, other: Store
    ) -> None:
        store.accept(samples.submission(cid, 1))
        target = store.audit_targets(NOW, everything=False)[0]
        other.accept(samples.submission(cid, 2, {"os_info": samples.result({"id": "debian"})}))
        store.record_judgements(
            [Judgement(cid=cid, dirty=target.dirty, rejudge_at=None, verdicts=[])]
        )
        assert due(store) == [cid]

    def test_targets_come_in_pages_by_cid(self, store: Store) -> None:
        cids = [f"c{number:02}" for number in range(25)]
        for cid in reversed(cids):
            samples.enrolled(store, cid)
        for number, cid in enumerate(cids):
            if number % 2:
                judged(store, cid, rejudge_at=NOW + HOUR)
        judged(store, "c04")
        for everything, now, expected in (
            (True, NOW, cids),
            (False, NOW, [c for c in cids[::2] if c != "c04"]),
            (False, NOW + HOUR, [c for c in cids if c != "c04"]),
        ):
            found: list[str] = []
            while page := store.audit_targets(
                now, everything=everything, after=found[-1] if found else None, limit=4
            ):
                assert len(page) <= 4
                found += [target.client.cid for target in page]
            assert found == expected

    def test_a_target_brings_what_judging_it_needs(self, store: Store) -> None:
        for cid in ("c1", "c2"):
            samples.enrolled(store, cid)
            judged(
                store,
                cid,
                samples.issue(f"{cid}-a", cid, "a"),
                samples.issue(f"{cid}-b", cid, "b", state="unknown"),
            )
        store.set_client("c1", tags=["lab"], flags={"f": 1})
        judged(store, "c1", samples.issue("c1-b", "c1", "b", state="unknown", closed_at=NOW))
        first, second = store.audit_targets(NOW, everything=True)
        assert (first.client.tags, first.client.flags) == (("lab",), {"f": 1})
        assert tuple(first.verdicts) == ()
        assert [issue.issue_id for issue in first.issues] == ["c1-a"]
        assert [(v.check, v.state) for v in second.verdicts] == [("a", "fail"), ("b", "unknown")]
        assert [issue.issue_id for issue in second.issues] == ["c2-a", "c2-b"]

    # --- verdicts -------------------------------------------------------------------------

    def test_verdicts_are_replaced_or_left(self, store: Store, cid: str) -> None:
        judged(store, cid, samples.issue("i1", cid, "a"), samples.issue("i2", cid, "b"))
        kept = store.verdicts()
        assert kept == [
            samples.verdict(cid, "a", since_at=KEPT),
            samples.verdict(cid, "b", since_at=KEPT),
        ]
        judged(store, cid, keep=True)
        assert store.verdicts() == kept
        judged(store, cid, samples.issue("i2", cid, "b"))
        assert [v.check for v in store.verdicts()] == ["b"]

    def test_verdicts_are_listed_by_check_then_cid(self, store: Store) -> None:
        for cid in ("c2", "c1", "c3"):
            samples.enrolled(store, cid)
            judged(
                store, cid, samples.issue(f"{cid}a", cid, "a"), samples.issue(f"{cid}b", cid, "b")
            )
        every = [(v.check, v.cid) for v in store.verdicts()]
        assert every == [(check, cid) for check in "ab" for cid in ("c1", "c2", "c3")]
        assert [v.cid for v in store.verdicts(check="b")] == ["c1", "c2", "c3"]
        assert [v.check for v in store.verdicts(cid="c2")] == ["a", "b"]
        assert [v.check for v in store.verdicts(cid="c2", check="b")] == ["b"]
        assert store.verdicts(check="none") == []
        paged: list[tuple[str, str]] = []
        while page := store.verdicts(after=":".join(paged[-1]) if paged else None, limit=2):
            paged += [(v.check, v.cid) for v in page]
        assert paged == every
        assert [v.cid for v in store.verdicts(check="b", after="b:c1")] == ["c2", "c3"]
        assert [v.cid for v in store.verdicts(check="b", after="a:c3", limit=1)] == ["c1"]
        assert store.verdicts(check="a", after="b:c1") == []

    def test_verdicts_are_counted(self, store: Store) -> None:
        for cid in ("c1", "c2"):
            samples.enrolled(store, cid)
            state = "fail" if cid == "c1" else "unknown"
            judged(
                store,
                cid,
                samples.issue(f"{cid}a", cid, "a", state=state),
                samples.issue(f"{cid}b", cid, "b"),
            )
        assert store.count_verdicts() == {
            ("a", "fail"): 1,
            ("a", "unknown"): 1,
            ("b", "fail"): 2,
        }

    # --- issues ---------------------------------------------------------------------------

    def test_an_issue_comes_back_as_it_was(self, store: Store, cid: str) -> None:
        issue = samples.issue(
            "i1",
            cid,
            alert_due_at=NOW + HOUR,
            alerted_at=NOW,
            snoozed_until=NOW + 2 * HOUR,
            snooze_reason="holidays",
            snoozed_by="ada",
            notified={"mail": NOW},
        )
        judged(store, cid, issue)
        kept = store.issue("i1")
        assert kept is not None
        assert replace(kept, revision=0) == replace(
            issue,
            opened_at=KEPT,
            alert_due_at=KEPT + HOUR,
            alerted_at=KEPT,
            snoozed_until=KEPT + 2 * HOUR,
            notified={"mail": KEPT},
        )
        assert store.issue("none") is None

    def test_one_issue_is_open_per_client_and_check(self, store: Store, cid: str) -> None:
        judged(store, cid, samples.issue("first", cid))
        judged(store, cid, samples.issue("second", cid))
        assert [issue.issue_id for issue in store.issues(is_open=None)] == ["first"]

    def test_a_check_that_fails_again_opens_a_new_issue(self, store: Store, cid: str) -> None:
        first = samples.issue("first", cid)
        judged(store, cid, first)
        judged(store, cid, replace(first, closed_at=NOW + HOUR))
        judged(store, cid, samples.issue("second", cid))
        assert [issue.issue_id for issue in store.issues()] == ["second"]
        assert [issue.issue_id for issue in store.issues(is_open=False)] == ["first"]
        assert len(store.issues(is_open=None)) == 2

    def test_a_closed_issue_stays_closed(self, store: Store, cid: str) -> None:
        issue = samples.issue("i1", cid)
        judged(store, cid, issue)
        judged(store, cid, replace(issue, closed_at=NOW + HOUR, message="over"))
        judged(store, cid, replace(issue, message="again"))
        assert store.update_issues([replace(issue, alerted_at=NOW)]) == 0
        kept = store.issue("i1")
        assert kept is not None
        assert (kept.closed_at, kept.message, kept.alerted_at) == (KEPT + HOUR, "over", None)

    def test_a_judgement_keeps_a_snooze_set_meanwhile(self, store: Store, cid: str) -> None:
        judged(store, cid, samples.issue("i1", cid))
        read = store.issues()[0]
        snoozed = replace(read, snoozed_until=NOW + HOUR, snoozed_by="ada", alerted_at=NOW)
        assert store.update_issues([snoozed]) == 1
        judged(store, cid, replace(read, message="worse", alert_due_at=NOW + 2 * HOUR))
        kept = store.issue("i1")
        assert kept is not None
        assert (kept.snoozed_until, kept.snoozed_by) == (KEPT + HOUR, "ada")
        assert kept.alerted_at == KEPT
        assert (kept.message, kept.alert_due_at) == ("worse", KEPT + 2 * HOUR)

    def test_writing_back_an_older_revision_is_refused(self, store: Store, cid: str) -> None:
        judged(store, cid, samples.issue("i1", cid))
        read = store.issues()[0]
        assert store.update_issues([replace(read, snoozed_until=NOW + HOUR)]) == 1
        assert store.update_issues([replace(read, alerted_at=NOW)]) == 0
        kept = store.issues()[0]
        assert (kept.snoozed_until, kept.alerted_at) == (KEPT + HOUR, None)
        assert store.update_issues([replace(kept, alerted_at=NOW, notified={"m": NOW})]) == 1

    def test_an_issue_can_be_closed_without_a_judgement(self, store: Store, cid: str) -> None:
        judged(store, cid, samples.issue("i1", cid))
        assert store.update_issues([replace(store.issues()[0], closed_at=NOW)]) == 1
        assert store.issues() == []
        judged(store, cid, samples.issue("i2", cid))
        assert [issue.issue_id for issue in store.issues()] == ["i2"]

    def test_due_issues_are_open_and_their_time_has_come(self, store: Store) -> None:
        for number in range(4):
            cid = samples.enrolled(store, f"c{number}")
            judged(store, cid, samples.issue(f"i{number}", cid, alert_due_at=NOW + number * HOUR))
        judged(store, "c0", samples.issue("i0", "c0", closed_at=NOW))
        found = store.issues(due_by=NOW + 2 * HOUR)
        assert [issue.issue_id for issue in found] == ["i1", "i2"]
        assert [i.issue_id for i in store.issues(due_by=NOW + 9 * HOUR, cid="c3")] == ["i3"]

    def test_issues_are_filtered_and_paged_by_id(self, store: Store) -> None:
        for cid in ("c1", "c2"):
            samples.enrolled(store, cid)
            judged(
                store,
                cid,
                samples.issue(f"{cid}-a", cid, "a"),
                samples.issue(f"{cid}-b", cid, "b"),
            )
        closed = next(i for i in store.issues() if i.issue_id == "c1-b")
        judged(store, "c1", replace(closed, closed_at=NOW))
        ids = ["c1-a", "c1-b", "c2-a", "c2-b"]
        assert [i.issue_id for i in store.issues(is_open=None)] == ids
        assert [i.issue_id for i in store.issues()] == ["c1-a", "c2-a", "c2-b"]
        assert [i.issue_id for i in store.issues(check="b", is_open=None)] == ["c1-b", "c2-b"]
        assert [i.issue_id for i in store.issues(check="b")] == ["c2-b"]
        assert [i.issue_id for i in store.issues(cid="c1", is_open=None)] == ids[:2]
        assert [i.issue_id for i in store.issues(cid="c1", is_open=False)] == ["c1-b"]
        assert [i.issue_id for i in store.issues(cid="c2", check="a")] == ["c2-a"]
        paged: list[str] = []
        while page := store.issues(is_open=None, after=paged[-1] if paged else None, limit=3):
            paged += [issue.issue_id for issue in page]
        assert paged == ids

    @pytest.mark.parametrize("name", HOSTILE)
    def test_messages_and_evidence_may_say_anything(
        self, store: Store, cid: str, name: str
    ) -> None:
        issue = samples.issue(
            "i1",
            cid,
            message=name,
            evidence={name: [name]},
            snooze_reason=name,
            notified={name: NOW},
        )
        judged(store, cid, issue)
        kept = store.issue("i1")
        assert kept is not None
        assert (kept.message, kept.evidence) == (name, {name: [name]})
        assert (kept.snooze_reason, kept.notified) == (name, {name: KEPT})
