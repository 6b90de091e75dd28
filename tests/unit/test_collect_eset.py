"""The ESET antivirus: which product, whether it runs, and how old its engine is."""

from __future__ import annotations

from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, Process
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_eset.collectors import _service, eset

UPD = "/opt/eset/eea/bin/upd"
SHOW = ["systemctl", "show", "-p", "LoadState,ActiveState,SubState"]
MODULES = (
    "EM000\t  1071 (20260301)\tModule de mise à jour\n"
    "EM002\t 33107 ({day})\tMoteur de détection\n"
    "EM042\t2054.1 (20240102)\tModule réseau\n"
)
DAEMON: dict[str, JSON] = {
    "comm": "scand", "exe": "/opt/eset/eea/lib/scand", "argv": ["/opt/eset/eea/lib/scand"],
}  # fmt: skip


def unit(machine: RecordedMachine, name: str, active: str | None) -> RecordedMachine:
    load = "not-found" if active is None else "loaded"
    text = f"LoadState={load}\nActiveState={active or 'inactive'}\nSubState=x\n"
    return machine.command([*SHOW, f"{name}.service"], text)


def endpoint(
    tmp_path: Path, *, active: str | None = "active", runs: bool = True, root: bool = True
) -> RecordedMachine:
    """A machine with ESET Endpoint Antivirus 12, up to date on 1 November 2026."""
    machine = unit(RecordedMachine(tmp_path, root=root), "eea", active)
    machine.command([UPD, "--version"], f"{UPD} (eea) 12.1.3.0\n")
    machine.command([UPD, "--list-modules"], MODULES.format(day="20261101"))
    machine.process(pid=1, comm="systemd", exe="/usr/lib/systemd/systemd")
    if runs:
        machine.process(pid=300, **DAEMON)
    return machine


def test_a_machine_in_good_order(tmp_path: Path) -> None:
    machine = endpoint(tmp_path).process(pid=301, exe="/opt/eset/eea/lib/oaeventd")
    licence = (
        "Product name: X\nStatus: Activated\nPublic ID: 123-ABC\nLicense Validity: 2027-01-31\n"
    )
    machine.command(["/opt/eset/eea/sbin/lic", "--status"], licence)
    value = collect(machine)
    assert value == {
        "state": "running",
        "version": "12.1.3.0",
        "up_to_date": True,
        "product": "ESET Endpoint Antivirus",
        "engine_version": "33107",
        "engine_date": "2026-11-01",
        "real_time_protection": True,
        "licence": {"status": "Activated", "valid_until": "2027-01-31"},
        "evidence": {"state": "its process is there", "unit": "eea.service"},
    }


def collect(machine: RecordedMachine) -> JSON:
    return eset.collect(machine.host())


def test_a_machine_without_any_product(tmp_path: Path) -> None:
    value = collect(RecordedMachine(tmp_path))
    assert (value["state"], value["version"], value["up_to_date"]) == ("absent", None, None)


@pytest.mark.parametrize(
    ("active", "runs", "state"),
    [
        ("active", True, "running"),
        ("inactive", True, "running"),  # started by another unit
        (None, True, "running"),
        ("inactive", False, "stopped"),
        ("failed", False, "stopped"),
        (None, False, "stopped"),
        ("active", False, "unknown"),
    ],
)
def test_unit_and_processes_together(
    tmp_path: Path, active: str | None, runs: bool, state: str
) -> None:
    assert collect(endpoint(tmp_path, active=active, runs=runs))["state"] == state


@pytest.mark.parametrize(
    ("process", "state"),
    [
        ({"exe": "/opt/eset/eea/sbin/startd (deleted)"}, "running"),
        ({"comm": "startd", "argv": ["/opt/eset/eea/sbin/startd"]}, "running"),
        ({"exe": "/opt/eset/eea/bin/upd", "argv": ["upd", "--update"]}, "stopped"),
        ({"exe": "/opt/eset/eea/lib/eea-user-agent"}, "stopped"),
        ({"exe": "/home/ada/opt/eset/eea/lib/scand"}, "stopped"),
        ({"exe": "/usr/bin/vi", "argv": ["/opt/eset/eea/lib/scand"]}, "stopped"),
    ],
)
def test_only_its_daemons_count(tmp_path: Path, process: dict[str, JSON], state: str) -> None:
    machine = endpoint(tmp_path, active="inactive", runs=False).process(pid=400, **process)
    assert collect(machine)["state"] == state


