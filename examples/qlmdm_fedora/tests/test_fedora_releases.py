"""End of support and the next release, restarts, and what is installed."""

from __future__ import annotations

from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlmdm_core.testing import RecordedMachine
from qlmdm_fedora import releases
from qlmdm_fedora.adapter import FedoraAdapter
from qlmdm_fedora.pending import LOG_ELSEWHERE
from qlmdm_fedora.restart import QUESTIONS
from qlmdm_fedora.rpmdb import ALL, FORMAT

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is slow; that is no fault of a parser."""

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
TODAY = NOW.date()


def machine(path: Path) -> RecordedMachine:
    built = RecordedMachine(path, recorded_at=NOW.isoformat())
    return built.file("/etc/os-release", "ID=fedora\nVERSION_ID=43\nSUPPORT_END=2026-12-02\n")


# --- releases -----------------------------------------------------------------------------------

FEDORA = {"ID": "fedora"}
STREAM = {"ID": "centos", "NAME": "CentOS Stream", "ID_LIKE": "rhel fedora"}
LINUX = {"ID": "centos", "NAME": "CentOS Linux", "ID_LIKE": "rhel fedora"}


@pytest.mark.parametrize(
    ("os_release", "until", "ended", "available"),
    [
        # Its own word: the first day without support.
        (
            {**FEDORA, "VERSION_ID": "43", "SUPPORT_END": "2026-12-02"},
            *("2026-12-01", False, "Fedora Linux 44"),
        ),
        (
            {**FEDORA, "VERSION_ID": "43", "SUPPORT_END": "2026-11-01"},
            *("2026-10-31", True, "Fedora Linux 44"),
        ),
        (
            {**FEDORA, "VERSION_ID": "43", "SUPPORT_END": "2026-11-02"},
            *("2026-11-01", False, "Fedora Linux 44"),
        ),
        # The table, where it says nothing, or nonsense.
        ({**FEDORA, "VERSION_ID": "42"}, "2026-05-12", True, "Fedora Linux 44"),
        (
            {**FEDORA, "VERSION_ID": "44", "SUPPORT_END": "some day"},
            *("2027-05-18", False, None),
        ),
        ({**FEDORA, "VERSION_ID": "41"}, "2025-12-14", True, "Fedora Linux 43"),
        ({**FEDORA, "VERSION_ID": "28"}, "2022-06-06", True, "Fedora Linux 44"),
        ({**FEDORA, "VERSION_ID": "47"}, None, None, None),
        # Nothing ends, and nothing follows.
        (
            {**FEDORA, "VERSION_ID": "46", "VERSION": "46 (Workstation Edition Rawhide)"},
            *(None, False, None),
        ),
        (
            {**FEDORA, "VERSION_ID": "44", "REDHAT_BUGZILLA_PRODUCT_VERSION": "rawhide"},
            *(None, False, None),
        ),
        ({**FEDORA, "VERSION_ID": "11", "VARIANT_ID": "eln"}, None, False, None),
        # The others.
        (
            {"ID": "rhel", "VERSION_ID": "9.6"},
            *("2032-05-31", False, "Red Hat Enterprise Linux 10"),
        ),
        ({"ID": "rhel", "VERSION_ID": "10.1"}, "2035-05-31", False, None),
        ({**STREAM, "VERSION_ID": "9"}, "2027-05-31", False, "CentOS Stream 10"),
        ({**STREAM, "VERSION_ID": "8"}, "2024-05-31", True, "CentOS Stream 9"),
        ({**LINUX, "VERSION_ID": "8"}, "2021-12-31", True, None),
        ({**LINUX, "VERSION_ID": "7"}, "2024-06-30", True, "CentOS Linux 8"),
        (
            {"ID": "rocky", "VERSION_ID": "8.10", "SUPPORT_END": "2029-06-01"},
            *("2029-05-31", False, "Rocky Linux 9"),
        ),
        ({"ID": "almalinux", "VERSION_ID": "9.7"}, "2032-05-31", False, "AlmaLinux 10"),
        ({"ID": "ol", "VERSION_ID": "8.10"}, "2029-07-31", False, "Oracle Linux 9"),
        ({"ID": "amzn", "VERSION_ID": "2"}, "2026-06-30", True, "Amazon Linux 2023"),
        ({"ID": "rhel", "VERSION_ID": "11.0"}, None, None, None),
        # Derivatives.
        (
            {"ID": "bazzite", "ID_LIKE": "fedora", "VERSION_ID": "43", "SUPPORT_END": "2026-12-02"},
            *("2026-12-01", False, None),
        ),
        (
            {"ID": "nobara", "ID_LIKE": "rhel centos fedora", "VERSION_ID": "43"},
            *("2026-12-01", False, None),
        ),
        (
            {"ID": "x", "ID_LIKE": "rhel fedora", "PLATFORM_ID": "platform:el9"},
            *("2032-05-31", False, None),
        ),
        ({"ID": "mageia", "ID_LIKE": "mandriva fedora", "VERSION_ID": "9"}, None, None, None),
    ],
)
def test_the_end_of_support_and_what_follows(
    os_release: dict[str, str], until: str | None, ended: bool | None, available: str | None
) -> None:
    found = releases.judge(os_release, TODAY)
    assert (found.supported_until, found.end_of_life, found.available) == (until, ended, available)
    assert until is not None or ended is False or found.reason


def test_a_release_is_offered_from_its_day_on() -> None:
    os_release = {"ID": "fedora", "VERSION_ID": "43"}
    assert releases.judge(os_release, date(2026, 4, 27)).available is None
    assert releases.judge(os_release, date(2026, 4, 28)).available == "Fedora Linux 44"


def test_a_table_that_has_grown_old_says_so() -> None:
    os_release = {"ID": "fedora", "VERSION_ID": "44"}
    assert releases.judge(os_release, date(2026, 11, 1)).reason == ""
    assert "not known here" in releases.judge(os_release, date(2027, 2, 1)).reason


def test_the_table_is_in_order() -> None:
    rows = list(releases.fedora_releases().items())
    assert [number for number, _ in rows] == list(range(34, 45))
    days = [day for _, (day, _) in rows]
    assert days == sorted(days)
    # A month after the second release that follows, a little more or less.
    for (_, (_, end)), (_, (second, _)) in zip(rows, rows[2:], strict=False):
        assert 10 <= (end - second).days <= 50


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["fedora", "43", "rhel", "centos", "9.6", "2026-12-02", "0001-01-01", "platform:el9", "eln"]
)
NAMES = st.sampled_from(
    ["ID", "ID_LIKE", "NAME", "VERSION", "VERSION_ID", "SUPPORT_END", "PLATFORM_ID", "VARIANT_ID"]
)


@UNTIMED
@given(st.dictionaries(NAMES, TEXTS), st.dates())
def test_no_os_release_breaks_it(os_release: dict[str, str], today: date) -> None:
    found = releases.judge(os_release, today)
    assert (found.supported_until is None) == (found.end_of_life is not True) or (
        found.end_of_life is False
    )


# --- restart --------------------------------------------------------------------------------------

DUE = (
    "Core libraries or services have been updated since boot-up:\n  * glibc\n  * kernel\n\n"
    "Reboot is required to fully utilize these updates.\n"
)
NOT_DUE = (
    "No core libraries or services have been updated since boot-up.\n"
    "Reboot should not be necessary.\n"
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_restart_is_due_if_dnf_says_so(tmp_path: Path, question: tuple[str, ...]) -> None:
    built = machine(tmp_path).command(question, DUE, returncode=1)
    found = FedoraAdapter().reboot_required(built.host())
    assert (found.required, found.packages) == (True, ("glibc", "kernel"))
    assert found.reason == "updated since the start: glibc, kernel"


def test_root_leaves_nothing_in_the_owners_log(tmp_path: Path) -> None:
    built = machine(tmp_path)
    # Were it asked otherwise, the first would be as good an answer.
    built.command(["dnf", "-C", "needs-restarting", "-r"], DUE, returncode=1)
    built.command(["dnf", "-C", LOG_ELSEWHERE, "needs-restarting", "-r"], NOT_DUE)
    assert FedoraAdapter().reboot_required(built.host()).required is False


def test_no_restart_is_due_if_dnf_says_so(tmp_path: Path) -> None:
    built = machine(tmp_path).command(QUESTIONS[0], NOT_DUE)
    found = FedoraAdapter().reboot_required(built.host())
    assert (found.required, found.reason, found.notes) == (False, "", ())


def test_the_kernel_that_a_restart_would_start_is_named(tmp_path: Path) -> None:
    built = machine(tmp_path).command(QUESTIONS[0], DUE, returncode=1)
    built.file("/proc/sys/kernel/osrelease", "6.17.5-300.fc43.x86_64\n")
    for version in ("6.17.5-300", "6.17.10-300"):
        built.file(f"/usr/lib/modules/{version}.fc43.x86_64/vmlinuz", "")
    found = FedoraAdapter().reboot_required(built.host())
    assert found.installed_kernel == "6.17.10-300.fc43.x86_64"


@pytest.mark.parametrize(
    ("kernels", "due"),
    [
        (["6.17.5-300.fc43.x86_64/vmlinuz"], False),
        (["6.17.10-300.fc43.x86_64/vmlinuz", "6.17.5-300.fc43.x86_64/vmlinuz"], True),
        (["6.17.4-300.fc43.x86_64/vmlinuz", "6.17.5-300.fc43.x86_64/vmlinuz"], False),
        (["6.17.10-300.fc43.x86_64+rt/vmlinuz", "6.17.5-300.fc43.x86_64/vmlinuz"], False),
        (["6.17.10-300.fc43.x86_64/extra/foreign.ko", "6.17.5-300.fc43.x86_64/vmlinuz"], False),
        ([], None),
    ],
)
def test_without_the_plugin_the_kernel_counts(
    tmp_path: Path, kernels: list[str], due: bool | None
) -> None:
    built = machine(tmp_path).file("/proc/sys/kernel/osrelease", "6.17.5-300.fc43.x86_64\n")
    # The same status as for "restart": what it says counts.
    text = "No such command: needs-restarting. Please use /usr/bin/dnf --help\n"
    built.command(QUESTIONS[0], "", stderr=text, returncode=1)
    for kernel in kernels:
        built.file(f"/usr/lib/modules/{kernel}", "")
    found = FedoraAdapter().reboot_required(built.host())
    assert found.required is due
    assert bool(found.reason) is (due is not False)
    assert bool(found.notes) is (due is False)


def test_the_kernels_of_el_7_lie_in_boot(tmp_path: Path) -> None:
    built = machine(tmp_path).command(["uname", "-r"], "3.10.0-1160.el7.x86_64\n")
    for name in ("3.10.0-1160.el7.x86_64", "3.10.0-1160.119.1.el7.x86_64"):
        built.file(f"/boot/vmlinuz-{name}", "").directory(f"/usr/lib/modules/{name}")
    assert FedoraAdapter().reboot_required(built.host()).required is True


def test_nothing_known_is_no_answer(tmp_path: Path) -> None:
    found = FedoraAdapter().reboot_required(machine(tmp_path).host())
    assert found.required is None
    assert found.reason


# --- packages -------------------------------------------------------------------------------------


def test_the_version_of_a_package(tmp_path: Path) -> None:
    built = machine(tmp_path)
    built.command(["rpm", "-q", f"--qf={FORMAT}", "bind"], "bind\t32:9.18.33-1.fc43\tx86_64\n")
    kernels = "kernel\t6.9.9-1.fc43\tx86_64\nkernel\t6.17.5-300.fc43\tx86_64\n"
    built.command(["rpm", "-q", f"--qf={FORMAT}", "kernel"], kernels)
    text = "package nosuch is not installed\n"
    built.command(["rpm", "-q", f"--qf={FORMAT}", "nosuch"], text, returncode=1)
    host = built.host()
    adapter = FedoraAdapter()
    assert adapter.package_version(host, "bind") == "32:9.18.33-1.fc43"
    assert adapter.package_version(host, "kernel") == "6.17.5-300.fc43"
    assert adapter.package_version(host, "nosuch") is None
    assert adapter.package_version(host, "--eval=1") is None


def test_all_packages(tmp_path: Path) -> None:
    text = "zlib\t1.3.1-1.fc43\tx86_64\ngpg-pubkey\tab-cd\t(none)\nbash\t5.3.0-2.fc43\tx86_64\n"
    found = FedoraAdapter().packages(machine(tmp_path).command(ALL, text).host())
    assert found.packages == (
        {"name": "bash", "version": "5.3.0-2.fc43", "architecture": "x86_64"},
        {"name": "zlib", "version": "1.3.1-1.fc43", "architecture": "x86_64"},
    )


@pytest.mark.parametrize(
    ("stdout", "returncode", "reason"),
    [("", 1, "rpm exited 1"), ("", 0, "rpm's answer is not understood")],
)
def test_packages_that_can_not_be_told(
    tmp_path: Path, stdout: str, returncode: int, reason: str
) -> None:
    built = machine(tmp_path).command(ALL, stdout, returncode=returncode)
    found = FedoraAdapter().packages(built.host())
    assert (found.packages, found.reason) == (None, reason)
