"""A whole audit over a real SQLite store: what it judges, says, remembers and survives."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from qlmdm_core.api import PASS, Alert, AuditCheck, ClientView, Notifier, Verdict
from qlmdm_core.errors import BusyError, StoreUnavailableError
from qlmdm_core.server.audit.rules import Rule
from qlmdm_core.server.audit.run import Audit, Outcome
from qlmdm_core.store import Store
from qlmdm_core.store.open import open_store
from qlmdm_core.testing.fleet import Fleet


def judge_firewall(client: ClientView, now: datetime) -> Verdict:
    value = client.report["firewall"]["value"]
    if value["state"] == "on":
        return PASS
    if value["state"] == "unknown":
        return Verdict(state="unknown", message=value["reason"])
    return Verdict(state="fail", message="no rules. Run: ufw enable")


def judge_reporting(client: ClientView, now: datetime) -> Verdict:
    seen = client.last_seen_at or client.enrolled_at
    silent_at = seen + timedelta(days=1)
    if now >= silent_at:
        return Verdict(state="fail", message="silent. Turn it on")
    return Verdict(state="pass", valid_until=silent_at)


FIREWALL = AuditCheck(name="firewall-disabled", needs=("firewall",), judge=judge_firewall)
SSHD = AuditCheck(name="sshd-open", needs=("firewall",), judge=judge_firewall)
REPORTING = AuditCheck(name="not-reporting", judge=judge_reporting)


def rule(check: AuditCheck, grace: float = 0.0) -> Rule:
    return Rule(check=check, owner="test", grace_period=grace, alert_frequency=3600.0)


class Setup:
    """A store on disk, a fleet in it, and audits of it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite://{folder}/qlmdm.sqlite"
        self.store = self.open()
        self.store.setup()
        self.fleet = Fleet(self.store)
        self.lines: list[str] = []

    def open(self) -> Store:
        return open_store(self.url)

    def audit(
        self, *rules: Rule, notifiers: Sequence[Notifier] = (), processes: int = 1, **when: float
    ) -> Outcome:
        """Run an audit, later by `when`; what it says is added to `lines`."""
        self.fleet.now += timedelta(**when)
        audit = Audit(
            open_store=self.open,
            rules=rules or [rule(FIREWALL)],
            notifiers=notifiers,
            unknown_grace_period=600.0,
            processes=processes,
            patience=3.0,
        )
        return audit.run(self.fleet.now, self.tell)

    def tell(self, alerts: Sequence[Alert]) -> None:
        self.lines += dict.fromkeys(alert.line for alert in alerts)


@pytest.fixture
def setup(tmp_path: Path):
    made = Setup(tmp_path)
    yield made
    made.store.close()


OFF = {"firewall": {"state": "off"}}
ON = {"firewall": {"state": "on"}}


def unknown(reason: str) -> dict[str, object]:
    return {"firewall": {"state": "unknown", "reason": reason}}


def test_a_failure_is_told_in_one_terse_line(setup: Setup) -> None:
    cid = setup.fleet.client("laptop7", OFF)
    setup.store.set_client(cid, user_email="ada@example.com")
    setup.audit()
    (line,) = setup.lines
    assert line == (
        "laptop7 (ada@example.com): firewall-disabled now: no rules. Run: ufw enable, "
        "or snooze with: qlmdm-issues snooze laptop7 firewall-disabled"
    )


def test_nothing_wrong_is_silence(setup: Setup) -> None:
    setup.fleet.client("laptop7", ON)
    outcome = setup.audit()
    assert (outcome.tally.judged, setup.lines, setup.store.issues()) == (1, [], [])


def test_an_open_issue_is_told_again_after_its_alert_frequency(setup: Setup) -> None:
    setup.fleet.client("laptop7", OFF)
    setup.audit()
    setup.audit(minutes=59)
    assert len(setup.lines) == 1
    setup.audit(minutes=2)
    assert "firewall-disabled for 1 hour:" in setup.lines[1]


