"""Collects which updates of the operating system wait, and how long its release is supported.

Package managers differ, so the adapter to the distribution asks; here its answers are put
together, and nothing is called up to date that was not shown to be. Flatpak and snap are not
asked: neither can tell what waits without the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from qlmdm_core import osrelease
from qlmdm_core.api import JSON, Host, ReleaseUpgrade, Updates, unknown

MOST_PACKAGES = 300
"""How many packages are named; security updates come first."""


def collect(host: Host) -> JSON:
    """The pending updates, the next release, and how long this one is supported.

    `adapter` says who was asked, for those who advise what to do; `distribution` is the name
    that the machine gives itself.
    """
    adapter = host.distro
    name = _name(osrelease.read(host))
    if adapter is None:
        return unknown(
            f"no plugin knows the package manager of {name}",
            **_value(Updates(state="unknown"), ReleaseUpgrade()),
            distribution=name,
        )
    updates = adapter.updates(host)
    release = adapter.release_upgrade(host)
    value = _value(updates, release)
    value |= {"distribution": name, "adapter": adapter.name}
    value["cache_updated_at"] = _updated_at(host.now(), updates.cache_age_seconds)
    state, reason = updates.state, updates.reason
    if state == "up_to_date":
        reason = _doubt(updates, release)
        state = "unknown" if reason else state
    if state == "unknown":
        return unknown(reason or f"the adapter {adapter.name} gave no reason", **value)
    return {"state": state, **value}


def _doubt(updates: Updates, release: ReleaseUpgrade) -> str:
    """Why nothing to install does not mean up to date; empty if it does."""
    if updates.updates is None:
        return "the pending updates could not be counted"
    if updates.cache_age_seconds is None:
        return "it can't be told how old the package lists are"
    if release.end_of_life:
        return (
            f"the release has had no updates since {release.supported_until}, "
            "so that nothing to install proves nothing"
        )
    return ""


def _value(updates: Updates, release: ReleaseUpgrade) -> dict[str, JSON]:
    """The evidence beside `state` and `reason`."""
    packages = sorted(updates.packages, key=lambda package: package.get("security") is not True)
    notes = list(updates.notes)
    if len(packages) > MOST_PACKAGES:
        notes.append(f"{len(packages) - MOST_PACKAGES} packages are not named here")
    if release.reason:
        notes.append(f"release: {release.reason}")
    return {
        "updates": updates.updates,
        "security_updates": updates.security_updates,
        "packages": [dict(package) for package in packages[:MOST_PACKAGES]],
        "held": list(updates.held),
        "release_upgrade": release.available,
        "supported_until": release.supported_until,
        "end_of_life": release.end_of_life,
        "cache_age_seconds": updates.cache_age_seconds,
        "notes": notes,
    }


def _updated_at(now: datetime, age_seconds: int | None) -> str | None:
    """When the package lists were fetched, to ten minutes: unlike their age, it stays the same."""
    if age_seconds is None:
        return None
    at = (now.timestamp() - age_seconds) // 600 * 600
    return datetime.fromtimestamp(at, timezone.utc).isoformat()


def _name(os_release: Mapping[str, str]) -> str:
    """What the distribution calls itself: `Ubuntu 24.04.3 LTS`, or by its id."""
    for key in ("PRETTY_NAME", "NAME", "ID"):
        if name := os_release.get(key):
            return name[:80]
    return "a system without os-release"
