"""docs/kit.md lists the whole kit, and its listings work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from qlmdm_core import testing
from qlmdm_core.plugins.check.findings import RULES
from qlmdm_core.testing import pytest_plugin

PAGE = Path(__file__).parents[2] / "docs/kit.md"
TEXT = PAGE.read_text()


def table(heading: str) -> dict[str, str]:
    """The rows of a table, by their first cell."""
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert found
    rows = [[cell.strip() for cell in row.split(" | ")] for row in found[1].splitlines()]
    return {row[0].strip("|` "): row[1].strip("| ") for row in rows}


def listing(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found[1]


def test_every_rule_is_listed_as_it_is() -> None:
    assert {rule: text.replace("`", "") for rule, text in table("rule").items()} == dict(RULES)


def test_every_fixture_is_listed_here_and_in_its_module() -> None:
    source = Path(pytest_plugin.__file__).read_text()
    public = set(re.findall(r"@pytest\.fixture(?:\(.*\))?\ndef ([a-z]\w*)\(", source))
    assert set(table("fixture")) == public
    listed = re.findall(r"^\| (`.*?`) \|", pytest_plugin.__doc__ or "", re.MULTILINE)
    assert {name.strip("` ") for cell in listed for name in cell.split(",")} == public


def test_every_name_of_the_kit_is_listed_and_there() -> None:
    for name in testing.__all__:
        assert getattr(testing, name)
        assert f"`{name}`" in TEXT or name == "ReplayHost", name


def test_the_suite_of_engines_runs_as_listed(tmp_path: Path) -> None:
    source = "from qlmdm_core.store.sqlite import open_sqlite as open_mine\n" + listing("python")
    opener = '"mine.store:open_mine"'
    assert opener in source
    source = source.replace(opener, '"qlmdm_core.store.open:open_store"')
    (tmp_path / "test_mine.py").write_text(source)
    (tmp_path / "pyproject.toml").write_text(listing("toml"))
    chosen = ("-k", "lease or kill_9")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^1\d passed", done.stdout, re.MULTILINE), done.stdout
    assert "skipped" not in done.stdout
