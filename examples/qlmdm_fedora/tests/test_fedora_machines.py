"""Whole machines: each as `qlmdm-collect --record` would have written it down, and all that the
adapter says of it. All are composed; what programs print has the form that `test_fedora_parsers`
names the source of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from qlmdm_core.api import Host
from qlmdm_core.testing import RecordedMachine, ReplayHost
from qlmdm_fedora import image, rpmdb
from qlmdm_fedora.adapter import FedoraAdapter
from qlmdm_fedora.restart import QUESTIONS

AT = "2026-11-01T12:00:00+00:00"
NOON = 1793534400
"""The same moment, in seconds since 1970."""
CHECK = ["dnf", "-C", "check-update"]
SECURITY = ["dnf", "-C", "-q", "updateinfo", "list", "--security"]
ADVISED = '<repomd><data type="primary"/><data type="updateinfo"/></repomd>'
PLAIN = '<repomd><data type="primary"/></repomd>'
NOT_DUE = (
    "No core libraries or services have been updated since boot-up.\n"
    "Reboot should not be necessary.\n"
)


def said(host: Host) -> dict[str, Any]:
    """Everything that the adapter says, but for the packages that are installed."""
    adapter = FedoraAdapter()
    release, restart = adapter.release_upgrade(host), adapter.reboot_required(host)
    found = asdict(adapter.updates(host))
    found["packages"] = [(row["name"], row["security"]) for row in found["packages"]]
    return {
        **found,
        "release": (release.available, release.supported_until, release.end_of_life),
        "restart": (restart.required, restart.reason),
    }


def lists(built: RecordedMachine, cache: str, name: str, *, age: int, text: str) -> None:
    where = f"{cache}/{name}-00112233445566ff/repodata/repomd.xml"
    built.file(where, text, mtime=NOON - age)


def workstation(path: Path) -> RecordedMachine:
    """Fedora 43 with dnf5, a browser's repository, a kernel held back, and a restart due."""
    built = RecordedMachine(path, recorded_at=AT, note="composed: Fedora 43 Workstation, dnf5")
    built.file(
        "/usr/lib/os-release",
        'NAME="Fedora Linux"\nVERSION="43 (Workstation Edition)"\nID=fedora\nVERSION_ID=43\n'
        'PRETTY_NAME="Fedora Linux 43 (Workstation Edition)"\nSUPPORT_END=2026-12-02\n',
    )
    built.link("/etc/os-release", "../usr/lib/os-release").link("/usr/bin/dnf", "dnf5")
    built.file("/usr/bin/dnf5", "", mode=0o755)
    for name, age, text in (
        ("fedora", 6 * 86400, PLAIN),
        ("updates", 7200, ADVISED),
        ("google-chrome", 600, PLAIN),
    ):
        built.file(f"/etc/yum.repos.d/{name}.repo", f"[{name}]\nenabled=1\n")
        lists(built, "/var/cache/libdnf5", name, age=age, text=text)
    built.file("/etc/dnf/versionlock.toml", '[[packages]]\nname = "kernel"\n')
    table = (
        "Upgrades\n"
        "curl.x86_64                 8.15.0-4.fc43   updates\n"
        "google-chrome-stable.x86_64 150.0.1-1       google-chrome\n"
        "vim-data.noarch             2:9.1.1900-1.fc43 updates\n\n"
        "Obsoleting packages\n"
        "newname.noarch              1.0-1.fc43      updates\n"
        "    oldname.noarch          1.0-1.fc43      updates\n"
    )
    built.command(CHECK, table, returncode=100)
    advisories = (
        "Name                   Type     Severity                 Package              Issued\n"
        "FEDORA-2026-1a2b3c4d5e security Important curl-8.15.0-3.fc43.x86_64 2026-10-20 01:02:03\n"
    )
    built.command(SECURITY, advisories)
    installed = "curl\t8.15.0-1.fc43\tx86_64\nvim-data\t2:9.1.1800-1.fc43\tnoarch\n"
    built.command(rpmdb.ALL, installed)
    due = (
        "Core libraries or services have been updated since boot-up:\n  * glibc\n\n"
        "Reboot is required to fully utilize these updates.\n"
        "More information: https://access.redhat.com/solutions/27943\n"
    )
    return built.command(QUESTIONS[0], due, returncode=1)


