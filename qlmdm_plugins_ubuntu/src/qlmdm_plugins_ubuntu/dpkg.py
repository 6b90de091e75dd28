"""Asks dpkg which version of a package is installed."""

from __future__ import annotations

import re

from qlmdm_core.api import Host

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*(?::[a-z0-9-]+)?\Z")  # Debian policy 5.6.1
_FORMAT = "${db:Status-Abbrev}\t${Version}\n"


def package_version(host: Host, name: str) -> str | None:
    """The installed version of a package; None if it is not installed, or dpkg can't be asked."""
    if not _NAME.match(name):  # it would be an option, or a pattern
        return None
    result = host.run(("dpkg-query", "-W", f"-f={_FORMAT}", name))
    return parse_version(result.stdout) if result.ok else None


def parse_version(text: str) -> str | None:
    """The version in dpkg-query's answer, if the package is installed.

    The first of the three letters is what is wanted, the second what is so: `ii ` and `hi `
    are installed, `rc ` has left only its configuration behind, `iF ` is half configured.

    >>> parse_version("ii \\t5.2.15-2+b8\\n")
    '5.2.15-2+b8'
    """
    for line in text.splitlines():
        status, tab, version = line.partition("\t")
        if tab and version.strip() and status[1:2] == "i":
            return version.strip()
    return None
