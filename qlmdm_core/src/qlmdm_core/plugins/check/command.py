"""`qlmdm-plugins check DISTRIBUTION`: says of each rule of the contract whether it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qlmdm_core.plugins.check.findings import lines
from qlmdm_core.plugins.check.run import check_distribution
from qlmdm_core.settings import Loaded


def check(
    distribution: str,
    settings: Mapping[str, Loaded[Any]],
    files: Mapping[str, str | None],
    *,
    replay: str | None,
    as_json: bool,
) -> tuple[int, str]:
    """The exit status (1: a rule is broken) and what to print."""
    checked = check_distribution(distribution, settings, files, replay)
    status = 1 if checked.failed else 0
    if as_json:
        told = {
            "distribution": checked.distribution,
            "version": checked.version,
            "ok": not checked.failed,
            "findings": [finding.to_dict() for finding in checked.findings],
        }
        return status, json.dumps(told, indent=2)
    return status, "\n".join(lines(checked.findings))
