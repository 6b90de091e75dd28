"""How the adapters tell whether a restart is due."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_arch.adapter import PacmanAdapter
from qlmdm_plugins_ubuntu import reboot as debian
from qlmdm_plugins_ubuntu.adapter import AptAdapter

# --- Debian, Ubuntu ---------------------------------------------------------------------------


def test_the_mark_of_a_restart_counts(tmp_path: Path) -> None:
    host = RecordedMachine(tmp_path).file("/run/reboot-required", "").host()
    assert AptAdapter().reboot_required(host).required is True


def test_no_mark_counts_where_something_would_leave_one(tmp_path: Path) -> None:
    host = RecordedMachine(tmp_path).file(debian.MARKERS[0], "").host()
    assert AptAdapter().reboot_required(host).required is False


@pytest.mark.parametrize(
    ("running", "due"),
    [
        ("6.1.0-30-amd64", False),
        ("6.1.0-28-amd64", True),
        ("6.1.0-30-cloud-amd64", None),
        ("", None),
    ],
)
def test_elsewhere_the_newest_kernel_is_compared(
    tmp_path: Path, running: str, due: bool | None
) -> None:
    built = RecordedMachine(tmp_path).link("/vmlinuz", "boot/vmlinuz-6.1.0-30-amd64")
    built.file("/boot/vmlinuz-6.1.0-30-amd64", "").file(
        "/proc/sys/kernel/osrelease", running + "\n"
    )
    assert AptAdapter().reboot_required(built.host()).required is due


def test_with_nothing_to_go_by_a_restart_is_unknown(tmp_path: Path) -> None:
    found = AptAdapter().reboot_required(RecordedMachine(tmp_path).host())
    assert found.required is None
    assert found.reason


# --- Arch -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modules", "due"),
    [
        (["6.17.5-arch1-1/vmlinuz"], False),
        (["6.17.7-arch1-1/vmlinuz"], True),
        (["6.17.7-arch1-1/vmlinuz", "6.17.5-arch1-1/extramodules/foreign.ko"], True),
        (["6.17.5-arch1-1/extramodules/foreign.ko"], None),
        ([], None),
    ],
)
def test_a_restart_is_due_once_the_running_kernel_is_gone(
    tmp_path: Path, modules: list[str], due: bool | None
) -> None:
    built = RecordedMachine(tmp_path).file("/proc/sys/kernel/osrelease", "6.17.5-arch1-1\n")
    for path in modules:
        built.file(f"/usr/lib/modules/{path}", "")
    assert PacmanAdapter().reboot_required(built.host()).required is due
