"""The agent: an idle minute, a poll, a submit, a collect; and what isolation costs."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import processes
import server
from figures import Figure

from qlmdm_core import settings as settings_files
from qlmdm_core.client import enrol
from qlmdm_core.client.state import State
from qlmdm_core.client.transport import Transport
from qlmdm_core.server.invitations import invite
from qlmdm_core.server.settings import ServerSettings
from qlmdm_core.store.open import open_store

BIN = Path(sys.executable).parent
FAR = 10**11
"""A moment (Unix time) that is not due."""


@dataclass(frozen=True)
class Agent:
    """An enrolled client and its environment."""

    state: Path
    environ: dict[str, str]

    def due(self, *, poll: bool, collect: bool) -> None:
        """Make these due, and nothing else, at the next start."""
        link = json.loads((self.state / "link.json").read_text())
        now = time.time()
        link["polled_at"] = 0.0 if poll else now
        link["collected_at"] = 0.0 if collect else now
        (self.state / "link.json").write_text(json.dumps(link))
        (self.state / "due").unlink(missing_ok=True)

    def idle(self) -> None:
        """Make nothing due."""
        (self.state / "due").write_text(f"0 {FAR}\n")


@contextlib.contextmanager
def agent(folder: Path) -> Iterator[Agent]:
    """A server, and a client that was enrolled with it and ran once."""
    with server.running("real", folder) as (port, settings_file, _):
        settings = settings_files.load(settings_file, ServerSettings).core
        store = open_store(settings.store)
        from datetime import datetime, timedelta, timezone

        now = datetime.now(timezone.utc)
        _, token = invite(store, now=now, expires_at=now + timedelta(hours=1))
        store.close()
        url = f"http://127.0.0.1:{port}"
        client_settings = folder / "client.yml"
        # Intervals so long that no moment of the client's own falls into the benchmark.
        client_settings.write_text(
            f"server_url: {url}\npoll_interval: 1 day\ncollect_interval: 7 days\n"
        )
        with State(str(folder / "c")) as state:
            enrol.enrol(state, Transport(url), token, "bench")
        environ = {
            "QLMDM_STATE_DIR": str(folder / "c"),
            "QLMDM_SETTINGS": str(client_settings),
        }
        processes.run([str(BIN / "qlmdm-client-cron"), "--now"], environ)
        yield Agent(folder / "c", environ)


def figures(quick: bool) -> list[Figure]:
    """The figures of the client."""
    rounds = 5 if quick else 15
    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name, agent(Path(name)) as made:
        return [
            _idle(made, rounds),
            *_poll(made, rounds),
            _submit(made, rounds),
            *_collect(made, 3 if quick else 7),
            _isolation(3 if quick else 7),
        ]


def _idle(made: Agent, rounds: int) -> Figure:
    ratios, ours, bare = processes.against_bare_python(
        [str(BIN / "qlmdm-client-cron")], made.environ, rounds=rounds, before=made.idle
    )
    return Figure(
        what="qlmdm-client-cron, nothing due: CPU against a bare interpreter",
        values=ratios,
        budget=3.0,
        detail=f"{ours * 1000:.1f} ms against {bare * 1000:.1f} ms",
    )


def _poll(made: Agent, rounds: int) -> list[Figure]:
    def before() -> None:
        made.due(poll=True, collect=False)

    command = [str(BIN / "qlmdm-client-cron")]
    ratios, ours, bare = processes.against_bare_python(
        command, made.environ, rounds=rounds, before=before
    )
    peaks = []
    for _ in range(3):
        before()
        peaks.append(processes.run(command, made.environ, watch=True).peak_rss / 1e6)
    return [
        Figure(
            what="qlmdm-client-cron, a poll: CPU against a bare interpreter",
            values=ratios,
            budget=15.0,
            detail=f"{ours * 1000:.0f} ms against {bare * 1000:.1f} ms, gpg and gpgv included",
        ),
        Figure(
            what="qlmdm-client-cron, a poll: peak memory of all its processes",
            values=tuple(peaks),
            budget=60.0,
            unit=" MB",
        ),
    ]


def _submit(made: Agent, rounds: int) -> Figure:
    from qlmdm_core.client.spool import Spool

    record = {
        "collected_at": "2026-11-01T12:00:00+00:00",
        "collectors": {
            f"bench_{n}": {
                "status": "ok",
                "value": {"state": "available", "text": "x" * 1200},
                "collected_at": "2026-11-01T12:00:00+00:00",
                "seconds": 0.1,
            }
            for n in range(20)
        },
    }
    numbers = iter(range(10**6))

    def before() -> None:
        with Spool(str(made.state / "spool"), max_bytes=10**8, max_age=1e9) as spool:
            spool.put({**record, "rid": f"00000000-0000-4000-8000-{next(numbers):012d}"})

    ratios, ours, bare = processes.against_bare_python(
        [str(BIN / "qlmdm-submit")], made.environ, rounds=rounds, before=before
    )
    return Figure(
        what="qlmdm-submit, one record of 25 kB: CPU against a bare interpreter",
        values=ratios,
        detail=f"{ours * 1000:.0f} ms against {bare * 1000:.1f} ms, gpg and gpgv included",
    )


COLLECT = """
import os, resource, sys
from qlmdm_core import settings
from qlmdm_core.client.collect import collect
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.host.real import RealHost

