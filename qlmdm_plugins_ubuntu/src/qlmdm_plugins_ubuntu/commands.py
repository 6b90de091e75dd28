"""Asks the programs of apt, so that nothing changes by it."""

from __future__ import annotations

from collections.abc import Sequence

from qlmdm_core.api import CommandResult, Host
from qlmdm_plugins_ubuntu import apt

CHANGE_NOTHING = ("-oDir::Log::Planner=", "-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache=")
"""Run by root, even a simulation replaces /var/log/apt/eipp.log.xz, and any question may write
the caches below /var/cache/apt anew. An empty name keeps apt from that (apt.conf(5) says so of
the caches, and apt-pkg/edsp.cc does it for the log). Written in one word each: a replay takes
words that begin with "-" for unimportant."""
_SIMULATE = ("-s", "-o", "Debug::NoLocking=1", "-o", "APT::Get::Show-User-Simulation-Note=no")
SIMULATIONS = (
    ("apt-get", *CHANGE_NOTHING, *_SIMULATE, "dist-upgrade"),
    ("apt-get", *_SIMULATE, "dist-upgrade"),
    ("apt-get", "-s", "dist-upgrade"),
    ("apt-get", "-s", "full-upgrade"),
    ("apt-get", "-s", "-o", "Debug::NoLocking=true", "dist-upgrade"),
    ("apt-get", "-s", "upgrade"),
    ("apt-get", "-s", "-o", "Debug::NoLocking=true", "upgrade"),
    ("apt", "-s", "full-upgrade"),
    ("apt", "-s", "upgrade"),
)
"""How to ask for a simulated upgrade. The first one is asked on any live machine; the others
are for recordings, older ones or made by hand, that hold the same question in other words."""

UNPHASED = (
    "apt-get",
    *CHANGE_NOTHING,
    "-s",
    "-oDebug::NoLocking=1",
    "-oAPT::Get::Show-User-Simulation-Note=no",
    "-oAPT::Get::Always-Include-Phased-Updates=true",
    "dist-upgrade",
)


def ask_apt(host: Host, program: str, *words: str, timeout: float = 10.0) -> CommandResult:
    """Ask a program of apt, which changes nothing."""
    # The second spelling is for recordings, where the first may be like several.
    spellings = ((program, *CHANGE_NOTHING, *words), (program, *words))
    return first_found(host, spellings, timeout=timeout)


def first_found(
    host: Host, spellings: Sequence[tuple[str, ...]], *, timeout: float
) -> CommandResult:
    results = (host.run(argv, timeout=timeout) for argv in spellings)
    return next((r for r in results if r.found), CommandResult(argv=spellings[0], found=False))


def policy_of(host: Host, names: Sequence[str]) -> dict[str, apt.Policy]:
    if not names:
        return {}
    result = ask_apt(host, "apt-cache", "policy", *names, timeout=20.0)
    return apt.parse_policy(result.stdout) if result.ok else {}