def test_a_failure_within_its_grace_period_is_not_told(setup: Setup) -> None:
    cid = setup.fleet.client("laptop7", OFF)
    patient = rule(FIREWALL, grace=3600.0)
    setup.audit(patient)
    assert setup.lines == []
    assert len(setup.store.issues()) == 1
    setup.fleet.report(cid, ON)
    setup.audit(patient, minutes=30)
    assert setup.store.issues() == []
    setup.audit(patient, minutes=60)
    assert setup.lines == []


def test_only_what_changed_is_judged_again(setup: Setup) -> None:
    cids = [setup.fleet.client(f"host{number}", ON) for number in range(5)]
    assert setup.audit().tally.judged == 5
    assert setup.audit(minutes=1).tally.judged == 0
    setup.fleet.report(cids[2], ON)
    assert setup.audit(minutes=1).tally.judged == 0
    setup.fleet.report(cids[3], OFF)
    assert setup.audit(minutes=1).tally.judged == 1
    assert len(setup.lines) == 1


def test_new_rules_judge_the_whole_fleet_again(setup: Setup) -> None:
    for number in range(3):
        setup.fleet.client(f"host{number}", OFF)
    setup.audit(rule(REPORTING))
    assert setup.audit(rule(FIREWALL), minutes=1).tally.judged == 3


def test_time_alone_can_change_a_verdict(setup: Setup) -> None:
    setup.fleet.client("laptop7", ON)
    setup.fleet.enrol("never-came")
    setup.audit(rule(REPORTING))
    setup.audit(rule(REPORTING), hours=23)
    assert setup.lines == []
    setup.audit(rule(REPORTING), hours=2)
    assert sorted(line.split(":")[0] for line in setup.lines) == ["laptop7", "never-came"]


def test_what_is_unknown_for_one_reason_is_one_line_after_a_week(setup: Setup) -> None:
    setup.fleet.client("laptop7", unknown("nft needs root"))
    rules = (rule(FIREWALL), rule(SSHD))
    setup.audit(*rules)
    assert setup.lines == []
    setup.audit(*rules, seconds=601)
    (line,) = setup.lines
    assert line == (
        "laptop7: unknown for 10 minutes: nft needs root (firewall-disabled, sshd-open). "
        "Mend that, or snooze with: qlmdm-issues snooze laptop7 CHECK"
    )


def test_a_snoozed_issue_is_not_told_until_it_wakes(setup: Setup) -> None:
    from dataclasses import replace

    setup.fleet.client("laptop7", OFF)
    setup.audit()
    (issue,) = setup.store.issues()
    until = setup.fleet.now + timedelta(days=2)
    assert setup.store.update_issues([replace(issue, snoozed_until=until)]) == 1
    setup.audit(days=1)
    assert len(setup.lines) == 1
    setup.audit(days=1, hours=1)
    assert len(setup.lines) == 2


def test_a_retired_clients_issues_are_closed_without_a_word(setup: Setup) -> None:
    cid = setup.fleet.client("laptop7", OFF)
    setup.audit(rule(FIREWALL, grace=60.0))
    setup.store.set_client(cid, status="retired")
    setup.audit(rule(FIREWALL, grace=60.0), hours=1)
    assert (setup.lines, setup.store.issues()) == ([], [])


def test_a_second_audit_at_the_same_time_gives_way(setup: Setup) -> None:
    setup.fleet.client("laptop7", OFF)
    first, second = threading.Event(), threading.Event()

    def hold(alerts: Sequence[Alert]) -> None:
        first.set()
        second.wait(30)

    audit = Audit(
        open_store=setup.open, rules=[rule(FIREWALL)], notifiers=(), unknown_grace_period=1.0
    )
    thread = threading.Thread(target=audit.run, args=(setup.fleet.now, hold))
    thread.start()
    try:
        assert first.wait(30)
        with pytest.raises(BusyError, match="another qlmdm-audit"):
            setup.audit()
    finally:
        second.set()
        thread.join()
    setup.audit(hours=2)
    assert len(setup.lines) == 1


def test_an_audit_that_dies_before_it_told_tells_next_time(setup: Setup) -> None:
    setup.fleet.client("laptop7", OFF)

    def fail(alerts: Sequence[Alert]) -> None:
        raise BrokenPipeError

    audit = Audit(
        open_store=setup.open, rules=[rule(FIREWALL)], notifiers=(), unknown_grace_period=1.0
    )
    with pytest.raises(BrokenPipeError):
        audit.run(setup.fleet.now, fail)
    setup.audit(minutes=1)
    assert len(setup.lines) == 1


