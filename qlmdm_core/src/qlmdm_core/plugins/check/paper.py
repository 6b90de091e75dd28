"""What can be said of a distribution without importing it, or by its names alone."""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from collections.abc import Iterator, Mapping, Sequence

from qlmdm_core.plugins.check.findings import Finding, failed, not_checked, ok
from qlmdm_core.plugins.entries import PluginEntry
from qlmdm_core.plugins.probe import Report

_CORE = re.compile(r"qlmdm[-_.]core(?![-_.\w])\s*(?:\[[^]]*\])?\s*\(?([^;)]*)", re.IGNORECASE)


def metadata(distribution: str, entries: Sequence[PluginEntry]) -> Iterator[Finding]:
    """Its entry points, and the qlmdm-core that it asks for."""
    broken = [entry for entry in entries if entry.error]
    for entry in broken:
        yield failed("metadata", entry.owner, entry.error, "Mend the entry point in pyproject.toml")
    if broken:
        return
    wanted = _core_wanted(importlib.metadata.distribution(distribution).requires or [])
    if wanted is None:
        what = "it does not say which qlmdm-core it was made for"
        todo = 'Set dependencies = ["qlmdm-core>=1,<2"] in pyproject.toml'
        yield failed("metadata", distribution, what, todo)
    elif "<" not in wanted and "==" not in wanted and "~=" not in wanted:
        what = f"it takes any later qlmdm-core ({wanted or 'no bounds'})"
        todo = "The next major version may break it: ask for qlmdm-core>=1,<2"
        yield failed("metadata", distribution, what, todo)
    else:
        yield ok("metadata", f"{_count(len(entries), 'entry point')}, qlmdm-core{wanted}")


def _core_wanted(requires: Sequence[str]) -> str | None:
    for text in requires:
        found = _CORE.match(text)
        if found:
            return found[1].strip()
    return None


def loading(reports: Sequence[Report]) -> Iterator[Finding]:
    """What failed when the entry points were loaded, each in a process of its own."""
    failures = [f for report in reports for f in report.failures if f.stage != "conflict"]
    for failure in failures:
        place = f" ({failure.trace[-1]})" if failure.trace else ""
        where = f"{failure.distribution}:{failure.entry_point}: {failure.stage}"
        yield failed("loading", where, failure.error + place)
    if not failures and reports:
        hooks = sorted({hook for report in reports for hook in report.hooks})
        slowest = max(report.seconds or 0.0 for report in reports)
        names = ", ".join(hook.removeprefix("qlmdm_") for hook in hooks)
        yield ok("loading", f"{names}; {slowest * 1000:.0f} ms")


def names(reports: Sequence[Report]) -> Iterator[Finding]:
    """Names that another distribution claims, too."""
    conflicts = [f for report in reports for f in report.failures if f.stage == "conflict"]
    for failure in dict.fromkeys(conflicts):
        where = f"{failure.distribution}:{failure.entry_point}"
        todo = "Choose a name that begins with your own, such as acme_"
        yield failed("names", where, failure.error, todo)
    if any("agent" in report.gives.get("collectors", ()) for report in reports):
        what = "collector 'agent' is the client's own, which reports of itself under that name"
        yield failed("names", "collector agent", what, "Choose another name")
    given = sorted({name for report in reports for n in report.gives.values() for name in n})
    if not conflicts and given:
        yield ok("names", ", ".join(given))


def needs(wanted: Mapping[str, Sequence[str]], known: Sequence[str]) -> Iterator[Finding]:
    """Whether somebody collects what the checks need; `wanted` is by check."""
    for check, collectors in wanted.items():
        for name in collectors:
            if name in known:
                continue
            near = difflib.get_close_matches(name, known, 1)
            if near:
                what = f"it needs {name!r}, which no installed plugin collects"
                yield failed("needs", f"check {check}", what, f"Did you mean {near[0]}?")
            else:
                why = f"check {check} needs {name!r}, which no plugin that is installed here has"
                yield not_checked("needs", why, "Install the one that collects it, and try again")
    if wanted:
        names = sorted({name for collectors in wanted.values() for name in collectors})
        yield ok("needs", ", ".join(names) or "none")


def _count(number: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("ry") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"
