"""The parts of `qlmdm-plugins check`: what it reads from a trace, learns of a check, and says."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qlmdm_core
from qlmdm_core.api import InstalledPackages, Reboot, ReleaseUpgrade, Updates
from qlmdm_core.plugins.check import edges, findings, machines, paper, traced
from qlmdm_core.plugins.check.adapters import judge_answer
from qlmdm_core.plugins.check.findings import failed, not_checked, ok
from qlmdm_core.plugins.check.inspected import attempt
from qlmdm_core.testing import ReplayHost

# --- traces -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('7 openat(AT_FDCWD, "/var/log/x", O_WRONLY|O_CREAT|O_EXCL, 0644) = 8', "writes"),
        ('7 open("/x", O_RDWR) = -1 EROFS (Read-only file system)', "writes"),
        ('7 unlink("/var/log/x") = -1 ENOENT (No such file or directory)', "writes"),
        ('7 connect(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr="192.0.2.1"}', "network"),
        ('7 sendto(3, "x", 1, 0, {sa_family=AF_INET6, sin6_port=htons(53)}, 28) = 1', "network"),
        ("7 sendmsg(3, {msg_name={sa_family=AF_INET, sin_port=htons(53)}, 16}, 0) = 1", "network"),
        (
            "7 sendmsg(3, {msg_name={sa_family=AF_NETLINK}, {rtm_family=AF_INET}}, 0) = 20",
            "",
        ),
        ('7 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 8', ""),
        ('7 openat(AT_FDCWD, "/dev/null", O_RDWR) = 8', ""),
        ('7 symlink("/dev/null", "/etc/systemd/system/x.service") = 0', "writes"),
        ('7 rename("/etc/x\\"y", "/dev/null") = -1 EXDEV (Invalid cross-device link)', "writes"),
        ('7 mkdir("/sys/fs/cgroup/qlmdm/1", 0777) = 0', ""),
        ('7 setxattr("/sys/fs/cgroup/x", "user.invocation", "1", 1, 0) = 0', ""),
        ('7 fchmodat2(3, "", 0600, AT_EMPTY_PATH) = 0', "writes"),
        ('7 openat(AT_FDCWD, "/tmp", O_RDWR|O_TMPFILE, 0600) = 8', ""),
        ('7 openat(AT_FDCWD, "/proc/7/oom_score_adj", O_WRONLY) = 8', ""),
        ('7 connect(3, {sa_family=AF_UNIX, sun_path="/run/dbus"}, 110) = 0', ""),
        ("7 connect(3, {sa_family=AF_INET, sin_port=htons(0)}, 16) = 0", ""),
        ("7 +++ exited with 0 +++", ""),
    ],
)
def test_a_call_is_a_change_a_connection_or_neither(line: str, rule: str) -> None:
    calls = list(traced.whole_calls(line))
    changes = any(traced.is_change(call) for call in calls)
    connects = any(traced.is_connection(call) for call in calls)
    assert (changes, connects) == (rule == "writes", rule == "network")


def test_an_interrupted_call_is_put_together_and_a_cut_one_is_kept() -> None:
    trace = '7 rename("/a", "/b" <unfinished ...>\n8 +++ exited +++\n7 <... rename resumed>) = 0\n'
    trace += '9 unlink("/c" <unfinished ...>\n'
    assert list(traced.whole_calls(trace)) == ['rename("/a", "/b" ) = 0', 'unlink("/c" ']


@given(st.text())
def test_any_trace_is_read(trace: str) -> None:
    for call in traced.whole_calls(trace):
        assert traced.is_change(call) in (True, False)
        assert traced.is_connection(call) in (True, False)


# --- edges ------------------------------------------------------------------------------------


def judge(report: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    value = report["firewall"]["value"]
    if flags.get("lost"):
        return
    if value["state"] in ("on", "off") and value.get("zone") == "public":
        return
    if value["state"] == "on" and "ports" in value:
        report.get("sshd", {}).get("value", {}).get("root")


def test_what_a_check_looks_for_is_learned() -> None:
    def watched(report: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
        attempt(lambda: judge(report, flags))

    learned = edges.learn(("firewall",), watched)
    assert learned.words["firewall"] >= {"on", "off"}
    assert learned.fields == {
        "firewall": {"zone": {"public"}, "ports": set()},
        "sshd": {"root": set()},
    }
    assert learned.flags == {"lost"}


def test_edges_hold_what_is_missing_odd_and_unproved() -> None:
    learned = edges.Learned(
        fields={"firewall": {"zone": {"public"}}, "sshd": {}},
        words={"firewall": {"on"}, "sshd": set()},
        flags={"lost"},
    )
    found = list(edges.edges(("firewall",), learned))
    reports = [edge.report for edge in found]
    assert any("value" not in report.get("sshd", {"value": 1}) for report in reports)
    values = [report["firewall"]["value"] for report in reports]
    assert {"state": "on", "zone": None} in values
    assert {"state": "on", "zone": "public"} in values
    assert {"state": "on"} in values
    assert any(edge.flags == {"lost": []} for edge in found)
    proves_nothing = [e.report["firewall"]["value"] for e in found if not e.proves]
    assert {} in proves_nothing
    assert {"state": "unknown"} in proves_nothing
    assert all(not (isinstance(v, dict) and v.get("state") == "on") for v in proves_nothing)
    for edge in found:
        json.dumps(edge.report)  # a client could send it


def test_a_check_without_needs_is_judged_without_a_report() -> None:
    first, *_ = edges.edges((), edges.Learned())
    assert (first.report, first.proves) == ({}, True)


# --- what adapters answer -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "said", "wrong"),
    [
        ("updates", Updates(state="unknown"), "unknown without a reason"),
        ("updates", Updates(state="up_to_date"), "nothing could be asked"),
        ("updates", Updates(state="unknown", reason="no lists"), None),
        ("release_upgrade", ReleaseUpgrade(), "unknown without a reason"),
        ("release_upgrade", ReleaseUpgrade(reason="no os-release"), None),
        ("release_upgrade", ReleaseUpgrade(end_of_life=False), None),
        ("packages", InstalledPackages(packages=None), "unknown without a reason"),
        ("packages", InstalledPackages(packages=()), "nothing could be asked"),
        ("reboot_required", Reboot(required=None), "unknown without a reason"),
        ("reboot_required", Reboot(required=False), "nothing could be asked"),
        ("reboot_required", Reboot(required=None, reason="no kernel"), None),
        ("reboot_required", False, "not Reboot"),
        ("package_version", 7, "not a version or None"),
        ("package_version", None, None),
    ],
)
def test_an_answer_that_can_not_be_known_says_so_and_why(
    method: str, said: object, wrong: str | None
) -> None:
    found = [finding.what for finding in judge_answer("x", method, said, told_nothing=True)]
    assert len(found) == (wrong is not None)
    assert wrong is None or wrong in found[0]


def test_where_something_could_be_asked_nothing_may_be_due() -> None:
    for method, said in (
        ("updates", Updates(state="up_to_date")),
        ("packages", InstalledPackages(packages=())),
        ("reboot_required", Reboot(required=False)),
    ):
        assert not list(judge_answer("x", method, said, told_nothing=False))


# --- machines that tell nothing -------------------------------------------------------------------


def test_the_hard_machines_are_empty_and_refused(tmp_path: Path) -> None:
    hosts = {what: ReplayHost(folder) for what, folder in machines.hard_machines(str(tmp_path))}
    assert tuple(hosts) == machines.HARD
    empty, refused = hosts.values()
    assert (empty.is_root, refused.is_root) == (True, False)
    with pytest.raises(FileNotFoundError):
        empty.read("/etc/os-release")
    for path in ("/etc/os-release", "/sys/block", "/proc/self/status"):
        with pytest.raises(PermissionError):
            refused.read(path)
    assert not refused.run(["id"]).found


# --- what is said ---------------------------------------------------------------------------------


def test_a_rule_is_told_once_if_kept_and_by_each_breach_if_not() -> None:
    told = findings.summary(
        [
            ok("help", "b"),
            failed("help", "check x", "no help text", "Set help="),
            failed("help", "check x", "no help text", "Set help="),
            ok("metadata", "one"),
            ok("metadata", "two"),
            not_checked("writes", "no strace"),
        ]
    )
    assert findings.lines(told) == [
        "ok           metadata  one; two",
        "failed       help      check x: no help text. Set help=",
        "not checked  writes    no strace",
    ]


def test_a_line_is_one_line_whatever_a_plugin_says() -> None:
    (line,) = findings.lines([failed("edges", "x\ny", "\x1b[2J\u202e")])
    assert line.isprintable()
    (long,) = findings.lines([ok("names", "name, " * 100)])
    assert len(long) < 160
    assert long.endswith("name …")


@pytest.mark.parametrize(
    ("requires", "wanted"),
    [
        (["requests", "qlmdm-core>=1,<2"], ">=1,<2"),
        (["Qlmdm_Core[server] (>=1,<2) ; python_version > '3'"], ">=1,<2"),
        (["qlmdm.core"], ""),
        (["qlmdm-core-extras>=1"], None),
        ([], None),
    ],
)
def test_the_core_that_is_asked_for_is_found(requires: list[str], wanted: str | None) -> None:
    assert paper._core_wanted(requires) == wanted


def test_each_rule_that_is_told_is_explained() -> None:
    folder = Path(qlmdm_core.__file__).parent / "plugins/check"
    named = {
        node.args[0].value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("ok", "failed", "not_checked")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert named | {"writes", "network", "edges", "absence", "verdicts", "pure"} == set(
        findings.RULES
    )
