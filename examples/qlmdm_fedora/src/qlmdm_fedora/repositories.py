"""Looks at dnf's repositories: which are enabled, how old their lists are, what they tell.

Updates can only be as complete as the lists that they are computed from. The lists of each
repository lie in a folder of their own below dnf's cache, named by the repository's id and a
hash: `/var/cache/dnf/updates-9f8e7d6c5b4a3928/repodata/repomd.xml` (dnf5: `/var/cache/libdnf5`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from qlmdm_core.api import Host
from qlmdm_fedora import dnf

DNF4, DNF5 = "/var/cache/dnf", "/var/cache/libdnf5"
CLOCK_ERROR = 86400.0
"""Seconds by which a file may come from the future before its time is taken for nonsense."""
DEFINITIONS = (
    "/etc/yum.repos.d/*.repo",
    "/etc/yum/repos.d/*.repo",
    "/etc/distro.repos.d/*.repo",
    "/etc/dnf/repos.override.d/*.repo",  # dnf5: changes to what the others define
)

_OWN = re.compile(
    r"(updates|fedora|rawhide|eln|base|crb|powertools|extras|amazonlinux|appstream|baseos)(-|\Z)|"
    r"(rhel|rhui|centos|rocky|almalinux)\b|amzn|ol[0-9]+_|.*\b(baseos|appstream|codeready)\b",
    re.IGNORECASE,
)
"""What the ids of the distributions' own repositories contain. Beside them, a browser's own
repository is fetched and changed daily, whatever becomes of the distribution's."""
_FROZEN = ("fedora", "fedora-modular", "fedora-cisco-openh264", "fedora-cisco-openh264-debuginfo")
"""Fedora's repositories that hardly change after the release: dnf asks for them anew only once
a week, so that their age says nothing."""
_THIRD = re.compile(r"epel|rpmfusion|copr|debuginfo|source|google|vscode|docker", re.IGNORECASE)


def is_own(repository: str) -> bool:
    """Whether a repository's id looks like one of the distribution's own."""
    return bool(_OWN.match(repository)) and not _THIRD.search(repository)


@dataclass(frozen=True, kw_only=True)
class Lists:
    """The lists of one repository that lie in dnf's cache."""

    age_seconds: int | None = None
    advisories: bool = False
    """It says which updates mend security holes (CentOS and many third parties don't)."""


@dataclass(frozen=True, kw_only=True)
class Repositories:
    """What is known of one machine's repositories."""

    enabled: frozenset[str] | None = None
    """The ids of those that dnf uses; None if their definitions can't be read."""
    lists: Mapping[str, Lists] = field(default_factory=dict)
    """By the id of the repository."""

    @property
    def own(self) -> frozenset[str]:
        """Those that count: the distribution's own, or all if none is known to be that."""
        names = self.enabled if self.enabled is not None else frozenset(self.lists)
        return frozenset(filter(is_own, names)) or names

    @property
    def missing(self) -> tuple[str, ...]:
        """Those that count and have no lists, though others have."""
        return tuple(sorted(self.own - set(self.lists))) if self.lists else ()

    @property
    def age_seconds(self) -> int | None:
        """The age of the oldest lists that count."""
        counting = [self.lists[name] for name in self._changing() if name in self.lists]
        ages = [lists.age_seconds for lists in counting]
        known = [age for age in ages if age is not None]
        return max(known) if known and len(known) == len(ages) else None

    @property
    def advisories(self) -> bool | None:
        """Whether one of those that count tells security updates apart; None if not known.

        A repository that hardly changes after the release has no advisories, and needs none.
        """
        known = [self.lists[name].advisories for name in self._changing() if name in self.lists]
        return any(known) if known else None

    def _changing(self) -> frozenset[str]:
        return self.own - set(_FROZEN) or self.own


def examine(host: Host, *, dnf5: bool | None) -> Repositories:
    """Look at the repositories of this machine, without asking anybody.

    `dnf5` says which generation answers; None: whichever has lists.
    """
    lists: dict[str, Lists] = {}
    if dnf5 is not True:
        lists = _examine(host, DNF4) or _examine_yum(host)
    if dnf5 is True or (dnf5 is None and not lists):
        lists = _examine(host, DNF5)
    return Repositories(enabled=_enabled(host), lists=lists)


_FOLDER = re.compile(r"(.+)-[0-9a-f]{16}")


