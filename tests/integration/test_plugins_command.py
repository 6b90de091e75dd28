"""`qlmdm-plugins` survives every plugin there is, and says which one is bad and how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.hookspecs import CLIENT_GROUP, SERVER_GROUP
from qlmdm_core.testing import write_distribution

GOOD = """
    from dataclasses import dataclass
    from qlmdm_core import Collector, SettingsSection, SubCommand, hookimpl
    from qlmdm_core.settings import setting

    @dataclass(frozen=True, kw_only=True)
    class Section:
        depth: int = setting(3, "How deep.", minimum=1)

    @hookimpl
    def qlmdm_register_settings():
        return [SettingsSection(name="{name}", schema=Section)]

    @hookimpl
    def qlmdm_register_collectors(settings):
        assert settings.section("{name}").depth
        return [Collector(name="{name}", run=print)]

    @hookimpl
    def qlmdm_register_commands():
        return [SubCommand(name="{name}-do", target="{module}:do")]

    def do(arguments):
        print("done", arguments)
        if arguments == ["raise"]:
            raise ValueError("boom")
        return len(arguments)
"""


class Site:
    """A folder of distributions that `qlmdm-plugins` finds beside the installed ones."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, name: str, source: str, *, group: str = CLIENT_GROUP) -> None:
        module = name.replace("-", "_") + "_hooks"
        filled = source.replace("{module}", module)
        write_distribution(
            self.path, name, entry_points={group: f"main = {module}"}, modules={module: filled}
        )

    def good(self, name: str, **rest: Any) -> None:
        self.add(name, textwrap.dedent(GOOD).format(name=name, module="{module}"), **rest)

    def run(
        self, *arguments: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.path),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        }
        code = "from qlmdm_core.plugins.cli import main; raise SystemExit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=env,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def report(self, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
        result = self.run("--json", *arguments)
        assert result.returncode in (0, 1), result.stderr
        rows = json.loads(result.stdout)["plugins"]
        return {(row["side"], row["distribution"]): row for row in rows}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


