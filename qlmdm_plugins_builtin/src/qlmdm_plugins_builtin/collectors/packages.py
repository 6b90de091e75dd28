"""Collects the names and versions of all installed packages, if the site turned it on.

One object, name to version, since a machine has thousands: a list of objects would take three
times the space. What flatpak, snap, pip and others install is not there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from qlmdm_core.api import JSON, Host, unknown
from qlmdm_plugins_builtin.client_settings import PackagesSettings

MAX_BYTES = 1 << 20
"""Of the value: 4,000 packages take some 200 kB."""
_ROOM = 1000
"""Bytes for what is beside the packages."""
_ANY_ARCHITECTURE = (None, "", "all", "any", "noarch")


def collect(host: Host, config: PackagesSettings) -> JSON:
    """`listed`, with `packages`; `off` unless settings turn it on; else `unknown`."""
    if not config.enabled:
        reason = "it is not turned on in the settings"
        return {"state": "off", "reason": reason, "count": None, "packages": {}, "adapter": None}
    adapter = host.distro
    nothing: dict[str, JSON] = {"count": None, "packages": {}}
    if adapter is None:
        reason = "no plugin knows this system's package manager"
        return unknown(reason, **nothing, adapter=None)
    found = adapter.packages(host)
    if found.packages is None:
        reason = found.reason or "the adapter gave no reason"
        return unknown(reason, **nothing, adapter=adapter.name)
    listed = compact(found.packages)
    size = len(json.dumps(listed, ensure_ascii=False).encode("utf-8", "replace"))
    if size > MAX_BYTES - _ROOM:
        reason = f"the list takes {size} bytes, more than {MAX_BYTES}"
        return unknown(reason, count=len(listed), packages={}, adapter=adapter.name)
    return {"state": "listed", "count": len(listed), "packages": listed, "adapter": adapter.name}


def compact(packages: Iterable[Mapping[str, JSON]]) -> dict[str, str]:
    """Versions by name. A package of a foreign architecture has it behind its name, `libc6:i386`.

    Of a package that is installed in several versions (kernels, on Fedora), all are told, with
    spaces between them.

    >>> compact([{"name": "a", "version": "1"}, {"name": "a", "version": "2"}])
    {'a': '1 2'}
    """
    packages = list(packages)
    counted = Counter(
        package.get("architecture")
        for package in packages
        if package.get("architecture") not in _ANY_ARCHITECTURE
    )
    native = counted.most_common(1)[0][0] if counted else None
    found: dict[str, list[str]] = {}
    for package in packages:
        name, architecture = str(package.get("name") or ""), package.get("architecture")
        if architecture != native and architecture not in _ANY_ARCHITECTURE:
            name = f"{name}:{architecture}"
        found.setdefault(name, []).append(str(package.get("version") or ""))
    return {name: " ".join(versions) for name, versions in sorted(found.items())}
