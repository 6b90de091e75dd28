"""Package managers: what waits, how old their lists are, and whether a restart is due.

Formats: apt-get(8) with --simulate, apt_preferences(5) for `apt-cache policy`, apt-mark(8),
pacman(8) -Qu, checkupdates(8), dnf(8), dnf5(8), rpm-ostree(1), zypper(8), apk(8), xbps-install(1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from machine import Machine, ago

SIMULATE = (
    "apt-get", "-oDir::Log::Planner=", "-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache=",
    "-s", "-o", "Debug::NoLocking=1", "-o", "APT::Get::Show-User-Simulation-Note=no",
    "dist-upgrade",
)  # fmt: skip
CACHES = SIMULATE[1:4]


@dataclass(frozen=True)
class Pending:
    """A package of which a newer version waits."""

    name: str
    installed: str
    available: str
    origins: tuple[str, ...]
    """As apt names them: "Ubuntu:24.04/noble-updates", "Debian-Security:12/stable-security"."""


def apt(
    machine: Machine,
    *pending: Pending,
    archives: Sequence[tuple[str, float]],
    kept_back: Sequence[str] = (),
    phased: Sequence[str] = (),
    held: Sequence[str] = (),
    policy: str = "",
) -> None:
    """apt with these lists (file name before "_InRelease", age in days) and these updates."""
    machine.stat("/var/lib/apt/lists", mode=0o40755)
    for name, age in archives:
        machine.file(f"/var/lib/apt/lists/{name}_InRelease", "Origin: Example\n")
        machine.stat(f"/var/lib/apt/lists/{name}_InRelease", mtime=ago(days=age))
    lines = ["Reading package lists...", "Building dependency tree...", "Calculating upgrade..."]
    for title, names in (
        ("The following upgrades have been deferred due to phasing:", phased),
        ("The following packages have been kept back:", kept_back),
        ("The following packages will be upgraded:", [entry.name for entry in pending]),
    ):
        if names:
            lines += [title, "  " + " ".join(names)]
    left = len(kept_back) + len(phased)
    lines.append(
        f"{len(pending)} upgraded, 0 newly installed, 0 to remove and {left} not upgraded."
    )
    for entry in pending:
        where = ", ".join(entry.origins)
        lines.append(f"Inst {entry.name} [{entry.installed}] ({entry.available} {where} [amd64])")
        lines.append(f"Conf {entry.name} ({entry.available} {where} [amd64])")
    machine.command(SIMULATE, "\n".join(lines) + "\n")
    machine.command(("apt-mark", *CACHES, "showhold"), "".join(name + "\n" for name in held))
    asked = [p.name for p in pending if not any("ecurity" in origin for origin in p.origins)]
    if asked:
        said = policy or "".join(_policy(p) for p in pending if p.name in asked)
        machine.command(("apt-cache", *CACHES, "policy", *asked), said)
    if left:
        names = [*kept_back, *phased]
        machine.command(("apt-cache", *CACHES, "policy", *names), policy)


def _policy(entry: Pending) -> str:
    archive = entry.origins[0].split("/")[-1]
    return (
        f"{entry.name}:\n  Installed: {entry.installed}\n  Candidate: {entry.available}\n"
        f"  Version table:\n     {entry.available} 500\n"
        f"        500 http://archive.example.org/dists {archive}/main amd64 Packages\n"
        f" *** {entry.installed} 100\n        100 /var/lib/dpkg/status\n"
    )


def restart_mark(machine: Machine, *, due: bool, packages: str = "linux-base\n") -> None:
    """What update-notifier-common leaves in /run."""
    machine.program("/usr/share/update-notifier/notify-reboot-required")
    if due:
        machine.file("/run/reboot-required", "*** System restart required ***\n")
        machine.file("/run/reboot-required.pkgs", packages)


def debian_kernel(machine: Machine, running: str, newest: str = "") -> None:
    """A Debian whose kernels tell whether a restart is due (linux-update-symlinks(1))."""
    for release in {running, newest or running}:
        machine.stat(f"/boot/vmlinuz-{release}", mode=0o100644)
    machine.link("/vmlinuz", f"boot/vmlinuz-{newest or running}")


def pacman(
    machine: Machine,
    *lines: str,
    age: float = 1,
    kernel: str = "",
    installed_kernel: str = "",
    databases: Sequence[str] = ("core", "extra"),
    stderr: str = "",
) -> None:
    """pacman with these updates, and databases of this age in days."""
    said = "".join(line + "\n" for line in lines)
    machine.command(("pacman", "-Qu"), said, stderr=stderr, returncode=0 if lines else 1)
    for name in databases:
        machine.stat(f"/var/lib/pacman/sync/{name}.db", mtime=ago(days=age), mode=0o100644)
    if kernel:
        there = installed_kernel or kernel
        machine.file(f"/usr/lib/modules/{there}/pkgbase", "linux\n")
        version = there.removesuffix("-MANJARO").replace("-arch", ".arch")
        machine.command(("pacman", "-Q", "linux"), f"linux {version}\n")


def dnf(machine: Machine, *lines: str, program: str = "dnf5", security: str = "") -> None:
    """dnf's answer to whether updates wait: 100 and a table, or 0 and nothing."""
    said = "".join(line + "\n" for line in lines)
    argv = (program, "check-upgrade") if program == "dnf5" else (program, "-q", "check-update")
    machine.command(argv, said, returncode=100 if lines else 0)
    if program == "dnf5":
        machine.command((program, "advisory", "list", "--security", "--json"), security or "[]\n")
    else:
        machine.command((program, "-q", "updateinfo", "list", "--security"), security)