HALF = """
from qlmdm_core import Collector, hookimpl

@hookimpl
def qlmdm_register_collectors(settings):
    yield Collector(name='x', run=print)
    raise OSError('half')
"""
BAD: dict[str, tuple[str, str, str]] = {
    "raises": ("raise ValueError('boom')", "import", "ValueError: boom"),
    "exits": ("raise SystemExit(0)", "import", "SystemExit: 0"),
    "exits at once": ("import os; os._exit(0)", "import", "exited with status 0"),
    "interrupts": ("raise KeyboardInterrupt", "import", "KeyboardInterrupt"),
    "crashes": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "import",
        "was killed by SIGSEGV",
    ),
    "hangs": ("import time\nwhile True: time.sleep(60)", "import", "did not load within 5 seconds"),
    "prints": ("while True: print('x' * 10000)", "import", "it printed more than"),
    "forges": ("import os; os.write(3, b'{' * 5000)", "import", "a message of"),
    "forges json": (
        "import os; os.write(3, bytes([0,0,0,2,0,0,0,0]) + b'{}'); os._exit(0)",
        "import",
        "it wrote nonsense",
    ),
    "misspelt": (
        "from qlmdm_core import hookimpl\n@hookimpl\ndef qlmdm_register_colectors(): pass",
        "register",
        "unknown hook",
    ),
    "half": (
        HALF,
        "qlmdm_register_collectors",
        "OSError: half",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_plugin_is_its_distributions_failure(site: Site, kind: str) -> None:
    source, stage, expected = BAD[kind]
    site.add("a-bad", source)
    site.good("b-good")
    # Long enough for the good one on a busy machine.
    found = site.report("--side", "client", *(("--timeout", "5s") if kind == "hangs" else ()))
    bad, good = found["client", "a-bad"], found["client", "b-good"]
    assert bad["state"] == "failed"
    assert expected in bad["error"]
    assert stage in [failure["stage"] for failure in bad["failures"]]
    assert good["state"] == "ok"
    assert good["collectors"] == ["b-good"]
    assert good["load_seconds"] > 0


def lives(path: Path) -> bool:
    pid = int(path.read_text())
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_nothing_that_a_plugin_started_stays(site: Site, tmp_path: Path) -> None:
    where = tmp_path / "pid"
    site.add(
        "a-bad",
        f"""
        import os, signal, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                with open({str(where)!r}, "w") as file:
                    file.write(str(os.getpid()))
                time.sleep(600)
            os._exit(0)
        while not os.path.exists({str(where)!r}) or not os.path.getsize({str(where)!r}):
            time.sleep(0.01)
        """,
    )
    site.report("--side", "client")
    assert wait_until(lambda: not lives(where))


def test_both_sides_are_shown_with_what_they_give(site: Site) -> None:
    site.good("b-good")
    site.add(
        "c-server",
        """
        from qlmdm_core import AuditCheck, Notifier, hookimpl

        @hookimpl
        def qlmdm_register_audit_checks(settings):
            return [AuditCheck(name="c-check", judge=print)]

        @hookimpl
        def qlmdm_register_notifiers(settings):
            return [Notifier(name="c-tell", send=print)]

        @hookimpl
        def qlmdm_register_routes(services):
            raise AssertionError("routes are for a server")
        """,
        group=SERVER_GROUP,
    )
    found = site.report()
    client = found["client", "b-good"]
    assert client["version"] == "1.0"
    assert client["entry_point"] == "main"
    assert client["target"] == "b_good_hooks"
    assert client["hooks"] == [
        "qlmdm_register_collectors",
        "qlmdm_register_commands",
        "qlmdm_register_settings",
    ]
    assert (client["settings"], client["commands"]) == (["b-good"], ["b-good-do"])
    server = found["server", "c-server"]
    assert (server["checks"], server["notifiers"]) == (["c-check"], ["c-tell"])
    assert "qlmdm_register_routes" in server["hooks"]
    assert server["state"] == "ok"
    assert ("client", "qlmdm-plugins-builtin") in found
    text = site.run().stdout
    assert "c-check" in text
    assert "b-good" in text


def test_a_name_that_two_claim_fails_for_both(site: Site) -> None:
    site.good("b-good")
    site.add(
        "z-thief",
        "from qlmdm_core import Collector, hookimpl\n@hookimpl\n"
        "def qlmdm_register_collectors(settings):\n"
        "    return [Collector(name='b-good', run=print)]",
    )
    found = site.report()
    for distribution in ("b-good", "z-thief"):
        error = found["client", distribution]["error"]
        assert "collector 'b-good' is claimed by b-good:main and by z-thief:main" in error


def test_settings_disable_a_plugin_without_an_import(site: Site, tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    site.add("a-bad", f"open({str(marker)!r}, 'w').close()")
    path = tmp_path / "settings.yml"
    path.write_text("server_url: https://x.invalid\nplugins_off: [A_Bad, not-there]\n")
    result = site.run("--settings", str(path), "--json")
    rows = json.loads(result.stdout)["plugins"]
    (row,) = (row for row in rows if row["distribution"] == "a-bad")
    assert (row["state"], row["disabled"], row["load_seconds"]) == ("disabled", True, None)
    assert not marker.exists()
    assert f"{path}: plugins_off: not-there: no such plugin is installed" in result.stderr
    through_environment = site.run(environment={"QLMDM_SETTINGS": str(path)})
    assert "disabled" in through_environment.stdout
    assert not marker.exists()


def test_the_servers_settings_are_known_by_what_is_in_them(site: Site, tmp_path: Path) -> None:
    site.add("a-bad", "raise ValueError", group=SERVER_GROUP)
    path = tmp_path / "settings.yml"
    path.write_text("url: https://x.invalid\nplugins_off: [a-bad]\n")
    found = site.report("--settings", str(path))
    assert found["server", "a-bad"]["state"] == "disabled"


def test_a_plugins_own_setting_that_is_wrong_is_shown(site: Site, tmp_path: Path) -> None:
    site.good("b-good")
    path = tmp_path / "settings.yml"
    path.write_text("server_url: https://x.invalid\nplugins:\n  b-good:\n    depth: 0\n")
    (failure,) = site.report("--settings", str(path))["client", "b-good"]["failures"][:1]
    assert failure["stage"] == "settings"
    assert f"{path}:4: plugins.b-good.depth: expected at least 1" in failure["error"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server_url: https://x.invalid\nplugin_off: []\n", "did you mean plugins_off?"),
        ("plugins_off: []\n", "url: required"),
        (None, "there is no such settings file"),
    ],
)
def test_settings_that_are_wrong_are_the_administrators_error(
    site: Site, tmp_path: Path, text: str | None, expected: str
) -> None:
    path = tmp_path / "settings.yml"
    if text is not None:
        path.write_text(text)
    result = site.run("--settings", str(path))
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_a_plugins_command_is_run(site: Site) -> None:
    site.good("b-good")
    result = site.run("run", "b-good-do", "--flag", "x", "--json")
    assert result.stdout == "done ['--flag', 'x', '--json']\n"
    assert result.returncode == 3
    failing = site.run("run", "b-good-do", "raise")
    assert failing.returncode == 3
    assert "b-good: the command b-good-do failed: ValueError: boom" in failing.stderr
    unknown = site.run("run", "nothing")
    assert unknown.returncode == 2
    assert "no plugin brings the command 'nothing'; there are: b-good-do" in unknown.stderr
    nameless = site.run("run")
    needed = "qlmdm-plugins: run needs the NAME of a plugin's command; there are: b-good-do\n"
    assert (nameless.returncode, nameless.stderr) == (2, needed)


def test_what_follows_the_name_of_a_command_is_its_own(site: Site, tmp_path: Path) -> None:
    site.good("b-good")
    settings = tmp_path / "settings.yml"
    settings.write_text("server_url: https://q.example.com\n")
    own = ["--help", "--settings", "/nowhere"]
    result = site.run("run", "--settings", str(settings), "b-good-do", *own)
    assert (result.stdout, result.stderr) == (f"done {own}\n", "")
    assert "NAME …" in site.run("run", "--help").stdout


def test_without_plugins_it_says_so(tmp_path: Path) -> None:
    code = """
import importlib.metadata
importlib.metadata.distributions = lambda **rest: []
from qlmdm_core.plugins.cli import main
raise SystemExit(main())
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0
    assert result.stdout.startswith("No plugins are installed")


def test_wrong_usage_is_status_2(site: Site) -> None:
    for arguments in (["--side", "moon"], ["--timeout", "soon"], ["run"], ["walk"]):
        assert site.run(*arguments).returncode == 2
