"""Whatever a plugin does, at import or at run, it costs only itself, and no process is left."""

from __future__ import annotations

import os
import re
import signal
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core import plugins, settings
from qlmdm_core.client import reaper
from qlmdm_core.client.cgroups import RunGroup, candidate_bases
from qlmdm_core.client.isolation import Outcome, run_collectors
from qlmdm_core.client.limits import Limits
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.host.real import RealHost
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.plugins import PluginEntry
from qlmdm_core.prctl import Prctl
from qlmdm_core.testing import RecordedMachine, write_distribution

LIMITS = Limits(memory_bytes=400 << 20, processes=80, output_bytes=1 << 20)
MODES = [pytest.param(True, id="cgroup"), pytest.param(False, id="rlimits")]


@pytest.fixture(autouse=True)
def _no_process_survives() -> Iterator[None]:
    """This process gets every orphan of what it starts; at the end there must be none."""
    before = set(reaper.child_pids(os.getpid()))
    Prctl().become_subreaper()
    yield
    left = set(reaper.child_pids(os.getpid())) - before
    described = [reaper.describe(pid) for pid in left]
    reaper.kill_strays(before)
    assert described == []


@pytest.fixture(autouse=True)
def _no_cgroup_survives() -> Iterator[None]:
    yield
    for base in candidate_bases():
        assert not [name for name in os.listdir(base) if name == f"qlmdm-{os.getpid()}"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(site: Path, name: str, source: str) -> None:
    module = name.replace("-", "_") + "_plugin"
    write_distribution(
        site,
        name,
        entry_points={CLIENT_GROUP: f"main = {module}"},
        modules={module: "from qlmdm_core import Collector, hookimpl\n" + textwrap.dedent(source)},
    )


def entries(*names: str) -> list[PluginEntry]:
    return [entry for entry in plugins.discover(CLIENT_GROUP) if entry.distribution in names]


def run(*names: str, **options: Any) -> Outcome:
    return run_collectors(
        entries(*names),
        settings=settings.defaults(StandaloneSettings),
        host_factory=options.pop("host_factory", lambda _, distro: RealHost(distro=distro)),
        limits=options.pop("limits", LIMITS),
        **options,
    )


GOOD = """
@hookimpl
def qlmdm_register_collectors(settings):
    return [
        Collector(name="good-quick", run=lambda host: {"state": "available", "n": 1}),
        Collector(name="good-slow", run=slow, private=True, interval=3600.0),
    ]

def slow(host):
    result = host.run(["sleep", "0.6"])
    return {"state": "available", "returncode": result.returncode}
"""


def assert_good(outcome: Outcome) -> None:
    assert outcome.results["good-quick"].value == {"state": "available", "n": 1}
    assert outcome.results["good-slow"].value == {"state": "available", "returncode": 0}
    assert outcome.results["good-slow"].private


# --- a collector of each bad kind ---------------------------------------------------------------

# name: (the body of its run(host), the status it gets, what the error says)
BAD_RUNS: dict[str, tuple[str, str, str]] = {
    "raises": ("raise ValueError('no such thing')", "error", "ValueError: no such thing"),
    "raises-half-a-character": ("raise ValueError('\\ud800')", "error", "ValueError"),
    "raises-what-cannot-be-said": (
        "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E",
        "error",
        "E: ",
    ),
    "system-exit": ("raise SystemExit(0)", "error", "SystemExit"),
    "exits": ("import sys; sys.exit('bye')", "error", "SystemExit: bye"),
    "keyboard-interrupt": ("raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    "generator-exit": ("raise GeneratorExit", "error", "GeneratorExit"),
    "recursion": ("def f(): f()\nf()", "error", "RecursionError"),
    "os-exit": ("os._exit(0)", "crashed", "exited with status 0, without an answer"),
    "os-exit-7": ("os._exit(7)", "crashed", "exited with status 7"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
    "abort": ("os.abort()", "crashed", "SIGABRT"),
    "kills-itself": ("os.kill(os.getpid(), 9)", "crashed", "SIGKILL"),
    "interrupts-itself": ("os.kill(os.getpid(), 2)", "crashed", "SIGINT"),
    "stops-itself": ("os.kill(os.getpid(), 19)", "timeout", "longer than 1.5 seconds"),
    "sleeps": ("time.sleep(1000)", "timeout", "longer than 1.5 seconds"),
    "ignores-sigterm": (
        "import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(1000)",
        "timeout",
        "longer",
    ),
    "spins": ("while True: pass", "timeout", "longer"),
    "deadlocks": (
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        "timeout",
        "longer",
    ),
    "prints-a-gigabyte": ("while True: print('x' * 65536)", "too_big", "printed more than"),
    "writes-a-gigabyte": ("while True: os.write(2, b'x' * 65536)", "too_big", "printed more than"),
    "eats-memory": ("x = []\nwhile True: x.append(bytearray(1 << 24))", "error", "MemoryError"),
    "forks-for-ever": (
        "while True: os.fork()",
        "limit|error",  # who is not root soon gets no process any more, which raises
        "started more than 80 processes|BlockingIOError",
    ),
    "forks-and-leaves": ("while True:\n    if os.fork(): os._exit(0)", "crashed", "status 0"),
    "returns-nothing": ("return None", "invalid", "NoneType"),
    "returns-a-list": ("return [1]", "invalid", "list"),
    "returns-no-state": ("return {'value': 1}", "invalid", "without a state"),
    "returns-a-set": ("return {'state': 'x', 'v': {1}}", "invalid", "set"),
    "returns-bytes": ("return {'state': 'x', 'v': b''}", "invalid", "bytes"),
    "returns-nan": ("return {'state': 'x', 'v': float('nan')}", "invalid", "JSON"),
    "returns-infinity": ("return {'state': 'x', 'v': float('inf')}", "invalid", "JSON"),
    "returns-itself": ("v = {'state': 'x'}\nv['v'] = v\nreturn v", "invalid", "ircular"),
    "returns-half-a-character": ("return {'state': '\\ud800'}", "invalid", "surrogate"),
    "returns-a-huge-number": ("return {'state': 'x', 'v': 10 ** 30}", "invalid", "64 bits"),
    "returns-an-endless-number": ("return {'state': 'x', 'v': 1 << 300000}", "invalid", ""),
    "returns-two-keys-of-one-name": ("return {'state': 'x', 1: 1, '1': 2}", "invalid", "duplicate"),
    "returns-the-deep": (
        "v = []\nfor _ in range(40): v = [v]\nreturn {'state': 'x', 'v': v}",
        "invalid",
        "nested",
    ),
    "returns-the-very-deep": (
        "v = []\nfor _ in range(100000): v = [v]\nreturn {'state': 'x', 'v': v}",
        "invalid",
        "",
    ),
    "returns-the-endless": (
        (
            "class E(dict):\n    def items(self):\n        while True: yield 'a', 1\n"
            "return E(state='x')"
        ),
        "too_big|timeout|error|ok",  # the C encoder does not ask it
        "",
    ),
    "returns-too-much": ("return {'state': 'x', 'v': 'x' * 300000}", "too_big", "are allowed"),
    "closes-everything": (
        "os.closerange(0, 1000)\nreturn {'state': 'x'}",
        "crashed",
        "without an answer",
    ),
    "writes-into-the-channel": ("os.write(3, b'x' * 100)\ntime.sleep(1000)", "invalid", "answer"),
    "answers-twice": (
        (
            "from qlmdm_core.client import frames\n"
            "for _ in range(100): frames.send(3, {'status': 'limit', 'error': ''})\n"
            "return {'state': 'x'}"
        ),
        "crashed",
        "",
    ),
    "answers-nonsense": (
        (
            "from qlmdm_core.client import frames\n"
            "frames.send(3, {'status': 'ok', 'error': ''}, b'{\"state\": NaN}')\nos._exit(0)"
        ),
        "invalid",
        "NaN",
    ),
}

BAD_MODULE = """
import os, time

{functions}

@hookimpl
def qlmdm_register_collectors(settings):
    bad = {{name: function for name, function in globals().items() if name.startswith("run_")}}
    return [
        Collector(name="sibling", run=lambda host: {{"state": "available"}}),
        *(
            Collector(
                name=name[4:].replace("_", "-"),
                run=function,
                timeout=1.5 if name[4:] in {hanging!r} else 60,
            )
            for name, function in bad.items()
        ),
    ]
"""


@pytest.fixture(scope="module", params=MODES)
def all_bad(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One collect in which a collector of each bad kind runs, all side by side."""
    site = tmp_path_factory.mktemp("site")
    functions = "\n\n".join(
        f"def run_{name.replace('-', '_')}(host):\n{textwrap.indent(body, '    ')}"
        for name, (body, _, _) in BAD_RUNS.items()
    )
    hanging = [name.replace("-", "_") for name, bad in BAD_RUNS.items() if "timeout" in bad[1]]
    install(site, "bad", BAD_MODULE.format(functions=functions, hanging=hanging))
    install(site, "good", GOOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        return run("bad", "good", use_cgroups=request.param)


@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_bad_collector_fails_for_itself(all_bad: Outcome, name: str) -> None:
    _, statuses, message = BAD_RUNS[name]
    result = all_bad.results[name]
    assert result.status in statuses.split("|"), result
    assert re.search(message, result.error)
    if result.status != "ok":
        assert result.value is None
        assert result.error


def test_all_others_answer_all_the_same(all_bad: Outcome) -> None:
    assert_good(all_bad)
    assert all_bad.results["sibling"].value == {"state": "available"}
    assert all_bad.failures == []
    assert set(all_bad.results) == set(BAD_RUNS) | {"sibling", "good-quick", "good-slow"}


def test_what_was_printed_is_kept_and_bounded(all_bad: Outcome) -> None:
    assert "Segmentation fault" in all_bad.results["segfault"].printed
    assert all_bad.results["prints-a-gigabyte"].printed.startswith("xxx")
    assert all(len(r.printed) <= 4200 for r in all_bad.results.values())


# --- what only shows when it is over --------------------------------------------------------------


@pytest.mark.parametrize("use_cgroups", MODES)
def test_what_a_collector_leaves_behind_is_killed(site: Path, use_cgroups: bool) -> None:
    install(
        site,
        "leaver",
        """
        import os, signal, subprocess, threading, time

        def daemons(host):
            for _ in range(10):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        os.setsid()
                        signal.signal(signal.SIGTERM, signal.SIG_IGN)
                        time.sleep(1000)
                    os._exit(0)
            return {"state": "available"}

        def program(host):
            subprocess.Popen(["setsid", "sleep", "1000"])
            return {"state": "available"}

        def holder(host):
            # It keeps the descriptor by which the answer goes open.
            if os.fork() == 0:
                time.sleep(1000)
            return {"state": "available"}

        def thread(host):
            threading.Thread(target=time.sleep, args=(1000,)).start()
            return {"state": "available"}

        @hookimpl
        def qlmdm_register_collectors(settings):
            kinds = (daemons, program, holder, thread)
            return [Collector(name=kind.__name__, run=kind, timeout=20) for kind in kinds]
        """,
    )
    outcome = run("leaver", use_cgroups=use_cgroups)
    assert {r.status for r in outcome.results.values()} == {"ok"}
    assert len(outcome.results) == 4
    assert outcome.failures == []


def test_a_collector_may_wait_for_what_put_itself_in_the_background(site: Path) -> None:
    """Another collector's end must not kill what this one's command left to do its work."""
    install(
        site,
        "patient",
        """
        import os, time

        def waits(host):
            reading, writing = os.pipe()
            if os.fork() == 0:
                if os.fork() == 0:
                    time.sleep(0.5)
                    os.write(writing, b"done")
                os._exit(0)
            os.wait()
            return {"state": "available", "said": os.read(reading, 10).decode()}

        @hookimpl
        def qlmdm_register_collectors(settings):
            quick = lambda host: {"state": "available"}
            return [Collector(name="waits", run=waits)] + [
                Collector(name=f"quick{number}", run=quick) for number in range(5)
            ]
        """,
    )
    outcome = run("patient", use_cgroups=False)
    assert outcome.results["waits"].value == {"state": "available", "said": "done"}


# --- a distribution of each bad kind ---------------------------------------------------------

# name: (what its module does, what its failure says)
BAD_IMPORTS: dict[str, tuple[str, str]] = {
    "import-raises": ("raise ValueError('broken')", "ValueError: broken"),
    "import-exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "import-interrupted": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "import-syntax": ("def (", "SyntaxError"),
    "import-missing": ("import there_is_no_such_module", "ModuleNotFoundError"),
    "import-os-exit": ("import os; os._exit(0)", "exited with status 0"),
    "import-segfault": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "import-hangs": ("import time; time.sleep(1000)", "longer than 6 seconds to import"),
    "import-stops": ("import os; os.kill(os.getpid(), 19)", "longer than 6 seconds to import"),
    "import-prints": ("while True: print('x' * 65536)", "printed more than"),
    "import-eats": ("x = []\nwhile True: x.append(bytearray(1 << 24))", "MemoryError"),
    "import-forks": (
        "import os\nwhile True: os.fork()",
        # or who is not root soon gets no process any more, and all copies say so at once
        "started more than 80 processes|BlockingIOError|no message",
    ),
    "import-closes": ("import os; os.closerange(3, 100)", "its process"),
    "import-babbles": ("import os; os.write(3, b'x' * 5000)", "no message"),
    "hook-raises": (
        "@hookimpl\ndef qlmdm_register_collectors(settings): raise OSError('no')",
        "OSError: no",
    ),
    "hook-returns-text": (
        "@hookimpl\ndef qlmdm_register_collectors(settings): return 'text'",
        "list of descriptors",
    ),
    "hook-endless": (
        (
            "@hookimpl\ndef qlmdm_register_collectors(settings):\n    while True:\n"
            "        yield Collector(name='x', run=print)"
        ),
        "more than",
    ),
    "hook-misspelt": ("@hookimpl\ndef qlmdm_register_colectors(settings): pass", "colectors"),
    "dies-when-its-collector-runs": (
        (
            "import os, threading, time\n"
            "def die():\n"
            "    while not os.path.exists(__file__ + '.runs'): time.sleep(0.02)\n"
            "    os._exit(5)\n"
            "threading.Thread(target=die, daemon=True).start()\n"
            "def run(host):\n"
            "    open(__file__ + '.runs', 'w').close()\n"
            "    time.sleep(1000)\n"
            "@hookimpl\ndef qlmdm_register_collectors(settings):\n"
            "    return [Collector(name='orphan', run=run)]"
        ),
        "exited with status 5",
    ),
}


@pytest.mark.parametrize("use_cgroups", MODES)
def test_a_bad_distribution_fails_for_itself(site: Path, use_cgroups: bool) -> None:
    for name, (source, _) in BAD_IMPORTS.items():
        install(site, name, source)
    install(site, "good", GOOD)
    outcome = run(*BAD_IMPORTS, "good", use_cgroups=use_cgroups, import_timeout=6.0)
    assert_good(outcome)
    failed = {failure.distribution: failure.error for failure in outcome.failures}
    assert set(failed) == set(BAD_IMPORTS)
    for name, (_, message) in BAD_IMPORTS.items():
        assert re.search(message, failed[name]), (name, failed[name])
    orphan = outcome.results.pop("orphan")
    assert orphan.status == "crashed"
    assert "dies-when-its-collector-runs" in orphan.error
    assert set(outcome.results) == {"good-quick", "good-slow"}


def test_a_worker_that_dies_as_soon_as_it_has_registered_is_reported(site: Path) -> None:
    install(
        site,
        "brief",
        """
        import os, threading

        @hookimpl
        def qlmdm_register_collectors(settings):
            threading.Timer(0.001, os._exit, (5,)).start()
            return [Collector(name="brief", run=lambda host: {"state": "x"})]
        """,
    )
    outcome = run("brief")
    assert outcome.results.keys() | {f.distribution for f in outcome.failures} == {"brief"}


def test_the_evidence_of_a_crash_at_import_is_kept(site: Path) -> None:
    install(site, "import-segfault", BAD_IMPORTS["import-segfault"][0])
    (failure,) = run("import-segfault").failures
    assert any("Segmentation fault" in line for line in failure.trace)
    assert failure.stage == "import"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_collector_that_ends_its_own_worker_costs_its_distribution_only(
    site: Path, number: int
) -> None:
    install(
        site,
        "patricide",
        f"""
        import os, time

        def run(host):
            os.kill(os.getppid(), {number})
            time.sleep(1000)

        @hookimpl
        def qlmdm_register_collectors(settings):
            return [Collector(name="patricide", run=run, timeout=1)]
        """,
    )
    install(site, "good", GOOD)
    outcome = run("patricide", "good", slack=2.0)
    assert_good(outcome)
    assert outcome.results["patricide"].status in ("crashed", "timeout")
    (failure,) = outcome.failures
    assert failure.distribution == "patricide"
    assert failure.stage == "worker"


def test_a_plugin_that_changes_python_under_our_feet_costs_itself_only(site: Path) -> None:
    install(
        site,
        "saboteur",
        """
        import json, os, time
        json.dumps = json.loads = os._exit = os.fork = os.waitpid = lambda *a, **k: None

        @hookimpl
        def qlmdm_register_collectors(settings):
            return [Collector(name="saboteur", run=lambda host: {"state": "x"}, timeout=1)]
        """,
    )
    install(site, "good", GOOD)
    outcome = run("saboteur", "good", import_timeout=6.0)
    assert_good(outcome)
    assert [failure.distribution for failure in outcome.failures] == ["saboteur"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_warden_itself_being_killed_is_reported_and_leaves_nothing(
    site: Path, number: int
) -> None:
    install(
        site,
        "regicide",
        f"""
        import os, time

        def run(host):
            with open(f"/proc/{{os.getppid()}}/stat") as file:
                os.kill(int(file.read().rpartition(")")[2].split()[1]), {number})
            time.sleep(1000)

        @hookimpl
        def qlmdm_register_collectors(settings):
            return [Collector(name="regicide", run=run)]
        """,
    )
    outcome = run("regicide")
    (failure,) = outcome.failures
    assert failure.stage == "warden"
    assert "ended unexpectedly" in failure.error
    wait_until(lambda: not reaper.reap(lambda pid, status: None))


# --- names --------------------------------------------------------------------------------------


def one(name: str, **fields: Any) -> str:
    extra = "".join(f", {key}={value!r}" for key, value in fields.items())
    return (
        "@hookimpl\ndef qlmdm_register_collectors(settings):\n"
        f"    return [Collector(name={name!r}, run=lambda host: {{'state': 'x'}}{extra})]"
    )


def test_a_name_that_two_claim_belongs_to_neither(site: Path) -> None:
    install(site, "first", one("same"))
    install(site, "second", one("same"))
    install(site, "good", GOOD)
    outcome = run("first", "second", "good")
    assert_good(outcome)
    same = outcome.results["same"]
    assert same.status == "conflict"
    assert "first:main" in same.error
    assert "second:main" in same.error
    assert {(f.distribution, f.stage) for f in outcome.failures} == {
        ("first", "conflict"),
        ("second", "conflict"),
    }
    assert "same" not in outcome.known


def test_a_late_claim_takes_back_a_result(site: Path) -> None:
    install(site, "first", one("same"))
    install(site, "second", "import time; time.sleep(1.6)\n" + one("same"))
    outcome = run("first", "second")
    assert outcome.results["same"].status == "conflict"


def test_a_distribution_that_is_slow_to_import_still_runs(site: Path) -> None:
    install(site, "slow", "import time; time.sleep(1.6)\n" + one("late"))
    install(site, "good", GOOD)
    outcome = run("slow", "good")
    assert_good(outcome)
    assert outcome.results["late"].status == "ok"


def test_only_what_is_named_runs(site: Path) -> None:
    install(site, "good", GOOD)
    outcome = run("good", only=["good-quick"])
    assert set(outcome.results) == {"good-quick"}
    assert set(outcome.known) == {"good-quick", "good-slow"}
    assert outcome.unknown == set()


def test_a_name_that_does_not_exist_runs_nothing(site: Path) -> None:
    install(site, "good", GOOD)
    outcome = run("good", only=["good-quick", "god-slow"])
    assert outcome.unknown == {"god-slow"}
    assert outcome.results == {}
    assert outcome.names == {"good-quick", "good-slow"}


def test_only_what_is_due_runs(site: Path) -> None:
    install(site, "good", GOOD)
    outcome = run("good", due=lambda descriptor: descriptor.interval is not None)
    assert set(outcome.results) == {"good-slow"}
    assert outcome.known["good-slow"].interval == 3600.0


def test_a_disabled_entry_is_not_imported(site: Path, tmp_path: Path) -> None:
    install(site, "off", f"open({str(tmp_path / 'imported')!r}, 'w')\n" + one("x"))
    off = [e for e in plugins.discover(CLIENT_GROUP, {"off"}) if e.distribution == "off"]
    outcome = run_collectors(
        off,
        settings=settings.defaults(StandaloneSettings),
        host_factory=lambda _, distro: RealHost(distro=distro),
    )
    assert outcome == Outcome()
    assert not (tmp_path / "imported").exists()


def test_broken_metadata_is_a_failure(site: Path) -> None:
    write_distribution(site, "broken", entry_points={CLIENT_GROUP: "main = not a module!"})
    (failure,) = run("broken").failures
    assert failure.stage == "metadata"


# --- settings, adapters ---------------------------------------------------------------------------


def test_a_plugin_gets_its_own_settings(site: Path) -> None:
    install(
        site,
        "badge",
        """
        from dataclasses import dataclass
        from qlmdm_core import SettingsSection

        @dataclass(frozen=True, kw_only=True)
        class Badge:
            reader: str = "/dev/badge0"

        @hookimpl
        def qlmdm_register_settings():
            return [SettingsSection(name="badge", schema=Badge)]

        @hookimpl
        def qlmdm_register_collectors(settings):
            reader = settings.section("badge").reader
            return [Collector(name="badge", run=lambda host: {"state": reader})]
        """,
    )
    text = "plugins:\n  badge:\n    reader: /dev/other\n"
    for written, expected in (("", "/dev/badge0"), (text, "/dev/other")):
        outcome = run_collectors(
            entries("badge"),
            settings=settings.parse(written, StandaloneSettings),
            host_factory=lambda _, distro: RealHost(distro=distro),
        )
        assert outcome.results["badge"].value == {"state": expected}
    wrong = run_collectors(
        entries("badge"),
        settings=settings.parse("plugins:\n  badge:\n    raeder: x\n", StandaloneSettings),
        host_factory=lambda _, distro: RealHost(distro=distro),
    )
    (failure,) = wrong.failures
    assert failure.stage == "settings"
    assert "did you mean reader" in failure.error


ADAPTER = """
class Adapter:
    name = {name!r}
    def match(self, os_release): return {score} if os_release.get("ID") == "void" else 0
    def updates(self, host): return None
    def release_upgrade(self, host): return None
    def package_version(self, host, name): return "1.2"
    def packages(self, host): return None
    def reboot_required(self, host): return None

@hookimpl
def qlmdm_register_distros(settings):
    return [Adapter()]
"""

ASKS = """
@hookimpl
def qlmdm_register_collectors(settings):
    def ask(host):
        return {"state": host.distro.name if host.distro else "none"}
    return [Collector(name="asks", run=ask)]
"""


def replay(machine: RecordedMachine) -> Callable[..., ReplayHost]:
    folder = machine.write()
    return lambda _, distro: ReplayHost(folder, distro=distro)


def test_a_collector_gets_the_adapter_of_the_machine(site: Path, tmp_path: Path) -> None:
    install(site, "asker", ASKS)
    install(site, "other-linux", ADAPTER.format(name="other", score=10))
    install(site, "void-linux", ADAPTER.format(name="void", score=20))
    install(site, "broken-linux", "raise ValueError('adapter')")
    machine = RecordedMachine(tmp_path / "machine").file("/etc/os-release", "ID=void\n")
    names = ("asker", "other-linux", "void-linux", "broken-linux")
    outcome = run(*names, host_factory=replay(machine))
    assert outcome.results["asks"].value == {"state": "void"}
    assert [failure.distribution for failure in outcome.failures] == ["broken-linux"]


def test_two_adapters_that_match_alike_are_an_error_that_names_both(
    site: Path, tmp_path: Path
) -> None:
    install(site, "asker", ASKS)
    install(site, "one-linux", ADAPTER.format(name="one", score=20))
    install(site, "two-linux", ADAPTER.format(name="two", score=20))
    machine = RecordedMachine(tmp_path / "machine").file("/etc/os-release", "ID=void\n")
    outcome = run("asker", "one-linux", "two-linux", host_factory=replay(machine))
    assert outcome.results["asks"].status == "error"
    assert "one-linux:main" in outcome.results["asks"].error
    assert "two-linux:main" in outcome.results["asks"].error


def test_without_a_fitting_adapter_there_is_none(site: Path, tmp_path: Path) -> None:
    install(site, "asker", ASKS)
    install(site, "void-linux", ADAPTER.format(name="void", score=20))
    machine = RecordedMachine(tmp_path / "machine").file("/etc/os-release", "ID=plan9\n")
    outcome = run("asker", "void-linux", host_factory=replay(machine))
    assert outcome.results["asks"].value == {"state": "none"}


# --- the client's own part -------------------------------------------------------------------


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come true"
        time.sleep(0.02)


def in_a_child(function: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(9)
    return pid


SLEEPER = """
import os, signal, time

def sleeper(host):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
    open({path!r}, "w").close()
    time.sleep(1000)

@hookimpl
def qlmdm_register_collectors(settings):
    return [Collector(name="sleeper", run=sleeper, timeout=1000)]
"""


@pytest.mark.parametrize("use_cgroups", MODES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_the_client_is_ended_nothing_is_left(
    site: Path, tmp_path: Path, number: int, use_cgroups: bool
) -> None:
    started = tmp_path / "started"
    install(site, "sleeper", SLEEPER.format(path=str(started)))

    def client() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run("sleeper", use_cgroups=use_cgroups)

    pid = in_a_child(client)
    wait_until(started.exists)
    os.kill(pid, number)
    os.waitpid(pid, 0)
    if number == signal.SIGINT:  # it waits until it has seen that everything ended
        assert [reaper.describe(pid) for pid in reaper.child_pids(os.getpid())] == []
    wait_until(lambda: not reaper.reap(lambda pid, status: None))


def test_the_deadline_of_the_whole_ends_everything(site: Path) -> None:
    install(
        site,
        "slow",
        """
        import time

        @hookimpl
        def qlmdm_register_collectors(settings):
            return [Collector(name="slow", run=lambda host: time.sleep(1000), timeout=2000)]
        """,
    )
    install(site, "never", "import time; time.sleep(1000)")
    outcome = run("slow", "never", deadline=2.0, import_timeout=500.0)
    assert outcome.results["slow"].status == "timeout"
    assert "as a whole" in outcome.results["slow"].error
    (failure,) = outcome.failures
    assert failure.distribution == "never"


def test_descriptors_of_the_client_do_not_reach_a_plugin(site: Path, tmp_path: Path) -> None:
    install(
        site,
        "looker",
        """
        import os

        AT_IMPORT = sorted(os.listdir("/proc/self/fd"), key=int)

        def look(host):
            return {
                "state": "available",
                "at_import": [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)],
                "open": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
                "terminal": os.path.exists("/dev/tty") and can_open("/dev/tty"),
            }

        def can_open(path):
            try:
                open(path).close()
            except OSError:
                return False
            return True

        @hookimpl
        def qlmdm_register_collectors(settings):
            return [Collector(name="looker", run=look)]
        """,
    )
    with open(tmp_path / "secret", "w") as file:
        os.set_inheritable(file.fileno(), True)
        value = run("looker").results["looker"].value
    assert value["open"] == [0, 1, 2, 3, 4]  # the last is the one that reads the list
    assert value["at_import"][0] == "/dev/null"
    assert not value["terminal"]


def test_many_slow_collectors_run_side_by_side(site: Path) -> None:
    """Twenty that wait for one event can only all end if all of them have been started."""
    install(
        site,
        "crowd",
        f"""
        import os, time

        PLACE = {str(site)!r}

        def run(number):
            def wait(host):
                open(f"{{PLACE}}/here-{{number}}", "w").close()
                while len([n for n in os.listdir(PLACE) if n.startswith("here-")]) < 20:
                    time.sleep(0.05)
                return {{"state": "available"}}
            return wait

        @hookimpl
        def qlmdm_register_collectors(settings):
            return [Collector(name=f"c{{n}}", run=run(n), timeout=20) for n in range(20)]
        """,
    )
    outcome = run("crowd")
    assert {result.status for result in outcome.results.values()} == {"ok"}
    assert len(outcome.results) == 20


def test_a_client_with_threads_and_children_of_its_own_keeps_them(site: Path) -> None:
    install(site, "good", GOOD)
    reading, writing = os.pipe()

    def wait_for_word() -> None:
        os.read(reading, 1)
        os._exit(0)

    mine = in_a_child(wait_for_word)
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        assert_good(run("good"))
        assert thread.is_alive()
        assert mine in reaper.child_pids(os.getpid())
    finally:
        release.set()
        thread.join()
        os.write(writing, b"x")
        assert os.waitpid(mine, 0)[1] == 0
        os.close(reading)
        os.close(writing)


# --- cgroups ---------------------------------------------------------------------------------


def test_a_group_is_made_entered_killed_and_removed(tmp_path: Path) -> None:
    groups = RunGroup.create()
    if groups is None:
        pytest.skip("no cgroup can be made here")
    child_group = groups.child("worker-0", Limits())
    assert child_group is not None
    reading, writing = os.pipe()

    def sleeper() -> None:
        child_group.enter()
        os.write(writing, b"x")
        time.sleep(1000)

    pid = in_a_child(sleeper)
    os.read(reading, 1)
    assert not child_group.remove()
    groups.kill()
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    wait_until(groups.remove)
    assert not Path(groups.path).exists()
    os.close(reading)
    os.close(writing)


def test_memory_is_limited_for_all_processes_of_a_collector_together(site: Path) -> None:
    groups = RunGroup.create()
    limited = groups is not None and groups.limited
    if groups is not None:
        groups.remove()
    if not limited:
        pytest.skip("no memory controller of cgroup v2 here")
    install(
        site,
        "crowd",
        """
        import os

        def eat(host):
            for _ in range(6):
                if os.fork() == 0:
                    eaten = bytearray(b"x") * (150 << 20)
                    os.read(os.pipe()[0], 1)
            os.wait()

        @hookimpl
        def qlmdm_register_collectors(settings):
            return [Collector(name="eater", run=eat, timeout=60)]
        """,
    )
    install(site, "good", GOOD)
    outcome = run("crowd", "good")
    assert_good(outcome)
    assert outcome.results["eater"].status == "limit"
    assert "more than 400 MiB of memory" in outcome.results["eater"].error


def test_where_no_group_can_be_made_there_is_none(tmp_path: Path) -> None:
    assert RunGroup.create(bases=[]) is None
    assert RunGroup.create(bases=[str(tmp_path / "missing")]) is None
    assert RunGroup.create(bases=[str(tmp_path)]) is None  # a plain folder has no cgroup.kill
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_client_left_is_cleared_away() -> None:
    pid = in_a_child(lambda: None)
    os.waitpid(pid, 0)
    groups = RunGroup.create()
    if groups is None:
        pytest.skip("no cgroup can be made here")
    stale = Path(groups.path).with_name(f"qlmdm-{pid}")
    stale.mkdir()
    groups.remove()
    again = RunGroup.create()
    assert again is not None
    again.remove()
    assert not stale.exists()
