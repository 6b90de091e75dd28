"""`qlmdm-collect --explain`: what a person is told; plugins may be broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from qlmdm_core.hookspecs import CLIENT_GROUP
from qlmdm_core.testing import write_distribution

COLLECT = str(Path(sys.executable).parent / "qlmdm-collect")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """With a plugin that can't be imported."""
    write_distribution(
        tmp_path / "plugin",
        "acme",
        entry_points={CLIENT_GROUP: "main = acme"},
        modules={"acme": textwrap.dedent("raise ImportError('no badge reader')")},
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path / "plugin")}


def explain(environ: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COLLECT, "--explain", *options], env=environ, capture_output=True, text=True, check=True
    )


def test_a_broken_plugin_is_told_and_the_others_are_explained(environ: dict[str, str]) -> None:
    said = explain(environ).stdout
    assert "no badge reader" in said
    assert "screenlock (qlmdm-plugins-builtin; every 5 minutes)" in said
    data = json.loads(explain(environ, "--json").stdout)
    assert [failure["distribution"] for failure in data["failures"]] == ["acme"]


def test_what_the_server_learns_without_collectors_is_told(environ: dict[str, str]) -> None:
    said = " ".join(explain(environ).stdout.split())
    assert "a hash of machine-id and product UUID: to notice that a machine was cloned" in said
    assert "`" not in said
    beside = json.loads(explain(environ, "--json").stdout)["beside"]
    assert {"what": "when it was last heard of", "why": "To notice machines that are silent."} in (
        beside
    )