def _examine(host: Host, cache: str) -> dict[str, Lists]:
    found: dict[str, Lists] = {}
    for index in host.glob(f"{cache}/*/repodata/repomd.xml"):
        folder = index.split("/")[-3]
        match = _FOLDER.fullmatch(folder)
        name = match[1] if match else folder
        lists = _lists(host, index, host.glob(f"{cache}/{folder}/repodata/*"))
        # One repository has several folders once its address has changed; the youngest counts.
        other = found.get(name)
        if other is None or _younger(lists, other):
            found[name] = lists
    return found


def _examine_yum(host: Host) -> dict[str, Lists]:
    """yum 3 (EL 7): `/var/cache/yum/x86_64/7/updates/repomd.xml`, and `cachecookie`, which it
    touches whenever it has asked whether that is still the newest."""
    indexes = host.glob("/var/cache/yum/*/*/*/repomd.xml")
    return {
        index.split("/")[-2]: _lists(
            host, index, [index, index.removesuffix("repomd.xml") + "cachecookie"]
        )
        for index in indexes
    }


def _younger(one: Lists, other: Lists) -> bool:
    return one.age_seconds is not None and (
        other.age_seconds is None or one.age_seconds < other.age_seconds
    )


def _lists(host: Host, index: str, paths: Iterable[str]) -> Lists:
    """dnf touches a file of the lists when the server says that they are still the newest."""
    now = host.now().timestamp()
    times = []
    for path in paths:
        try:
            time = host.stat(path).mtime
        except OSError:
            continue
        if 0 < time <= now + CLOCK_ERROR:
            times.append(time)
    text = read(host, index)
    return Lists(
        age_seconds=max(0, int(now - max(times))) if times else None,
        advisories='type="updateinfo"' in text or "type='updateinfo'" in text,
    )


def read(host: Host, path: str) -> str:
    """The text of a file, empty if there is none that can be read."""
    try:
        return host.read(path)
    except OSError:
        return ""


# --- definitions --------------------------------------------------------------------------


def parse_sections(text: str) -> dict[str, dict[str, str]]:
    """Read a file in dnf's format: `[section]`, `key = value`, indented lines continue a value."""
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    values: list[str] = []
    key = ""

    def finish() -> None:
        if key:
            section[key] = " ".join(values)

    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if line[0].isspace() and key:
            values.append(stripped)
            continue
        finish()
        key, values = "", []
        if stripped.startswith("[") and stripped.endswith("]"):
            section = sections.setdefault(stripped[1:-1].strip(), {})
        else:
            name, equals, value = stripped.partition("=")
            if equals:
                key, values = name.strip().lower(), [value.strip()]
    finish()
    return sections


def _definitions(host: Host) -> dict[str, dict[str, str]] | None:
    merged: dict[str, dict[str, str]] = {}
    found = False
    for pattern in DEFINITIONS:
        for path in host.glob(pattern):
            text = read(host, path)
            found = found or bool(text)
            for name, options in parse_sections(text).items():
                if "override" in pattern:
                    for known in [known for known in merged if fnmatchcase(known, name)]:
                        merged[known] |= options
                else:
                    merged[name] = merged.get(name, {}) | options
    return merged if found else None


def _enabled(host: Host) -> frozenset[str] | None:
    defined = _definitions(host)
    if defined is None:
        return None
    off = ("0", "no", "false", "off")
    return frozenset(
        name
        for name, options in defined.items()
        if name != "main" and options.get("enabled", "1").lower() not in off
    )


def held(host: Host) -> tuple[str, ...]:
    """The packages that the owner holds back: by versionlock, or by an exclude.

    dnf leaves them out by itself; this only names them. A pattern is named as it is written.
    """
    names: list[str] = []
    for path in ("/etc/dnf/plugins/versionlock.list", "/etc/yum/pluginconf.d/versionlock.list"):
        names += dnf.parse_versionlock(read(host, path))
    names += dnf.parse_versionlock_toml(read(host, "/etc/dnf/versionlock.toml"))
    sections = list((_definitions(host) or {}).values())
    for path in ("/etc/dnf/dnf.conf", "/etc/yum.conf"):
        sections += list(parse_sections(read(host, path)).values())
    for options in sections:
        if options.get("enabled", "1").lower() in ("0", "no", "false", "off"):
            continue
        for key in ("exclude", "excludepkgs"):
            names += options.get(key, "").replace(",", " ").split()
    return tuple(dict.fromkeys(names))