@pytest.mark.parametrize(
    ("output", "returncode", "state"),
    [
        ("active\n", 0, "running"),
        ("inactive\n", 3, "stopped"),
        ("failed\n", 3, "stopped"),
        ("", 4, "unknown"),
    ],
)
def test_units_that_are_asked_in_the_short_form(
    tmp_path: Path, output: str, returncode: int, state: str
) -> None:
    machine = RecordedMachine(tmp_path).file("/opt/eset/efs/sbin/startd", "")
    argv = ["systemctl", "is-active", "efs.service"]
    machine.command(argv, output, returncode=returncode)
    value = collect(machine)
    assert (value["state"], value["product"]) == (state, "ESET Server Security")


@pytest.mark.parametrize(
    ("day", "up_to_date"),
    [
        ("20261101", True),
        ("20261030", True),
        ("20261029", False),
        ("20250101", False),
        ("20261102", True),
        ("20261201", None),  # the clock is wrong
        ("20261399", None),
    ],
)
def test_the_engine_may_be_two_days_old(tmp_path: Path, day: str, up_to_date: bool | None) -> None:
    machine = RecordedMachine(tmp_path).file("/opt/eset/eea/sbin/startd", "")
    machine.command([UPD, "-l"], MODULES.format(day=day))
    value = collect(machine)
    assert value["up_to_date"] is up_to_date
    assert bool(value.get("update_reason")) is (up_to_date is None)


def test_without_root_the_engine_is_not_known(tmp_path: Path) -> None:
    machine = unit(RecordedMachine(tmp_path, root=False), "eea", "active")
    machine.file("/opt/eset/eea/bin/upd", "", mode=0o755)
    machine.command([UPD, "--list-modules"], "").command([UPD, "--version"], "")
    value = collect(machine)
    assert (value["state"], value["version"], value["up_to_date"]) == ("running", None, None)
    assert "root" in value["update_reason"]


def test_what_may_not_be_looked_at_is_not_absent(tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path, root=False).unreadable("/opt/eset")
    value = collect(machine)
    assert value["state"] == "unknown"
    assert "root" in value["reason"]


@pytest.mark.parametrize(
    ("argv", "output", "version"),
    [
        ([UPD, "--version"], "/opt/eset/eea/bin/upd (eea) 11.0.9\n", "11.0.9"),
        (["dpkg-query", "-W", "eea"], "eea\t10.2.41.0\n", "10.2.41.0"),
        (["rpm", "-q", "eea"], "eea-9.1.11.0-1.x86_64\n", "9.1.11.0"),
        (["rpm", "-q", "eea"], "package eea is not installed\n", None),
    ],
)
def test_the_version(tmp_path: Path, argv: list[str], output: str, version: str | None) -> None:
    machine = RecordedMachine(tmp_path).file("/opt/eset/eea/sbin/startd", "")
    assert collect(machine.command(argv, output))["version"] == version


@pytest.mark.parametrize(
    ("version", "modules", "real_time"),
    [
        ("9.1.0", "eset_rtp 40960 3 - Live 0x0\n", True),
        ("9.1.0", "ext4 40960 3 - Live 0x0\n", False),
        ("12.0.1", "ext4 40960 3 - Live 0x0\n", None),
    ],
)
def test_real_time_protection(
    tmp_path: Path, version: str, modules: str, real_time: bool | None
) -> None:
    machine = unit(RecordedMachine(tmp_path), "eea", "active").process(pid=1, comm="init")
    machine.command([UPD, "--version"], f"upd (eea) {version}\n").file("/proc/modules", modules)
    assert collect(machine)["real_time_protection"] is real_time