def server(path: Path) -> RecordedMachine:
    """Rocky Linux 9 with dnf 4, up to date; asked by somebody who is not root."""
    built = RecordedMachine(path, recorded_at=AT, root=False, note="composed: Rocky Linux 9, dnf 4")
    built.file(
        "/etc/os-release",
        'NAME="Rocky Linux"\nVERSION="9.6 (Blue Onyx)"\nID="rocky"\nVERSION_ID="9.6"\n'
        'ID_LIKE="rhel centos fedora"\nPLATFORM_ID="platform:el9"\nSUPPORT_END="2032-05-31"\n',
    )
    built.link("/usr/bin/dnf", "dnf-3")
    for name in ("baseos", "appstream", "extras"):
        text = f"[{name}]\nname={name}\nenabled=1\nmetadata_expire=6h\n"
        built.file(f"/etc/yum.repos.d/rocky-{name}.repo", text)
        lists(built, "/var/cache/dnf", name, age=3600, text=ADVISED)
    age = "Last metadata expiration check: 1:00:00 ago on Sun Nov  1 11:00:00 2026.\n"
    built.command(["dnf", "-C", "check-update"], age)
    return built.command(QUESTIONS[0], NOT_DUE)


def stream(path: Path) -> RecordedMachine:
    """CentOS Stream 9: no advisories, no plugin that tells of restarts, a kernel that waits."""
    built = RecordedMachine(path, recorded_at=AT, note="composed: CentOS Stream 9, dnf 4")
    built.file(
        "/etc/os-release",
        'NAME="CentOS Stream"\nVERSION="9"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="9"\n',
    )
    built.file("/etc/yum.repos.d/centos.repo", "[baseos]\nenabled=1\n\n[crb]\nenabled=0\n")
    lists(built, "/var/cache/dnf", "baseos", age=3 * 86400, text=PLAIN)
    table = (
        "Last metadata expiration check: 3 days, 0:00:00 ago on Thu Oct 29 12:00:00 2026.\n\n"
        "kernel-core.x86_64          5.14.0-620.el9              baseos\n"
    )
    built.command(CHECK, table, returncode=100).command(SECURITY, "")
    built.command(rpmdb.ALL, "kernel-core\t5.14.0-600.el9\tx86_64\n")
    text = "No such command: needs-restarting. Please use /usr/bin/dnf --help\n"
    built.command(QUESTIONS[0], "", stderr=text, returncode=1)
    built.file("/proc/sys/kernel/osrelease", "5.14.0-598.el9.x86_64\n")
    for kernel in ("5.14.0-598.el9.x86_64", "5.14.0-600.el9.x86_64"):
        built.file(f"/usr/lib/modules/{kernel}/vmlinuz", "")
    return built


def silverblue(path: Path) -> RecordedMachine:
    """Silverblue 43, which has put the next image in place by itself."""
    built = RecordedMachine(path, recorded_at=AT, note="composed: Fedora Silverblue 43, rpm-ostree")
    built.file(
        "/etc/os-release",
        'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=43\nVARIANT_ID=silverblue\n'
        "SUPPORT_END=2026-12-02\nOSTREE_VERSION='43.20261025.0'\n",
    )
    built.file("/run/ostree-booted", "")
    found = {
        "version": "43.20261101.0",
        "ref-has-new-commit": True,
        "deployment": "fedora-bb.0",
        "rpm-diff": {
            "upgraded": [[1, "curl", ["8.15.0-1.fc43", "x86_64"], ["8.15.0-3.fc43", "x86_64"]]]
        },
        "advisories": [["FEDORA-2026-1a2b3c", 1, 3, ["curl-8.15.0-3.fc43.x86_64"], {}]],
    }
    status = {
        "deployments": [
            {"booted": False, "staged": True, "version": "43.20261101.0", "checksum": "bb"},
            {"booted": True, "staged": False, "version": "43.20261025.0", "checksum": "aa"},
        ],
        "transaction": None,
        "cached-update": found,
    }
    return built.command(image.RPM_OSTREE, json.dumps(status))


