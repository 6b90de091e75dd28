"""Takes rpm's names and versions apart, and compares versions as rpm does.

A package is named by its name, epoch, version, release and architecture ("NEVRA"):
`bind-libs-32:9.16.23-18.el9.x86_64`. Version and release never contain a dash, a name often does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_X86 = ("x86_64", "x86_64_v2", "x86_64_v3", "i386", "i486", "i586", "i686", "athlon", "ia64")
_OTHERS = ("aarch64", "armv6hl", "armv7hl", "ppc", "ppc64", "ppc64le", "s390", "s390x", "riscv64")
ARCHITECTURES = frozenset(("noarch", "src", "nosrc", "loongarch64", *_X86, *_OTHERS))
LONGEST = 512
"""Characters; what is longer is no name of a package."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One build of a package."""

    name: str
    arch: str
    version: str
    """Epoch, version and release as dnf prints them: `1:3.0.7-27.el9`, without an epoch of 0."""


def split_arch(text: str) -> tuple[str, str] | None:
    """Name and architecture of `openssl-libs.x86_64`; None if it does not end in one."""
    name, _, arch = text.rpartition(".")
    if not name or len(text) > LONGEST or arch not in ARCHITECTURES:
        return None
    return name, arch


def parse_nevra(text: str) -> Package | None:
    """Take a NEVRA apart; the epoch may stand before the version, or (yum) before the name.

    >>> parse_nevra("bind-libs-32:9.16.23-18.el9.x86_64").version
    '32:9.16.23-18.el9'
    """
    split = split_arch(text)
    if split is None:
        return None
    rest, arch = split
    parts = rest.rsplit("-", 2)
    if len(parts) != 3 or not all(parts):
        return None
    name, version, release = parts
    epoch, colon, bare = version.rpartition(":")
    if not colon and ":" in name:
        epoch, _, name = name.partition(":")
    if not name or not bare or (epoch and not epoch.isdecimal()):
        return None
    return Package(name=name, arch=arch, version=_evr(epoch, bare, release))


def normal_version(text: str) -> str:
    """A version with its release, without an epoch that says nothing (`0:`)."""
    epoch, _, rest = text.rpartition(":")
    return rest if epoch in ("", "0", "(none)") else f"{epoch}:{rest}"


def _evr(epoch: str, version: str, release: str) -> str:
    return normal_version(f"{epoch}:{version}-{release}")


def compare(one: str, other: str) -> int:
    """Negative, 0 or positive, as `one` is older than, the same as, or newer than `other`."""
    epoch1, version1, release1 = _split(one)
    epoch2, version2, release2 = _split(other)
    if epoch1 != epoch2:
        return -1 if epoch1 < epoch2 else 1
    return rpmvercmp(version1, version2) or rpmvercmp(release1, release2)


def _split(text: str) -> tuple[int, str, str]:
    epoch, _, rest = text[:LONGEST].rpartition(":")
    version, _, release = rest.partition("-")
    number = int(epoch) if epoch.isascii() and epoch.isdecimal() else 0
    return number, version, release


_SEGMENT = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")


def rpmvercmp(one: str, other: str) -> int:
    """Compare two versions, or two releases, by the rules of rpm-version(7).

    They are read as runs of digits and runs of letters. A run of digits is newer than a run of
    letters; `~` comes before everything, even the end; `^` after the end, before all else.
    """
    first, second = _SEGMENT.findall(one[:LONGEST]), _SEGMENT.findall(other[:LONGEST])
    for left, right in zip(first, second, strict=False):
        if left != right and (result := _rank(left, right)):
            return result
    if len(first) == len(second):
        return 0
    longer, sign = (first, 1) if len(first) > len(second) else (second, -1)
    following = longer[min(len(first), len(second))]
    return -sign if following == "~" else sign


def _rank(left: str, right: str) -> int:
    for mark in ("~", "^"):
        if mark in (left, right):
            return -1 if left == mark else 1
    if left.isdigit() and right.isdigit():
        return (int(left) > int(right)) - (int(left) < int(right))
    if left.isdigit() != right.isdigit():
        return 1 if left.isdigit() else -1
    return (left > right) - (left < right)
