"""The adapter against image-based systems. All samples are composed from the sources of
rpm-ostree (`src/app/rpmostree-builtin-status`, `src/daemon/rpmostreed-deployment-utils`) and of
bootc (`lib/src/spec.rs`)."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlmdm_core.api import Updates
from qlmdm_core.testing import RecordedMachine
from qlmdm_fedora import image
from qlmdm_fedora.adapter import FedoraAdapter

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is slow; that is no fault of a parser."""

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
SILVERBLUE = "ID=fedora\nVERSION_ID=43\nVARIANT_ID=silverblue\nSUPPORT_END=2026-12-02\n"
BOOTED = {"booted": True, "staged": False, "version": "43.20261025.0", "base-checksum": "aa" * 32}
NEXT = {"booted": False, "staged": True, "version": "43.20261101.0", "base-checksum": "bb" * 32}
OLDER = {"booted": False, "staged": False, "version": "43.20261001.0", "base-checksum": "cc" * 32}
FOUND = {
    "osname": "fedora",
    "version": "43.20261101.0",
    "ref-has-new-commit": True,
    "rpm-diff": {
        "upgraded": [
            [1, "curl", ["8.15.0-1.fc43", "x86_64"], ["8.15.0-3.fc43", "x86_64"]],
            [1, "vim-data", ["2:9.1-1.fc43", "noarch"], ["2:9.1-2.fc43", "noarch"]],
        ],
        "downgraded": [],
        "removed": [],
        "added": [[1, "newpkg", "1-1.fc43", "noarch"]],
    },
    "advisories": [["FEDORA-2026-1a2b3c", 1, 3, ["curl-8.15.0-3.fc43.x86_64"], {}]],
}


def status(*deployments: dict[str, Any], found: Any = None) -> str:
    return json.dumps(
        {"deployments": list(deployments), "transaction": None, "cached-update": found}
    )


def machine(path: Path, answer: str | None = None, **kwargs: Any) -> RecordedMachine:
    built = RecordedMachine(path, recorded_at=NOW.isoformat(), **kwargs)
    built.file("/etc/os-release", SILVERBLUE).file("/run/ostree-booted", "")
    return built if answer is None else built.command(image.RPM_OSTREE, answer)


def looked(built: RecordedMachine, *, ago: int = 3600, policy: str = "stage") -> RecordedMachine:
    """rpm-ostree looked for updates by itself, this many seconds ago."""
    built.file("/etc/rpm-ostreed.conf", f"[Daemon]\nAutomaticUpdatePolicy={policy}\n")
    built.file("/proc/uptime", "5000000.25 9000000.00\n")
    ended = (5000000 - ago) * 1000000
    text = f"Result=success\nExecMainExitTimestampMonotonic={ended}\n"
    return built.command(image.LAST_LOOK, text)


def updates(built: RecordedMachine) -> Updates:
    return FedoraAdapter().updates(built.host())


def test_an_update_that_was_found_waits(tmp_path: Path) -> None:
    found = updates(machine(tmp_path, status(BOOTED, OLDER, found=FOUND)))
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 2, 1)
    assert [package["name"] for package in found.packages] == ["curl", "vim-data"]
    assert found.packages[0] == {
        "name": "curl",
        "installed": "8.15.0-1.fc43",
        "available": "8.15.0-3.fc43",
        "security": True,
    }


def test_without_advisories_security_is_not_known(tmp_path: Path) -> None:
    found = {key: value for key, value in FOUND.items() if key != "advisories"}
    assert updates(machine(tmp_path, status(BOOTED, found=found))).security_updates is None


def test_an_update_that_is_in_place_waits_for_a_restart(tmp_path: Path) -> None:
    built = machine(tmp_path, status(NEXT, BOOTED))
    found = updates(built)
    assert (found.state, found.updates) == ("updates_available", 1)
    assert any("restart" in note for note in found.notes)
    due = FedoraAdapter().reboot_required(built.host())
    assert (due.required, due.reason) == (True, "43.20261101.0 is in place for the next start")


def test_a_package_that_is_layered_on_the_same_image_is_no_update(tmp_path: Path) -> None:
    layered = {**NEXT, "base-checksum": BOOTED["base-checksum"], "version": BOOTED["version"]}
    built = looked(machine(tmp_path, status(layered, BOOTED)))
    assert updates(built).state == "up_to_date"
    assert FedoraAdapter().reboot_required(built.host()).required is True


def test_nothing_found_by_the_timer_is_up_to_date(tmp_path: Path) -> None:
    built = looked(machine(tmp_path, status(BOOTED, OLDER)))
    found = updates(built)
    assert (found.state, found.updates, found.security_updates) == ("up_to_date", 0, 0)
    assert found.cache_age_seconds == 3600
    assert FedoraAdapter().reboot_required(built.host()).required is False


