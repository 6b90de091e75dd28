"""The collector of restarts that are due: the adapter's answer, and what is the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.api import JSON, Host, InstalledPackages, Reboot, ReleaseUpgrade, Updates
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import reboot_required
from qlmdm_plugins_builtin.collectors.reboot_required import first_deployment


class Answers:
    """An adapter that gives a fixed answer."""

    name = "answers"

    def __init__(self, answer: Reboot) -> None:
        self._answer = answer

    def match(self, os_release: Mapping[str, str]) -> int:
        return 20

    def updates(self, host: Host) -> Updates:
        return Updates(state="unknown")

    def release_upgrade(self, host: Host) -> ReleaseUpgrade:
        return ReleaseUpgrade()

    def package_version(self, host: Host, name: str) -> str | None:
        return None

    def packages(self, host: Host) -> InstalledPackages:
        return InstalledPackages(packages=None)

    def reboot_required(self, host: Host) -> Reboot:
        return self._answer


NO = Reboot(required=False, installed_kernel="6.1.0-30-amd64", notes=("libraries",))


def machine(path: Path) -> RecordedMachine:
    return RecordedMachine(path).file("/proc/sys/kernel/osrelease", "6.1.0-30-amd64\n")


def collect(built: RecordedMachine, answer: Reboot | None) -> JSON:
    adapter = None if answer is None else Answers(answer)
    value = reboot_required.collect(built.host(distro=adapter))
    assert json.loads(json.dumps(value)) == value
    assert value["state"] != "unknown" or value["reason"]
    return value


def test_a_machine_that_runs_what_it_has(tmp_path: Path) -> None:
    assert collect(machine(tmp_path), NO) == {
        "state": "not_required",
        "packages": [],
        "running_kernel": "6.1.0-30-amd64",
        "installed_kernel": "6.1.0-30-amd64",
        "reasons": [],
        "live_patches": [],
        "since_at": None,
        "adapter": "answers",
        "notes": ["libraries"],
    }


def test_the_running_kernel_is_found_among_very_many(tmp_path: Path) -> None:
    built = machine(tmp_path)
    for number in range(150):
        built.file(f"/usr/lib/modules/5.{number:03}-amd64/modules.dep", "")
    assert collect(built, NO)["state"] == "required"
    built.file("/usr/lib/modules/6.1.0-30-amd64/modules.dep", "")
    assert collect(built, NO)["state"] == "not_required"


def test_what_the_adapter_says_asks_for_a_restart_is_told(tmp_path: Path) -> None:
    built = machine(tmp_path).file("/run/reboot-required", "", mtime=1793300000.5)
    value = collect(built, Reboot(required=True, reason="libc6", packages=("libc6",)))
    assert (value["state"], value["reasons"], value["packages"]) == (
        "required",
        ["libc6"],
        ["libc6"],
    )
    assert value["since_at"] == "2026-10-29T18:53:20+00:00"


def test_a_mark_from_the_future_has_no_time(tmp_path: Path) -> None:
    built = machine(tmp_path).file("/run/reboot-required", "", mtime=1900000000.0)
    assert collect(built, Reboot(required=True))["since_at"] is None


def test_without_an_adapter_it_is_unknown(tmp_path: Path) -> None:
    built = machine(tmp_path).file("/etc/os-release", 'PRETTY_NAME="Foo 1"\n')
    assert collect(built, None)["reason"] == "no plugin knows when Foo 1 must restart"


def test_an_adapter_that_can_not_tell_says_why(tmp_path: Path) -> None:
    assert collect(machine(tmp_path), Reboot(required=None, reason="so"))["reason"] == "so"


@pytest.mark.parametrize("answer", [None, NO, Reboot(required=None, reason="so")])
def test_a_kernel_that_is_gone_needs_a_restart_on_any_system(
    tmp_path: Path, answer: Reboot | None
) -> None:
    built = machine(tmp_path).file("/usr/lib/modules/6.1.0-31-amd64/modules.dep", "")
    built.link("/lib", "usr/lib").file("/usr/lib/modules/6.1.0-30-amd64/updates/foreign.ko", "")
    value = collect(built, answer)
    assert (value["state"], len(value["reasons"])) == ("required", 1)
    built.file("/usr/lib/modules/6.1.0-30-amd64/modules.dep", "")
    assert collect(built, answer)["state"] != "required"


@pytest.mark.parametrize(("word", "kind"), [("soft-reboot\n", "soft-reboot"), ("\0", "reboot")])
def test_the_mark_of_zypper_counts(tmp_path: Path, word: str, kind: str) -> None:
    value = collect(machine(tmp_path).file("/run/reboot-needed", word), None)
    assert value["reasons"] == [f"zypper asks for a restart ({kind})"]


def test_a_container_is_unknown_whatever_is_installed_in_it(tmp_path: Path) -> None:
    built = machine(tmp_path).file("/run/systemd/container", "lxc\n")
    value = collect(built, Reboot(required=True, reason="kernel"))
    assert (value["state"], value["reasons"]) == ("unknown", [])
    assert "container (lxc)" in value["reason"]


def test_live_patches_are_told_and_change_nothing(tmp_path: Path) -> None:
    built = machine(tmp_path).file("/sys/kernel/livepatch/lkp_Ubuntu_1/enabled", "1\n")
    value = collect(built, Reboot(required=True, reason="kernel"))
    assert (value["state"], value["live_patches"]) == ("required", ["lkp_Ubuntu_1"])


@pytest.mark.parametrize(
    ("staged", "status", "state"),
    [
        (True, "* fedora 0123abcd0123.0\n", "required"),
        (False, "* fedora 0123abcd0123.0\n    Version: 42\n  fedora 89abcdef.0\n", "not_required"),
        (False, "  fedora 0123abcd0123.0 (pending)\n* fedora 89abcdef.0\n", "required"),
        (False, "nonsense\n", "unknown"),
        (False, None, "unknown"),
    ],
)
def test_of_an_image_the_next_one_to_be_booted_counts(
    tmp_path: Path, staged: bool, status: str | None, state: str
) -> None:
    built = machine(tmp_path).file("/run/ostree-booted", "")
    if staged:
        built.file("/run/ostree/staged-deployment", "")
    if status is not None:
        built.command(["ostree", "admin", "status"], status)
    assert collect(built, NO)["state"] == state


@pytest.mark.parametrize(("current", "state"), [("a", "unknown"), ("b", "required")])
def test_nixos_compares_what_was_booted(tmp_path: Path, current: str, state: str) -> None:
    built = machine(tmp_path).link("/run/booted-system/kernel", "/nix/store/a/bzImage")
    built.link("/run/current-system/kernel", f"/nix/store/{current}/bzImage")
    assert collect(built, None)["state"] == state


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader_of_ostree(text: str) -> None:
    assert first_deployment(text) in (True, False, None)
