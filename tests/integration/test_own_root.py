"""Runs the tests of tests/own_root, each file in a throw-away root of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from qlmdm_core.testing import own_root

INSIDE = Path(__file__).parents[1] / "own_root"
MOUNTS = [("/srv/bound", "/home/ada/bound"), ("", "/home/ada/other")]


@pytest.fixture(scope="module")
def possible() -> None:
    if why := own_root.why_not():
        pytest.skip(why)


@pytest.mark.usefixtures("possible")
@pytest.mark.parametrize("name", sorted(path.name for path in INSIDE.glob("in_*.py")))
def test_in_a_throw_away_root(name: str) -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(INSIDE)]
    argv += ["-p", "no:cacheprovider", "--import-mode=prepend", "-W", "error", "-rs"]
    done = own_root.run([*argv, str(INSIDE / name)], seconds=110.0, sources=[INSIDE], mounts=MOUNTS)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout, done.stdout


REACH = """
import os, sys
tried = {
    "unlink": lambda: os.unlink(sys.argv[1]),
    "write": lambda: open(sys.argv[1], "w"),
    "mknod": lambda: os.mknod("/dev/disk", 0o60600, 65024),
    "sysrq": lambda: open("/proc/sysrq-trigger", "a"),
    "kill": lambda: os.kill(int(sys.argv[2]), 0),
    "see": lambda: os.stat(sys.argv[3]),
}
for name, attempt in tried.items():
    try:
        attempt()
        print(name)
    except OSError:
        pass
"""


@pytest.mark.usefixtures("possible")
def test_nothing_outside_can_be_reached_from_in_there(tmp_path: Path) -> None:
    kept = tmp_path / "shown" / "kept"
    kept.parent.mkdir()
    kept.write_text("here")
    hidden = tmp_path / "hidden"
    hidden.write_text("here")
    argv = [sys.executable, "-c", REACH, str(kept), str(os.getpid()), str(hidden)]
    done = own_root.run(argv, seconds=60.0, sources=[kept.parent])
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert kept.read_text() == hidden.read_text() == "here"
    # The same from here does reach it, but for what would hurt.
    assert os.stat(hidden)
    os.kill(os.getpid(), 0)
    kept.unlink()
