"""Which operating system it is: by os-release, and where that is not the whole truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core import osrelease
from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import _virtualization, os_info

OVERLAY = "21 1 0:30 / / rw - overlay overlay rw,lowerdir=/a\n"
DISK = "21 1 254:0 / / rw - ext4 /dev/vda rw\n"


def machine(path: Path, release: str | None, **files: str) -> RecordedMachine:
    made = RecordedMachine(path)
    if release is not None:
        made.file("/etc/os-release", release)
    for name, text in files.items():
        made.file("/" + name.replace("__", "/"), text)
    return made


def collect(made: RecordedMachine) -> JSON:
    value = os_info.collect(made.host())
    json.dumps(value)
    return value


def test_release_kernel_and_architecture(tmp_path: Path) -> None:
    made = machine(
        tmp_path,
        'NAME="Acme OS"\nID=acme\nID_LIKE="ubuntu debian"\nVERSION_ID="7.2"\n'
        "VERSION_CODENAME=anvil\nUBUNTU_CODENAME=noble\nSUPPORT_END=2027-04-01\n",
        proc__sys__kernel__osrelease="6.9.1-acme\n",
        proc__sys__kernel__arch="x86_64\n",
    ).command(["systemd-detect-virt"], "none\n", returncode=1)
    expected = {
        "state": "available",
        "id": "acme",
        "id_like": ["ubuntu", "debian"],
        "version_id": "7.2",
        "codename": "anvil",
        "ubuntu_codename": "noble",
        "support_end": "2027-04-01",
        "kernel": "6.9.1-acme",
        "architecture": "x86_64",
        "virtualization": "none",
        "rolling": False,
        "atomic": None,
    }
    assert expected.items() <= collect(made).items()


def test_vendor_file_counts_only_without_the_one_in_etc(tmp_path: Path) -> None:
    made = machine(tmp_path, "ID=mine\n")
    made.file("/usr/lib/os-release", "ID=vendor\nVERSION_ID=3\n")
    value = collect(made)
    assert (value["id"], value["version_id"]) == ("mine", None)


def test_vendor_file_is_read_where_etc_has_none(tmp_path: Path) -> None:
    made = machine(tmp_path, None).file("/usr/lib/os-release", "ID=vendor\n")
    assert collect(made)["id"] == "vendor"


@pytest.mark.parametrize("version", ["VERSION_ID=TEMPLATE_VERSION_ID", 'VERSION_ID=""', ""])
def test_version_that_was_never_filled_in_is_missing(tmp_path: Path, version: str) -> None:
    value = collect(machine(tmp_path, f"ID=acme\n{version}\n"))
    assert value["version_id"] is None
    assert value["rolling"] is True


@pytest.mark.parametrize(
    ("text", "rolling"),
    [
        ("ID=arch\nBUILD_ID=rolling", True),
        ("ID=acme\nID_LIKE=arch\nVERSION_ID=1", True),
        ("ID=opensuse-tumbleweed\nVERSION_ID=20260101", True),
        ('ID=acme\nVERSION="26.07 Rolling"\nVERSION_ID=26.07', True),
        ("ID=gentoo\nVERSION_ID=2.18", True),
        ("ID=debian\nVERSION_ID=13", False),
    ],
)
def test_rolling_distributions(text: str, rolling: bool) -> None:
    assert os_info.is_rolling(osrelease.parse(text)) is rolling


def test_id_like_without_itself_and_doubles(tmp_path: Path) -> None:
    value = collect(machine(tmp_path, 'ID=acme\nID_LIKE="acme suse suse"\nVERSION_ID=1\n'))
    assert value["id_like"] == ["suse"]


def test_file_without_an_id_is_linux(tmp_path: Path) -> None:
    assert collect(machine(tmp_path, "NAME=Something\n"))["id"] == "linux"


def test_debian_point_release_and_testing(tmp_path: Path) -> None:
    stable = machine(
        tmp_path / "a",
        "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=b\n",
        etc__debian_version="12.9\n",
    )
    assert collect(stable)["debian_version"] == "12.9"
    testing = machine(tmp_path / "b", "ID=debian\n", etc__debian_version="forky/sid\n")
    value = collect(testing)
    assert (value["codename"], value["debian_version"]) == ("forky", "forky/sid")


def test_derivative_that_only_lsb_release_names(tmp_path: Path) -> None:
    made = machine(tmp_path, "ID=debian\nVERSION_ID=12\n")
    value = collect(made.file("/etc/lsb-release", 'DISTRIB_ID="MX"\nDISTRIB_RELEASE=23\n'))
    assert (value["id"], value["lsb_id"]) == ("debian", "mx")


@pytest.mark.parametrize(
    ("path", "text", "name", "version"),
    [
        ("/etc/lsb-release", "DISTRIB_ID=Acme\nDISTRIB_RELEASE=9.1\n", "acme", "9.1"),
        ("/etc/redhat-release", "CentOS release 6.10 (Final)\n", "centos", "6.10"),
        ("/etc/system-release", "Red Hat Enterprise Linux Server release 6.4 (X)\n", "rhel", "6.4"),
    ],
)
def test_systems_older_than_os_release(
    tmp_path: Path, path: str, text: str, name: str, version: str
) -> None:
    value = collect(machine(tmp_path, None).file(path, text))
    assert (value["state"], value["id"], value["version_id"]) == ("available", name, version)


def test_nothing_is_unknown_with_what_there_is(tmp_path: Path) -> None:
    value = collect(machine(tmp_path, None, proc__version="Linux version 5.10.0-9 (x@y) #1\n"))
    assert value["state"] == "unknown"
    assert value["reason"]
    assert value["kernel"] == "5.10.0-9"


def test_atomic_systems(tmp_path: Path) -> None:
    made = machine(tmp_path, "ID=fedora\nVERSION_ID=43\n")
    made.file("/run/ostree-booted", "")
    assert collect(made)["atomic"] == "ostree"


def test_kernel_and_architecture_by_uname(tmp_path: Path) -> None:
    made = machine(tmp_path, "ID=acme\n").command(["uname", "-r"], "6.1.0-9-amd64\n")
    made.command(["uname", "-m"], "aarch64\n")
    value = collect(made)
    assert (value["kernel"], value["architecture"]) == ("6.1.0-9-amd64", "aarch64")


def test_answer_to_another_question_of_uname_is_not_taken(tmp_path: Path) -> None:
    value = collect(machine(tmp_path, "ID=acme\n").command(["uname", "-s"], "Linux\n"))
    assert (value["kernel"], value["architecture"]) == (None, None)


def test_userland_of_debian(tmp_path: Path) -> None:
    made = machine(tmp_path, "ID=debian\n", etc__debian_version="13.1\n")
    made.command(["dpkg", "--print-architecture"], "i386\n")
    assert collect(made)["userland_architecture"] == "i386"


@pytest.mark.parametrize(
    ("files", "command", "expected"),
    [
        ({}, "kvm\n", "kvm"),
        ({}, "two words\n", None),
        ({"proc__version": "Linux version 5.15-microsoft-standard-WSL2\n"}, None, "wsl"),
        ({"run__systemd__container": "lxc\n"}, None, "lxc"),
        ({"proc__cpuinfo": "flags : fpu hypervisor sse\n"}, None, "vm-other"),
        ({"proc__cpuinfo": "flags : fpu sse\n"}, None, "none"),
        ({"proc__cpuinfo": "Features : fp asimd\n"}, None, None),
        ({"sys__hypervisor__type": "xen\n"}, None, "xen"),
        ({".dockerenv": ""}, None, "docker"),
        ({".dockerenv": "", "proc__self__mountinfo": OVERLAY}, "kvm\n", "docker"),
        ({".dockerenv": "", "proc__self__mountinfo": DISK}, "docker\n", None),
        ({}, None, None),
    ],
)
def test_what_it_runs_on(
    tmp_path: Path, files: dict[str, str], command: str | None, expected: str | None
) -> None:
    made = machine(tmp_path, "ID=acme\n", **files)
    if command is not None:
        made.command(["systemd-detect-virt"], command)
    assert _virtualization.describe(made.host()) == expected


@given(st.text(), st.text(max_size=20))
def test_any_files_give_a_description(text: str, debian: str) -> None:
    value = os_info.describe(osrelease.parse(text), osrelease.parse(text), debian)
    assert all(v is None or v or v is False or k == "id_like" for k, v in value.items())


# --- machines of before os-release ------------------------------------------------------------

LSB_RELEASE = """\
No LSB modules are available.
Distributor ID:\tAcme
Description:\tAcme 12.4
Release:\t12.4
Codename:\tanvil
"""


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"etc__alpine-release": "3.4.6\n"}, ("alpine", "3.4.6")),
        ({"etc__arch-release": ""}, ("arch", None)),
        ({"etc__slackware-version": "Slackware 14.1\n"}, ("slackware", "14.1")),
        ({"etc__debian_version": "7.11\n"}, ("debian", "7.11")),
        ({"etc__debian_version": "jessie/sid\n"}, ("debian", None)),
        ({"etc__redhat-release": "CentOS release 6.10 (Final)\n"}, ("centos", "6.10")),
        ({"etc__SuSE-release": "SUSE Linux Enterprise Server 11\n"}, ("suse", "11")),
    ],
)
def test_older_systems_are_known_by_files_of_their_own(
    tmp_path: Path, files: dict[str, str], expected: tuple[str, str | None]
) -> None:
    value = collect(machine(tmp_path, None, **files))
    assert (value["state"], value["id"], value["version_id"]) == ("available", *expected)


def test_lsb_release_is_asked_where_there_is_no_file(tmp_path: Path) -> None:
    made = machine(tmp_path, None).command(["lsb_release", "-a"], LSB_RELEASE)
    value = collect(made)
    assert (value["id"], value["version_id"], value["codename"]) == ("acme", "12.4", "anvil")


@pytest.mark.parametrize(
    "text", ["", "Distributor ID:\tn/a\n", "Traceback (most recent call last)\n"]
)
def test_lsb_release_that_knows_nothing_leaves_it_unknown(tmp_path: Path, text: str) -> None:
    value = collect(machine(tmp_path, None).command(["lsb_release", "-a"], text))
    assert value["state"] == ("available" if "ID" in text and "n/a" not in text else "unknown")


@pytest.mark.parametrize(
    ("release", "lsb", "codename"),
    [
        ('ID=debian\nVERSION="8 (jessie)"\n', "", "jessie"),
        ('ID=centos\nVERSION="7 (Core)"\n', "", None),
        ("ID=ubuntu\n", "DISTRIB_ID=Ubuntu\nDISTRIB_CODENAME=trusty\n", "trusty"),
        ("ID=debian\n", "DISTRIB_ID=MX\nDISTRIB_CODENAME=libretto\n", None),
        (
            "ID=debian\nVERSION_CODENAME=trixie\n",
            "DISTRIB_ID=Debian\nDISTRIB_CODENAME=x\n",
            "trixie",
        ),
    ],
)
def test_codename_of_systems_that_do_not_set_it(
    tmp_path: Path, release: str, lsb: str, codename: str | None
) -> None:
    value = collect(machine(tmp_path, release, **{"etc__lsb-release": lsb}))
    assert value["codename"] == codename


def test_uname_with_everything_tells_kernel_and_architecture(tmp_path: Path) -> None:
    text = "Linux host 6.9.1-acme #101 SMP Tue Nov 14 13:30:08 UTC 2023 aarch64 GNU/Linux\n"
    value = collect(machine(tmp_path, "ID=x\n").command(["uname", "-a"], text))
    assert (value["kernel"], value["architecture"]) == ("6.9.1-acme", "aarch64")
