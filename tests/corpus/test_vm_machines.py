"""What is right for the machines that tools/corpus/record_vm.py records, and their steps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools" / "corpus"
STEPS = sorted(path for path in (TOOLS / "vm_steps").glob("*.sh") if path.stem != "prelude")


@pytest.fixture(scope="module")
def vm_machines() -> Iterator[ModuleType]:
    pytest.importorskip("cryptography")  # by which the tool writes encrypted disks
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        patch.syspath_prepend(str(TOOLS.with_name("vm")))
        import vm_machines

        yield vm_machines
    for name in ("vm_machines", "vm_image"):
        sys.modules.pop(name, None)


def test_names_are_unique(vm_machines: ModuleType) -> None:
    names = [machine.name for machine in vm_machines.MACHINES]
    assert len(names) == len(set(names))


def test_each_step_that_a_machine_names_is_there(vm_machines: ModuleType) -> None:
    named = {step for machine in vm_machines.MACHINES for step in machine.steps}
    assert named <= {path.stem for path in STEPS}


def test_it_is_written_down_what_is_right_after_each_step(vm_machines: ModuleType) -> None:
    told = {
        *(f"storage-{name}" for name in vm_machines.STORAGE),
        *(f"firewall-{name}" for name in vm_machines.FIREWALL),
        *(f"sshd-{name}" for name in vm_machines.SSHD),
    }
    assert told == {path.stem for path in STEPS}


@pytest.mark.parametrize("step", STEPS, ids=lambda path: str(path.stem))
def test_a_step_says_what_it_does_and_is_a_script(step: Path) -> None:
    assert step.read_text(encoding="utf-8").startswith("# ")
    subprocess.run(["bash", "-n", str(step)], check=True)


def test_a_plain_volume_makes_the_machine_not_encrypted(vm_machines: ModuleType) -> None:
    right = {machine.name: machine.right for machine in vm_machines.MACHINES}
    states = {name: its["hd_encryption", "state"] for name, its in right.items()}
    assert states["vm-bookworm-raid1-over-luks"] == "encrypted"
    assert states["vm-bookworm-raid1-half-luks"] == "not_encrypted"
    assert states["vm-plain-root"] == "not_encrypted"
