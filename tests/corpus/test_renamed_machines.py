"""What is in a bug report about one of these machines names nobody, and concludes the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.host.redaction.rewrite import rewrite
from qlmdm_core.testing import corpus

MACHINES = corpus.machines(Path(__file__).parents[1] / "machines")


@pytest.fixture(scope="module")
def collectors() -> corpus.Collectors:
    return corpus.Collectors()


def states(report: Any) -> dict[str, Any]:
    return {
        name: (result["status"], (result.get("value") or {}).get("state"))
        for name, result in report["collectors"].items()
    }


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_collectors_conclude_the_same_from_a_renamed_machine(
    machine: corpus.Machine, collectors: corpus.Collectors, tmp_path: Path
) -> None:
    rewrite(str(machine.path), str(tmp_path / "renamed"))
    if (machine.path / corpus.SETTINGS).exists():
        shutil.copy(machine.path / corpus.SETTINGS, tmp_path / "renamed")
    renamed = corpus.Machine(tmp_path / "renamed")
    assert states(collectors.report(renamed)) == states(machine.expected())
