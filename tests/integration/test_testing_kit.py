"""The fixtures for plugin authors, used as an author would: by a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from qlmdm_core.testing import RecordedMachine

PLUGIN = "qlmdm_core.testing.pytest_plugin"

CHECKED = """
    from qlmdm_core import AuditCheck, Notifier, Verdict

    def judge(client, now):
        badge = client.report["badge"]["value"]
        if badge["state"] == "present":
            return Verdict(state="pass")
        if badge["state"] == "unknown":
            return Verdict(state="unknown", message=badge["reason"])
        return Verdict(state="fail", message="No badge. Get one", evidence=badge)

    CHECK = AuditCheck(name="no-badge", needs=("badge",), judge=judge, grace_period=86400.0)
"""

Inner = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def inner(tmp_path: Path) -> Inner:
    """Runs pytest on one test file, with the plugin named as the documentation says."""

    def run(
        source: str, *arguments: str, plugin: bool = True, **modules: str
    ) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "their project"
        folder.mkdir(exist_ok=True)
        options = f'addopts = "-p {PLUGIN}"' if plugin else ""
        text = f'[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n{options}\n'
        (folder / "pyproject.toml").write_text(text)
        (folder / "test_theirs.py").write_text(textwrap.dedent(source))
        for name, content in modules.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(content))
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
        environment.pop("PYTEST_ADDOPTS", None)
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


def passed(done: subprocess.CompletedProcess[str], count: int) -> bool:
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) passed", done.stdout)
    return found is not None and int(found[1]) == count


# --- a machine ------------------------------------------------------------------------------


def test_a_machine_is_composed_and_opened_again(inner: Inner) -> None:
    done = inner(
        """
        from datetime import datetime, timezone
        from qlmdm_core.testing import RecordedMachine

        def test_composed(machine, clock):
            host = machine.file("/etc/badge", "7").command(["id", "-u"], "0").host()
            assert (host.read("/etc/badge"), host.run(["id", "-u"]).stdout) == ("7", "0")
            assert host.now() == clock() == datetime(2026, 11, 1, 12, tzinfo=timezone.utc)

        def test_each_test_gets_an_empty_one(machine):
            assert not machine.host().exists("/etc/badge")

        def test_recorded(recorded_machine, request):
            beside = request.path.parent / "laptop7"
            RecordedMachine(beside).file("/etc/badge", "8").write()
            assert recorded_machine("laptop7").read("/etc/badge") == "8"
            assert recorded_machine(beside).is_root
        """
    )
    assert passed(done, 3)


def test_no_tests_are_looked_for_in_a_recorded_machine(inner: Inner, tmp_path: Path) -> None:
    """Whose links may lead round in circles, as those below /sys do."""
    machine = RecordedMachine(tmp_path / "their project/machines/laptop7")
    machine.file("/sys/devices/virtual/net/lo/test_me.py", "raise SystemError\n")
    machine.link("/sys/devices/virtual/net/lo/subsystem", "../../../../class/net")
    machine.link("/sys/class/net/lo", "../../devices/virtual/net/lo").write()
    assert passed(inner("def test_it(): pass\n"), 1)


def test_a_clock_stands_still_until_it_is_moved(inner: Inner) -> None:
    done = inner(
        """
        from datetime import timedelta

        def test_it(clock):
            before = clock()
            clock.forward(days=1, seconds=2)
            assert clock() - before == timedelta(days=1, seconds=2)
        """
    )
    assert passed(done, 1)


# --- an audit -------------------------------------------------------------------------------


def test_hand_written_reports_are_audited(inner: Inner) -> None:
    done = inner(
        """
        from checked import CHECK
        from qlmdm_core.testing import failure

        def test_pass(audit):
            found = audit({"badge": {"state": "present"}}, checks=[CHECK])
            assert (found["no-badge"].state, found.lines) == ("pass", [])

        def test_fail(audit):
            found = audit({"badge": {"state": "absent"}}, checks=[CHECK], hostname="ada")
            verdict = found["no-badge"]
            assert (verdict.state, verdict.evidence) == ("fail", {"state": "absent"})
            (line,) = found.lines
            assert line.startswith("ada: no-badge now: No badge. Get one, or snooze with:")

        def test_what_core_decides_is_decided(audit):
            assert audit({}, checks=[CHECK])["no-badge"].message == "badge was never reported"
            late = audit({"badge": failure("too slow", "timeout")}, checks=[CHECK])
            assert (late["no-badge"].state, late.lines) == ("unknown", [])  # told already
            assert "too slow" in late["no-badge"].message
            other = audit({}, checks=[CHECK], hostname="other")
            assert other.lines[0].startswith("other: unknown now: badge was never reported")

        def test_a_check_that_raises_is_unknown(audit):
            assert audit({"badge": {"state": "odd"}}, checks=[CHECK])["no-badge"].state == "fail"
            broken = audit({"badge": {}}, checks=[CHECK])["no-badge"]
            assert (broken.state, "KeyError" in broken.message) == ("unknown", True)

        def test_grace_and_repetition(audit, clock):
            bad = {"badge": {"state": "absent"}}
            assert audit(bad, checks=[CHECK], grace_period=None).lines == []
            clock.forward(hours=25)
            assert len(audit(checks=[CHECK], grace_period=None).lines) == 1
            assert audit(checks=[CHECK], grace_period=None).lines == []
            clock.forward(hours=1)
            assert "for 1 day" in audit(checks=[CHECK], grace_period=None).lines[0]
            assert audit({"badge": {"state": "present"}}, checks=[CHECK]).lines == []

        def test_a_value_grows_old(audit, clock):
            audit({"badge": {"state": "present"}}, checks=[CHECK])
            clock.forward(days=4)
            assert audit(checks=[CHECK])["no-badge"].state == "unknown"
        """,
        checked=CHECKED,
    )
    assert passed(done, 6)


def test_notifiers_get_what_an_audit_says(inner: Inner) -> None:
    done = inner(
        """
        from checked import CHECK, Notifier

        BAD = {"badge": {"state": "absent"}}

        def test_it(audit, tmp_path, clock):
            def send(alerts):
                with open(tmp_path / "log", "a") as file:
                    file.writelines(alert.line + "\\n" for alert in alerts)

            found = audit(BAD, checks=[CHECK], notifiers=[Notifier(name="log", send=send)])
            assert (tmp_path / "log").read_text().splitlines() == found.lines
            assert [alert.check for alert in found.alerts] == ["no-badge"]

        def test_one_that_fails_is_told(audit):
            def send(alerts):
                raise OSError("no paper")

            found = audit(BAD, checks=[CHECK], notifiers=[Notifier(name="fax", send=send)])
            assert "notifier fax failed" in found.notes[0]
            assert "no paper" in found.notes[0]
        """,
        checked=CHECKED,
    )
    assert passed(done, 2)


def test_a_store_is_fresh_for_each_test(inner: Inner) -> None:
    done = inner(
        """
        import pytest

        @pytest.mark.parametrize("time", [1, 2])
        def test_it(store, time):
            store.check()
            assert store.meta("x") is None
            store.set_meta("x", time)
            assert store.meta("x") == time
        """
    )
    assert passed(done, 2)


# --- plugins, servers, clients ----------------------------------------------------------------

THEIRS = """
    from dataclasses import dataclass
    from qlmdm_core import Route, SettingsSection, hookimpl
    from qlmdm_core.settings import setting
    from checked import CHECK

    @dataclass(frozen=True, kw_only=True)
    class Section:
        greeting: str = setting("hello", "What is said.")

    class Greet:
        def __init__(self, store, greeting):
            self.store, self.greeting = store, greeting

        def on_post(self, req, resp):
            self.store.set_meta("greeted", req.context.envelope.cid)
            resp.media = {"said": self.greeting, "to": req.context.body["name"]}

    @hookimpl
    def qlmdm_register_settings():
        return [SettingsSection(name="theirs", schema=Section)]

    @hookimpl
    def qlmdm_register_audit_checks(settings):
        return [CHECK]

    @hookimpl
    def qlmdm_register_routes(services):
        greeting = services["settings"].section("theirs").greeting
        return [Route(path="greet", resource=Greet(services["store"], greeting))]
