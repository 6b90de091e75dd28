"""`qlmdm-plugins check` finds each breach of the contract, says where, and praises nobody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.hookspecs import CLIENT_GROUP, SERVER_GROUP
from qlmdm_core.plugins.check.findings import RULES
from qlmdm_core.testing import RecordedMachine, write_distribution

NO_STRACE = shutil.which("strace") is None
Findings = Mapping[str, list[dict[str, Any]]]


class Author:
    """Somebody who has written a distribution, and checks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "their site"

    def write(self, needs: str = "qlmdm-core>=1,<2", **sides: str) -> None:
        groups = {"client": CLIENT_GROUP, "server": SERVER_GROUP}
        info = write_distribution(
            self.folder,
            "qlmdm-theirs",
            entry_points={groups[side]: f"their = their_{side}" for side in sides},
            modules={f"their_{side}": textwrap.dedent(source) for side, source in sides.items()},
        )
        with (info / "METADATA").open("a") as file:
            file.write(f"Requires-Dist: {needs}\n" if needs else "")

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        code = "from qlmdm_core.plugins.cli import main; raise SystemExit(main())"
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        return subprocess.run(
            [sys.executable, "-c", code, "check", *arguments],
            env=env,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    def found(self, *arguments: str, status: int = 1) -> Findings:
        """The findings, by rule."""
        done = self.run("qlmdm-theirs", "--json", *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert told["ok"] is (status == 0)
        by_rule: dict[str, list[dict[str, Any]]] = {}
        for finding in told["findings"]:
            by_rule.setdefault(finding["rule"], []).append(finding)
        return by_rule


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author(tmp_path)


def about(findings: Findings, rule: str, where: str) -> str:
    """What is said of the one breach of a rule at a place."""
    found = [f for f in findings[rule] if where in f["where"] and f["state"] == "failed"]
    assert found, f"nothing about {where} in {findings[rule]}"
    return " ".join(f["what"] for f in found)


# --- clients ----------------------------------------------------------------------------------

GOOD_CLIENT = """
    from qlmdm_core import Collector, hookimpl, unknown

    def collect(host):
        try:
            return {"state": "present", "badge": host.read("/etc/their-badge").strip()}
        except FileNotFoundError:
            return {"state": "absent"}
        except OSError as error:
            return unknown(f"it can't be read: {error.strerror}")

    @hookimpl
    def qlmdm_register_collectors():
        return [
            Collector(
                name="their_badge",
                run=collect,
                help="The badge of the machine.",
                fields={"badge": "Its number."},
                private_paths=("badge",),
            )
        ]
"""

BAD_CLIENT = """
    import os, socket, subprocess
    from qlmdm_core import Collector, hookimpl, unknown

    def unreasonable(host):
        return {"state": "unknown"}

    def raises(host):
        return {"state": host.read("/etc/badge")}

    def huge(host):
        return {"state": "on", "all": "x" * 2000}

    def slow(host):
        while True:
            pass

    def reads(host):
        with open("/etc/passwd") as file:
            return {"state": "on", "first": file.readline()}

    def starts(host):
        subprocess.run(["true"])
        return {"state": "on"}

    def writes(host):
        with open(WRITTEN, "a") as file:
            file.write("x")
        return {"state": "on"}

    def connects(host):
        with socket.socket() as s:
            s.settimeout(0.2)
            s.connect_ex(("127.0.0.1", 9))
        return {"state": "on"}

    def crosses(host):
        import qlmdm_core.server.settings
        return {"state": "on"}

    def same(host):
        return {"state": "on"}

    @hookimpl
    def qlmdm_register_collectors():
        made = [unreasonable, raises, reads, starts, writes, connects, crosses]
        return [
            Collector(name="their_huge", run=huge, max_bytes=1000, help="It is huge."),
            Collector(name="their_slow", run=slow, timeout=0.5, help="It is slow."),
            Collector(name="os_info", run=same, private_paths=("serail", "x.*.y")),
            *(Collector(name=f"their_{f.__name__}", run=f, help="It errs.") for f in made),
        ]
"""


@pytest.mark.timeout(300)
def test_each_breach_of_a_client_plugin_is_named(author: Author, tmp_path: Path) -> None:
    written = tmp_path / "written by a collector"
    author.write("qlmdm-core", client=BAD_CLIENT.replace("WRITTEN", repr(str(written))))
    found = author.found()
    assert "any later qlmdm-core" in about(found, "metadata", "qlmdm-theirs")
    assert "claimed by" in about(found, "names", "theirs")
    assert "qlmdm-plugins-builtin" in about(found, "names", "theirs")
    assert "no help text" in about(found, "help", "os_info")
    assert "not explained: first" in about(found, "help", "their_reads")
    assert "'serail' begins with no field" in about(found, "private", "os_info")
    assert "unknown without a reason" in about(found, "values", "their_unreasonable, on an empty")
    assert "FileNotFoundError" in about(found, "values", "their_raises, on an empty machine")
    assert "PermissionError" in about(found, "values", "their_raises, on a machine without root")
    assert "1000 are allowed" in about(found, "size", "their_huge")
    assert "longer than 0.5 seconds" in about(found, "time", "their_slow, on this machine")
    assert "reads /etc/passwd" in about(found, "host", "their_reads")
    assert "starts a program" in about(found, "host", "their_starts")
    assert "reads " + str(written) in about(found, "host", "their_writes")
    assert "reaches for the network" in about(found, "host", "their_connects")
    assert "qlmdm_core.server" in about(found, "sides", "qlmdm-theirs")
    if not NO_STRACE and found["writes"][0]["state"] != "not_checked":
        assert str(written) in about(found, "writes", "their_writes")
        assert "connect(" in about(found, "network", "their_connects")
        for rule, culprit in (("writes", "their_writes"), ("network", "their_connects")):
            assert {f["where"] for f in found[rule]} == {f"collector {culprit}"}
    assert all(f["todo"] for rule in ("host", "size", "time", "help") for f in found[rule])


@pytest.mark.timeout(300)
def test_a_good_client_plugin_keeps_all_rules(author: Author, tmp_path: Path) -> None:
    author.write(client=GOOD_CLIENT)
    recorded = RecordedMachine(tmp_path / "recorded").file("/etc/their-badge", "7").write()
    found = author.found("--replay", str(recorded), status=0)
    assert {"metadata", "loading", "names", "help", "private", "sides", "values", "host"} <= set(
        found
    )
    assert f"on {recorded}: their_badge present" in found["values"][0]["what"]
    assert "on a machine without root: their_badge unknown" in found["values"][0]["what"]
    states = {rule: {f["state"] for f in findings} for rule, findings in found.items()}
    assert [rule for rule in states if states[rule] != {"ok"}] in ([], ["writes", "network"])


def test_a_plugin_may_read_what_lies_beside_it(author: Author) -> None:
    package = author.folder / "their_client"
    package.mkdir(parents=True)
    (package / "badges.txt").write_text("7")
    write_distribution(
        author.folder, "qlmdm-theirs", entry_points={CLIENT_GROUP: "their = their_client"}
    )
    source = GOOD_CLIENT.replace('host.read("/etc/their-badge")', "resources()")
    source += """
    def resources():
        import importlib.resources
        return importlib.resources.files(__name__).joinpath("badges.txt").read_text()
"""
    (package / "__init__.py").write_text(textwrap.dedent(source))
    assert author.found()["host"][0]["state"] == "ok"


def test_a_distribution_that_is_switched_off_is_tried_all_the_same(
    author: Author, tmp_path: Path
) -> None:
    author.write(client=GOOD_CLIENT)
    file = tmp_path / "settings.yml"
    file.write_text("server_url: https://example.com\nplugins_off: [qlmdm-theirs]\n")
    found = author.found("--settings", str(file), status=0)
    assert "their_badge absent" in found["values"][0]["what"]


def test_what_can_not_be_traced_is_not_said_to_be_well(author: Author) -> None:
    author.write(client=GOOD_CLIENT)
    done = author.run("qlmdm-theirs", PATH="/nonexistent")
    assert done.returncode == 0, done.stdout
    told = [line for line in done.stdout.splitlines() if line.startswith("not checked")]
    assert [line.split()[2] for line in told] == ["writes", "network"]
    assert all("strace is not installed here. Install strace" in line for line in told)


def test_a_plugin_that_hangs_or_crashes_is_named_where_it_does(author: Author) -> None:
    author.write(
        client="""
            import os
            from qlmdm_core import Collector, hookimpl

            def crash(host):
                os.abort()

            @hookimpl
            def qlmdm_register_collectors():
                return [Collector(name="their_crash", run=crash, help="It crashes.")]
        """
    )
    found = author.found()
    where = "collector their_crash, on an empty machine"
    assert "killed by signal 6" in about(found, "loading", where)
    assert "crashed" in about(found, "values", where)
    assert "in crash" in about(found, "values", where)


ADAPTER = """
    from qlmdm_core import InstalledPackages, Reboot, ReleaseUpgrade, Updates, hookimpl

    class Void:
        name = "void"

        def match(self, os_release):
            return MATCH

        def updates(self, host):
            return UPDATES

        def release_upgrade(self, host):
            return ReleaseUpgrade(reason="nobody knows")

        def package_version(self, host, name):
            return None

        def packages(self, host):
            return PACKAGES

        def reboot_required(self, host):
            return Reboot(required=None, reason="nobody knows")

    @hookimpl
    def qlmdm_register_distros():
        return [Void()]
"""


def test_an_adapter_that_takes_absence_for_an_answer_is_named(author: Author) -> None:
    source = ADAPTER.replace("MATCH", "10").replace("UPDATES", 'Updates(state="up_to_date")')
    author.write(client=source.replace("PACKAGES", "[]"))
    found = author.found()
    assert "returned 10 for a stranger" in about(found, "adapters", "match(")
    assert "nothing could be asked" in about(found, "adapters", "updates() on an empty machine")
    assert "not InstalledPackages" in about(found, "adapters", "packages()")


def test_an_honest_adapter_is_well_and_is_not_traced_elsewhere(author: Author) -> None:
    source = ADAPTER.replace("MATCH", "20 if os_release.get('ID') == 'void' else 0")
    source = source.replace("UPDATES", 'Updates(state="unknown", reason="no xbps")')
    source = source.replace("PACKAGES", 'InstalledPackages(packages=None, reason="no xbps")')
    author.write(client=source)
    found = author.found(status=0)
    assert found["adapters"][0]["state"] == "ok"
    assert found["writes"][0]["state"] == "not_checked"


# --- servers ----------------------------------------------------------------------------------

BAD_SERVER = """
    import itertools
    from dataclasses import dataclass
    from typing import Any, Literal
    import qlmdm_core.client.settings
    from qlmdm_core.settings import setting
    from qlmdm_core.units import Duration
    from qlmdm_core import AuditCheck, Route, SettingsSection, StoreBackend, Verdict, hookimpl

    @dataclass(frozen=True, kw_only=True)
    class Section:
        limit: int = 3
        soon: Duration = setting("soon", "When.")
        names: tuple[str, ...] = setting(("a", 1), "Who.")
        kind: Literal["a", "b"] | None = setting("c", "Which.")
        good: Duration | None = setting(None, "A good one.")
        better: Duration = setting(Duration(5.0), "A good one.")
        best: dict[str, str] | Any = setting("a", "A good one.")

    def value(client):
        found = client.report["firewall"]["value"]
        return found if isinstance(found, dict) else {}

    def raises(client, now):
        found = value(client)
        if found.get("state") == "on" and found["zones"][0] > 3:
            return Verdict(state="pass")
        return Verdict(state="unknown", message="who knows")

    def trusts(client, now):
        if value(client).get("state") == "off":
            return Verdict(state="fail", message="off", evidence={})
        return Verdict(state="pass")

    def silent(client, now):
        return Verdict(state="unknown")

    def groundless(client, now):
        return Verdict(state="fail", message="bad")

    def changes(client, now):
        value(client)["seen"] = True
        return Verdict(state="unknown", message="?")

    count = itertools.count()

    def random(client, now):
        return Verdict(state="unknown", message=str(next(count)))

    def no_verdict(client, now):
        return None

    def no_json(client, now):
        return Verdict(state="fail", message="bad", evidence={1, 2})

    def slow(client, now):
        while value(client).get("state") == "no such state":
            pass
        return Verdict(state="unknown", message="?")

    def good(client, now):
        return Verdict(state="unknown", message="?")

    @hookimpl
    def qlmdm_register_settings():
        return [SettingsSection(name="theirs", schema=Section)]

    @hookimpl
    def qlmdm_register_audit_checks():
        made = [raises, trusts, silent, groundless, changes, random, no_verdict, no_json, good]
        typo = ("firewal",)
        needs = ("firewall",)
        return [
            *(
                AuditCheck(name=f"their-{f.__name__}", needs=needs, judge=f, help="It errs.")
                for f in made
            ),
            AuditCheck(name="their-typo", needs=typo, judge=good, help="It needs too little."),
            AuditCheck(name="their-need", needs=("barometer",), judge=good),
        ]

    class Resource:
        def on_get(self, req, resp):
            pass

    @hookimpl
    def qlmdm_register_routes(services):
        assert services["store"].meta("x") is None
        routes = ("fine", "{a}/{a}", "Üble")
        return [Route(path=path, resource=Resource(), auth="none") for path in routes]

    @hookimpl
    def qlmdm_register_stores():
        return [StoreBackend(scheme="theirs", open=print)]
"""


@pytest.mark.timeout(300)
def test_each_breach_of_a_server_plugin_is_named(author: Author) -> None:
    author.write("", server=BAD_SERVER)
    found = author.found()
    assert "does not say which qlmdm-core" in about(found, "metadata", "qlmdm-theirs")
    assert "no help text" in about(found, "settings", "theirs.limit")
    misfits = [f["where"].rpartition(".")[2] for f in found["settings"] if "default" in f["what"]]
    assert misfits == ["soon", "names", "kind"]
    assert "no help text" in about(found, "help", "their-need")
    assert "needs 'firewal'" in about(found, "needs", "their-typo")
    assert [f["state"] for f in found["needs"] if "their-need" in f["what"]] == ["not_checked"]
    assert "qlmdm_core.client" in about(found, "sides", "qlmdm-theirs")
    assert "KeyError: 'zones'" in about(found, "edges", "their-raises")
    assert "no verdict" in about(found, "edges", "their-no_verdict")
    assert "proves nothing" in about(found, "absence", "their-trusts")
    assert "without a message" in about(found, "verdicts", "their-silent")
    assert "without evidence" in about(found, "verdicts", "their-groundless")
    assert "not JSON" in about(found, "verdicts", "their-no_json")
    assert "changed the report" in about(found, "pure", "their-changes")
    assert "differently" in about(found, "pure", "their-random")
    assert about(found, "routes", "{a}/{a}")
    assert "relative path" in about(found, "routes", "Üble")
    assert found["stores"][0]["state"] == "not_checked"
    assert "StoreContract" in found["stores"][0]["todo"]
    everything = [f["where"] for findings in found.values() for f in findings]
    assert not any("their-good" in where for where in everything)


def test_a_check_that_never_ends_is_named(author: Author) -> None:
    source = BAD_SERVER.replace("made = [", "made = [slow] or [")
    author.write(server=source)
    assert "still at it after" in about(author.found(), "edges", "their-slow")


# --- the command --------------------------------------------------------------------------------


def test_a_plugin_that_can_not_be_loaded_is_said_to_fail(author: Author) -> None:
    author.write(client="raise ImportError('no badge reader')")
    found = author.found()
    assert "no badge reader" in about(found, "loading", "qlmdm-theirs:their: import")
    assert set(found) == {"metadata", "loading", "sides"}


def test_settings_that_have_to_be_set_are_asked_for(author: Author, tmp_path: Path) -> None:
    source = """
        from dataclasses import dataclass
        from qlmdm_core import SettingsSection, hookimpl
        from qlmdm_core.settings import setting

        @dataclass(frozen=True, kw_only=True)
        class Section:
            token: str = setting(help="The token of their service.")

        @hookimpl
        def qlmdm_register_settings():
            return [SettingsSection(name="theirs", schema=Section)]

        @hookimpl
        def qlmdm_register_collectors(settings):
            assert settings.section("theirs").token == "s3"
            return []
    """
    author.write(client=source)
    found = author.found(status=1)
    assert "--settings FILE" in found["settings"][0]["todo"]
    file = tmp_path / "settings.yml"
    file.write_text("server_url: https://example.com\nplugins: {theirs: {token: s3}}\n")
    assert author.found("--settings", str(file), status=0)["settings"][0]["state"] == "ok"


def test_a_distribution_that_is_not_there_is_a_mistake_of_the_caller(author: Author) -> None:
    author.write(client=GOOD_CLIENT)
    done = author.run("no-such-thing")
    assert done.returncode == 2
    assert "qlmdm-plugins-builtin, qlmdm-plugins-eset" in done.stderr
    assert "qlmdm-theirs" in done.stderr
    assert "did you mean qlmdm-theirs?" in author.run("theirs").stderr


def test_each_line_has_a_state_a_rule_and_a_sentence(author: Author) -> None:
    author.write(client=GOOD_CLIENT)
    done = author.run("Qlmdm_Theirs")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in done.stdout.splitlines():
        assert line[:13].strip() in ("ok", "not checked")
        assert line[13:21].strip() in RULES
        assert line[23:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["builtin", "eset", "ubuntu", "arch"])
def test_our_own_distributions_keep_all_rules(author: Author, name: str) -> None:
    done = author.run(f"qlmdm-plugins-{name}")
    assert done.returncode == 0, done.stdout + done.stderr
