"""Looks at apt's package lists: how old they are, and whether security updates are among them.

An upgrade can only be as complete as the lists that it is computed from. A machine that
never fetches them, or has none (a cleaned image), has "nothing to upgrade" for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from qlmdm_core.api import Host

LISTS = "/var/lib/apt/lists"
STAMP = "/var/lib/apt/periodic/update-success-stamp"
"""Touched after each `apt update` that succeeded, where update-notifier-common is installed."""
CLOCK_ERROR = 86400.0
"""Seconds by which a file may come from the future before its time is taken for nonsense."""


@dataclass(frozen=True, kw_only=True)
class PackageLists:
    """What is known of apt's package lists on one machine."""

    found: bool
    """There is at least one list."""
    age_seconds: int | None = None
    security: bool = False
    """A security archive's list is among them (Ubuntu Pro's do not count)."""
    infra_pro: bool = False
    """Ubuntu Pro's lists for the base system (esm-infra) are among them: it is subscribed."""
    elts: bool = False
    """Freexian's extended support for Debian is among them."""


def examine(host: Host) -> PackageLists:
    """Look at the lists of this machine, without fetching anything."""
    # Older archives, and some mirrors, have Release and Release.gpg in place of InRelease.
    paths = host.glob(f"{LISTS}/*Release")
    security = [path for path in paths if is_security_list(path)]
    # A browser's own archive is fetched and changed daily, whatever becomes of the
    # distribution's: where there are security lists, theirs is the time that matters.
    return PackageLists(
        found=bool(paths),
        age_seconds=_age(host, security or paths) if paths else None,
        security=bool(security),
        infra_pro=any("infra-security" in path for path in paths),
        elts=any("extended-lts" in path for path in paths),
    )


def is_security_list(path: str) -> bool:
    """Whether the file name of a list tells that it is a distribution's security archive's.

    It is made of the address: `security.ubuntu.com_ubuntu_dists_noble-security_InRelease`,
    `deb.debian.org_debian-security_dists_bookworm-security_InRelease`; for Debian up to 10
    `security.debian.org_dists_buster_updates_InRelease`.
    """
    name = path.rsplit("/", 1)[-1]
    where, _, suite = name.partition("_dists_")
    if "-infra-security" in suite or "-apps-security" in suite:
        return False
    return "security" in suite or "debian-security" in where or where.startswith("security.")


def _age(host: Host, paths: Iterable[str]) -> int | None:
    """Seconds since the newest of these lists, or since the last fetch that is known of.

    The time of a list is the archive's own: apt gives the file the time that the server
    names, so that lists can seem older than they are, never newer.
    """
    now = host.now()
    newest = [
        time
        for path in [STAMP, *paths]
        if (time := _mtime(host, path)) is not None and 0 < time <= now.timestamp() + CLOCK_ERROR
    ]
    if not newest:
        dates = [_published(host, path) for path in paths]
        newest = [date.timestamp() for date in dates if date and date <= now]
    return max(0, int(now.timestamp() - max(newest))) if newest else None


def _mtime(host: Host, path: str) -> float | None:
    try:
        return host.stat(path).mtime
    except OSError:
        return None


def _published(host: Host, path: str) -> datetime | None:
    try:
        return parse_date(host.read(path, max_bytes=4096))
    except OSError:
        return None


def parse_date(text: str) -> datetime | None:
    """The `Date:` of a Release file (`Sun, 22 Nov 2026 19:58:56 UTC`), aware, or None."""
    from email.utils import parsedate_to_datetime  # slow to import, and hardly ever needed

    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "Date":
            try:
                date = parsedate_to_datetime(value.strip())
                return date if date.tzinfo else None
            except (ValueError, TypeError, IndexError, OverflowError):
                return None
    return None


# --- which sources are configured ---------------------------------------------------------


def security_configured(host: Host) -> bool | None:
    """Whether apt's sources name a security archive; None if no sources can be read."""
    found = None
    for pattern in ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*"):
        for path in host.glob(pattern):
            try:
                text = host.read(path)
            except OSError:
                return None
            if path.endswith(".list"):
                active = parse_one_line_sources(text)
            elif path.endswith(".sources"):
                active = parse_deb822_sources(text)
            else:
                continue  # apt leaves out other names, such as `x.list.disabled`
            found = found or any("security" in source for source in active)
    return found


def parse_one_line_sources(text: str) -> list[str]:
    """The active lines of a sources.list(5) file: `deb [options] URI SUITE COMPONENT…`."""
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [line for line in lines if line.split()[:1] == ["deb"]]


def parse_deb822_sources(text: str) -> list[str]:
    """The `URIs` and `Suites` of each active stanza of a `.sources` file (sources.list(5))."""
    active: list[str] = []
    for stanza in _stanzas(text):
        types = stanza.get("types", "deb").split()
        if stanza.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in types:
            continue
        active.append(f"{stanza.get('uris', '')} {stanza.get('suites', '')}")
    return active


def _stanzas(text: str) -> list[dict[str, str]]:
    stanzas: list[dict[str, list[str]]] = [{}]
    key = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            stanzas.append({})
            key = ""
        elif line[0].isspace():
            if key:
                stanzas[-1][key].append(line.strip())
        else:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            stanzas[-1][key] = [value.strip()]
    return [
        {name: " ".join(lines) for name, lines in stanza.items()} for stanza in stanzas if stanza
    ]
