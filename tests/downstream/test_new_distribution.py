"""What `qlmdm-plugins new` writes works at once: its own tests, and the check of the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.testing import RecordedMachine

from .conftest import build_wheel

Run = Callable[..., str]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def project(environment: Callable[..., Path], run: Run, tmp_path_factory: Any) -> tuple[Path, Path]:
    """The folder of a new distribution, and an environment in which it is installed."""
    folder = tmp_path_factory.mktemp("new") / "a folder"
    folder.mkdir()
    writer = environment(["qlmdm_core-*.whl"])
    said = run(writer / "qlmdm-plugins", "new", "acme-label", "--directory", folder)
    written = folder / "qlmdm_acme_label"
    assert str(written) in said
    wheel = build_wheel(written, folder)
    ours = ["qlmdm_core-*.whl", "qlmdm_plugins_*.whl"]
    return written, environment(ours, more=[wheel], testing=True)


def test_it_passes_its_own_tests(project: tuple[Path, Path], run: Run) -> None:
    folder, site = project
    options = ("-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=importlib")
    output = run(site / "python", "-m", "pytest", *options, cwd=folder)
    found = re.search(r"^(\d+) passed", output, re.MULTILINE)
    assert found, output
    assert int(found[1]) >= 10


def test_it_keeps_the_contract(project: tuple[Path, Path], run: Run) -> None:
    _, site = project
    text = run(site / "qlmdm-plugins", "check", "qlmdm-acme-label", "--json", seconds=300)
    told = json.loads(text)
    states = {finding["rule"]: finding["state"] for finding in told["findings"]}
    assert told["version"] == "0.1"
    assert {"values", "sides", "host", "edges", "absence", "pure", "settings"} <= set(states)
    assert {rule for rule, state in states.items() if state != "ok"} <= {"writes", "network"}


def test_what_it_collects_is_in_a_report_and_is_set(
    project: tuple[Path, Path], run: Run, tmp_path: Path
) -> None:
    _, site = project
    settings = tmp_path / "settings.yml"
    settings.write_text(
        "server_url: https://example.com\nplugins: {acme_label: {file: /srv/label}}\n"
    )
    machine = RecordedMachine(tmp_path / "machine").file("/srv/label", "L-1").write()
    command = (site / "qlmdm-collect", "--settings", settings, "--replay", machine, "--json")
    report = json.loads(run(*command, "--only", "acme_label"))
    assert report["collectors"]["acme_label"]["value"]["label"] == "L-1"


def test_the_readme_names_what_is_there(project: tuple[Path, Path]) -> None:
    folder, _ = project
    text = (folder / "README.md").read_text()
    assert "{{" not in text
    for path in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE):
        assert (folder / path).exists(), path
