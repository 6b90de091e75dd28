"""The adapter asks the real dnf, about a root with packages and repositories made for the purpose.

Nothing here is a sample: rpmbuild makes the packages, createrepo_c the repositories, dnf fetches
and answers. It needs root, for rpm installs only as root, and is skipped where a program is
missing; `apt-get install dnf rpm createrepo-c` or `dnf install rpm-build createrepo_c` has them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.api import CommandResult, FileStat
from qlmdm_core.host.real import RealHost
from qlmdm_fedora.adapter import FedoraAdapter

PROGRAMS = ("dnf", "rpm", "rpmbuild", "createrepo_c", "modifyrepo_c")
MISSING = [name for name in PROGRAMS if not shutil.which(name)]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: rpm installs into a root of its own"),
]

BASE = (("alpha", "1.0"), ("beta", "2.0"), ("gamma", "3.0"), ("locked", "1.0"), ("oldname", "1.0"))
UPDATES = (("alpha", "1.1"), ("alpha", "1.2"), ("beta", "2.1"), ("locked", "1.1"))
SPEC = """\
Name: {name}
Version: {version}
Release: 1.fc99
Summary: made for a test
License: MIT
BuildArch: noarch
{more}
%description
made for a test
%files
"""
ADVISORY = """\
<update from="test@example.org" status="stable" type="{kind}" version="1">
<id>FEDORA-2026-{name}{version}</id><title>x</title><severity>Important</severity>
<issued date="2026-10-01 00:00:00"/><updated date="2026-10-01 00:00:00"/>
<description>x</description><references/><pkglist><collection short="F99"><name>F99</name>
<package name="{name}" version="{version}" release="1.fc99" epoch="0" arch="noarch">
<filename>{name}-{version}-1.fc99.noarch.rpm</filename></package>
</collection></pkglist></update>
"""


def call(*argv: object) -> str:
    words = [str(word) for word in argv]
    result = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"
    return result.stdout


def build(folder: Path, name: str, version: str, more: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, version=version, more=more))
    call(
        "rpmbuild",
        "-bb",
        "--quiet",
        f"--define=_rpmdir {folder}",
        f"--define=_topdir {folder}/b",
        spec,
    )


class RootedHost(RealHost):
    """The real machine, but for dnf, rpm and files: they are those of a root in a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.folder = root
        self._real = RealHost()

    @property
    def is_dnf5(self) -> bool:
        return "dnf5" in os.readlink("/usr/bin/dnf")

    @property
    def cache(self) -> Path:
        return self.folder / ("var/cache/libdnf5" if self.is_dnf5 else "var/cache/dnf")

    def dnf(self) -> tuple[str, ...]:
        return (
            "dnf",
            f"--installroot={self.folder}",
            "--releasever=99",
            f"--setopt=reposdir={self.folder}/etc/yum.repos.d",
            f"--setopt=cachedir={self.cache}",
            f"--setopt=system_cachedir={self.cache}",
            f"--setopt=varsdir={self.folder}/etc/dnf/vars",
            "--disableplugin=*",
        )

    def run(self, argv: Sequence[str], **kwargs: Any) -> CommandResult:
        if argv[0] == "dnf":
            argv = (*self.dnf(), *argv[1:])
        elif argv[0] == "rpm":
            argv = ("rpm", f"--root={self.folder}", *argv[1:])
        return super().run(argv, **kwargs)

    def read(self, path: str, **kwargs: Any) -> str:
        return self._real.read(f"{self.folder}{path}", **kwargs)

    def exists(self, path: str) -> bool:
        return self._real.exists(f"{self.folder}{path}")

    def glob(self, pattern: str) -> list[str]:
        prefix = str(self.folder)
        return [path.removeprefix(prefix) for path in self._real.glob(prefix + pattern)]

    def listdir(self, path: str) -> list[str]:
        return self._real.listdir(f"{self.folder}{path}")

    def stat(self, path: str) -> FileStat:
        return self._real.stat(f"{self.folder}{path}")

    # readlink stays that of the real machine: it tells which generation of dnf is there.


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two repositories: `fedora`, and `updates` with advisories."""
    folder = tmp_path_factory.mktemp("repositories")
    for name, version in BASE:
        build(folder / "fedora", name, version)
    for name, version in UPDATES:
        build(folder / "updates", name, version)
    build(folder / "updates", "newname", "1.0", "Obsoletes: oldname < 2")
    for name in ("fedora", "updates"):
        call("createrepo_c", "-q", folder / name)
    advisories = [
        ("alpha", "1.1", "security"),
        ("alpha", "1.2", "bugfix"),
        ("locked", "1.1", "security"),
    ]
    text = "".join(ADVISORY.format(name=n, version=v, kind=k) for n, v, k in advisories)
    listing = folder / "updateinfo.xml"
    listing.write_text(f'<?xml version="1.0"?><updates>{text}</updates>')
    call("modifyrepo_c", "--mdtype=updateinfo", listing, folder / "updates/repodata")
    return folder


@pytest.fixture
def host(repositories: Path, tmp_path: Path) -> RootedHost:
    """A root in which the base packages are installed, and no lists have been fetched."""
    root = tmp_path / "root"
    (root / "etc/yum.repos.d").mkdir(parents=True)
    (root / "etc/dnf/vars").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=fedora\nVERSION_ID=99\nSUPPORT_END=2099-01-01\n")
    lines = "[{0}]\nname={0}\nbaseurl=file://{1}/{0}\nenabled=1\ngpgcheck=0\n"
    text = "".join(lines.format(name, repositories) for name in ("fedora", "updates"))
    (root / "etc/yum.repos.d/test.repo").write_text(text)
    (root / "var/lib/rpm").mkdir(parents=True)
    packages = sorted((repositories / "fedora").glob("noarch/*.rpm"))
    call("rpm", f"--root={root}", "-i", "--nosignature", *packages)
    return RootedHost(root)


def fetch(host: RootedHost) -> None:
    call(*host.dnf(), "-q", "makecache")


def test_updates_that_wait(host: RootedHost) -> None:
    fetch(host)
    found = FedoraAdapter().updates(host)
    rows = {
        str(package["name"]): (package["installed"], package["available"], package["security"])
        for package in found.packages
    }
    assert rows == {
        "alpha": ("1.0-1.fc99", "1.2-1.fc99", True),
        "beta": ("2.0-1.fc99", "2.1-1.fc99", False),
        "locked": ("1.0-1.fc99", "1.1-1.fc99", True),
    }
    assert (found.state, found.updates, found.security_updates) == ("updates_available", 3, 2)
    # dnf5 names what replaces others only where an update does.
    replaced = "would take the place of others: newname"
    assert found.notes == (() if host.is_dnf5 else (replaced,))
    assert found.cache_age_seconds is not None
    assert found.cache_age_seconds < 100


def test_what_is_excluded_is_no_update(host: RootedHost) -> None:
    fetch(host)
    with (host.folder / "etc/yum.repos.d/test.repo").open("a") as file:
        file.write("exclude=alpha locked newname\n")
    found = FedoraAdapter().updates(host)
    assert [package["name"] for package in found.packages] == ["beta"]
    assert (found.updates, found.security_updates) == (1, 0)
    assert found.held == ("alpha", "locked", "newname")


def test_nothing_waits_once_all_is_installed(host: RootedHost, repositories: Path) -> None:
    fetch(host)
    newest = [
        *(f"noarch/{name}-{version}-1.fc99.noarch.rpm" for name, version in UPDATES[1:]),
        "noarch/newname-1.0-1.fc99.noarch.rpm",
    ]
    paths = [repositories / "updates" / path for path in newest]
    call("rpm", f"--root={host.folder}", "-U", "--nosignature", *paths)
    found = FedoraAdapter().updates(host)
    assert (found.state, found.updates, found.security_updates) == ("up_to_date", 0, 0)


def test_without_lists_nothing_is_proved(host: RootedHost) -> None:
    found = FedoraAdapter().updates(host)
    assert found.state == "unknown"
    assert found.reason.startswith("dnf has no lists of fedora")


def test_with_only_some_of_the_lists_nothing_is_proved(host: RootedHost) -> None:
    fetch(host)
    for folder in host.cache.glob("updates*"):
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    found = FedoraAdapter().updates(host)
    assert (found.state, found.reason) == (
        "unknown",
        "dnf has no lists of updates; run: sudo dnf makecache",
    )


def test_asking_fetches_nothing_and_leaves_the_lists_alone(host: RootedHost) -> None:
    fetch(host)
    before = {path: path.stat().st_mtime_ns for path in host.cache.rglob("*.xml*")}
    (host.folder / "etc/yum.repos.d/test.repo").write_text(
        (host.folder / "etc/yum.repos.d/test.repo").read_text() + "metadata_expire=1\n"
    )
    assert FedoraAdapter().updates(host).updates == 3
    assert {path: path.stat().st_mtime_ns for path in host.cache.rglob("*.xml*")} == before


def test_the_packages_that_are_installed(host: RootedHost) -> None:
    found = FedoraAdapter().packages(host)
    assert found.packages is not None
    assert [package["name"] for package in found.packages] == [name for name, _ in BASE]
    assert FedoraAdapter().package_version(host, "beta") == "2.0-1.fc99"
    assert FedoraAdapter().package_version(host, "nosuch") is None


def test_a_restart_is_not_due_on_a_machine_that_updated_nothing(host: RootedHost) -> None:
    found = FedoraAdapter().reboot_required(host)
    assert found.required is not True
