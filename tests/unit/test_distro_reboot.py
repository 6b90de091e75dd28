"""How the adapters tell whether a restart is due."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_arch import reboot as arch
from qlmdm_plugins_arch.adapter import PacmanAdapter
from qlmdm_plugins_ubuntu import dpkg
from qlmdm_plugins_ubuntu import reboot as debian
from qlmdm_plugins_ubuntu.adapter import AptAdapter

# --- Debian, Ubuntu ---------------------------------------------------------------------------

KERNEL = (
    "Linux version 6.1.0-30-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14)"
    " 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1"
    " (2024-11-22)\n"
)
"""/proc/version of Debian 12; the version after "gcc-12" is not the kernel's."""


def machine(path: Path, running: str, *installed: str) -> RecordedMachine:
    built = RecordedMachine(path).file("/proc/sys/kernel/osrelease", running + "\n")
    for release in installed:
        built.file(f"/boot/vmlinuz-{release}", "")
    return built


def needrestart(state: int) -> str:
    return (
        "NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.1.0-28-amd64\n"
        f"NEEDRESTART-KEXP: 6.1.0-30-amd64\nNEEDRESTART-KSTA: {state}\n"
    )


def test_the_mark_of_a_restart_counts_and_names_its_packages(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).file("/run/reboot-required", "*** restart ***\n")
    built.file("/run/reboot-required.pkgs", "linux-base\nlibc6\nlibc6\n\n")
    found = AptAdapter().reboot_required(built.host())
    assert (found.required, found.packages) == (True, ("linux-base", "libc6"))


def test_a_mark_without_packages_counts(tmp_path: Path) -> None:
    found = AptAdapter().reboot_required(
        RecordedMachine(tmp_path).file("/run/reboot-required", "").host()
    )
    assert (found.required, found.packages) == (True, ())
    assert found.reason


def test_no_mark_counts_where_something_would_leave_one(tmp_path: Path) -> None:
    found = AptAdapter().reboot_required(RecordedMachine(tmp_path).file(debian.MARKER, "").host())
    assert (found.required, found.notes) == (False, ())


@pytest.mark.parametrize("marker", debian.KERNEL_MARKERS)
def test_what_marks_kernels_only_says_nothing_of_libraries(tmp_path: Path, marker: str) -> None:
    found = AptAdapter().reboot_required(RecordedMachine(tmp_path).file(marker, "").host())
    assert found.required is False
    assert "libraries" in found.notes[0]


def test_a_newer_kernel_counts_without_a_mark(tmp_path: Path) -> None:
    built = machine(tmp_path, "6.1.0-28-amd64", "6.1.0-28-amd64", "6.1.0-30-amd64")
    found = AptAdapter().reboot_required(built.file(debian.MARKER, "").host())
    assert (found.required, found.installed_kernel) == (True, "6.1.0-30-amd64")
    assert found.reason == "kernel 6.1.0-30-amd64 is installed, 6.1.0-28-amd64 runs"


@pytest.mark.parametrize(
    ("running", "installed", "due"),
    [
        ("6.1.0-30-amd64", ["6.1.0-28-amd64", "6.1.0-30-amd64"], False),
        ("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-10-amd64"], True),
        ("6.8.0-48-generic", ["6.8.0-48-generic", "6.11.0-9-generic"], True),
        ("6.19-amd64", ["6.19~rc5-amd64", "6.19-amd64"], False),
        ("6.6.51+rpt-rpi-v8", ["6.6.51+rpt-rpi-v8", "6.6.62+rpt-rpi-v8"], True),
        ("6.1.0-30-cloud-amd64", ["6.1.0-30-cloud-amd64", "6.1.0-31-amd64"], False),
        ("6.1.0-30-cloud-amd64", ["6.1.0-31-amd64"], None),
        ("6.1.0-30-amd64", ["6.1.0-28-amd64"], None),
        ("6.1.0-30-amd64", ["6.1.0-30-amd64", "6.1.0-31-amd64.dpkg-tmp", "x"], False),
        ("6.1.0-30-amd64", [], None),
        ("", ["6.1.0-30-amd64"], None),
        ("../x", ["6.1.0-30-amd64"], None),
    ],
)
def test_where_nothing_leaves_a_mark_the_kernels_are_compared(
    tmp_path: Path, running: str, installed: list[str], due: bool | None
) -> None:
    found = AptAdapter().reboot_required(machine(tmp_path, running, *installed).host())
    assert found.required is due
    assert found.reason or due is False
    assert bool(found.notes) is (due is False)


def test_without_kernels_in_boot_the_link_to_the_newest_is_followed(tmp_path: Path) -> None:
    built = machine(tmp_path, "6.1.0-28-amd64").link("/vmlinuz", "boot/vmlinuz-6.1.0-30-amd64")
    assert AptAdapter().reboot_required(built.host()).required is True


