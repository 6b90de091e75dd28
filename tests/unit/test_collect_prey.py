"""Prey: installed, running, registered; its keys are never in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, Process
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_eset.collectors import prey

SHOW = ["systemctl", "show", "-p", "LoadState,ActiveState,SubState", "prey-agent.service"]
CONF = """# settings
auto_update = true

# kept while upgrading
api_key = {first}
device_key =

[control-panel]
host = panel.example.net
api_key = abc123
device_key = {second}
"""


def collect(machine: RecordedMachine) -> JSON:
    return prey.collect(machine.host())


def laptop(
    tmp_path: Path, active: str | None = "active", folder: str = "/usr/lib/prey"
) -> RecordedMachine:
    """A machine with Prey 1.12.3, installed as its package does it."""
    machine = RecordedMachine(tmp_path).process(pid=1, comm="systemd")
    machine.file(f"{folder}/versions/1.12.3/bin/prey", "", mode=0o755)
    machine.file(f"{folder}/versions/1.12.3/package.json", json.dumps({"version": "1.12.3"}))
    machine.link(f"{folder}/current", "versions/1.12.3")
    load = "not-found" if active is None else "loaded"
    return machine.command(SHOW, f"LoadState={load}\nActiveState={active or 'inactive'}\n")


def with_agent(machine: RecordedMachine) -> RecordedMachine:
    script = "/usr/lib/prey/current/lib/agent/cli.js"
    argv = ["/usr/lib/prey/current/bin/node", script]
    return machine.process(pid=50, user="prey", comm="node", argv=argv)


@pytest.mark.parametrize("folder", ["/usr/lib/prey", "/usr/local/lib/prey"])
def test_a_machine_that_is_tracked(tmp_path: Path, folder: str) -> None:
    machine = with_agent(laptop(tmp_path, folder=folder))
    machine.file(prey.CONFIG, CONF.format(first="", second="0a1b2c"))
    value = collect(machine)
    assert (value["state"], value["version"], value["registered"]) == ("running", "1.12.3", True)
    assert value["up_to_date"] is None
    assert "0a1b2c" not in json.dumps(value)
    assert "abc123" not in json.dumps(value)


def test_a_machine_without_it(tmp_path: Path) -> None:
    value = collect(RecordedMachine(tmp_path))
    assert (value["state"], value["version"], value["registered"]) == ("absent", None, None)


@pytest.mark.parametrize(
    ("active", "state"),
    [("inactive", "stopped"), ("failed", "stopped"), (None, "absent"), ("active", "unknown")],
)
def test_files_without_a_process(tmp_path: Path, active: str | None, state: str) -> None:
    assert collect(laptop(tmp_path, active))["state"] == state


def test_a_process_without_a_unit_runs(tmp_path: Path) -> None:
    assert collect(with_agent(laptop(tmp_path, None)))["state"] == "running"


def test_dead_is_not_absent_where_systemd_was_not_asked_whether_it_exists(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file("/usr/lib/prey/bin/prey", "").process(pid=1)
    argv = ["systemctl", "show", "-p", "ActiveState,SubState", "prey-agent"]
    machine.command(argv, "ActiveState=inactive\nSubState=dead\n")
    assert collect(machine)["state"] == "stopped"


def test_a_machine_without_systemd(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path).file("/usr/lib/prey/bin/prey", "").process(pid=1)
    assert collect(machine)["state"] == "stopped"
    assert collect(with_agent(machine))["state"] == "running"


@pytest.mark.parametrize(
    "process",
    [
        {"user": "prey", "comm": "prx"},
        {"user": "prey", "comm": "node", "argv": ["prey"]},
    ],
)
def test_the_names_that_it_gives_itself(tmp_path: Path, process: dict[str, JSON]) -> None:
    assert collect(laptop(tmp_path, None).process(pid=60, **process))["state"] == "running"


@pytest.mark.parametrize(
    "process",
    [
        {"user": "ada", "comm": "prey"},
        {"user": "ada", "comm": "node", "argv": ["node", "/srv/app/lib/agent/cli.js"]},
    ],
)
def test_others_are_not_taken_for_it(tmp_path: Path, process: dict[str, JSON]) -> None:
    assert collect(laptop(tmp_path, "inactive").process(pid=60, **process))["state"] == "stopped"


@pytest.mark.parametrize(
    ("text", "registered"),
    [
        (CONF.format(first="", second=""), False),
        (CONF.format(first="abc", second=""), False),
        (CONF.format(first="", second='"1f"'), True),
        ("# device_key = 77\n", False),
        ("device_key=77", True),
        ("", False),
    ],
)
def test_registered_is_by_the_key_of_the_device(
    tmp_path: Path, text: str, registered: bool
) -> None:
    machine = laptop(tmp_path).file(prey.CONFIG, text)
    assert collect(machine)["registered"] is registered


def test_registered_is_not_known_where_it_can_not_be_seen(tmp_path: Path) -> None:
    assert collect(laptop(tmp_path / "a").unreadable(prey.CONFIG))["registered"] is None
    newer = laptop(tmp_path / "b").file(prey.CONFIG, CONF.format(first="", second=""))
    assert collect(newer.file(prey.DATABASE, "SQLite"))["registered"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 3}', '{"version": "x; rm"}'])
def test_the_version_is_that_of_the_link_where_the_package_does_not_say(
    tmp_path: Path, text: str
) -> None:
    machine = laptop(tmp_path).file("/usr/lib/prey/current/package.json", text)
    assert collect(machine)["version"] == "1.12.3"


@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from(["device_key", "=", "x", "#", "\n"])).map("".join)
    )
)
def test_no_text_breaks_the_reader_of_settings(text: str) -> None:
    assert prey.parse_keys(text) in (True, False)


@given(st.lists(st.text()), st.one_of(st.none(), st.text()))
def test_no_process_breaks_the_search(argv: list[str], comm: str | None) -> None:
    assert prey.is_agent(Process(pid=9, argv=tuple(argv), comm=comm)) is False


@pytest.mark.parametrize(("load", "state"), [(None, "unknown"), ("not-found", "absent")])
def test_settings_alone_are_left_over_only_where_systemd_knows_no_unit(
    tmp_path: Path, load: str | None, state: str
) -> None:
    machine = RecordedMachine(tmp_path).file(prey.CONFIG, "api_key =\ndevice_key =\n")
    if load:
        argv = ["systemctl", "show", "-p", "LoadState,ActiveState,SubState", "prey-agent.service"]
        machine.command(argv, f"LoadState={load}\nActiveState=inactive\nSubState=dead\n")
    value = prey.collect(machine.host())
    assert (value["state"], value["registered"]) == (state, False if state == "unknown" else None)


@pytest.mark.parametrize(
    "argv",
    [
        ["systemctl", "show", "prey-agent"],
        ["systemctl", "show", "prey-agent.service"],
        ["systemctl", "show", "--property", "ActiveState", "prey-agent"],
        ["systemctl", "show", "--property=ActiveState", "prey-agent"],
    ],
)
def test_unit_that_somebody_asked_for_in_other_words(tmp_path: Path, argv: list[str]) -> None:
    built = RecordedMachine(tmp_path).file("/usr/lib/prey/bin/prey", "")
    built.command(argv, "LoadState=loaded\nActiveState=active\n")
    assert prey.collect(built.host())["state"] == "running"


def test_settings_that_the_uninstaller_left_are_no_prey(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).file("/etc/prey/prey.conf", "device_key =\n")
    built.command(
        ["systemctl", "show", "prey-agent"], "LoadState=not-found\nActiveState=inactive\n"
    )
    assert prey.collect(built.host())["state"] == "absent"