class Weighed(RealHost):
    def run(self, argv, **options):
        result = super().run(argv, **options)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        with open(os.path.join(sys.argv[1], str(os.getpid())), "w") as file:
            file.write(str(used.ru_utime + used.ru_stime))
        return result

only = sys.argv[2:] or None
outcome = collect(
    settings.defaults(StandaloneSettings),
    only=only,
    make_host=lambda name, find_distro: Weighed(distro=find_distro),
)
assert len(outcome.results) == len(only) if only else len(outcome.results) > 10
"""


def _collect(made: Agent, rounds: int) -> list[Figure]:
    ratios, ours, bare = _own_part(made.state.parent, rounds)
    real = [str(BIN / "qlmdm-collect"), "--stdout"]
    costs = [processes.run(real, made.environ, watch=True) for _ in range(3)]
    slowest = _slowest(made)
    return [
        Figure(
            what="a full collect, our own part: CPU against a bare interpreter",
            values=ratios,
            budget=40.0,
            detail=f"{ours * 1000:.0f} ms against {bare * 1000:.1f} ms",
        ),
        Figure(
            what="a full collect: peak memory of all its processes",
            values=tuple(cost.peak_rss / 1e6 for cost in costs),
            budget=150.0,
            unit=" MB",
            detail=f"CPU with all commands {statistics.median(c.cpu for c in costs):.2f} s",
        ),
        Figure(
            what="a full collect: wall time beyond the slowest collector",
            values=tuple(cost.wall - slowest for cost in costs),
            budget=1.0,
            unit=" s",
            detail=f"{statistics.median(c.wall for c in costs):.2f} s, slowest {slowest:.2f} s",
        ),
        *_each_collector(made.state.parent, made.environ),
    ]


def _own_part(folder: Path, rounds: int) -> tuple[tuple[float, ...], float, float]:
    """The CPU of a collect, without that of the commands that collectors ran: each collector's
    process notes what its commands took so far."""
    ratios, ours, bare = [], [], []
    for _ in range(rounds):
        bare.append(processes.run(processes.bare_python()).cpu)
        ours.append(_weigh(folder)[0])
        ratios.append(ours[-1] / bare[-1])
    return tuple(ratios), statistics.median(ours), statistics.median(bare)


def _weigh(folder: Path, *only: str) -> tuple[float, float]:
    """The CPU seconds of one collect, our own and those of the commands that it started."""
    script = folder / "collect.py"
    script.write_text(COLLECT)
    with tempfile.TemporaryDirectory(dir=folder) as notes:
        whole = processes.run([sys.executable, str(script), notes, *only]).cpu
        commands = sum(float(note.read_text()) for note in Path(notes).iterdir())
    return whole - commands, commands


def _each_collector(folder: Path, environ: Mapping[str, str]) -> list[Figure]:
    """What each adds to a collect by itself: its own work against a bare interpreter."""
    listed = subprocess.run(
        [str(BIN / "qlmdm-collect"), "--explain", "--json"],
        env={**os.environ, **environ},
        capture_output=True,
        check=True,
    )
    bare = statistics.median(processes.run(processes.bare_python()).cpu for _ in range(5))
    # A collector that is off costs a collect and no work.
    empty = statistics.median(_weigh(folder, "geolocation")[0] for _ in range(5))
    figures = []
    for entry in json.loads(listed.stdout)["collectors"]:
        costs = [_weigh(folder, entry["name"]) for _ in range(3)]
        commands = statistics.median(cost[1] for cost in costs)
        figures.append(
            Figure(
                what=f"collector {entry['name']}: its own CPU against a bare interpreter",
                values=tuple(max(0.0, own - empty) / bare for own, _ in costs),
                detail=f"and {commands * 1000:.0f} ms in its commands",
            )
        )
    return figures


def _slowest(made: Agent) -> float:
    done = subprocess.run(
        [str(BIN / "qlmdm-collect"), "--stdout"],
        env={**os.environ, **made.environ},
        capture_output=True,
        check=True,
    )
    results = json.loads(done.stdout)["collectors"]
    return max(result.get("seconds", 0.0) for result in results.values())


def _isolation(rounds: int) -> Figure:
    """Twenty collectors that do nothing, each isolated, against twenty interpreters."""
    from qlmdm_core.testing import write_distribution

    with tempfile.TemporaryDirectory(prefix="qlmdm-b-") as name:
        source = (
            "from qlmdm_core import Collector, hookimpl\n"
            "def collect(host):\n    return {'state': 'ok'}\n"
            "@hookimpl\ndef qlmdm_register_collectors(settings):\n"
            "    return [Collector(name=f'bench_{n}', run=collect) for n in range(20)]\n"
        )
        write_distribution(
            name,
            "qlmdm-bench",
            entry_points={"qlmdm_client": "bench = qlmdm_bench_plugin"},
            modules={"qlmdm_bench_plugin": source},
        )
        script = Path(name) / "isolate.py"
        script.write_text(
            "import sys\n"
            f"sys.path.insert(0, {name!r})\n"
            "from qlmdm_core import plugins, settings\n"
            "from qlmdm_core.client.isolation import run_collectors\n"
            "from qlmdm_core.client.settings import StandaloneSettings\n"
            "from qlmdm_core.host.real import RealHost\n"
            "entries = [e for e in plugins.discover('qlmdm_client')"
            " if e.distribution == 'qlmdm-bench']\n"
            "def run(n):\n"
            "    for _ in range(n):\n"
            "        outcome = run_collectors(entries,"
            " settings=settings.defaults(StandaloneSettings),"
            " host_factory=lambda name, find: RealHost())\n"
            "        assert len(outcome.results) == 20, outcome\n"
            "run(int(sys.argv[1]))\n"
        )
        ratios, ours = [], []
        for _ in range(rounds):
            # The parent is warm: what one more collect costs is the difference.
            one = processes.run([sys.executable, str(script), "1"]).cpu
            eleven = processes.run([sys.executable, str(script), "11"]).cpu
            twenty = sum(processes.run(processes.bare_python()).cpu for _ in range(20))
            ours.append((eleven - one) / 10)
            ratios.append(ours[-1] / twenty)
    return Figure(
        what="20 collectors, isolated: CPU against 20 interpreter starts",
        values=tuple(ratios),
        budget=0.2,
        detail=f"{statistics.median(ours) * 1000:.0f} ms",
    )
