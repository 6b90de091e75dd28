"""Tells which packages the owner of a machine told pacman to leave alone."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from qlmdm_core.api import Host
from qlmdm_plugins_arch import pacman

CONFIGURATION = "/etc/pacman.conf"
MOST_PATTERNS = 500
MOST_GROUPS = 5
"""How many are looked at: each pattern costs a comparison, each group a question to pacman."""


def among(host: Host, names: Iterable[str]) -> set[str]:
    """Those of these packages that pacman's configuration names, themselves or by a group."""
    try:
        told = pacman.parse_ignored(host.read(CONFIGURATION))
    except OSError:
        return set()
    members: set[str] = set()
    for group in told.groups[:MOST_GROUPS]:
        if not group.startswith("-"):
            result = host.run(("pacman", "-Qgq", group))
            members.update(result.stdout.split() if result.ok else ())
    return {
        name
        for name in names
        if name in members
        or any(fnmatchcase(name, pattern) for pattern in told.packages[:MOST_PATTERNS])
    }
