"""Asks rpm's database what is installed."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from qlmdm_core.api import Host, InstalledPackages
from qlmdm_fedora.versions import Package, compare, normal_version, parse_nevra

FORMAT = "%{NAME}\\t%{EVR}\\t%{ARCH}\\n"
"""rpm expands `\\t` and `\\n` itself. EVR exists since rpm 4.10 (EL 7 has 4.11)."""
ALL = ("rpm", "-qa", f"--qf={FORMAT}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")


def installed(host: Host) -> tuple[Package, ...] | str:
    """All installed packages, or why they can't be told."""
    result = host.run(ALL, timeout=30.0, max_bytes=8 << 20)
    if not result.ok:
        return result.why
    return parse_packages(result.stdout) or "rpm's answer is not understood"


def packages(host: Host) -> InstalledPackages:
    """All installed packages, by name, in the form of the contract."""
    found = installed(host)
    if isinstance(found, str):
        return InstalledPackages(packages=None, reason=found)
    rows = sorted(found, key=lambda package: (package.name, package.arch))
    return InstalledPackages(
        packages=tuple(
            {"name": row.name, "version": row.version, "architecture": row.arch} for row in rows
        )
    )


def package_version(host: Host, name: str) -> str | None:
    """The installed version of a package, the newest if there are several (kernels)."""
    if not _NAME.match(name):
        return None
    result = host.run(("rpm", "-q", f"--qf={FORMAT}", name))
    if not result.ok:
        return None
    versions = [row.version for row in parse_packages(result.stdout) if row.name == name]
    return max(versions, key=functools.cmp_to_key(compare)) if versions else None


def parse_packages(text: str) -> tuple[Package, ...]:
    """Read lines of name, version and architecture, parted by tabs, or the names rpm prints
    by itself (`bash-5.2.26-6.el10.x86_64`). Imported keys (gpg-pubkey) are no packages."""
    return tuple(
        package for package in _rows(text) if package is not None and package.name != "gpg-pubkey"
    )


def _rows(text: str) -> Iterable[Package | None]:
    for line in text.splitlines():
        cells = line.strip().split("\t")
        if len(cells) == 3 and all(cells) and "-" in cells[1]:
            yield Package(name=cells[0], version=normal_version(cells[1]), arch=cells[2])
        elif len(cells) == 1:
            yield parse_nevra(cells[0])
