"""Collects which operating system the machine runs: distribution, kernel, architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping

from qlmdm_core import osrelease
from qlmdm_core.api import JSON, Host
from qlmdm_plugins_builtin.collectors.text import text_of

from . import _virtualization

_ROLLING = frozenset(
    (
        "arch",
        "artix",
        "blendos",
        "cachyos",
        "chimera",
        "endeavouros",
        "garuda",
        "gentoo",
        "kaos",
        "manjaro",
        "opensuse-microos",
        "opensuse-slowroll",
        "opensuse-tumbleweed",
        "pclinuxos",
        "rhino",
        "solus",
        "void",
    )
)
"""Distributions without releases, some of which give VERSION_ID a number all the same."""

_KERNEL = re.compile(r"\d+\.\d+\S*")
_MACHINE = re.compile(r"[a-z][a-z0-9_]*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_TEMPLATE = re.compile(r"TEMPLATE_\w+|@\w+@")
_NAMED_VERSION = re.compile(r"[0-9.]+ \(([a-z]+)\)")
"""Debian's way before it had VERSION_CODENAME: "8 (jessie)"."""
_MACHINES = re.compile(
    r"x86_64|i[3-6]86|aarch64|armv\w+|riscv64|ppc64(le)?|s390x|loongarch64|mips\w*"
)
_OLD_RELEASE = re.compile(r"(?P<name>.+?)(?: Linux)? release (?P<version>\d[\d.]*)(?:.*)")


_NUMBERS = re.compile(r"\d+(\.\d+)*")
_MARKS = (
    ("/etc/alpine-release", "alpine"),
    ("/etc/arch-release", "arch"),
    ("/etc/slackware-version", "slackware"),
    ("/etc/SuSE-release", "suse"),
    ("/etc/gentoo-release", "gentoo"),
    ("/etc/debian_version", "debian"),
)
"""Files by which distributions are known that have no os-release; derivatives keep theirs."""


def collect(host: Host) -> JSON:
    """What os-release says, with the kernel, the architecture, and what it all runs on."""
    release = osrelease.read(host)
    lsb = osrelease.parse(_text(host, "/etc/lsb-release"))
    debian = _text(host, "/etc/debian_version").strip()
    value = describe(release or _without_os_release(host, lsb), lsb, debian)
    value["kernel"] = kernel_release(host)
    value["architecture"] = architecture(host)
    value["userland_architecture"] = _userland(host, debian)
    value["virtualization"] = _virtualization.describe(host)
    value["atomic"] = _atomic(host, release)
    if value["id"] is None:
        return {"state": "unknown", "reason": "there is no os-release that can be read", **value}
    return {"state": "available", **value}


def describe(release: Mapping[str, str], lsb: Mapping[str, str], debian: str) -> dict[str, JSON]:
    """The distribution, by os-release; lsb-release and debian_version add to it."""

    def told(name: str) -> str | None:
        text = release.get(name, "").strip()
        # Arch and others fill a template in when the package is built, or forget to.
        return None if not text or _TEMPLATE.fullmatch(text) else text

    # os-release(5): ID defaults to "linux" where the file exists.
    name = (told("ID") or "linux") if release else None
    like = [word for word in release.get("ID_LIKE", "").split() if word != name]
    codename = told("VERSION_CODENAME")
    if codename is None and name == "debian" and debian[:1].isalpha():
        codename = debian.partition("/")[0]  # "forky/sid": testing can't be told from sid
    if codename is None and lsb.get("DISTRIB_ID", "").lower() == name:
        codename = lsb.get("DISTRIB_CODENAME") or None
    if codename is None and (match := _NAMED_VERSION.fullmatch(told("VERSION") or "")):
        codename = match.group(1)
    support_end = told("SUPPORT_END")
    is_debian = name == "debian" or "debian" in like
    lsb_id = lsb.get("DISTRIB_ID", "").lower()
    return {
        "id": name,
        "id_like": list(dict.fromkeys(like)),
        "name": told("NAME"),
        "pretty_name": told("PRETTY_NAME"),
        "version": told("VERSION"),
        "version_id": told("VERSION_ID"),
        "codename": codename,
        "ubuntu_codename": told("UBUNTU_CODENAME"),
        "debian_version": told("DEBIAN_VERSION_FULL") or (debian or None if is_debian else None),
        "variant_id": told("VARIANT_ID"),
        "build_id": told("BUILD_ID"),
        "image_id": told("IMAGE_ID"),
        "image_version": told("IMAGE_VERSION"),
        "release_type": told("RELEASE_TYPE"),
        "support_end": support_end if support_end and _DAY.fullmatch(support_end) else None,
        "rolling": is_rolling(release),
        # MX and others keep Debian's os-release and name themselves here only.
        "lsb_id": lsb_id if lsb_id and lsb_id != name else None,
    }


