"""A folder of recorded machines, each with the whole report that is expected of it.

A machine of such a corpus is a recorded machine (docs/recordings.md) with one more file,
`expected.json`: what `qlmdm-collect --replay DIR --json` prints, without the two members that
differ from run to run. A `settings.yml` beside it is used as the client's settings.

Example::

    @pytest.mark.parametrize("machine", corpus.machines(Path("tests/machines")), ids=str)
    def test_report(machine):
        found = corpus.Collectors().report(machine)
        assert corpus.differences(machine.expected(), found) == []
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from qlmdm_core import osrelease, plugins, settings
from qlmdm_core.api import JSON, Collector, DistroAdapter
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.hookspecs import CLIENT_GROUP, client
from qlmdm_core.host.recorded import read_recording
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.settings import Loaded

EXPECTED = "expected.json"
SETTINGS = "settings.yml"
_VARYING = ("collected_at", "seconds")
_MOST_SECONDS = 60.0


@dataclass(frozen=True)
class Machine:
    """One machine of a corpus."""

    path: Path

    def __str__(self) -> str:
        return self.path.name

    @property
    def note(self) -> str:
        """What the recording says of itself."""
        return read_recording(str(self.path)).note

    @property
    def root(self) -> bool:
        """Whether its collectors ran as root."""
        return read_recording(str(self.path)).root

    def expected(self) -> JSON:
        """The report that is stored as right. Raises `OSError` if there is none yet."""
        return json.loads((self.path / EXPECTED).read_text(encoding="utf-8"))

    def expect(self, report: JSON) -> None:
        """Store a report as the one that is right."""
        text = json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (self.path / EXPECTED).write_text(text, encoding="utf-8")


def machines(folder: Path) -> list[Machine]:
    """The machines in a folder, by name."""
    return [Machine(path.parent) for path in sorted(folder.glob("*/machine.json"))]


class Collectors:
    """The collectors of all installed plugins, to run on machines in this process: fast, and
    without the isolation that the command has. Make one for all machines."""

    def __init__(self, host: Callable[..., ReplayHost] = ReplayHost) -> None:
        """`host` may be a kind of host that notes what it is asked."""
        self._host = host
        self._found = plugins.load_all(CLIENT_GROUP, client)

    def report(self, machine: Machine, only: Collection[str] = ()) -> JSON:
        """The report of a machine now; of some collectors, if named."""
        loaded = _settings(machine)
        self._found.register_settings(loaded)
        hook = "qlmdm_register_collectors"
        results = {
            collector.name: self._result(collector, machine, loaded)
            for _, collector in self._found.named(hook, "collector", settings=loaded)
            if not only or collector.name in only
        }
        failures = [asdict(failure) for failure in self._found.failures]
        return {"collectors": results, "failures": failures}

    def _result(
        self, collector: Collector, machine: Machine, loaded: Loaded[StandaloneSettings]
    ) -> dict[str, JSON]:
        def distro() -> DistroAdapter | None:
            adapters = self._found.call("qlmdm_register_distros", settings=loaded)
            return plugins.choose_distro(adapters, osrelease.read(host)).adapter

        host = self._host(machine.path, distro=distro)
        private: dict[str, JSON] = {"private": True} if collector.private else {}
        try:
            value = json.loads(json.dumps(collector.run(host), allow_nan=False))
        except Exception as error:  # noqa: BLE001 - as for the command: its failure is a result
            return {"status": "error", "error": repr(error), **private}
        return {"status": "ok", "value": value, **private}


def _settings(machine: Machine) -> Loaded[StandaloneSettings]:
    path = machine.path / SETTINGS
    if path.exists():
        return settings.load(str(path), StandaloneSettings)
    return settings.defaults(StandaloneSettings)


def by_command(machine: Machine) -> JSON:
    """The report of a machine now, by the real command: as it is on a client.

    Raises `RuntimeError` if the command fails, with what it said.
    """
    command = Path(sys.executable).parent / "qlmdm-collect"
    argv = [str(command), "--replay", str(machine.path), "--json"]
    if (machine.path / SETTINGS).exists():
        argv += ["--settings", str(machine.path / SETTINGS)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("QLMDM_")}
    done = subprocess.run(
        argv, capture_output=True, text=True, env=environ, timeout=_MOST_SECONDS, check=False
    )
    if done.returncode != 0 or done.stderr:
        raise RuntimeError(f"{' '.join(argv)}: exit status {done.returncode}: {done.stderr}")
    report = json.loads(done.stdout)
    for result in report["collectors"].values():
        for member in _VARYING:
            result.pop(member)
    return report


def differences(expected: JSON, found: JSON, where: str = "") -> list[str]:
    """What differs between two reports, one line for each place."""
    if isinstance(expected, dict) and isinstance(found, dict):
        lines = []
        for key in sorted({*expected, *found}):
            place = f"{where}.{key}" if where else key
            if key not in found:
                lines.append(f"{place}: missing, expected {_text(expected[key])}")
            elif key not in expected:
                lines.append(f"{place}: not expected, found {_text(found[key])}")
            else:
                lines += differences(expected[key], found[key], place)
        return lines
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for n, (a, b) in pairs for line in differences(a, b, f"{where}[{n}]")]
    # 1 and true are equal in Python, and different in a report.
    if _text(expected) == _text(found):
        return []
    return [f"{where}: expected {_text(expected)}, found {_text(found)}"]


def _text(value: JSON) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
