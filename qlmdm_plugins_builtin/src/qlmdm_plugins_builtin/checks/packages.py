"""Judges whether a machine has software that the site does not want."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from qlmdm_core.api import JSON, PASS, AuditCheck, ClientView, Verdict
from qlmdm_plugins_builtin.checks._values import named, not_understood, unknown_for, word
from qlmdm_plugins_builtin.policy import DAY, Policy

_REMOVE = {"ubuntu": "sudo apt purge", "arch": "sudo pacman -Rns", "fedora": "sudo dnf remove"}
"""What to type, by the adapter that asked the machine."""
_SHOWN = 50


def checks(settings: Policy) -> list[AuditCheck]:
    """The checks of this module, by a site's policy."""
    unwanted = settings.unwanted_packages
    return [
        AuditCheck(
            name="unwanted-package",
            needs=("packages",) if unwanted else (),
            judge=partial(judge_packages, _pattern(unwanted)),
            grace_period=3 * DAY,
            help="No package is installed that the site's policy names as unwanted: plugins: "
            "{builtin: {unwanted_packages: […]}}. Clients must list theirs: plugins: {packages: "
            "{enabled: true}} in their settings. Remove what is unwanted (sudo apt purge NAME, "
            "sudo pacman -Rns NAME).",
        )
    ]


def _pattern(unwanted: Sequence[str]) -> re.Pattern[str] | None:
    """One pattern for all names and globs; None if there are none."""
    if not unwanted:
        return None
    return re.compile("|".join(fnmatch.translate(name) for name in unwanted))


def judge_packages(
    pattern: re.Pattern[str] | None,
    client: ClientView,
    now: datetime,  # noqa: ARG001
) -> Verdict:
    """Whether something unwanted is installed. The first row that fits decides.

    | what was reported                                | verdict              |
    |--------------------------------------------------|----------------------|
    | anything, and the policy names nothing           | pass                 |
    | no object, or a state that is none of the three  | unknown              |
    | `off`: the client does not list its packages     | unknown, what to set |
    | `unknown`                                        | unknown, its reason  |
    | `listed`, with an unwanted package               | fail                 |
    | `listed`, but nothing is in the list             | unknown              |
    | `listed`, without any                            | pass                 |
    """
    if pattern is None:
        return PASS
    value = client.report["packages"].get("value")
    if not isinstance(value, dict):
        return not_understood("packages")
    state, listed = value.get("state"), value.get("packages")
    if state == "off":
        message = (
            "the client does not list its packages. In its settings, set: "
            "plugins: {packages: {enabled: true}}"
        )
        return Verdict(state="unknown", message=message)
    if state == "unknown":
        return unknown_for(value)
    if state != "listed" or not isinstance(listed, dict) or not listed:
        return not_understood("packages")
    found = sorted(name for name in listed if pattern.match(name.partition(":")[0]))
    if not found:
        return PASS
    evidence = {name: str(listed[name])[:80] for name in found[:_SHOWN]}
    return Verdict(
        state="fail",
        message=f"{named(found)} {'is' if len(found) == 1 else 'are'} installed. "
        f"{_mend(value.get('adapter'), found)}",
        evidence=evidence,
    )


def _mend(adapter: JSON, found: Sequence[str]) -> str:
    command = _REMOVE.get(str(adapter))
    if command is None:
        return "Remove what is unwanted with the system's package manager"
    return f"Remove: {command} {' '.join(word(name, 'NAME') for name in found[:10])}"
