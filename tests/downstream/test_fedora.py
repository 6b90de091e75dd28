"""A stranger's adapter to a family of distributions, installed from its wheel beside ours."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.testing import RecordedMachine

ROOT = Path(__file__).parents[2]
FEDORA = ROOT / "examples/qlmdm_fedora"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def installed(
    environment: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory, run: Run
) -> Path:
    """The bin folder of an environment with everything of ours, and the adapter."""
    bin_folder = environment(["qlmdm_core-*.whl", "qlmdm_plugins_*.whl"])
    folder = tmp_path_factory.mktemp("fedora")
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, FEDORA)
    run(sys.executable, *build)
    (wheel,) = folder.glob("*.whl")
    offline = ("--no-index", "--no-deps", "--disable-pip-version-check", "--no-compile")
    pip = (sys.executable, "-m", "pip", "--python", bin_folder / "python")
    run(*pip, "install", *offline, wheel)
    return bin_folder


def machine(path: Path) -> RecordedMachine:
    """A Fedora whose lists are an hour old, and on which one update waits."""
    built = RecordedMachine(path, recorded_at="2026-11-01T12:00:00+00:00")
    built.file("/etc/os-release", "ID=fedora\nVERSION_ID=44\nSUPPORT_END=2027-05-19\n")
    built.file("/etc/yum.repos.d/fedora.repo", "[updates]\nenabled=1\n")
    where = "/var/cache/dnf/updates-00112233445566ff/repodata/repomd.xml"
    built.file(where, '<data type="updateinfo"/>', mtime=1793534400 - 3600)
    text = "curl.x86_64        8.18.0-3.fc44        updates\n"
    return built.command(["dnf", "-C", "check-update"], text, returncode=100)


def updates(installed: Path, folder: Path, run: Run) -> dict[str, Any]:
    report = json.loads(run(installed / "qlmdm-collect", "--replay", folder, "--json"))
    entry = report["collectors"]["os_updates"]
    assert entry["status"] == "ok"
    return dict(entry["value"])


def test_what_it_gives_is_shown(installed: Path, run: Run) -> None:
    rows = json.loads(run(installed / "qlmdm-plugins", "--json", status=(0, 1)))["plugins"]
    (row,) = [row for row in rows if row["distribution"] == "qlmdm-fedora"]
    assert (row["side"], row["state"], row["distros"]) == ("client", "ok", ["fedora"])


def test_it_keeps_the_contract(installed: Path, run: Run) -> None:
    said = run(installed / "qlmdm-plugins", "check", "qlmdm-fedora")  # else it exits 1
    assert "register_distros" in said


def test_a_machine_of_the_family_is_asked_by_it(installed: Path, tmp_path: Path, run: Run) -> None:
    value = updates(installed, machine(tmp_path / "machine").write(), run)
    assert (value["adapter"], value["state"], value["updates"]) == (
        "fedora",
        "updates_available",
        1,
    )
    assert value["cache_age_seconds"] == 3600
    assert value["supported_until"] == "2027-05-18"


def test_other_machines_are_not(installed: Path, tmp_path: Path, run: Run) -> None:
    built = machine(tmp_path / "machine")
    built.file("/etc/os-release", "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n")
    assert updates(installed, built.write(), run)["adapter"] == "ubuntu"


def test_its_own_tests_pass(tmp_path: Path, run: Run) -> None:
    paths = os.pathsep.join([str(FEDORA / "src"), str(ROOT / "qlmdm_core/src")])
    run(
        # Its author has no pytest-timeout, which this repository's own configuration asks for.
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:timeout"),
        cwd=FEDORA,
        PYTHONPATH=paths,
        PYTHONDONTWRITEBYTECODE="1",
        HYPOTHESIS_STORAGE_DIRECTORY=str(tmp_path),
    )


def test_the_listing_in_its_readme_works(tmp_path: Path, run: Run) -> None:
    text = (FEDORA / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)(?:^(?: {4}.*)?\n)+", text)
    (listing,) = [block for block in blocks if "RecordedMachine" in block]
    code = f"folder = {str(tmp_path)!r}\n{textwrap.dedent(listing)}"
    paths = os.pathsep.join([str(FEDORA / "src"), str(ROOT / "qlmdm_core/src")])
    run(sys.executable, "-c", code, PYTHONPATH=paths, PYTHONDONTWRITEBYTECODE="1")


def test_what_its_readme_says_to_type_works(installed: Path, tmp_path: Path, run: Run) -> None:
    folder = machine(tmp_path / "machine").write()
    text = (FEDORA / "README.md").read_text(encoding="utf-8")
    assert "`qlmdm-collect --replay DIR --only os_updates`" in text
    said = run(installed / "qlmdm-collect", "--replay", folder, "--only", "os_updates")
    assert "updates_available" in said
