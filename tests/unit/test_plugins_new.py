"""`qlmdm-plugins new` writes where nothing is, under names that can be names."""

from __future__ import annotations

import ast
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlmdm_core.api import NAME
from qlmdm_core.errors import QlmdmError, UsageError
from qlmdm_core.plugins import scaffold


@pytest.mark.parametrize("name", ["acme-badge", "qlmdm-acme-badge"])
def test_a_distribution_is_written(tmp_path: Path, name: str) -> None:
    said = scaffold.write_project(name, str(tmp_path))
    folder = tmp_path / "qlmdm_acme_badge"
    assert said[0].startswith(str(folder))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        path.format(module="qlmdm_acme_badge", snake="acme_badge") for path in scaffold.FILES
    }
    for path in folder.rglob("*.py"):
        ast.parse(path.read_text())
    assert not any("{{" in path.read_text() for path in folder.rglob("*") if path.is_file())
    project = (folder / "pyproject.toml").read_text()
    assert 'name = "qlmdm-acme-badge"' in project
    assert "-p qlmdm_core.testing.pytest_plugin" in project


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    scaffold.write_project("acme", str(tmp_path))
    (tmp_path / "qlmdm_acme/README.md").write_text("mine")
    with pytest.raises(UsageError, match="is there already; nothing was written"):
        scaffold.write_project("acme", str(tmp_path))
    assert (tmp_path / "qlmdm_acme/README.md").read_text() == "mine"


def test_a_dangling_link_is_something_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "qlmdm_acme").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is there already"):
        scaffold.write_project("acme", str(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        scaffold.write_project("acme", str(tmp_path / "typo"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written_is_named() -> None:
    with pytest.raises(QlmdmError, match="/proc/qlmdm_acme: can't be written"):
        scaffold.write_project("acme", "/proc")


@pytest.mark.parametrize(
    "name",
    [
        *("", "Acme", "acme_badge", "acme badge", "-acme", "acme-", "a--b", "1st", "../x", "ä"),
        *("a/b", "qlmdm-", "x" * 41, "acme\n", "core", "qlmdm-core", "plugins-x", "agent"),
        "qlmdm-plugins-x",
    ],
)
def test_what_can_not_be_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(name))):
        scaffold.write_project(name, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)  # it writes files
@given(st.text() | st.from_regex(r"[a-z0-9-]{1,45}", fullmatch=True))
def test_any_name_is_refused_or_good(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            scaffold.write_project(name, folder)
        except UsageError:
            assert list(Path(folder).iterdir()) == []
        else:
            (made,) = Path(folder).iterdir()
            assert made.name.isidentifier()
            source = (made / "src" / made.name / "client.py").read_text()
            (collector,) = re.findall(r'Collector\(\s*name="([^"]*)"', source)
            (check,) = re.findall(
                r'AuditCheck\(\s*name="([^"]*)"',
                (made / "src" / made.name / "server.py").read_text(),
            )
            assert NAME.match(collector)
            assert NAME.match(check)