"""


def test_what_a_plugin_offers_is_loaded_as_qlmdm_does(inner: Inner) -> None:
    done = inner(
        """
        import pytest
        import theirs
        from qlmdm_core.errors import PluginError, SettingsError

        def test_offered(server_plugin):
            plugin = server_plugin("theirs", settings={"theirs": {"greeting": "hi"}})
            assert list(plugin.checks) == ["no-badge"]
            assert plugin.settings.section("theirs").greeting == "hi"
            assert "qlmdm_register_routes" in plugin.hooks
            assert server_plugin(theirs).settings.section("theirs").greeting == "hello"

        def test_wrong_settings(server_plugin):
            with pytest.raises(SettingsError, match="did you mean greeting"):
                server_plugin(theirs, settings={"theirs": {"greetings": "hi"}})
            with pytest.raises(SettingsError, match="no installed plugin has this section"):
                server_plugin(theirs, settings={"their": {}})

        def test_not_a_plugin(client_plugin):
            with pytest.raises(PluginError, match="put it in a module that an entry point of"):
                client_plugin(theirs)
            with pytest.raises(PluginError, match="No module named 'thiers'"):
                client_plugin("thiers")
        """,
        checked=CHECKED,
        theirs=THEIRS,
    )
    assert passed(done, 3)


def test_a_route_is_called_by_a_client_and_by_nobody_else(inner: Inner) -> None:
    done = inner(
        """
        import theirs
        from qlmdm_core import envelope
        from qlmdm_core.testing.client import said

        PATH = "/qlmdm/v1/x/acme/greet"

        def test_it(simulated_server, simulated_client):
            settings = {"theirs": {"greeting": "hi"}}
            server = simulated_server(theirs, settings, distribution="acme")
            client = simulated_client(server)
            data = envelope.build(client.envelope("plugin", ep=PATH), {"name": "Ada"})
            assert said(client.post(PATH, data)) == {"said": "hi", "to": "Ada"}
            assert server.store.meta("greeted") == client.cid
            stranger = simulated_client(server, enrol=False)
            stranger.cid, stranger.root = client.cid, client.root
            data = envelope.build(stranger.envelope("plugin", ep=PATH), {"name": "Eve"})
            assert stranger.post(PATH, data).status == 403

        def test_two_clients_report(simulated_server, simulated_client):
            server = simulated_server()
            for name in ("one", "two"):
                client = simulated_client(server, name)
                assert client.submit(client.report(badge={"state": "present"})).is_receipt
            assert [c.hostname for c in server.store.clients().clients] == ["one", "two"]
        """,
        checked=CHECKED,
        theirs=THEIRS,
    )
    assert passed(done, 2)


# --- the cost of it ---------------------------------------------------------------------------


def test_nothing_is_there_unless_it_is_named(inner: Inner) -> None:
    done = inner("def test_it(machine): pass", plugin=False)
    assert "fixture 'machine' not found" in done.stdout


def test_naming_it_loads_neither_server_nor_store(inner: Inner) -> None:
    done = inner(
        """
        import sys

        def test_it(machine, clock):
            machine.host()
            heavy = ("falcon", "orjson", "gnupg", "pysequoia", "qlmdm_core.server",
                     "qlmdm_core.store", "qlmdm_core.client")
            assert [name for name in heavy if name in sys.modules] == []
        """
    )
    assert passed(done, 1)


def test_each_fixture_is_explained(inner: Inner) -> None:
    done = inner("", "--fixtures")
    theirs = done.stdout.partition(f"fixtures defined from {PLUGIN}")[2].partition("fixtures def")[
        0
    ]
    named = re.findall(r"^(\w+)(?: \[\w+ scope\])? -- ", theirs, re.MULTILINE)
    assert {"audit", "clock", "machine", "recorded_machine", "simulated_server"} <= set(named)
    assert "no docstring available" not in theirs