def test_history_that_is_older_than_settings_say_is_forgotten(setup: Setup) -> None:
    cid = setup.fleet.client("laptop7", OFF)
    setup.fleet.now += timedelta(days=300)
    setup.fleet.report(cid, ON)
    setup.audit()
    assert len(setup.store.changes(cid)) == 2
    setup.audit(days=101)
    assert [change.new for change in setup.store.changes(cid)] == [ON["firewall"]]


# --- checks that misbehave ------------------------------------------------------------------


def hangs(client: ClientView, now: datetime) -> Verdict:
    if client.hostname == "victim":
        signal.pause()
    return PASS


def crashes(client: ClientView, now: datetime) -> Verdict:
    if client.hostname == "victim":
        os.kill(os.getpid(), signal.SIGKILL)
    return PASS


@pytest.mark.parametrize(("judge", "why"), [(hangs, "took too long"), (crashes, "crashed")])
def test_a_check_that_hangs_or_crashes_costs_itself_only(setup: Setup, judge, why: str) -> None:
    for name in ("a", "victim", "z"):
        setup.fleet.client(name, OFF)
    outcome = setup.audit(rule(AuditCheck(name="bad", judge=judge)), rule(FIREWALL))
    assert why in outcome.tally.broken["bad"]
    assert sorted(line.split(":")[0] for line in setup.lines) == ["a", "victim", "z"]
    assert {v.state for v in setup.store.verdicts(check="bad")} == {"unknown"}


def test_a_check_that_broke_is_left_in_peace_for_an_hour(setup: Setup) -> None:
    def crashes_if_off(client: ClientView, now: datetime) -> Verdict:
        return (
            crashes(client, now) if client.report["firewall"]["value"]["state"] == "off" else PASS
        )

    victim = setup.fleet.client("victim", OFF)
    rules = (rule(AuditCheck(name="bad", judge=crashes_if_off)), rule(FIREWALL))
    setup.audit(*rules)
    cid = setup.fleet.client("other", OFF)
    outcome = setup.audit(*rules, minutes=5)
    assert outcome.news == [], "told within the last hour"
    assert outcome.notes == ["check bad: the check itself crashed, so it is left out for now"]
    (verdict,) = setup.store.verdicts(cid=cid, check="bad")
    assert verdict.state == "unknown"
    setup.fleet.report(victim, ON)
    setup.audit(*rules, minutes=61)
    assert setup.store.verdicts(cid=cid, check="bad") == [], "asked again, and it passes"


def test_what_a_check_or_notifier_prints_is_not_the_audits_output(
    setup: Setup, capfd: pytest.CaptureFixture[str]
) -> None:
    def noisy(client: ClientView, now: datetime) -> Verdict:
        print("noise")
        os.write(1, b"noise\n")
        return PASS

    def send(alerts: Sequence[Alert]) -> None:
        print("noise", flush=True)

    setup.fleet.client("laptop7", OFF)
    rules = (rule(AuditCheck(name="noisy", judge=noisy)), rule(FIREWALL))
    setup.audit(*rules, notifiers=[Notifier(name="loud", send=send)])
    assert capfd.readouterr().out == ""


