"""A stranger's plugins, built and installed as a stranger would, beside ours from wheels."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.testing import RecordedMachine

ROOT = Path(__file__).parents[2]
ACME = ROOT / "examples/qlmdm_acme"
OURS = {path.parent.name.replace("_", "-") for path in ROOT.glob("qlmdm_*/pyproject.toml")}
Run = Callable[..., str]


@pytest.fixture(scope="module")
def installed(environment: Callable[..., Path]) -> Path:
    """The bin folder of an environment with everything of ours, and ACME's."""
    return environment(["*.whl"])


@pytest.fixture(scope="module")
def plugins(installed: Path, run: Run) -> dict[tuple[str, str], dict[str, Any]]:
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
    assert ours == OURS - {"qlmdm-core"}
    assert [row["error"] for row in plugins.values() if row["error"]] == []


def test_what_acme_collects_is_in_the_report(installed: Path, tmp_path: Path, run: Run) -> None:
    machine = RecordedMachine(tmp_path / "machine").file("/etc/acme/badge", "4711\n").write()
    report = json.loads(run(installed / "qlmdm-collect", "--replay", machine, "--json"))
    badge = report["collectors"]["acme_badge"]
    assert (badge["status"], badge["value"]) == ("ok", {"state": "present", "number": "4711"})


def test_acmes_own_tests_pass(run: Run) -> None:
    paths = os.pathsep.join([str(ACME / "src"), str(ROOT / "qlmdm_core/src")])
    run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"),
        cwd=ACME,
        PYTHONPATH=paths,
        PYTHONDONTWRITEBYTECODE="1",
    )
