"""The documents say what is so: generated pages, names of tests, links, commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# A class in a contract suite gives its tests to each engine, so a name is enough there.
NAMED_TEST = re.compile(r"`((?:[\w/]+/)?test_\w+\.py)::(?:\w+::)?(test_\w+)`")


def defined_tests() -> Iterator[tuple[str, str]]:
    """(file name, test name) of everything below tests/, and of the suites in the kit."""
    for path in [*(ROOT / "tests").rglob("*.py"), *ROOT.glob("qlmdm_core/src/**/testing/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield path.name, node.name


def test_every_test_that_a_document_names_exists() -> None:
    known = set(defined_tests())
    suites = {name for file, name in known if not file.startswith("test_")}
    named = [
        (path.name, file.rpartition("/")[2], test)
        for path in DOCS
        for file, test in NAMED_TEST.findall(path.read_text())
    ]
    assert len(named) > 50
    assert [n for n in named if (n[1], n[2]) not in known and n[2] not in suites] == []


def test_every_fault_has_a_test() -> None:
    """Each row of the tables in docs/reliability.md names one."""
    rows = [
        line
        for line in (ROOT / "docs/reliability.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| fault", "| situation"))
    ]
    assert len(rows) > 30
    known = set(defined_tests())
    for row in rows:
        *_, named, _ = row.split("|")  # the last column
        found = NAMED_TEST.findall(named)
        assert found, row
        assert [n for n in found if (n[0].rpartition("/")[2], n[1]) not in known] == [], row


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/write_docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


def test_the_machines_that_documents_name_exist() -> None:
    text = (ROOT / "docs/recordings.md").read_text(encoding="utf-8")
    named = re.findall(r"(?:expect|record_vm)\.py ([a-z][\w.-]+)", text)
    assert len(named) >= 2
    assert [name for name in named if not (ROOT / "tests/machines" / name).is_dir()] == []


def test_the_commands_that_documents_show_exist() -> None:
    pyproject = (ROOT / "qlmdm_core/pyproject.toml").read_text()
    scripts = set(re.findall(r"^(qlmdm-[a-z-]+) = ", pyproject, re.MULTILINE))
    shown = set()
    for path in DOCS:
        for block in re.findall(r"```\w*\n(.*?)```", path.read_text(), re.DOTALL):
            shown |= set(re.findall(r"^(?:\./dev run )?(qlmdm-[a-z-]+)\b", block, re.MULTILINE))
    assert shown
    assert shown - scripts == set()
