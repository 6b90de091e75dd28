"""What is said of a machine that lacks updates, and what a person should type there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date

from qlmdm_core.api import JSON

_INSTALL = {
    "ubuntu": "sudo apt full-upgrade",
    "arch": "sudo pacman -Syu",
    "fedora": "sudo dnf upgrade (on an image-based system: rpm-ostree upgrade)",
}
_FETCH = {
    "ubuntu": "sudo apt update",
    "arch": "sudo pacman -Syu",
    "fedora": "sudo dnf makecache (on an image-based system: rpm-ostree upgrade --check)",
}
"""By the adapter that asked the machine. Never `pacman -Sy`: it would leave the machine half
upgraded with the next package that is installed."""

NO_SECURITY_ARCHIVE = (
    "nothing waits, but no security archive is among the package lists. "
    "Add it to the sources of the package manager"
)


def _command(value: Mapping[str, JSON], commands: Mapping[str, str]) -> str:
    command = commands.get(str(value.get("adapter")))
    return f": {command}" if command else " with the system's package manager"


def fetch(value: Mapping[str, JSON]) -> str:
    """How package lists are fetched, to stand behind a verb."""
    return _command(value, _FETCH)


def _install(value: Mapping[str, JSON], count: int | None) -> str:
    return f"Install {'it' if count == 1 else 'them'}{_command(value, _INSTALL)}"


def waiting(value: Mapping[str, JSON], updates: int | None, security: int | None) -> str:
    """That updates wait, which, and how they are installed."""
    wait = f"{updates} updates wait" if updates != 1 else "1 update waits"
    if updates is None:
        wait = "updates wait"
    if security:
        wait += f" ({security} for security)"
    return f"{wait}{_named(_packages(value))}. {_install(value, updates)}"


def waiting_for_security(value: Mapping[str, JSON], security: int) -> str:
    """That security updates wait, which, and how they are installed."""
    wait = f"{security} security updates wait" if security != 1 else "1 security update waits"
    names = [package for package in _packages(value) if package.get("security") is True]
    return f"{wait}{_named(names)}. {_install(value, security)}"


def not_told_apart(value: Mapping[str, JSON], updates: int | None) -> str:
    """That updates wait of which nobody knows whether they are for security."""
    wait = f"{updates or 'some'} updates wait, and which of them are for security can't be told"
    if updates == 1:
        wait = "1 update waits, and whether it is for security can't be told"
    return f"{wait}. {_install(value, updates)}"


def ended(value: Mapping[str, JSON]) -> str:
    """That the release is given no updates any more, and where to move."""
    since = value.get("supported_until")
    day = f" since {since[:10]}" if isinstance(since, str) else ""
    return f"{_distribution(value)} has been given no updates{day}. {_upgrade(value)}"


def old_release(value: Mapping[str, JSON], until: date | None) -> str:
    """That the release will soon be given no updates, and where to move."""
    ends = "is supported until a day that is not known"
    if until is not None:
        ends = f"is supported until {until.isoformat()} only"
    return f"{_distribution(value)} {ends}. {_upgrade(value)}"


def evidence(value: Mapping[str, JSON]) -> JSON:
    """What a verdict rests on."""
    keys = ("distribution", "updates", "security_updates", "supported_until", "release_upgrade")
    shown = {key: value.get(key) for key in keys}
    shown["packages"] = [package.get("name") for package in _packages(value)[:20]]
    return shown


def _distribution(value: Mapping[str, JSON]) -> str:
    name = value.get("distribution")
    return name[:80] if isinstance(name, str) and name else "the installed release"


def _upgrade(value: Mapping[str, JSON]) -> str:
    following, name = value.get("release_upgrade"), _distribution(value)
    if not isinstance(following, str):
        return "Move to a release that is supported"
    if name.startswith("Ubuntu "):
        pro = ", or get its security updates for longer: sudo pro attach" if "LTS" in name else ""
        return f"Move to {following[:80]}: sudo do-release-upgrade{pro}"
    if value.get("adapter") == "fedora" and name.startswith("Fedora"):
        number = re.search(r" ([0-9]{1,4})\Z", following)
        return (
            f"Move to {following[:80]}: sudo dnf system-upgrade download --releasever="
            f"{number[1] if number else 'NEXT'} && sudo dnf system-upgrade reboot"
        )
    return f"Move to {following[:80]}, as its release notes say"


def _packages(value: Mapping[str, JSON]) -> list[dict[str, JSON]]:
    packages = value.get("packages")
    if not isinstance(packages, list):
        return []
    return [package for package in packages if isinstance(package, dict)]


def _named(packages: Iterable[Mapping[str, JSON]], most: int = 5) -> str:
    names = [name[:60] for p in packages if isinstance(name := p.get("name"), str)]
    if not names:
        return ""
    return ": " + ", ".join(names[:most]) + (" and others" if len(names) > most else "")
