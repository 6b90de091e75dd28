"""The tests of a collector, and of what installs releases, notice when it is broken in the middle.

Each YAML file here lists mutants of one subject: a text that occurs once in a source file,
what it becomes, and the tests that must then fail. A mutant that no test notices is a hole in
the tests. The sources stay as they are: a mutant lives in a copy that is imported instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
MUST_HAVE = {
    *("firewall", "guest_session", "hd_encryption", "os_updates", "screenlock", "sshd"),
    "installer",
}
AT_LEAST = 3
PASSED, FAILED = 0, 1
"""Exit statuses of pytest; the others say that tests could not even be run."""


@dataclass(frozen=True)
class Mutant:
    """One change that must be noticed."""

    collector: str
    file: str
    was: str
    becomes: str
    tests: tuple[str, ...]
    why: str

    def apply(self, folder: Path) -> Path:
        """Copy the package that has the file, change the copy, and say where it can be imported."""
        source = ROOT / self.file
        root = next(parent for parent in source.parents if parent.name == "src")
        copy = folder / "src"
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns("__pycache__"))
        changed = copy / source.relative_to(root)
        text = changed.read_text(encoding="utf-8")
        assert text.count(self.was) == 1, f"{self.file}: {self.was!r} must occur once"
        changed.write_text(text.replace(self.was, self.becomes), encoding="utf-8")
        return copy


def mutants() -> list[Mutant]:
    found: list[Mutant] = []
    for path in sorted(FOLDER.glob("*.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            tests = tuple(entry.pop("tests"))
            found.append(Mutant(collector=path.stem, tests=tests, **entry))
    return found


def run_tests(copy: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run these tests with the copied package in place of the real one; stop at a failure."""
    options = ("-q", "-x", "-n0", "-p", "no:cacheprovider", "--no-header")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_subject_of_weight_has_mutants() -> None:
    counts = Counter(mutant.collector for mutant in mutants())
    assert {name: n for name in MUST_HAVE if (n := counts[name]) < AT_LEAST} == {}


def test_every_mutant_says_what_it_breaks() -> None:
    seen = Counter((m.file, m.was, m.becomes) for m in mutants())
    assert [key for key, times in seen.items() if times > 1] == []
    for mutant in mutants():
        assert mutant.why.strip()
        assert mutant.was != mutant.becomes
        assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.was) == 1, mutant


SAMPLE = [mutant for mutant in mutants() if mutant.collector == "installer"][:3]


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda m: m.why[:60])
def test_a_mutant_of_the_installer_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    """Some of them, in each run of the suite; `test_a_mutant_is_noticed` tries all."""
    done = run_tests(mutant.apply(tmp_path), mutant.tests)
    assert done.returncode == FAILED, f"{mutant}\n{done.stdout}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("collector", sorted({mutant.collector for mutant in mutants()}))
def test_an_unchanged_copy_passes(collector: str, tmp_path: Path) -> None:
    """Else a mutant might fail for being a copy."""
    ours = [mutant for mutant in mutants() if mutant.collector == collector]
    copy = Mutant(collector, ours[0].file, ours[0].was, ours[0].was, (), "nothing").apply(tmp_path)
    tests = tuple(sorted({test for mutant in ours for test in mutant.tests}))
    done = run_tests(copy, tests)
    assert done.returncode == PASSED, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", mutants(), ids=lambda m: f"{m.collector}: {m.why}"[:80])
def test_a_mutant_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    done = run_tests(mutant.apply(tmp_path), mutant.tests)
    assert done.returncode == FAILED, f"{mutant}\n{done.stdout}"