@pytest.mark.parametrize(
    ("installed", "due"),
    [("6.1.119-1", False), ("6.1.119-1+b1", False), ("6.1.123-1", True)],
)
def test_a_newer_build_of_the_same_release_counts(
    tmp_path: Path, installed: str, due: bool
) -> None:
    built = machine(tmp_path, "6.1.0-30-amd64", "6.1.0-30-amd64")
    built.file("/proc/version", KERNEL)
    argv = ["dpkg-query", "-W", f"-f={dpkg._FORMAT}", "linux-image-6.1.0-30-amd64"]
    built.command(argv, f"ii \t{installed}\n")
    assert AptAdapter().reboot_required(built.host()).required is due


@pytest.mark.parametrize(("state", "due"), [(0, None), (1, False), (2, True), (3, True), (7, None)])
def test_what_needrestart_says_counts(tmp_path: Path, state: int, due: bool | None) -> None:
    built = RecordedMachine(tmp_path).command(debian.NEEDRESTART, needrestart(state))
    found = AptAdapter().reboot_required(built.host())
    assert found.required is due
    assert ("6.1.0-28-amd64" in found.reason) is (due is True)


def test_a_needrestart_that_failed_says_nothing(tmp_path: Path) -> None:
    built = RecordedMachine(tmp_path).command(debian.NEEDRESTART, needrestart(1), returncode=1)
    assert AptAdapter().reboot_required(built.host()).required is None


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


@pytest.mark.parametrize(
    ("answer", "due"),
    [
        ("linux 6.17.5.arch1-1\n", False),
        ("linux 6.17.7.arch1-1\n", True),
        ("error\n", False),
    ],
)
def test_modules_that_were_kept_do_not_hide_the_newer_package(
    tmp_path: Path, answer: str, due: bool
) -> None:
    built = RecordedMachine(tmp_path).file("/proc/sys/kernel/osrelease", "6.17.5-arch1-1\n")
    built.file("/usr/lib/modules/6.17.5-arch1-1/pkgbase", "linux\n")
    built.file("/usr/lib/modules/6.17.7-arch1-1/pkgbase", "linux\n")
    built.command(["pacman", "-Q", "linux"], answer)
    found = PacmanAdapter().reboot_required(built.host())
    assert (found.required, found.packages) == (due, ("linux",) if due else ())


@pytest.mark.parametrize(
    ("package", "version", "release"),
    [
        ("linux-xanmod", "6.17.7-1", "6.17.7-x64v3-xanmod1-1"),
        ("linux-libre", "6.17.7-1", "6.17.7-gnu-1"),
        ("linux-mainline", "6.18rc3-1", "6.18.0-rc3-1-mainline"),
    ],
)
def test_a_kernel_with_a_name_of_its_own_is_not_taken_for_another(
    tmp_path: Path, package: str, version: str, release: str
) -> None:
    built = RecordedMachine(tmp_path).file("/proc/sys/kernel/osrelease", f"{release}\n")
    built.file(f"/usr/lib/modules/{release}/pkgbase", f"{package}\n")
    built.file("/usr/lib/modules/6.12.56-1-lts/pkgbase", "linux-lts\n")
    built.command(["pacman", "-Q", package], f"{package} {version}\n")
    assert PacmanAdapter().reboot_required(built.host()).required is False


@pytest.mark.parametrize(
    ("version", "release", "same"),
    [
        ("6.17.7.arch1-1", "6.17.7-arch1-1", True),
        ("6.17.arch1-1", "6.17.0-arch1-1", True),
        ("6.12.56-1", "6.12.56-1-lts", True),
        ("6.17.7.zen1-1", "6.17.7-zen1-1-zen", True),
        ("6.16.12.hardened1-2", "6.16.12-hardened1-2-hardened", True),
        ("6.12.48-1", "6.12.48-1-MANJARO", True),
        ("1:6.17.7-3", "6.17.7-3-cachyos", True),
        ("6.12.57-1", "6.12.56-1-lts", False),
        ("6.17.7.arch1-2", "6.17.7-arch1-1", False),
        ("6.18.arch1-1", "6.17.0-arch1-1", False),
    ],
)
def test_a_package_and_its_kernel_are_matched(version: str, release: str, same: bool) -> None:
    assert arch.same_kernel(version, release) is same


# --- any text gives a value -------------------------------------------------------------------


@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=5))
def test_no_text_breaks_a_parser(text: str, installed: list[str]) -> None:
    state, why = debian.parse_needrestart(text)
    assert state in ("running", "other", "unknown")
    assert bool(why) is (state == "other")
    assert debian.newest_kernel(installed, text) in ["", *installed]
    assert arch.same_kernel(text, text) in (True, False)


@given(st.lists(st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,20}){0,3}(~rc[0-9])?-amd64", fullmatch=True)))
def test_any_kernels_can_be_put_in_order(installed: list[str]) -> None:
    newest = debian.newest_kernel(installed, "1-amd64")
    assert newest in ["", *installed]
    assert debian.newest_kernel(reversed(installed), "1-amd64") in ["", *installed]