def test_findings_of_a_plugin_that_is_away_do_not_vanish(setup: Setup) -> None:
    cid = setup.fleet.client("laptop7", OFF)
    setup.audit(rule(FIREWALL), rule(SSHD))
    setup.fleet.now += timedelta(minutes=1)
    audit = Audit(
        open_store=setup.open,
        rules=[rule(SSHD)],
        notifiers=(),
        unknown_grace_period=600.0,
        disabled=frozenset(),
    )
    audit.run(setup.fleet.now, setup.tell)
    assert [issue.check for issue in setup.store.issues(cid=cid)] == sorted(
        ["firewall-disabled", "sshd-open"],
        key=lambda check: next(i.issue_id for i in setup.store.issues() if i.check == check),
    )
    assert {v.check for v in setup.store.verdicts(cid=cid)} == {"firewall-disabled", "sshd-open"}
    audit.disabled = frozenset({"firewall-disabled"})
    audit.run(setup.fleet.now, setup.tell, everything=True)
    assert [issue.check for issue in setup.store.issues(cid=cid)] == ["sshd-open"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_audit_leaves_no_process_and_no_lock(
    setup: Setup, tmp_path: Path, number: signal.Signals
) -> None:
    """A process of its own, whose check hangs; killed as systemd, or a power cut, would."""
    setup.fleet.client("victim", OFF)
    pids = tmp_path / "pids"

    def note_and_hang(client: ClientView, now: datetime) -> Verdict:
        pids.write_text(str(os.getpid()))
        signal.pause()
        return PASS

    def terminated(*_: object) -> None:
        raise SystemExit(143)

    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGTERM, terminated)
            setup.audit(rule(AuditCheck(name="bad", judge=note_and_hang)))
        finally:
            os._exit(0)
    deadline = time.monotonic() + 30
    while not pids.exists() or not pids.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, number)
    os.waitpid(pid, 0)
    worker = int(pids.read_text())
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        if "State:\tZ" in Path(f"/proc/{worker}/status").read_text():
            break
        time.sleep(0.01)
    later = 0 if number == signal.SIGTERM else 121
    setup.audit(rule(FIREWALL), seconds=later)
    assert len(setup.lines) == 1


def test_several_processes_judge_every_client_once(setup: Setup) -> None:
    for number in range(40):
        cid = f"{number % 16:x}0000000-0000-4000-8000-{number:012x}"
        setup.fleet.report(setup.fleet.enrol(f"host{number:02}", cid=cid), OFF)
    assert setup.audit(processes=3).tally.judged == 40
    assert len(setup.lines) == 40
    assert len(setup.store.issues()) == 40


def test_a_store_that_fails_in_a_worker_is_an_error_of_the_audit(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.fleet.client("laptop7", OFF)

    def refuse(self: object, judgements: object) -> None:
        raise StoreUnavailableError("disk full")

    monkeypatch.setattr(type(setup.store), "record_judgements", refuse)
    with pytest.raises(StoreUnavailableError, match="disk full"):
        setup.audit()


# --- notifiers --------------------------------------------------------------------------------


def test_a_notifier_gets_what_is_told(setup: Setup, tmp_path: Path) -> None:
    def write(alerts: Sequence[Alert]) -> None:
        (tmp_path / "sent").write_text("\n".join(alert.check for alert in alerts))

    setup.fleet.client("laptop7", OFF)
    outcome = setup.audit(notifiers=[Notifier(name="file", send=write)])
    assert outcome.notifier_failures == {}
    assert (tmp_path / "sent").read_text() == "firewall-disabled"


def test_a_notifier_that_fails_gets_the_alert_again_and_holds_up_nobody(
    setup: Setup, tmp_path: Path
) -> None:
    def flaky(alerts: Sequence[Alert]) -> None:
        if not (tmp_path / "up").exists():
            raise ConnectionError("mail server away")
        (tmp_path / "sent").write_text("\n".join(alert.line for alert in alerts))

    def hang(alerts: Sequence[Alert]) -> None:
        signal.pause()

    def leave(alerts: Sequence[Alert]) -> None:
        os._exit(0)

    notifiers = [
        Notifier(name="flaky", send=flaky),
        Notifier(name="hangs", send=hang, timeout=0.5),
        Notifier(name="leaves", send=leave),
    ]
    setup.fleet.client("laptop7", OFF)
    outcome = setup.audit(notifiers=notifiers)
    assert len(setup.lines) == 1
    assert outcome.notifier_failures == {
        "flaky": "ConnectionError: mail server away",
        "hangs": "took too long",
        "leaves": "it ended without having sent anything",
    }
    (tmp_path / "up").touch()
    outcome = setup.audit(notifiers=notifiers[:1], minutes=1)
    assert outcome.notifier_failures == {}
    assert len(setup.lines) == 1, "what was printed is not printed again"
    assert "firewall-disabled for 1 minute" in (tmp_path / "sent").read_text()
    (tmp_path / "sent").unlink()
    setup.audit(notifiers=notifiers[:1], minutes=1)
    assert not (tmp_path / "sent").exists()
