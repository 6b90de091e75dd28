"""Reads what Ubuntu's release upgrader says: that a new release is there, or that this one ended.

It asks the network, and so it is never run here. What it found out last is kept for the login
screen.
"""

from __future__ import annotations

import re
from dataclasses import replace

from qlmdm_core.api import Host, ReleaseUpgrade
from qlmdm_plugins_ubuntu.releases import Base

KEPT = ("/var/lib/ubuntu-release-upgrader/release-upgrade-available", "/run/motd.dynamic")
"""What it said last, and the login text that this becomes part of."""
_OFFER = re.compile(r"New release '(\d{1,2}\.\d{2}[^'\n]{0,20})' available")
_NUMBERS = re.compile(r"(\d{1,3})\.(\d{1,3})")
_ENDED = "release is not supported anymore"
_NOTHING = ("No new release found", "There is no development version of an LTS available")


def refine(host: Host, base: Base, known: ReleaseUpgrade) -> ReleaseUpgrade:
    """What is known by dates, with what the upgrader said; it knows best what it offers."""
    said, fresh = _said(host)
    if known.end_of_life is None and _ENDED in said:
        known = replace(known, end_of_life=True)
    offer = parse_offer(said)
    if offer and is_later(offer, base.version):
        known = replace(known, available=offer)
    elif fresh and any(text in said for text in _NOTHING):
        known = replace(known, available=None)
    return known


def _said(host: Host) -> tuple[str, bool]:
    """The upgrader's words, and whether it was asked just then."""
    for path in KEPT:
        try:
            return host.read(path, max_bytes=65536), False
        except OSError:
            continue
    if host.which("apt-get") is not None:
        return "", False
    # Nobody has it without apt, but for a recording of it alone.
    result = host.run(("do-release-upgrade", "-c"))
    return (result.stdout + "\n" + result.stderr, True) if result.found else ("", False)


def parse_offer(text: str) -> str | None:
    """The release that Ubuntu's upgrader offers, from what it writes for the login screen.

    `New release '24.04.3 LTS' available.`
    """
    match = _OFFER.search(text)
    return f"Ubuntu {match[1]}" if match else None


def is_later(offer: str, version: str) -> bool:
    """Whether an offer (`Ubuntu 24.04.3 LTS`) is of a later release than this `VERSION_ID`.

    What the upgrader wrote stays behind after an upgrade, and then names the present release.
    """
    numbers = [_NUMBERS.search(text) for text in (offer, version)]
    if numbers[0] is None or numbers[1] is None:
        return False
    new, old = ((int(match[1]), int(match[2])) for match in numbers if match)
    return new > old