def is_rolling(release: Mapping[str, str]) -> bool | None:
    """Whether the distribution has no releases; None if nothing is known of it.

    os-release(5): VERSION_ID is left out by rolling releases.
    """
    if not release:
        return None
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    words = f"{release.get('VERSION', '')} {release.get('PRETTY_NAME', '')}".lower()
    version = release.get("VERSION_ID", "")
    return (
        bool(names & _ROLLING)
        or release.get("BUILD_ID", "").lower() == "rolling"
        or "rolling" in words
        or not version
        or _TEMPLATE.fullmatch(version) is not None
    )


def kernel_release(host: Host) -> str | None:
    """The running kernel's release, as `uname -r` has it."""
    words = _text(host, "/proc/version").split()
    candidates = [_text(host, "/proc/sys/kernel/osrelease").strip(), *words[2:3]]
    for text in candidates:
        if _KERNEL.fullmatch(text):
            return text
    words = host.run(["uname", "-r"]).stdout.split()
    return next((word for word in words if _KERNEL.fullmatch(word)), None)


def architecture(host: Host) -> str | None:
    """The kernel's architecture, as `uname -m` has it: "x86_64", "aarch64"."""
    for text in (_text(host, "/proc/sys/kernel/arch"), host.run(["uname", "-m"]).stdout):
        if _MACHINE.fullmatch(text.strip()):
            return text.strip()
        # `uname -a` has it, too, near the end.
        if words := [word for word in text.split()[-4:] if _MACHINES.fullmatch(word)]:
            return words[0]
    return None


def _userland(host: Host, debian: str) -> str | None:
    """The architecture that Debian's packages are of: it can be 32 bits under 64."""
    if not debian or host.which("dpkg") is None:
        return None
    result = host.run(["dpkg", "--print-architecture"])
    word = result.stdout.strip()
    return word if result.ok and re.fullmatch(r"[a-z0-9-]+", word) else None


def _atomic(host: Host, release: Mapping[str, str]) -> str | None:
    """What manages a system whose /usr is replaced as a whole; None for an ordinary one."""
    if host.exists("/run/ostree-booted") or "OSTREE_VERSION" in release:
        return "bootc" if host.exists("/usr/bin/bootc") else "ostree"
    if host.exists("/usr/sbin/transactional-update") and release.get("ID", "").endswith("microos"):
        return "transactional-update"
    return None


def _without_os_release(host: Host, lsb: Mapping[str, str]) -> dict[str, str]:
    """What systems of before 2012 have in place of os-release, under its names."""
    if lsb.get("DISTRIB_ID"):
        found = {
            "ID": lsb["DISTRIB_ID"].lower(),
            "NAME": lsb["DISTRIB_ID"],
            "VERSION_ID": lsb.get("DISTRIB_RELEASE", ""),
            "VERSION_CODENAME": lsb.get("DISTRIB_CODENAME", ""),
            "PRETTY_NAME": lsb.get("DISTRIB_DESCRIPTION", ""),
        }
        return {name: text for name, text in found.items() if text}
    text = _text(host, "/etc/system-release") or _text(host, "/etc/redhat-release")
    if match := _OLD_RELEASE.fullmatch(text.strip()):
        words = match["name"].split()
        name = "rhel" if words[:2] == ["Red", "Hat"] else words[0].lower()
        return {
            "ID": name,
            "NAME": match["name"],
            "VERSION_ID": match["version"],
            "PRETTY_NAME": text.strip(),
        }
    for path, name in _MARKS:
        try:
            text = host.read(path, max_bytes=4096)
        except OSError:
            continue
        match = _NUMBERS.search(text)
        return {"ID": name, "VERSION_ID": match.group() if match else ""}
    return _by_lsb_release(host)


def _by_lsb_release(host: Host) -> dict[str, str]:
    """What the command says, where there is nothing else: it takes a third of a second."""
    answer = host.run(["lsb_release", "-a"])
    lines = (line.partition(":") for line in answer.stdout.splitlines() if answer.ok)
    told = {name.strip(): value.strip() for name, _, value in lines}
    names = {
        "Distributor ID": "ID",
        "Release": "VERSION_ID",
        "Codename": "VERSION_CODENAME",
        "Description": "PRETTY_NAME",
    }
    found = {names[name]: value for name, value in told.items() if name in names}
    if not found.get("ID"):
        return {}
    found["NAME"], found["ID"] = found["ID"], found["ID"].lower()
    return {name: value for name, value in found.items() if value.lower() not in ("", "n/a")}


def _text(host: Host, path: str) -> str:
    return text_of(host, path, max_bytes=64 << 10)
