"""A stranger's plugins, built and installed as a stranger would, beside ours from wheels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.testing import RecordedMachine

ROOT = Path(__file__).parents[2]
ACME = ROOT / "examples/qlmdm_acme"
pytestmark = pytest.mark.timeout(600)  # the first test waits for an environment to be made
OURS = {path.parent.name.replace("_", "-") for path in ROOT.glob("qlmdm_*/pyproject.toml")}
EXAMPLES = {path.parent.name.replace("_", "-") for path in ROOT.glob("examples/*/pyproject.toml")}
Run = Callable[..., str]


@pytest.fixture(scope="module")
def plugins(site: Path, run: Run) -> dict[tuple[str, str], dict[str, Any]]:
    text = run(site / "qlmdm-plugins", "--json", status=(0, 1))
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
    assert "qlmdm_register_routes" in server["hooks"]
    assert (client["version"], client["entry_point"]) == ("1.0", "acme")


def test_ours_work_from_wheels(plugins: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert {row["distribution"] for row in plugins.values()} == {*OURS, *EXAMPLES} - {"qlmdm-core"}
    assert [row["error"] for row in plugins.values() if row["error"]] == []


def test_what_acme_collects_is_in_the_report(site: Path, tmp_path: Path, run: Run) -> None:
    machine = RecordedMachine(tmp_path / "machine").file("/etc/acme/badge", "4711\n").write()
    report = json.loads(run(site / "qlmdm-collect", "--replay", machine, "--json"))
    badge = report["collectors"]["acme_badge"]
    assert (badge["status"], badge["value"]) == ("ok", {"state": "present", "number": "4711"})
