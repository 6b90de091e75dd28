"""Tries a distribution by all rules, from what costs nothing to what takes a while."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qlmdm_core.errors import UsageError
from qlmdm_core.hookspecs import CLIENT_GROUP, SERVER_GROUP, client, server
from qlmdm_core.plugins import discover, normalised
from qlmdm_core.plugins.check import paper
from qlmdm_core.plugins.check.findings import Finding, summary
from qlmdm_core.plugins.check.inspected import inspect
from qlmdm_core.plugins.check.isolated import Machine, try_collectors
from qlmdm_core.plugins.check.machines import hard_machines
from qlmdm_core.plugins.check.traced import Traced, trace
from qlmdm_core.plugins.entries import PluginEntry
from qlmdm_core.plugins.probe import Report, probe
from qlmdm_core.settings import Loaded

SIDES = {"client": (CLIENT_GROUP, client), "server": (SERVER_GROUP, server)}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found of a distribution."""

    distribution: str
    version: str
    findings: Sequence[Finding]
    """One for each rule that is kept; more for one that is not."""

    @property
    def failed(self) -> bool:
        """Whether any rule is broken."""
        return any(finding.state == "failed" for finding in self.findings)


def check_distribution(
    name: str,
    settings: Mapping[str, Loaded[Any]],
    files: Mapping[str, str | None],
    replay: str | None = None,
) -> Checked:
    """Try an installed distribution by all rules.

    `settings` and `files` are by side: what is set, and the file it is from (None: nothing is
    set). Collectors run on the present machine, or on the recorded one in `replay`. Raises
    `UsageError` if there is no such distribution. Only for a process without other children.
    """
    everything = {
        side: _enabled(discover(group, frozenset(settings[side].core.plugins_off)), name)
        for side, (group, _) in SIDES.items()
    }
    own = {
        side: [e for e in entries if normalised(e.distribution) == normalised(name)]
        for side, entries in everything.items()
    }
    mine = [entry for entries in own.values() for entry in entries]
    if not mine:
        known = sorted({entry.distribution for entries in everything.values() for entry in entries})
        near = difflib.get_close_matches(name, known, 1)
        raise UsageError(
            f"no distribution {name!r} with plugins is installed here"
            + (f"; did you mean {near[0]}?" if near else "")
            + f"; there are: {', '.join(known) or 'none'}"
        )
    findings = _find(mine[0].distribution, everything, own, settings, files, replay)
    return Checked(
        distribution=mine[0].distribution,
        version=mine[0].version,
        findings=summary(findings),
    )


def _find(
    distribution: str,
    everything: Mapping[str, Sequence[PluginEntry]],
    own: Mapping[str, Sequence[PluginEntry]],
    settings: Mapping[str, Loaded[Any]],
    files: Mapping[str, str | None],
    replay: str | None,
) -> Iterator[Finding]:
    yield from paper.metadata(
        distribution, [entry for entries in own.values() for entry in entries]
    )
    reports = {
        side: probe(everything[side], module, settings[side]) for side, (_, module) in SIDES.items()
    }
    mine = [r for found in reports.values() for r in found if _is_of(r, distribution)]
    yield from paper.loading(mine)
    yield from paper.names(mine)
    collectors = sorted({name for report in mine for name in report.gives.get("collectors", ())})
    with tempfile.TemporaryDirectory(prefix="qlmdm-check-") as folder:
        hard = [Machine(what=what, folder=path) for what, path in hard_machines(folder)]
        recorded = [Machine(what=replay, folder=os.path.abspath(replay))] if replay else []
        if own["client"]:
            inspected = inspect(
                "client",
                {
                    "distribution": distribution,
                    "settings": files["client"],
                    "machines": [[m.what, m.folder] for m in (*recorded, *hard)],
                },
            )
            yield from inspected.findings
        if own["server"]:
            arguments = {"distribution": distribution, "settings": files["server"]}
            inspected = inspect("server", arguments)
            yield from inspected.findings
            known = [n for r in reports["client"] for n in r.gives.get("collectors", ())]
            yield from paper.needs(inspected.facts.get("needs", {}), known)
        here = recorded or [Machine(what="this machine", folder=None)]
        entries = everything["client"]
        yield from try_collectors(entries, settings["client"], collectors, [*here, *hard])
    traced = Traced(
        distribution=distribution,
        collectors=tuple(collectors),
        adapters=any(report.gives.get("distros") for report in mine),
        settings=files["client"],
        replay=os.path.abspath(replay) if replay else None,
    )
    yield from trace(traced)


def _enabled(entries: Sequence[PluginEntry], name: str) -> list[PluginEntry]:
    """The entries, those of the distribution switched on: it is to be tried before it is used."""
    wanted = normalised(name)
    return [
        replace(entry, disabled=False) if normalised(entry.distribution) == wanted else entry
        for entry in entries
    ]


def _is_of(report: Report, distribution: str) -> bool:
    return normalised(report.entry.distribution) == normalised(distribution)
