"""The wrapper `./dev`: how it makes .venv, what it says when it can't, and what it starts.

Python is replaced by a script that writes down what it was asked: nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)

# Stands for the python of .venv, and (as PYTHON) for the machine's own.
PYTHON = """\
#!/bin/sh
printf '%s\\n' "$*" >> "$ASKED"
case "$*" in
*"import ensurepip"*) exit ${NO_VENV:-0} ;;
"-m venv .venv")
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    printf '#!/bin/sh\\nexit 0\\n' > .venv/bin/pip
    printf '#!/bin/sh\\nprintf "nox %%s" "$*"\\n' > .venv/bin/nox
    chmod +x .venv/bin/*
    ;;
"-m pip install"*"$PIP_FAILS"*) echo "no such package" >&2; exit 1 ;;
"-m pip install"*"$PIP_WAITS"*) touch .venv/waiting; sleep 300 & wait ;;
"tools/demo"*) env > .venv/environ ;;
*print*) echo 3.11 ;;
--version) echo "Python 3.11.0" ;;
esac
"""


class Clone:
    """A clone in a path with spaces, as far as `dev` needs one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a clone" / "with blanks"
        self.path.mkdir(parents=True)
        declared = ["dev", "pyproject.toml", "noxfile.py"]
        declared += [str(path.relative_to(ROOT)) for path in ROOT.glob("qlmdm_*/pyproject.toml")]
        for name in declared:
            (self.path / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.path / name)
        self.asked = folder / "asked"
        self.python = folder / "python"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)
        self.home = folder / "home"
        self.home.mkdir()

    def environ(self, **changes: str) -> dict[str, str]:
        """What `dev` is started with."""
        nothing = {"PIP_FAILS": "no such word", "PIP_WAITS": "no such word"}
        own = {"PYTHON": str(self.python), "ASKED": str(self.asked), "HOME": str(self.home)}
        return {"PATH": os.environ["PATH"], **nothing, **own, **changes}

    def dev(self, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it, from another folder."""
        return subprocess.run(
            [str(self.path / "dev"), *args],
            cwd="/",
            env=self.environ(**environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def asked_for(self, start: str) -> list[str]:
        """What Python was asked, of what begins so."""
        lines = self.asked.read_text().splitlines() if self.asked.exists() else []
        return [line for line in lines if line.startswith(start)]

    def files(self) -> list[str]:
        """All that is there beside .venv."""
        found = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if path.parts[0] != ".venv")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.parametrize("args", [[], ["nonsense"], ["--help"], ["run"], ["test", "this"]])
def test_what_it_does_not_know_is_answered_with_its_usage(
    args: Sequence[str], clone: Clone
) -> None:
    done = clone.dev(*args)
    assert done.returncode == 2
    assert "usage: ./dev demo" in done.stderr
    assert not (clone.path / ".venv").exists()


def test_the_first_run_makes_venv_and_installs_all_distributions(clone: Clone) -> None:
    before = clone.files()
    done = clone.dev("demo", "--keep")
    assert done.returncode == 0, done.stderr
    installed = [line.rsplit(" ", 1)[1] for line in clone.asked_for("-m pip install")]
    assert installed == [
        "./qlmdm_core[server,testing]",
        "./qlmdm_plugins_builtin",
        "./qlmdm_plugins_eset",
        "./qlmdm_plugins_ubuntu",
        "./qlmdm_plugins_arch",
        next(word for word in installed if word.startswith("nox==")),
    ]
    assert clone.asked_for("tools/demo") == ["tools/demo --keep"]
    assert "making .venv with Python 3.11.0" in done.stderr
    assert all(f"  installing {what}\n" in done.stderr for what in installed)
    assert (clone.files(), list(clone.home.iterdir())) == (before, [])


def test_every_distribution_of_the_repository_is_installed() -> None:
    text = (ROOT / "dev").read_text()
    assert all(f"./{path.parent.name}" in text for path in ROOT.glob("qlmdm_*/pyproject.toml"))


def test_the_second_run_installs_nothing(clone: Clone) -> None:
    clone.dev("demo")
    clone.asked.unlink()
    done = clone.dev("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert clone.asked_for("") == ["tools/demo"]


def test_changed_declarations_are_installed_anew(clone: Clone) -> None:
    clone.dev("demo")
    clone.asked.unlink()
    with (clone.path / "qlmdm_plugins_arch" / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    clone.dev("demo")
    assert len(clone.asked_for("-m pip install")) == 6
    assert clone.asked_for("-m venv") == []


def test_a_clone_that_was_moved_starts_afresh(clone: Clone) -> None:
    clone.dev("demo")
    clone.asked.unlink()
    (clone.path / ".venv" / "bin" / "pip").write_text("#!/a/path/that/is/gone\n")
    clone.path = clone.path.rename(clone.path.with_name("moved"))
    assert clone.dev("demo").returncode == 0
    assert len(clone.asked_for("-m venv")) == 1


def test_nothing_is_written_beside_venv_by_what_it_starts(clone: Clone) -> None:
    clone.dev("demo")
    lines = (clone.path / ".venv" / "environ").read_text().splitlines()
    assert f"PYTHONPYCACHEPREFIX={clone.path}/.venv/pycache" in lines
    assert f"PIP_CACHE_DIR={clone.path}/.venv/cache" in lines


def test_a_missing_venv_module_is_said_with_the_package_to_install(clone: Clone) -> None:
    done = clone.dev("demo", NO_VENV="1")
    assert done.returncode == 3
    assert "its venv module is missing" in done.stderr
    assert "sudo apt install python3-venv" in done.stderr
    assert not (clone.path / ".venv").exists()


def test_without_python_it_says_which_is_needed(clone: Clone, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "cat", "cksum"):
        (tools / name).symlink_to(shutil.which(name) or "")
    done = clone.dev("demo", PYTHON="no-such-python", PATH=str(tools))
    assert done.returncode == 3
    assert "Python 3.10 or newer is needed" in done.stderr


def test_without_gnupg_it_says_how_to_install_it(clone: Clone, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "cat", "cksum"):
        (tools / name).symlink_to(shutil.which(name) or "")
    done = clone.dev("demo", PATH=str(tools))
    assert done.returncode == 3
    assert "apt install gnupg" in done.stderr


def test_a_failed_installation_is_told_and_tried_again(clone: Clone) -> None:
    done = clone.dev("demo", PIP_FAILS="eset")
    assert done.returncode == 3
    assert "no such package" in done.stderr
    assert "is the package index reachable?" in done.stderr
    assert clone.asked_for("tools/demo") == []
    assert clone.dev("demo").returncode == 0
    assert len(clone.asked_for("-m venv")) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_installation_ends_what_it_started(
    number: signal.Signals, clone: Clone
) -> None:
    environ = clone.environ(PIP_WAITS="builtin")
    with subprocess.Popen(
        [str(clone.path / "dev"), "demo"],
        env=environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        restore_signals=True,
    ) as dev:
        deadline = time.monotonic() + 60
        while not (clone.path / ".venv" / "waiting").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        dev.send_signal(number)
        status = dev.wait(timeout=60)
    assert status == (130 if number == signal.SIGINT else 143)
    assert running(f"ASKED={clone.asked}") == []
    assert clone.dev("demo").returncode == 0, "the next run goes on"


def running(mark: str) -> list[str]:
    """The processes that have this in their environment; a zombie runs no more."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_run_starts_what_is_installed_and_names_what_is_not(clone: Clone) -> None:
    assert clone.dev("run", "nox", "-l", "two words").stdout == "nox -l two words"
    done = clone.dev("run", "qlmdm-nonsense")
    assert (done.returncode, "there is no .venv/bin/qlmdm-nonsense" in done.stderr) == (2, True)


def test_test_runs_the_sessions_of_the_gate(clone: Clone) -> None:
    assert clone.dev("test").returncode == 0
    assert clone.asked_for("-m nox") == ["-m nox --sessions lint types tests-3.11"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_runs_from_a_path_with_spaces_after_a_real_installation(tmp_path: Path) -> None:
    path = tmp_path / "a clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(path)], check=True)
    environ = {
        **os.environ,
        "PYTHON": sys.executable,
        "HOME": "/proc/nowhere",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        ["./dev", "demo"],
        cwd=path,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "bob-desktop (bob@example.com): screenlock-disabled now:" in done.stdout
    status = ["git", "status", "--porcelain", "--ignored"]
    left = subprocess.run(status, cwd=path, capture_output=True, text=True, check=True).stdout
    assert left == "!! .venv/\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a clone"]
