"""Finds out whether the ESET Management Agent is installed and running.

It is what connects a machine to ESET PROTECT; the name is that of its ancestor, the Remote
Administrator Agent. Its installer registers no package, and some people rename its unit, so
the program's path is what it is known by.
"""

from __future__ import annotations

from datetime import timedelta

from qlmdm_core import JSON, Host, Process
from qlmdm_plugins_eset.collectors._service import ask_unit, is_there, runs_from, state_of

FOLDER = "/opt/eset/RemoteAdministrator/Agent"
PROGRAM = f"{FOLDER}/ERAAgent"
STATUS = "/var/log/eset/RemoteAdministrator/Agent/status.html"
"""The agent writes it anew at each contact with its server."""

_RECENT = timedelta(days=1)


def collect(host: Host) -> JSON:
    """`state` running, stopped, absent or unknown; `in_contact` with its server, if root asks."""
    unit = ask_unit(host, "eraagent")
    finding = state_of(host, is_there(host, [PROGRAM]), unit, is_agent)
    value: dict[str, JSON] = {
        "state": finding.state,
        # Nothing on the machine tells the version, and the agent updates itself.
        "version": None,
        "up_to_date": None,
        "in_contact": None if finding.state == "absent" else _in_contact(host),
        "evidence": {"state": finding.why, "unit": unit.name, "program": PROGRAM},
    }
    if finding.state == "unknown":
        value["reason"] = finding.why
    return value


def is_agent(process: Process) -> bool:
    """Whether a process is the agent; its installer and its tools lie beside it."""
    program = process.program or (process.argv or ("",))[0].split(" ", 1)[0]
    return runs_from(process, FOLDER) and program.rsplit("/", 1)[-1] == "ERAAgent"


def _in_contact(host: Host) -> bool | None:
    """Whether the agent reached its server within a day; None if that can't be seen."""
    try:
        changed = host.stat(STATUS).mtime
    except OSError:
        return None
    return host.now().timestamp() - changed < _RECENT.total_seconds() if changed > 0 else None
