"""`qlmdm-collect`: what it prints, what it stores, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import plugins, settings
from qlmdm_core.client import collect as collect_module
from qlmdm_core.client import collect_cli, reaper
from qlmdm_core.client.collect import collect_to_spool, host_maker
from qlmdm_core.client.settings import ClientSettings
from qlmdm_core.client.spool import Spool
from qlmdm_core.client.state import State
from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.plugins import PluginEntry
from qlmdm_core.prctl import Prctl
from qlmdm_core.testing import RecordedMachine, write_distribution

SOURCE = """
    from qlmdm_core import Collector, hookimpl, unknown

    def badge(host):
        if host.which("badgectl") is None:
            return unknown("badgectl is not installed")
        try:
            number = host.read("/etc/acme/badge").strip()
        except FileNotFoundError:
            return unknown("there is no badge")
        shown = host.run(["badgectl", "--show"]).stdout.strip()
        return {"state": "available", "number": number, "shown": shown, "worn": None,
                "doors": [{"name": "front", "open": True}, {"name": "back", "open": False}]}

    def failing(host):
        print("about to fail")
        raise ValueError("it failed")

    def where(host):
        return {"state": "located", "latitude": 1.5}

    @hookimpl
    def qlmdm_register_collectors(settings):
        return [
            Collector(name="badge", run=badge, help="Which badge the machine has.",
                      fields={"number": "The number on it."}),
            Collector(name="failing", run=failing),
            Collector(name="hourly", run=lambda host: {"state": "available"}, interval=3600.0),
            Collector(name="hourly-failing", run=failing, interval=86400.0),
            Collector(name="where", run=where, private=True),
        ]
