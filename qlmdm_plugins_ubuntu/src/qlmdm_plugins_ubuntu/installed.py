"""Asks dpkg for all packages that are installed, with their versions."""

from __future__ import annotations

from qlmdm_core.api import JSON, Host, InstalledPackages

QUERY = (
    "dpkg-query",
    "-W",
    "-f=${db:Status-Abbrev}\\t${Package}\\t${Version}\\t${Architecture}\\n",
)


def packages(host: Host) -> InstalledPackages:
    """What the database of dpkg calls installed; None if it can't be asked."""
    result = host.run(QUERY, timeout=30.0)
    if not result.ok:
        return InstalledPackages(packages=None, reason=result.why)
    found = parse(result.stdout)
    if not found:  # no Debian has none: dpkg itself is a package
        return InstalledPackages(packages=None, reason="dpkg-query named no installed package")
    return InstalledPackages(packages=tuple(found))


def parse(text: str) -> list[dict[str, JSON]]:
    """The installed packages in an answer to `QUERY`, by name and architecture.

    The second letter of the status is what is so: `i` is installed. What was removed but for
    its configuration (`rc`), or is half installed, is not there.

    >>> parse("ii \\tbash\\t5.2.15-2+b8\\tamd64\\nrc \\tfoo\\t1\\tall\\n")
    [{'name': 'bash', 'version': '5.2.15-2+b8', 'architecture': 'amd64'}]
    """
    found = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 4 or fields[0][1:2] != "i":
            continue
        name, version, architecture = (field.strip() for field in fields[1:])
        if name and version:
            found.append({"name": name, "version": version, "architecture": architecture or None})
    return sorted(found, key=lambda package: (package["name"] or "", package["architecture"] or ""))
