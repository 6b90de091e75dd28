"""A throw-away machine for each test: Debian with an encrypted root, in qemu.

The files here are named vm_*.py, so that no other run of the suite collects them: `nox -s vm`
names them. What they destroy is a copy of a disk image, in another kernel.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools" / "vm")]

import vm_image  # noqa: E402
from throwaway import CACHE, HARDWARE, IMAGE, Start  # noqa: E402
from vm_guest import Guest, copy_started  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.vm)
        item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def image() -> vm_image.Built:
    """The image, with a machine that was started once: it is there again within seconds."""
    built = vm_image.build(IMAGE, CACHE)
    with Guest(built, built.folder / "tests", HARDWARE):
        pass
    return built


@pytest.fixture
def folder(image: vm_image.Built, tmp_path: Path) -> Path:
    """A machine of this test's own, switched off."""
    copy_started(image.folder / "tests", tmp_path / "machine")
    return tmp_path / "machine"


@pytest.fixture
def start(image: vm_image.Built, folder: Path) -> Iterator[Start]:
    """Switches this test's machine on; `again=True` after it was on before."""
    running: list[Guest] = []

    def switch_on(**how: object) -> Guest:
        for guest in running:
            guest.close()
        running.append(Guest(image, folder, HARDWARE, **how))  # type: ignore[arg-type]
        return running[-1]

    yield switch_on
    for guest in running:
        guest.close()


@pytest.fixture
def root_container(folder: Path, tmp_path: Path) -> Callable[[], Path]:
    """Copies the encrypted root, as it is on the disk of a machine that is off, into a file."""

    def copy() -> Path:
        target = tmp_path / "root.luks"
        target.unlink(missing_ok=True)
        size = vm_image.ROOT_SIZE // vm_image.MIB
        argv = ["qemu-img", "dd", "-U", "-f", "qcow2", "-O", "raw", "bs=1M"]
        start_at = vm_image.ROOT_AT // vm_image.MIB
        argv += [f"skip={start_at}", f"count={start_at + size}"]
        subprocess.run([*argv, f"if={folder}/vda.qcow2", f"of={target}"], check=True)
        return target

    return copy
