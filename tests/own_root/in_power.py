"""What gives power over a machine, in an installed release: there can be one only in here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import qlmdm_core
from qlmdm_core.client.wipe import own_root, power
from qlmdm_core.client.wipe.own_root import NotOwnRootError

SLOT = Path("/var/lib/qlmdm/client/slots/1.0/lib")
CHECK = """
import os
from qlmdm_core.client.wipe import power
try:
    power.check_installed(os.environ)
    print("power")
except power.NoPowerError as error:
    print(error)
"""


@pytest.fixture
def slot(own_power: power.Power) -> Iterator[Path]:
    """An installed release."""
    shutil.copytree(Path(qlmdm_core.__file__).parent, SLOT / "qlmdm_core")
    yield SLOT
    shutil.rmtree("/var/lib/qlmdm")


def ask(environ: Mapping[str, str], *, uid: int = 0, code: str = CHECK) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, user=uid, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_an_installed_release_has_power_and_only_that(slot: Path) -> None:
    installed = {"PYTHONPATH": str(slot), "QLMDM_SLOT": "1.0"}
    assert ask(installed) == "power\n"
    assert "no installed release" in ask({**installed, "QLMDM_SLOT": "1.1"})
    assert "no installed release" in ask({**installed, "QLMDM_SLOT": ""})
    assert "no installed release" in ask({"QLMDM_SLOT": "1.0"})
    assert "QLMDM_NEVER_WIPE is set" in ask({**installed, power.NEVER: "1"})
    assert "a test is running" in ask(installed, code=f"import pytest\n{CHECK}")


def test_only_root_has_it(slot: Path) -> None:
    for folder in ("/var/lib/qlmdm", "/var/lib/qlmdm/client"):
        os.chmod(folder, 0o755)
    said = ask({"PYTHONPATH": str(slot), "QLMDM_SLOT": "1.0"}, uid=1000)
    # (If that user may start this interpreter at all.)
    assert "power\n" not in said


def test_a_throw_away_root_is_proved_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given = power.in_own_root()
    given.prove()
    monkeypatch.setattr(own_root, "MARKER", "/nowhere")
    with pytest.raises(NotOwnRootError):
        given.prove()


@pytest.mark.parametrize(
    "path", ["/usr/bin/ls", "/proc/sysrq-trigger", "/proc/sys/kernel/sysrq", "/dev/vda", "/dev/sda"]
)
def test_nothing_outside_can_be_written_to(path: str) -> None:
    with pytest.raises(OSError, match=r"Read-only|No such|not permitted"):
        os.close(os.open(path, os.O_WRONLY))


def test_no_device_can_be_made_and_nothing_mounted() -> None:
    with pytest.raises(PermissionError):
        os.mknod("/dev/disk", 0o60600, os.makedev(8, 0))
    done = subprocess.run(["mount", "-o", "remount,rw", "/usr"], capture_output=True)
    assert done.returncode != 0
    done = subprocess.run(["mount", "-t", "tmpfs", "none", "/srv"], capture_output=True)
    assert done.returncode != 0


def test_no_process_outside_is_in_sight() -> None:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    with open("/proc/1/cmdline", "rb") as file:
        assert b"own_root" in file.read()
    assert all(pid == 1 or _parent(pid) in pids for pid in pids)
    assert len(pids) < 10


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])
