"""What dnf and yum printed on real machines, against what a person concluded from it.

As `test_recorded_os_updates`, for the adapter in examples/qlmdm_fedora. The recordings are not
part of this repository; QLMDM_RECORDED names the folder that holds them.
"""

from __future__ import annotations

import csv
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qlmdm_core.api import JSON
from qlmdm_core.testing import RecordedMachine
from qlmdm_plugins_builtin.collectors import os_updates

EXAMPLE = Path(__file__).parents[2] / "examples/qlmdm_fedora/src"
FOLDER = os.environ.get("QLMDM_RECORDED")
pytestmark = [
    pytest.mark.skipif(not FOLDER, reason="QLMDM_RECORDED does not name a folder of recordings"),
    pytest.mark.skipif(not EXAMPLE.is_dir(), reason="examples/qlmdm_fedora is not here"),
]
NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
RECORDINGS = {
    "centos-7-1.yum-check-update.stdout",
    "dnf-check-update.txt",
    "oracle-linux-8.yum-check-update.stdout",
}
NOISE = "centos-7-1.yum-check-update.stderr"
CENTOS7 = 'NAME="CentOS Linux"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="7"\n'
ORACLE8 = 'NAME="Oracle Linux Server"\nID="ol"\nID_LIKE="fedora"\nVERSION_ID="8.10"\n'

if TYPE_CHECKING:
    from qlmdm_fedora.adapter import FedoraAdapter


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> FedoraAdapter:
    """The example's adapter, which need not be installed."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLE), *sys.path])
    from qlmdm_fedora.adapter import FedoraAdapter

    return FedoraAdapter()


def recorded(name: str) -> str:
    assert FOLDER
    return (Path(FOLDER) / "os_updates" / name).read_text(encoding="utf-8")


def machine(path: Path, os_release: str, repositories: dict[str, bool]) -> RecordedMachine:
    """A machine that is in order; for each repository, whether it has advisories."""
    built = RecordedMachine(path, recorded_at=NOW.isoformat()).file("/etc/os-release", os_release)
    for name, advised in repositories.items():
        built.file(f"/etc/yum.repos.d/{name}.repo", f"[{name}]\nenabled=1\n")
        index = '<data type="updateinfo"/>' if advised else ""
        where = f"/var/cache/dnf/{name}-00112233445566ff/repodata/repomd.xml"
        built.file(where, index, mtime=NOW.timestamp() - 3600)
    return built


def judged(built: RecordedMachine, adapter: FedoraAdapter) -> dict[str, JSON]:
    value: dict[str, JSON] = os_updates.collect(built.host(distro=adapter))
    return value


def test_every_recording_of_this_family_is_met() -> None:
    assert FOLDER
    with open(Path(FOLDER) / "INDEX.tsv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = {row["file"].split("/")[1] for row in rows if row["collector"] == "os_updates"}
    family = {name for name in names if "yum" in name or "dnf" in name or "rpm-ostree" in name}
    assert family == {*RECORDINGS, NOISE}


def test_yum_of_centos_7(tmp_path: Path, adapter: FedoraAdapter) -> None:
    """Patches wait; security can't be told, for CentOS has no advisories. The mirrors' failures
    on standard error change nothing, nor does what the section of obsoleting packages names."""
    built = machine(tmp_path, CENTOS7, {"base": False, "updates": False})
    built.command(
        ["yum", "check-update"],
        recorded("centos-7-1.yum-check-update.stdout"),
        stderr=recorded(NOISE),
        returncode=100,
    )
    built.command(["yum", "updateinfo", "list", "security"], "Loaded plugins: fastestmirror\n")
    value = judged(built, adapter)
    assert (value["state"], value["updates"], value["security_updates"]) == (
        "updates_available",
        41,
        None,
    )
    names = [package["name"] for package in value["packages"]]
    assert "google-compute-engine-oslogin" in names  # its row is wrapped
    assert "google-cloud-cli" not in names  # would take the place of another
    assert value["end_of_life"] is True


def test_dnf_of_oracle_linux_8(tmp_path: Path, adapter: FedoraAdapter) -> None:
    """Patches wait; what stands below "Obsoleting Packages" doesn't count a second time."""
    names = ("ol8_baseos_latest", "ol8_appstream", "ol8_UEKR7")
    built = machine(tmp_path, ORACLE8, dict.fromkeys(names, True))
    text = recorded("oracle-linux-8.yum-check-update.stdout")
    built.command(["dnf", "check-update"], text, returncode=100)
    built.command(["dnf", "updateinfo", "list", "--security"], "")
    value = judged(built, adapter)
    assert (value["state"], value["updates"], value["security_updates"]) == (
        "updates_available",
        73,
        0,
    )
    assert any("kernel-headers" in note for note in value["notes"])


def test_dnf_with_repositories_of_third_parties(tmp_path: Path, adapter: FedoraAdapter) -> None:
    """Patches wait, some from repositories whose names dnf cut; the first line is no package."""
    built = machine(tmp_path, CENTOS7, {"base": False, "updates": False})
    built.command(["dnf", "check-update"], recorded("dnf-check-update.txt"), returncode=100)
    value = judged(built, adapter)
    assert (value["state"], value["updates"], value["security_updates"]) == (
        "updates_available",
        15,
        None,
    )
    names = [package["name"] for package in value["packages"]]
    assert {"brave-browser", "osquery", "zlib"} <= set(names)


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_the_status_alone_decides_nothing(
    tmp_path: Path, adapter: FedoraAdapter, name: str
) -> None:
    """A recording that says nothing of the exit status still shows that updates wait."""
    built = machine(tmp_path, CENTOS7, {"base": False, "updates": False})
    built.command(["dnf", "check-update"], recorded(name))
    assert judged(built, adapter)["state"] == "updates_available"
