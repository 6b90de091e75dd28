"""The ESET Management Agent: known by its program's path, whatever its unit is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, Process
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_eset.collectors import eraagent

SHOW = ["systemctl", "show", "-p", "LoadState,ActiveState,SubState", "eraagent.service"]
NOW = 1793534400.0  # when RecordedMachine was recorded: 2026-11-01 12:00 UTC


def collect(machine: RecordedMachine) -> JSON:
    return eraagent.collect(machine.host())


def agent(tmp_path: Path, active: str | None = None) -> RecordedMachine:
    """A machine on which the agent is installed, and does not run unless the unit does."""
    machine = RecordedMachine(tmp_path).file(eraagent.PROGRAM, "", mode=0o755)
    load = "not-found" if active is None else "loaded"
    machine.command(SHOW, f"LoadState={load}\nActiveState={active or 'inactive'}\nSubState=x\n")
    return machine.process(pid=1, comm="systemd", exe="/usr/lib/systemd/systemd")


def test_a_machine_without_it(tmp_path: Path) -> None:
    value = collect(RecordedMachine(tmp_path).process(pid=1))
    assert (value["state"], value["in_contact"]) == ("absent", None)


@pytest.mark.parametrize(
    "process",
    [
        {"exe": eraagent.PROGRAM, "argv": [eraagent.PROGRAM, "--daemon"]},
        {"exe": f"{eraagent.PROGRAM} (deleted)"},
        {"comm": "ERAAgent", "argv": [eraagent.PROGRAM, "--pidfile=/run/eraagent.pid"]},
        {"comm": "ERAAgent", "argv": [f"{eraagent.PROGRAM} --daemon"]},
    ],
)
def test_its_process_is_enough_whatever_the_unit_is_called(
    tmp_path: Path, process: dict[str, JSON]
) -> None:
    value = collect(agent(tmp_path).process(pid=77, **process))
    assert (value["state"], value["version"], value["up_to_date"]) == ("running", None, None)


@pytest.mark.parametrize(
    "process",
    [
        {"exe": "/usr/bin/pacman", "argv": ["pacman", "-Quq"], "ppid": 77},
        {"exe": f"{eraagent.FOLDER}/InstallAgent"},
        {"exe": "/bin/less", "argv": ["less", eraagent.PROGRAM]},
    ],
)
def test_what_it_starts_is_not_the_agent(tmp_path: Path, process: dict[str, JSON]) -> None:
    assert collect(agent(tmp_path, "inactive").process(pid=78, **process))["state"] == "stopped"


def test_an_active_unit_without_a_list_of_processes(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file(eraagent.PROGRAM, "")
    machine.command(["systemctl", "is-active", "eraagent"], "active\n")
    assert collect(machine)["state"] == "running"


def test_an_active_unit_without_its_process_is_unknown(tmp_path: Path) -> None:
    value = collect(agent(tmp_path, "active"))
    assert value["state"] == "unknown"
    assert "none of its processes" in value["reason"]


def test_a_unit_that_outlived_its_program_is_absent(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).process(pid=1)
    machine.command(SHOW, "LoadState=loaded\nActiveState=failed\nSubState=failed\n")
    assert collect(machine)["state"] == "absent"


def test_what_may_not_be_looked_at_is_not_absent(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False).unreadable("/opt/eset").process(pid=1)
    machine.command(SHOW, "LoadState=not-found\nActiveState=inactive\nSubState=dead\n")
    assert collect(machine)["state"] == "unknown"


@pytest.mark.parametrize(
    ("age", "in_contact"), [(3600.0, True), (80000.0, True), (90000.0, False), (NOW, None)]
)
def test_contact_with_its_server_is_by_the_time_of_its_status(
    tmp_path: Path, age: float, in_contact: bool | None
) -> None:
    machine = agent(tmp_path, "inactive").file(eraagent.STATUS, "<html>", mtime=NOW - age)
    assert collect(machine)["in_contact"] is in_contact


@given(st.lists(st.text()), st.one_of(st.none(), st.text()))
def test_no_process_is_taken_for_it_by_chance(argv: list[str], exe: str | None) -> None:
    process = Process(pid=9, argv=tuple(argv), exe=exe)
    assert eraagent.is_agent(process) is (eraagent.PROGRAM in (exe, *argv[:1]))
