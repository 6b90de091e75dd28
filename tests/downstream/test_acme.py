"""A stranger's plugins, built and installed as a stranger would, beside ours from wheels."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from qlmdm_core.testing import RecordedMachine

ROOT = Path(__file__).parents[2]
ACME = ROOT / "examples/qlmdm_acme"
OURS = sorted(path.parent for path in ROOT.glob("qlmdm_*/pyproject.toml"))


def run(
    *command: str | Path, cwd: Path | None = None, status: tuple[int, ...] = (0,), **env: str
) -> str:
    """Run a program in a nearly empty environment; its output, or a failed test with it."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd or "/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode in status, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


def declared(requirements: list[str] | None, extras: set[str]) -> Iterator[Requirement]:
    """Those requirements that hold here, with these extras."""
    for text in requirements or []:
        requirement = Requirement(text)
        contexts: list[dict[str, str]] = [{"extra": extra} for extra in (extras or {""})]
        marker = requirement.marker
        if marker is None or any(marker.evaluate(context) for context in contexts):
            yield requirement


def dependencies(projects: list[importlib.metadata.Distribution]) -> set[str]:
    """The names of all third-party distributions that these declare, however indirectly."""
    found: set[str] = set()
    pending = [r for project in projects for r in declared(project.requires, {"", "server"})]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and not name.startswith("qlmdm-"):
            found.add(name)
            requires = importlib.metadata.distribution(name).requires
            pending += declared(requires, requirement.extras)
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with our wheels, ACME's, and what they declare.

    The declared dependencies are links to those of the environment that runs the tests, so
    that nothing is downloaded; whatever else it has is not there.
    """
    folder = tmp_path_factory.mktemp("downstream")
    wheels = folder / "wheels"
    for project in [*OURS, ACME]:
        command = ("-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, project)
        run(sys.executable, *command)
    fresh = folder / "with a space"
    venv.create(fresh, symlinks=True)
    python = fresh / "bin/python"
    offline = ("--no-index", "--no-deps", "--disable-pip-version-check", "--no-compile")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", *offline)
    run(*pip, *sorted(wheels.glob("*.whl")))
    links = folder / "dependencies"
    links.mkdir()
    for name in dependencies([importlib.metadata.distribution("qlmdm-core")]):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (links / top).exists():
                (links / top).symlink_to(Path(str(distribution.locate_file(top))))
    (site,) = fresh.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(f"{links}\n")
    return fresh / "bin"


@pytest.fixture(scope="module")
def plugins(installed: Path) -> dict[tuple[str, str], dict[str, Any]]:
    text = run(installed / "qlmdm-plugins", "--json", status=(0, 1))
    rows = json.loads(text)["plugins"]
    return {(row["side"], row["distribution"]): row for row in rows}


def test_the_collector_takes_less_than_30_lines_over_two_files() -> None:
    files = (ACME / "pyproject.toml", ACME / "src/qlmdm_acme/client.py")
    lines = [line for path in files for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) < 30


def test_what_acme_gives_is_shown(plugins: dict[tuple[str, str], dict[str, Any]]) -> None:
    client, server = plugins["client", "qlmdm-acme"], plugins["server", "qlmdm-acme"]
    assert (client["state"], client["collectors"]) == ("ok", ["acme_badge"])
    assert (server["state"], server["checks"]) == ("ok", ["acme-badge-missing"])
    assert (server["notifiers"], server["settings"]) == (["acme-log"], ["acme"])
    assert (client["version"], client["entry_point"]) == ("1.0", "acme")


def test_ours_work_from_wheels(plugins: dict[tuple[str, str], dict[str, Any]]) -> None:
    ours = {row["distribution"] for row in plugins.values()} - {"qlmdm-acme"}
    assert ours == {path.name.replace("_", "-") for path in OURS} - {"qlmdm-core"}
    assert [row["error"] for row in plugins.values() if row["error"]] == []


COLLECT = """
import json, sys
from qlmdm_core import settings
from qlmdm_core.client.isolation import run_collectors
from qlmdm_core.client.settings import StandaloneSettings
from qlmdm_core.host.replay import ReplayHost
from qlmdm_core.plugins import discover

outcome = run_collectors(
    discover("qlmdm_client"),
    settings=settings.defaults(StandaloneSettings),
    host_factory=lambda name, find_distro: ReplayHost(sys.argv[1], distro=find_distro),
    only=["acme_badge"],
)
print(json.dumps({name: [r.status, r.value] for name, r in outcome.results.items()}))
"""


def test_what_acme_collects_is_in_the_report(installed: Path, tmp_path: Path) -> None:
    machine = RecordedMachine(tmp_path / "machine").file("/etc/acme/badge", "4711\n").write()
    answer = run(installed / "python", "-I", "-c", COLLECT, machine)
    value = {"state": "present", "number": "4711"}
    assert json.loads(answer) == {"acme_badge": ["ok", value]}


def test_acmes_own_tests_pass() -> None:
    paths = os.pathsep.join([str(ACME / "src"), str(ROOT / "qlmdm_core/src")])
    run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"),
        cwd=ACME,
        PYTHONPATH=paths,
        PYTHONDONTWRITEBYTECODE="1",
    )
