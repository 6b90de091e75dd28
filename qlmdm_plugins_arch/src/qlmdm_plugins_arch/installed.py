"""Asks pacman for all packages that are installed, with their versions."""

from __future__ import annotations

from qlmdm_core.api import JSON, Host, InstalledPackages

QUERY = ("pacman", "-Q")


def packages(host: Host) -> InstalledPackages:
    """What pacman's local database holds; None if it can't be asked.

    pacman tells the architecture only with `-Qi`, which takes seconds; on a machine it is
    always the same, or `any`.
    """
    result = host.run(QUERY, timeout=30.0)
    if not result.ok:
        return InstalledPackages(packages=None, reason=result.why)
    found = parse(result.stdout)
    if not found:  # pacman itself is a package
        return InstalledPackages(packages=None, reason="pacman named no installed package")
    return InstalledPackages(packages=tuple(found))


def parse(text: str) -> list[dict[str, JSON]]:
    """The packages in the answer of `pacman -Q`, by name.

    >>> parse("zlib 1:1.3.1-2\\nbash 5.3.3-2\\nerror: no\\n")[0]
    {'name': 'bash', 'version': '5.3.3-2', 'architecture': None}
    """
    found: list[dict[str, JSON]] = []
    for line in text.splitlines():
        words = line.split()
        # A version is never without a release: `pkgver-pkgrel`.
        if len(words) == 2 and "-" in words[1] and not words[0].endswith(":"):
            found.append({"name": words[0], "version": words[1], "architecture": None})
    return sorted(found, key=lambda package: str(package["name"]))
