"""The examples' own tests, as their authors would run them: installed, beside ours from wheels."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in ROOT.glob("examples/*/pyproject.toml"))
ELSEWHERE = ["qlmdm_fedora"]
"""Whose own tests `test_fedora.py` runs: they want hypothesis, which is no part of the kit."""
Run = Callable[..., str]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def own_tests(site: Path, tmp_path: Path, run: Run) -> Callable[[str], str]:
    """Runs the tests of an example, away from its sources: what is tested is what is installed."""

    def run_tests(example: str) -> str:
        folder = tmp_path / example
        shutil.copytree(ROOT / "examples" / example, folder, ignore=shutil.ignore_patterns("src"))
        options = ("-q", "-rs", "-p", "no:cacheprovider", "-W", "error")
        command = (site / "python", "-m", "pytest", *options)
        return run(*command, cwd=folder, seconds=500, PYTHONDONTWRITEBYTECODE="1")

    return run_tests


@pytest.mark.parametrize("example", sorted(set(EXAMPLES) - set(ELSEWHERE)))
def test_an_examples_own_tests_pass(own_tests: Callable[[str], str], example: str) -> None:
    output = own_tests(example)
    assert re.search(r"^\d+ passed", output, re.MULTILINE), output
    skipped = re.findall(r"^SKIPPED \[(\d+)\] .*\.py:\d+: (.*)", output, re.MULTILINE)
    if example == "qlmdm_memory_store":
        # What an engine in memory can't show is not said to be shown.
        assert sum(int(count) for count, _ in skipped) == 9
        assert {reason.partition(":")[0] for _, reason in skipped} == {"memory"}
    else:
        assert skipped == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_keeps_the_contract(site: Path, run: Run, example: str) -> None:
    run(site / "qlmdm-plugins", "check", example.replace("_", "-"), seconds=500)


def test_an_engine_of_somebody_else_is_opened_by_its_scheme(
    site: Path, run: Run, tmp_path: Path
) -> None:
    settings, answers = tmp_path / "settings.yml", tmp_path / "answers.yml"
    answers.write_text(f"url: http://127.0.0.1:1\ndirectory: {tmp_path}/s\n")
    run(site / "qlmdm-server-setup", "--answers", answers, "--settings", settings)
    text = re.sub(r"(?m)^store:.*$", "store: memory://fleet", settings.read_text())
    assert "memory://fleet" in text
    settings.write_text(text)
    command = '"$0" --settings "$1" list 2>&1'
    said = run("/bin/sh", "-c", command, site / "qlmdm-clients", settings, status=(2,))
    assert "there is no fleet in memory yet" in said
