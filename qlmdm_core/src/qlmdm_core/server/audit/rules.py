"""The checks of one audit run: plugins' and the site's own, as the settings want them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from qlmdm_core.api import PASS, AuditCheck, ClientView, Verdict
from qlmdm_core.errors import SettingsError
from qlmdm_core.server.audit.query import Query
from qlmdm_core.server.settings import AuditSettings, CheckSettings, SiteCheck


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One check as it applies here. Times in seconds."""

    check: AuditCheck
    owner: str
    """The distribution (and version) that brought it, or "settings"."""
    grace_period: float
    alert_frequency: float
    tags: frozenset[str] = frozenset()
    """Judge only clients with one of these; empty: all."""

    @cached_property  # asked forty times for each client
    def name(self) -> str:
        """The check's name."""
        return self.check.name


def rules(
    checks: Sequence[tuple[str, AuditCheck]],
    settings: AuditSettings,
    file: str = "settings",
    *,
    complete: bool = True,
) -> list[Rule]:
    """The rules, by name. `checks` are (owner, check), free of conflicts.

    `complete`: no plugin failed, so a setting for a check that is not there is a mistake; if
    one did, the check may be that plugin's, and must not stop the others. Raises
    `SettingsError` for such a mistake, and for a site check whose name is taken or whose
    query is wrong.
    """
    known = {check.name: (owner, check) for owner, check in checks}
    for name, site_check in settings.site_checks.items():
        if name in known:
            raise SettingsError(
                f"a check of this name comes from {known[name][0]}; choose another",
                file=file,
                key=f"audit.site_checks.{name}",
            )
        known[name] = ("settings", _site_check(name, site_check, file))
    for name in settings.checks if complete else ():
        if name not in known:
            raise SettingsError(
                f"there is no such check; there are: {', '.join(sorted(known))}",
                file=file,
                key=f"audit.checks.{name}",
            )
    changes = {name: settings.checks.get(name, CheckSettings()) for name in known}
    return [
        Rule(
            check=check,
            owner=owner,
            grace_period=_first(
                changes[name].grace_period, settings.grace_period, check.grace_period
            ),
            alert_frequency=_first(
                changes[name].alert_frequency, settings.alert_frequency, check.alert_frequency
            ),
            tags=frozenset(changes[name].tags),
        )
        for name, (owner, check) in sorted(known.items())
        if changes[name].enabled
    ]


def version(rules: Sequence[Rule], *settings: float) -> str:
    """Changes when any rule does: then the whole fleet has to be judged anew.

    The help text counts, since it names the limits that a plugin's settings gave the check.
    """
    described = [
        (
            rule.name,
            rule.owner,
            rule.grace_period,
            rule.alert_frequency,
            sorted(rule.tags),
            rule.check.help,
        )
        for rule in rules
    ]
    text = json.dumps([settings, described])
    return hashlib.sha256(text.encode()).hexdigest()


def _first(*choices: float | None) -> float:
    return next(choice for choice in choices if choice is not None)


def _site_check(name: str, site_check: SiteCheck, file: str) -> AuditCheck:
    query = Query(site_check.query, file=file, key=f"audit.site_checks.{name}.query")
    message = site_check.message

    def judge(client: ClientView, now: datetime) -> Verdict:  # noqa: ARG001
        if not query.matches(_queried(client)):
            return PASS
        return Verdict(state="fail", message=message)

    return AuditCheck(
        name=name,
        judge=judge,
        needs=site_check.needs or query.collectors,
        grace_period=site_check.grace_period,
        alert_frequency=site_check.alert_frequency,
        # Part of `version`: a query that was changed must judge the fleet anew.
        help=f"{message} (site check: {json.dumps(site_check.query, sort_keys=True)})",
    )


def _queried(client: ClientView) -> Mapping[str, object]:
    """What a site's query sees: each collector's value by its name, and the client itself."""
    values = {name: result.get("value") for name, result in client.report.items()}
    about = {
        "hostname": client.hostname,
        "user_email": client.user_email,
        "tags": list(client.tags),
        "release": client.release,
    }
    return {**values, "client": about}
