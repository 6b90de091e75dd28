"""Asks others than apt how many updates wait, on an Ubuntu machine whose apt gives no answer.

update-notifier counts by itself, and keeps the last count in words. Neither names a package.
"""

from __future__ import annotations

from collections.abc import Iterator

from qlmdm_core.api import Host
from qlmdm_plugins_ubuntu import summaries
from qlmdm_plugins_ubuntu.summaries import Summary

APT_CHECK = "/usr/lib/update-notifier/apt-check"
_DPKG_STATUS = "/var/lib/dpkg/status"


def ask(host: Host, *, apt_is_there: bool) -> Summary | None:
    """How many updates wait; None if nobody can tell."""
    if found := _apt_check(host):
        return found
    if found := _cached(host):
        return found
    if apt_is_there:
        return None
    # Nobody has `pro` without apt, but for recordings of it alone: asking it writes a log.
    for program in ("pro", "ua"):
        result = host.run((program, "security-status", "--format", "json"), timeout=30.0)
        if result.ok and (found := summaries.parse_pro(result.stdout)):
            return found
    return None


def _apt_check(host: Host) -> Summary | None:
    """apt-check prints the counts on its standard error, and words on its standard output."""
    for words in ((), ("--human-readable",)):
        result = host.run((APT_CHECK, *words), timeout=30.0)
        if not result.ok:
            continue
        for text in (result.stderr, result.stdout):
            if found := summaries.parse_counts(text) or summaries.parse_words(text):
                return found
    return None


def _cached(host: Host) -> Summary | None:
    """The last count that update-notifier wrote down, unless packages were changed since."""
    try:
        changed = host.stat(_DPKG_STATUS).mtime
    except OSError:
        changed = 0.0
    for path in summaries.CACHED:
        try:
            text = host.read(path, max_bytes=summaries.MOST)
            written = host.stat(path).mtime
        except OSError:
            continue
        if changed <= written and (found := summaries.parse_words(text)):
            return found
    return None


def pro_note(host: Host) -> list[str]:
    """What update-notifier said of updates for subscribers alone: apt-get does not tell it."""
    found = _cached(host)
    return list(notes_of(found)) if found else []


def notes_of(summary: Summary) -> Iterator[str]:
    """What a person should know beside the counts."""
    if summary.pro_only:
        yield f"{summary.pro_only} security updates need Ubuntu Pro"