def test_the_old_product(tmp_path: Path) -> None:
    machine = unit(RecordedMachine(tmp_path), "esets", "active")
    daemon = "/opt/eset/esets/sbin/esets_daemon"
    machine.command([daemon, "--version"], f"{daemon} (esets) 4.0.93\n")
    machine.process(pid=1).process(pid=200, exe=daemon)
    fresh = datetime(2026, 10, 31, tzinfo=timezone.utc).timestamp()
    machine.file("/var/opt/eset/esets/lib/data/data.txt", "", mtime=fresh)
    value = collect(machine)
    assert (value["state"], value["version"], value["up_to_date"]) == ("running", "4.0.93", True)
    assert value["engine_date"] == "2026-10-31"


def test_the_product_that_runs_is_reported(tmp_path: Path) -> None:
    machine = unit(endpoint(tmp_path, active="inactive", runs=False), "efs", "active")
    machine.file("/opt/eset/efs/sbin/startd", "").process(pid=9, exe="/opt/eset/efs/lib/scand")
    assert collect(machine)["product"] == "ESET Server Security"


TEXTS = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(["EM002", "(20261101)", "1.2", "Status:", "x", "\n", "\t", "LoadState=y"])
    ).map(" ".join),
)


@given(TEXTS)
def test_no_text_breaks_a_reader(text: str) -> None:
    engine = eset.parse_modules(text)
    assert (engine.day is None) is bool(engine.why)
    eset.parse_version(text)
    eset.parse_licence(text)
    assert _service.parse_show(text, "x").name == "x"


@given(st.dates(), st.datetimes(timezones=st.just(timezone.utc)))
def test_any_day_is_recent_or_not_or_of_the_future(day: date, now: datetime) -> None:
    assert eset.is_recent(day, now) in (True, False, None)


@given(st.lists(st.text()), st.one_of(st.none(), st.text()))
def test_no_process_breaks_the_search(argv: list[str], exe: str | None) -> None:
    process = Process(pid=9, argv=tuple(argv), exe=exe)
    assert _service.runs_from(process, "/opt/eset/eea") in (True, False)


def test_the_numbers_of_modules_are_no_version_of_the_product() -> None:
    assert eset.parse_version("EM000\t 1073 (20250909)\tUpdate module\n") is None
    assert eset.parse_version("EM001\t 2054.1 (20250909)\tAntivirus\n") is None


@pytest.mark.parametrize(
    ("argv", "text", "version"),
    [
        (["dpkg-query", "-W", "eea"], "eea\t12.0.13.0\n", "12.0.13.0"),
        (["rpm", "-q", "efs"], "efs-11.1.4.0-1.x86_64\n", "11.1.4.0"),
        (["rpm", "-q", "eea"], "package eea is not installed\n", None),
    ],
)
def test_a_package_whose_programs_are_not_in_sight_is_not_absent(
    tmp_path: Path, argv: list[str], text: str, version: str | None
) -> None:
    value = eset.collect(RecordedMachine(tmp_path).command(argv, text).host())
    assert (value["state"], value["version"]) == ("unknown" if version else "absent", version)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("● eea.service - ESET\n     Active: active (running) since Mon\n", "running"),
        ("○ eea.service - ESET\n     Active: inactive (dead)\n", "stopped"),
        ("× eea.service - ESET\n     Active: failed (Result: exit-code)\n", "stopped"),
        ("nothing that one knows\n", "unknown"),
    ],
)
def test_the_unit_as_systemctl_shows_it_to_people(tmp_path: Path, text: str, state: str) -> None:
    machine = RecordedMachine(tmp_path).file("/opt/eset/eea/bin/upd", "")
    machine.command(["systemctl", "status", "eea"], text, returncode=0)
    assert eset.collect(machine.host())["state"] == state


@pytest.mark.parametrize("line", ["", "EM002", "EM002 1 (20250909", "Status:", " " * 50_000])
def test_long_outputs_are_read_in_one_pass(line: str) -> None:
    text = f"{line}\n" * (50_000 if len(line) < 99 else 20)
    assert eset.parse_modules(text).day is None
    assert eset.parse_version(text) is None
    assert eset.parse_licence(text) is None