def unregistered(path: Path) -> RecordedMachine:
    """RHEL 9 that nobody registered: dnf is content, and has nothing to offer."""
    built = RecordedMachine(path, recorded_at=AT, note="composed: RHEL 9, not registered")
    built.file(
        "/etc/os-release",
        'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.6"\n',
    )
    built.file("/etc/yum.repos.d/epel.repo", "[epel]\nenabled=1\n")
    lists(built, "/var/cache/dnf", "epel", age=60, text=ADVISED)
    stdout = (
        "Updating Subscription Management repositories.\nUnable to read consumer identity\n\n"
        "This system is not registered with an entitlement server. "
        "You can use subscription-manager to register.\n"
    )
    built.command(CHECK, stdout).command(SECURITY, "")
    return built.command(QUESTIONS[0], NOT_DUE)


RESTART = "43.20261101.0 is in place for the next start"
MACHINES: list[tuple[Callable[[Path], RecordedMachine], dict[str, Any]]] = [
    (
        workstation,
        {
            "state": "updates_available",
            "reason": "",
            "updates": 3,
            "security_updates": 1,
            "packages": [("curl", True), ("google-chrome-stable", None), ("vim-data", False)],
            "held": ("kernel",),
            "cache_age_seconds": 7200,
            "notes": ("would take the place of others: newname",),
            "release": ("Fedora Linux 44", "2026-12-01", False),
            "restart": (True, "updated since the start: glibc"),
        },
    ),
    (
        server,
        {
            "state": "up_to_date",
            "reason": "",
            "updates": 0,
            "security_updates": 0,
            "packages": [],
            "held": (),
            "cache_age_seconds": 3600,
            "notes": (),
            "release": ("Rocky Linux 10", "2032-05-30", False),
            "restart": (False, ""),
        },
    ),
    (
        stream,
        {
            "state": "updates_available",
            "reason": "",
            "updates": 1,
            "security_updates": None,
            "packages": [("kernel-core", None)],
            "held": (),
            "cache_age_seconds": 3 * 86400,
            "notes": (),
            "release": ("CentOS Stream 10", "2027-05-31", False),
            "restart": (
                True,
                "the kernel 5.14.0-600.el9.x86_64 is installed, 5.14.0-598.el9.x86_64 is running",
            ),
        },
    ),
    (
        silverblue,
        {
            "state": "updates_available",
            "reason": "",
            "updates": 1,
            "security_updates": 1,
            "packages": [("curl", True)],
            "held": (),
            "cache_age_seconds": None,
            "notes": (
                "the image is 43.20261025.0, the next one 43.20261101.0",
                "it is in place; a restart is all that is missing",
            ),
            "release": ("Fedora Linux 44", "2026-12-01", False),
            "restart": (True, RESTART),
        },
    ),
    (
        unregistered,
        {
            "state": "unknown",
            "reason": "the machine is not registered with Red Hat, which gives it no updates",
            "updates": None,
            "security_updates": None,
            "packages": [],
            "held": (),
            "cache_age_seconds": 60,
            "notes": (),
            "release": ("Red Hat Enterprise Linux 10", "2032-05-31", False),
            "restart": (False, ""),
        },
    ),
]


@pytest.mark.parametrize(
    ("build", "expected"), MACHINES, ids=[build.__name__ for build, _ in MACHINES]
)
def test_everything_that_is_said_of_a_machine(
    tmp_path: Path, build: Callable[[Path], RecordedMachine], expected: dict[str, Any]
) -> None:
    assert said(ReplayHost(build(tmp_path).write())) == expected
