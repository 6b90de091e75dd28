"""What this distribution gives to clients: collectors for ESET's products and for Prey."""

from __future__ import annotations

from importlib import import_module

from qlmdm_core import hookimpl
from qlmdm_core.api import JSON, Collector, Host, Settings


class _Run:
    """Calls `collect(host)` of a module in `collectors`, which is imported only then."""

    def __init__(self, name: str) -> None:
        self._module = f"{__package__}.collectors.{name}"

    def __call__(self, host: Host) -> JSON:
        return import_module(self._module).collect(host)


@hookimpl
def qlmdm_register_collectors(settings: Settings) -> list[Collector]:  # noqa: ARG001
    return [
        Collector(
            name="eset",
            run=_Run("eset"),
            timeout=60.0,
            help="Whether an ESET antivirus is installed, runs, and has recent detection data.",
            fields={
                "product": "Which of ESET's products it is.",
                "version": "Its version.",
                "up_to_date": "Whether its detection data is recent.",
                "update_reason": "Why that can't be told.",
                "engine_version": "The version of its detection data.",
                "engine_date": "The date of its detection data.",
                "real_time_protection": "Whether files are checked when they are opened.",
                "licence": "Whether it has a licence, and until when.",
                "evidence": "What was found of it.",
            },
        ),
        Collector(
            name="eraagent",
            run=_Run("eraagent"),
            help="Whether the ESET Management Agent is installed and runs.",
            fields={
                "version": "Its version.",
                "up_to_date": "Whether it says that it is up to date.",
                "in_contact": "Whether it reaches its server.",
                "evidence": "What was found of it.",
            },
        ),
        Collector(
            name="prey",
            run=_Run("prey"),
            help="Whether Prey, which finds stolen machines, is installed, runs and is registered.",
            fields={
                "version": "Its version.",
                "up_to_date": "Whether it says that it is up to date.",
                "registered": "Whether it belongs to an account.",
                "evidence": "What was found of it.",
            },
        ),
    ]
