"""The administrator's commands, on a real store: audit, issues, clients; and wrong calls."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from qlmdm_core import tokens
from qlmdm_core.server import audit_cli, clients_cli, issues_cli
from qlmdm_core.signedtext import SignedText
from qlmdm_core.store.open import open_store
from qlmdm_core.store.records import RootDocument
from qlmdm_core.testing.fleet import Fleet

COMMANDS = {
    "qlmdm-audit": audit_cli.main,
    "qlmdm-issues": issues_cli.main,
    "qlmdm-clients": clients_cli.main,
}
OFF = {"firewall": {"state": "off", "ipv4": "off", "ipv6": "off"}}
ON = {"firewall": {"state": "on", "ipv4": "on", "ipv6": "on"}}
SITE_CHECK = """
audit:
  grace_period: 0s
  site_checks:
    ours:
      query: {firewall.state: "off"}
      message: The firewall is off. Turn it on
"""


class Site:
    """A server's settings and store in a folder."""

    def __init__(self, folder: Path) -> None:
        self.settings = folder / "settings.yml"
        self.url = f"sqlite://{folder}/qlmdm.sqlite"
        self.write(SITE_CHECK)
        self.store = open_store(self.url)
        self.store.setup()
        # Commands use the clock: the fleet reports now.
        self.fleet = Fleet(self.store, now=datetime.now(timezone.utc))

    def write(self, more: str) -> None:
        self.settings.write_text(f"url: https://q.example.com\nstore: {self.url}\n{more}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = Site(tmp_path)
    monkeypatch.setenv("QLMDM_SETTINGS", str(made.settings))
    yield made
    made.store.close()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", list(argv))
        try:
            status = COMMANDS[argv[0]]()
        except SystemExit as ended:  # argparse's own
            status = int(ended.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return call


Run = Callable[..., tuple[int, str, str]]


def ours(text: str) -> list[str]:
    return [line for line in text.splitlines() if ": ours " in line]


def test_the_audit_says_what_is_wrong_once_an_hour(site: Site, run: Run) -> None:
    site.fleet.client("laptop7", OFF)
    status, out, _ = run("qlmdm-audit")
    assert status == 1
    (line,) = ours(out)
    assert line == (
        "laptop7: ours now: The firewall is off. Turn it on, "
        "or snooze with: qlmdm-issues snooze laptop7 ours"
    )
    status, out, _ = run("qlmdm-audit")
    assert (status, out) == (0, "")


def test_looking_at_everything_is_not_telling(site: Site, run: Run) -> None:
    site.fleet.client("laptop7", OFF)
    assert len(ours(run("qlmdm-audit", "--all")[1])) == 1
    assert len(ours(run("qlmdm-audit", "--client", "laptop7")[1])) == 1
    assert len(ours(run("qlmdm-audit")[1])) == 1


def test_the_audit_speaks_json(site: Site, run: Run) -> None:
    site.fleet.client("laptop7", OFF)
    _, out, _ = run("qlmdm-audit", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    (alert,) = [alert for alert in found if alert["check"] == "ours"]
    assert (alert["hostname"], alert["state"]) == ("laptop7", "fail")


def test_the_audit_explains_its_checks(site: Site, run: Run) -> None:
    status, out, _ = run("qlmdm-audit", "--explain", "ours")
    assert status == 0
    assert "needs firewall" in out
    status, _, err = run("qlmdm-audit", "--explain", "nothing")
    assert status == 2
    assert "there is no check 'nothing'; there are:" in err


def test_issues_are_listed_shown_snoozed_and_woken(site: Site, run: Run) -> None:
    site.fleet.client("laptop7", OFF)
    run("qlmdm-audit")
    status, out, _ = run("qlmdm-issues", "list", "--check", "ours")
    assert status == 0
    assert out.splitlines()[1].split()[:3] == ["laptop7", "ours", "fail"]
    assert "The firewall is off" in run("qlmdm-issues", "show", "laptop7", "ours")[1]
    snooze = ["qlmdm-issues", "snooze", "laptop7", "ours"]
    status, out, _ = run(*snooze, "--for", "2d", "--reason", "ordered")
    assert (status, out.split(",")[0]) == (0, "snoozed for 2 days")
    assert ": ordered" in run("qlmdm-issues", "show", "laptop7", "ours")[1]
    assert ours(run("qlmdm-audit", "--all")[1]) == []
    assert run("qlmdm-issues", "unsnooze", "laptop7", "ours")[0] == 0
    assert len(ours(run("qlmdm-audit", "--all")[1])) == 1
    (listed,) = json.loads(run("qlmdm-issues", "list", "--check", "ours", "--json")[1])
    assert (listed["hostname"], listed["snoozed_until"]) == ("laptop7", None)


def test_nothing_is_cut_off_in_a_pipe(site: Site, run: Run) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    site.write(SITE_CHECK.replace("The firewall is off", f'"{words}').replace("it on", 'it on"'))
    site.fleet.client("laptop7", OFF | {"sshd": {"state": "unknown", "reason": words}})
    run("qlmdm-audit")
    (line,) = [line for line in run("qlmdm-issues", "list")[1].splitlines() if " ours " in line]
    assert line.endswith(f"  {words}. Turn it on")
    shown = run("qlmdm-clients", "show", "laptop7")[1].splitlines()
    assert [line for line in shown if line.startswith("ours ") and line.endswith("Turn it on")]
    assert [line for line in shown if line.endswith(f"  unknown: {words}")]


def test_a_reason_can_not_move_the_cursor(site: Site, run: Run) -> None:
    site.fleet.client("laptop7", OFF)
    run("qlmdm-audit")
    reason = "x\ny\x1b[2Jz"
    assert run("qlmdm-issues", "snooze", "laptop7", "ours", "--reason", reason)[0] == 0
    out = run("qlmdm-issues", "show", "laptop7", "ours")[1]
    assert ": x·y·[2Jz\n" in out
    shown = json.loads(run("qlmdm-issues", "show", "laptop7", "ours", "--json")[1])
    assert shown["snooze_reason"] == reason


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["qlmdm-issues", "show", "nobody", "ours"], 1, "no client is called 'nobody'"),
        (["qlmdm-issues", "show", "laptop7", "none"], 1, "has no open issue 'none'"),
        (["qlmdm-issues", "snooze", "laptop7", "ours", "--for", "x"], 2, "--for: expected"),
        (["qlmdm-issues", "snooze", "laptop7", "ours", "--for", "0"], 2, "more than nothing"),
        (["qlmdm-issues"], 2, "ACTION"),
        (["qlmdm-clients", "show", "nobody"], 1, "no client is called 'nobody'"),
        (["qlmdm-clients", "invite", "--uses", "0"], 2, "at least one use"),
        (["qlmdm-clients", "invite", "--expires", "soon"], 2, "--expires: expected a number"),
        (["qlmdm-clients", "invite"], 2, "run qlmdm-server-setup"),
        (["qlmdm-audit", "--all", "--client", "x"], 2, "not allowed with"),
        (["qlmdm-audit", "--settings", "/nowhere.yml"], 2, "/nowhere.yml: there is no such"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    site: Site, run: Run, argv: list[str], status: int, message: str
) -> None:
    site.fleet.client("laptop7", OFF)
    run("qlmdm-audit")
    got, _, err = run(*argv)
    assert got == status
    assert message in err


def test_two_machines_of_one_name_are_told_apart_by_id(site: Site, run: Run) -> None:
    first = site.fleet.client("twin", OFF)
    second = site.fleet.client("twin", ON)
    status, _, err = run("qlmdm-clients", "show", "twin")
    assert status == 2
    assert first in err
    assert second in err
    assert run("qlmdm-clients", "show", first)[0] == 0


def test_the_fleet_is_listed_and_shown(site: Site, run: Run) -> None:
    assert "no clients yet" in run("qlmdm-clients", "list")[1]
    site.fleet.client(
        "laptop7", {**OFF, "os_info": {"state": "available", "id": "arch", "version_id": "1"}}
    )
    site.fleet.enrol("new\x1b[2J")
    run("qlmdm-audit")
    _, out, _ = run("qlmdm-clients", "list")
    assert "arch 1" in out
    assert "never" in out
    assert "\x1b" not in out
    _, out, _ = run("qlmdm-clients", "list", "--json")
    assert {json.loads(line)["hostname"] for line in out.splitlines()} == {"laptop7", "new\x1b[2J"}
    _, out, _ = run("qlmdm-clients", "show", "laptop7")
    assert "firewall" in out
    assert "ours" in out
    shown = json.loads(run("qlmdm-clients", "show", "laptop7", "--json")[1])
    assert shown["report"]["firewall"]["value"] == OFF["firewall"]


def verdicts_of(run: Run, hostname: str) -> str:
    (line,) = [row for row in run("qlmdm-clients", "list")[1].splitlines() if hostname in row]
    return line


def test_who_was_not_judged_since_the_last_change_does_not_pass(site: Site, run: Run) -> None:
    """What passes is not stored: a fleet that was never audited must not look like a good one."""
    site.write(SITE_CHECK + "plugins_off: [qlmdm-plugins-builtin, qlmdm-plugins-eset]\n")
    cid = site.fleet.client("laptop7", ON)
    assert verdicts_of(run, "laptop7").endswith("not judged yet")
    assert "verdicts: not judged yet" in run("qlmdm-clients", "show", "laptop7")[1]
    assert json.loads(run("qlmdm-clients", "list", "--json")[1])["due"] is True
    run("qlmdm-audit")
    assert verdicts_of(run, "laptop7").endswith("all pass")
    assert "verdicts: all pass" in run("qlmdm-clients", "show", "laptop7")[1]
    site.fleet.report(cid, OFF)
    assert verdicts_of(run, "laptop7").endswith("not judged yet")
    run("qlmdm-audit")
    assert verdicts_of(run, "laptop7").endswith("1 fail")


def test_an_invitation_is_written_for_its_reader_only(site: Site, run: Run, tmp_path: Path) -> None:
    document = SignedText(text="{}", sigs=()).pack()
    site.store.put_root(RootDocument(version=1, document=document))
    token = tmp_path / "token"
    status, out, err = run("qlmdm-clients", "invite", "--uses", "3", "--output", str(token))
    assert (status, out) == (0, "")
    assert "good for 3 machines" in err
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert tokens.parse(token.read_text()).invitation_id
    status, _, err = run("qlmdm-clients", "invite", "--output", str(token))
    assert status == 2
    assert "is there already" in err
    status, out, _ = run("qlmdm-clients", "invite")
    assert tokens.parse(out).secret not in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("audit: {checks: {nonsense: {enabled: false}}}", "audit.checks.nonsense: there is no"),
        ("audit: {site_checks: {x: {query: {$a: 1}, message: m}}}", "$a: not an operator"),
        ("plugins: {nonsense: {a: 1}}", "plugins.nonsense: no installed plugin"),
        ("store: nonsense", "set twice"),
    ],
)
def test_settings_that_make_no_sense_stop_the_audit(
    site: Site, run: Run, more: str, message: str
) -> None:
    site.write(more)
    status, _, err = run("qlmdm-audit")
    assert status == 2
    assert message in err
    assert str(site.settings) in err


def test_a_store_that_is_not_set_up_is_named(site: Site, run: Run, tmp_path: Path) -> None:
    site.url = f"sqlite://{tmp_path}/other.sqlite"
    site.write("")
    for command in (["qlmdm-audit"], ["qlmdm-clients", "list"], ["qlmdm-issues", "list"]):
        status, _, err = run(*command)
        assert status == 2
        assert "run qlmdm-server-setup" in err
    assert not (tmp_path / "other.sqlite").exists()
