"""Verdicts on ESET's products: one test for each row, and nonsense never passes."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, AuditCheck, ClientView, Verdict
from qlmdm_core.plugins import descriptors
from qlmdm_core.settings import Loaded, setting
from qlmdm_plugins_eset import hooks_client, hooks_server
from qlmdm_plugins_eset.checks import eset
from qlmdm_plugins_eset.policy import SECTION, EsetPolicy

NOW = datetime(2026, 11, 3, tzinfo=timezone.utc)
NEITHER = EsetPolicy(require_eset=False, require_eraagent=False)
FULL = {
    "state": "running",
    "product": "ESET Endpoint Antivirus",
    "version": "12.1.3.0",
    "up_to_date": True,
    "engine_version": "33107",
    "engine_date": "2026-11-01",
    "evidence": {"state": "eea.service is inactive", "unit": "eea.service"},
}


def judge(name: str, value: JSON, policy: EsetPolicy | None = None) -> Verdict:
    checks = {check.name: check for check in eset.checks(policy or EsetPolicy())}
    client = ClientView(
        cid="c1",
        hostname="laptop7",
        report={name.split("-")[0]: {"status": "ok", "value": value}},
        enrolled_at=NOW,
    )
    return checks[name].judge(client, NOW)


@pytest.mark.parametrize("name", ["eset-absent", "eraagent-absent"])
@pytest.mark.parametrize(
    ("state", "required", "otherwise"),
    [
        ("absent", "fail", "pass"),
        ("unknown", "unknown", "pass"),
        ("running", "pass", "pass"),
        ("stopped", "pass", "pass"),
        ("fine", "unknown", "pass"),
    ],
)
def test_absent(name: str, state: str, required: str, otherwise: str) -> None:
    value = {"state": state, "reason": "only root may see"}
    assert judge(name, value).state == required
    assert judge(name, value, NEITHER).state == otherwise


@pytest.mark.parametrize("name", ["eset-stopped", "eraagent-stopped"])
@pytest.mark.parametrize("policy", [EsetPolicy(), NEITHER])
@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("stopped", "fail"),
        ("unknown", "unknown"),
        ("running", "pass"),
        ("absent", "pass"),
        (None, "unknown"),
    ],
)
def test_stopped(name: str, policy: EsetPolicy, state: str | None, verdict: str) -> None:
    assert judge(name, {"state": state}, policy).state == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "pass"),
        ({"state": "stopped"}, "pass"),
        ({"state": "absent", "up_to_date": None}, "pass"),
        ({"up_to_date": False}, "fail"),
        ({"state": "unknown", "up_to_date": False}, "fail"),
        ({"up_to_date": None, "update_reason": "upd is not installed"}, "unknown"),
        ({"up_to_date": "yes"}, "unknown"),
        ({"state": "odd"}, "unknown"),
    ],
)
def test_out_of_date(changes: dict[str, JSON], verdict: str) -> None:
    assert judge("eset-out-of-date", {**FULL, **changes}).state == verdict


def test_the_old_product_is_updated_by_its_own_program() -> None:
    old = {"state": "running", "up_to_date": False, "evidence": {"unit": "esets.service"}}
    assert judge("eset-out-of-date", old).message.endswith("sudo /opt/eset/esets/sbin/esets_update")


def test_the_messages_say_the_evidence_and_what_to_type() -> None:
    assert "Install ESET Endpoint Antivirus" in judge("eset-absent", {"state": "absent"}).message
    assert "sudo sh ./eea.x86_64.bin" in judge("eset-absent", {"state": "absent"}).message
    message = judge("eraagent-absent", {"state": "absent"}).message
    assert "sudo sh ./PROTECTAgentInstaller.sh" in message
    assert judge("eset-stopped", {**FULL, "state": "stopped"}).message == (
        "ESET Endpoint Antivirus 12.1.3.0 is installed but not running (eea.service is "
        "inactive). Start it: sudo systemctl enable --now eea.service"
    )
    assert judge("eraagent-stopped", {"state": "stopped"}).message == (
        "the ESET Management Agent is installed but not running. "
        "Start it: sudo systemctl enable --now eraagent.service"
    )
    assert judge("eset-out-of-date", {**FULL, "up_to_date": False}).message == (
        "the detection engine 33107 of ESET Endpoint Antivirus 12.1.3.0 is of 2026-11-01, more "
        "than two days old. Update it: sudo /opt/eset/eea/bin/upd --update"
    )
    old = {"state": "running", "up_to_date": False, "evidence": {"unit": "efs.service"}}
    assert judge("eset-out-of-date", old).message == (
        "the detection engine of the ESET antivirus is more than two days old. "
        "Update it: sudo /opt/eset/efs/bin/upd --update"
    )
    assert (
        "upd is not"
        in judge(
            "eset-out-of-date",
            {**FULL, "up_to_date": None, "update_reason": "upd is not installed"},
        ).message
    )


NAMES = [check.name for check in eset.checks(EsetPolicy())]


def test_a_reported_unit_never_becomes_a_command() -> None:
    value = {"state": "stopped", "evidence": {"unit": "x; reboot"}}
    message = judge("eset-stopped", value).message
    assert message.endswith("sudo systemctl enable --now eea.service")


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.text()),
        lambda inner: st.dictionaries(
            st.sampled_from(["State", "evidence", "reason", "product", "unit"]), inner
        ),
    )
)
def test_nonsense_never_passes(value: JSON) -> None:
    assert {judge(name, value).state for name in NAMES} == {"unknown"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nothing:
    """Core's settings, which do not matter here."""

    unused: bool = setting(False, "Nothing.")


def registered() -> list[AuditCheck]:
    loaded: Loaded[Any] = Loaded(Nothing(), "settings.yml")
    loaded.register(hooks_server.qlmdm_register_settings())
    assert loaded.section(SECTION) == EsetPolicy()
    return hooks_server.qlmdm_register_audit_checks(loaded)


def test_what_is_registered_is_in_order() -> None:
    loaded: Loaded[Any] = Loaded(Nothing(), "settings.yml")
    collectors = hooks_client.qlmdm_register_collectors(loaded)
    assert descriptors.checked("qlmdm_register_collectors", collectors) == collectors
    checks = registered()
    assert descriptors.checked("qlmdm_register_audit_checks", checks) == checks
    assert [collector.name for collector in collectors] == ["eset", "eraagent", "prey"]
    assert {need for check in checks for need in check.needs} == {"eset", "eraagent"}


def test_each_registered_collector_runs(tmp_path: Any) -> None:
    from qlmdm_core.testing import RecordedMachine

    host = RecordedMachine(tmp_path).host()
    loaded: Loaded[Any] = Loaded(Nothing(), "settings.yml")
    for collector in hooks_client.qlmdm_register_collectors(loaded):
        assert collector.run(host)["state"] == "absent"
