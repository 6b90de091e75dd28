"""Core works, and says so plainly, without any plugin; and it holds none itself."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "qlmdm_core/src/qlmdm_core"
Run = Callable[..., str]
pytestmark = pytest.mark.timeout(600)  # the first test waits for an environment to be made


@pytest.fixture(scope="module")
def core(environment: Callable[..., Path]) -> Path:
    """The bin folder of an environment with qlmdm-core and nothing else of ours."""
    return environment(["qlmdm_core-*.whl"])


def scripts() -> list[str]:
    text = (ROOT / "qlmdm_core/pyproject.toml").read_text()
    return re.findall(r"^(qlmdm-[a-z-]+) = ", text, re.MULTILINE)


@pytest.mark.parametrize("script", scripts())
def test_every_command_has_help_and_a_version(core: Path, run: Run, script: str) -> None:
    assert run(core / script, "--version").startswith(script)
    text = run(core / script, "--help")
    assert f"usage: {script}" in text
    assert script == "qlmdm-plugins" or "examples:" in text


def test_a_report_without_plugins_is_empty_and_that_is_said(core: Path, run: Run) -> None:
    answer = run("/bin/sh", "-c", '"$0" --stdout 2>&1', core / "qlmdm-collect")
    said, _, report = answer.partition("{")
    assert "no plugin is installed" in said
    assert json.loads("{" + report)["collectors"] == {}


def test_a_server_without_plugins_audits_nothing_and_says_so(
    core: Path, run: Run, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yml"
    answers = tmp_path / "answers.yml"
    answers.write_text(f"url: http://127.0.0.1:1\ndirectory: {tmp_path}/s\n")
    run(core / "qlmdm-server-setup", "--answers", answers, "--settings", settings)
    command = '"$0" --settings "$1" 2>&1'
    said = run("/bin/sh", "-c", command, core / "qlmdm-audit", settings)
    assert "no plugin is installed that has any" in said
    assert "no clients yet" in run(core / "qlmdm-clients", "--settings", settings, "list")


def test_no_plugin_is_listed_as_none(core: Path, run: Run) -> None:
    assert json.loads(run(core / "qlmdm-plugins", "--json"))["plugins"] == []


def imports() -> Iterator[tuple[Path, str]]:
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield path, node.module


def test_core_imports_no_plugin() -> None:
    found = [(path.name, name) for path, name in imports() if name.startswith("qlmdm_plugins")]
    assert found == []


# The server builds and plans for clients, and does it with the very code that they read it by.
SHARED = (
    "qlmdm_core.client.commands.shipped",
    "qlmdm_core.client.settings",
    "qlmdm_core.client.transport",
    "qlmdm_core.client.release",
    "qlmdm_core.client.wipe",
)


def test_the_client_imports_nothing_of_the_server_and_the_other_way_round() -> None:
    crossing = [
        (str(path.relative_to(CORE)), name)
        for path, name in imports()
        for side, other in (("client", "server"), ("server", "client"))
        if path.is_relative_to(CORE / side)
        and name.startswith(f"qlmdm_core.{other}")
        and not (side == "server" and name.startswith(SHARED))
    ]
    assert crossing == []


PRODUCTS = "apt-get|dpkg|pacman|cryptsetup|gsettings|iptables|firewall-cmd|lightdm|/opt/eset"


def test_core_names_no_program_of_an_operating_system_or_product() -> None:
    found = [
        (str(path.relative_to(CORE)), line.strip())
        for path in CORE.rglob("*.py")
        # (What takes names out of recordings has to know what prints addresses.)
        # Wiping is core's own, so that no plugin has a hand in it: it names what it uses.
        if not {"testing", "redaction", "wipe"} & set(path.parts)
        for line in path.read_text().splitlines()
        if re.search(PRODUCTS, line)
    ]
    assert found == []