@pytest.mark.parametrize(
    ("policy", "ago", "reason"),
    [
        ("none", 3600, "it can't be told when"),
        ("check", 20 * 86400, "too long ago"),
        ("check", 5000000, "since the last start"),
    ],
)
def test_nothing_found_proves_nothing_unless_it_was_looked_for(
    tmp_path: Path, policy: str, ago: int, reason: str
) -> None:
    found = updates(looked(machine(tmp_path, status(BOOTED)), ago=ago, policy=policy))
    assert (found.state, found.updates) == ("unknown", None)
    assert reason in found.reason


def test_nobody_looked_at_all(tmp_path: Path) -> None:
    assert updates(machine(tmp_path, status(BOOTED))).state == "unknown"


def test_a_look_that_failed_is_none(tmp_path: Path) -> None:
    built = machine(tmp_path, status(BOOTED)).file("/proc/uptime", "50.0 1.0\n")
    built.file("/etc/rpm-ostreed.conf", "[Daemon]\nAutomaticUpdatePolicy=check\n")
    text = "Result=exit-code\nExecMainExitTimestampMonotonic=1000000\n"
    assert updates(built.command(image.LAST_LOOK, text)).state == "unknown"


def test_what_dnf_says_means_nothing_there(tmp_path: Path) -> None:
    built = machine(tmp_path, status(BOOTED)).command(["dnf", "check-update"], "")
    assert updates(built).state == "unknown"


@pytest.mark.parametrize("answer", ["", "[]", "{}", '{"deployments": []}', '{"deployments": [{}]}'])
def test_an_answer_that_is_not_understood_is_unknown(tmp_path: Path, answer: str) -> None:
    built = machine(tmp_path, answer)
    found = updates(built)
    assert found.state == "unknown"
    assert "not understood" in found.reason
    assert FedoraAdapter().reboot_required(built.host()).required is None


# --- bootc ----------------------------------------------------------------------------------------


def bootc(found: str | None = None, staged: str | None = None) -> str:
    def entry(digest: str) -> dict[str, Any]:
        return {"version": f"9.{digest}", "imageDigest": f"sha256:{digest}"}

    booted = {"image": entry("one"), "cachedUpdate": entry(found) if found else None}
    waiting = {"image": entry(staged), "cachedUpdate": None} if staged else None
    return json.dumps(
        {
            "apiVersion": "org.containers.bootc/v1",
            "kind": "BootcHost",
            "status": {"booted": booted, "staged": waiting, "rollback": None},
        }
    )


@pytest.mark.parametrize(
    ("found", "staged", "state", "restart"),
    [
        ("two", None, "updates_available", False),
        (None, "two", "updates_available", True),
        ("one", None, "unknown", False),
        (None, None, "unknown", False),
    ],
)
def test_bootc_is_asked_where_rpm_ostree_is_not(
    tmp_path: Path, found: str | None, staged: str | None, state: str, restart: bool
) -> None:
    built = machine(tmp_path).command(image.BOOTC, bootc(found, staged))
    assert updates(built).state == state
    assert FedoraAdapter().reboot_required(built.host()).required is restart


def test_bootc_may_know_what_rpm_ostree_does_not(tmp_path: Path) -> None:
    built = machine(tmp_path, status(BOOTED)).command(image.BOOTC, bootc("two"))
    assert updates(built).state == "updates_available"


def test_neither_program_is_unknown(tmp_path: Path) -> None:
    found = updates(machine(tmp_path))
    assert found.reason == "rpm-ostree is not installed; bootc is not installed"


# --- any text gives a value -------------------------------------------------------------------

KEYS = st.sampled_from(
    ["deployments", "cached-update", "booted", "staged", "version", "rpm-diff", "upgraded"]
) | st.sampled_from(
    ["advisories", "status", "image", "imageDigest", "cachedUpdate", "base-checksum"]
)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


@UNTIMED
@given(JSONS, JSONS, JSONS)
def test_no_json_breaks_a_parser(one: Any, two: Any, three: Any) -> None:
    shapes = [
        one,
        {"deployments": [{"booted": True, "version": one}, two], "cached-update": three},
        {"deployments": [{"booted": True}], "cached-update": {"rpm-diff": {"upgraded": [one]}}},
        {"deployments": [{"booted": True}], "cached-update": {"advisories": [one, [1, 2, 3, two]]}},
        {"status": {"booted": {"image": {"version": one}, "cachedUpdate": two}, "staged": three}},
    ]
    for shape in shapes:
        for parse in (image.parse_rpm_ostree, image.parse_bootc):
            found = parse(json.dumps(shape))
            assert found is None or all(isinstance(name, str) for name, _, _ in found.upgrades)


@UNTIMED
@given(st.text(alphabet="Result=sucExMaintTmp[]Dmo0123456789\n{}\"' ", max_size=80))
def test_no_text_breaks_a_parser(text: str) -> None:
    assert image.parse_rpm_ostree(text) is None
    assert image.parse_bootc(text) is None
    assert image.parse_last_look(text) is None or "success" in text
    assert isinstance(image.parse_policy(text), str)


def test_json_that_is_nested_without_end_is_no_status() -> None:
    assert image.parse_rpm_ostree("[" * 100000) is None
