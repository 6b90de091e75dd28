"""The checks of the project, as nox sessions; `./dev test` runs lint, types and tests.

`nox -s tests-3.12` runs the suite on that interpreter, if the machine has it; `nox -s slow`
what takes longer; `nox -s bench` prints the speed table of docs/performance.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = sorted({"3.10", "3.11", "3.12", "3.13", "3.14", CURRENT}, key=lambda v: int(v[2:]))

DISTRIBUTIONS = [
    "./qlmdm_core[server,testing]",
    "./qlmdm_plugins_builtin",
    "./qlmdm_plugins_eset",
    "./qlmdm_plugins_ubuntu",
    "./qlmdm_plugins_arch",
]
SOURCES = ["noxfile.py", "tools", "tests", "examples", *sorted(ROOT.glob("qlmdm_*/src"))]
TEST_TOOLS = [
    "build>=1.2",
    "editables>=0.5",
    "hatchling>=1.27",
    "hypothesis>=6.112",
    "mongomock>=4.3",
    "nx-27017>=0.8",
    "pytest>=8.3",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "trustme>=1.2",
]
# These change their minds between versions, so that a new one would break an old commit.
LINT_TOOLS = ["ruff==0.17.6"]
TYPE_TOOLS = ["hypothesis>=6.112", "mypy==2.4.1", "types-PyYAML", "types-requests"]

nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", f"tests-{CURRENT}"]

if "PYENV_VERSION" not in os.environ and shutil.which("pyenv"):
    # Without this, pyenv hides all interpreters but one.
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    others = sorted(path.name for path in versions.glob("3.*") if "/" not in path.name)
    here = ".".join(map(str, sys.version_info[:3]))
    os.environ["PYENV_VERSION"] = ":".join([here, *(v for v in others if v != here)])


def install(session: nox.Session, *requirements: str, projects: bool = False) -> None:
    """Install once: later runs need no network while the declarations stay the same."""
    files = sorted(ROOT.glob("qlmdm_*/pyproject.toml")) if projects else []
    declared = "\n".join([*requirements, *(path.read_text() for path in files)])
    stamp = Path(session.virtualenv.location, "qlmdm.stamp")
    digest = hashlib.sha256(f"{ROOT}\n{declared}".encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    editable = [word for path in DISTRIBUTIONS for word in ("-e", path)] if projects else []
    session.install(*requirements, *editable)
    stamp.write_text(digest)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint, by ruff."""
    install(session, *LINT_TOOLS)
    session.run("ruff", "format", "--check", "--diff", *map(str, SOURCES))
    session.run("ruff", "check", *map(str, SOURCES))


@nox.session
def types(session: nox.Session) -> None:
    """Strict types over everything that is installed, by mypy."""
    install(session, *TYPE_TOOLS, projects=True)
    sources = [*map(str, sorted(ROOT.glob("qlmdm_*/src"))), "tools", "examples"]
    # Two programs that are folders have a __main__ each; mypy takes one at a time.
    session.run("mypy", *sources, "--exclude", "tools/corpus/compose/")
    session.run("mypy", "tools/corpus/compose")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite, but for what is marked slow; arguments go to pytest."""
    install(session, *TEST_TOOLS, projects=True)
    chosen = session.posargs or ["-m", "not slow", "-n", "auto", "--dist", "loadfile"]
    session.run("pytest", "-q", *chosen)


@nox.session
def slow(session: nox.Session) -> None:
    """What takes longer than a developer should wait for; under an hour."""
    install(session, *TEST_TOOLS, projects=True)
    session.run("pytest", "-q", "-m", "slow", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Everything that reads foreign bytes, 20 seconds each: `-- --seconds 300 tar manifest`.

    atheris leads the way where it has a wheel (for Linux on x86-64, each Python of ours has one);
    elsewhere hypothesis draws for as long, by the same strategies.
    """
    install(session, *TEST_TOOLS, projects=True)
    session.run(
        *("python", "-m", "pip", "install", "-q", "--only-binary=:all:", "atheris>=2.3"),
        success_codes=[0, 1],  # there is none for this Python: hypothesis does it
    )
    session.run("python", "tests/fuzz/run.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed and memory, as ratios within one run, against the budgets in docs/performance.md."""
    install(session, *TEST_TOOLS, projects=True)
    session.run("python", "tests/bench/run.py", *session.posargs)


@nox.session
def vm(session: nox.Session) -> None:
    """A wipe and the life of releases in a whole virtual machine; files go to pytest."""
    needed = {
        "qemu-system-x86_64": "qemu-system-x86",
        "qemu-img": "qemu-utils",
        "mmdebstrap": "mmdebstrap",
        "cryptsetup": "cryptsetup-bin",
        "sfdisk": "fdisk",
    }
    missing = sorted({package for tool, package in needed.items() if not shutil.which(tool)})
    if missing:
        session.error(f"install these first: apt-get install -y {' '.join(missing)} seabios")
    install(session, *TEST_TOOLS, "cryptography>=42", projects=True)
    files = session.posargs or [str(p) for p in sorted(ROOT.glob("tests/vm/vm_*.py"))]
    session.run("pytest", "-v", "--durations=0", "-p", "no:cacheprovider", *files)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated pages: docs/settings.md and docs/hooks.md."""
    install(session, projects=True)
    session.run("python", "tools/write_docs.py", *session.posargs)