"""
ALL = {"badge", "failing", "hourly", "hourly-failing", "where"}


@pytest.fixture(autouse=True)
def _no_process_survives() -> Iterator[None]:
    before = set(reaper.child_pids(os.getpid()))
    Prctl().become_subreaper()
    yield
    assert set(reaper.child_pids(os.getpid())) <= before


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client of its own: nothing of this machine's is read or written."""
    monkeypatch.setenv("QLMDM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("QLMDM_SETTINGS", raising=False)
    return tmp_path / "state"


def only_from(*distributions: str) -> Any:
    def find(disabled: tuple[str, ...]) -> list[PluginEntry]:
        found = plugins.discover(CLIENT_GROUP, disabled)
        return [entry for entry in found if entry.distribution in distributions]

    return find


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one plugin that is installed here."""
    folder = tmp_path / "site"
    write_distribution(
        folder,
        "acme",
        entry_points={CLIENT_GROUP: "main = acme_badge"},
        modules={"acme_badge": textwrap.dedent(SOURCE)},
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(collect_module, "find_entries", only_from("acme"))
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    recorded = RecordedMachine(tmp_path / "machine")
    recorded.file("/etc/acme/badge", "4711\n").command(["badgectl", "--show"], "on the lid\n")
    return recorded.write()


BADGE = {
    "state": "available",
    "number": "4711",
    "shown": "on the lid",
    "worn": None,
    "doors": [{"name": "front", "open": True}, {"name": "back", "open": False}],
}


def report(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert collect_cli.main(argv) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


# --- printing -----------------------------------------------------------------------------------


def test_the_report_is_printed_and_nothing_changes(
    capsys: pytest.CaptureFixture[str], state_dir: Path
) -> None:
    printed = report(capsys, "--stdout")
    assert set(printed["collectors"]) == ALL
    assert printed["collectors"]["hourly"]["status"] == "ok"
    assert printed["collectors"]["failing"]["status"] == "error"
    assert "ValueError: it failed" in printed["collectors"]["failing"]["error"]
    assert printed["collectors"]["failing"]["printed"] == "about to fail"
    assert "value" not in printed["collectors"]["failing"]
    assert printed["failures"] == []
    assert not state_dir.exists()


def test_only_the_named_collectors_run(capsys: pytest.CaptureFixture[str]) -> None:
    printed = report(capsys, "--stdout", "--only", "hourly", "where")
    assert set(printed["collectors"]) == {"hourly", "where"}


def test_an_unknown_name_is_an_error_with_those_that_exist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for argv in (["--stdout", "--only", "bagde"], ["--explain", "bagde"]):
        assert collect_cli.main(argv) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "there is no collector 'bagde'; did you mean badge?" in said.err
        assert "there are: badge, failing, hourly, hourly-failing, where" in said.err


def test_without_any_plugin_it_says_so_and_the_report_is_empty(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_module, "find_entries", only_from())
    assert collect_cli.main(["--stdout"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"collectors": {}, "failures": []}
    assert "no plugin is installed that collects anything" in said.err


def test_a_plugin_that_fails_is_told_and_reported(
    capsys: pytest.CaptureFixture[str], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(
        site,
        "broken",
        entry_points={CLIENT_GROUP: "main = broken_plugin"},
        modules={"broken_plugin": "raise RuntimeError('no')"},
    )
    monkeypatch.setattr(collect_module, "find_entries", only_from("acme", "broken"))
    assert collect_cli.main(["--stdout"]) == 0
    said = capsys.readouterr()
    assert "qlmdm-collect: broken:main: import: RuntimeError: no" in said.err
    assert collect_cli.main(["--stdout", "--only", "theirs"]) == 2
    hint = capsys.readouterr().err
    assert "no collector 'theirs' among those that could be loaded\nthere are: badge" in hint
    assert "failed: broken:main: import: RuntimeError: no" in hint
    printed = json.loads(said.out)
    assert set(printed["collectors"]) == ALL
    assert printed["failures"][0]["distribution"] == "broken"


def test_settings_are_used_where_there_are_some(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "settings.yml"
    file.write_text("collectors_off: [hourly, where]\n")
    printed = report(capsys, "--stdout", "--settings", str(file))
    assert set(printed["collectors"]) == ALL - {"hourly", "where"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such settings file"),
        ("colectors_off: []\n", "settings.yml:1: colectors_off: unknown key"),
        ("collect_interval: 5\n", "settings.yml:1: collect_interval: expected a number with"),
        ("a:\n\tb: 1\n", "settings.yml:2"),
    ],
)
def test_settings_that_are_wrong_are_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "settings.yml"
    if content is not None:
        file.write_text(content)
    assert collect_cli.main(["--stdout", "--settings", str(file)]) == 2
    assert message in capsys.readouterr().err


# --- what is collected, and why -------------------------------------------------------------------


def test_the_person_at_the_machine_is_told_what_is_collected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "settings.yml"
    file.write_text("collectors_off: [hourly]\nprivate: [badge.number]\n")
    assert collect_cli.main(["--explain", "--settings", str(file)]) == 0
    said = capsys.readouterr().out
    assert "badge (acme; every 5 minutes)\n  Which badge the machine has." in said
    assert "    number: The number on it." in said
    assert "Private, if there are secret-keepers: number" in said
    assert "hourly (acme; off in the settings)" in said
    assert "hourly-failing (acme; every 1 day)" in said
    where = said[said.index("where (acme") :]
    assert "only the secret-keepers can read it" in where


def test_what_is_collected_is_told_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    told = report(capsys, "--explain", "--json")
    badge, *_ = told["collectors"]
    assert badge["name"] == "badge"
    assert badge["fields"] == {"number": "The number on it."}
    assert [entry["name"] for entry in told["collectors"] if entry["private"]] == ["where"]


def test_telling_what_is_collected_asks_nothing_of_the_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert collect_cli.main(["--explain"]) == 0
    assert "about to fail" not in capsys.readouterr().out


# --- recorded machines ---------------------------------------------------------------------------


def test_a_recorded_machine_is_reported(capsys: pytest.CaptureFixture[str], machine: Path) -> None:
    printed = report(capsys, "--replay", str(machine), "--json")
    assert printed["collectors"]["badge"]["value"] == BADGE


def test_what_is_recorded_can_be_replayed(
    capsys: pytest.CaptureFixture[str], machine: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    first = report(capsys, "--replay", str(machine), "--record", str(copy), "--json")
    again = report(capsys, "--replay", str(copy), "--json")
    assert first["collectors"]["badge"]["value"] == BADGE
    assert again["collectors"]["badge"]["value"] == BADGE
    assert (copy / "files/etc/acme/badge").read_text() == "4711\n"


def test_a_recording_says_where_it_is_and_prints_no_report_unless_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert collect_cli.main(["--record", str(tmp_path / "new"), "--only", "badge"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert f"recorded in {tmp_path / 'new'}" in said.err
    assert (tmp_path / "new" / "machine.json").exists()


def test_a_recording_does_not_mix_with_another(
    capsys: pytest.CaptureFixture[str], machine: Path
) -> None:
    assert collect_cli.main(["--record", str(machine)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_place_that_can_not_be_recorded_into_is_said_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for place in ("/proc/rec", f"{tmp_path}/file/a/rec"):
        assert collect_cli.main(["--record", place]) == 3
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()  # no collector ran and failed
        assert line.startswith(f"qlmdm-collect: {place}: can't be recorded into: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_folder_of_somebody_else_can_not_be_recorded_into(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "roots"
    folder.mkdir(mode=0o755)
    host_maker(record=str(tmp_path / "first"))  # has everything imported
    os.seteuid(65534)
    try:
        status = collect_cli.main(["--record", str(folder)])
    finally:
        os.seteuid(0)
    said = capsys.readouterr().err
    assert (status, "recorded in " in said) == (3, False)
    assert f"{folder}: can't be recorded into: " in said
    assert "Permission denied" in said
    assert os.listdir(folder) == []


def test_a_recording_that_lost_something_on_the_way_is_not_called_recorded(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: Path,
) -> None:
    spoil = f"""
        import pathlib
        from qlmdm_core import Collector, hookimpl

        def spoil(host):
            (raw,) = pathlib.Path({str(tmp_path)!r}).glob("qlmdm-record-*/raw")
            (raw / "commands.json").mkdir()
            return {{"state": host.run(["badgectl", "--show"]).stdout}}

        @hookimpl
        def qlmdm_register_collectors(settings):
            return [Collector(name="spoil", run=spoil)]
    """
    write_distribution(
        site,
        "spoiler",
        entry_points={CLIENT_GROUP: "main = spoiler"},
        modules={"spoiler": textwrap.dedent(spoil)},
    )
    monkeypatch.setattr(collect_module, "find_entries", only_from("spoiler"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    argv = ["--replay", str(machine), "--record", str(tmp_path / "new")]
    assert collect_cli.main(argv) == 3
    said = capsys.readouterr().err
    assert "is not complete: spoil: " in said
    assert "recorded in " not in said
    assert not (tmp_path / "new").exists()


def test_a_recording_of_a_mistyped_collector_can_be_begun_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert collect_cli.main(["--record", str(tmp_path / "new"), "--only", "bagde"]) == 2
    assert "did you mean badge?" in capsys.readouterr().err
    assert collect_cli.main(["--record", str(tmp_path / "new"), "--only", "badge"]) == 0


def test_what_is_no_recording_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for directory in (tmp_path / "none", tmp_path):
        assert collect_cli.main(["--replay", str(directory)]) != 0
        assert str(directory) in capsys.readouterr().err


# --- explaining ----------------------------------------------------------------------------------


def test_an_explanation_tells_questions_answers_and_conclusion(
    capsys: pytest.CaptureFixture[str], machine: Path
) -> None:
    assert collect_cli.main(["--explain", "badge", "--replay", str(machine)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "badge, a collector of acme. Which badge the machine has."
    assert "   1. find the program badgectl: /usr/bin/badgectl" in lines
    assert "   2. read /etc/acme/badge: 4711" in lines
    assert "   3. run badgectl --show: on the lid" in lines
    assert "    state: available" in lines
    assert "    worn: not known" in lines
    assert "    doors: name front, open yes, name back, open no" in lines


def test_an_explanation_tells_what_was_asked_in_vain(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine = RecordedMachine(tmp_path / "empty").write()
    assert collect_cli.main(["--explain", "badge", "--replay", str(machine)]) == 0
    said = capsys.readouterr().out
    assert "find the program badgectl: not installed" in said
    assert "reason: badgectl is not installed" in said


def test_an_explanation_of_a_failure_tells_what_it_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert collect_cli.main(["--explain", "failing"]) == 0
    said = capsys.readouterr().out
    assert "It asked nothing." in said
    assert "(error): ValueError: it failed" in said
    assert "    about to fail" in said


def test_an_explanation_as_json(capsys: pytest.CaptureFixture[str], machine: Path) -> None:
    printed = report(capsys, "--explain", "badge", "--replay", str(machine), "--json")
    assert printed["value"] == BADGE
    assert ["read /etc/acme/badge", "4711"] in printed["asked"]


# --- storing -------------------------------------------------------------------------------------


@pytest.fixture
def settings_file(tmp_path: Path) -> str:
    file = tmp_path / "client.yml"
    file.write_text("server_url: https://qlmdm.example.com\n")
    return str(file)


def records(state_dir: Path) -> list[dict[str, Any]]:
    with Spool(str(state_dir / "spool"), max_bytes=10**7, max_age=10**7) as spool:
        loaded = [spool.load(entry) for entry in spool.pending()]
    assert None not in loaded
    return [record for record in loaded if record is not None]


def test_without_settings_nothing_is_stored(
    capsys: pytest.CaptureFixture[str], state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLMDM_SETTINGS", str(state_dir / "none.yml"))
    assert collect_cli.main([]) == 2
    assert "there is no such settings file" in capsys.readouterr().err
    assert not state_dir.exists()


def test_a_record_of_what_ran_is_stored(
    capsys: pytest.CaptureFixture[str], state_dir: Path, settings_file: str
) -> None:
    assert collect_cli.main(["--settings", settings_file]) == 0
    (record,) = records(state_dir)
    assert f"stored {record['rid']}: 5 collectors, 2 of them failed" in capsys.readouterr().out
    assert set(record["collectors"]) == ALL
    assert record["collectors"]["hourly"]["value"] == {"state": "available"}
    assert record["collectors"]["failing"]["status"] == "error"
    assert record["failures"] == []
    assert record["spool"]["dropped"] == {}
    assert record["collected_at"].endswith("Z")


def test_before_enrolment_what_is_private_is_not_collected(
    state_dir: Path, settings_file: str
) -> None:
    assert collect_cli.main(["--settings", settings_file, "--only", "where"]) == 0
    (record,) = records(state_dir)
    assert record["collectors"]["where"]["value"]["state"] == "off"


def test_what_is_not_due_does_not_run(state_dir: Path) -> None:
    loaded = settings.parse("server_url: https://qlmdm.example.com\n", ClientSettings)
    start = 1_790_000_000.0
    ran: list[set[str]] = []
    with State(str(state_dir)) as state:
        for minutes in (0, 5, 56, 61, 62, -600):
            with Spool(state.spool_path, max_bytes=10**7, max_age=10**7) as spool:
                moment = start + minutes * 60
                _, outcome = collect_to_spool(state, loaded, spool, now=iter([moment]).__next__)
            ran.append(set(outcome.results))
    always = {"badge", "failing", "where"}
    assert ran[0] == ALL
    assert ran[1] == always
    assert ran[2] == always
    assert ran[3] == ALL  # the daily one failed, so it is tried again after an hour
    assert ran[4] == always
    assert ran[5] == ALL  # the clock was set back


def test_a_damaged_history_makes_everything_due(state_dir: Path, settings_file: str) -> None:
    for content in (b"\0\0", b'{"hourly": 7}', b'{"hourly": {"ran_at": "x"}}'):
        state_dir.mkdir(mode=0o700, exist_ok=True)
        (state_dir / "collected.json").write_bytes(content)
        assert collect_cli.main(["--settings", settings_file]) == 0
        assert set(records(state_dir)[-1]["collectors"]) == ALL


def test_what_the_spool_lost_is_in_the_next_record(state_dir: Path, settings_file: str) -> None:
    assert collect_cli.main(["--settings", settings_file]) == 0
    (file,) = (state_dir / "spool").glob("*.json")
    file.write_bytes(b"damaged")
    with Spool(str(state_dir / "spool"), max_bytes=10**7, max_age=10**7) as spool:
        assert spool.load(spool.pending()[0]) is None
    assert collect_cli.main(["--settings", settings_file]) == 0
    (record,) = records(state_dir)
    assert record["spool"]["dropped"] == {"damaged": 1}


def test_while_another_cycle_runs_nothing_is_done(
    capsys: pytest.CaptureFixture[str], state_dir: Path, settings_file: str
) -> None:
    with State(str(state_dir)) as state, state.lock():
        assert collect_cli.main(["--settings", settings_file]) == 3
    assert "another qlmdm command is at work" in capsys.readouterr().err
    assert not (state_dir / "spool").exists()


def test_a_state_directory_that_others_can_write_is_refused(
    capsys: pytest.CaptureFixture[str], state_dir: Path, settings_file: str
) -> None:
    state_dir.mkdir()
    state_dir.chmod(0o777)
    assert collect_cli.main(["--settings", settings_file]) == 3
    assert "can be written by others" in capsys.readouterr().err


def test_an_unknown_name_stores_nothing(
    capsys: pytest.CaptureFixture[str], state_dir: Path, settings_file: str
) -> None:
    assert collect_cli.main(["--settings", settings_file, "--only", "bagde"]) == 2
    assert records(state_dir) == []


# --- as a command ------------------------------------------------------------------------------


def test_ctrl_c_leaves_no_process(site: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    write_distribution(
        site,
        "sleeper",
        entry_points={CLIENT_GROUP: "main = sleeper_plugin"},
        modules={
            "sleeper_plugin": f"""
            import os, time
            from qlmdm_core import Collector, hookimpl

            def run(host):
                if os.fork() == 0:
                    os.setsid()
                open({str(started)!r}, "w").close()
                time.sleep(1000)

            @hookimpl
            def qlmdm_register_collectors(settings):
                return [Collector(name="sleeper", run=run, timeout=1000)]
            """
        },
    )
    code = "import sys; from qlmdm_core.client.collect_cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--stdout", "--only", "sleeper"]
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        give_up = time.monotonic() + 60
        while not started.exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in errors
    left = [reaper.describe(pid) for pid in reaper.child_pids(os.getpid())]
    # Tests that ran before in this process may have made it the reaper of what ended meanwhile.
    assert [described for described in left if "state Z" not in described] == []


def test_help_shows_examples_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        collect_cli.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "qlmdm-collect --explain firewall" in said
    assert "exit status" in said


def test_a_field_that_is_volatile_is_no_news(site: Path, tmp_path: Path) -> None:
    """The hash that goes with the value leaves it out, so that the server sees no change."""
    write_distribution(
        site,
        "ages",
        entry_points={CLIENT_GROUP: "main = ages_plugin"},
        modules={
            "ages_plugin": """
            import time
            from qlmdm_core import Collector, hookimpl

            def run(host):
                return {"state": "available", "age_seconds": time.monotonic(), "color": "red"}

            @hookimpl
            def qlmdm_register_collectors(settings):
                return [Collector(name="ages", run=run, volatile=("age_seconds",))]
            """
        },
    )
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    code = (
        "import json, sys\n"
        "from qlmdm_core import settings\n"
        "from qlmdm_core.client.collect import collect, make_record\n"
        "from qlmdm_core.client.settings import StandaloneSettings\n"
        "outcome = collect(settings.defaults(StandaloneSettings), only=['ages'])\n"
        "print(json.dumps(make_record(outcome, {}, bytes, {}, 0.0)['collectors']['ages']))\n"
    )
    results = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                check=True,
            ).stdout
        )
        for _ in range(2)
    ]
    first, second = results
    assert first["value"]["age_seconds"] != second["value"]["age_seconds"]
    assert first["value_sha256"] == second["value_sha256"]
    lasting = b'{"color":"red","state":"available"}'
    assert first["value_sha256"] == hashlib.sha256(lasting).hexdigest()
