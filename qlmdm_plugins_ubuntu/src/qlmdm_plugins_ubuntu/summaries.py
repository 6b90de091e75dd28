"""Reads what sums up the waiting updates of an Ubuntu machine: apt-check, login texts, Ubuntu Pro.

They count, and hardly name anything: they are what is left where apt itself gives no answer.
Beside that, they alone tell how many security updates are kept for subscribers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

CACHED = ("/var/lib/update-notifier/updates-available", "/run/motd.dynamic")
"""What apt-check said in words when update-notifier last asked it, and the login text that it
is part of (update-motd(5))."""
MOST = 1 << 16
"""Characters of such a text that are looked at."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How many updates wait."""

    updates: int | None = None
    """None: the text says nothing of updates in general."""
    security: int | None = None
    pro_only: int = 0
    """Security updates that only subscribers of Ubuntu Pro can install."""
    old_lists: bool = False
    """The package lists behind it are more than a week old."""


_COUNTS = re.compile(r"(\d{1,6});(\d{1,6})")


def parse_counts(text: str) -> Summary | None:
    """Read `ALL;SECURITY`, which apt-check prints on its standard error; None if it is not that."""
    found = _COUNTS.fullmatch(text.strip())
    return Summary(updates=int(found[1]), security=int(found[2])) if found else None


# From apt_check.py of update-notifier, in the words of 16.04 ("packages can be updated"), 20.04
# ("can be installed immediately") and later.
_UPDATES = re.compile(
    r"(\d{1,6}) (?:packages? can be updated|updates? can be (?:applied|installed) (immediately))"
)
_SECURITY = re.compile(
    r"(\d{1,6}) (?:of these )?updates? (?:is|are) (?:an? )?(?:standard |ESM \w+ )?security updates?"
)
_PRO = re.compile(
    r"(\d{1,6}) additional security updates? can be (?:applied|installed) with (?:ESM|UA)"
)
_OLD = "The list of available updates is more than a week old"


def parse_words(text: str) -> Summary | None:
    """Read `apt-check --human-readable`, or a login text that holds it; None if it does not."""
    updates = security = None
    pro_only = 0
    for line in text[:MOST].splitlines():
        line = line.strip()
        if found := _UPDATES.match(line):
            updates = int(found[1])
            # Since 20.04, security updates are only told of where there are any.
            security = 0 if found[2] else security
        elif found := _SECURITY.match(line):
            security = (security or 0) + int(found[1])
        elif found := _PRO.match(line):
            pro_only += int(found[1])
    if updates is None:
        return None
    if security is not None:
        security = min(security, updates)
    return Summary(updates=updates, security=security, pro_only=pro_only, old_lists=_OLD in text)


_FROM_APT = re.compile(r"(\d{1,6}) (?:standard(?: LTS)?|esm-infra|esm-apps) security updates?\b")


def parse_security_count(line: str) -> int | None:
    """The count that Ubuntu Pro's hook adds to an upgrade: `2 standard LTS security updates`."""
    counts = [int(count) for count in _FROM_APT.findall(line[:400])]
    return sum(counts) if counts and _FROM_APT.match(line) else None


def parse_pro(text: str) -> Summary | None:
    """Read `pro security-status --format json`; None if it is not that.

    Of updates in general it says nothing. A subscriber is offered those of ESM by apt.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    summary = document.get("summary") if isinstance(document, dict) else None
    if not isinstance(summary, dict):
        return None
    standard = _count(summary.get("num_standard_security_updates"))
    extended = _count(summary.get("num_esm_infra_updates"))
    extended += _count(summary.get("num_esm_apps_updates"))
    packages = document.get("packages")
    listed = [p for p in packages if isinstance(p, dict)] if isinstance(packages, list) else []
    offered = sum(
        package.get("status") == "upgrade_available"
        and str(package.get("service_name")).startswith("esm")
        for package in listed
    )
    offered = min(offered, extended)
    return Summary(security=standard + offered, pro_only=extended - offered)


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < 1_000_000 else 0
