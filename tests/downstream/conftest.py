"""Fresh environments, as a site has them: wheels that are built here, and what they declare."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = sorted(path.parent for path in ROOT.glob("qlmdm_*/pyproject.toml"))
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))


def run_bare(
    *command: str | Path,
    cwd: Path | None = None,
    status: tuple[int, ...] = (0,),
    seconds: float = 100,
    **env: str,
) -> str:
    """Run a program in a nearly empty environment; its output, or a failed test with it."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd or "/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **env},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert result.returncode in status, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


def declared(requirements: list[str] | None, extras: set[str]) -> Iterator[Requirement]:
    """Those requirements that hold here, with these extras."""
    for text in requirements or []:
        requirement = Requirement(text)
        contexts: list[dict[str, str]] = [{"extra": extra} for extra in (extras or {""})]
        marker = requirement.marker
        if marker is None or any(marker.evaluate(context) for context in contexts):
            yield requirement


def dependencies(projects: list[importlib.metadata.Distribution], *extras: str) -> set[str]:
    """The names of all third-party distributions that these declare, however indirectly."""
    found: set[str] = set()
    pending = [r for project in projects for r in declared(project.requires, {"", *extras})]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and not name.startswith("qlmdm-"):
            found.add(name)
            requires = importlib.metadata.distribution(name).requires
            pending += declared(requires, requirement.extras)
    return found


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of our distributions and of the examples, each built once."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in [*OURS, *EXAMPLES]:
        build_wheel(project, folder)
    return folder


def build_wheel(project: Path, folder: Path) -> Path:
    """Build a wheel into a folder, offline; where it is."""
    before = set(folder.glob("*.whl"))
    command = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, project)
    run_bare(sys.executable, *command)
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


@pytest.fixture(scope="session")
def environment(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a fresh environment with the wheels that match these patterns; its bin folder.

    `more` are wheels of others; `testing`: it has what the extra of that name declares, too;
    `tools` are distributions that it has besides.
    The declared dependencies are links to those of the environment that runs the tests, so
    that nothing is downloaded; whatever else that has is not there.
    """

    def make(
        patterns: Sequence[str],
        *,
        more: Sequence[Path] = (),
        testing: bool = False,
        tools: Sequence[str] = (),
    ) -> Path:
        folder = tmp_path_factory.mktemp("downstream")
        fresh = folder / "with a space"
        venv.create(fresh, symlinks=True)
        python = fresh / "bin/python"
        offline = ("--no-index", "--no-deps", "--disable-pip-version-check", "--no-compile")
        chosen = sorted(path for pattern in patterns for path in wheels.glob(pattern))
        chosen += more
        run_bare(sys.executable, "-m", "pip", "--python", python, "install", *offline, *chosen)
        links = folder / "dependencies"
        links.mkdir()
        extras = ("server", "testing") if testing else ("server",)
        needed = dependencies([importlib.metadata.distribution("qlmdm-core")], *extras)
        needed |= {*tools, *dependencies(list(map(importlib.metadata.distribution, tools)))}
        for name in needed:
            distribution = importlib.metadata.distribution(name)
            for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
                if not (links / top).exists():
                    (links / top).symlink_to(Path(str(distribution.locate_file(top))))
        (site,) = fresh.glob("lib/python3*/site-packages")
        (site / "dependencies.pth").write_text(f"{links}\n")
        return fresh / "bin"

    return make


@pytest.fixture(scope="session")
def site(environment: Callable[..., Path]) -> Path:
    """The bin folder of an environment with everything of ours, the examples, and pytest."""
    return environment(["*.whl"], testing=True)


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """`run_bare`, for the tests."""
    return run_bare
